//! What happens next, at random from a seed.

use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood 2014): nothing depends on how random it is.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `limit`, without that.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.roll() % u64::from(limit)).expect("less than a u32")
    }

    pub(crate) fn one_in(&mut self, number: u32) -> bool {
        self.below(number) == 0
    }

    pub(crate) fn milliseconds(&mut self, range: std::ops::Range<u32>) -> Duration {
        let length = range.end - range.start;
        Duration::from_micros(1_000 * u64::from(range.start))
            + Duration::from_micros(u64::from(self.below(1_000 * length)))
    }

    pub(crate) fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let number = u32::try_from(choices.len()).expect("few choices");
        &choices[self.below(number) as usize]
    }
}
