//! The four session guarantees (Terry et al.: Session guarantees for weakly consistent replicated data, PDIS 1994).
//!
//! Each is judged by itself: a read must not return less than what the guarantee says that it follows. One write is known
//! to be older than another where it causally precedes it, and nothing is older than every write; of two concurrent
//! writes either may win, so no read is blamed for that.

use std::fmt;

use super::order::{Order, Without};
use super::patterns::told;
use crate::finding::Finding;
use crate::map::Map;
use crate::values::{Registers, Source, Values};

/// What a session may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// A session's reads return nothing older than its own writes.
    ReadYourWrites,
    /// A session's reads return nothing older than its earlier reads.
    MonotonicReads,
    /// Whoever sees a session's write sees its earlier writes.
    MonotonicWrites,
    /// Whoever sees a session's write sees what that session had read before.
    WritesFollowReads,
}

impl Guarantee {
    /// All four.
    pub const ALL: [Guarantee; 4] = [
        Guarantee::ReadYourWrites,
        Guarantee::MonotonicReads,
        Guarantee::MonotonicWrites,
        Guarantee::WritesFollowReads,
    ];

    /// The field's name.
    pub fn name(self) -> &'static str {
        match self {
            Guarantee::ReadYourWrites => "read your writes",
            Guarantee::MonotonicReads => "monotonic reads",
            Guarantee::MonotonicWrites => "monotonic writes",
            Guarantee::WritesFollowReads => "writes follow reads",
        }
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Does the history keep the guarantee?
pub fn session(history: &Registers, guarantee: Guarantee) -> Finding {
    let order = match Values::new(history).map_err(Without::Unfit).and_then(Order::new) {
        Ok(order) => order,
        Err(Without::Cycle(_)) => {
            return Finding::Unknown("causality is cyclic: see the check of causal consistency".to_owned());
        }
        Err(without) => return without.finding(history),
    };
    (0..order.sessions.len())
        .find_map(|session| Walk::new(&order, session, guarantee).violation())
        .unwrap_or(Finding::Valid)
}

/// The writes to one key that a session has to respect, and everything older than one of them.
#[derive(Clone, Default)]
struct Respected {
    /// In the order in which they came to be respected.
    writes: Vec<usize>,
    /// Of each session, how many of its operations are older than one of them.
    older: Vec<u32>,
}

impl Respected {
    fn add(&mut self, order: &Order<'_>, write: usize) {
        let clock = order.clock(write);
        self.older.resize(clock.len(), 0);
        let (own, _) = order.place(write);
        for (session, (mine, theirs)) in self.older.iter_mut().zip(clock).enumerate() {
            // A write is not older than itself.
            *mine = (*mine).max(theirs - u32::from(session == own as usize));
        }
        self.writes.push(write);
    }

    /// The first of them that `source` is older than.
    fn broken_by(&self, order: &Order<'_>, source: Source) -> Option<usize> {
        match source {
            Source::Initial => self.writes.first().copied(),
            Source::ThinAir => None,
            Source::Write(write) => {
                let (session, place) = order.place(write);
                let known = *self.older.get(session as usize)?;
                (known >= place)
                    .then(|| self.writes.iter().copied().find(|&newer| order.precedes(write, newer)))?
            }
        }
    }
}

/// Goes through one session.
struct Walk<'w, 'a> {
    order: &'w Order<'a>,
    session: usize,
    guarantee: Guarantee,
    /// By key.
    respected: Map<u32, Respected>,
    /// How far into each other session this one has to respect what that did.
    followed: Map<u32, u32>,
}

impl<'w, 'a> Walk<'w, 'a> {
    fn new(order: &'w Order<'a>, session: usize, guarantee: Guarantee) -> Self {
        Walk { order, session, guarantee, respected: Map::default(), followed: Map::default() }
    }

    fn violation(mut self) -> Option<Finding> {
        for &index in &self.order.sessions[self.session] {
            let key = self.order.values.keys[index];
            let Some(source) = self.order.values.source(index) else {
                if self.guarantee == Guarantee::ReadYourWrites {
                    self.respect(key, index);
                }
                continue;
            };
            if let Some(newer) =
                self.respected.get(&key).and_then(|known| known.broken_by(self.order, source))
            {
                return Some(self.found(source, newer, index));
            }
            if let Source::Write(write) = source {
                self.saw(key, write);
            }
        }
        None
    }

    fn respect(&mut self, key: u32, write: usize) {
        self.respected.entry(key).or_default().add(self.order, write);
    }

    /// The session has read this write.
    fn saw(&mut self, key: u32, write: usize) {
        match self.guarantee {
            Guarantee::ReadYourWrites => {}
            Guarantee::MonotonicReads => self.respect(key, write),
            Guarantee::MonotonicWrites | Guarantee::WritesFollowReads => self.follow(write),
        }
    }

    /// What the session of `write` had done before it is to be respected from now on.
    fn follow(&mut self, write: usize) {
        let (mut session, mut place) = self.order.place(write);
        if place == 1 {
            // A write of unknown outcome stands alone, after what its process had done.
            let Some(last) = self.order.last_before(write) else { return };
            (session, place) = self.order.place(last);
            place += 1;
        }
        if session as usize == self.session {
            return;
        }
        let from = self.followed.insert(session, place).unwrap_or(1);
        if from >= place {
            self.followed.insert(session, from);
            return;
        }
        let earlier = &self.order.sessions[session as usize][from as usize - 1..place as usize - 1];
        for &index in earlier {
            let key = self.order.values.keys[index];
            match (self.guarantee, self.order.values.source(index)) {
                (Guarantee::MonotonicWrites, None) => self.respect(key, index),
                (Guarantee::WritesFollowReads, Some(Source::Write(read))) => self.respect(key, read),
                _ => {}
            }
        }
    }

    fn found(&self, source: Source, newer: usize, read: usize) -> Finding {
        let mut operations = match source {
            Source::Write(older) => vec![older],
            Source::Initial | Source::ThinAir => Vec::new(),
        };
        operations.extend([newer, read]);
        operations.sort_by_key(|&index| self.order.values.operations[index].invoked_at);
        let text = format!(
            "the last of these returned less than the session had to see:\n{}",
            told(&self.order.values, &operations)
        );
        Finding::invalid(self.guarantee.name(), operations, text)
    }
}
