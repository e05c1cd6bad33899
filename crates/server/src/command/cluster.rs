//! `CLUSTER`: what cluster clients ask to route commands by themselves. Slots are placed by Consort, so the orders by
//! which Redis' operators place them are refused.

use data::slot::{SLOTS, key_slot};
use replication::{NodeId, PartitionId};
use resp::Value;

use super::cluster_texts::{hexadecimal_id, line};
use super::subcommand::{Container, Subcommand};
use super::{Action, Call, bulk, error, integer, lossy, map, not_an_integer, parse_integer, text};
use crate::cluster::ClusterState;

const BY_ITSELF: &str = "slots are placed and leaders elected by the cluster itself; see CONSORT HELP";

pub(super) const CLUSTER: Container = Container {
    name: "cluster",
    subcommands: &[
        Subcommand {
            name: "countkeysinslot",
            arity: 3,
            usage: "COUNTKEYSINSLOT <slot>",
            about: "Return the number of keys in <slot> that this node holds.",
            run: count_keys_in_slot,
        },
        Subcommand {
            name: "getkeysinslot",
            arity: 4,
            usage: "GETKEYSINSLOT <slot> <count>",
            about: "Return key names in <slot> that this node holds.",
            run: get_keys_in_slot,
        },
        Subcommand {
            name: "info",
            arity: 2,
            usage: "INFO",
            about: "Return information about the cluster.",
            run: info,
        },
        Subcommand {
            name: "keyslot",
            arity: 3,
            usage: "KEYSLOT <key>",
            about: "Return the hash slot for <key>.",
            run: keyslot,
        },
        Subcommand {
            name: "links",
            arity: 2,
            usage: "LINKS",
            about: "Return information about the connections to other nodes.",
            run: links,
        },
        Subcommand { name: "myid", arity: 2, usage: "MYID", about: "Return the node id.", run: myid },
        Subcommand {
            name: "myshardid",
            arity: 2,
            usage: "MYSHARDID",
            about: "Return the node's shard id, which is its node id: a node leads its own slots.",
            run: myid,
        },
        Subcommand {
            name: "nodes",
            arity: 2,
            usage: "NODES",
            about: "Return the cluster as this node sees it, a line for each node.",
            run: nodes,
        },
        Subcommand {
            name: "replicas",
            arity: 3,
            usage: "REPLICAS <node-id>",
            about: "Return the nodes that hold what <node-id> leads.",
            run: replicas,
        },
        Subcommand {
            name: "partitions",
            arity: 2,
            usage: "PARTITIONS",
            about: "Return which nodes cannot be reached from here, and what becomes of each keyspace on this side.",
            run: super::explain::partitions,
        },
        Subcommand {
            name: "shards",
            arity: 2,
            usage: "SHARDS",
            about: "Return slots and the nodes that hold them, grouped by the nodes.",
            run: shards,
        },
        Subcommand {
            name: "slaves",
            arity: 3,
            usage: "SLAVES <node-id>",
            about: "The old name of REPLICAS.",
            run: replicas,
        },
        Subcommand {
            name: "slots",
            arity: 2,
            usage: "SLOTS",
            about: "Return ranges of slots and the nodes that hold them, the leader first.",
            run: slots,
        },
    ],
    absent: &[
        ("addslots", BY_ITSELF),
        ("addslotsrange", BY_ITSELF),
        ("bumpepoch", BY_ITSELF),
        (
            "count-failure-reports",
            "failures are not reported between nodes; each watches its own connections",
        ),
        ("delslots", BY_ITSELF),
        ("delslotsrange", BY_ITSELF),
        ("failover", "use CONSORT TRANSFER"),
        ("flushslots", BY_ITSELF),
        ("forget", "use NODE REMOVE"),
        ("meet", "a node joins by itself: consort server --join <address>"),
        ("replicate", BY_ITSELF),
        ("reset", BY_ITSELF),
        ("saveconfig", "nothing is unsaved"),
        ("set-config-epoch", BY_ITSELF),
        ("setslot", BY_ITSELF),
    ],
};

pub(super) fn cluster(call: &mut Call<'_>) -> Action {
    CLUSTER.run(call)
}

fn slots(call: &mut Call<'_>) -> Action {
    call.session.cluster_aware = true;
    call.context.texts.of(&call.context.cluster).slots.clone().into()
}

fn shards(call: &mut Call<'_>) -> Action {
    call.session.cluster_aware = true;
    call.context.texts.of(&call.context.cluster).shards.clone().into()
}

fn nodes(call: &mut Call<'_>) -> Action {
    let nodes = call.context.texts.of(&call.context.cluster).nodes.clone();
    Value::Verbatim(*b"txt", nodes).into()
}

fn myid(call: &mut Call<'_>) -> Action {
    bulk(hexadecimal_id(call.context.cluster.state().myself)).into()
}

fn keyslot(call: &mut Call<'_>) -> Action {
    integer(key_slot(&call.arguments[2])).into()
}

fn slot(call: &Call<'_>) -> Result<u16, Value> {
    let number = parse_integer(&call.arguments[2]).ok_or_else(not_an_integer)?;
    u16::try_from(number).ok().filter(|slot| *slot < SLOTS).ok_or_else(|| error("ERR Invalid slot"))
}

fn count_keys_in_slot(call: &mut Call<'_>) -> Action {
    slot(call).map_or_else(Action::from, |slot| Action::KeysInSlot { slot, limit: None })
}

fn get_keys_in_slot(call: &mut Call<'_>) -> Action {
    let limit = parse_integer(&call.arguments[3]).and_then(|limit| usize::try_from(limit).ok());
    match (slot(call), limit) {
        (Ok(slot), Some(limit)) => Action::KeysInSlot { slot, limit: Some(limit) },
        (Ok(_), None) => error("ERR Invalid number of keys").into(),
        (Err(error), _) => error.into(),
    }
}

fn replicas(call: &mut Call<'_>) -> Action {
    let state = call.context.cluster.state();
    let asked = call.text(2);
    let Some(leader) = state.nodes.iter().find(|node| hexadecimal_id(node.id) == asked) else {
        return error(format!("ERR Unknown node {}", lossy(asked.as_bytes()))).into();
    };
    let mut holders: Vec<NodeId> = state
        .ranges()
        .into_iter()
        .filter(|range| range.owner == leader.id)
        .flat_map(|range| range.replicas)
        .collect();
    holders.sort_unstable();
    holders.dedup();
    let lines = holders.into_iter().filter_map(|id| state.node(id));
    Value::Array(lines.map(|node| bulk(line(&state, node, "slave", &asked))).collect()).into()
}

/// One connection a peer, in the direction that we made it; Redis' other fields are not measured.
fn links(call: &mut Call<'_>) -> Action {
    let state = call.context.cluster.state();
    let peers = state.nodes.iter().filter(|node| node.alive && node.id != state.myself);
    let link = |node: &crate::cluster::NodeView| {
        map([
            ("direction", bulk("to")),
            ("node", bulk(hexadecimal_id(node.id))),
            ("create-time", integer(0)),
            ("events", bulk("rw")),
            ("send-buffer-allocated", integer(0)),
            ("send-buffer-used", integer(0)),
        ])
    };
    Value::Array(peers.map(link).collect()).into()
}

fn info(call: &mut Call<'_>) -> Action {
    text(summary(&call.context.cluster.state())).into()
}

/// `CLUSTER INFO`. A slot is `ok` while its partition has a leader that this node can reach (partitions without a
/// replica here count as ok while one of their nodes can be reached).
fn summary(state: &ClusterState) -> String {
    let mut fail: u64 = 0;
    for (number, placed) in state.placement.partitions.iter().enumerate() {
        let partition = PartitionId(number as u32);
        let served = match state.status(partition) {
            Some(_) => state.known_leader(partition).is_some(),
            None => state.members(partition).iter().any(|member| state.is_alive(*member)),
        };
        if !served {
            fail += u64::from(placed.last_slot - placed.first_slot) + 1;
        }
    }
    let mut owners: Vec<NodeId> = state.ranges().iter().map(|range| range.owner).collect();
    owners.sort_unstable();
    owners.dedup();
    let term = state.statuses().map(|status| status.term).max().unwrap_or(0);
    let lines = [
        ("cluster_state", if fail == 0 { "ok".to_string() } else { "fail".to_string() }),
        ("cluster_slots_assigned", SLOTS.to_string()),
        ("cluster_slots_ok", (u64::from(SLOTS) - fail).to_string()),
        ("cluster_slots_pfail", "0".to_string()),
        ("cluster_slots_fail", fail.to_string()),
        ("cluster_known_nodes", state.nodes.len().to_string()),
        ("cluster_size", owners.len().to_string()),
        ("cluster_current_epoch", term.max(state.placement.epoch).to_string()),
        ("cluster_my_epoch", state.placement.epoch.to_string()),
        ("cluster_stats_messages_sent", "0".to_string()),
        ("cluster_stats_messages_received", "0".to_string()),
        ("total_cluster_links_buffer_limit_exceeded", "0".to_string()),
    ];
    lines.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect()
}
