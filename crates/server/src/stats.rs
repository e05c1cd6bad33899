//! Counters of a node, shared by its threads. Everything here only rises, except gauges that say so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use replication::histogram::{BUCKETS, Histogram, bucket_of};

/// A counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The present count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes from it (gauges).
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Puts another number in its place (gauges, `CONFIG RESETSTAT`).
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
}

/// The counters.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections accepted.
    pub connections_received: Counter,
    /// Connections turned away because there were too many.
    pub connections_rejected: Counter,
    /// Connections cut off because their replies piled up.
    pub output_buffer_disconnections: Counter,
    /// Requests that were not RESP or over a limit.
    pub protocol_errors: Counter,
    /// Commands answered.
    pub commands: Counter,
    /// Bytes read from clients.
    pub client_bytes_in: Counter,
    /// Bytes written to clients.
    pub client_bytes_out: Counter,
    /// Bytes read from peers.
    pub peer_bytes_in: Counter,
    /// Bytes written to peers.
    pub peer_bytes_out: Counter,
    /// Messages to peers that were dropped because the peer was away or its queue full.
    pub peer_drops: Counter,
    /// Connections to peers that were made.
    pub peer_connects: Counter,
    /// Commands answered `UNKNOWN`.
    pub replies_unknown: Counter,
    /// Commands refused by the cluster (no leader, deadline, full disk).
    pub replies_refused: Counter,
    /// fdatasync calls of the log.
    pub fsyncs: Counter,
    /// Batches that these calls made durable.
    pub batches: Counter,
    /// Bytes written to the log.
    pub log_bytes: Counter,
    /// The longest fdatasync so far, in microseconds (a gauge).
    pub fsync_max_us: Counter,
    /// Logs that wait for room on their disk (a gauge; each worker has a log).
    pub full_logs: Counter,
    /// 1 if this node goes by the keyspaces that it knew before it started, since the catalogue has no majority here.
    pub goes_by_last_known: Counter,
    /// Reads that were sent to another replica as well, since the first had not answered.
    pub hedged_reads: Counter,
    /// How often all that a connection read at a replica was asked of another one instead, since no answer came.
    pub reads_taken_elsewhere: Counter,
    /// Snapshots of our own that became durable.
    pub snapshots_taken: Counter,
    /// Partitions of this node that were split.
    pub splits: Counter,
    /// Writes that this node had as primary and its successor has not.
    pub lost_writes: Counter,
    /// Snapshots sent to peers.
    pub snapshots_sent: Counter,
    /// Snapshots of peers that took the place of our state.
    pub snapshots_installed: Counter,
    /// Elections seen: a partition here got a new leader.
    pub leader_changes: Counter,
    errors: Mutex<BTreeMap<String, u64>>,
    samples: Mutex<VecDeque<Sample>>,
    /// How long reads took, and how long writes: counts by length.
    times: [Times; 2],
    /// What these were, second by second.
    times_before: Mutex<VecDeque<(u64, [[u64; BUCKETS]; 2])>>,
}

/// Counts by length.
#[derive(Debug)]
struct Times([Counter; BUCKETS]);

impl Default for Times {
    fn default() -> Times {
        Times(std::array::from_fn(|_| Counter::default()))
    }
}

/// Live latencies are those of so many seconds.
const LIVE_SECONDS: usize = 10;

/// How far the counters were at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at_ms: u64,
    commands: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// Rates over the last samples, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Commands.
    pub commands: u64,
    /// Bytes read from clients.
    pub bytes_in: u64,
    /// Bytes written to clients.
    pub bytes_out: u64,
}

/// Samples that a rate is taken over: at one each 100 ms the last 1.6 s, as Redis does.
const SAMPLES: usize = 16;
/// Error prefixes that are told apart; a client can make up any number of them.
const ERROR_PREFIXES: usize = 128;

impl Stats {
    /// A command of a client took so long, from its arrival to its answer: of those whose time is taken.
    pub fn took(&self, is_write: bool, time: Duration) {
        self.times[usize::from(is_write)].0[bucket_of(time)].add(1);
    }

    /// How long reads took since the start, or writes.
    pub fn times(&self, is_write: bool) -> Histogram {
        Histogram::of_counts(self.counts(is_write))
    }

    /// How long reads took in the last seconds, or writes.
    pub fn live_times(&self, is_write: bool) -> Histogram {
        let mut counts = self.counts(is_write);
        if let Some((_, before)) = lock(&self.times_before).front() {
            let before = &before[usize::from(is_write)];
            counts.iter_mut().zip(before).for_each(|(count, before)| *count = count.saturating_sub(*before));
        }
        Histogram::of_counts(counts)
    }

    fn counts(&self, is_write: bool) -> [u64; BUCKETS] {
        std::array::from_fn(|bucket| self.times[usize::from(is_write)].0[bucket].get())
    }

    /// Counts an error reply by its prefix (`ERR`, `WRONGTYPE`, ...).
    pub fn error(&self, text: &str) {
        let prefix = text.split(' ').next().unwrap_or_default();
        let mut errors = lock(&self.errors);
        if let Some(count) = errors.get_mut(prefix) {
            *count += 1;
        } else if errors.len() < ERROR_PREFIXES {
            errors.insert(prefix.to_string(), 1);
        }
    }

    /// Error replies by prefix.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        lock(&self.errors).clone()
    }

    /// Notes how far the counters are, for the rates in `INFO`. To be called about every 100 ms.
    pub fn sample(&self, now_ms: u64) {
        let sample = Sample {
            at_ms: now_ms,
            commands: self.commands.get(),
            bytes_in: self.client_bytes_in.get(),
            bytes_out: self.client_bytes_out.get(),
        };
        let mut times = lock(&self.times_before);
        if times.back().is_none_or(|(at_ms, _)| now_ms >= at_ms + 1000) {
            if times.len() == LIVE_SECONDS {
                times.pop_front();
            }
            times.push_back((now_ms, [self.counts(false), self.counts(true)]));
        }
        drop(times);
        let mut samples = lock(&self.samples);
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The rates between the oldest and the newest sample; zero with fewer than two.
    pub fn rates(&self) -> Rates {
        let samples = lock(&self.samples);
        let (Some(old), Some(new)) = (samples.front(), samples.back()) else { return Rates::default() };
        let ms = new.at_ms.saturating_sub(old.at_ms);
        let rate = |old: u64, new: u64| (new.saturating_sub(old) * 1000).checked_div(ms).unwrap_or(0);
        Rates {
            commands: rate(old.commands, new.commands),
            bytes_in: rate(old.bytes_in, new.bytes_in),
            bytes_out: rate(old.bytes_out, new.bytes_out),
        }
    }

    /// `CONFIG RESETSTAT`: what Redis resets. The counters of disk and peers stay, since they are read as totals.
    pub fn reset(&self) {
        let counters = [
            &self.connections_received,
            &self.connections_rejected,
            &self.output_buffer_disconnections,
            &self.protocol_errors,
            &self.commands,
            &self.client_bytes_in,
            &self.client_bytes_out,
            &self.replies_unknown,
            &self.replies_refused,
        ];
        counters.iter().for_each(|counter| counter.set(0));
        lock(&self.errors).clear();
        lock(&self.samples).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second_over_the_samples() {
        let stats = Stats::default();
        assert_eq!(stats.rates(), Rates::default());
        for step in 0..20 {
            stats.sample(1_000 + step * 100);
            stats.commands.add(50);
        }
        assert_eq!(stats.rates().commands, 500);
        stats.reset();
        assert_eq!(stats.rates(), Rates::default());
    }

    #[test]
    fn errors_are_counted_by_prefix_and_bounded() {
        let stats = Stats::default();
        stats.error("ERR unknown command");
        stats.error("ERR syntax error");
        stats.error("WRONGTYPE Operation");
        assert_eq!(stats.errors()["ERR"], 2);
        (0..1000).for_each(|n| stats.error(&format!("E{n} x")));
        assert_eq!(stats.errors().len(), ERROR_PREFIXES);
    }
}
