//! Hybrid logical clocks (Kulkarni, Demirbas, Madappa, Avva and Leone 2014): times that are close to those of the wall clock, and
//! in which an effect is always later than its cause, however wrong the clocks are.

use data::merged::HybridTime;

/// The clock of one replica.
#[derive(Clone, Copy, Debug, Default)]
pub struct HybridClock {
    /// The latest time that was given or seen.
    latest: HybridTime,
}

impl HybridClock {
    /// One that goes on after `latest`.
    pub fn after(latest: HybridTime) -> HybridClock {
        HybridClock { latest }
    }

    /// The time of something that happens now: later than all that was given or seen.
    pub fn tick(&mut self, wall_ms: u64) -> HybridTime {
        self.latest = match self.latest {
            latest if wall_ms > latest.ms => HybridTime { ms: wall_ms, logical: 0 },
            HybridTime { ms, logical: u32::MAX } => HybridTime { ms: ms + 1, logical: 0 },
            HybridTime { ms, logical } => HybridTime { ms, logical: logical + 1 },
        };
        self.latest
    }

    /// Something that happened then was seen.
    pub fn observe(&mut self, time: HybridTime) {
        self.latest = self.latest.max(time);
    }

    /// The latest time that was given or seen.
    pub fn latest(&self) -> HybridTime {
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_are_later_than_their_causes() {
        let mut clock = HybridClock::default();
        let mut last = clock.tick(5);
        // The wall clock stands, goes back, and jumps; somebody else's runs ahead.
        for wall_ms in [5, 5, 3, 9, 1, 9] {
            let time = clock.tick(wall_ms);
            assert!(time > last);
            last = time;
        }
        clock.observe(HybridTime { ms: 100, logical: u32::MAX });
        assert_eq!(clock.tick(50), HybridTime { ms: 101, logical: 0 });
        assert_eq!(clock.tick(200), HybridTime { ms: 200, logical: 0 });
        assert!(HybridClock::after(last).tick(0) > last);
    }
}
