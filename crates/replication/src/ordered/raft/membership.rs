//! Membership changes by joint consensus (4.3): a membership is in force from when it is appended, and until that entry
//! is truncated. The leader enters a joint membership, and leaves it by itself as soon as it is committed.
//!
//! Why a lease survives a change: a voter set that could elect another leader under the membership before, the joint
//! one, or the one after shares a voter with the majority (or both majorities) that this leader's membership asks for.
//! The leader nevertheless counts its rounds anew after each change.

use super::{Entry, EntryKind, Membership, ProposeRefused, Raft, SnapshotMeta};
use crate::NodeId;
use crate::time::Time;

/// The membership in force and those before it, as far back as the log goes.
#[derive(Debug)]
pub(super) struct Memberships {
    /// By index, rising; the first is that of the snapshot or of an entry before everything that may be asked for.
    history: Vec<(u64, Membership)>,
}

impl Memberships {
    /// The snapshot's, then those in the log after it.
    pub fn new(snapshot: &SnapshotMeta, entries: &[Entry]) -> Memberships {
        let mut memberships = Memberships { history: vec![(snapshot.index, snapshot.membership.clone())] };
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Membership) {
            let membership = Membership::decode(&entry.payload);
            memberships
                .push(entry.index, membership.expect("the log holds only memberships that can be read"));
        }
        memberships
    }

    fn latest(&self) -> &(u64, Membership) {
        self.history.last().expect("the history begins with the snapshot's membership")
    }

    /// The one in force.
    pub fn current(&self) -> &Membership {
        &self.latest().1
    }

    /// Its index.
    pub fn current_index(&self) -> u64 {
        self.latest().0
    }

    /// The oldest that is known.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub fn first(&self) -> &Membership {
        &self.history[0].1
    }

    /// The one that was in force at `index`.
    pub fn at(&self, index: u64) -> Option<&Membership> {
        self.history.iter().rev().find(|(from, _)| *from <= index).map(|(_, membership)| membership)
    }

    /// Is this node a voter in the one that was in force at `commit`, or in a later one?
    pub fn has_voted_since(&self, node: NodeId, commit: u64) -> bool {
        let settled = self.history.iter().rposition(|(index, _)| *index <= commit).unwrap_or(0);
        self.history[settled..].iter().any(|(_, membership)| membership.is_voter(node))
    }

    /// Does this node take part in the one that was in force at `commit`, or in a later one?
    pub fn contain_since(&self, node: NodeId, commit: u64) -> bool {
        let settled = self.history.iter().rposition(|(index, _)| *index <= commit).unwrap_or(0);
        self.history[settled..].iter().any(|(_, membership)| membership.contains(node))
    }

    /// Those that came into force after `after`, up to `to`.
    pub fn between(&self, after: u64, to: u64) -> impl Iterator<Item = &(u64, Membership)> {
        self.history.iter().filter(move |(index, _)| *index > after && *index <= to)
    }

    /// The one in force is decided elsewhere.
    pub fn set(&mut self, membership: Membership) {
        self.history = vec![(0, membership)];
    }

    pub fn push(&mut self, index: u64, membership: Membership) {
        self.history.push((index, membership));
    }

    /// Entries from `from` on are gone. Says whether another membership is in force now.
    pub fn truncate(&mut self, from: u64) -> bool {
        let before = self.history.len();
        self.history.retain(|(index, _)| *index < from);
        self.history.len() != before
    }

    /// Nobody will ask for an index before this one any more.
    pub fn forget_before(&mut self, index: u64) {
        let keep_from = self.history.iter().rposition(|(from, _)| *from <= index).unwrap_or(0);
        self.history.drain(..keep_from);
    }
}

impl Raft {
    /// Starts a membership change to `target` (voters and learners). If only learners differ: one entry; else through a
    /// joint membership, left automatically when it is committed. Returns the index of the first of these entries.
    ///
    /// # Errors
    /// This is not the leader or cannot do it now, most of the new voters are silent, or `target` makes no sense.
    pub fn propose_membership(&mut self, target: Membership, now: Time) -> Result<u64, ProposeRefused> {
        self.may_propose()?;
        let first_index = self.leading.as_ref().map_or(u64::MAX, |leading| leading.first_index);
        if self.commit < first_index {
            return Err(ProposeRefused::NotReady);
        }
        let current = self.memberships.current();
        if current.is_joint() || self.memberships.current_index() > self.commit {
            return Err(ProposeRefused::ChangeUnderWay);
        }
        let target = checked(target)?;
        if target == *current {
            return Err(ProposeRefused::Invalid("that is the membership already"));
        }
        let next = if target.voters == current.voters {
            target
        } else {
            // With voters most of whom are gone the change would never be done, and the members that there are could not
            // go on without it. (It may still happen that they die right afterwards.)
            if !self.hears_majority_of(&target.voters, now) {
                self.wake_up(now);
                return Err(ProposeRefused::NotReady);
            }
            Membership { outgoing: current.voters.clone(), ..target }
        };
        Ok(self.append_membership(next, now))
    }

    fn append_membership(&mut self, membership: Membership, now: Time) -> u64 {
        let index = self.append_own(EntryKind::Membership, membership.encode(), now);
        self.adopt_membership(index, membership);
        self.follow_membership(now);
        self.wake_up(now);
        self.advance_commit();
        index
    }

    /// A membership was appended here: it is in force.
    pub(super) fn adopt_membership(&mut self, index: u64, membership: Membership) {
        self.outbox.memberships.push((index, membership.clone(), false));
        self.memberships.push(index, membership);
    }

    /// Entries from `from` on were truncated: a membership among them is not in force any more.
    pub(super) fn revert_membership(&mut self, from: u64) {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.has_bug(super::Bug::MembershipNotReverted) {
            return;
        }
        if self.memberships.truncate(from) {
            let index = self.memberships.current_index();
            let membership = self.memberships.current().clone();
            self.outbox.memberships.push((index, membership, index <= self.commit));
        }
    }

    /// The leader leaves a joint membership that is committed.
    pub(super) fn leave_joint_if_committed(&mut self, now: Time) {
        let current = self.memberships.current();
        let committed = self.memberships.current_index() <= self.commit;
        if current.is_joint() && committed && self.may_propose().is_ok() && self.has_committed_in_term() {
            let after = Membership {
                voters: current.voters.clone(),
                outgoing: Vec::new(),
                learners: current.learners.clone(),
            };
            self.append_membership(after, now);
        }
    }

    /// Has this leader committed an entry of its term?
    pub(super) fn has_committed_in_term(&self) -> bool {
        self.leading.as_ref().is_some_and(|leading| self.commit >= leading.first_index)
    }

    /// Tells a replica that asks for votes that it is no member, if that is final: not as of all that is committed here. So
    /// it is no member by any entry up to there either that only its own log has.
    pub(super) fn tell_removed(&mut self, node: NodeId) {
        let index = self.commit;
        if self.is_appointed() {
            return;
        }
        if self.memberships.current_index() <= index && !self.membership().contains(node) {
            self.send(node, super::Message::Removed { term: self.term(), index });
        }
    }

    /// Asks those nodes whether this replica still is a member. One without a vote asks for none, so nobody would tell it.
    pub fn ask_whether_removed(&mut self, nodes: &[NodeId]) {
        let doubt = super::Message::PreVote {
            term: self.term(),
            last_index: self.log.last_index(),
            last_term: self.log.last_term(),
        };
        for &node in nodes {
            if node != self.id {
                self.send(node, doubt.clone());
            }
        }
    }

    pub(super) fn on_removed(&mut self, term: u64, index: u64, now: Time) {
        self.catch_up_term(term, now);
        self.removed_at = self.removed_at.max(index);
    }
}

/// In order, or why it makes no sense.
fn checked(mut membership: Membership) -> Result<Membership, ProposeRefused> {
    membership.voters.sort_unstable();
    membership.voters.dedup();
    membership.learners.sort_unstable();
    membership.learners.dedup();
    if membership.voters.is_empty() {
        return Err(ProposeRefused::Invalid("a membership needs a voter"));
    }
    if !membership.outgoing.is_empty() {
        return Err(ProposeRefused::Invalid("a change is asked for by its end, not by its joint membership"));
    }
    if membership.learners.iter().any(|learner| membership.voters.contains(learner)) {
        return Err(ProposeRefused::Invalid("a voter cannot be a learner, too"));
    }
    Ok(membership)
}
