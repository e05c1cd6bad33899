//! The write-ahead log, snapshot files and recovery, over one small [`Disk`] trait (a real one here, a simulated one in
//! the simulator).

mod disk;

pub use disk::{Disk, File};
