//! A primary that acknowledges before every member in sync holds a write applies what it may have to take back.
//!
//! For each entry that it applies beyond what is stable it keeps what takes that back. If it is deposed it goes back to what is
//! stable, last entry first; what the next primary has of those entries is then applied again like everything else.

use bytes::Bytes;
use data::{Mutation, View, Watch};

use super::Replica;
use super::payload::Payload;
use crate::contract::Event;
use crate::ordered::keys_written;
use crate::ordered::raft::Entry;
use crate::shard::outbox::Outbox;
use crate::time::Now;

/// An entry that is applied and not stable.
#[derive(Debug)]
pub(crate) struct Unstable {
    index: u64,
    /// The term of the entry before.
    previous_term: u64,
    term: u64,
    hash: u64,
    inverse: Option<Mutation>,
    token: Option<bytes::Bytes>,
}

impl Replica {
    /// An entry is about to be applied: if it is not stable it is remembered how to take it back. Returns whether that is so.
    pub(super) fn note_unstable(&mut self, entry: &Entry, payload: Option<&Payload>) -> bool {
        if !self.raft.is_appointed() || entry.index <= self.raft.stable() {
            return false;
        }
        let inverse = payload.and_then(|payload| payload.mutation.as_ref()).and_then(|mutation| {
            self.table.inverse_of(mutation).expect("what stands in the log is a mutation")
        });
        self.undo_bytes += inverse.as_ref().map_or(0, |inverse| inverse.0.len() as u64);
        self.unstable.push_back(Unstable {
            index: entry.index,
            previous_term: self.applied_term,
            term: entry.term,
            hash: self.hash_of(entry),
            inverse,
            token: payload.and_then(|payload| payload.token.as_ref()).map(|(token, _)| token.clone()),
        });
        true
    }

    /// What is stable stays.
    pub(super) fn keep_stable(&mut self, outbox: &mut Outbox) {
        let stable = self.raft.stable();
        while let Some(kept) = self.unstable.pop_front_if(|unstable| unstable.index <= stable) {
            self.undo_bytes -= kept.inverse.map_or(0, |inverse| inverse.0.len() as u64);
            self.announce(kept.index, kept.term, kept.hash, outbox);
        }
        while let Some((index, digest)) = self.untold_digests.pop_front_if(|(index, _)| *index <= stable) {
            if self.raft.is_leader() {
                self.tell_digest(index, digest, outbox);
            }
        }
        if self.raft.is_appointed() {
            if let Some((index, digest, from)) = self.digests.take_told(stable) {
                self.on_digest(from, index, digest, outbox);
            }
            self.compact();
        }
    }

    /// Goes back to what was stable when this replica ceased to be primary.
    pub(super) fn roll_back_to(&mut self, stable: u64, outbox: &mut Outbox) {
        self.abort_snapshot(outbox);
        while let Some(undone) = self.unstable.pop_back_if(|unstable| unstable.index > stable) {
            if let Some(inverse) = &undone.inverse {
                self.undo_bytes -= inverse.0.len() as u64;
                self.table.apply(inverse).expect("an own mutation is well formed");
            }
            if let Some(token) = &undone.token {
                self.tokens.remove(token);
            }
            self.applied = undone.index - 1;
            self.applied_term = undone.previous_term;
        }
        self.digests.reset();
        self.untold_digests.clear();
        self.keep_stable(outbox);
    }

    /// The state is that of right before the writes that were lost: tells what their keys are in it, so that nobody does them
    /// again over what came since.
    pub(super) fn print_lost(&mut self, now: Now, outbox: &mut Outbox) {
        let first = self.lost_here.first().map_or(0, |lost| lost.index);
        if self.applied + 1 != first || self.applied < self.exact_at {
            if self.applied + 1 > first {
                self.lost_here.clear();
            }
            return;
        }
        let view = View::new(&self.table, None, self.clock_ms(now));
        let mut lost = std::mem::take(&mut self.lost_here);
        for lost in &mut lost {
            let print = |key: Bytes| Watch { fingerprint: data::fingerprint(&key, &view), key };
            lost.before = Some(keys_written(&lost.payload).into_iter().map(print).collect());
        }
        outbox.lost(self.partition, lost);
    }

    /// Does what may have to be taken back take too much memory for more of it?
    pub(super) fn has_too_much_to_undo(&self) -> bool {
        let most = self.raft.group().map_or(u64::MAX, |group| group.policy.max_lag_bytes.saturating_mul(4));
        self.undo_bytes > most
    }

    pub(super) fn hash_of(&self, entry: &Entry) -> u64 {
        match self.options.announce_applied {
            true => xxhash_rust::xxh3::xxh3_64_with_seed(&entry.payload, entry.term),
            false => 0,
        }
    }

    /// For oracles: this entry is applied here for good.
    pub(super) fn announce(&self, index: u64, term: u64, hash: u64, outbox: &mut Outbox) {
        if self.options.announce_applied {
            outbox.event(Event::Applied { partition: self.partition, index, term, hash });
        }
    }
}
