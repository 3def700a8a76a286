//! What is found while files are judged, before its lines are known.

use super::file::ConfigFile;
use super::finding::{ConfigErrors, Finding, MAX_ERRORS_SHOWN, Place};
use super::positions::{At, MAX_TEXT_BYTES, Part, lines};

/// A place in one of the files. The order is that of the files and of what stands in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    /// Index of the file.
    pub(super) file: usize,
    pub(super) at: At,
}

/// What a remark shows of the value that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ShownValue {
    Nothing,
    /// What stands there.
    AsWritten,
    Text(String),
}

/// A [`Finding`] whose place is not a line yet.
#[derive(Debug, Clone)]
pub(super) struct Remark {
    pub(super) key: String,
    pub(super) value: ShownValue,
    pub(super) reason: String,
    /// Another place, which `reason` ends with.
    pub(super) other: Option<Spot>,
    pub(super) remedy: String,
}

/// A file that was read, as far as remarks about it need it.
pub(super) struct ReadFile<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
    pub(super) file: ConfigFile<'a>,
}

/// The remarks about all files.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    /// In the order of their places, at most [`MAX_ERRORS_SHOWN`].
    errors: Vec<(Spot, Remark)>,
    more_errors: usize,
    warnings: Vec<(Spot, Remark)>,
    /// What is wrong with a file that cannot be read at all.
    unreadable: Vec<(Spot, Finding)>,
}

impl Remarks {
    /// An error. Where it will not be shown, it is counted and not built.
    pub(super) fn error(&mut self, spot: Spot, remark: impl FnOnce() -> Remark) {
        let place = self.errors.partition_point(|(before, _)| *before <= spot);
        if place >= MAX_ERRORS_SHOWN {
            self.more_errors += 1;
            return;
        }
        self.errors.insert(place, (spot, remark()));
        if self.errors.len() > MAX_ERRORS_SHOWN {
            self.errors.pop();
            self.more_errors += 1;
        }
    }

    /// A warning. There are at most two for each known key of a file.
    pub(super) fn warning(&mut self, spot: Spot, remark: Remark) {
        self.warnings.push((spot, remark));
    }

    /// The file with this index cannot be read.
    pub(super) fn unreadable(&mut self, file: usize, finding: Finding) {
        let at = At::key(0);
        self.unreadable.push((Spot { file, at }, finding));
    }

    /// # Errors
    /// Where there is any error; the warnings otherwise.
    pub(super) fn findings(
        mut self,
        files: &[Option<ReadFile<'_>>],
    ) -> Result<Vec<Finding>, ConfigErrors> {
        if self.errors.is_empty() && self.unreadable.is_empty() {
            self.warnings.sort_by_key(|(spot, _)| *spot);
            return Ok(Lines::of(&self.warnings, files)
                .findings(self.warnings)
                .map(|(_, finding)| finding)
                .collect());
        }
        let mut errors: Vec<(Spot, Finding)> = Lines::of(&self.errors, files)
            .findings(self.errors)
            .chain(self.unreadable)
            .collect();
        errors.sort_by_key(|(spot, _)| *spot);
        let beyond = errors.len().saturating_sub(MAX_ERRORS_SHOWN);
        errors.truncate(MAX_ERRORS_SHOWN);
        Err(ConfigErrors {
            errors: errors.into_iter().map(|(_, finding)| finding).collect(),
            more: self.more_errors + beyond,
        })
    }
}

/// The lines of some places.
pub(super) struct Lines<'a> {
    files: &'a [Option<ReadFile<'a>>],
    wanted: Vec<Spot>,
    /// Of each that is wanted.
    lines: Vec<Option<usize>>,
}

impl<'a> Lines<'a> {
    /// Of all places that the remarks name.
    fn of(remarks: &[(Spot, Remark)], files: &'a [Option<ReadFile<'a>>]) -> Self {
        let places = remarks
            .iter()
            .flat_map(|(spot, remark)| [Some(*spot), remark.other]);
        Self::at(places.flatten().collect(), files)
    }

    /// Of the places that are wanted.
    pub(super) fn at(mut wanted: Vec<Spot>, files: &'a [Option<ReadFile<'a>>]) -> Self {
        wanted.sort_unstable();
        wanted.dedup();
        let mut bytes_left = MAX_TEXT_BYTES;
        let of_file = |spots: &[Spot]| {
            let unknown = vec![None; spots.len()];
            let read = spots
                .first()
                .and_then(|spot| files.get(spot.file)?.as_ref());
            let Some((file, left)) =
                read.zip(read.and_then(|f| bytes_left.checked_sub(f.text.len())))
            else {
                return unknown;
            };
            bytes_left = left;
            let places: Vec<At> = spots.iter().map(|spot| spot.at).collect();
            lines(file.text, &file.file, &places)
        };
        let lines = wanted
            .chunk_by(|a, b| a.file == b.file)
            .flat_map(of_file)
            .collect();
        Self {
            files,
            wanted,
            lines,
        }
    }

    fn findings(self, remarks: Vec<(Spot, Remark)>) -> impl Iterator<Item = (Spot, Finding)> {
        remarks
            .into_iter()
            .map(move |(spot, remark)| (spot, self.finding(spot, remark)))
    }

    fn finding(&self, spot: Spot, remark: Remark) -> Finding {
        let place = match (self.line(spot), spot.at.part) {
            (Some(line), _) => Place::Line(line),
            (None, Part::Item(index)) => Place::Path(format!("{}[{index}]", remark.key)),
            (None, Part::Key | Part::Value) => Place::Path(remark.key.clone()),
        };
        let value = match remark.value {
            ShownValue::Nothing => None,
            ShownValue::Text(text) => Some(text),
            ShownValue::AsWritten => self
                .read(spot.file)
                .and_then(|file| file.file.shown(spot.at)),
        };
        let other = remark.other.map(|other| self.named(other, spot.file));
        Finding {
            file: self.name(spot.file).into(),
            place,
            key: Some(remark.key),
            value,
            reason: remark.reason + &other.unwrap_or_default(),
            remedy: remark.remedy,
        }
    }

    /// How the end of a reason names a place.
    fn named(&self, spot: Spot, from_file: usize) -> String {
        let line = self.line(spot);
        if spot.file == from_file {
            return line
                .map(|line| format!(" on line {line}"))
                .unwrap_or_default();
        }
        let name = self.name(spot.file);
        match line {
            Some(line) => format!(" in {name}:{line}"),
            None => format!(" in {name}"),
        }
    }

    pub(super) fn line(&self, spot: Spot) -> Option<usize> {
        let found = self.wanted.binary_search(&spot).ok()?;
        self.lines.get(found).copied().flatten()
    }

    fn read(&self, file: usize) -> Option<&ReadFile<'a>> {
        self.files.get(file)?.as_ref()
    }

    fn name(&self, file: usize) -> &'a str {
        self.files
            .get(file)
            .and_then(Option::as_ref)
            .map_or("", |file| file.name)
    }
}
