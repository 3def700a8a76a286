//! Lists in a sentence.

use std::fmt::Display;

/// All items with `separator` between two.
pub(crate) fn all<T: Display>(items: impl IntoIterator<Item = T>, separator: &str) -> String {
    let texts = items.into_iter().map(|item| item.to_string());
    texts.collect::<Vec<_>>().join(separator)
}

/// The first items with `separator` between two, and how many more there are.
pub(crate) fn first<T: Display>(items: &[T], most: usize, separator: &str) -> String {
    let shown = all(items.iter().take(most), separator);
    match items.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What `said` says, with a capital letter and a full stop.
pub(crate) fn sentence(said: impl Display) -> String {
    let said = said.to_string();
    let mut characters = said.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shown_is_counted() {
        assert_eq!(all([1, 2, 3], ","), "1,2,3");
        assert_eq!(first(&[1, 2, 3], 3, ", "), "1, 2, 3");
        assert_eq!(first(&[1, 2, 3], 2, ", "), "1, 2 and 1 more");
        assert_eq!(first(&[0; 0], 2, ", "), "");
    }

    #[test]
    fn a_sentence_begins_and_ends_as_one() {
        assert_eq!(sentence("there is none"), "There is none.");
    }
}
