// SPDX-License-Identifier: GPL-2.0

//! Choices.

/// Numbers that look random (SplitMix64).
pub(crate) struct Random(u64);

/// Makes one number of two.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut random = Random(a);
    let first = random.next();
    Random(first ^ b).next()
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// True so many times of a hundred.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A number of the sort that checks are about.
    pub(crate) fn odd_number(&mut self) -> u64 {
        let base = self.of(&[
            0,
            1,
            4,
            8,
            64,
            4096,
            1 << 31,
            1 << 32,
            1 << 47,
            1 << 62,
            1 << 63,
            u64::MAX,
        ]);
        match self.below(3) {
            0 => base,
            1 => base.wrapping_add(self.below(17) as u64).wrapping_sub(8),
            _ => self.next() >> self.below(64),
        }
    }
}
