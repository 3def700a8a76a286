//! Names, priorities and comments of what the daemon writes. They are a contract with operators,
//! dashboards and the next version of the daemon: change one only with a way over for the old.

/// Default of `--table`, and of `--masq-chain` within it.
pub const DEFAULT_TABLE: &str = "non-masquerade-daemon";
/// Default of `--masq-chain`.
pub const DEFAULT_MASQ_CHAIN: &str = "non-masquerade-daemon";
/// The table of dry runs. It never exists.
pub const PROBE_TABLE: &str = "non-masquerade-daemon-probe";
/// The sets of exempt destinations are called so, and then `-1`, `-2`: see [`numbered`].
pub const EXEMPT_SET: &str = "non-masquerade-cidrs";
/// The same for the sources that are looked at; only there with `sourceCIDRs`.
pub const SOURCE_SET: &str = "source-cidrs";
/// The named counter of masqueraded connections; named, so that it survives a change of rules.
pub const MASQUERADED_COUNTER: &str = "masqueraded";
/// The base chain.
pub const POSTROUTING_CHAIN: &str = "postrouting";
/// The second base chain, only there with `enforce`; the name is kept free for it.
pub const ENFORCE_CHAIN: &str = "enforce";

/// The third base chain, only there with `dropInvalid`; the name is kept free for it.
pub const DROP_INVALID_CHAIN: &str = "drop-invalid";
/// The named counter of packets that it has dropped.
pub const DROPPED_INVALID_COUNTER: &str = "dropped-invalid";

/// `srcnat + 10`: after iptables-nft, kube-proxy, flannel and CNI, which sit at srcnat (100,
/// `NF_IP_PRI_NAT_SRC` in linux/netfilter_ipv4.h), as ip-masq-agent appends its jump. The order of
/// equal priorities is undefined (nft(8)).
pub const POSTROUTING_PRIORITY: i32 = 100 + 10;

/// `srcnat - 10`: before those. The first chain that gives a connection a mapping decides (design §3.2).
pub const ENFORCE_PRIORITY: i32 = 100 - 10;

/// The table's comment; libnftables' JSON before 1.0.8 drops it, so that it is no drift.
pub const TABLE_COMMENT: &str =
    "managed by non-masquerade-daemon: change its configuration instead";

/// libnftables 1.0.6 ends its caller with `exit(2)` where a comment from JSON outgrows the user
/// data of a rule (250 bytes pass, 300 do not); 128 is what libnftables itself allows in its own
/// language (`NFTNL_UDATA_COMMENT_MAXLEN`).
pub const MAX_COMMENT_BYTES: usize = 128;

/// `NFT_NAME_MAXLEN` less the terminating NUL, linux/netfilter/nf_tables.h.
const MAX_NAME_BYTES: usize = 255;

/// Tables of iptables-nft: libxtables' `nft_handle` builtin tables, iptables/nft.c.
const TABLES_OF_IPTABLES_NFT: [&str; 5] = ["nat", "filter", "mangle", "raw", "security"];

/// Words that nft 1.0.6 or 1.1.3 does not take for the name of a table or a chain (each word of nftables' src/scanner.l,
/// tried with `nft -c`).
const KEYWORDS: &str = "accept add ah all and arp auto-merge bridge cgroup chain chains comment comp constant \
     continue counter counters cpu create ct day dccp define delete describe destroy device \
     devices dnat drop dst dup dynamic ecn element elements eq esp ether exists expires export \
     exthdr fib flags flow flowtable flowtables flush frag fwd gc-interval ge geneve get goto \
     gre gretap gt handle hbh hook hooks hour ibriport ibrname icmp icmpv6 igmp iif iifgroup \
     iifname iiftype import include index inet insert interval ip ip6 ipsec jhash jump le limit \
     limits list log lshift lt map maps mark masquerade meta meter meters mh missing monitor ne \
     netdev nftrace not notrack numgen obriport obrname offload oif oifgroup oifname oiftype or \
     osf pkttype policy position priority queue quota quotas random redefine redirect reject \
     rename replace reset return rshift rt rt0 rt2 rtclassid rule rules ruleset sctp secmark \
     secmarks set sets size skgid skuid snat socket srh symhash synproxy synproxys table tables \
     tcp th time timeout tproxy type typeof udp udplite undefine update vlan vmap vni vxlan xor \
     xt";

/// The name of one of the sets that take turns: a set in use is never changed, the next one is filled beside it.
#[must_use]
pub fn numbered(set: &str, number: u32) -> String {
    format!("{set}-{number}")
}

/// Whether `name` is `set` with a number behind it, or without one, as the first edition of the daemon called it.
#[must_use]
pub fn is_one_of(set: &str, name: &str) -> bool {
    match name.strip_prefix(set).map(|rest| rest.strip_prefix('-')) {
        Some(Some(number)) => number.parse::<u32>().is_ok(),
        Some(None) => name == set,
        None => false,
    }
}

/// Why a name cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The table belongs to iptables-nft.
    #[error(
        "the table '{0}' belongs to iptables-nft: one native rule in it makes `iptables -S` and `iptables-save`, \
         and kube-proxy with them, fail with \"table `{0}' is incompatible, use 'nft' tool\"; choose another name"
    )]
    TableOfIptables(String),
    /// The chain name is one of the daemon's base chains.
    #[error("the chain '{0}' is one of the daemon's base chains; choose another name")]
    BaseChain(String),
    /// nft could not read the name back.
    #[error(
        "'{0}' is no nftables identifier: a letter or '_' first, then letters, digits, '_', '-', '.' or '/', \
         at most {MAX_NAME_BYTES} bytes"
    )]
    NotAnIdentifier(String),
    /// nft would take the name for a word of its language.
    #[error(
        "'{0}' is a word of the nft language: the host's saved ruleset could not be loaded again; choose another name"
    )]
    Keyword(String),
}

/// Checks the name for `--table`.
///
/// # Errors
/// Where the table belongs to iptables-nft, or nft could not read the name back.
pub fn checked_table(name: &str) -> Result<String, NameError> {
    if TABLES_OF_IPTABLES_NFT.contains(&name) {
        return Err(NameError::TableOfIptables(name.to_owned()));
    }
    checked_identifier(name)
}

/// Checks the name for `--masq-chain`.
///
/// # Errors
/// Where the name is that of a base chain of the daemon, or nft could not read it back.
pub fn checked_masq_chain(name: &str) -> Result<String, NameError> {
    if [POSTROUTING_CHAIN, ENFORCE_CHAIN, DROP_INVALID_CHAIN].contains(&name) {
        return Err(NameError::BaseChain(name.to_owned()));
    }
    checked_identifier(name)
}

/// `string` in nftables' src/scanner.l, less the quoted form.
fn checked_identifier(name: &str) -> Result<String, NameError> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on_well = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    if !starts_well || !goes_on_well || name.len() > MAX_NAME_BYTES {
        return Err(NameError::NotAnIdentifier(name.to_owned()));
    }
    if KEYWORDS.split_whitespace().any(|word| word == name) {
        return Err(NameError::Keyword(name.to_owned()));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_iptables_nft_are_refused_with_the_reason() {
        for name in TABLES_OF_IPTABLES_NFT {
            let error = checked_table(name).unwrap_err();
            assert_eq!(error, NameError::TableOfIptables(name.to_owned()));
            assert!(
                error
                    .to_string()
                    .contains("is incompatible, use 'nft' tool")
            );
        }
        assert_eq!(checked_table("nat2").as_deref(), Ok("nat2"));
    }

    #[test]
    fn base_chains_are_refused_as_masq_chain() {
        for name in ["postrouting", "enforce", "drop-invalid"] {
            assert_eq!(
                checked_masq_chain(name),
                Err(NameError::BaseChain(name.to_owned()))
            );
        }
        assert_eq!(
            checked_masq_chain("IP-MASQ-AGENT").as_deref(),
            Ok("IP-MASQ-AGENT")
        );
    }

    #[test]
    fn names_that_nft_cannot_read_back_are_refused() {
        let too_long = "a".repeat(256);
        for name in ["", "1st", "-a", "a b", "a\"b", "a{", "ä", "a;b", &too_long] {
            assert_eq!(
                checked_table(name),
                Err(NameError::NotAnIdentifier(name.to_owned())),
                "{name}"
            );
        }
        for name in ["a", "_a", "a-b_c.d/e", &"a".repeat(255)] {
            assert!(checked_table(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn words_of_the_nft_language_are_refused() {
        for name in ["counter", "drop", "ip", "xt", "auto-merge"] {
            assert_eq!(
                checked_masq_chain(name),
                Err(NameError::Keyword(name.to_owned()))
            );
        }
        assert!(checked_masq_chain("counters2").is_ok());
    }

    #[test]
    fn the_daemon_s_own_comments_are_short_enough() {
        assert!(TABLE_COMMENT.len() <= MAX_COMMENT_BYTES);
    }
}
