//! What is found while a file is judged, before its lines are known.

use super::file::ConfigFile;
use super::finding::{ConfigErrors, Finding, MAX_ERRORS_SHOWN, Place};
use super::positions::{At, Part, lines};

/// A [`Finding`] whose place is not a line yet.
#[derive(Debug, Clone)]
pub(super) struct Remark {
    pub(super) at: At,
    pub(super) key: String,
    pub(super) value: Option<String>,
    pub(super) reason: String,
    /// A place that `reason` ends with.
    pub(super) earlier: Option<At>,
    pub(super) remedy: String,
}

/// The remarks about one file.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    errors: Vec<Remark>,
    more_errors: usize,
    warnings: Vec<Remark>,
}

impl Remarks {
    /// To be called in the order of the file: beyond what is shown, an error is counted and not built.
    pub(super) fn error(&mut self, remark: impl FnOnce() -> Remark) {
        if self.errors.len() < MAX_ERRORS_SHOWN {
            self.errors.push(remark());
        } else {
            self.more_errors += 1;
        }
    }

    /// An error about an earlier place in the file.
    pub(super) fn late_error(&mut self, remark: Remark) {
        let place = self.errors.partition_point(|error| error.at <= remark.at);
        self.errors.insert(place, remark);
        if self.errors.len() > MAX_ERRORS_SHOWN {
            self.errors.truncate(MAX_ERRORS_SHOWN);
            self.more_errors += 1;
        }
    }

    /// A warning. There is at most one of a kind for each known key.
    pub(super) fn warning(&mut self, remark: Remark) {
        self.warnings.push(remark);
    }

    /// # Errors
    /// Where there is any error; the warnings otherwise.
    pub(super) fn findings(
        self,
        file_name: &str,
        text: &str,
        file: &ConfigFile<'_>,
    ) -> Result<Vec<Finding>, ConfigErrors> {
        let bad = !self.errors.is_empty();
        let remarks = if bad { self.errors } else { self.warnings };
        let mut wanted: Vec<At> = remarks
            .iter()
            .flat_map(|remark| [Some(remark.at), remark.earlier])
            .flatten()
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let lines = lines(text, file, &wanted);
        let line = |at: At| {
            let found = wanted.binary_search(&at).ok()?;
            lines.get(found).copied().flatten()
        };
        let findings = remarks
            .into_iter()
            .map(|remark| remark.in_file(file_name, line))
            .collect();
        if bad {
            Err(ConfigErrors {
                errors: findings,
                more: self.more_errors,
            })
        } else {
            Ok(findings)
        }
    }
}

impl Remark {
    fn in_file(self, file_name: &str, line: impl Fn(At) -> Option<usize>) -> Finding {
        let place = match (line(self.at), self.at.part) {
            (Some(line), _) => Place::Line(line),
            (None, Part::Item(index)) => Place::Path(format!("{}[{index}]", self.key)),
            (None, Part::Key | Part::Value) => Place::Path(self.key.clone()),
        };
        let reason = match self.earlier.map(line) {
            None => self.reason,
            Some(Some(line)) => format!("{} on line {line}", self.reason),
            Some(None) => format!("{} before", self.reason),
        };
        Finding {
            file: file_name.into(),
            place,
            key: Some(self.key),
            value: self.value,
            reason,
            remedy: self.remedy,
        }
    }
}
