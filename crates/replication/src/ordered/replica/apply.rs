//! Committed entries become state, and those who waited for them are answered.

use super::Replica;
use super::payload::Payload;
use crate::contract::{Event, Reply};
#[cfg(any(test, feature = "planted-bugs"))]
use crate::ordered::raft::Bug;
use crate::ordered::raft::{Entry, EntryKind};
use crate::shard::outbox::Outbox;
use crate::time::Now;

/// What an entry costs in the log beside its payload, about.
const ENTRY_OVERHEAD_BYTES: u64 = 40;

impl Replica {
    /// Applies the next committed entry.
    ///
    /// # Panics
    /// If entries do not come in order, or the entry is not readable: going on would let replicas differ.
    pub(super) fn apply(&mut self, entry: Entry, now: Now, outbox: &mut Outbox) {
        assert_eq!(entry.index, self.applied + 1, "entries are applied in order, each once");
        self.log_bytes += entry.payload.len() as u64 + ENTRY_OVERHEAD_BYTES;
        let payload = (entry.kind == EntryKind::Normal).then(|| self.decode(&entry));
        if !self.lost_here.is_empty() {
            self.print_lost(now, outbox);
        }
        if !self.unstable.is_empty() {
            self.keep_stable(outbox);
        }
        if !self.note_unstable(&entry, payload.as_ref()) {
            self.announce(entry.index, entry.term, self.hash_of(&entry), outbox);
        }
        if let Some(payload) = payload {
            self.apply_payload(&entry, payload, now, outbox);
        }
        self.applied = entry.index;
        self.applied_term = entry.term;
        self.pending.applied(entry.index);
        self.settle(entry.index, entry.term, outbox);
        if self.applied >= self.exact_at && self.digests.wants(entry.index) {
            self.check_digest(entry.index, outbox);
        }
    }

    /// Has what the next of these entries will change fetched into the cache.
    pub(super) fn touch(&self, entries: &[Entry]) {
        if entries.len() > 1 {
            self.table.touch(entries.iter().filter_map(|entry| Payload::first_key(&entry.payload)));
        }
    }

    fn decode(&self, entry: &Entry) -> Payload {
        let Some(payload) = Payload::decode(entry.payload.clone()) else {
            panic!(
                "entry {} of partition {} has a payload that this version cannot read",
                entry.index, self.partition.0
            );
        };
        payload
    }

    fn apply_payload(&mut self, entry: &Entry, payload: Payload, now: Now, outbox: &mut Outbox) {
        self.last_stamp_ms = self.last_stamp_ms.max(payload.time_ms);
        if let Some(mutation) = &payload.mutation
            && let Err(malformed) = self.table.apply(mutation)
        {
            panic!(
                "entry {} of partition {} is not a mutation: {}",
                entry.index, self.partition.0, malformed.0
            );
        }
        if let Some(mutation) = &payload.mutation {
            self.tell_awaiting(mutation, outbox);
        }
        if let Some(division) = payload.division {
            self.divide(division, entry.index, now, outbox);
        }
        if let Some((token, reply)) = payload.token {
            self.pending_tokens.remove(&token);
            #[cfg(any(test, feature = "planted-bugs"))]
            if self.raft.has_bug(Bug::TokenLost) && !self.raft.is_leader() {
                return;
            }
            let (retention_ms, limit) = (self.options.token_retention_ms, self.options.token_limit);
            self.tokens.insert(token, reply, payload.time_ms, retention_ms, limit);
        }
    }

    /// Answers the proposals up to `index`, where an entry of `term` now stands for good.
    fn settle(&mut self, index: u64, term: u64, outbox: &mut Outbox) {
        while let Some(proposal) = self.proposals.pop_front_if(|proposal| proposal.index <= index) {
            let Some(requester) = proposal.requester else { continue };
            if proposal.index == index && proposal.term == term {
                let (demand, to) = (proposal.demand, (requester, proposal.deadline));
                self.answer_write((index, term), demand, to, proposal.reply, outbox);
            } else {
                outbox.answers.push((requester, lost()));
            }
        }
        // The first entry of our own new term stands for good: what was proposed in an earlier term and is not in the
        // log before it was cut off and can never come back.
        if term == self.raft.term() && self.raft.is_leader() {
            // Terms rise along the queue, so those of former terms stand in front.
            while let Some(proposal) = self.proposals.pop_front_if(|proposal| proposal.term < term) {
                if let Some(requester) = proposal.requester {
                    outbox.answers.push((requester, lost()));
                }
            }
        }
    }

    fn check_digest(&mut self, index: u64, outbox: &mut Outbox) {
        let digest = self.table.digest();
        if let Some(mismatch) = self.digests.record(index, digest) {
            self.raise(mismatch, outbox);
        }
        if self.raft.is_leader() {
            // Others would compare another state with one that is taken back.
            match index <= self.raft.stable() {
                true => self.tell_digest(index, digest, outbox),
                false => self.untold_digests.push_back((index, digest)),
            }
        }
    }

    pub(super) fn tell_digest(&self, index: u64, digest: u128, outbox: &mut Outbox) {
        for node in self.others() {
            outbox.send(node, crate::wire::Message::Digest { partition: self.partition, index, digest });
        }
    }

    /// A group that falls quiet has its states compared once more, since nothing will for a while.
    pub(super) fn compare_when_quiet(&mut self, outbox: &mut Outbox) {
        let quiet = self.raft.is_quiet();
        if quiet && !self.was_quiet && self.raft.is_leader() && self.applied >= self.exact_at {
            self.tell_digest(self.applied, self.table.digest(), outbox);
        }
        self.was_quiet = quiet;
    }

    /// The leader tells the digest of its state.
    pub fn on_digest(&mut self, from: crate::NodeId, index: u64, digest: u128, outbox: &mut Outbox) {
        if self.applied < self.exact_at {
            return;
        }
        let present = (self.applied, self.table.digest());
        let stable = if self.raft.is_appointed() { self.raft.stable() } else { u64::MAX };
        if let Some(mismatch) = self.digests.hear(index, digest, from, present, stable) {
            self.raise(mismatch, outbox);
        }
    }

    fn raise(&mut self, mismatch: super::digests::Mismatch, outbox: &mut Outbox) {
        let super::digests::Mismatch { index, ours, theirs, peer } = mismatch;
        outbox.event(Event::DigestMismatch { partition: self.partition, index, ours, theirs, peer });
    }
}

fn lost() -> Reply {
    let text = "TRYAGAIN the leader changed before the write was committed: it did not happen and never will";
    Reply::Refused(text.into())
}
