//! What storage found of a partition when the node started: its promises, its newest snapshot, its log.

use bytes::Bytes;
use data::Table;
use data::table::Malformed;

use crate::PartitionId;
use crate::contract::Lost;
use crate::merged::causal::state::{State, is_chunk};
use crate::ordered::raft;
use crate::ordered::replica::split::child_in;

/// What the chunks of a snapshot hold.
#[derive(Debug)]
pub enum Content {
    /// Slices of a table.
    Table(Table),
    /// The state of a replica among those that all take writes.
    Merged(Box<State>),
}

impl Content {
    /// Takes the next chunk.
    ///
    /// # Errors
    /// It is none.
    pub fn load(&mut self, chunk: &[u8]) -> Result<(), Malformed> {
        if let (Content::Table(table), true) = (&*self, is_chunk(chunk))
            && table.is_empty()
        {
            *self = Content::Merged(Box::default());
        }
        match self {
            Content::Table(table) => table.load(chunk),
            Content::Merged(state) => state.load(chunk),
        }
    }
}

/// A partition as storage found it at start.
#[derive(Debug)]
pub struct Recovered {
    /// The partition.
    pub partition: PartitionId,
    /// The latest [`Write::State`](crate::contract::Write::State).
    pub state: Option<Bytes>,
    /// The newest finished snapshot: the `meta` of its `Finish`, and what its chunks hold.
    pub snapshot: Option<(Bytes, Content)>,
    /// The highest number of any snapshot file seen; new ones get higher numbers.
    pub newest_snapshot: u64,
    /// The index after which the log begins.
    pub log_start: u64,
    /// The log.
    pub entries: Vec<raft::Entry>,
    /// What was kept apart of it as lost ([`Write::Lost`](crate::contract::Write::Lost)).
    pub lost: Vec<Lost>,
}

impl Recovered {
    /// A partition of which nothing is stored.
    pub fn nothing(partition: PartitionId) -> Recovered {
        Recovered {
            partition,
            state: None,
            snapshot: None,
            newest_snapshot: 0,
            log_start: 0,
            entries: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// The entry of its log that makes `child` of part of it, if there is one.
    pub fn gives_birth_to(&self, child: PartitionId) -> Option<u64> {
        // Only partitions are split.
        if self.partition.keyspace() != 0 {
            return None;
        }
        self.entries.iter().find(|entry| child_in(entry) == Some(child)).map(|entry| entry.index)
    }

    /// Everything up to this entry was committed, as is known from elsewhere: a log with that entry agrees with all others up to it (Ongaro 2014,
    /// section 3.5).
    pub fn note_committed(&mut self, index: u64, term: u64) {
        let has_it = self.entries.iter().any(|entry| (entry.index, entry.term) == (index, term));
        let state = self.state.as_ref().and_then(|state| raft::HardState::decode(state));
        if let Some(mut state) = state.filter(|_| has_it) {
            state.commit = state.commit.max(index);
            self.state = Some(state.encode());
        }
    }

    /// Is nothing left of it but what a replica that was given up had promised?
    pub fn is_given_up(&self) -> bool {
        let newcomer = |state: &Bytes| raft::HardState::decode(state).is_some_and(|state| state.newcomer);
        self.state.as_ref().is_some_and(newcomer) && self.snapshot.is_none() && self.entries.is_empty()
    }
}
