//! The write-ahead log, snapshot files and recovery, over one small [`Disk`] trait: a [real one](RealDisk), one
//! [in memory](memory) whose crashes and faults tests and the simulator command.
//!
//! What holds here: what was synced is found again or its damage is named, file and offset; what was not synced is
//! found up to some point or not at all; a failed write or sync ends the process; a full disk changes nothing and
//! is no failure. No clock and no randomness: the same calls on the same disk write the same bytes.
//!
//! Where to read next: `journal` (what a driver calls), `log` and `snapshot` (the two kinds of files, each with
//! its promises and reasons), `disk`, `memory`.

mod disk;
mod error;
pub mod journal;
pub mod log;
mod lost;
pub mod memory;
pub mod random;
mod real;
pub mod snapshot;

pub use disk::{Disk, File};
pub use error::{AppendError, Damage, Failure, OpenError, ReadError};
pub use journal::Journal;
pub use log::{Log, Record};
pub use memory::MemoryDisk;
pub use real::{RealDisk, RealFile};
pub use snapshot::{SnapshotError, Snapshots};
