//! Who takes part, step by step, and leadership going where it is wanted.

use std::time::Duration;

use resp::Value;

use super::Replica;
use super::awaiting::Awaiting;
use crate::NodeId;
use crate::consistency::Seen;
use crate::contract::{Admin, Call, Reply};
use crate::ordered::raft::Membership;
use crate::shard::outbox::{Outbox, Work};
use crate::time::{Now, Time};

/// A leader that is not the preferred one looks this often whether it could hand over.
const HAND_OVER_EVERY: Duration = Duration::from_secs(2);

/// These are to be the members.
#[derive(Debug)]
pub(crate) struct Change {
    /// Sorted.
    pub voters: Vec<NodeId>,
    /// Sorted.
    pub learners: Vec<NodeId>,
}

impl Replica {
    /// Takes an operator's order.
    pub(super) fn admin(&mut self, work: Work, now: Now, outbox: &mut Outbox) {
        if !self.raft.is_leader() {
            return outbox.elsewhere.push((self.partition, work, self.raft.leader()));
        }
        match &work.call {
            Call::Admin(Admin::Wait { term, copies, milliseconds, durably }) => {
                let asked = (*term, *copies, *milliseconds, *durably);
                self.wait_for_copies(work.requester, asked, now, outbox);
            }
            Call::Admin(Admin::Await { kind, keys, waited_ms, milliseconds }) => {
                let [waited, left] = [*waited_ms, *milliseconds].map(|ms| Duration::from_millis(ms.into()));
                let awaiting = Awaiting {
                    kind: *kind,
                    keys: keys.clone(),
                    requester: work.requester,
                    until: now.time + left,
                };
                self.wait_for_element(awaiting, waited, now, outbox);
            }
            Call::Admin(Admin::Transfer { to }) => {
                let reply = match self.raft.transfer(*to, now.time) {
                    Ok(()) => Reply::Done(Value::OK),
                    Err(error) => Reply::Refused(format!("ERR leadership cannot go there: {error:?}")),
                };
                outbox.answers.push((work.requester, reply));
            }
            Call::Admin(Admin::Seen) => {
                // Whoever has applied an entry of this term has all that was acknowledged in earlier ones.
                let seen = Seen::Log { term: self.raft.term(), index: self.raft.commit() };
                self.confirm(work, Value::Bulk(seen.encode()), 0, now, outbox);
            }
            _ => unreachable!("not an order to a leader"),
        }
    }

    /// Takes the next step of a change if the last one is done: learners, caught up, joint change, end.
    pub(super) fn members_applied(&mut self, now: Now) {
        let Some(Change { voters, learners }) = &self.change else { return };
        let present = self.raft.membership();
        if !self.is_serving() || !self.raft.membership_is_committed() || present.is_joint() {
            return;
        }
        if present.voters == *voters && present.learners == *learners {
            self.change = None;
            return;
        }
        let without_vote = |node: &NodeId| !present.voters.contains(node);
        let newcomers: Vec<NodeId> = voters.iter().copied().filter(without_vote).collect();
        // Who was to come by an earlier change that was given up is not waited for, nor sent anything.
        let mut arriving: Vec<NodeId> =
            learners.iter().chain(&newcomers).copied().filter(without_vote).collect();
        arriving.sort_unstable();
        let next = if present.learners == arriving {
            // One that acknowledged nothing yet is not caught up, however short the log.
            let behind = |matched: u64| matched == 0 || matched + 64 < self.raft.commit();
            let unready = |&node: &NodeId| {
                !self.raft.has_settled(node) || self.raft.match_index(node).is_none_or(behind)
            };
            if newcomers.iter().any(unready) {
                return;
            }
            Membership { voters: voters.clone(), outgoing: Vec::new(), learners: learners.clone() }
        } else {
            Membership { voters: present.voters.clone(), outgoing: Vec::new(), learners: arriving }
        };
        // A refusal is not the end: the step is tried again with the next entry or the next look at the placement.
        let _ = self.raft.propose_membership(next, now.time);
    }

    pub(super) fn others(&self) -> Vec<NodeId> {
        let mut others = self.raft.membership().members();
        others.retain(|&node| node != self.options.node);
        others
    }

    /// Gives leadership back to the preferred node once that one is there and has nearly everything.
    pub(super) fn lead_elsewhere(&mut self, now: Now, alive: &dyn Fn(NodeId) -> bool) {
        if now.time < self.lead_elsewhere_at() {
            return;
        }
        self.leading_since = now.time;
        let Some(preferred) = self.preferred else { return };
        let caught_up =
            self.raft.match_index(preferred).is_some_and(|matched| matched + 256 >= self.raft.last_index());
        if alive(preferred) && caught_up && self.raft.membership().voters.contains(&preferred) {
            let _ = self.raft.transfer(preferred, now.time);
        }
    }

    pub(super) fn lead_elsewhere_at(&self) -> Time {
        let elsewhere = self.preferred.is_some_and(|preferred| preferred != self.options.node);
        if self.was_leader && elsewhere { self.leading_since + HAND_OVER_EVERY } else { Time::NEVER }
    }

    /// Hands leadership to the most advanced other voter that is alive, and takes it no more (graceful stop).
    pub fn hand_over(&mut self, now: Now, alive: &dyn Fn(NodeId) -> bool) {
        self.retiring = true;
        if !self.raft.is_leader() {
            return;
        }
        let voters = self.raft.membership().voters.clone();
        let others = voters.into_iter().filter(|&node| node != self.options.node && alive(node));
        if let Some(best) = others.max_by_key(|&node| self.raft.match_index(node)) {
            let _ = self.raft.transfer(best, now.time);
        }
    }
}
