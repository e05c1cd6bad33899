//! Time as the core sees it: it comes in with every input.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on this node's monotonic clock: nanoseconds since some start of its own. Says nothing about other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Later than any other.
    pub const NEVER: Time = Time(u64::MAX);

    /// The time from `earlier` until this, zero if it is not earlier.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(duration.as_nanos() as u64))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, duration: Duration) -> Time {
        Time(self.0.saturating_sub(duration.as_nanos() as u64))
    }
}

/// Both clocks of a node at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock, for deadlines and leases. Only its *rate* is trusted, within a stated bound.
    pub time: Time,
    /// The wall clock in milliseconds since the epoch, for stamps and expiry. It may jump; safety never depends on it.
    pub wall_ms: u64,
}
