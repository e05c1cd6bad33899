//! Chance, from a seed: the generator of our core, with what drawing cases takes.

pub struct Random(replication::random::Random);

impl Random {
    pub fn new(seed: u64) -> Random {
        // Seeds that follow one another are to have nothing in common.
        Random(replication::random::Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// A number in `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound.max(1))
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}
