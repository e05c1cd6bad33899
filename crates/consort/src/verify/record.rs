//! What is recorded beside the histories: when each operation was sent and answered and how it ended, for availability and
//! latency.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::client::Answer;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was sent, in microseconds since the beginning.
    pub from: u64,
    /// When its answer came.
    pub to: u64,
    /// The number of the node that was asked.
    pub node: usize,
    /// Does it write?
    pub writes: bool,
    /// How it ended.
    pub ended: Ended,
}

/// The samples of one keyspace, and why operations were refused.
#[derive(Debug, Default)]
pub struct Samples {
    /// In the order in which they ended.
    pub all: Vec<Sample>,
    /// By the first word of the reason.
    pub refusals: BTreeMap<String, u64>,
}

/// Takes the samples of one keyspace.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    samples: Arc<Mutex<Samples>>,
    done: Arc<AtomicU64>,
}

impl Recorder {
    /// Notes an operation.
    pub fn sample(&self, (from, to): (u64, u64), node: usize, writes: bool, answer: &Answer) {
        let mut samples = self.lock();
        let ended = match answer {
            Answer::Done(_) => Ended::Done,
            Answer::Unknown => Ended::Unknown,
            Answer::Refused(text) => {
                let word = text.split_whitespace().next().unwrap_or("?");
                let reason = match word.chars().all(|letter| letter.is_ascii_uppercase()) {
                    true => word,
                    false => "(no connection)",
                };
                *samples.refusals.entry(reason.to_owned()).or_default() += 1;
                Ended::Refused
            }
        };
        if ended == Ended::Done {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        samples.all.push(Sample { from, to, node, writes, ended });
    }

    /// How many operations were done so far.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// What was recorded.
    pub fn lock(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
