//! A replica that comes to a group which was there before it.
//!
//! It begins empty, and may have been a member before, with a log that it has forgotten since (a partition that moved away
//! from its node and back). What it gets from the leader, oldest first, tells of memberships of that former life, so it
//! could take itself for a voter while it lacks entries that it once acknowledged: with its vote, a stale candidate could
//! win. Therefore it has no vote until its log is known to hold everything that was committed when it became a member.
//!
//! Three things make that safe:
//! - Term and vote outlive the former life ([`HardState::forgotten`]), so a leader that was deposed with this replica's help
//!   finds no ear here.
//! - Appends say since which entry the receiver is a member (`admitted`), until it has acknowledged that one. A newcomer has
//!   its vote once it knows the highest such entry to be committed. Its log grows by appends of this life alone (those of
//!   the former do not fit an empty log), or by a snapshot that the leader made after that entry.
//! - A leader takes no answer to a round from before the membership for one of this life (`Progress::since_round`).

use super::{HardState, Raft};

impl HardState {
    /// What is kept of a replica that is given up: its promises.
    pub fn forgotten(self) -> HardState {
        HardState { commit: 0, newcomer: true, version: 0, sound: None, ..self }
    }
}

impl Raft {
    /// What a newcomer may not do yet: vote.
    pub(super) fn has_no_vote_yet(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.has_bug(super::Bug::NewcomerVotes) {
            return false;
        }
        self.newcomer
    }

    /// Term and vote, as they would have to be kept if this replica were given up.
    pub fn promises(&self) -> HardState {
        let super::Ballot { term, vote } = self.ballot;
        HardState { term, vote, commit: 0, newcomer: self.newcomer, version: 0, sound: None }
    }

    /// An append was taken that says since when this replica is a member.
    pub(super) fn on_admitted(&mut self, admitted: u64) {
        if admitted > 0 {
            self.admission = self.admission.max(Some(admitted));
            self.admit_if_caught_up();
        }
    }

    /// The entry has to be durable here: the state on disk that says "no newcomer" is to say, too, that the entry is
    /// committed, or after a restart this replica would not know since when it is a member.
    pub(super) fn admit_if_caught_up(&mut self) {
        let known = self.commit.min(self.log.durable());
        if self.newcomer && self.admission.is_some_and(|admission| known >= admission) {
            self.newcomer = false;
            self.admitting = Some(super::PersistToken(u64::MAX));
        }
    }

    /// The leader's view: may this member be given a vote? Its answers to heartbeats say that it has committed what made
    /// it a member, and that it will remember that.
    pub fn has_settled(&self, node: crate::NodeId) -> bool {
        let Some(leading) = &self.leading else { return false };
        let settled = |progress: &super::progress::Progress| {
            progress.admitted == 0 && progress.commit_known >= progress.settles_at
        };
        node == self.id || leading.progress.get(&node).is_some_and(settled)
    }

    /// The commit index that the leader is told: a newcomer's does not count yet.
    pub(super) fn commit_to_report(&self) -> u64 {
        if self.newcomer { 0 } else { self.commit }
    }
}
