//! The write-ahead log, snapshot files and recovery, over one small [`Disk`] trait (a real one here, a simulated one in
//! the simulator).

mod disk;
mod error;
pub mod journal;
pub mod log;
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
