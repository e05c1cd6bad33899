//! Numbers of the report: availability over time, and latency.

use serde::Serialize;

use crate::verify::record::{Ended, Sample};

/// Steps of the picture over time, in microseconds.
pub const STEP: u64 = 500_000;

/// What clients saw over time.
#[derive(Clone, Debug)]
pub struct Availability {
    /// In each step: answered, refused, unknown.
    pub steps: Vec<[u32; 3]>,
    /// When writes were acknowledged, sorted.
    writes: Vec<u64>,
    samples: Vec<(u64, Ended)>,
}

impl Availability {
    /// From the samples of a run of this length.
    pub fn new(samples: &[Sample], length: u64) -> Availability {
        let mut steps = vec![[0; 3]; (length / STEP + 1) as usize];
        for sample in samples {
            if let Some(step) = steps.get_mut((sample.to / STEP) as usize) {
                step[sample.ended as usize] += 1;
            }
        }
        let acknowledged = samples.iter().filter(|sample| sample.writes && sample.ended == Ended::Done);
        let mut writes: Vec<u64> = acknowledged.map(|sample| sample.to).collect();
        writes.sort_unstable();
        let mut samples: Vec<(u64, Ended)> = samples.iter().map(|sample| (sample.to, sample.ended)).collect();
        samples.sort_unstable_by_key(|(at, _)| *at);
        Availability { steps, writes, samples }
    }

    /// Which share of all operations was answered.
    pub fn share(&self) -> f64 {
        share(&self.samples)
    }

    /// Which share of those that ended within a time was answered, and the longest time without an acknowledged write that
    /// began in it.
    pub fn during(&self, from: u64, to: u64) -> (f64, u64) {
        let begin = self.samples.partition_point(|(at, _)| *at < from);
        let end = self.samples.partition_point(|(at, _)| *at <= to);
        let first = self.writes.partition_point(|at| *at < from);
        let mut last = from;
        let mut longest = 0;
        for at in &self.writes[first..] {
            longest = longest.max(at - last);
            last = *at;
            if last > to {
                break;
            }
        }
        (share(&self.samples[begin..end.max(begin)]), longest)
    }
}

fn share(samples: &[(u64, Ended)]) -> f64 {
    let done = samples.iter().filter(|(_, ended)| *ended == Ended::Done).count();
    if samples.is_empty() { 1.0 } else { done as f64 / samples.len() as f64 }
}

/// How long answered operations took, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// How many they were.
    pub count: usize,
    /// Half of them took less.
    pub p50: u64,
    /// Of a hundred, all but one took less.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl Latency {
    /// Of the answered reads or writes.
    pub fn new(samples: &[Sample], writes: bool) -> Latency {
        let chosen = samples.iter().filter(|sample| sample.writes == writes && sample.ended == Ended::Done);
        let mut all: Vec<u64> = chosen.map(|sample| sample.to - sample.from).collect();
        all.sort_unstable();
        let at = |share: f64| {
            let place = (all.len().saturating_sub(1) as f64 * share).round() as usize;
            all.get(place).copied().unwrap_or(0)
        };
        Latency { count: all.len(), p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_gaps() {
        let sample =
            |to: u64, writes: bool, ended: Ended| Sample { from: to - 10, to, node: 0, writes, ended };
        let samples = [
            sample(100, true, Ended::Done),
            sample(300_000, true, Ended::Refused),
            sample(600_000, false, Ended::Done),
            sample(900_000, true, Ended::Done),
            sample(950_000, true, Ended::Unknown),
        ];
        let availability = Availability::new(&samples, 1_000_000);
        assert_eq!(availability.steps, [[1, 1, 0], [2, 0, 1], [0, 0, 0]]);
        assert_eq!(availability.share(), 0.6);
        assert_eq!(availability.during(200_000, 700_000), (0.5, 700_000));
        assert_eq!(availability.during(0, 150), (1.0, 899_900));
        assert_eq!(Latency::new(&samples, true).count, 2);
        assert_eq!(Latency::new(&samples, true).max, 10);
    }
}
