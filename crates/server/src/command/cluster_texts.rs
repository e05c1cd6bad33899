//! The cluster as cluster clients are told of it: `CLUSTER SLOTS`, `SHARDS` and `NODES`, made anew only when the view
//! changed, however many clients ask.
//!
//! Leaders of partitions are spread over the nodes, so every node is a master for the slots that it leads and stands in
//! `NODES` once, as that; who else holds a slot is said by `SLOTS` and `SHARDS`, where clients that read from replicas
//! look. A node that is asked for slots it does not lead forwards, or redirects a connection on which slots were asked for.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use replication::NodeId;
use resp::Value;

use super::{bulk, integer, map};
use crate::cluster::{ClusterState, ClusterView, NodeView, SlotRange};

/// The texts of one version of the view.
#[derive(Debug)]
pub(crate) struct Rendered {
    version: u64,
    /// `CLUSTER SLOTS`
    pub slots: Value,
    /// `CLUSTER SHARDS`
    pub shards: Value,
    /// `CLUSTER NODES`
    pub nodes: Bytes,
}

/// The texts of the latest version that somebody asked for.
#[derive(Debug, Default)]
pub(crate) struct ClusterTexts {
    latest: Mutex<Option<Arc<Rendered>>>,
}

impl ClusterTexts {
    /// The texts of the present view.
    pub fn of(&self, view: &ClusterView) -> Arc<Rendered> {
        let state = view.state();
        let mut latest = self.latest.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*latest {
            Some(rendered) if rendered.version == state.version => rendered.clone(),
            _ => {
                let ranges = state.ranges();
                let rendered = Arc::new(Rendered {
                    version: state.version,
                    slots: slots(&state, &ranges),
                    shards: shards(&state, &ranges),
                    nodes: Bytes::from(nodes(&state, &ranges)),
                });
                *latest = Some(rendered.clone());
                rendered
            }
        }
    }
}

/// A node's identity as clients see it: 40 hexadecimal digits, as in Redis, of which the first 16 are ours.
pub(crate) fn hexadecimal_id(id: NodeId) -> String {
    format!("{:016x}{:024x}", id.0, 0)
}

/// `CLUSTER SLOTS`: `[first, last, [host, port, id, metadata], replicas...]`; replicas that are down are left out.
fn slots(state: &ClusterState, ranges: &[SlotRange]) -> Value {
    let row = |range: &SlotRange| {
        let mut row = vec![integer(range.first), integer(range.last)];
        let replicas = range.replicas.iter().filter(|id| state.is_alive(**id));
        let nodes = std::iter::once(&range.owner).chain(replicas).filter_map(|id| state.node(*id));
        row.extend(nodes.map(|node| {
            let (host, port) = (bulk(node.client.host.as_str()), integer(node.client.port));
            Value::Array(vec![host, port, bulk(hexadecimal_id(node.id)), Value::Map(Vec::new())])
        }));
        Value::Array(row)
    };
    Value::Array(ranges.iter().map(row).collect())
}

/// `CLUSTER SHARDS`: slots with the same owner and the same replicas are one shard.
fn shards(state: &ClusterState, ranges: &[SlotRange]) -> Value {
    let mut shards: Vec<(&SlotRange, Vec<Value>)> = Vec::new();
    for range in ranges {
        let bounds = [integer(range.first), integer(range.last)];
        let same = |(first, _): &&mut (&SlotRange, _)| {
            first.owner == range.owner && first.replicas == range.replicas
        };
        match shards.iter_mut().find(same) {
            Some((_, slots)) => slots.extend(bounds),
            None => shards.push((range, bounds.to_vec())),
        }
    }
    let shard = |(range, slots): (&SlotRange, Vec<Value>)| {
        let owner = state.node(range.owner).map(|node| shard_node(node, "master", state));
        let replicas = range.replicas.iter().filter_map(|id| state.node(*id));
        let nodes = owner.into_iter().chain(replicas.map(|node| shard_node(node, "replica", state)));
        map([("slots", Value::Array(slots)), ("nodes", Value::Array(nodes.collect()))])
    };
    Value::Array(shards.into_iter().map(shard).collect())
}

fn shard_node(node: &NodeView, role: &'static str, state: &ClusterState) -> Value {
    let health = if state.is_alive(node.id) { "online" } else { "fail" };
    map([
        ("id", bulk(hexadecimal_id(node.id))),
        ("port", integer(node.client.port)),
        ("ip", bulk(node.client.host.as_str())),
        ("endpoint", bulk(node.client.host.as_str())),
        ("role", bulk(role)),
        ("replication-offset", integer(state.placement.epoch)),
        ("health", bulk(health)),
    ])
}

/// `CLUSTER NODES`: a line for each node, all of them masters.
fn nodes(state: &ClusterState, ranges: &[SlotRange]) -> String {
    let mut out = String::new();
    for node in &state.nodes {
        let _ = write!(out, "{}", line(state, node, "master", "-"));
        for range in ranges.iter().filter(|range| range.owner == node.id) {
            let _ = match range.first == range.last {
                true => write!(out, " {}", range.first),
                false => write!(out, " {}-{}", range.first, range.last),
            };
        }
        out.push('\n');
    }
    out
}

/// The line of a node without its slots: `id host:port@peer-port[,hostname] flags master ping pong epoch link`. Where the
/// address is a name it stands as host name too, which clients prefer.
pub(super) fn line(state: &ClusterState, node: &NodeView, role: &str, master: &str) -> String {
    let is_name = node.client.host.parse::<std::net::IpAddr>().is_err();
    let hostname = if is_name { format!(",{}", node.client.host) } else { String::new() };
    let myself = if node.id == state.myself { "myself," } else { "" };
    let alive = state.is_alive(node.id);
    let (failing, link) = if alive { ("", "connected") } else { (",fail?", "disconnected") };
    format!(
        "{} {}:{}@{}{hostname} {myself}{role}{failing} {master} 0 0 {} {link}",
        hexadecimal_id(node.id),
        node.client.host,
        node.client.port,
        node.peer.port,
        state.placement.epoch,
    )
}
