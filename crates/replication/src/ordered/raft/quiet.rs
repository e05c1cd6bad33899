//! Quiet groups: a group with nothing to do costs nothing.
//!
//! When nothing was proposed or read for `quiet_after` and every member is known to hold and to have committed
//! everything, the leader says so in a last heartbeat and stops; a follower that agrees stops its election timer. One
//! that does not, or did not get it, or restarts, does not hear its leader, and its question (`PreVote`, `Wake`, an answer
//! that is not quiet) wakes the group. Anything of substance does, too.
//!
//! A quiet leader has no lease, and check-quorum rests. If its node dies, someone has to call [`Raft::suspect`] on the
//! followers: nothing else would tell them.

use super::progress::Progress;
use super::{Message, Raft};
use crate::NodeId;
use crate::time::Time;

impl Raft {
    /// Is this replica resting until something happens?
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Something happens at the leader.
    pub(super) fn wake_up(&mut self, now: Time) {
        let next_heartbeat = self.next_heartbeat(now);
        let Some(leading) = &mut self.leading else { return };
        leading.active_at = now;
        if !self.quiet {
            return;
        }
        self.quiet = false;
        leading.woken_after_round = leading.rounds.latest();
        leading.heartbeat_due = true;
        leading.heartbeat_at = next_heartbeat;
        for progress in leading.progress.values_mut() {
            progress.heard_at = now;
        }
    }

    /// At a heartbeat: is there anything left to do?
    pub(super) fn fall_quiet_if_idle(&mut self, now: Time) {
        let last = self.log.last_index();
        let Some(leading) = &self.leading else { return };
        let knows_all = |progress: &Progress| {
            progress.departs_at.is_none()
                && !progress.disk_full
                && progress.match_index == last
                && progress.commit_known == last
        };
        let idle = now >= leading.active_at + self.options.quiet_after
            && self.commit == last
            && self.log.durable() == last
            && leading.transfer.is_none()
            && !self.memberships.current().is_joint()
            && !self.reads.any()
            && !self.busy
            && self.is_whole()
            && !leading.progress.keys().any(|&node| self.lacks_vouching(node))
            && leading.progress.values().all(knows_all);
        self.quiet = idle;
    }

    /// The leader says that nothing is left to do beyond `commit`. A follower that has more or less does not agree.
    pub(super) fn fall_quiet_with(&mut self, commit: u64) {
        if self.commit != commit || self.log.last_index() != commit || self.reads.any() {
            return;
        }
        self.quiet = true;
        self.election_deadline = Time::NEVER;
    }

    /// `from` does not hear the leader, which this replica is.
    pub(super) fn on_sign_of_doubt(&mut self, from: NodeId, now: Time) {
        if self.membership().contains(from) {
            if self.quiet {
                self.wake_up(now);
            }
        } else {
            self.tell_removed(from);
        }
    }

    /// A quiet follower is asked for something that a quiet group does not ask for. It does not vote yet: the leader may
    /// be well, and gets the time to say so.
    pub(super) fn wake_as_follower(&mut self, from: NodeId, now: Time) {
        if !self.membership().contains(from) {
            return;
        }
        self.quiet = false;
        self.promise_until = now + self.options.election_timeout;
        self.arm_election_timer(now);
        if let Some(leader) = self.leader {
            self.send(leader, Message::Wake { term: self.term() });
        }
    }

    /// Asks everyone whether they lead: what a replica without a vote does instead of a pre-vote.
    pub(super) fn look_for_leader(&mut self) {
        for voter in self.other_voters() {
            self.send(voter, Message::Wake { term: self.term() });
        }
    }

    pub(super) fn on_wake(&mut self, from: NodeId, term: u64, now: Time) {
        self.catch_up_term(term, now);
        if self.is_leader() {
            self.on_sign_of_doubt(from, now);
        } else if self.quiet {
            self.wake_as_follower(from, now);
        }
    }
}
