//! `CONSORT`: our own orders and questions. `consort ctl` and `consort dev` speak to nodes through it.

use replication::catalogue::Catalogue;
use replication::contract::{Admin, Role};
use replication::placement::{PartitionPlacement, Reader, Split};
use replication::shard::PartitionStatus;
use replication::{NodeId, PartitionId};
use resp::Value;

use super::connection::uptime_ms;
use super::keyspace::keyspaces;
use super::node::{members, moving, no_catalogue, partitions_wanted};
use super::process::process;
use super::subcommand::{Container, Subcommand};
use super::{Action, Call, Context, bulk, error, integer, lossy, map};
use crate::cluster::{ClusterState, NodeView};
use crate::keyspaces::Report;

pub(super) const CONSORT: Container = Container {
    name: "consort",
    subcommands: &[
        Subcommand {
            name: "catalogue",
            arity: 2,
            usage: "CATALOGUE",
            about: "Return the catalogue as this node knows it: members, keyspaces, where partitions live.",
            run: catalogue,
        },
        Subcommand {
            name: "fault",
            arity: -2,
            usage: "FAULT [CUT <node> [...] [IN | OUT] | DELAY <milliseconds> <node> [...] | HEAL [<node> ...]]",
            about: "Throw away what goes to nodes and comes from them, or let it come late; list what is so. Needs development.faults.",
            run: fault,
        },
        Subcommand {
            name: "status",
            arity: 2,
            usage: "STATUS",
            about: "Return nodes, partitions and counters as this node sees them.",
            run: status,
        },
        Subcommand {
            name: "transfer",
            arity: 4,
            usage: "TRANSFER <partition> <node>",
            about: "Hand the leadership of a partition to a node, by name or id.",
            run: transfer,
        },
    ],
    absent: &[],
};

pub(super) fn consort(call: &mut Call<'_>) -> Action {
    CONSORT.run(call)
}

fn transfer(call: &mut Call<'_>) -> Action {
    let state = call.context.cluster.state();
    match (partition(call, &state), node(call, 3, &state)) {
        (Ok(partition), Ok(to)) => Action::Admin { partition, admin: Admin::Transfer { to } },
        (Err(error), _) | (_, Err(error)) => error.into(),
    }
}

/// As if the network did it: see [`crate::faults`].
fn fault(call: &mut Call<'_>) -> Action {
    if !call.context.config.development.faults {
        return error(
            "ERR this node makes no faults: development.faults in its configuration allows that, for clusters to try out",
        )
        .into();
    }
    let state = call.context.cluster.state();
    let others = |from: usize, to: usize| -> Result<Vec<NodeId>, Value> {
        let named: Vec<NodeId> = (from..to).map(|at| node(call, at, &state)).collect::<Result<_, Value>>()?;
        match named.contains(&state.myself) {
            true => Err(error("ERR this node is never cut off from itself")),
            false => Ok(named),
        }
    };
    let end = call.arguments.len();
    let done = (|| match () {
        () if end == 2 => Ok(Vec::new()),
        () if call.is(2, "cut") && end > 3 => {
            let last = end - 1;
            let (sends, hears) = (!call.is(last, "in"), !call.is(last, "out"));
            let nodes = others(3, if sends && hears { end } else { last })?;
            nodes.iter().for_each(|peer| call.context.faults.of(*peer).cut(sends, hears));
            Ok(nodes)
        }
        () if call.is(2, "delay") && end > 4 => {
            let delay = call.text(3).parse().ok().filter(|milliseconds| *milliseconds <= 60_000);
            let delay = delay.ok_or_else(|| error("ERR a delay is a number of milliseconds up to 60000"))?;
            let nodes = others(4, end)?;
            nodes.iter().for_each(|peer| call.context.faults.of(*peer).delay(delay));
            Ok(nodes)
        }
        () if call.is(2, "heal") => {
            let mut nodes = others(3, end)?;
            if nodes.is_empty() {
                nodes = call.context.faults.all().into_iter().map(|(peer, _)| peer).collect();
            }
            nodes.iter().for_each(|peer| call.context.faults.of(*peer).heal());
            Ok(nodes)
        }
        () => Err(super::syntax_error()),
    })();
    match done {
        Err(error) => error.into(),
        Ok(_) if end > 2 => Value::OK.into(),
        Ok(_) => {
            let row = |peer: NodeId, fault: &crate::faults::Fault| {
                let name =
                    state.node(peer).map_or_else(|| format!("{:016x}", peer.0), |node| node.name.clone());
                map([
                    ("node", bulk(name)),
                    ("sends_nothing", Value::Boolean(fault.sends_nothing())),
                    ("hears_nothing", Value::Boolean(fault.hears_nothing())),
                    ("delay_ms", integer(fault.delay_ms())),
                ])
            };
            let known = call.context.faults.all().into_iter().filter(|(peer, _)| state.node(*peer).is_some());
            Value::Array(known.map(|(peer, fault)| row(peer, &fault)).collect()).into()
        }
    }
}

fn catalogue(call: &mut Call<'_>) -> Action {
    let state = call.context.cluster.state();
    let Some(catalogue) = &state.catalogue else { return no_catalogue().into() };
    let placed = |(record, number): (&PartitionPlacement, u32)| {
        map([
            ("partition", integer(number)),
            ("first_slot", integer(record.first_slot)),
            ("last_slot", integer(record.last_slot)),
            ("replicas", ids(&record.replicas)),
            ("moving_to", ids(&record.moving_to)),
            ("settled_at", integer(record.settled_at)),
        ])
    };
    map([
        ("epoch", integer(catalogue.epoch)),
        ("replication_factor", integer(catalogue.settings.replication_factor)),
        ("replace_after_ms", integer(catalogue.settings.replace_after_ms)),
        ("moves_at_once", integer(catalogue.settings.moves_at_once)),
        ("move_bytes_per_second", integer(catalogue.settings.move_bytes_per_second)),
        ("voters", ids(&catalogue.voters)),
        ("members", members(&state, catalogue)),
        ("removed", ids(&catalogue.removed.keys().copied().collect::<Vec<_>>())),
        ("keyspaces", keyspaces(catalogue)),
        ("partitions", Value::Array(catalogue.partitions.iter().zip(0..).map(placed).collect())),
        ("readers", readers(catalogue)),
        ("partitions_wanted", integer(partitions_wanted(catalogue))),
        ("split", catalogue.split.as_ref().map_or(Value::Null, split)),
    ])
    .into()
}

/// The copies for reads alone.
fn readers(catalogue: &Catalogue) -> Value {
    let all = catalogue
        .readers
        .iter()
        .flat_map(|(partition, readers)| readers.iter().map(move |of| (partition, of)));
    let row = |(partition, reader): (&PartitionId, &Reader)| {
        map([
            ("partition", integer(partition.0)),
            ("node", id(reader.node)),
            ("ready", Value::Boolean(reader.ready)),
        ])
    };
    Value::Array(all.map(row).collect())
}

/// The split under way.
fn split(split: &Split) -> Value {
    map([
        ("partition", integer(split.parent.0)),
        ("child", integer(split.child.0)),
        ("first_slot", integer(split.first_slot)),
    ])
}

fn partition(call: &Call<'_>, state: &ClusterState) -> Result<PartitionId, Value> {
    let last = state.placement.partitions.len().saturating_sub(1);
    let number = call.text(2).parse::<u32>().ok().filter(|number| *number as usize <= last);
    number.map(PartitionId).ok_or_else(|| {
        error(format!(
            "ERR no partition '{}'; accepted: a number from 0 to {last}",
            lossy(&call.arguments[2])
        ))
    })
}

/// A node by name, or by id: a node that has been replaced has an id alone.
fn node(call: &Call<'_>, index: usize, state: &ClusterState) -> Result<NodeId, Value> {
    let asked = call.text(index);
    if let Some(node) = state.nodes.iter().find(|node| node.name == asked) {
        return Ok(node.id);
    }
    let digits = asked.get(..16).filter(|_| asked.len() == 16 || asked.len() == 40);
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(NodeId).ok_or_else(|| {
        let names: Vec<&str> = state.nodes.iter().map(|node| node.name.as_str()).collect();
        error(format!(
            "ERR no node '{asked}'; accepted: an id of 16 hexadecimal digits, or {}",
            names.join(", ")
        ))
    })
}

pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
        Role::Learner => "learner",
    }
}

fn id(id: NodeId) -> Value {
    bulk(format!("{:016x}", id.0))
}

fn ids(ids: &[NodeId]) -> Value {
    Value::Array(ids.iter().copied().map(id).collect())
}

fn status(call: &mut Call<'_>) -> Action {
    let (context, state) = (call.context, call.context.cluster.state());
    let partitions = (0..state.placement.partitions.len() as u32).map(PartitionId);
    map([
        ("version", bulk(env!("CARGO_PKG_VERSION"))),
        ("cluster", bulk(context.config.cluster.as_str())),
        ("node", bulk(context.config.node.as_str())),
        ("id", id(state.myself)),
        ("pid", integer(std::process::id())),
        ("uptime_ms", integer(uptime_ms(context))),
        ("nodes", Value::Array(state.nodes.iter().map(|node| node_entry(node, &state)).collect())),
        ("partitions", Value::Array(partitions.map(|number| partition_entry(number, &state)).collect())),
        ("groups", Value::Array(state.groups.values().map(|status| group_entry(status, &state)).collect())),
        ("catalogue_epoch", integer(state.catalogue.as_ref().map_or(0, |catalogue| catalogue.epoch))),
        ("moves", state.catalogue.as_ref().map_or(Value::Array(Vec::new()), |catalogue| moving(catalogue))),
        ("keyspaces", Value::Array(crate::keyspaces::reports(&state).iter().map(keyspace_entry).collect())),
        ("counters", counters(context, &state)),
    ])
    .into()
}

/// A keyspace with groups of its own.
fn keyspace_entry(report: &Report) -> Value {
    let (records, bytes, ms) = report.worst_loss();
    map([
        ("prefix", Value::Bulk(report.prefix.clone())),
        ("ack", bulk(super::keyspace::spelled(report.acknowledgement))),
        ("groups_led", integer(report.groups_led)),
        ("in_sync_at_least", integer(report.in_sync_at_least)),
        ("lag_records", integer(report.lag_records)),
        ("lag_bytes", integer(report.lag_bytes)),
        ("lag_ms", integer(report.lag_ms)),
        ("worst_loss_records", integer(records)),
        ("worst_loss_bytes", integer(bytes)),
        ("worst_loss_ms", integer(ms)),
        ("zones", Value::Array(report.zones.iter().map(|zone| bulk(zone.as_str())).collect())),
    ])
}

fn node_entry(node: &NodeView, state: &ClusterState) -> Value {
    map([
        ("name", bulk(node.name.as_str())),
        ("id", id(node.id)),
        ("client", bulk(node.client.to_string())),
        ("peer", bulk(node.peer.to_string())),
        ("alive", Value::Boolean(state.is_alive(node.id))),
    ])
}

/// What is known of a partition; `replica` is null where this node holds none.
fn partition_entry(number: PartitionId, state: &ClusterState) -> Value {
    let status = state.status(number);
    let slots = state.placement.get(number).map_or((0, 0), |placed| (placed.first_slot, placed.last_slot));
    map([
        ("partition", integer(number.0)),
        ("first_slot", integer(slots.0)),
        ("last_slot", integer(slots.1)),
        ("leader", status.and_then(|status| status.leader).map_or(Value::Null, id)),
        ("voters", ids(state.members(number))),
        ("replica", status.map_or(Value::Null, replica_entry)),
    ])
}

/// A group of a keyspace of its own, as far as this node holds a replica of it.
fn group_entry(status: &PartitionStatus, state: &ClusterState) -> Value {
    map([
        ("group", bulk(format!("{:08x}", status.partition.0))),
        ("leader", status.leader.map_or(Value::Null, id)),
        ("voters", ids(state.members(status.partition))),
        ("replica", replica_entry(status)),
    ])
}

fn replica_entry(status: &PartitionStatus) -> Value {
    map([
        ("role", bulk(role_name(status.role))),
        ("term", integer(status.term)),
        ("outgoing", ids(&status.membership.outgoing)),
        ("learners", ids(&status.membership.learners)),
        ("commit", integer(status.commit)),
        ("applied", integer(status.applied)),
        ("last_index", integer(status.last_index)),
        ("log_start", integer(status.log_start)),
        ("keys", integer(status.keys)),
        ("bytes", integer(status.bytes)),
        ("digest", bulk(format!("{:032x}", status.digest))),
        ("digest_mismatches", integer(status.digest_mismatches)),
        ("tokens", integer(status.tokens)),
        ("quiet", Value::Boolean(status.quiet)),
    ])
}

fn counters(context: &Context, state: &ClusterState) -> Value {
    let (stats, process) = (&context.stats, process());
    map([
        ("led", integer(state.led().count())),
        ("keys", integer(state.statuses().map(|status| status.keys).sum::<u64>())),
        ("data_bytes", integer(state.statuses().map(|status| status.bytes).sum::<u64>())),
        ("memory_bytes", integer(process.resident_bytes)),
        ("clients", integer(context.clients.len())),
        ("commands", integer(stats.commands.get())),
        ("commands_per_second", integer(stats.rates().commands)),
        ("fsyncs", integer(stats.fsyncs.get())),
        ("fsync_max_us", integer(stats.fsync_max_us.get())),
        ("log_bytes", integer(stats.log_bytes.get())),
        ("disk_full", Value::Boolean(stats.full_logs.get() != 0)),
        ("peer_drops", integer(stats.peer_drops.get())),
        ("replies_unknown", integer(stats.replies_unknown.get())),
        ("replies_refused", integer(stats.replies_refused.get())),
        ("writes_lost", integer(stats.lost_writes.get())),
        ("digest_mismatches", integer(state.statuses().map(|status| status.digest_mismatches).sum::<u64>())),
    ])
}
