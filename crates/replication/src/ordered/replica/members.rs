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

/// One member is to take the place of another.
#[derive(Debug)]
pub(crate) struct Replacement {
    pub old: NodeId,
    pub new: NodeId,
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
        match &mut self.replacement {
            Some(under_way) if (under_way.old, under_way.new) == (old, new) => under_way.works.extend(work),
            Some(_) => {
                if let Some(work) = work {
                    let text = "TRYAGAIN another replacement is under way in this partition";
                    outbox.answers.push((work.requester, Reply::Refused(text.into())));
                }
            }
            None => {
                let known = self.raft.membership();
                let (has_old, has_new) = (known.voters.contains(&old), known.voters.contains(&new));
                let refusal = match (has_old, has_new) {
                    (false, false) => Some((old, "no member")),
                    // One voter less would be another order. While joint the old one may be on its way out.
                    (true, true) if known.outgoing.is_empty() => Some((new, "a member already")),
                    _ => None,
                };
                if let Some((node, what)) = refusal {
                    if let Some(work) = work {
                        let text =
                            format!("ERR node {:016x} is {what} in partition {}", node.0, self.partition.0);
                        outbox.answers.push((work.requester, Reply::Refused(text)));
                    }
                    return;
                }
                self.replacement = Some(Replacement { old, new, works: work.into_iter().collect() });
            }
        }
        self.members_applied(now, outbox);
    }

    /// Takes the next step of a replacement if the last one is done: learner, caught up, joint change, end.
    pub(super) fn members_applied(&mut self, now: Now, outbox: &mut Outbox) {
        let Some(Replacement { old, new, .. }) = self.replacement else { return };
        if !self.is_serving() || !self.raft.membership_is_committed() {
            return;
        }
        let Membership { mut voters, outgoing, mut learners } = self.raft.membership().clone();
        if !outgoing.is_empty() {
            return;
        }
        if voters.contains(&new) && !voters.contains(&old) {
            if let Some(replacement) = self.replacement.take() {
                for work in replacement.works {
                    outbox.answers.push((work.requester, Reply::Done(Value::OK)));
                }
            }
            return;
        }
        if learners.contains(&new) {
            // One that acknowledged nothing yet is not caught up, however short the log.
            let behind = |matched: u64| matched == 0 || matched + 64 < self.raft.commit();
            if self.raft.match_index(new).is_none_or(behind) {
                return;
            }
            learners.retain(|&node| node != new);
            voters.retain(|&node| node != old);
            voters.push(new);
            voters.sort_unstable();
        } else {
            learners.push(new);
            learners.sort_unstable();
        }
        // A refusal is not the end: the step is tried again with the next entry or the next request of the node.
        let _ = self.raft.propose_membership(Membership { voters, outgoing, learners }, now.time);
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
