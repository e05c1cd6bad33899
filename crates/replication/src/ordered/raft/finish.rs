//! The end of a batch of inputs: what they led to is put together and given out.

use super::types::Effects;
use super::{EntryKind, HardState, Membership, Message, Raft, ReadRefused};
use crate::NodeId;
use crate::contract::Write;
use crate::time::Time;

/// What has piled up since the last [`Raft::finish`].
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub send: Vec<(NodeId, Message)>,
    pub send_after_persist: Vec<(NodeId, Message)>,
    pub send_after_write: Vec<(NodeId, Message)>,
    pub reads: Vec<(u64, Result<u64, ReadRefused>)>,
    pub memberships: Vec<(u64, Membership, bool)>,
    pub needs_snapshot: Vec<NodeId>,
    pub fetch: Option<(u64, u64)>,
    /// The log on disk begins anew after this index.
    pub reset: Option<u64>,
    /// The log on disk may lose everything up to this index.
    pub trim: Option<u64>,
    pub role_changed: bool,
}

/// The commit index on disk may lag by so many entries.
const COMMIT_HINT_ENTRIES: u64 = 256;

impl Raft {
    /// Are there committed entries that the next [`Raft::finish`] will give out?
    pub fn has_more_to_apply(&self) -> bool {
        self.handed_out < self.commit
    }

    /// Everything that the inputs since the last call led to.
    pub fn finish(&mut self, now: Time, effects: &mut Effects) {
        effects.clear();
        if self.is_leader() {
            self.finish_leading(now);
        } else {
            self.log.release();
            self.ask_for_reads(now);
        }
        self.give_out_writes(effects);
        self.give_out_committed(effects);
        let outbox = &mut self.outbox;
        std::mem::swap(&mut effects.send, &mut outbox.send);
        std::mem::swap(&mut effects.send_after_persist, &mut outbox.send_after_persist);
        std::mem::swap(&mut effects.send_after_write, &mut outbox.send_after_write);
        std::mem::swap(&mut effects.reads, &mut outbox.reads);
        std::mem::swap(&mut effects.memberships, &mut outbox.memberships);
        std::mem::swap(&mut effects.needs_snapshot, &mut outbox.needs_snapshot);
        effects.fetch = outbox.fetch.take();
        effects.role_changed = std::mem::take(&mut outbox.role_changed);
        self.give_out_appointed(effects);
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.has_bug(super::Bug::AnswerBeforeDurable) {
            effects.send.append(&mut effects.send_after_persist);
        }
    }

    fn finish_leading(&mut self, now: Time) {
        self.advance_appointed(now);
        self.leave_joint_if_committed(now);
        if !self.gathering {
            self.log.release();
        }
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.has_bug(super::Bug::OwnLogBeforeDurable) {
            self.advance_commit();
        }
        self.answer_reads(now);
        self.replicate(now);
        let heartbeat = self.leading.as_ref().is_some_and(|leading| leading.heartbeat_due);
        self.broadcast_heartbeat(now);
        self.go_on_with_transfer(heartbeat, now);
        if let Some(leading) = &mut self.leading {
            leading.rounds.close();
        }
        self.leave_if_removed(now);
    }

    /// The term and vote come first: no entry on disk is ever of a later term than the state beside it.
    ///
    /// The commit index goes along now and then, when entries are written anyway: a restarted replica applies what it knows
    /// to be committed while it still waits for a leader. Only as far as this replica's log is durable: what stands on disk
    /// behind that may be entries of a former leader still, which must not pass for committed.
    fn give_out_writes(&mut self, effects: &mut Effects) {
        let partition = self.partition;
        let commit = self.stable().min(self.log.durable());
        #[cfg(any(test, feature = "planted-bugs"))]
        let commit = if self.has_bug(super::Bug::CommitIndexAhead) { self.log.last_index() } else { commit };
        let stale = commit >= self.commit_written + COMMIT_HINT_ENTRIES && self.log.has_unwritten();
        let admitted = self.newcomer_written != self.newcomer;
        let sound = self.sound_to_write();
        // What others rely on, though an acknowledgement may not.
        let mut matters = self.persistence.written() != self.ballot
            || admitted
            || self.has_news()
            || self.persistence.sound_written() != sound
            || self.outbox.reset.is_some();
        if matters || self.outbox.trim.is_some() || stale {
            self.newcomer_written = self.newcomer;
            self.commit_written = commit;
            let ballot = self.ballot;
            #[cfg(any(test, feature = "planted-bugs"))]
            let ballot = match self.has_bug(super::Bug::VoteNotPersisted) {
                true => self.persistence.durable(),
                false => ballot,
            };
            let version = self.write_version();
            let newcomer = self.newcomer;
            let state = HardState { term: ballot.term, vote: ballot.vote, commit, newcomer, version, sound };
            effects.persist.push(Write::State { partition, state: state.encode() });
        }
        if let Some(index) = self.outbox.reset.take() {
            effects.persist.push(Write::Reset { partition, index });
        }
        for entry in self.log.take_unwritten() {
            // The beginning of a reign, which is to be confirmed soon.
            matters |= entry.kind != EntryKind::Normal;
            effects.persist.push(Write::Append { partition, entry: entry.clone() });
        }
        if let Some(index) = self.outbox.trim.take() {
            effects.persist.push(Write::Trim { partition, index });
        }
        if !effects.persist.is_empty() {
            effects.waits_for_write = self.is_relaxed();
            effects.persist_relaxed = effects.waits_for_write && !matters;
            let token =
                self.persistence.hand_out(self.log.written(), self.ballot, sound, self.version_written());
            effects.persist_token = Some(token);
            if admitted && !self.newcomer {
                self.admitting = Some(token);
            }
        }
    }

    fn give_out_committed(&mut self, effects: &mut Effects) {
        let to = self.commit.min(self.handed_out + self.options.max_apply_entries.max(1));
        while self.handed_out < to {
            self.handed_out += 1;
            let entry = self.log.get(self.handed_out);
            effects.committed.push(entry.expect("entries that are not applied are in memory").clone());
        }
    }

    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        self.outbox.send.push((to, message));
    }

    pub(super) fn send_after_persist(&mut self, to: NodeId, message: Message) {
        self.outbox.send_after_persist.push((to, message));
    }

    /// An answer that makes the sender part of this term's majority: it may go at once if the term is durable here, so
    /// that a restart does not forget that something was promised.
    pub(super) fn promise(&mut self, to: NodeId, message: Message) {
        if self.persistence.durable().term == self.term() && self.admitting.is_none() {
            self.send(to, message);
        } else {
            self.send_after_persist(to, message);
        }
    }
}
