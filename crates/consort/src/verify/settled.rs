//! Is all quiet? Waits until a cluster that was healed is whole again, and compares its replicas.

use std::collections::BTreeMap;
use std::time::Duration;

use check::convergent::ReplicaState;
use tokio::time::Instant;

use crate::status::{Replica, Status};

/// How long a healed cluster may take to be whole.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Every group's replicas, by the group's name: the replica's node, and what it holds.
fn replicas(statuses: &[Status]) -> BTreeMap<String, (Vec<String>, Vec<(String, &Replica)>)> {
    let mut groups: BTreeMap<String, (Vec<String>, Vec<(String, &Replica)>)> = BTreeMap::new();
    for status in statuses {
        for partition in &status.partitions {
            let entry = groups.entry(format!("partition {}", partition.partition)).or_default();
            entry.0.clone_from(&partition.voters);
            if let Some(replica) = &partition.replica {
                entry.1.push((status.id.clone(), replica));
            }
        }
        for group in &status.groups {
            let entry = groups.entry(format!("group {}", group.group)).or_default();
            entry.0.clone_from(&group.voters);
            entry.1.push((status.id.clone(), &group.replica));
        }
    }
    groups
}

/// Has every group a leader, and has every member of it applied the same?
pub fn is_whole(statuses: &[Status]) -> bool {
    replicas(statuses).values().all(|(voters, replicas)| {
        let leads = replicas.iter().filter(|(_, replica)| replica.role == "leader").count();
        // All of them take writes of a multi-primary keyspace.
        let leads = leads == 1 || leads == voters.len();
        let there = voters.iter().all(|voter| replicas.iter().any(|(node, _)| node == voter));
        let level = replicas.iter().all(|(_, replica)| replica.applied == replicas[0].1.applied);
        leads && there && level && !voters.is_empty()
    })
}

/// What is not whole, for people.
pub fn what_is_missing(statuses: &[Status]) -> String {
    let wrong = replicas(statuses).into_iter().filter_map(|(name, (voters, replicas))| {
        let leaders = replicas.iter().filter(|(_, replica)| replica.role == "leader").count();
        let applied: Vec<u64> = replicas.iter().map(|(_, replica)| replica.applied).collect();
        let level = applied.iter().all(|index| *index == applied[0]);
        let fine = (leaders == 1 || leaders == voters.len()) && level && replicas.len() >= voters.len();
        let said = format!(
            "{name} has {leaders} leaders, {} of {} replicas, applied {applied:?}",
            replicas.len(),
            voters.len()
        );
        (!fine).then_some(said)
    });
    wrong.take(5).collect::<Vec<_>>().join("; ")
}

/// What the replicas hold.
pub fn states(statuses: &[Status]) -> Vec<ReplicaState> {
    let name = |id: &str| {
        let found = statuses.iter().find(|status| status.id == id);
        found.map_or_else(|| id.to_owned(), |status| status.node.clone())
    };
    replicas(statuses)
        .into_iter()
        .flat_map(|(group, (_, replicas))| {
            let state = |(node, replica): (String, &Replica)| ReplicaState {
                group: group.clone(),
                replica: name(&node),
                digest: replica.digest.clone(),
            };
            replicas.into_iter().map(state).collect::<Vec<_>>()
        })
        .collect()
}

/// Waits until it is whole. `statuses` asks the nodes, of which there are `nodes`.
///
/// # Errors
/// It is not within [`LIMIT`]; the text says what is missing.
pub async fn wait<F: Future<Output = Vec<Status>>>(
    nodes: usize,
    statuses: impl Fn() -> F,
) -> Result<Vec<Status>, String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = statuses().await;
        if found.len() == nodes && is_whole(&found) {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(match found.len() == nodes {
                true => what_is_missing(&found),
                false => format!("{} of {nodes} nodes answer", found.len()),
            });
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
