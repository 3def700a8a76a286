//! Where a configured CIDR stands. The configuration itself does not remember it: a daemon would carry the places of
//! 100,000 CIDRs about for nobody. Who asks reads the texts once more.

use std::collections::HashMap;
use std::fmt;

use ipnet::IpNet;
use serde::Serialize;

use super::finding::Escaped;
use super::keys::{MASQUERADE_CIDRS, NON_MASQUERADE_CIDRS, SOURCE_CIDRS};
use super::merge::{AllSaid, ListField};
use super::positions::Part;
use super::remarks::{Lines, Remarks, Spot};
use super::{Source, read, said};

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

    fn field(self) -> ListField {
        match self {
            Self::NonMasquerade => |said| said.non_masquerade_cidrs.as_ref(),
            Self::Masquerade => |said| said.masquerade_cidrs.as_ref(),
            Self::Source => |said| said.source_cidrs.as_ref(),
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

/// Where a CIDR stands. `Display` is `FILE:LINE`, or `FILE: nonMasqueradeCIDRs[1]` where the line is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CidrPlace {
    /// The file, as the user named it.
    pub file: String,
    /// Counted from 1; none where it is not known for sure.
    pub line: Option<usize>,
    /// The item's place in its list, counted from 0.
    pub item: usize,
    /// Which list.
    #[serde(skip)]
    pub list: List,
}

impl fmt::Display for CidrPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = Escaped(&self.file);
        match self.line {
            Some(line) => write!(f, "{file}:{line}"),
            None => write!(f, "{file}: {}[{}]", self.list.key(), self.item),
        }
    }
}

/// Where each of the `listed` CIDRs stands first; none where no file holds it, as with the default list.
#[must_use]
pub fn places(files: &[Source<'_>], listed: &[ListedCidr]) -> Vec<Option<CidrPlace>> {
    let mut remarks = Remarks::default();
    let read = read(files, &mut remarks);
    let said = said(&read, &mut remarks);
    let mut first: HashMap<ListedCidr, Option<Spot>> =
        listed.iter().map(|wanted| (*wanted, None)).collect();
    for list in [List::NonMasquerade, List::Masquerade, List::Source] {
        for (spot, cidr) in AllSaid(&said).cidrs(list.field()) {
            if let Some(found) = first.get_mut(&ListedCidr { list, cidr }) {
                found.get_or_insert(spot);
            }
        }
    }
    let lines = Lines::at(first.values().copied().flatten().collect(), &read);
    let place = |wanted: &ListedCidr| {
        let spot = (*first.get(wanted)?)?;
        let Part::Item(item) = spot.at.part else {
            return None;
        };
        Some(CidrPlace {
            file: files.get(spot.file)?.name.to_owned(),
            line: lines.line(spot),
            item,
            list: wanted.list,
        })
    };
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
    fn where_the_line_is_not_known_the_item_is_named() {
        // Beyond this size no lines are looked for.
        let filler = "#".repeat(super::super::positions::MAX_TEXT_BYTES);
        let text = format!("nonMasqueradeCIDRs: [10.0.0.0/8, 10.1.0.0/16]\n{filler}\n");
        let listed = [(List::NonMasquerade, "10.1.0.0/16")];
        assert_eq!(
            said_of(&[("f\n", &text)], &listed),
            [Some("f\\n: nonMasqueradeCIDRs[1]".to_owned())]
        );
    }

    #[test]
    fn without_files_nothing_stands_anywhere() {
        assert_eq!(said_of(&[], &[(List::Source, "10.0.0.0/8")]), [None]);
    }
}
