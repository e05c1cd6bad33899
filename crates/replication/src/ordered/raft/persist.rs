//! What has been handed out to be made durable, and what of it is.
//!
//! Each batch that is handed out gets a number (the [`PersistToken`]) and a mark: how far the log went and which term
//! and vote it held. When a token comes back, its mark says what is durable. If the log is truncated meanwhile, the
//! marks under way shrink with it: an old token never vouches for an entry that was rewritten later.

use std::collections::VecDeque;

use super::PersistToken;
use crate::NodeId;

/// A term and the vote in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ballot {
    pub term: u64,
    pub vote: Option<NodeId>,
}

/// What is durable once a batch is.
#[derive(Clone, Copy, Debug)]
struct Mark {
    number: u64,
    index: u64,
    ballot: Ballot,
    sound: Option<u64>,
    version: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Persistence {
    last_number: u64,
    under_way: VecDeque<Mark>,
    /// The ballot in the last batch handed out.
    written: Ballot,
    durable: Ballot,
    /// The same of [`HardState::sound`](super::HardState::sound).
    sound_written: Option<u64>,
    sound_durable: Option<u64>,
    /// Of [`HardState::version`](super::HardState::version).
    version_durable: u64,
}

impl Persistence {
    /// All that is durable already.
    pub fn new(ballot: Ballot, sound: Option<u64>, version: u64) -> Persistence {
        Persistence {
            last_number: 0,
            under_way: VecDeque::new(),
            written: ballot,
            durable: ballot,
            sound_written: sound,
            sound_durable: sound,
            version_durable: version,
        }
    }

    /// What was handed out last of [`HardState::sound`](super::HardState::sound).
    pub fn sound_written(&self) -> Option<u64> {
        self.sound_written
    }

    /// What is durable of it.
    pub fn sound_durable(&self) -> Option<u64> {
        self.sound_durable
    }

    /// What is durable of [`HardState::version`](super::HardState::version).
    pub fn version_durable(&self) -> u64 {
        self.version_durable
    }

    /// The latest ballot handed out.
    pub fn written(&self) -> Ballot {
        self.written
    }

    /// The latest ballot that is durable.
    pub fn durable(&self) -> Ballot {
        self.durable
    }

    /// A batch is handed out that ends with `ballot`, `sound`, that `version` and a log up to `index`.
    pub fn hand_out(&mut self, index: u64, ballot: Ballot, sound: Option<u64>, version: u64) -> PersistToken {
        self.last_number += 1;
        self.written = ballot;
        self.sound_written = sound;
        self.under_way.push_back(Mark { number: self.last_number, index, ballot, sound, version });
        PersistToken(self.last_number)
    }

    /// How far the log goes in what was handed out up to `token`, if that is not known to be durable.
    pub fn reached(&self, token: PersistToken) -> Option<u64> {
        let after = self.under_way.partition_point(|mark| mark.number <= token.0);
        after.checked_sub(1).map(|place| self.under_way[place].index)
    }

    /// Everything up to `token` is durable: returns how far the log is, if this says anything new.
    pub fn complete(&mut self, token: PersistToken) -> Option<u64> {
        let mut durable_to = None;
        while let Some(mark) = self.under_way.front()
            && mark.number <= token.0
        {
            durable_to = Some(mark.index);
            self.durable = mark.ballot;
            self.sound_durable = mark.sound;
            self.version_durable = mark.version;
            self.under_way.pop_front();
        }
        durable_to
    }

    /// The log begins anew after `index`, up to where a durable snapshot holds everything.
    pub fn reset(&mut self, index: u64) {
        for mark in &mut self.under_way {
            mark.index = index;
        }
    }

    /// The log was cut behind `last`.
    pub fn truncated(&mut self, last: u64) {
        for mark in &mut self.under_way {
            mark.index = mark.index.min(last);
        }
    }
}
