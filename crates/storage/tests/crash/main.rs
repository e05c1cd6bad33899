//! Crash consistency: random work on a disk that loses power, or a process that is killed, at any point, also in
//! the middle of opening, recycling and finishing. What recovery finds is compared with a plain model.
//!
//! The model keeps every state that recovery may find: the one at the last sync, and one more for each batch
//! written since (a batch is found whole or not at all, and not without those before it).

mod journal;
mod log;
mod snapshot;

use bytes::Bytes;
use storage::random::Random;

/// The seeds of a loop; the environment variable `CRASH_SEEDS` asks for more of them than every test run can
/// afford.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("CRASH_SEEDS").ok().and_then(|count| count.parse().ok());
    0..asked.unwrap_or(usual)
}

/// Bytes that tell where they belong.
fn payload(random: &mut Random, position: u64, epoch: u64) -> Bytes {
    let length = match random.below(40) {
        0 => random.below(12_000),
        1..10 => random.below(1_500),
        _ => random.below(60),
    };
    let mut bytes = vec![(position ^ epoch) as u8; length as usize];
    bytes.iter_mut().step_by(7).for_each(|byte| *byte = random.number() as u8);
    bytes.into()
}

/// What a loop met, so that one that tests nothing is noticed.
#[derive(Debug, Default)]
struct Met {
    stopped_in_open: u64,
    stopped_in_work: u64,
    lost_batches: u64,
    kept_unsynced: u64,
    full: u64,
    rewritten: u64,
    segments: u64,
}
