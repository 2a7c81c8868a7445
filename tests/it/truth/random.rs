//! Seeded choices: a seed is a platform, and a row of questions.

/// Small steps of a 64-bit generator (Steele et al., `SplitMix64`).
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number from 0 up to, not including, `n`.
    pub(crate) fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as i64
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: i64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub(crate) fn choose<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as i64) as usize].clone()
    }

    /// Some of these, in their order, at least one.
    pub(crate) fn some<T: Clone>(&mut self, from: &[T]) -> Vec<T> {
        let some: Vec<T> = from.iter().filter(|_| self.once_in(2)).cloned().collect();
        if some.is_empty() { vec![self.choose(from)] } else { some }
    }

    /// Puts them into some other order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as i64 + 1) as usize);
        }
    }
}

/// The number that the environment gives, or `usual`.
pub(crate) fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// The seed of random questions: `INSIGHTS_TEST_SEED`, else one that stays.
pub(crate) fn seed() -> u64 {
    setting("INSIGHTS_TEST_SEED", 20_241_105)
}

/// How many random questions: `INSIGHTS_TEST_QUESTIONS` in all, else as many as fit a change's tests; `part`
/// of the 400 is the share of one test.
pub(crate) fn questions(part: u64) -> u64 {
    (setting("INSIGHTS_TEST_QUESTIONS", 400) * part).div_ceil(400)
}
