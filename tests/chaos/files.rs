//! Configuration files at random: good ones, which treat the flows that are sent alike and all others as they like, and bad
//! ones.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use non_masquerade_daemon::config::{self, Flags};
use non_masquerade_daemon::policy::Policy;
use non_masquerade_daemon::policy::node_address::NodeAddress;
use non_masquerade_daemon::ruleset::{ChosenNames, Tables};

use crate::dice::Dice;
use crate::support::flows::Flows;
use crate::support::lab::Addresses;

/// Flows a second that are sent.
const RATE: u32 = 26_000;

/// What all files of a stretch have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alike {
    /// Private destinations of both families are exempt, some others are masqueraded.
    BothFamilies,
    /// The same, but IPv6 is on or off: of that, exempt destinations keep their source all the time.
    Ipv4,
    /// Private destinations keep their source: because they are exempt, or because the pod is no source.
    ExemptOnly,
}

impl Alike {
    pub(crate) const ALL: [Self; 3] = [Self::BothFamilies, Self::Ipv4, Self::ExemptOnly];

    /// The flows that each file of this kind treats alike.
    pub(crate) fn flows(self) -> Flows {
        let parsed = |cidr: &&str| cidr.parse().expect("a prefix of this file");
        let exempt = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"];
        let masqueraded: &[&str] = match self {
            Self::BothFamilies => &["100.64.0.0/10", "2001:db8:8000::/33"],
            Self::Ipv4 => &["100.64.0.0/10"],
            Self::ExemptOnly => &[],
        };
        Flows {
            rate: RATE,
            keep_source: exempt.iter().map(parsed).collect(),
            masqueraded: masqueraded.iter().map(parsed).collect(),
        }
    }

    /// Whether the defaults are a file of this kind: they leave IPv6 alone.
    pub(crate) fn has_the_defaults(self) -> bool {
        self != Self::BothFamilies
    }

    /// One file for all measurements.
    pub(crate) fn file_at_rest(self) -> GoodFile {
        let text = "enableIPv6: true\nresyncInterval: 8s\n\
            nonMasqueradeCIDRs: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 'fd00::/8']\n";
        GoodFile::new(text.to_owned()).expect("a good file")
    }

    pub(crate) fn file(self, dice: &mut Dice) -> io::Result<GoodFile> {
        let has_ipv6 = self != Self::Ipv4 || dice.one_in(2);
        let mut draft = Draft::default();
        if self == Self::ExemptOnly && dice.one_in(3) {
            draft.sources = vec!["10.245.0.0/16".to_owned(), "fd00:10:245::/48".to_owned()];
        } else {
            draft.cover_ipv4(dice);
            if has_ipv6 {
                draft.cover_ipv6(dice);
            }
            draft.add_others(dice);
            if dice.one_in(4) {
                draft.sources = vec!["10.244.0.0/16".to_owned()];
                if has_ipv6 {
                    draft.sources.push("fd00:10:244::/48".to_owned());
                }
            }
        }
        GoodFile::new(draft.text(has_ipv6, dice))
    }
}

/// A file, and what it comes to.
#[derive(Clone, Debug)]
pub(crate) struct GoodFile {
    pub(crate) text: String,
    pub(crate) tables: Tables,
    /// The chains of the tables, once they were asked for.
    pub(crate) chains: Option<String>,
    pub(crate) resync_interval: Duration,
}

impl GoodFile {
    fn new(text: String) -> io::Result<Self> {
        let judged = config::judge("config", text.as_bytes(), &Flags::default());
        let config = judged
            .map_err(|error| io::Error::other(format!("{error}\n{text}")))?
            .config;
        Ok(Self {
            tables: Tables::new(
                &Policy::new(&config).on_node(&addresses_of_node()),
                &ChosenNames::default(),
            ),
            chains: None,
            resync_interval: config.resync_interval,
            text,
        })
    }
}

/// Those that `snatAddressCIDRs` may lead to.
fn addresses_of_node() -> [NodeAddress; 2] {
    let (ipv4, ipv6) = (
        Addresses::<Ipv4Addr>::default(),
        Addresses::<Ipv6Addr>::default(),
    );
    [ipv4.node_uplink.into(), ipv6.node_uplink.into()].map(|address| NodeAddress {
        address,
        interface: "uplink0".to_owned(),
        kind: Some("veth".to_owned()),
        is_usable: true,
        is_secondary: false,
        is_single: false,
        since: 0,
    })
}

#[derive(Default)]
struct Draft {
    exempt: Vec<String>,
    masqueraded: Vec<String>,
    sources: Vec<String>,
}

impl Draft {
    fn cover_ipv4(&mut self, dice: &mut Dice) {
        match dice.below(6) {
            0 => {
                self.exempt.push("0.0.0.0/0".to_owned());
                self.masqueraded.push("100.64.0.0/10".to_owned());
            }
            1 => {
                self.exempt.push("100.0.0.0/8".to_owned());
                self.masqueraded.push("100.64.0.0/10".to_owned());
            }
            _ => {}
        }
        let private = [
            ([10, 0, 0, 0], 8),
            ([172, 16, 0, 0], 12),
            ([192, 168, 0, 0], 16),
        ];
        for (network, length) in private {
            self.split(u32::from_be_bytes(network), length, dice);
        }
    }

    /// The prefix as it is, or its halves, and theirs; now and then a part of it once more.
    fn split(&mut self, network: u32, length: u8, dice: &mut Dice) {
        let is_whole = length >= 20 || dice.below(5) < 3;
        let address = Ipv4Addr::from(network);
        if is_whole || dice.one_in(8) {
            self.exempt.push(format!("{address}/{length}"));
        }
        if !is_whole {
            self.split(network, length + 1, dice);
            self.split(network | 1 << (31 - length), length + 1, dice);
        }
    }

    fn cover_ipv6(&mut self, dice: &mut Dice) {
        let (exempt, masqueraded): (&[&str], &[&str]) = match dice.below(4) {
            0 => (&["fd00::/8"], &[]),
            1 => (&["fd00::/9", "fd80::/9"], &[]),
            2 => (
                &["fc00::/7", "2001:db8::/32"],
                &["fc00::/8", "2001:db8:8000::/33"],
            ),
            _ => (&["::/0"], &["2001:db8:8000::/33"]),
        };
        let owned = |text: &&str| (*text).to_owned();
        self.exempt.extend(exempt.iter().map(owned));
        self.masqueraded.extend(masqueraded.iter().map(owned));
    }

    /// Prefixes to which no flow is sent.
    fn add_others(&mut self, dice: &mut Dice) {
        let number = match dice.below(10) {
            0 => 400,
            1..4 => 40,
            _ => 4,
        };
        for _ in 0..dice.below(number) {
            let (a, b) = (dice.below(64), dice.below(256));
            self.exempt.push(format!("20.{a}.{b}.0/24"));
        }
        if dice.one_in(4) {
            self.exempt.push("21.0.0.0/8".to_owned());
            let part = dice.below(256);
            self.masqueraded.push(format!("21.{part}.0.0/16"));
        }
        self.exempt.sort();
        self.exempt.dedup();
    }

    /// Block or flow style, or JSON.
    fn text(&self, has_ipv6: bool, dice: &mut Dice) -> String {
        let mut keys = vec![format!("\"resyncInterval\": \"{}s\"", 5 + dice.below(4))];
        if has_ipv6 {
            keys.push("\"enableIPv6\": true".to_owned());
        }
        // That of the uplink, as without the key.
        let own_address = match has_ipv6 {
            true => "\"snatAddressCIDRs\": [\"192.0.2.0/24\", \"2001:db8::/64\"]",
            false => "\"snatAddressCIDRs\": [\"192.0.2.0/24\"]",
        };
        for (key, share) in [
            (own_address, 3),
            ("\"enforce\": true", 4),
            ("\"randomFully\": false", 3),
            ("\"masqNodeTraffic\": false", 4),
            ("\"masqLinkLocal\": true", 4),
            ("\"toPorts\": \"20000-29999,40000-59999\"", 6),
        ] {
            if dice.one_in(share) {
                keys.push(key.to_owned());
            }
        }
        let quoted = |list: &[String]| list.iter().map(|cidr| format!("\"{cidr}\"")).collect();
        let is_block = dice.one_in(3);
        for (key, list) in [
            ("nonMasqueradeCIDRs", &self.exempt),
            ("masqueradeCIDRs", &self.masqueraded),
            ("sourceCIDRs", &self.sources),
        ] {
            let items: Vec<String> = quoted(list);
            keys.push(if is_block && !items.is_empty() {
                format!("\"{key}\":\n  - {}", items.join("\n  - "))
            } else {
                format!("\"{key}\": [{}]", items.join(", "))
            });
        }
        if !is_block && dice.one_in(2) {
            return format!("{{{}}}\n", keys.join(", "));
        }
        keys.join("\n") + "\n"
    }
}

/// A file that no configuration can be read from.
pub(crate) fn bad_file(dice: &mut Dice) -> Vec<u8> {
    let text: &[&str] = &[
        "nonMasqueradeCIDRs:\n",
        "nonMasqueradeCIDRs: [10.0.0.1/8]\n",
        "nonMasqueradeCIDRs: [10.0.0.0/8\n",
        "nonMasqueradeCidr: []\n",
        "enforce: true\nenforce: false\n",
        "masqueradeCIDRs: [10.0.0.0/8]\nnonMasqueradeCIDRs: [10.0.0.0/8]\n",
        "resyncInterval: 1ms\n",
        "a: &a [*a, *a]\n",
        "\t\n- \u{0}",
    ];
    match dice.below(5) {
        0 => vec![b'['; 100_000],
        1 => (0..5_000).map(|_| dice.roll() as u8).chain([0]).collect(),
        2 => "nonMasqueradeCIDRs: [192.0.2.1/24]\n".repeat(300).into(),
        _ => dice.one_of(text).as_bytes().to_vec(),
    }
}
