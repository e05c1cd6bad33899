//! Keyspaces with groups of their own as this node sees them: how far those that it leads are replicated, and what a failover now
//! would lose at the worst. `INFO` and `CONSORT STATUS` show the same.

use std::collections::BTreeSet;

use bytes::Bytes;
use replication::NodeId;
use replication::configuration::Acknowledgement;

use crate::cluster::ClusterState;

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What its keys begin with.
    pub prefix: Bytes,
    /// Its number.
    pub number: u16,
    /// When writes are acknowledged.
    pub acknowledgement: Acknowledgement,
    /// Groups that this node is primary of: all that follows is about these.
    pub groups_led: u64,
    /// The fewest members that are in sync, the primary among them.
    pub in_sync_at_least: u64,
    /// Writes that not all members in sync hold.
    pub lag_records: u64,
    /// Their bytes.
    pub lag_bytes: u64,
    /// For how long the oldest of them has been there.
    pub lag_ms: u64,
    /// The zones in which each group has a copy of its last acknowledged write for certain.
    pub zones: Vec<String>,
}

impl Report {
    /// What an unplanned failover now may lose of what was acknowledged: records, bytes, milliseconds.
    pub fn worst_loss(&self) -> (u64, u64, u64) {
        match self.acknowledgement {
            Acknowledgement::Async => (self.lag_records, self.lag_bytes, self.lag_ms),
            _ => (0, 0, 0),
        }
    }
}

/// All of them.
pub fn reports(state: &ClusterState) -> Vec<Report> {
    let own = state.placement.prefixes.iter().filter(|(_, number)| **number != 0);
    own.filter_map(|(prefix, number)| report(state, prefix, *number)).collect()
}

fn report(state: &ClusterState, prefix: &Bytes, number: u16) -> Option<Report> {
    let (_, first) = state.placement.groups_of(number).next()?;
    let led = || state.led().filter(|status| status.partition.keyspace() == number);
    let groups = || led().filter_map(|status| Some((status, status.group.as_ref()?)));
    let since = led().filter_map(|status| status.lag.since).min();
    let zone_of = |node: &NodeId| {
        let catalogue = state.catalogue.as_ref()?;
        catalogue.members.get(node).map(|member| member.zone.clone())
    };
    let mut zones: Option<BTreeSet<String>> = None;
    for (status, group) in groups() {
        let holders = match status.lag.entries {
            0 => &group.configuration.in_sync[..],
            _ => std::slice::from_ref(&group.configuration.primary),
        };
        let held: BTreeSet<String> = holders.iter().filter_map(zone_of).collect();
        zones = Some(zones.map_or(held.clone(), |zones| zones.intersection(&held).cloned().collect()));
    }
    let in_sync = groups().map(|(_, group)| group.configuration.in_sync.len()).min();
    Some(Report {
        prefix: prefix.clone(),
        number,
        acknowledgement: first.policy.acknowledgement,
        groups_led: groups().count() as u64,
        in_sync_at_least: in_sync.unwrap_or(0) as u64,
        lag_records: led().map(|status| status.lag.entries).sum(),
        lag_bytes: led().map(|status| status.lag.bytes).sum(),
        lag_ms: since.map_or(0, |since| state.told_at.since(since).as_millis() as u64),
        zones: zones.unwrap_or_default().into_iter().collect(),
    })
}
