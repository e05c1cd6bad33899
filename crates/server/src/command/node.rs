//! `NODE`: the members of the cluster.

use replication::catalogue::{Catalogue, Change, Member, MemberState, Settings};
use replication::{NodeId, PartitionId};
use resp::Value;

use super::subcommand::{Container, Subcommand};
use super::{Action, Call, bulk, error, integer, lossy, map, parse_integer};
use crate::cluster::ClusterState;
use crate::config::MOST_WEIGHT;

pub(super) const NODE: Container = Container {
    name: "node",
    subcommands: &[
        Subcommand {
            name: "activate",
            arity: 3,
            usage: "ACTIVATE <node>",
            about: "Let a node that was drained, or was to be removed, take part again. Nodes by name or id.",
            run: |call| state_of(call, MemberState::Active),
        },
        Subcommand {
            name: "drain",
            arity: 3,
            usage: "DRAIN <node>",
            about: "Move all partitions of a node to others. It stays a member.",
            run: |call| state_of(call, MemberState::Draining),
        },
        Subcommand {
            name: "list",
            arity: 2,
            usage: "LIST",
            about: "Return the members, what they hold and what is to become of them.",
            run: list,
        },
        Subcommand {
            name: "moves",
            arity: 2,
            usage: "MOVES",
            about: "Return the partitions that are on their way to other nodes.",
            run: moves,
        },
        Subcommand {
            name: "remove",
            arity: 3,
            usage: "REMOVE <node>",
            about: "Move all partitions of a node to others, then take it out of the cluster for good.",
            run: |call| state_of(call, MemberState::Leaving),
        },
        Subcommand {
            name: "setting",
            arity: -2,
            usage: "SETTING [<name> <value>]",
            about: "Return what holds for the whole cluster, or change it.",
            run: setting,
        },
        Subcommand {
            name: "split",
            arity: -3,
            usage: "SPLIT <partition> [<slot>]",
            about: "Make two partitions of one: the second begins at the slot, by default in the middle.",
            run: split,
        },
        Subcommand {
            name: "weight",
            arity: 4,
            usage: "WEIGHT <node> <weight>",
            about: "Change a node's share of partitions and leaderships, relative to the others; 0: none.",
            run: weight,
        },
    ],
    absent: &[(
        "join",
        "a node joins by being started with --join and the peer address of any member (consort server --join)",
    )],
};

pub(super) fn node(call: &mut Call<'_>) -> Action {
    NODE.run(call)
}

/// What commands answer before the catalogue has been read.
pub(super) fn no_catalogue() -> Value {
    error("CLUSTERDOWN this node has not read the catalogue yet")
}

fn state_of(call: &mut Call<'_>, state: MemberState) -> Action {
    match member(call) {
        Ok(node) => Action::Change(Change::State { node, state }),
        Err(error) => error.into(),
    }
}

/// A setting of the cluster: its name, what it is, what it accepts, and how it is changed.
type Setting = (&'static str, fn(&Settings) -> u64, &'static str, fn(&mut Settings, u64) -> Option<()>);

const SETTINGS: &[Setting] = &[
    (
        "move-bytes-per-second",
        |settings| settings.move_bytes_per_second,
        "bytes, 0 for no limit",
        |settings, value| {
            settings.move_bytes_per_second = value;
            Some(())
        },
    ),
    (
        "moves-at-once",
        |settings| u64::from(settings.moves_at_once),
        "a number from 1 to 1000",
        |settings, value| {
            settings.moves_at_once = u32::try_from(value).ok().filter(|value| (1..=1000).contains(value))?;
            Some(())
        },
    ),
    (
        "replace-after",
        |settings| settings.replace_after_ms,
        "milliseconds, 0 for never",
        |settings, value| {
            settings.replace_after_ms = value;
            Some(())
        },
    ),
    (
        "replication-factor",
        |settings| u64::from(settings.replication_factor),
        "a number from 1 to 9",
        |settings, value| {
            settings.replication_factor =
                u32::try_from(value).ok().filter(|value| (1..=9).contains(value))?;
            Some(())
        },
    ),
];

/// The one setting that stands apart: partitions are split until there are so many.
const PARTITIONS: &str = "partitions";

fn setting(call: &mut Call<'_>) -> Action {
    let state = call.context.cluster.state();
    let Some(catalogue) = &state.catalogue else { return no_catalogue().into() };
    let mut settings = catalogue.settings.clone();
    if call.arguments.len() == 2 {
        let entry = |(name, get, ..): &Setting| (Value::bulk(*name), integer(get(&settings)));
        let mut entries: Vec<_> = SETTINGS.iter().map(entry).collect();
        entries.push((Value::bulk(PARTITIONS), integer(partitions_wanted(catalogue))));
        return Value::Map(entries).into();
    }
    let name = call.text(2).to_ascii_lowercase();
    if name == PARTITIONS {
        let value = call.arguments.get(3).and_then(|value| parse_integer(value));
        return match value.and_then(|value| u32::try_from(value).ok()) {
            Some(wanted) if call.arguments.len() == 4 => Action::Change(Change::Partitions(wanted)),
            _ => error("ERR partitions takes one value: a number, not less than there are").into(),
        };
    }
    let Some((_, _, accepts, set)) = SETTINGS.iter().find(|(known, ..)| *known == name) else {
        let names = SETTINGS.iter().map(|(name, ..)| *name);
        let names: Vec<&str> = names.chain([PARTITIONS]).collect();
        return error(format!(
            "ERR no setting '{}'; accepted: {}",
            lossy(&call.arguments[2]),
            names.join(", ")
        ))
        .into();
    };
    let value = call
        .arguments
        .get(3)
        .and_then(|value| parse_integer(value))
        .and_then(|value| u64::try_from(value).ok());
    match value.and_then(|value| set(&mut settings, value)) {
        Some(()) if call.arguments.len() == 4 => Action::Change(Change::Settings(settings)),
        _ => error(format!("ERR {name} takes one value: {accepts}")).into(),
    }
}

/// How many partitions there are to be.
pub(super) fn partitions_wanted(catalogue: &Catalogue) -> u32 {
    let coming = catalogue.partitions.len() as u32 + u32::from(catalogue.split.is_some());
    catalogue.partitions_wanted.max(coming)
}

fn split(call: &mut Call<'_>) -> Action {
    let state = call.context.cluster.state();
    let Some(catalogue) = &state.catalogue else { return no_catalogue().into() };
    let number = |index: usize| call.arguments.get(index).and_then(|bytes| parse_integer(bytes));
    let partition = number(2).and_then(|number| usize::try_from(number).ok());
    let Some(record) = partition.and_then(|number| catalogue.partitions.get(number)) else {
        let last = catalogue.partitions.len().saturating_sub(1);
        let asked = lossy(&call.arguments[2]);
        return error(format!("ERR no partition '{asked}'; accepted: a number from 0 to {last}")).into();
    };
    let middle = record.first_slot + (record.last_slot - record.first_slot) / 2 + 1;
    let first_slot = match call.arguments.len() {
        3 => Some(middle),
        4 => number(3).and_then(|slot| u16::try_from(slot).ok()),
        _ => None,
    };
    match (partition, first_slot) {
        (Some(partition), Some(first_slot)) => {
            Action::Change(Change::Split { partition: PartitionId(partition as u32), first_slot })
        }
        _ => error("ERR the slot to split at is a number from 1 to 16383").into(),
    }
}

fn weight(call: &mut Call<'_>) -> Action {
    let weight = parse_integer(&call.arguments[3]).filter(|weight| (0..=MOST_WEIGHT).contains(weight));
    match (member(call), weight) {
        (Err(error), _) => error.into(),
        (_, None) => error(format!(
            "ERR weight is '{}'; accepted: a number from 0 to {MOST_WEIGHT}",
            lossy(&call.arguments[3])
        ))
        .into(),
        (Ok(node), Some(weight)) => Action::Change(Change::Weight { node, weight: weight as u32 }),
    }
}

/// The member that the third argument names, by name or by id.
fn member(call: &Call<'_>) -> Result<NodeId, Value> {
    member_at(call, 2)
}

/// The member that an argument names.
pub(super) fn member_at(call: &Call<'_>, place: usize) -> Result<NodeId, Value> {
    let state = call.context.cluster.state();
    let Some(catalogue) = &state.catalogue else { return Err(no_catalogue()) };
    let asked = call.text(place);
    if let Some((id, _)) = catalogue.member_named(&asked) {
        return Ok(id);
    }
    let digits = asked.get(..16).filter(|_| asked.len() == 16 || asked.len() == 40);
    let id = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).map(NodeId);
    id.filter(|id| catalogue.members.contains_key(id)).ok_or_else(|| {
        let names: Vec<&str> = catalogue.members.values().map(|member| member.name.as_str()).collect();
        error(format!(
            "ERR no member '{asked}'; accepted: an id of 16 hexadecimal digits, or {}",
            names.join(", ")
        ))
    })
}

/// Answers from the catalogue, if it has been read.
pub(super) fn from_catalogue(
    call: &Call<'_>,
    answer: impl FnOnce(&ClusterState, &Catalogue) -> Value,
) -> Action {
    let state = call.context.cluster.state();
    match &state.catalogue {
        Some(catalogue) => answer(&state, catalogue).into(),
        None => no_catalogue().into(),
    }
}

fn list(call: &mut Call<'_>) -> Action {
    from_catalogue(call, members)
}

/// The members, as a list of maps.
pub(super) fn members(state: &ClusterState, catalogue: &Catalogue) -> Value {
    Value::Array(catalogue.members.iter().map(|(id, member)| entry(*id, member, state, catalogue)).collect())
}

fn entry(id: NodeId, member: &Member, state: &ClusterState, catalogue: &Catalogue) -> Value {
    let of = |place: &dyn Fn(&&replication::placement::PartitionPlacement) -> bool| {
        catalogue.partitions.iter().filter(|record| place(record)).count()
    };
    let holds = of(&|record| record.replicas.contains(&id));
    let prefers = of(&|record| record.wanted().first() == Some(&id));
    let comes = of(&|record| record.moving_to.contains(&id) && !record.replicas.contains(&id));
    let goes = of(&|record| {
        !record.moving_to.is_empty() && record.replicas.contains(&id) && !record.moving_to.contains(&id)
    });
    map([
        ("name", bulk(member.name.as_str())),
        ("id", bulk(format!("{:016x}", id.0))),
        ("state", bulk(state_name(member.state))),
        ("alive", Value::Boolean(state.is_alive(id))),
        ("zone", bulk(member.zone.as_str())),
        ("weight", integer(member.weight)),
        ("partitions", integer(holds as u64)),
        ("leads", integer(prefers as u64)),
        ("arriving", integer(comes as u64)),
        ("leaving", integer(goes as u64)),
        ("catalogue", bulk(if catalogue.voters.contains(&id) { "votes" } else { "follows" })),
        ("client", bulk(member.client.as_str())),
        ("peer", bulk(member.peer.as_str())),
    ])
}

fn state_name(state: MemberState) -> &'static str {
    match state {
        MemberState::Active => "active",
        MemberState::Draining => "draining",
        MemberState::Leaving => "leaving",
        MemberState::Silent => "silent",
    }
}

fn moves(call: &mut Call<'_>) -> Action {
    from_catalogue(call, |_, catalogue| moving(catalogue))
}

/// The partitions that are on their way, as a list of maps.
pub(super) fn moving(catalogue: &Catalogue) -> Value {
    let name = |id: &NodeId| {
        bulk(catalogue.members.get(id).map_or_else(|| format!("{:016x}", id.0), |member| member.name.clone()))
    };
    let names = |ids: &[NodeId]| Value::Array(ids.iter().map(name).collect());
    let under_way =
        (0..).map(PartitionId).zip(&catalogue.partitions).filter(|(_, record)| !record.moving_to.is_empty());
    let entry = |(partition, record): (PartitionId, &replication::placement::PartitionPlacement)| {
        map([
            ("partition", integer(partition.0)),
            ("from", names(&record.replicas)),
            ("to", names(&record.moving_to)),
        ])
    };
    Value::Array(under_way.map(entry).collect())
}
