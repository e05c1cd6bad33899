//! The clocks of one node, as functions of true (virtual) time.
//!
//! The monotonic clock runs at a rate that differs from true time by some parts per million; safety may assume a bound
//! on that difference and nothing else. The wall clock has an offset that may jump to anything.

use replication::{Now, Time};

/// Virtual time: nanoseconds since the simulation began. Only the simulator knows it.
pub type TrueTime = u64;

/// A millisecond of virtual time.
pub const MILLISECOND: TrueTime = 1_000_000;
/// A second of virtual time.
pub const SECOND: TrueTime = 1_000_000_000;

/// What all wall clocks agree to show when the simulation begins, if nothing is wrong with them.
const WALL_START_MS: u64 = 1_800_000_000_000;

/// Both clocks of one node.
#[derive(Clone, Debug)]
pub struct Clock {
    anchor_true: TrueTime,
    anchor_local: u64,
    rate_ppm: i64,
    wall_offset_ms: i64,
}

impl Clock {
    /// A clock that shows `local` at `at` and gains `rate_ppm` microseconds a second.
    pub fn new(at: TrueTime, local: Time, rate_ppm: i64, wall_offset_ms: i64) -> Clock {
        Clock { anchor_true: at, anchor_local: local.0, rate_ppm, wall_offset_ms }
    }

    /// What both clocks show.
    pub fn now(&self, at: TrueTime) -> Now {
        let wall = (WALL_START_MS + at / MILLISECOND).saturating_add_signed(self.wall_offset_ms);
        Now { time: self.local(at), wall_ms: wall }
    }

    /// What the monotonic clock shows.
    pub fn local(&self, at: TrueTime) -> Time {
        let passed = i128::from(at.saturating_sub(self.anchor_true));
        let gained = passed * i128::from(self.rate_ppm) / 1_000_000;
        Time(self.anchor_local + (passed + gained).max(0) as u64)
    }

    /// The first true time at or after `from` at which the monotonic clock shows `local` or later, if its rate stays.
    pub fn true_at(&self, local: Time, from: TrueTime) -> TrueTime {
        // Later than any run lasts is as good as never.
        if local.0 > u64::MAX / 4 {
            return TrueTime::MAX;
        }
        let wanted = i128::from(local.0) - i128::from(self.anchor_local);
        let passed = wanted * 1_000_000 / (1_000_000 + i128::from(self.rate_ppm));
        let mut at = (i128::from(self.anchor_true) + passed).clamp(0, i128::from(u64::MAX)) as u64;
        at = at.max(from);
        while self.local(at) < local {
            at += 1;
        }
        at
    }

    /// From `at` on the monotonic clock runs at another rate, going on from where it is.
    pub fn set_rate(&mut self, at: TrueTime, rate_ppm: i64) {
        self.anchor_local = self.local(at).0;
        self.anchor_true = at;
        self.rate_ppm = rate_ppm;
    }

    /// A new start of the machine: the monotonic clock begins anew.
    pub fn restart(&mut self, at: TrueTime, local: Time) {
        self.anchor_true = at;
        self.anchor_local = local.0;
    }

    /// Sets how far the wall clock is off.
    pub fn set_wall_offset(&mut self, offset_ms: i64) {
        self.wall_offset_ms = offset_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_is_never_early_and_at_most_a_nanosecond_late() {
        let mut clock = Clock::new(17, Time(1_000_003), -23_457, 5);
        clock.set_rate(999_999_937, 24_001);
        for local in [1_000_003, 1_000_004, 5_000_000_000, 123_456_789_012] {
            let at = clock.true_at(Time(local), 999_999_937);
            assert!(clock.local(at) >= Time(local));
            assert!(at == 999_999_937 || clock.local(at - 1) < Time(local));
        }
        assert_eq!(clock.true_at(Time::NEVER, 0), TrueTime::MAX);
    }

    #[test]
    fn the_rate_changes_without_a_jump() {
        let mut clock = Clock::new(0, Time(0), 20_000, 0);
        let before = clock.local(SECOND);
        clock.set_rate(SECOND, -20_000);
        assert_eq!(clock.local(SECOND), before);
        assert_eq!(clock.local(2 * SECOND).since(before).as_micros(), 980_000);
    }
}
