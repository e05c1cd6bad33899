//! `KEYSPACE`: how the keys of a prefix are replicated.

use bytes::Bytes;
use replication::catalogue::{Catalogue, Change, Keyspace, Policy, StrategyKind};
use resp::Value;

use super::node::{from_catalogue, no_catalogue};
use super::subcommand::{Container, Subcommand};
use super::{Action, Call, bulk, error, integer, lossy, map};

pub(super) const KEYSPACE: Container = Container {
    name: "keyspace",
    subcommands: &[
        Subcommand {
            name: "alter",
            arity: -4,
            usage: "ALTER <prefix> [STRATEGY <strategy>] [<option> ...]",
            about: "Change the options of a keyspace. Its strategy cannot be changed.",
            run: alter,
        },
        Subcommand {
            name: "create",
            arity: -5,
            usage: "CREATE <prefix> STRATEGY raft|primary-replica|multi-primary|leaderless [<option> ...]",
            about: "Make a keyspace of all keys with this prefix. A key belongs to the longest prefix that it has.",
            run: create,
        },
        Subcommand {
            name: "drop",
            arity: 4,
            usage: "DROP <prefix> <prefix>",
            about: "Drop a keyspace, named twice so that it is meant. Its keys fall to the next shorter prefix.",
            run: drop,
        },
        Subcommand {
            name: "info",
            arity: 3,
            usage: "INFO <prefix>",
            about: "Return the policy of a keyspace. The empty prefix is the keyspace of all other keys.",
            run: info,
        },
        Subcommand {
            name: "list",
            arity: 2,
            usage: "LIST",
            about: "Return all keyspaces and their policies.",
            run: list,
        },
        Subcommand {
            name: "of",
            arity: 3,
            usage: "OF <key>",
            about: "Return the keyspace that a key belongs to.",
            run: of,
        },
    ],
    absent: &[
        ("explain", "what a fault does to a keyspace is not computed yet"),
        (
            "lost",
            "a raft keyspace loses nothing that was acknowledged; the other strategies are not built yet",
        ),
    ],
};

pub(super) fn keyspace(call: &mut Call<'_>) -> Action {
    KEYSPACE.run(call)
}

/// The options of each strategy, by the word that they begin with.
const OPTIONS: &[(&str, &[StrategyKind])] = &[
    ("ack", &[StrategyKind::PrimaryReplica]),
    ("min-in-sync", &[StrategyKind::PrimaryReplica]),
    ("durability", &[StrategyKind::PrimaryReplica]),
    ("replicas", &[StrategyKind::PrimaryReplica, StrategyKind::MultiPrimary, StrategyKind::Leaderless]),
    ("conflict", &[StrategyKind::MultiPrimary, StrategyKind::Leaderless]),
    ("counters", &[StrategyKind::MultiPrimary]),
    ("r", &[StrategyKind::Leaderless]),
    ("w", &[StrategyKind::Leaderless]),
    ("sloppy", &[StrategyKind::Leaderless]),
];

/// The policy that the arguments from `first` on spell.
fn policy(call: &Call<'_>, first: usize, known: Option<StrategyKind>) -> Result<Policy, Value> {
    let arguments = &call.arguments[first..];
    let mut rest = arguments;
    let mut strategy = known;
    if let [word, name, after @ ..] = arguments
        && word.eq_ignore_ascii_case(b"strategy")
    {
        let kind = StrategyKind::parse(name).ok_or_else(|| {
            let names: Vec<&str> = StrategyKind::ALL.iter().map(|kind| kind.name()).collect();
            error(format!("ERR no strategy '{}'; accepted: {}", lossy(name), names.join(", ")))
        })?;
        strategy = Some(kind);
        rest = after;
    }
    let strategy = strategy
        .ok_or_else(|| error("ERR STRATEGY comes first: KEYSPACE CREATE <prefix> STRATEGY <strategy>"))?;
    if let Some(option) = rest.first() {
        let word = lossy(option).to_ascii_lowercase();
        return Err(match OPTIONS.iter().find(|(name, _)| *name == word) {
            None => {
                let names: Vec<String> = OPTIONS.iter().map(|(name, _)| name.to_uppercase()).collect();
                error(format!("ERR no option '{}'; there are {}", lossy(option), names.join(", ")))
            }
            Some((_, strategies)) if !strategies.contains(&strategy) => {
                let names: Vec<&str> = strategies.iter().map(|kind| kind.name()).collect();
                error(format!(
                    "ERR {} makes no sense for {}; it is an option of {}",
                    word.to_uppercase(),
                    strategy.name(),
                    names.join(", ")
                ))
            }
            Some(_) => not_built(strategy),
        });
    }
    match strategy {
        StrategyKind::Raft => Ok(Policy::Raft),
        other => Err(not_built(other)),
    }
}

fn not_built(strategy: StrategyKind) -> Value {
    error(format!("ERR the strategy {} is not built yet; raft is", strategy.name()))
}

fn create(call: &mut Call<'_>) -> Action {
    match policy(call, 3, None) {
        Ok(policy) => Action::Change(Change::CreateKeyspace { prefix: prefix(call), policy }),
        Err(error) => error.into(),
    }
}

fn alter(call: &mut Call<'_>) -> Action {
    let state = call.context.cluster.state();
    let Some(catalogue) = &state.catalogue else { return no_catalogue().into() };
    let prefix = prefix(call);
    let Some(keyspace) = catalogue.keyspaces.get(&prefix) else { return unknown(&prefix).into() };
    match policy(call, 3, Some(keyspace.policy.strategy())) {
        Ok(policy) => Action::Change(Change::AlterKeyspace { prefix, policy }),
        Err(error) => error.into(),
    }
}

fn drop(call: &mut Call<'_>) -> Action {
    if call.arguments[2] != call.arguments[3] {
        return error("ERR the two prefixes differ, nothing was dropped: name the keyspace twice").into();
    }
    Action::Change(Change::DropKeyspace { prefix: prefix(call) })
}

fn prefix(call: &Call<'_>) -> Bytes {
    call.arguments[2].clone()
}

fn unknown(prefix: &[u8]) -> Value {
    error(format!("ERR there is no keyspace of the prefix '{}'", lossy(prefix)))
}

fn info(call: &mut Call<'_>) -> Action {
    let asked = call.arguments[2].clone();
    from_catalogue(call, |_, catalogue| match catalogue.keyspaces.get(&asked) {
        Some(keyspace) => entry(&asked, keyspace, catalogue),
        None => unknown(&asked),
    })
}

fn of(call: &mut Call<'_>) -> Action {
    let key = call.arguments[2].clone();
    from_catalogue(call, |_, catalogue| match catalogue.keyspace_of(&key) {
        Some((prefix, keyspace)) => entry(prefix, keyspace, catalogue),
        None => unknown(b""),
    })
}

fn list(call: &mut Call<'_>) -> Action {
    from_catalogue(call, |_, catalogue| keyspaces(catalogue))
}

/// All keyspaces, as a list of maps.
pub(super) fn keyspaces(catalogue: &Catalogue) -> Value {
    Value::Array(
        catalogue.keyspaces.iter().map(|(prefix, keyspace)| entry(prefix, keyspace, catalogue)).collect(),
    )
}

fn entry(prefix: &Bytes, keyspace: &Keyspace, catalogue: &Catalogue) -> Value {
    let copies = catalogue.settings.replication_factor;
    map([
        ("prefix", Value::Bulk(prefix.clone())),
        ("strategy", bulk(keyspace.policy.strategy().name())),
        ("replicas", integer(copies)),
        (
            "promise",
            bulk("linearizable, per key and per transaction in one slot; nothing acknowledged is lost"),
        ),
        ("since_epoch", integer(keyspace.since)),
    ])
}
