//! What happened, for people (lines) and for machines (one hash that two runs of a seed must share).

use crate::clock::{MILLISECOND, TrueTime};

/// The story of one simulation. Lines are only made when they are asked for: a failing seed is simply run again.
#[derive(Debug)]
pub struct Story {
    keep: bool,
    lines: Vec<String>,
    hash: u64,
}

impl Story {
    /// `keep`: keep the lines.
    pub fn new(keep: bool) -> Story {
        Story { keep, lines: Vec::new(), hash: 0x5151_5151 }
    }

    /// Tells one line; `line` is only called if lines are kept.
    pub fn tell(&mut self, at: TrueTime, line: impl FnOnce() -> String) {
        if self.keep {
            let micros = (at % MILLISECOND) / 1000;
            self.lines.push(format!("{:>6}.{micros:03} ms  {}", at / MILLISECOND, line()));
        }
    }

    /// Mixes something that happened into the hash.
    pub fn mark(&mut self, at: TrueTime, what: u64, detail: u64) {
        for part in [at, what, detail] {
            self.hash = (self.hash ^ part).wrapping_mul(0x9fb2_1c65_1e98_df25).rotate_left(29);
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines so far.
    pub fn into_lines(self) -> Vec<String> {
        self.lines
    }
}
