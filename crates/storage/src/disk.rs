//! The few things that storage asks of a disk.

use std::io;
use std::sync::Arc;

/// A folder of files. Every call is synchronous; the driver runs it on a thread that may wait.
pub trait Disk: std::fmt::Debug {
    /// An open file.
    type File: File;
    /// Opens a file for reading and writing; `create`: makes it if it is not there.
    fn open(&self, name: &str, create: bool) -> io::Result<Self::File>;
    /// The names of all files in the folder.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes creations, removals and renames durable.
    fn sync_folder(&self) -> io::Result<()>;
}

/// An open file; a clone is another way to the same one.
pub trait File: std::fmt::Debug + Send + Clone {
    /// Reads up to `buffer.len()` bytes from `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes the content durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    /// Reserves room so that writes below `length` need no new blocks; `ErrorKind::StorageFull` if there is none.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Cuts or extends to this length.
    fn set_length(&self, length: u64) -> io::Result<()>;
}

impl<D: Disk> Disk for Arc<D> {
    type File = D::File;
    fn open(&self, name: &str, create: bool) -> io::Result<Self::File> {
        (**self).open(name, create)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        (**self).list()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        (**self).remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (**self).rename(from, to)
    }
    fn sync_folder(&self) -> io::Result<()> {
        (**self).sync_folder()
    }
}

/// Fills `buffer` from `offset`; `ErrorKind::UnexpectedEof` if the file ends before.
pub(crate) fn read_exact_at(file: &impl File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(offset + filled as u64, &mut buffer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => filled += n,
        }
    }
    Ok(())
}
