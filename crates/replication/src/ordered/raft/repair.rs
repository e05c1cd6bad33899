//! Repair: sending followers what they lack. Finds where the logs meet (probe), sends ahead (replicate), reads old
//! entries back from disk (fetch), and asks for a snapshot when the log does not reach back far enough.
//!
//! Nothing here trusts the network: an append or its answer that is lost shows when the follower answers a later
//! heartbeat and its acknowledgement has not come; then an append without entries asks where it stands.

use super::log::Found;
use super::progress::{Mode, Progress};
use super::{Entry, Message, Raft, SnapshotMeta};
use crate::NodeId;
use crate::time::Time;

/// A new member that lacks no more entries than this gets them at once.
const PACED_FROM: u64 = 256;
/// The most payload bytes in one append to a member that is further behind: its node and its disk serve others.
const PACED_APPEND_BYTES: usize = 64 << 10;

impl Raft {
    /// Sends every member what it lacks, as far as the window allows, and tells it what is committed.
    pub(super) fn replicate(&mut self, now: Time) {
        let Some(mut leading) = self.leading.take() else { return };
        let mut waits_for_disk = Vec::new();
        self.copies_wait = false;
        for (&node, progress) in &mut leading.progress {
            let mut round = || leading.rounds.open(now);
            match progress.mode {
                Mode::Snapshot => {}
                _ if progress.disk_full => {}
                Mode::Probe if progress.waiting => {}
                Mode::Probe => self.send_probe(node, progress, &mut round),
                Mode::Replicate => {
                    if self.send_ahead(node, progress, now, &mut round) {
                        waits_for_disk.push((node, progress.next_index));
                    }
                }
            }
            if std::mem::take(&mut progress.ping) && progress.is_replicating() {
                self.send_append(node, progress, &mut round, Vec::new());
            }
            self.announce_commit(node, progress);
        }
        self.fetch_for_one(&mut leading.served_from_disk, &waits_for_disk);
        self.leading = Some(leading);
    }

    /// One append, with entries if they are at hand.
    fn send_probe(&mut self, node: NodeId, progress: &mut Progress, round: &mut impl FnMut() -> u64) {
        let entries = match self.log.read(progress.next_index, self.options.max_append_bytes) {
            Found::Here(entries) => entries,
            Found::OnDisk => Vec::new(),
            Found::Gone => return self.needs_snapshot(node, progress),
        };
        if self.log.term_at(progress.next_index - 1).is_none() {
            return self.needs_snapshot(node, progress);
        }
        let next_index = progress.next_index;
        self.send_append(node, progress, round, entries);
        progress.next_index = next_index;
        progress.waiting = true;
    }

    /// Everything that the follower was not sent, as far as the window allows. Says whether it has to wait for the disk.
    fn send_ahead(
        &mut self,
        node: NodeId,
        progress: &mut Progress,
        now: Time,
        round: &mut impl FnMut() -> u64,
    ) -> bool {
        let is_new = !self.membership().is_voter(node);
        if self.keeps_back && self.nobody_waits_for_members() {
            return false;
        }
        while progress.is_replicating()
            && progress.next_index <= self.log.released()
            && progress.has_room(self.options.max_inflight_bytes)
        {
            let is_paced = is_new && self.log.released() - progress.next_index > PACED_FROM;
            if is_paced && !self.copies.allows(now) {
                self.copies_wait = true;
                return false;
            }
            let most = if is_paced { PACED_APPEND_BYTES } else { usize::MAX };
            match self.log.read(progress.next_index, self.options.max_append_bytes.min(most)) {
                Found::Here(entries) => {
                    if is_paced {
                        self.copies.spend(entries.iter().map(Entry::size).sum(), now);
                    }
                    self.send_append(node, progress, round, entries);
                }
                Found::OnDisk => return true,
                Found::Gone => self.needs_snapshot(node, progress),
            }
        }
        false
    }

    /// An append from `next_index` on. If the entry before that is known no more (trimmed since `entries` were read back
    /// from disk), a snapshot is needed after all.
    fn send_append(
        &mut self,
        node: NodeId,
        progress: &mut Progress,
        round: &mut impl FnMut() -> u64,
        entries: Vec<Entry>,
    ) {
        let prev_index = progress.next_index - 1;
        let Some(prev_term) = self.log.term_at(prev_index) else {
            return self.needs_snapshot(node, progress);
        };
        let last_index = prev_index + entries.len() as u64;
        if progress.is_replicating() {
            progress.sent(last_index, entries.iter().map(Entry::size).sum());
        }
        progress.append_round = round();
        progress.commit_sent = progress.commit_sent.max(self.stable().min(last_index));
        let append = Message::Append {
            term: self.term(),
            round: progress.append_round,
            prev_index,
            prev_term,
            commit: self.stable(),
            admitted: progress.admitted,
            entries,
        };
        self.outbox.send.push((node, append));
    }

    /// Followers apply soon: tells what is committed, if no append just did.
    fn announce_commit(&mut self, node: NodeId, progress: &mut Progress) {
        let commit = self.stable().min(progress.match_index);
        if commit > progress.commit_sent {
            progress.commit_sent = commit;
            self.outbox.send.push((node, Message::Commit { term: self.term(), commit }));
        }
    }

    /// One that was made before the receiver became a member could be older than what that one once acknowledged
    /// ([`super::newcomer`]): it is made as soon as that is applied.
    fn needs_snapshot(&mut self, node: NodeId, progress: &mut Progress) {
        if self.log.applied() < progress.snapshot_after {
            return progress.probe(progress.next_index);
        }
        progress.await_snapshot();
        self.outbox.needs_snapshot.push(node);
    }

    /// One read from disk at a time, for the followers in turn; others that are near share what comes.
    fn fetch_for_one(&mut self, served: &mut NodeId, waiting: &[(NodeId, u64)]) {
        if waiting.is_empty() {
            if !self.copies_wait {
                self.log.drop_read_back();
            }
            return;
        }
        if self.fetching.is_some() {
            return;
        }
        let next = waiting.iter().find(|(node, _)| node > served).or(waiting.first());
        if let Some(&(node, from)) = next {
            *served = node;
            self.fetching = Some(from);
            self.outbox.fetch = Some((from, self.log.last_on_disk_only()));
        }
    }

    /// Entries that were asked for by [`Effects::fetch`](super::Effects::fetch) (empty: they are gone).
    pub fn fetched(&mut self, from: u64, entries: Vec<Entry>, _now: Time) {
        if self.fetching == Some(from) {
            self.fetching = None;
        }
        let Some(mut leading) = self.leading.take() else { return };
        if entries.first().is_some_and(|entry| entry.index == from) {
            self.log.keep_read_back(entries);
        } else {
            for (&node, progress) in &mut leading.progress {
                if progress.is_replicating() && progress.next_index == from {
                    self.needs_snapshot(node, progress);
                }
            }
        }
        self.leading = Some(leading);
    }

    pub(super) fn reject_append(&mut self, to: NodeId, round: u64, previous: (u64, u64), disk_full: bool) {
        let (prev_index, prev_term) = previous;
        let hint_index = self.log.last_with_term_up_to(prev_index, prev_term).unwrap_or(self.commit);
        let hint_term = self.log.term_at(hint_index).unwrap_or(0);
        let term = self.term();
        self.promise(to, Message::AppendReject { term, round, prev_index, hint_index, hint_term, disk_full });
    }

    /// The follower's log does not fit at `prev_index`: goes back to where both may agree, whole terms at a time. Or its
    /// disk is full: waits until a heartbeat's answer says otherwise.
    pub(super) fn on_append_reject(
        &mut self,
        from: NodeId,
        prev_index: u64,
        hint: (u64, u64),
        disk_full: bool,
        now: Time,
    ) {
        let (hint_index, hint_term) = hint;
        let may_meet_at = self.log.last_with_term_up_to(hint_index, hint_term).unwrap_or(0);
        let is_learner = !self.membership().is_voter(from);
        let Some(leading) = &mut self.leading else { return };
        let Some(progress) = leading.progress.get_mut(&from) else { return };
        let is_stale = match progress.mode {
            Mode::Snapshot => true,
            Mode::Probe => prev_index != progress.next_index - 1,
            Mode::Replicate => prev_index < progress.match_index,
        };
        if is_stale {
            return;
        }
        progress.disk_full = disk_full;
        // What it held and had not on its disk may be gone.
        progress.held = progress.match_index;
        if is_learner && !disk_full && hint_index < progress.match_index {
            progress.begin_anew();
        }
        let next_index =
            if disk_full { prev_index } else { may_meet_at.min(prev_index.saturating_sub(1)) } + 1;
        progress.probe(next_index);
        self.wake_up(now);
    }

    /// A snapshot at `index` has been delivered to `to`, and is durable there (or has failed: `None`): replication goes on.
    pub fn snapshot_delivered(&mut self, to: NodeId, index: Option<u64>, now: Time) {
        let last = self.log.last_index();
        let Some(leading) = &mut self.leading else { return };
        let Some(progress) = leading.progress.get_mut(&to) else { return };
        if let Some(index) = index {
            progress.acknowledge(index.min(last));
        }
        if progress.mode == Mode::Snapshot {
            // If it failed, the replica may have caught up otherwise: its answer to the last entry tells.
            progress.probe(if index.is_some() { progress.match_index + 1 } else { last + 1 });
        }
        self.wake_up(now);
        self.advance_commit();
    }

    /// A snapshot was received whole and is durable: the log is reset to it, unless the log here holds that very entry;
    /// then it is kept, since what follows may have been acknowledged. False if it is older than what is here.
    pub fn restore(&mut self, meta: &SnapshotMeta, now: Time) -> bool {
        if self.is_leader() || meta.index <= self.commit {
            return false;
        }
        if self.quiet {
            self.quiet = false;
            self.arm_election_timer(now);
        }
        self.handed_out = meta.index;
        self.applied_by_table = meta.index;
        if self.log.term_at(meta.index) == Some(meta.term) && !self.has_bug_drop_suffix() {
            self.commit_up_to(meta.index);
            self.log.set_applied(meta.index);
            return true;
        }
        self.note_replaced(meta);
        self.log.reset(meta.index, meta.term, &meta.terms);
        self.persistence.reset(meta.index);
        if !self.is_appointed() {
            self.memberships = super::Memberships::new(meta, &[]);
            self.outbox.memberships.push((meta.index, meta.membership.clone(), true));
        }
        self.outbox.reset = Some(meta.index);
        self.commit = meta.index;
        self.follow_stable();
        true
    }

    fn has_bug_drop_suffix(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        return self.has_bug(super::Bug::SnapshotDropsSuffix);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        false
    }

    /// A durable snapshot holds everything up to `index`: the log before it may go. Gives out `Write::Trim`.
    ///
    /// # Panics
    /// That has not been applied.
    pub fn compact(&mut self, index: u64) {
        assert!(index <= self.log.applied(), "compact to {index}, applied {}", self.log.applied());
        if index <= self.log.start() {
            return;
        }
        self.log.trim(index);
        self.memberships.forget_before(self.log.start());
        self.outbox.trim = Some(index);
    }
}

/// What of `entries` comes after the snapshot; and, if the log on disk may not fit to the snapshot, the index after which
/// it has to begin anew. That is so after a crash between a received snapshot and the reset of the log.
pub(super) fn entries_after(snapshot: &SnapshotMeta, mut entries: Vec<Entry>) -> (Vec<Entry>, Option<u64>) {
    let first = entries.first().map_or(snapshot.index + 1, |entry| entry.index);
    assert!(
        first <= snapshot.index + 1,
        "the log begins at {first}, after the snapshot at {}",
        snapshot.index
    );
    let known = entries.partition_point(|entry| entry.index <= snapshot.index);
    let contradicts = known > 0 && entries[known - 1].term != snapshot.term;
    if contradicts || known == entries.len() {
        let reset = (snapshot.index > 0).then_some(snapshot.index);
        return (Vec::new(), reset);
    }
    entries.drain(..known);
    (entries, None)
}
