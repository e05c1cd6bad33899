//! Handing leadership over (3.10): proposals stop, the successor is caught up and told to campaign at once.
//!
//! The successor's vote requests carry a flag that overrides the promises made to this leader, so this leader gives its
//! lease up before it tells the successor - for the rest of its term, since the message may be late by any time. If the
//! transfer fails, reads go on with read-index rounds.

use super::{Message, ProposeRefused, Raft, Role};
use crate::NodeId;
use crate::time::Time;

/// A transfer under way.
#[derive(Debug)]
pub(super) struct Transfer {
    pub to: NodeId,
    /// Until then reads that need a round of this leader get it first.
    pub patient_until: Time,
    pub gives_up_at: Time,
}

impl Raft {
    /// Hands leadership over: stops proposals, catches the other up, tells it to campaign; gives up after an election
    /// timeout.
    ///
    /// # Errors
    /// This is not the leader, a transfer is under way, or `to` is not another voter.
    pub fn transfer(&mut self, to: NodeId, now: Time) -> Result<(), ProposeRefused> {
        let known_leader = self.leader;
        let is_voter = self.membership().voters.contains(&to) && to != self.id;
        let Some(leading) = &mut self.leading else { return Err(ProposeRefused::NotLeader(known_leader)) };
        if leading.transfer.is_some() {
            return Err(ProposeRefused::Transferring);
        }
        if !is_voter {
            return Err(ProposeRefused::Invalid("leadership can only be handed to another voter"));
        }
        let timeout = self.options.election_timeout;
        leading.transfer =
            Some(Transfer { to, patient_until: now + timeout / 4, gives_up_at: now + timeout });
        self.wake_up(now);
        Ok(())
    }

    /// Is leadership being handed over, so that nothing is proposed?
    pub fn is_transferring(&self) -> bool {
        self.leading.as_ref().is_some_and(|leading| leading.transfer.is_some())
    }

    pub(super) fn give_up_transfer_if_due(&mut self, now: Time) {
        if let Some(leading) = &mut self.leading
            && leading.transfer.as_ref().is_some_and(|transfer| now >= transfer.gives_up_at)
        {
            leading.transfer = None;
        }
    }

    /// Tells the successor, once it holds everything; again with each heartbeat. Everything has to be applied, and reads
    /// under way confirmed, so that those who wait get their answers from this leader.
    pub(super) fn go_on_with_transfer(&mut self, heartbeat: bool, now: Time) {
        let reads = self.reads.any();
        let term = self.term();
        let last = self.log.last_index();
        let relaxed = self.is_relaxed();
        let Some(leading) = &mut self.leading else { return };
        let Some(transfer) = &leading.transfer else { return };
        let caught_up = leading.progress.get(&transfer.to).is_some_and(|progress| progress.held == last);
        let applied = if relaxed { self.applied_by_table } else { self.log.applied() };
        let settled = applied == last && (!reads || now >= transfer.patient_until);
        if caught_up && settled && (heartbeat || !leading.lease_given_up) {
            leading.lease_given_up = true;
            let to = transfer.to;
            match self.is_appointed() {
                true => self.ask_for_successor(to, now),
                false => self.outbox.send.push((to, Message::TimeoutNow { term })),
            }
        }
    }

    pub(super) fn on_timeout_now(&mut self, from: NodeId, term: u64, now: Time) {
        if self.is_appointed() {
            return;
        }
        let follows = self.role == Role::Follower && self.leader == Some(from) && term == self.term();
        if follows && self.may_campaign() {
            self.start_campaign(true, now);
        }
    }

    /// A leader that is no voter any more, by a committed membership, tells the best of the others to go on, and stops.
    pub(super) fn leave_if_removed(&mut self, now: Time) {
        if self.is_appointed() {
            return;
        }
        let membership = self.memberships.current();
        if membership.is_voter(self.id) || self.memberships.current_index() > self.commit {
            return;
        }
        let Some(leading) = &self.leading else { return };
        let best = leading
            .progress
            .iter()
            .filter(|&(&node, _)| membership.is_voter(node))
            .max_by_key(|&(_, progress)| progress.match_index)
            .map(|(&node, _)| node);
        if let Some(best) = best {
            self.send(best, Message::TimeoutNow { term: self.term() });
        }
        self.become_follower(now);
    }
}
