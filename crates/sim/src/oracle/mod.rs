//! Judges that watch every step of every node and know what no node can know: true time and everyone's state.
//!
//! Each is cheap and incremental: `leaders` (one leader per term, and it has everything that was ever applied), `logs`
//! (applied entries agree everywhere and for ever), `leases` (never two at one true time), `digests` (equal index, equal
//! state); `copies` tells what went with dying machines; `merged` is about
//! replicas that all take writes. What clients saw is judged at the end ([`crate::history`]).

pub mod copies;
pub mod digests;
pub mod leaders;
pub mod leases;
pub mod logs;
pub mod merged;

use std::fmt;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which judge says so.
    pub oracle: &'static str,
    /// What happened.
    pub text: String,
}

impl Violation {
    /// A broken promise.
    pub fn new(oracle: &'static str, text: impl Into<String>) -> Violation {
        Violation { oracle, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.oracle, self.text)
    }
}
