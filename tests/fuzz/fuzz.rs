//! libFuzzer's program. FUZZ_TARGET names the target: one of [`properties::TARGETS`].

#![no_main]

mod properties;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static PROPERTY: LazyLock<properties::Property> = LazyLock::new(|| {
    let chosen = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let mut targets = properties::TARGETS.into_iter();
    let found = targets.find(|(name, _)| *name == chosen);
    found.expect("a target of that name").1
});

fuzz_target!(|bytes: &[u8]| PROPERTY(bytes));
