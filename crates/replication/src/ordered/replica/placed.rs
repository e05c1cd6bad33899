//! What the catalogue wants of this replica: to move its partition, if it leads it, or to be given up.
//!
//! The leader of a partition whose record says `moving_to` changes the members to that and reports; so does the next
//! leader, if this one dies in the middle of it. What the log says of members and what the catalogue says may differ for a
//! while, in either direction (this node's catalogue may be old), so:
//! - a move begins only from the members that the record says or ends at those that it wants: with others there has been a
//!   change that this node's catalogue does not know, which is reported and otherwise left alone;
//! - a replica is given up only if the record is of a later membership than any in its log, or if neither the latest that
//!   it knows to be committed nor any later one in its log has it. One that has been let in since has that in its log before
//!   anyone counts on it, though it may not yet know it to be committed.

use std::time::Duration;

use crate::NodeId;
use crate::catalogue::Report;
use crate::contract::{Output, Reply, SnapshotWrite, Write};
use crate::ordered::raft::HardState;
use crate::placement::{PartitionPlacement, Reader};
use crate::shard::outbox::Outbox;
use crate::time::{Now, Time};

use super::Replica;
use super::members::Change;

/// A report is made again until the catalogue shows that it has come.
const REPORT_AGAIN: Duration = Duration::from_millis(400);

fn sorted(nodes: &[NodeId]) -> Vec<NodeId> {
    let mut nodes = nodes.to_vec();
    nodes.sort_unstable();
    nodes
}

impl Replica {
    /// The leader takes the next step towards what the catalogue wants, or says that it is so.
    pub(super) fn follow_placement(&mut self, now: Now, outbox: &mut Outbox) {
        let Some(placed) = &self.placed else { return };
        // So it is nearly always, and this runs with every batch of writes.
        let present = self.raft.membership();
        if placed.moving_to.is_empty()
            && self.change.is_none()
            && self.raft.membership_index() <= placed.settled_at
            && self.readers == present.learners
        {
            return;
        }
        let settled = self.is_serving() && self.raft.membership_is_committed();
        if !settled {
            return;
        }
        let (held, wanted) = (sorted(&placed.replicas), sorted(placed.wanted()));
        let known = present.voters == held || present.voters == wanted;
        let voters = if known { wanted } else { present.voters.clone() };
        let learners: Vec<NodeId> =
            self.readers.iter().copied().filter(|node| !voters.contains(node)).collect();
        if present.voters == voters && present.learners == learners {
            self.change = None;
            let index = self.raft.membership_index();
            if index > placed.settled_at && now.time >= self.report_at {
                self.report_at = now.time + REPORT_AGAIN;
                outbox.reports.push(Report { partition: self.partition, index, voters });
            }
            return;
        }
        self.want_members(voters, learners, now);
    }

    /// These are to be the members; both lists are sorted. What was wanted before is given up, if it is not done.
    pub fn want_members(&mut self, voters: Vec<NodeId>, learners: Vec<NodeId>, now: Now) {
        self.change = Some(Change { voters, learners });
        self.members_applied(now);
    }

    /// These are to hold copies for reads alone.
    pub fn set_readers(&mut self, readers: &[Reader]) {
        self.readers = readers.iter().map(|reader| reader.node).collect();
        self.readers.sort_unstable();
    }

    /// When a report is due again.
    pub(super) fn report_wake_at(&self) -> Time {
        let unsettled = |placed: &PartitionPlacement| self.raft.membership_index() > placed.settled_at;
        match &self.placed {
            Some(placed)
                if self.raft.is_leader() && unsettled(placed) && self.report_at > Time::default() =>
            {
                self.report_at
            }
            _ => Time::NEVER,
        }
    }

    /// The catalogue does not want a replica here: may this one forget everything?
    pub fn may_be_given_up(&self, placed: &PartitionPlacement) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.raft.has_bug(crate::ordered::raft::Bug::GivenUpTooEarly) {
            return true;
        }
        // What it was split into lives on its log until it has a snapshot of its own here.
        self.children_to_come.is_empty()
            && (placed.settled_at >= self.raft.membership_index() || !self.raft.may_be_counted_on())
    }

    /// The catalogue does not want a replica here and this one cannot be given up: its members know whether it is one.
    pub fn ask_whether_removed(&mut self, placed: &PartitionPlacement) {
        self.raft.ask_whether_removed(&placed.replicas);
    }

    /// This replica ends: whoever waits is answered or goes elsewhere. Returns the promises that outlive it, and the
    /// highest number of a snapshot file.
    pub fn give_up(&mut self, outbox: &mut Outbox) -> (HardState, u64) {
        let (partition, leader) = (self.partition, self.raft.leader());
        self.step_down(leader.filter(|&leader| leader != self.options.node), outbox);
        let waiting = std::mem::take(&mut self.open_reads).into_iter();
        let waiting = waiting.chain(std::mem::take(&mut self.asked_reads).into_values().flatten());
        let waiting = waiting.chain(std::mem::take(&mut self.apply_waits).into_values().flatten());
        for waiting in waiting.collect::<Vec<_>>() {
            if waiting.is_retry() {
                outbox.answers.push((waiting.work.requester, super::retry_unknown()));
            } else {
                outbox.elsewhere.push((partition, waiting.work, None));
            }
        }
        for proposal in self.proposals.drain(..) {
            if let Some(requester) = proposal.requester {
                let text = "the partition moved to other nodes, and what became of the write cannot be told";
                outbox.answers.push((requester, Reply::Unknown(text.into())));
            }
        }
        self.abort_snapshot(outbox);
        if let Some(incoming) = self.incoming.take() {
            let snapshot = incoming.file();
            outbox.outputs.push(Output::Snapshot(SnapshotWrite::Abort { partition, snapshot }));
        }
        outbox.forget(partition);
        let promises = self.raft.promises().forgotten();
        let state = Write::State { partition, state: promises.encode() };
        outbox.persist(partition, &mut vec![state, Write::Reset { partition, index: 0 }], None);
        (promises, self.next_snapshot)
    }
}
