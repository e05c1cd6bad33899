//! How fast a new member is sent what it lacks, as log or as snapshot. Members with a vote are never held back: the
//! partition's safety hangs on them.

use std::time::Duration;

use crate::time::Time;

/// Bytes in a time: what is sent has to be paid for before more may be.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// 0: as fast as it goes.
    pub bytes_per_second: u64,
    /// What was sent is paid for then.
    paid_at: Time,
}

impl Pace {
    fn time_of(&self, bytes: usize) -> Option<Duration> {
        (bytes as u64)
            .saturating_mul(1_000_000_000)
            .checked_div(self.bytes_per_second)
            .map(Duration::from_nanos)
    }

    /// May something be sent?
    pub fn allows(&self, now: Time) -> bool {
        self.bytes_per_second == 0 || self.paid_at <= now
    }

    /// When something may be sent again; the beginning of time if it may be sent at any time.
    pub fn paid_at(&self) -> Time {
        if self.bytes_per_second == 0 { Time::default() } else { self.paid_at }
    }

    /// So much was sent.
    pub fn spend(&mut self, bytes: usize, now: Time) {
        if let Some(time) = self.time_of(bytes) {
            self.paid_at = self.paid_at.max(now) + time;
        }
    }

    /// So much was written meanwhile, which is to be sent as well: twice that may be sent besides, or a partition that is
    /// written to faster than the pace would never get to its new member.
    pub fn grows(&mut self, bytes: usize) {
        if let Some(time) = self.time_of(2 * bytes) {
            self.paid_at = Time(self.paid_at.0.saturating_sub(time.as_nanos() as u64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_paid_for() {
        let mut pace = Pace { bytes_per_second: 1000, ..Pace::default() };
        let begin = Time(0) + Duration::from_secs(9);
        assert!(pace.allows(begin));
        pace.spend(500, begin);
        assert!(
            !pace.allows(begin + Duration::from_millis(499))
                && pace.allows(begin + Duration::from_millis(500))
        );
        pace.grows(100);
        assert_eq!(pace.paid_at(), begin + Duration::from_millis(300));
        pace.bytes_per_second = 0;
        assert!(pace.allows(begin));
    }
}
