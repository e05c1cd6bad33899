//! Who takes part: orders of an operator, the replacement of a node that lost its disk, and leadership going back to the
//! preferred node.

use std::time::Duration;

use resp::Value;

use super::Replica;
use crate::NodeId;
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
    /// Who asked for it.
    pub works: Vec<Work>,
}

impl Replica {
    /// Takes an operator's order.
    pub(super) fn admin(&mut self, work: Work, now: Now, outbox: &mut Outbox) {
        if !self.raft.is_leader() {
            return outbox.elsewhere.push((self.partition, work, self.raft.leader()));
        }
        match &work.call {
            Call::Admin(Admin::Transfer { to }) => {
                let reply = match self.raft.transfer(*to, now.time) {
                    Ok(()) => Reply::Done(Value::OK),
                    Err(error) => Reply::Refused(format!("ERR leadership cannot go there: {error:?}")),
                };
                outbox.answers.push((work.requester, reply));
            }
            Call::Admin(Admin::Replace { old, new }) => {
                let (old, new) = (*old, *new);
                self.replace(old, new, Some(work), now, outbox);
            }
            Call::Admin(Admin::Members { voters, learners }) => {
                let (mut voters, mut learners) = (voters.clone(), learners.clone());
                voters.sort_unstable();
                voters.dedup();
                learners.sort_unstable();
                learners.dedup();
                if voters.is_empty() || learners.iter().any(|learner| voters.contains(learner)) {
                    let text = "ERR a membership needs a voter, and no node can be both voter and learner";
                    return outbox.answers.push((work.requester, Reply::Refused(text.into())));
                }
                self.change_members(voters, learners, Some(work), now, outbox);
            }
            _ => unreachable!("not an order"),
        }
    }

    /// A node without data asks to be let in for `old`. The leader follows the request; the node repeats it.
    pub fn on_rebuild(&mut self, new: NodeId, old: NodeId, now: Now, outbox: &mut Outbox) {
        if self.raft.is_leader() {
            self.replace(old, new, None, now, outbox);
        }
    }

    fn replace(&mut self, old: NodeId, new: NodeId, work: Option<Work>, now: Now, outbox: &mut Outbox) {
        let Membership { mut voters, outgoing, mut learners } = self.raft.membership().clone();
        let refusal = match (voters.contains(&old), voters.contains(&new)) {
            (false, false) => Some((old, "no member")),
            // One voter less would be another order. While joint the old one may be on its way out.
            (true, true) if outgoing.is_empty() => Some((new, "a member already")),
            _ => None,
        };
        if let Some((node, what)) = refusal {
            if let Some(work) = work {
                let text = format!("ERR node {:016x} is {what} in partition {}", node.0, self.partition.0);
                outbox.answers.push((work.requester, Reply::Refused(text)));
            }
            return;
        }
        voters.retain(|&node| node != old && node != new);
        voters.push(new);
        voters.sort_unstable();
        learners.retain(|&node| node != new);
        self.change_members(voters, learners, work, now, outbox);
    }

    /// `voters` and `learners` are sorted.
    fn change_members(
        &mut self,
        voters: Vec<NodeId>,
        learners: Vec<NodeId>,
        work: Option<Work>,
        now: Now,
        outbox: &mut Outbox,
    ) {
        match &mut self.change {
            Some(change) if change.voters == voters && change.learners == learners => {
                change.works.extend(work);
            }
            Some(_) => {
                if let Some(work) = work {
                    let text = "TRYAGAIN another change of members is under way in this partition";
                    outbox.answers.push((work.requester, Reply::Refused(text.into())));
                }
            }
            None => self.change = Some(Change { voters, learners, works: work.into_iter().collect() }),
        }
        self.members_applied(now, outbox);
    }

    /// Takes the next step of a change if the last one is done: learners, caught up, joint change, end.
    pub(super) fn members_applied(&mut self, now: Now, outbox: &mut Outbox) {
        let Some(Change { voters, learners, .. }) = &self.change else { return };
        let present = self.raft.membership();
        if !self.is_serving() || !self.raft.membership_is_committed() || present.is_joint() {
            return;
        }
        if present.voters == *voters && present.learners == *learners {
            for work in self.change.take().map(|change| change.works).unwrap_or_default() {
                outbox.answers.push((work.requester, Reply::Done(Value::OK)));
            }
            return;
        }
        let newcomers: Vec<NodeId> =
            voters.iter().copied().filter(|node| !present.voters.contains(node)).collect();
        let next = if newcomers.iter().all(|node| present.learners.contains(node)) {
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
            let mut learners = [&present.learners[..], &newcomers[..]].concat();
            learners.sort_unstable();
            learners.dedup();
            Membership { voters: present.voters.clone(), outgoing: Vec::new(), learners }
        };
        // A refusal is not the end: the step is tried again with the next entry or the next request of the node.
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
