//! What the core tells, as log lines and counters.

use replication::Event;
use replication::contract::Role;

use crate::stats::Stats;
use replication::PartitionId;
use replication::merged::causal;

/// What is longer of a change is not logged: one may be about all groups of a keyspace.
const LONGEST_CHANGE: usize = 500;

/// Logs and counts. Returns whether the view of the cluster (roles, members) is another one now.
pub fn record(event: &Event, stats: &Stats) -> bool {
    match event {
        Event::Applied { .. }
        | Event::Lease { .. }
        | Event::Acknowledged { .. }
        | Event::Asked { .. }
        | Event::Covered { .. } => false,
        Event::Lost { partition, entries } => {
            stats.lost_writes.add(*entries);
            tracing::error!(
                partition = partition.0,
                entries,
                "this node had writes as primary that its successor has not: they are kept, see KEYSPACE LOST"
            );
            true
        }
        Event::Causal { partition, event } => {
            causal(*partition, event);
            false
        }
        Event::Role { partition, term, role, leader } => {
            if leader.is_some() {
                stats.leader_changes.add(1);
            }
            let leader = leader.map(|leader| format!("{:016x}", leader.0));
            if *role == Role::Leader {
                tracing::info!(partition = partition.0, term, "leads");
            } else {
                tracing::debug!(partition = partition.0, term, ?role, leader, "role");
            }
            true
        }
        Event::DigestMismatch { partition, index, ours, theirs, peer } => {
            tracing::error!(
                partition = partition.0,
                index,
                ours = format!("{ours:032x}"),
                theirs = format!("{theirs:032x}"),
                peer = format!("{:016x}", peer.0),
                "two replicas hold different states at the same index"
            );
            true
        }
        Event::Membership { partition, index, voters, outgoing, learners, committed } => {
            tracing::info!(
                partition = partition.0,
                index,
                ?voters,
                ?outgoing,
                ?learners,
                committed,
                "members"
            );
            true
        }
        Event::SnapshotSent { partition, to, index, resumed, finished } => {
            if *finished {
                stats.snapshots_sent.add(1);
            }
            let to = format!("{:016x}", to.0);
            tracing::info!(partition = partition.0, index, to, resumed, finished, "snapshot transfer");
            false
        }
        Event::SnapshotInstalled { partition, index } => {
            stats.snapshots_installed.add(1);
            tracing::info!(partition = partition.0, index, "snapshot of a peer installed");
            false
        }
        Event::Catalogue(catalogue, _) => {
            tracing::debug!(epoch = catalogue.epoch, moves = catalogue.moves(), "catalogue");
            true
        }
        Event::Steered(change) => {
            let change = format!("{change:?}");
            let change = change.get(..LONGEST_CHANGE).unwrap_or(&change);
            tracing::info!(change, "the catalogue is to be changed");
            false
        }
        Event::Opened { partition } => {
            tracing::info!(partition = partition.0, "a partition comes to this node");
            true
        }
        Event::Hedged { .. } => {
            stats.hedged_reads.add(1);
            false
        }
        Event::TakenElsewhere { .. } => {
            stats.reads_taken_elsewhere.add(1);
            false
        }
        Event::GivenUp { partition } => {
            tracing::info!(partition = partition.0, "a partition has left this node");
            true
        }
        Event::Split { partition, child, index } => {
            stats.splits.add(1);
            tracing::info!(partition = partition.0, child = child.0, index, "a partition is split");
            true
        }
        Event::Born { partition } => {
            tracing::info!(partition = partition.0, "a partition has come about by a split");
            true
        }
        Event::SnapshotTaken { partition, index } => {
            stats.snapshots_taken.add(1);
            tracing::debug!(partition = partition.0, index, "snapshot taken");
            false
        }
    }
}

/// What a replica among those that all take writes tells.
fn causal(PartitionId(group): PartitionId, event: &causal::Event) {
    match event {
        causal::Event::Skewed { origin, ahead_ms } => tracing::error!(
            group,
            origin,
            ahead_ms,
            "the clock of another replica is ahead by more than the bound: what it writes waits for the clock of this node"
        ),
        causal::Event::Malformed { from } => {
            tracing::error!(group, from = format!("{:016x}", from.0), "a replica sent what cannot be read");
        }
        causal::Event::Differs { from, ours, theirs } => tracing::error!(
            group,
            from = format!("{:016x}", from.0),
            ours = format!("{ours:032x}"),
            theirs = format!("{theirs:032x}"),
            "two replicas that have applied the same hold different states"
        ),
        causal::Event::HintsFull { bytes } => tracing::warn!(
            group,
            bytes,
            "this node holds as much as it may (hints.bytes) for replicas that cannot be reached, and takes no more"
        ),
        causal::Event::Repaired { from, with_state } => {
            tracing::info!(group, from = format!("{:016x}", from.0), with_state, "took over what was missed")
        }
    }
}
