//! Where a configured CIDR stands. The configuration itself does not remember it: a daemon would carry the places of
//! 100,000 CIDRs about for nobody. Who asks reads the texts once more.

use std::collections::HashMap;
use std::fmt;

use ipnet::IpNet;
use serde::Serialize;

use super::finding::Escaped;
use super::finding::Findings;
use super::keys::{MASQUERADE_CIDRS, NON_MASQUERADE_CIDRS, SOURCE_CIDRS};
use super::merge::Files;
use super::{Source, said};

/// One of the lists of CIDRs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum List {
    /// `nonMasqueradeCIDRs`
    NonMasquerade,
    /// `masqueradeCIDRs`
    Masquerade,
    /// `sourceCIDRs`
    Source,
}

impl List {
    /// The key of the list.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::NonMasquerade => NON_MASQUERADE_CIDRS,
            Self::Masquerade => MASQUERADE_CIDRS,
            Self::Source => SOURCE_CIDRS,
        }
    }
}

/// A CIDR in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListedCidr {
    /// Which list.
    pub list: List,
    /// Host bits zero.
    pub cidr: IpNet,
}

/// Where a CIDR stands. `Display` is `FILE:LINE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CidrPlace {
    /// The file, as the user named it.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// The item's place in its list, counted from 0.
    pub item: usize,
    /// Which list.
    #[serde(skip)]
    pub list: List,
}

impl fmt::Display for CidrPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Escaped(&self.file), self.line)
    }
}

/// Where each of the `listed` CIDRs stands first; none where no file holds it, as with the default list.
#[must_use]
pub fn places(files: &[Source<'_>], listed: &[ListedCidr]) -> Vec<Option<CidrPlace>> {
    let said = said::all(files, &mut Findings::default());
    let mut first: HashMap<ListedCidr, Option<CidrPlace>> =
        listed.iter().map(|wanted| (*wanted, None)).collect();
    for list in [List::NonMasquerade, List::Masquerade, List::Source] {
        for (said, index, item) in Files(&said).cidrs(list.key()) {
            let cidr = item.value.map(|cidr| ListedCidr { list, cidr });
            if let Some(found) = cidr.and_then(|cidr| first.get_mut(&cidr)) {
                found.get_or_insert_with(|| CidrPlace {
                    file: said.file.name.to_owned(),
                    line: item.line,
                    item: index,
                    list,
                });
            }
        }
    }
    let place = |wanted| first.get(wanted).cloned().flatten();
    listed.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said_of(files: &[(&str, &str)], listed: &[(List, &str)]) -> Vec<Option<String>> {
        let files: Vec<Source<'_>> = files
            .iter()
            .map(|(name, text)| Source {
                name,
                bytes: Some(text.as_bytes()),
            })
            .collect();
        let listed: Vec<ListedCidr> = listed
            .iter()
            .map(|(list, cidr)| ListedCidr {
                list: *list,
                cidr: cidr.parse().unwrap(),
            })
            .collect();
        let places = places(&files, &listed).into_iter();
        places
            .map(|place| place.map(|place| place.to_string()))
            .collect()
    }

    #[test]
    fn each_cidr_is_found_in_its_list_and_its_file_where_it_stands_first() {
        let a = "# comment\nnonMasqueradeCIDRs:\n- 10.0.0.0/8\n- 10.1.0.0/016\n- 10.0.0.0/8\n";
        let b = "{\"masqueradeCIDRs\": [\n\"10.2.0.0/16\",\n\"10.1.0.0/16\"],\n\"sourceCIDRs\": [\"10.2.0.0/16\"]}";
        let listed = [
            (List::NonMasquerade, "10.0.0.0/8"),
            (List::Masquerade, "10.1.0.0/16"),
            (List::NonMasquerade, "10.1.0.0/16"),
            (List::Masquerade, "10.2.0.0/16"),
            (List::Source, "10.2.0.0/16"),
            (List::Masquerade, "10.0.0.0/8"),
            (List::NonMasquerade, "192.168.0.0/16"),
        ];
        let expected = [
            Some("a:3"),
            Some("b:3"),
            Some("a:4"),
            Some("b:2"),
            Some("b:4"),
            None,
            None,
        ];
        assert_eq!(
            said_of(&[("a", a), ("b", b)], &listed),
            expected.map(|place| place.map(str::to_owned))
        );
    }

    #[test]
    fn without_files_nothing_stands_anywhere() {
        assert_eq!(said_of(&[], &[(List::Source, "10.0.0.0/8")]), [None]);
    }
}
