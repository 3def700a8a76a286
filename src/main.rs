//! argv → logging → command → exit code, nothing else.
fn main() {}
