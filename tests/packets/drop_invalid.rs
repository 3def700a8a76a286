//! `dropInvalid`: what belongs to no connection does not leave with the pod's address, by TCP segments of each kind.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    MsgFlags, SockaddrStorage, bind, recvfrom, sendto, setsockopt, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::DAEMON;
use crate::support::judged::Judged;
use crate::support::lab::{Family, Lab};
use crate::support::nft::Nft;
use crate::support::outcome::Outcome;
use crate::support::wire::{behind_ipv4_header, internet_checksum};

/// Flags of a segment (RFC 9293, section 3.1).
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
/// What begins no connection and belongs to none.
const INVALID: [u8; 4] = [RST, RST | ACK, FIN | ACK, SYN | ACK];

const CONFIGURATION: &str = "
enableIPv6: true
nonMasqueradeCIDRs: [10.0.0.0/8, 'fd00::/8']
masqueradeCIDRs: [10.1.0.0/16, 'fd00:1::/32']
";

fn start(more: &str) -> Judged {
    Judged::start(DAEMON, &format!("{CONFIGURATION}{more}"), &[]).unwrap()
}

fn destination(family: Family, is_exempt: bool) -> IpAddr {
    let text = match (family, is_exempt) {
        (Family::V4, true) => "10.7.0.1",
        (Family::V4, false) => "1.1.1.1",
        (Family::V6, true) => "fd00:7::1",
        (Family::V6, false) => "2606:4700::1",
    };
    text.parse().unwrap()
}

/// A segment of TCP without data, whose sequence number is its mark: masquerading changes the port.
fn segment(from: SocketAddr, to: SocketAddr, flags: u8, mark: u32) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend(mark.to_be_bytes());
    segment.extend(1_u32.to_be_bytes());
    // Five words of header, then the flags, the window, checksum and urgent pointer.
    segment.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    // Conntrack takes a segment with a wrong checksum for invalid, whatever it is.
    let mut summed = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => unreachable!("two addresses of one family"),
    };
    summed.extend([0, 6, 0, 20]);
    summed.extend(&segment);
    let sum = internet_checksum(&summed).to_be_bytes();
    segment[16..18].copy_from_slice(&sum);
    segment
}

fn raw_socket(family: Family) -> io::Result<OwnedFd> {
    let domain = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    // SAFETY: no pointer is passed.
    let socket = unsafe {
        libc::socket(
            domain,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::IPPROTO_TCP,
        )
    };
    // SAFETY: the descriptor is new, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(Errno::result(socket)?) })
}

/// Who sends.
#[derive(Clone, Copy)]
enum Sender {
    Pod,
    Node,
}

/// Sends a segment with each of these flags, none of a connection that is there, and a SYN last. Gives the source that the
/// receiver saw of each; `None`: it did not arrive, although the SYN behind it did.
fn seen(lab: &Lab, sender: Sender, to: IpAddr, flags: &[u8]) -> Vec<Option<IpAddr>> {
    let family = Family::of(to);
    let own = lab.addresses_of(family);
    let (namespace, source) = match sender {
        Sender::Pod => (&lab.pod, own.pod),
        Sender::Node => (&lab.node, own.node_uplink),
    };
    let receiver = lab.outside.run(|| raw_socket(family)).unwrap();
    setsockopt(&receiver, ReceiveTimeout, &TimeVal::seconds(5)).unwrap();
    let to = SocketAddr::new(to, 7_001);
    let first_mark = u32::from(lab.unused_port()) << 16;
    let all: Vec<u8> = flags.iter().copied().chain([SYN]).collect();
    namespace.run(|| {
        let socket = raw_socket(family).unwrap();
        let portless = |address| SockaddrStorage::from(SocketAddr::new(address, 0));
        bind(socket.as_raw_fd(), &portless(source)).unwrap();
        for (mark, flags) in (first_mark..).zip(&all) {
            let from = SocketAddr::new(source, lab.unused_port());
            let segment = segment(from, to, *flags, mark);
            sendto(
                socket.as_raw_fd(),
                &segment,
                &portless(to.ip()),
                MsgFlags::empty(),
            )
            .unwrap();
        }
    });
    let mut sources = vec![None; all.len()];
    let mut packet = [0; 256];
    while sources.last() == Some(&None) {
        let (bytes, from) = recvfrom::<SockaddrStorage>(receiver.as_raw_fd(), &mut packet).unwrap();
        let segment = match family {
            Family::V4 => behind_ipv4_header(&packet[..bytes]).unwrap(),
            Family::V6 => &packet[..bytes],
        };
        let mark = u32::from_be_bytes(segment[4..8].try_into().unwrap());
        let index = mark.wrapping_sub(first_mark) as usize;
        if let Some(seen) = sources.get_mut(index) {
            let from = from.unwrap();
            let v4 = from.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            *seen = v4.or_else(|| from.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())));
        }
    }
    assert!(sources.pop().unwrap().is_some());
    sources
}

#[test]
fn without_it_each_kind_leaves_with_the_pod_s_address() {
    let judged = start("");
    for family in Family::BOTH {
        let pod = judged.lab.addresses_of(family).pod;
        for is_exempt in [false, true] {
            let seen = seen(
                &judged.lab,
                Sender::Pod,
                destination(family, is_exempt),
                &INVALID,
            );
            assert_eq!(seen, [Some(pod); 4], "{family}");
        }
    }
}

#[test]
fn with_it_none_leaves_for_masqueraded_destinations_and_all_for_exempt_ones() {
    let judged = start("dropInvalid: true\n");
    for family in Family::BOTH {
        let own = judged.lab.addresses_of(family);
        let to = |is_exempt| destination(family, is_exempt);
        let of_pod = |is_exempt| seen(&judged.lab, Sender::Pod, to(is_exempt), &INVALID);
        assert_eq!(of_pod(false), [None; 4], "{family}");
        assert_eq!(of_pod(true), [Some(own.pod); 4], "{family}");
        let of_node = seen(&judged.lab, Sender::Node, to(false), &INVALID);
        assert_eq!(of_node, [Some(own.node_uplink); 4], "{family}");
        // What begins a connection, or goes on with one that conntrack has lost, is masqueraded as ever.
        let valid = seen(&judged.lab, Sender::Pod, to(false), &[SYN, ACK]);
        assert_eq!(valid, [Some(own.node_uplink); 2], "{family}");
    }
    judged.assert_follows(CONFIGURATION);
    let mut status = judged.lab.node.command(DAEMON);
    status
        .arg("status")
        .arg("--config")
        .arg(judged.daemon.config_file());
    let status = Outcome::of(&mut status);
    status.assert_code(0);
    let told = status.output;
    assert_eq!(
        told.matches("invalid, dropped   4 packets").count(),
        2,
        "{told}"
    );
}

/// With nf_conntrack_tcp_loose conntrack takes a plain segment for the middle of a connection that it has not seen.
#[test]
fn a_connection_that_conntrack_has_lost_goes_on_as_the_kernel_is_set() {
    for (is_on, loose, is_seen) in [(true, "1", true), (true, "0", false), (false, "0", true)] {
        let judged = start(&format!("dropInvalid: {is_on}\n"));
        let sysctl = "net/netfilter/nf_conntrack_tcp_loose";
        judged.lab.node.sysctl(sysctl, loose).unwrap();
        for family in Family::BOTH {
            let to = destination(family, false);
            let [seen] = seen(&judged.lab, Sender::Pod, to, &[ACK])
                .try_into()
                .unwrap();
            assert_eq!(seen.is_some(), is_seen, "{family}, {is_on}, {loose}");
        }
    }
}

#[test]
fn it_is_narrowed_by_sources_and_interfaces_as_masquerading_is() {
    for more in [
        "sourceCIDRs: [10.245.0.0/16, 'fd00:10:245::/48']\n",
        "outputInterfaces: [eth*, pod0]\n",
    ] {
        let judged = start(&format!("dropInvalid: true\n{more}"));
        for family in Family::BOTH {
            let pod = judged.lab.addresses_of(family).pod;
            let seen = seen(
                &judged.lab,
                Sender::Pod,
                destination(family, false),
                &INVALID,
            );
            assert_eq!(seen, [Some(pod); 4], "{family}, {more}");
        }
    }
    let judged = start("dropInvalid: true\noutputInterfaces: [eth*, uplink*]\n");
    for family in Family::BOTH {
        let seen = seen(
            &judged.lab,
            Sender::Pod,
            destination(family, false),
            &INVALID,
        );
        assert_eq!(seen, [None; 4], "{family}");
    }
}

#[test]
fn it_goes_on_and_off_at_run_time() {
    let judged = start("");
    let nft = Nft::host();
    for is_on in [true, false, true] {
        judged
            .change(&format!("{CONFIGURATION}dropInvalid: {is_on}\n"))
            .unwrap();
        let table = || nft.list_table_text(&judged.lab.node, "non-masquerade-daemon");
        let is_as_wanted = || table().is_ok_and(|table| table.contains("drop-invalid") == is_on);
        crate::support::wait_until(std::time::Duration::from_secs(5), is_as_wanted).unwrap();
        let seen = seen(
            &judged.lab,
            Sender::Pod,
            destination(Family::V4, false),
            &INVALID,
        );
        assert_eq!(seen.iter().all(Option::is_none), is_on, "{seen:?}");
        judged.assert_comes_to_follow(CONFIGURATION);
    }
}
