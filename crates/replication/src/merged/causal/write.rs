//! Writes of clients of this replica.

use data::merged::{Change, Dot, Merge};

#[cfg(any(test, feature = "planted-bugs"))]
use super::Bug;
use super::Causal;
use crate::time::Now;

impl Causal {
    /// The name of the next write.
    pub fn next_dot(&self) -> Dot {
        let origin = self.options.origin;
        Dot { origin, counter: self.vector.get(origin) + 1 }
    }

    /// Takes a write, of changes that were prepared over the state as it is, as the mutation [`Causal::next_dot`]. It is to be
    /// acknowledged when the entry whose number is given is durable.
    ///
    /// # Errors
    /// It has more bytes than `most`: so many. Nothing was done.
    pub fn write(&mut self, changes: Vec<Change>, most: usize, now: Now) -> Result<u64, usize> {
        let dot = self.next_dot();
        #[cfg(any(test, feature = "planted-bugs"))]
        let raw = self.has_bug(Bug::ClockTakenRaw);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        let raw = false;
        let time = match raw {
            true => data::merged::HybridTime { ms: now.wall_ms, logical: 0 },
            false => self.clock.tick(now.wall_ms),
        };
        let merge = Merge { dot, time, vector: self.vector.clone(), changes };
        let bytes = merge.encode();
        if bytes.len() > most {
            return Err(bytes.len());
        }
        self.apply(merge, bytes, now);
        Ok(self.last_index)
    }
}
