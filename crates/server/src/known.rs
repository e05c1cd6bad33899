//! Which keyspaces this node has gone by: so that it can go by them again when it starts where nobody can tell it the present ones.
//!
//! A node knows keyspaces from its own copy of the catalogue. After a start that copy ends wherever its log does, as far as is known to be
//! committed; that may be less than what the node went by before, and a key of a keyspace that is not in it would be read, and written, where nobody
//! else looks for it. The file `catalogue.toml` in the data folder says up to where the node has read, and is durable before anything goes by a change
//! of keyspaces. So its copy can be brought up to there without anybody else's help ([`Recovered::note_committed`]), and a node whose copy has
//! come that far knows no less of them than before it stopped: it is where any node is that was cut off meanwhile and did not stop. Other changes,
//! of which there may be many, are noted now and then: a replica whose part has changed since does not serve until the catalogue is there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use replication::catalogue::{CATALOGUE, Catalogue};
use replication::shard::Recovered;
use serde::{Deserialize, Serialize};

use crate::identity::{hexadecimal, replace_in_place};

/// The length of the file, whatever it says.
const BYTES: usize = 256;

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Read {
    /// The catalogue's epoch.
    #[serde(with = "hexadecimal")]
    epoch: u64,
    /// The entry of its log after which it was that.
    #[serde(with = "hexadecimal")]
    index: u64,
    /// That entry's term.
    #[serde(with = "hexadecimal")]
    term: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Known {
    file: PathBuf,
    at_start: Read,
    noted: Mutex<Noted>,
}

/// What was read since the start.
#[derive(Debug)]
struct Noted {
    /// The catalogue whose keyspaces the file stands for.
    catalogue: Option<Arc<Catalogue>>,
    /// What the file says.
    written: Read,
    /// What it might say.
    latest: Read,
}

impl Known {
    /// What a node went by that starts now.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged; the text names it.
    pub fn open(data: &Path) -> Result<Known, String> {
        let file = data.join("catalogue.toml");
        let at_start = match fs::read_to_string(&file) {
            Ok(text) => {
                toml::from_str(&text).map_err(|error| format!("{} is damaged: {error}", file.display()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Read::default(),
            Err(error) => return Err(format!("cannot read {}: {error}", file.display())),
        };
        let noted = Noted { catalogue: None, written: at_start, latest: at_start };
        Ok(Known { file, at_start, noted: Mutex::new(noted) })
    }

    /// The epoch that a copy of the catalogue has to be of, or of a later one, to say all that this node went by before it stopped. `None`: it had
    /// never read one.
    pub fn epoch(&self) -> Option<u64> {
        (self.at_start.epoch > 0).then_some(self.at_start.epoch)
    }

    /// What this node had read is committed, whether its log says so or not.
    pub fn bring_up(&self, recovered: &mut [Recovered]) {
        let Read { index, term, .. } = self.at_start;
        let catalogue = recovered.iter_mut().find(|found| found.partition == CATALOGUE);
        catalogue.into_iter().for_each(|found| found.note_committed(index, term));
    }

    /// This node is about to go by another catalogue, which was that after an entry of its log (index and term).
    ///
    /// # Errors
    /// The file cannot be written; the text names it.
    pub fn note(&self, catalogue: &Arc<Catalogue>, (index, term): (u64, u64)) -> Result<(), String> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if catalogue.epoch < noted.latest.epoch {
            // On the way to what the file says.
            return Ok(());
        }
        noted.latest = Read { epoch: catalogue.epoch, index, term };
        let same = noted.catalogue.as_ref().is_some_and(|noted| {
            noted.keyspaces == catalogue.keyspaces && noted.keyspaces_numbered == catalogue.keyspaces_numbered
        });
        if same {
            return Ok(());
        }
        self.write(&mut noted)?;
        noted.catalogue = Some(catalogue.clone());
        Ok(())
    }

    /// Makes all that was noted durable.
    ///
    /// # Errors
    /// The file cannot be written; the text names it.
    pub fn catch_up(&self) -> Result<(), String> {
        self.write(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, noted: &mut Noted) -> Result<(), String> {
        if noted.latest.epoch > noted.written.epoch {
            let text = toml::to_string(&noted.latest).map_err(|error| error.to_string())?;
            replace_in_place(&self.file, &text, BYTES)?;
            noted.written = noted.latest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use replication::ordered::raft::HardState;

    use super::*;
    use crate::testing::Folder;

    #[test]
    fn what_was_gone_by_is_gone_by_again() {
        let folder = Folder::new();
        let known = Known::open(folder.path()).unwrap();
        assert_eq!(known.epoch(), None);
        let mut catalogue = Catalogue { epoch: 5, ..Catalogue::default() };
        known.note(&Arc::new(catalogue.clone()), (7, 2)).unwrap();
        // Nothing that says where keys belong has changed.
        catalogue.epoch = 6;
        known.note(&Arc::new(catalogue.clone()), (8, 2)).unwrap();
        assert_eq!(Known::open(folder.path()).unwrap().at_start, Read { epoch: 5, index: 7, term: 2 });
        known.catch_up().unwrap();
        assert_eq!(Known::open(folder.path()).unwrap().at_start, Read { epoch: 6, index: 8, term: 2 });
        (catalogue.epoch, catalogue.keyspaces_numbered) = (7, 1);
        known.note(&Arc::new(catalogue.clone()), (9, 2)).unwrap();
        let known = Known::open(folder.path()).unwrap();
        assert_eq!((known.at_start, known.epoch()), (Read { epoch: 7, index: 9, term: 2 }, Some(7)));
        // An earlier one, as it is read on the way to that one, does not take its place.
        catalogue.epoch = 3;
        known.note(&Arc::new(catalogue), (5, 1)).unwrap();
        assert_eq!(Known::open(folder.path()).unwrap().epoch(), Some(7));
    }

    #[test]
    fn a_log_that_ends_otherwise_is_not_taken_for_committed() {
        let folder = Folder::new();
        let known = Known::open(folder.path()).unwrap();
        let catalogue = Catalogue { epoch: 5, ..Catalogue::default() };
        known.note(&Arc::new(catalogue), (2, 3)).unwrap();
        let known = Known::open(folder.path()).unwrap();
        let committed = |terms: &[u64]| {
            let entries = terms.iter().zip(1..).map(|(term, index)| replication::ordered::raft::Entry {
                index,
                term: *term,
                kind: replication::ordered::raft::EntryKind::Normal,
                payload: bytes::Bytes::new(),
            });
            let state = HardState { term: 4, commit: 1, ..HardState::default() };
            let mut found = Recovered::nothing(CATALOGUE);
            (found.entries, found.state) = (entries.collect(), Some(state.encode()));
            let mut found = [found];
            known.bring_up(&mut found);
            HardState::decode(found[0].state.as_ref().unwrap()).unwrap().commit
        };
        assert_eq!(committed(&[3, 3, 4]), 2);
        assert_eq!(committed(&[3, 4]), 1, "that entry is another one");
        assert_eq!(committed(&[3]), 1, "it is gone");
    }
}
