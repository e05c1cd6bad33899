//! What a node's disk and clocks are made to do wrong: a library that is preloaded into the node (`preload.c`), compiled
//! when it is needed, and the file through which it is told.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The source of the library.
const SOURCE: &str = include_str!("preload.c");

/// Compiles the library into `folder`.
///
/// # Errors
/// There is no C compiler, or it fails; the text says so. Faults that need the library are left out then.
pub fn compile(folder: &Path) -> Result<PathBuf, String> {
    let (source, library) = (folder.join("preload.c"), folder.join("preload.so"));
    fs::write(&source, SOURCE).map_err(|error| format!("cannot write {}: {error}", source.display()))?;
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let compiled = Command::new(&compiler)
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output()
        .map_err(|error| format!("no C compiler ({compiler}: {error})"))?;
    match compiled.status.success() {
        true => Ok(library),
        false => Err(format!("{compiler} failed: {}", String::from_utf8_lossy(&compiled.stderr).trim())),
    }
}

/// What is wrong with a node's disk or clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The wall clock is off by so many milliseconds.
    WallClock(i64),
    /// Both clocks run faster by so many millionths.
    Drift(i64),
    /// `fsync` fails.
    SyncFails(bool),
    /// `fsync` takes so many microseconds longer.
    SyncSlow(i64),
    /// The disk is full.
    Full(bool),
}

/// The control file of one node; the layout is that of `struct control`.
#[derive(Debug)]
pub struct FaultFile {
    file: fs::File,
    /// Where it is.
    pub path: PathBuf,
}

impl FaultFile {
    /// A file that says that nothing is wrong.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: PathBuf) -> Result<FaultFile, String> {
        let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        file.write_all_at(&[0; 40], 0).map_err(failed)?;
        Ok(FaultFile { file, path })
    }

    /// Tells the node, at once.
    pub fn set(&self, wrong: Wrong) {
        let (place, value) = match wrong {
            Wrong::WallClock(milliseconds) => (0, milliseconds * 1_000_000),
            Wrong::Drift(millionths) => (1, millionths),
            Wrong::SyncFails(fails) => (2, i64::from(fails)),
            Wrong::SyncSlow(microseconds) => (3, microseconds),
            Wrong::Full(full) => (4, i64::from(full)),
        };
        // A file of 40 bytes that is open: it cannot fail but for a full disk, and then the run is of no use anyway.
        let _ = self.file.write_all_at(&value.to_le_bytes(), place * 8);
    }
}
