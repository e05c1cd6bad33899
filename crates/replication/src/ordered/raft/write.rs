//! Writing: propose, append, commit (3.5, 3.6, 10.2.1).
//!
//! A leader appends to its log and sends at once, ahead of its own disk; an entry is committed when a majority holds it
//! *durably* (both majorities while joint) and it is of the leader's own term, which commits all before it.

use bytes::Bytes;

use super::{Entry, EntryKind, Membership, ProposeRefused, Raft};
use crate::NodeId;
use crate::quorum::joint_reached;
use crate::time::Time;

impl Raft {
    /// Appends to the leader's log; sent and persisted with the next [`Raft::finish`].
    ///
    /// # Errors
    /// Nothing was appended, and why.
    pub fn propose(&mut self, payload: Bytes, now: Time) -> Result<u64, ProposeRefused> {
        self.may_propose()?;
        self.may_acknowledge()?;
        let index = self.append_own(EntryKind::Normal, payload, now);
        self.wake_up(now);
        Ok(index)
    }

    pub(super) fn may_propose(&self) -> Result<(), ProposeRefused> {
        let Some(leading) = &self.leading else { return Err(ProposeRefused::NotLeader(self.leader)) };
        if leading.transfer.is_some() {
            return Err(ProposeRefused::Transferring);
        }
        if self.disk_full {
            return Err(ProposeRefused::DiskFull);
        }
        Ok(())
    }

    /// The first entry of a leader's term.
    pub(super) fn append_noop(&mut self, now: Time) {
        self.append_own(EntryKind::Noop, Bytes::new(), now);
    }

    pub(super) fn append_own(&mut self, kind: EntryKind, payload: Bytes, now: Time) -> u64 {
        let index = self.log.last_index() + 1;
        self.copies.grows(payload.len());
        self.note_unstable(index, payload.len(), now);
        self.log.push(Entry { index, term: self.term(), kind, payload });
        if kind != EntryKind::Normal {
            self.log.release();
        }
        index
    }

    /// Entries of the leader: `previous` is the index and term that they follow. Says whether they were taken.
    pub(super) fn on_append(
        &mut self,
        from: NodeId,
        round: u64,
        previous: (u64, u64),
        commit: u64,
        mut entries: Vec<Entry>,
    ) -> bool {
        let (mut prev_index, prev_term) = previous;
        if !are_sound(prev_index, self.term(), &entries) {
            return false;
        }
        if self.disk_full && !entries.is_empty() {
            self.reject_append(from, round, previous, true);
            return false;
        }
        if prev_index < self.commit {
            // What is committed here is in every later leader's log: begin after it (3.6.3).
            let known = entries.partition_point(|entry| entry.index <= self.commit);
            entries.drain(..known);
            prev_index = self.commit;
        } else if self.log.term_at(prev_index) != Some(prev_term) && !self.has_bug_no_check(prev_index) {
            self.reject_append(from, round, previous, false);
            return false;
        }
        let match_index = prev_index + entries.len() as u64;
        for entry in entries {
            self.accept(entry);
        }
        self.acknowledge_append(from, round, match_index);
        self.commit_up_to(commit.min(match_index));
        true
    }

    /// Takes an entry whose predecessor is here; drops what contradicts it.
    fn accept(&mut self, entry: Entry) {
        match self.log.term_at(entry.index) {
            Some(term) if term == entry.term => return,
            Some(_) => self.truncate(entry.index),
            None => {}
        }
        let membership = match entry.kind {
            EntryKind::Membership => Membership::decode(&entry.payload),
            EntryKind::Noop | EntryKind::Normal => None,
        };
        let index = entry.index;
        self.log.push(entry);
        if let Some(membership) = membership {
            self.adopt_membership(index, membership);
        }
    }

    fn truncate(&mut self, from: u64) {
        assert!(
            from > self.commit,
            "truncation from {from} would drop what is committed, up to {}",
            self.commit
        );
        self.note_lost(from);
        self.log.truncate(from);
        self.persistence.truncated(from - 1);
        self.revert_membership(from);
    }

    /// `commit` is what the leader knows this replica to hold.
    pub(super) fn on_commit(&mut self, commit: u64) {
        if commit <= self.log.last_index() {
            self.commit_up_to(commit);
        }
    }

    pub(super) fn on_append_ok(&mut self, from: NodeId, match_index: u64, version: u64) {
        let last = self.log.last_index();
        let Some(leading) = &mut self.leading else { return };
        let Some(progress) = leading.progress.get_mut(&from) else { return };
        // A member cannot hold more of this leader's log than there is.
        let news = progress.acknowledge(match_index.min(last));
        progress.vouch(version, match_index);
        progress.replicate();
        if match_index >= progress.admitted {
            progress.admitted = 0;
        }
        if news {
            self.advance_commit();
        }
    }

    /// Commits what a majority holds durably. An appointed leader does so in [`Raft::finish`], since its lease may count.
    pub(super) fn advance_commit(&mut self) {
        if self.is_appointed() {
            return;
        }
        let Some(leading) = &self.leading else { return };
        let own = self.own_match();
        let (incoming, outgoing) = self.halves();
        let reached = joint_reached(incoming, outgoing, |node| {
            if node == self.id { own } else { leading.progress.get(&node).map_or(0, |p| p.match_index) }
        });
        if reached > self.commit && self.counts_for_commit(reached) {
            self.commit_up_to(reached);
        }
    }

    /// Only entries of the own term are committed by counting copies (3.6.2).
    fn counts_for_commit(&self, index: u64) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.has_bug(super::Bug::CommitOfEarlierTerm) {
            return index <= self.log.last_index();
        }
        self.log.term_at(index) == Some(self.term())
    }

    /// How far the leader's own copy counts.
    pub(super) fn own_match(&self) -> u64 {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.has_bug(super::Bug::OwnLogBeforeDurable) {
            return self.log.last_index();
        }
        self.log.durable()
    }

    fn has_bug_no_check(&self, _prev_index: u64) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        return self.has_bug(super::Bug::AppendWithoutCheck) && _prev_index <= self.log.last_index();
        #[cfg(not(any(test, feature = "planted-bugs")))]
        false
    }

    /// Entries up to `index` are committed.
    pub(super) fn commit_up_to(&mut self, index: u64) {
        if index <= self.commit {
            return;
        }
        assert!(index <= self.log.last_index(), "what is committed here is in the log here");
        for (changed_at, membership) in self.memberships.between(self.commit, index) {
            self.outbox.memberships.push((*changed_at, membership.clone(), true));
        }
        self.commit = index;
        self.admit_if_caught_up();
        self.follow_stable();
    }
}

/// Are these entries that a leader of `term` could have sent to follow `prev_index`?
fn are_sound(prev_index: u64, term: u64, entries: &[Entry]) -> bool {
    let mut index = prev_index;
    let mut last_term = 0;
    entries.iter().all(|entry| {
        index += 1;
        let rises = entry.term >= last_term && entry.term <= term;
        last_term = entry.term;
        let reads = entry.kind != EntryKind::Membership || Membership::decode(&entry.payload).is_some();
        entry.index == index && rises && reads
    })
}
