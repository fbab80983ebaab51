// SPDX-License-Identifier: GPL-2.0

//! Which bytes of a buffer have been written to. Pure.

use core::ops::Range;

/// Which bytes of a buffer have been written to: those before `prefix`, and those of `apart`.
///
/// The latter is because a message's offsets may be written before its payload.
#[derive(Clone, Default)]
pub(super) struct Filled {
    prefix: usize,
    /// Empty, or beyond `prefix`.
    apart: Range<usize>,
}

impl Filled {
    /// What has been written to if `bytes` are written now and the gap that is returned is zeroed.
    pub(super) fn with(&self, bytes: Range<usize>) -> (Self, Range<usize>) {
        let Self { prefix, apart } = self.clone();
        if bytes.is_empty() {
            return (Self { prefix, apart }, 0..0);
        }
        if bytes.start > prefix && (apart.is_empty() || bytes.start >= apart.start) {
            let gap = if apart.is_empty() {
                bytes.start..bytes.start
            } else {
                apart.end.min(bytes.start)..bytes.start
            };
            let start = if apart.is_empty() {
                bytes.start
            } else {
                apart.start
            };
            let apart = start..apart.end.max(bytes.end);
            return (Self { prefix, apart }, gap);
        }
        let gap = prefix.min(bytes.start)..bytes.start;
        let prefix = prefix.max(bytes.end);
        if prefix < apart.start {
            return (Self { prefix, apart }, gap);
        }
        let prefix = prefix.max(apart.end);
        (
            Self {
                prefix,
                apart: 0..0,
            },
            gap,
        )
    }

    /// What has not been written to, of `len` bytes.
    pub(super) fn gaps(&self, len: usize) -> [Range<usize>; 2] {
        if self.apart.is_empty() {
            [self.prefix..len, len..len]
        } else {
            [self.prefix..self.apart.start, self.apart.end..len]
        }
    }
}

#[cfg(any(test, rust_ipc_kunit))]
#[cfg_attr(rust_ipc_kunit, kernel::prelude::kunit_tests(rust_ipc_vma))]
mod tests {
    use super::Filled;

    /// Bytes of a buffer, one bit each.
    fn bits(range: core::ops::Range<usize>) -> u32 {
        range.fold(0, |bits, byte| bits | 1 << byte)
    }

    #[test]
    fn everything_is_written_or_zeroed_once() {
        // All ways to write four ranges into six bytes.
        const LEN: usize = 6;
        const RANGES: usize = LEN * LEN;
        for sequence in 0..RANGES.pow(4) {
            let mut filled = Filled::default();
            let (mut written, mut zeroed) = (0, 0);
            for nth in 0..4 {
                let number = sequence / RANGES.pow(nth) % RANGES;
                let (start, len) = (number / LEN, number % LEN);
                let range = start..LEN.min(start + len);
                let (after, gap) = filled.with(range.clone());
                filled = after;
                // Nothing that was written is zeroed.
                assert_eq!(bits(gap.clone()) & written, 0);
                zeroed |= bits(gap);
                written |= bits(range);
            }
            let gaps = filled
                .gaps(LEN)
                .into_iter()
                .fold(0, |all, gap| all | bits(gap));
            assert_eq!(gaps & written, 0);
            assert_eq!(gaps | written | zeroed, bits(0..LEN));
        }
    }

    #[test]
    fn a_tail_that_is_written_first_is_not_zeroed_over() {
        let (filled, gap) = Filled::default().with(96..128);
        assert!(gap.is_empty());
        let (filled, gap) = filled.with(0..40);
        assert!(gap.is_empty());
        let (filled, gap) = filled.with(40..96);
        assert!(gap.is_empty());
        assert!(filled.gaps(128).iter().all(|gap| gap.is_empty()));
    }
}
