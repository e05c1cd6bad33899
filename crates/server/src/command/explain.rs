//! `KEYSPACE EXPLAIN` and `CLUSTER PARTITIONS`: what a fault does to keyspaces, computed for one that is thought of, and for the one that there is.

use std::collections::BTreeSet;

use replication::NodeId;
use replication::catalogue::{Answer, Catalogue, Explained, Fault, Side, explain};
use resp::Value;

use super::node::no_catalogue;
use super::{Action, Call, bulk, error, integer, lossy};
use crate::clock::wall_clock_ms;
use crate::cluster::ClusterState;

const SYNTAX: &str = "ERR syntax error: KEYSPACE EXPLAIN <prefix> [IF NODE <node> [<node> ...] FAILS | IF ZONE <zone> [<zone> ...] FAILS | IF <node or zone> [...] | <node or zone> [...] PARTED], with a | between the two sides";

/// `KEYSPACE EXPLAIN <prefix> [IF ...]`.
pub(super) fn keyspace(call: &mut Call<'_>) -> Action {
    let state = call.context.cluster.state();
    let Some(catalogue) = &state.catalogue else { return no_catalogue().into() };
    let words: Vec<String> = call.arguments[3..].iter().map(|word| lossy(word)).collect();
    let prefix = &call.arguments[2];
    match fault(&words, catalogue, &state) {
        Ok((fault, text)) => match explain(catalogue, prefix, &fault) {
            Some(explained) => reply(catalogue, prefix, &explained, text).into(),
            None => error(format!("ERR there is no keyspace of the prefix '{}'", lossy(prefix))).into(),
        },
        Err(text) => error(text).into(),
    }
}

/// The fault that the words speak of, and what it is in words; without any the present one.
fn fault(words: &[String], catalogue: &Catalogue, state: &ClusterState) -> Result<(Fault, String), String> {
    let lower: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    match &lower[..] {
        [] => Ok(present(catalogue, state)),
        ["if", kind @ ("node" | "zone"), .., "fails"] if words.len() > 3 => {
            let named = &words[2..words.len() - 1];
            let gone = nodes(named, catalogue, Some(*kind == "zone"))?;
            Ok((Fault::Gone(gone), format!("{kind} {} fails", named.join(" "))))
        }
        ["if", .., "parted"] => {
            let named = &words[1..words.len() - 1];
            let at = named.iter().position(|word| word == "|").ok_or(SYNTAX)?;
            let (one, other) = (&named[..at], &named[at + 1..]);
            let sides = (nodes(one, catalogue, None)?, nodes(other, catalogue, None)?);
            if sides.0.is_empty() || sides.1.is_empty() {
                return Err(SYNTAX.into());
            }
            if let Some(both) = sides.0.intersection(&sides.1).next() {
                return Err(format!("ERR {} cannot be on both sides", name(catalogue, *both)));
            }
            let text = format!("{} | {} parted", one.join(" "), other.join(" "));
            Ok((Fault::Parted(sides.0, sides.1), text))
        }
        _ => Err(SYNTAX.into()),
    }
}

/// What there is now, as seen from this node.
pub(crate) fn present(catalogue: &Catalogue, state: &ClusterState) -> (Fault, String) {
    let gone: BTreeSet<NodeId> = state.unreachable().map(|(node, _)| node).collect();
    match gone.is_empty() {
        true => (Fault::None, "none: all nodes can be reached from here".into()),
        false => {
            let names: Vec<&str> = gone.iter().map(|node| name(catalogue, *node)).collect();
            let text = format!("now: {} cannot be reached from here", names.join(", "));
            (Fault::Gone(gone), text)
        }
    }
}

/// The nodes of these names, or of zones of these names (`zones`: which of the two it has to be).
fn nodes(names: &[String], catalogue: &Catalogue, zones: Option<bool>) -> Result<BTreeSet<NodeId>, String> {
    let mut found = BTreeSet::new();
    for name in names.iter().flat_map(|word| word.split(',')).filter(|name| !name.is_empty()) {
        let node = catalogue.member_named(name).map(|(node, _)| node).filter(|_| zones != Some(true));
        let of_zone =
            catalogue.members.iter().filter(|(_, member)| member.zone == name && zones != Some(false));
        let before = found.len();
        match node {
            Some(node) => drop(found.insert(node)),
            None => found.extend(of_zone.map(|(node, _)| *node)),
        }
        if found.len() == before && node.is_none() {
            let mut known: BTreeSet<&str> = BTreeSet::new();
            for member in catalogue.members.values() {
                known.extend((zones != Some(true)).then_some(member.name.as_str()));
                known.extend(
                    (zones != Some(false)).then_some(member.zone.as_str()).filter(|zone| !zone.is_empty()),
                );
            }
            let known: Vec<&str> = known.into_iter().collect();
            let what = match zones {
                Some(true) => "zone",
                Some(false) => "node",
                None => "node or zone",
            };
            return Err(format!("ERR no {what} '{name}'; there are {}", known.join(", ")));
        }
    }
    Ok(found)
}

fn name(catalogue: &Catalogue, node: NodeId) -> &str {
    catalogue.members.get(&node).map_or("?", |member| member.name.as_str())
}

fn record(fields: Vec<(&str, Value)>) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (bulk(name), value)).collect())
}

fn reply(catalogue: &Catalogue, prefix: &[u8], explained: &Explained, fault: String) -> Value {
    let keyspace = &catalogue.keyspaces[prefix];
    let sides = explained.sides.iter().map(|side| side_of(catalogue, side)).collect();
    record(vec![
        ("prefix", Value::Bulk(bytes::Bytes::copy_from_slice(prefix))),
        ("strategy", bulk(keyspace.policy.strategy().name())),
        ("pacelc", bulk(explained.pacelc.clone())),
        ("fault", bulk(fault)),
        ("sides", Value::Array(sides)),
        ("could_be_lost", bulk(explained.lost.clone())),
    ])
}

fn side_of(catalogue: &Catalogue, side: &Side) -> Value {
    let names = side.nodes.iter().map(|node| bulk(name(catalogue, *node).to_owned())).collect();
    let levels = side.levels.iter().map(|(level, answers)| (bulk(*level), bulk(answers.text()))).collect();
    record(vec![
        ("nodes", Value::Array(names)),
        ("writes", bulk(side.writes.text())),
        ("reads", bulk(side.reads.text())),
        ("reads_by_level", Value::Map(levels)),
        ("changes_of_keyspaces_and_members", bulk(if side.catalogue { "accepted" } else { "refused" })),
        ("why", Value::Array(side.why.iter().map(|why| bulk(why.clone())).collect())),
    ])
}

/// Each keyspace with what is said on this side of what there is now.
pub(crate) fn here<'a>(
    catalogue: &'a Catalogue,
    state: &ClusterState,
) -> impl Iterator<Item = (&'a bytes::Bytes, Side)> {
    let (fault, _) = present(catalogue, state);
    catalogue.keyspaces.keys().filter_map(move |prefix| {
        let side = explain(catalogue, prefix, &fault)?.sides.into_iter().next()?;
        Some((prefix, side))
    })
}

/// How keyspaces fare on this side of what there is now.
pub(crate) struct Faring {
    /// Nothing is refused, and nothing that is read may be stale.
    pub unaffected: usize,
    /// Reads may miss what was written elsewhere.
    pub stale: usize,
    /// Some writes or reads are refused.
    pub refusing: usize,
}

/// Counts the keyspaces by how they fare.
pub(crate) fn faring(state: &ClusterState) -> Faring {
    let mut faring = Faring { unaffected: 0, stale: 0, refusing: 0 };
    let Some(catalogue) = &state.catalogue else { return faring };
    for (_, side) in here(catalogue, state) {
        match side.writes.worst().max(side.reads.worst()) {
            Some(Answer::Refused) => faring.refusing += 1,
            Some(Answer::PossiblyStale) => faring.stale += 1,
            _ => faring.unaffected += 1,
        }
    }
    faring
}

/// `CLUSTER PARTITIONS`.
pub(super) fn partitions(call: &mut Call<'_>) -> Action {
    let state = call.context.cluster.state();
    let Some(catalogue) = &state.catalogue else { return no_catalogue().into() };
    let (_, text) = present(catalogue, &state);
    let unreachable = state.unreachable().map(|(node, silent)| {
        record(vec![
            ("node", bulk(name(catalogue, node).to_owned())),
            ("for_ms", integer(silent.as_millis() as u64)),
        ])
    });
    let mut keyspaces = Vec::new();
    for (prefix, side) in here(catalogue, &state) {
        let keyspace = &catalogue.keyspaces[prefix];
        let is = match side.writes.worst().max(side.reads.worst()) {
            Some(Answer::Refused) => "refusing",
            Some(Answer::PossiblyStale) => "possibly stale",
            _ => "unaffected",
        };
        let fares = call.context.happened.fares(prefix);
        let since = fares.map(|fares| wall_clock_ms().saturating_sub(fares.since_ms));
        keyspaces.push(record(vec![
            ("prefix", Value::Bulk(bytes::Bytes::copy_from_slice(prefix))),
            ("strategy", bulk(keyspace.policy.strategy().name())),
            ("is", bulk(is)),
            ("for_ms", since.map_or(Value::Null, integer)),
            ("writes", bulk(side.writes.text())),
            ("reads", bulk(side.reads.text())),
            ("why", Value::Array(side.why.iter().map(|why| bulk(why.clone())).collect())),
        ]));
    }
    let events = call.context.happened.events().into_iter().map(|event| {
        let ago = wall_clock_ms().saturating_sub(event.at_ms);
        record(vec![("ago_ms", integer(ago)), ("what", bulk(event.text))])
    });
    record(vec![
        ("state", bulk(text)),
        ("unreachable", Value::Array(unreachable.collect())),
        ("keyspaces", Value::Array(keyspaces)),
        ("events", Value::Array(events.take(20).collect())),
    ])
    .into()
}
