//! ip-masq-agent and ip-masq-agent-v2 as the node's iptables sees them.

use std::fmt;
use std::io;

use super::competitors::restore_nat;
use super::lab::Family;
use super::netns::{Namespace, succeed};

/// Both have this chain by default.
pub const CHAIN: &str = "IP-MASQ-AGENT";

/// Which of the two, and how it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// kubernetes-sigs/ip-masq-agent: source ports are random by default.
    First,
    /// Its v2.10.0 to v2.12.1, where quotes are part of the jump's comment.
    FirstWithQuotes,
    /// Azure/ip-masq-agent-v2, which does not know random ports and has the quotes too.
    Second,
}

impl Agent {
    /// Both, and each form of what they write.
    pub const ALL: [Self; 3] = [Self::First, Self::FirstWithQuotes, Self::Second];

    /// The comment of the jump to its chain.
    pub fn jump_comment(self) -> String {
        let comment = format!(
            "ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom {CHAIN} chain"
        );
        match self {
            Self::First => comment,
            Self::FirstWithQuotes | Self::Second => format!("\"{comment}\""),
        }
    }

    /// What `syncMasqRules` of cmd/ip-masq-agent/ip-masq-agent.go does in each family, in its order: chain, jump, then
    /// all rules at once. It does so at each resync.
    pub fn sync(self, node: &Namespace, exempt: &[impl AsRef<str>]) -> io::Result<()> {
        for family in Family::BOTH {
            ensure_chain(node, family)?;
            self.ensure_jump(node, family)?;
            restore_nat(node, family, &self.rules(family, exempt))?;
        }
        Ok(())
    }

    /// The lines of its chain, as it gives them to iptables-restore: link-local first, then the list.
    pub fn rules(self, family: Family, exempt: &[impl AsRef<str>]) -> String {
        let link_local = match family {
            Family::V4 => "169.254.0.0/16",
            Family::V6 => "fe80::/10",
        };
        let is_of_family = |cidr: &&str| cidr.contains(':') == (family == Family::V6);
        let exempt = exempt.iter().map(AsRef::as_ref).filter(is_of_family);
        let mut lines = vec![format!(":{CHAIN} - [0:0]")];
        for cidr in std::iter::once(link_local).chain(exempt) {
            lines.push(format!(
                "-A {CHAIN} -m comment --comment \"ip-masq-agent: local traffic is not subject to MASQUERADE\" -d {cidr} -j RETURN"
            ));
        }
        let ports = match self {
            Self::First | Self::FirstWithQuotes => " --random-fully",
            Self::Second => "",
        };
        lines.push(format!(
            "-A {CHAIN} -m comment --comment \"ip-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)\" -j MASQUERADE{ports}"
        ));
        lines.join("\n")
    }

    fn ensure_jump(self, node: &Namespace, family: Family) -> io::Result<()> {
        let comment = self.jump_comment();
        let jump = |action: &str| {
            let mut command = node.command(program(family));
            command.args(["-t", "nat", action, "POSTROUTING"]);
            command.args(["-m", "comment", "--comment", &comment]);
            command.args(["-m", "addrtype", "!", "--dst-type", "LOCAL", "-j", CHAIN]);
            command
        };
        if jump("-C").output()?.status.success() {
            return Ok(());
        }
        succeed(&mut jump("-A")).map(drop)
    }
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "ip-masq-agent",
            Self::FirstWithQuotes => "ip-masq-agent v2.10.0 to v2.12.1",
            Self::Second => "ip-masq-agent-v2",
        })
    }
}

fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables-nft",
        Family::V6 => "ip6tables-nft",
    }
}

fn ensure_chain(node: &Namespace, family: Family) -> io::Result<()> {
    let mut list = node.command(program(family));
    if list
        .args(["-t", "nat", "-S", CHAIN])
        .output()?
        .status
        .success()
    {
        return Ok(());
    }
    let mut make = node.command(program(family));
    succeed(make.args(["-t", "nat", "-N", CHAIN])).map(drop)
}
