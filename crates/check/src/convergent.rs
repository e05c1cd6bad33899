//! Convergence: when all is quiet, do the replicas of a group hold the same?

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::finding::Finding;

/// What a replica said of itself when all was quiet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReplicaState {
    /// What it is a replica of.
    pub group: String,
    /// Who holds it.
    pub replica: String,
    /// What identifies what it holds.
    pub digest: String,
}

/// Do all replicas of each group hold the same?
pub fn convergent(replicas: &[ReplicaState]) -> Finding {
    let mut groups: BTreeMap<&str, Vec<&ReplicaState>> = BTreeMap::new();
    for state in replicas {
        groups.entry(&state.group).or_default().push(state);
    }
    let different =
        |members: &&Vec<&ReplicaState>| members.iter().any(|state| state.digest != members[0].digest);
    let Some(members) = groups.values().find(different) else { return Finding::Valid };
    let lines: Vec<String> =
        members.iter().map(|state| format!("  {} holds {}", state.replica, state.digest)).collect();
    let text = format!("the replicas of {} differ:\n{}", members[0].group, lines.join("\n"));
    Finding::invalid("replicas differ", Vec::new(), text)
}
