//! Randomness from the operating system, for identities, incarnations and seeds. Never for anything the core decides.

use std::fs::File;
use std::io::Read;

/// Fills `bytes` with random ones.
///
/// # Panics
/// The operating system has no random source: there is nothing to go on with.
pub fn fill(bytes: &mut [u8]) {
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(bytes))
        .expect("/dev/urandom can be read");
}

/// A random number other than 0.
pub fn number() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes).max(1)
}
