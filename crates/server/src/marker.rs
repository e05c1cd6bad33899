//! What says that a shard's folder is the one that was made when the data folder was formatted: the file `shard.toml` in
//! it, with the format id of `node.toml` and the shard's number.
//!
//! A shard's folder that is gone (a disk that is not mounted, a folder removed by hand) would else be made anew without
//! a word, and with it the votes and the acknowledged entries in it would be forgotten. So the markers are durable before
//! `node.toml` is, and a start that does not find them all is refused.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::identity::{Identity, hexadecimal, replace_file};
use crate::node::shard_folder;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    /// The format id of the data folder.
    #[serde(with = "hexadecimal")]
    format: u64,
    /// The shard's number.
    shard: u32,
}

/// The marker and the neighbour that it is written to first.
const NAMES: [&str; 2] = ["shard.toml", "shard.new"];

/// Makes the folder of every shard, with its marker, durably.
///
/// # Errors
/// The disk's; the text names the file.
pub fn write(config: &Config, identity: &Identity) -> Result<(), String> {
    for shard in 0..identity.workers {
        let folder = shard_folder(&config.data, shard as usize);
        fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let marker = Marker { format: identity.format, shard };
        let text = toml::to_string(&marker).map_err(|error| format!("cannot encode a marker: {error}"))?;
        replace_file(&path(&folder), text.as_bytes())?;
    }
    // The folders' own names; whoever writes `node.toml` next would do it too, but not in the order that is promised.
    fs::File::open(&config.data)
        .and_then(|data| data.sync_all())
        .map_err(|error| format!("cannot sync {}: {error}", config.data.display()))
}

/// Is every shard's folder the one that belongs to `identity`?
///
/// # Errors
/// One is not; the text names it and says what to do.
pub fn check(config: &Config, identity: &Identity) -> Result<(), String> {
    for shard in 0..identity.workers {
        let folder = shard_folder(&config.data, shard as usize);
        check_one(&folder, &Marker { format: identity.format, shard }).map_err(|reason| {
            format!(
                "{} does not belong to the node.toml beside it: {reason}. Going on without it would forget votes and \
                 acknowledged writes. Put the folder back as it was; if it is lost, start this node with --rebuild",
                folder.display()
            )
        })?;
    }
    Ok(())
}

fn check_one(folder: &Path, expected: &Marker) -> Result<(), String> {
    let path = path(folder);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let what = if folder.exists() { NAMES[0] } else { "the folder" };
            return Err(format!("{what} is missing"));
        }
        Err(error) => return Err(format!("cannot read {}: {error}", NAMES[0])),
    };
    let found: Marker = toml::from_str(&text).map_err(|error| format!("{} is damaged: {error}", NAMES[0]))?;
    if found == *expected {
        return Ok(());
    }
    Err(format!(
        "it is that of shard {} of format {:016x}, not of shard {} of format {:016x}",
        found.shard, found.format, expected.shard, expected.format
    ))
}

/// Does the folder hold nothing but a marker, or is there none? A formatting that was interrupted leaves it so.
///
/// # Errors
/// It cannot be read; the text names it.
pub fn is_unused(folder: &Path) -> Result<bool, String> {
    let read = || -> io::Result<bool> {
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            if !NAMES.iter().any(|known| name.to_str() == Some(known)) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        result => result.map_err(|error| format!("cannot read {}: {error}", folder.display())),
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(NAMES[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use replication::NodeId;

    #[test]
    fn a_shard_folder_that_is_gone_emptied_or_anothers_is_noticed() {
        let folder = crate::testing::Folder::new();
        let mut config = crate::testing::three_nodes();
        config.data = folder.path().to_path_buf();
        config.workers = 2;
        let identity = Identity::new(&config, NodeId(1), 5);
        assert!(check(&config, &identity).is_err());
        write(&config, &identity).unwrap();
        assert_eq!(check(&config, &identity), Ok(()));

        let second = shard_folder(folder.path(), 1);
        assert_eq!(is_unused(&second), Ok(true));
        fs::write(second.join("log"), "entries").unwrap();
        assert_eq!(is_unused(&second), Ok(false));

        let refusal = |what: &str| {
            let text = check(&config, &identity).unwrap_err();
            assert!(text.contains(what) && text.contains("shard-1") && text.contains("--rebuild"), "{text}");
        };
        fs::remove_file(path(&second)).unwrap();
        refusal("shard.toml is missing");
        fs::copy(path(&shard_folder(folder.path(), 0)), path(&second)).unwrap();
        refusal("that of shard 0");
        fs::write(path(&second), "format").unwrap();
        refusal("damaged");
        fs::remove_dir_all(&second).unwrap();
        refusal("the folder is missing");
        assert_eq!(is_unused(&second), Ok(true));

        write(&config, &Identity::new(&config, NodeId(1), 5)).unwrap();
        assert!(check(&config, &identity).unwrap_err().contains("of format"), "another formatting's");
    }
}
