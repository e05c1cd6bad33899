//! The write-ahead log, snapshot files and recovery, over one small [`Disk`] trait (a real one here, a simulated one in
//! the simulator).

mod disk;
pub mod memory;
pub mod random;
mod real;

pub use disk::{Disk, File};
pub use memory::MemoryDisk;
pub use real::{RealDisk, RealFile};
