//! Addresses as arguments. Names are not resolved: what a resolver says would be explained, not what a packet carries.

use std::net::IpAddr;

use ipnet::IpNet;

/// An address that a packet can carry.
pub(super) fn address(written: &str) -> Result<IpAddr, String> {
    let Ok(address) = written.parse::<IpAddr>() else {
        return Err(not_an_address(written));
    };
    if let IpAddr::V6(address) = address
        && let Some(ipv4) = address.to_ipv4_mapped()
    {
        return Err(format!(
            "no packet carries an IPv4-mapped IPv6 address; write {ipv4}"
        ));
    }
    if address.is_unspecified() {
        return Err(
            "no packet goes to or from the unspecified address; write another one".to_owned(),
        );
    }
    Ok(address)
}

/// An address, or all in a CIDR.
pub(super) fn network(written: &str) -> Result<IpNet, String> {
    match written.parse::<IpNet>() {
        Ok(network) if network.trunc() != network => Err(format!(
            "not aligned to its length; write {}",
            network.trunc()
        )),
        Ok(network) => Ok(network),
        Err(_) => address(written).map(IpNet::from),
    }
}

fn not_an_address(written: &str) -> String {
    if written.parse::<IpNet>().is_ok() {
        return "a CIDR, not an address; write one of the addresses in it".to_owned();
    }
    match written.split_once('%') {
        Some((address, _zone)) if address.parse::<IpAddr>().is_ok() => {
            format!("an address with a zone; write {address}")
        }
        _ => {
            "not an IPv4 or IPv6 address; names are not resolved, write an address such as 10.0.0.1"
                .to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_packet_carries_is_refused_with_what_to_write() {
        for (written, said) in [
            ("example.org", "names are not resolved"),
            ("10.0.0.0/8", "a CIDR, not an address"),
            ("fe80::1%eth0", "write fe80::1"),
            ("::ffff:10.0.0.1", "write 10.0.0.1"),
            ("0.0.0.0", "unspecified"),
            ("::", "unspecified"),
            ("10.0.0.256", "not an IPv4 or IPv6 address"),
            ("", "not an IPv4 or IPv6 address"),
        ] {
            let error = address(written).unwrap_err();
            assert!(error.contains(said), "{written}: {error}");
        }
        assert_eq!(network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(network("fd00::/8").unwrap().to_string(), "fd00::/8");
        let error = network("10.0.0.1/8").unwrap_err();
        assert!(error.contains("write 10.0.0.0/8"), "{error}");
        for written in ["10.0.0.1", "fd00::1", "255.255.255.255", "ff02::1"] {
            assert_eq!(address(written).unwrap().to_string(), written);
        }
    }
}
