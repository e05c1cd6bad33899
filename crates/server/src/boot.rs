//! Has the machine died since this node last ran? Then what was written and not yet on the disk is gone, and replicas that had said to
//! hold it must know ([`replication::ordered::raft::Options::losses`]).
//!
//! The file `boot.toml` in the data folder says on which boot of the machine the node ran last, whether it stopped in order, and how
//! often it was found that it had not and the machine had been booted since. A process that is killed loses nothing: the kernel has its
//! writes. After a failed sync the kernel may not have them, so that counts like the death of the machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::identity::replace_in_place;

/// Where Linux tells boots apart. Without that every start after a stop out of order counts.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The length of the file, whatever it says.
const BYTES: usize = 256;

/// What `boot.toml` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Boot {
    /// The boot on which the node runs or ran last; empty: what it wrote then is not to be relied on.
    boot: String,
    /// It stopped in order: everything is on the disk.
    stopped: bool,
    /// See the module.
    losses: u64,
}

fn path(data: &Path) -> PathBuf {
    data.join("boot.toml")
}

fn boot_id() -> String {
    fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// At a start: how often this node has lost what was not on its disk. Durable before this returns.
///
/// # Errors
/// The file cannot be read or written, or is damaged; the text names it.
pub fn begin(data: &Path) -> Result<u64, String> {
    begin_on(data, boot_id())
}

fn begin_on(data: &Path, now: String) -> Result<u64, String> {
    let file = path(data);
    let before: Boot = match fs::read_to_string(&file) {
        Ok(text) => {
            toml::from_str(&text).map_err(|error| format!("{} is damaged: {error}", file.display()))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Boot { stopped: true, ..Boot::default() },
        Err(error) => return Err(format!("cannot read {}: {error}", file.display())),
    };
    let kept = before.stopped || (!now.is_empty() && before.boot == now);
    let losses = before.losses + u64::from(!kept);
    if !kept {
        tracing::warn!(losses, "the machine died while this node ran: what was not on the disk is gone");
    }
    write(data, &Boot { boot: now, stopped: false, losses })?;
    Ok(losses)
}

/// The node stopped in order, with everything on its disk.
///
/// # Errors
/// The file cannot be written; the text names it. Nothing is lost by that but the knowledge that nothing was.
pub fn end(data: &Path, losses: u64) -> Result<(), String> {
    write(data, &Boot { boot: boot_id(), stopped: true, losses })
}

/// A sync failed: what the kernel has of the log is not to be relied on by the next start.
pub fn distrust(data: &Path, losses: u64) {
    let boot = Boot { boot: String::new(), stopped: false, losses };
    if let Err(error) = write(data, &boot) {
        // Then the next start will not get far either.
        tracing::error!(error, "it could not be noted that the log failed");
    }
}

fn write(data: &Path, boot: &Boot) -> Result<(), String> {
    let text = toml::to_string(boot).map_err(|error| error.to_string())?;
    replace_in_place(&path(data), &text, BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn only_the_death_of_the_machine_counts() {
        let folder = Folder::new();
        let begin = |boot: &str| begin_on(folder.path(), boot.into()).unwrap();
        assert_eq!(begin("one"), 0, "nothing was there to lose");
        assert_eq!(begin("one"), 0, "only the process died");
        assert_eq!(begin("two"), 1, "the machine died");
        end(folder.path(), 1).unwrap();
        assert_eq!(begin("three"), 1, "it had stopped in order");
        distrust(folder.path(), 1);
        assert_eq!(begin("three"), 2, "a sync had failed");
        assert_eq!(begin(""), 3, "nobody knows");
        assert_eq!(begin(""), 4);
    }

    #[test]
    fn without_room_for_another_file_the_one_that_is_there_is_overwritten() {
        let folder = Folder::new();
        assert_eq!(begin_on(folder.path(), "one".into()), Ok(0));
        fs::create_dir(folder.path().join("boot.new")).unwrap();
        assert_eq!(begin_on(folder.path(), "another one".into()), Ok(1));
        end(folder.path(), 1).unwrap();
        assert_eq!(begin_on(folder.path(), "one".into()), Ok(1));
        assert_eq!(fs::metadata(path(folder.path())).unwrap().len() as usize, BYTES);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = Folder::new();
        fs::write(path(folder.path()), "losses = many").unwrap();
        assert!(begin(folder.path()).unwrap_err().contains("boot.toml is damaged"));
    }
}
