//! What can go wrong, split by what the caller can do about it.

use std::fmt;
use std::io;

/// Bytes on disk are not what was written there. Nothing can be done here: the node is rebuilt from its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file's name in the folder.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

impl Damage {
    pub(crate) fn new(file: impl Into<String>, offset: u64, reason: impl Into<String>) -> Damage {
        Damage { file: file.into(), offset, reason: reason.into() }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at offset {}: {}", self.file, self.offset, self.reason)
    }
}

/// The disk refused something that it must not refuse. What is durable is no longer known, so the process has to
/// stop; recovery at its next start finds out.
#[derive(Debug)]
pub struct Failure {
    /// What was tried, as in "cannot ...".
    pub doing: &'static str,
    /// The file's name in the folder; "folder" for the folder itself.
    pub file: String,
    /// What the disk said.
    pub error: io::Error,
}

impl Failure {
    /// For `map_err`.
    pub(crate) fn of(doing: &'static str, file: &str) -> impl FnOnce(io::Error) -> Failure {
        move |error| Failure { doing, file: file.to_owned(), error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.doing, self.file, self.error)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Why a folder could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The disk refused.
    Failed(Failure),
    /// The folder holds something that is not what was written there.
    Corrupt(Damage),
    /// A file was written by another version of this program.
    Version {
        /// The file's name in the folder.
        file: String,
        /// The format version that it says.
        found: u32,
        /// The format version that this build reads.
        reads: u32,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Failed(failure) => failure.fmt(f),
            OpenError::Corrupt(damage) => damage.fmt(f),
            OpenError::Version { file, found, reads } => {
                write!(f, "{file} has format version {found}; this build reads version {reads}")
            }
        }
    }
}

impl std::error::Error for OpenError {}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        OpenError::Failed(failure)
    }
}

impl From<Damage> for OpenError {
    fn from(damage: Damage) -> Self {
        OpenError::Corrupt(damage)
    }
}

/// Why something could not be read back.
#[derive(Debug)]
pub enum ReadError {
    /// The disk refused.
    Failed(Failure),
    /// It is not what was written there.
    Corrupt(Damage),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Failed(failure) => failure.fmt(f),
            ReadError::Corrupt(damage) => damage.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        ReadError::Failed(failure)
    }
}

impl From<Damage> for ReadError {
    fn from(damage: Damage) -> Self {
        ReadError::Corrupt(damage)
    }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Failed(failure) => OpenError::Failed(failure),
            ReadError::Corrupt(damage) => OpenError::Corrupt(damage),
        }
    }
}

/// Why something was not written.
#[derive(Debug)]
pub enum AppendError {
    /// The disk is full. Nothing was written and nothing has changed; it may be tried again when there is room.
    Full,
    /// It may have been written or not. The process has to stop.
    Failed(Failure),
    /// Moving old records found one that is not what was written. The process has to stop.
    Corrupt(Damage),
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::Full => f.write_str("the disk is full"),
            AppendError::Failed(failure) => failure.fmt(f),
            AppendError::Corrupt(damage) => damage.fmt(f),
        }
    }
}

impl std::error::Error for AppendError {}

impl From<Failure> for AppendError {
    fn from(failure: Failure) -> Self {
        if failure.error.kind() == io::ErrorKind::StorageFull {
            AppendError::Full
        } else {
            AppendError::Failed(failure)
        }
    }
}

impl From<ReadError> for AppendError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Failed(failure) => AppendError::Failed(failure),
            ReadError::Corrupt(damage) => AppendError::Corrupt(damage),
        }
    }
}
