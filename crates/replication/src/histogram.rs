//! How long things took: counts by length, two lengths to an octave, so that what is said of them is at most 41 % too much.

use std::time::Duration;

/// How many lengths are told apart: up to 2^32 microseconds.
pub const BUCKETS: usize = 64;

/// Which of them a time belongs to.
pub fn bucket_of(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    if micros < 2 {
        return micros as usize;
    }
    let octave = micros.ilog2() as usize;
    // The bit behind the highest says in which half of the octave it is.
    let half = (micros >> (octave - 1)) as usize & 1;
    (2 * octave + half).min(BUCKETS - 1)
}

/// The longest time, in microseconds, that belongs to one of them.
pub fn edge_of(bucket: usize) -> u64 {
    match bucket {
        0 | 1 => bucket as u64,
        _ => {
            let (octave, half) = (bucket as u32 / 2, bucket as u64 % 2);
            (1 << octave) + ((1 + half) << (octave - 1)) - 1
        }
    }
}

/// The counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: Box::new([0; BUCKETS]), longest: Duration::ZERO }
    }
}

impl Histogram {
    /// Those that were counted elsewhere; nothing is known of the longest but where it belongs.
    pub fn of_counts(counts: [u64; BUCKETS]) -> Histogram {
        let last = counts.iter().rposition(|count| *count > 0);
        let longest = last.map_or(Duration::ZERO, |bucket| Duration::from_micros(edge_of(bucket)));
        Histogram { counts: Box::new(counts), longest }
    }

    /// Counts one.
    pub fn add(&mut self, time: Duration) {
        self.counts[bucket_of(time)] += 1;
        self.longest = self.longest.max(time);
    }

    /// Counts what another one has counted, too.
    pub fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&*other.counts).for_each(|(count, more)| *count += more);
        self.longest = self.longest.max(other.longest);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The longest.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// That share of all (0.99: 99 of 100) took at most so long; nothing took any time if there is none.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_micros(edge_of(bucket)).min(self.longest);
            }
        }
        self.longest
    }
}

/// The counts of the last while: of what was counted within one to two windows before the last one that was counted.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    present: Histogram,
    former: Histogram,
    /// When the present window began, in microseconds of whatever clock.
    began: u64,
}

/// How long a window is, in microseconds.
const WINDOW: u64 = 60_000_000;

impl Recent {
    /// Counts one, at that moment.
    pub fn add(&mut self, time: Duration, now: u64) {
        self.turn(now);
        self.present.add(time);
    }

    /// What there is, unless there is nothing.
    pub fn shown(&self) -> Option<Histogram> {
        let mut shown = self.present.clone();
        shown.merge(&self.former);
        (shown.count() > 0).then_some(shown)
    }

    fn turn(&mut self, now: u64) {
        let windows = now.saturating_sub(self.began) / WINDOW;
        if windows > 0 {
            self.former = if windows == 1 { std::mem::take(&mut self.present) } else { Histogram::default() };
            self.present = Histogram::default();
            self.began = now - now % WINDOW;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_belongs_between_two_edges() {
        for micros in (0..5000).chain((13..60).map(|bit| (1 << bit) + 7)) {
            let bucket = bucket_of(Duration::from_micros(micros));
            assert!(micros <= edge_of(bucket) || bucket == BUCKETS - 1, "{micros} in {bucket}");
            assert!(bucket == 0 || micros > edge_of(bucket - 1), "{micros} in {bucket}");
        }
        let edges: Vec<u64> = (0..BUCKETS).map(edge_of).collect();
        assert!(
            edges.is_sorted() && edges.windows(2).skip(2).all(|pair| pair[1] < 2 * pair[0] + 1),
            "{edges:?}"
        );
    }

    #[test]
    fn quantiles_are_a_little_too_much_at_the_most() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.count(), histogram.quantile(0.5)), (0, Duration::ZERO));
        (1..=1000).for_each(|millis| histogram.add(Duration::from_millis(millis)));
        for (share, millis) in [(0.01, 10), (0.5, 500), (0.9, 900), (1.0, 1000)] {
            let exact = Duration::from_millis(millis);
            let found = histogram.quantile(share);
            assert!(found >= exact && found <= exact.mul_f64(1.5), "{share}: {found:?}");
        }
        assert_eq!((histogram.longest(), histogram.count()), (Duration::from_secs(1), 1000));
        let mut both = Histogram::default();
        both.add(Duration::from_secs(5));
        both.merge(&histogram);
        assert_eq!((both.count(), both.quantile(1.0)), (1001, Duration::from_secs(5)));
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let mut recent = Recent::default();
        assert_eq!(recent.shown(), None);
        let mut counted = |seconds: u64, now: u64| {
            recent.add(Duration::from_secs(seconds), now);
            recent.shown().map(|shown| (shown.count(), shown.longest().as_secs()))
        };
        assert_eq!(counted(9, 5), Some((1, 9)));
        assert_eq!(counted(2, WINDOW + 5), Some((2, 9)));
        assert_eq!(counted(3, 2 * WINDOW + 6), Some((2, 3)));
        assert_eq!(counted(1, 4 * WINDOW + 6), Some((1, 1)));
    }
}
