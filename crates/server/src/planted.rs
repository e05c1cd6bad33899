//! Faults built in on purpose, one at a time, named by the environment variable `CONSORT_PLANTED`: those of the core
//! ([`replication::ordered::raft::Bug`], [`replication::merged::causal::Bug`]) and those that only a whole node can have. Not in a normal build.

use std::sync::OnceLock;

use replication::merged::causal;
use replication::ordered::raft::Bug;

/// A fault of the server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A node that has just started serves keys before it knows the catalogue. (It did so until `consort verify` saw it.)
    KeysBeforeCatalogue,
    /// Messages of peers are taken whatever their checksum.
    ChecksumIgnored,
}

const MUTANTS: [Mutant; 2] = [Mutant::KeysBeforeCatalogue, Mutant::ChecksumIgnored];

fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| std::env::var("CONSORT_PLANTED").unwrap_or_default())
}

/// The fault of the core that is planted.
pub fn bug() -> Option<Bug> {
    Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name())
}

/// The fault of replicas that all take writes that is planted.
pub fn merged_bug() -> Option<causal::Bug> {
    causal::Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name())
}

/// Is this fault of the server planted?
pub fn has(mutant: Mutant) -> bool {
    format!("{mutant:?}") == name()
}

/// Is what the variable says the name of a fault?
pub fn is_known() -> bool {
    name().is_empty() || bug().is_some() || merged_bug().is_some() || MUTANTS.into_iter().any(has)
}
