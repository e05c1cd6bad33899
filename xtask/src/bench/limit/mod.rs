//! The machine's limit: a bare server that makes every batch of writes durable on a majority of three, and does nothing
//! else - no terms, no log index, no recovery, no forwarding. What a real system reaches beside it on the same machine
//! says how much of the machine it uses; the absolute number says how fast the disk and the loopback are.
//!
//! A leader takes `SET` and `GET` in RESP, gathers writes while the batch before is under way, sends the batch to two
//! followers and its own log thread, and answers once two of the three have synced it. The log is one preallocated file
//! that is written round and round, since a synced write into allocated blocks is the cheapest there is.

mod follower;
mod leader;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const LOG_BYTES: u64 = 64 << 20;

/// What a process of the limit server is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where it listens on loopback.
    #[arg(long)]
    port: u16,
    /// Its log file.
    #[arg(long)]
    log: PathBuf,
    /// Ports of the followers; a process without any is a follower.
    #[arg(long, value_delimiter = ',')]
    followers: Vec<u16>,
}

/// Runs a process of the limit server until it is killed.
///
/// # Errors
/// A socket or the log failed.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let log = Log::create(&arguments.log).map_err(|error| format!("{}: {error}", arguments.log.display()))?;
    let outcome = match arguments.followers.as_slice() {
        [] => follower::run(arguments.port, log),
        followers => leader::run(arguments.port, followers, log),
    };
    outcome.map_err(|error| format!("limit server: {error}"))
}

/// A preallocated file that is written round and round.
struct Log {
    file: File,
    position: u64,
}

impl Log {
    fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        let zeros = vec![0; 1 << 20];
        for piece in 0..LOG_BYTES >> 20 {
            file.write_all_at(&zeros, piece << 20)?;
        }
        file.sync_all()?;
        Ok(Log { file, position: 0 })
    }

    /// Writes `bytes` and returns once they are on disk.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.position + bytes.len() as u64 > LOG_BYTES {
            self.position = 0;
        }
        self.file.write_all_at(bytes, self.position)?;
        self.position += bytes.len() as u64;
        self.file.sync_data()
    }
}
