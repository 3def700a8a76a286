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
}
