//! The node's clocks.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use replication::{Now, Time};

/// Reads both clocks. The monotonic one counts from the start of the node, plus an hour (so that a point a little before
/// the start has a number too).
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

const OFFSET: Duration = Duration::from_secs(3600);

impl Clock {
    /// Starts now.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        let wall_ms = wall_clock_ms();
        Now { time: self.time_of(Instant::now()), wall_ms }
    }

    /// The core's name for a moment.
    pub fn time_of(&self, instant: Instant) -> Time {
        Time(0) + (instant.saturating_duration_since(self.start) + OFFSET)
    }

    /// The moment that the core means; `None`: never.
    pub fn instant_of(&self, time: Time) -> Option<Instant> {
        if time == Time::NEVER {
            return None;
        }
        self.start.checked_add(time.since(Time(0)).saturating_sub(OFFSET))
    }
}

/// Milliseconds since the process first asked: for durations, which no change of the wall clock may bend.
pub fn monotonic_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// Milliseconds since the epoch; 0 if the clock stands before it.
pub fn wall_clock_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}
