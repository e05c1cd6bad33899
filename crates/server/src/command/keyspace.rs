//! `KEYSPACE`: how the keys of a prefix are replicated.

use bytes::Bytes;
use replication::PartitionId;
use replication::catalogue::{Catalogue, Change, Keyspace, Policy, StrategyKind, Target};
use replication::configuration::{Acknowledgement, PrimaryReplica};
use replication::consistency::{Consistency, LONGEST_BOUND_MS};
use replication::histogram::Histogram;
use replication::primaries::{Conflict, Counters, Leaderless, Level, MultiPrimary, Replicas};
use resp::Value;

use super::node::{from_catalogue, no_catalogue};
use super::subcommand::{Container, Subcommand};
use super::{Action, Call, bulk, error, integer, lossy};
use crate::import::Source;
use crate::lost::Verb;

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
            name: "explain",
            arity: -3,
            usage: "EXPLAIN <prefix> [IF NODE|ZONE <name> [...] FAILS | IF <name> [...] | <name> [...] PARTED]",
            about: "Return what each side of a fault accepts, refuses or may answer from what is old, and what could be lost; without IF: now.",
            run: super::explain::keyspace,
        },
        Subcommand {
            name: "failover",
            arity: -3,
            usage: "FAILOVER <prefix> [TO <node> [FORCE] | BACK]",
            about: "Hand the groups of a primary-replica keyspace over to other primaries. FORCE: whatever the node lacks.",
            run: failover,
        },
        Subcommand {
            name: "import",
            arity: -3,
            usage: "IMPORT <prefix> [FROM redis://[user:password@]host[:port][/database] [SKIP-OTHER-TYPES] | STOP]",
            about: "Follow a Redis or Valkey and take its keys of this prefix over; how far that is; or end it.",
            run: import,
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
            name: "lost",
            arity: -3,
            usage: "LOST <prefix> [<key>] [REPLAY|DISCARD]",
            about: "Return the writes that failovers lost, do them again where the keys have not changed since, or drop them.",
            run: lost,
        },
        Subcommand {
            name: "of",
            arity: 3,
            usage: "OF <key>",
            about: "Return the keyspace that a key belongs to.",
            run: of,
        },
    ],
    absent: &[],
};

pub(super) fn keyspace(call: &mut Call<'_>) -> Action {
    KEYSPACE.run(call)
}

/// The options of each strategy, by the word that they begin with.
const OPTIONS: &[(&str, &[StrategyKind])] = &[
    ("ack", &[StrategyKind::PrimaryReplica]),
    ("durability", &[StrategyKind::PrimaryReplica]),
    ("min-in-sync", &[StrategyKind::PrimaryReplica]),
    ("max-lag-bytes", &[StrategyKind::PrimaryReplica]),
    ("max-lag-ms", &[StrategyKind::PrimaryReplica]),
    ("replicas", &[StrategyKind::PrimaryReplica, StrategyKind::MultiPrimary, StrategyKind::Leaderless]),
    ("conflict", &[StrategyKind::MultiPrimary, StrategyKind::Leaderless]),
    ("counters", &[StrategyKind::MultiPrimary]),
    ("r", &[StrategyKind::Leaderless]),
    ("w", &[StrategyKind::Leaderless]),
    ("sloppy", &[StrategyKind::Leaderless]),
];

/// The policy that the arguments spell; what they do not say stays as it is in `known`.
fn policy(arguments: &[Bytes], known: Option<&Policy>) -> Result<Policy, Value> {
    let mut rest = arguments;
    let mut strategy = known.map(Policy::strategy);
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
    check_option(rest.first(), strategy)?;
    match strategy {
        StrategyKind::Raft => Ok(Policy::Raft),
        StrategyKind::PrimaryReplica => {
            let options = match known {
                Some(Policy::PrimaryReplica { options, .. }) => Some(*options),
                _ => None,
            };
            let options = primary_replica(rest, options)?;
            Ok(Policy::PrimaryReplica { number: 0, options })
        }
        StrategyKind::MultiPrimary => {
            let options = match known {
                Some(Policy::MultiPrimary { options, .. }) => Some(*options),
                _ => None,
            };
            Ok(Policy::MultiPrimary { number: 0, options: multi_primary(rest, options)? })
        }
        StrategyKind::Leaderless => {
            let options = match known {
                Some(Policy::Leaderless { options, .. }) => Some(*options),
                _ => None,
            };
            Ok(Policy::Leaderless { number: 0, options: leaderless(rest, options)? })
        }
    }
}

/// Takes `READ <level>`, an option of all strategies, out of the others; the level is `Some(None)` if it is to be that of the strategy.
fn read_level(arguments: &[Bytes]) -> Result<(Vec<Bytes>, Option<Option<Consistency>>), Value> {
    let Some(at) = arguments.iter().position(|word| word.eq_ignore_ascii_case(b"read")) else {
        return Ok((arguments.to_vec(), None));
    };
    let (before, after) = (&arguments[..at], &arguments[at + 1..]);
    let (level, taken) = match after.first() {
        Some(word) if word.eq_ignore_ascii_case(b"default") => (None, 1),
        _ => match Consistency::parse(after) {
            Some((level, taken)) => (Some(level), taken),
            None => {
                return Err(error(format!(
                    "ERR READ is one of strong, bounded <ms> (from 1 to {LONGEST_BOUND_MS}), session, eventual, default"
                )));
            }
        },
    };
    Ok(([before, &after[taken..]].concat(), Some(level)))
}

/// Is the word, if there is one, that of an option which makes sense?
fn check_option(word: Option<&Bytes>, strategy: StrategyKind) -> Result<(), Value> {
    let Some(option) = word else { return Ok(()) };
    let word = lossy(option).to_ascii_lowercase();
    match OPTIONS.iter().find(|(name, _)| *name == word) {
        None => {
            let names: Vec<String> = OPTIONS.iter().map(|(name, _)| name.to_uppercase()).collect();
            Err(error(format!("ERR no option '{}'; there are READ, {}", lossy(option), names.join(", "))))
        }
        Some((_, strategies)) if !strategies.contains(&strategy) => {
            let names: Vec<&str> = strategies.iter().map(|kind| kind.name()).collect();
            Err(error(format!(
                "ERR {} makes no sense for {}; it is an option of {}",
                word.to_uppercase(),
                strategy.name(),
                names.join(", ")
            )))
        }
        Some(_) => Ok(()),
    }
}

fn primary_replica(mut rest: &[Bytes], known: Option<PrimaryReplica>) -> Result<PrimaryReplica, Value> {
    let is_new = known.is_none();
    let mut options = known.unwrap_or(PrimaryReplica::new(Acknowledgement::Sync));
    let mut has_ack = false;
    while let Some(word) = rest.first() {
        check_option(Some(word), StrategyKind::PrimaryReplica)?;
        let name = lossy(word).to_ascii_lowercase();
        let missing = || error(format!("ERR {} has no value", name.to_uppercase()));
        let number = |bytes: &Bytes| {
            let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<u64>().ok());
            number.ok_or_else(|| {
                error(format!("ERR the value of {} is not a number: '{}'", name.to_uppercase(), lossy(bytes)))
            })
        };
        let small = |bytes: &Bytes| {
            u32::try_from(number(bytes)?)
                .map_err(|_| error(format!("ERR the value of {} is out of range", name.to_uppercase())))
        };
        let value = rest.get(1).ok_or_else(missing)?;
        let mut taken = 2;
        match name.as_str() {
            "ack" => {
                has_ack = true;
                (options.acknowledgement, taken) = acknowledgement(&rest[1..])?;
                taken += 1;
            }
            "durability" if value.eq_ignore_ascii_case(b"durable") => options.relaxed = false,
            "durability" if value.eq_ignore_ascii_case(b"relaxed") => options.relaxed = true,
            "durability" => return Err(error("ERR DURABILITY is one of durable, relaxed")),
            "min-in-sync" => options.min_in_sync = small(value)?,
            "replicas" => options.replicas = small(value)?,
            "max-lag-bytes" => options.max_lag_bytes = number(value)?,
            _ => options.max_lag_ms = number(value)?,
        }
        rest = &rest[taken..];
    }
    if is_new && !has_ack {
        return Err(error(
            "ERR when is a write acknowledged? ACK async, ACK semi-sync <replicas> or ACK sync",
        ));
    }
    Ok(options)
}

/// What `KEYSPACE INFO` promises of every `multi-primary` keyspace.
const MULTI_PRIMARY_PROMISE: &str = "causal: every replica takes reads and writes, in any partition of the network; effects are never seen before their causes; replicas that have the same writes are the same; nothing acknowledged is lost while the replica that acknowledged it, or another one that has it, survives";

fn multi_primary(mut rest: &[Bytes], known: Option<MultiPrimary>) -> Result<MultiPrimary, Value> {
    let new = MultiPrimary { conflict: Conflict::Lww, replicas: Replicas::Count(0), counters: Counters::Sum };
    let mut options = known.unwrap_or(new);
    while let Some(word) = rest.first() {
        check_option(Some(word), StrategyKind::MultiPrimary)?;
        let name = lossy(word).to_ascii_lowercase();
        let value = rest.get(1).ok_or_else(|| error(format!("ERR {} has no value", name.to_uppercase())))?;
        let value = lossy(value).to_ascii_lowercase();
        match (name.as_str(), value.as_str()) {
            ("conflict", "lww") => options.conflict = Conflict::Lww,
            ("conflict", "siblings") => options.conflict = Conflict::Siblings,
            ("conflict", _) => return Err(error("ERR CONFLICT is one of lww, siblings")),
            ("counters", "sum") => options.counters = Counters::Sum,
            ("counters", "bounded") => options.counters = Counters::Bounded,
            ("counters", _) => return Err(error("ERR COUNTERS is one of sum, bounded")),
            ("replicas", "all-zones") => options.replicas = Replicas::AllZones,
            _ => match value.parse::<u32>() {
                Ok(count) => options.replicas = Replicas::Count(count),
                Err(_) => return Err(error("ERR REPLICAS is a number, or ALL-ZONES")),
            },
        }
        rest = &rest[2..];
    }
    Ok(options)
}

fn leaderless(mut rest: &[Bytes], known: Option<Leaderless>) -> Result<Leaderless, Value> {
    let mut options = known.unwrap_or(Leaderless {
        replicas: 0,
        read: Level::Quorum,
        write: Level::Quorum,
        conflict: Conflict::Lww,
        sloppy: false,
    });
    while let Some(word) = rest.first() {
        check_option(Some(word), StrategyKind::Leaderless)?;
        let name = lossy(word).to_ascii_lowercase();
        let value = rest.get(1).ok_or_else(|| error(format!("ERR {} has no value", name.to_uppercase())))?;
        let level = || {
            Level::parse(value).ok_or_else(|| {
                let name = name.to_uppercase();
                error(format!(
                    "ERR {name} is a number of replicas from 1 on, or ONE, QUORUM, ALL, LOCAL-QUORUM"
                ))
            })
        };
        let word = lossy(value).to_ascii_lowercase();
        match (name.as_str(), word.as_str()) {
            ("r", _) => options.read = level()?,
            ("w", _) => options.write = level()?,
            ("conflict", "lww") => options.conflict = Conflict::Lww,
            ("conflict", "siblings") => options.conflict = Conflict::Siblings,
            ("conflict", _) => return Err(error("ERR CONFLICT is one of lww, siblings")),
            ("sloppy", "no") => options.sloppy = false,
            ("sloppy", "yes") => options.sloppy = true,
            ("sloppy", _) => return Err(error("ERR SLOPPY is one of yes, no")),
            _ => match word.parse::<u32>() {
                Ok(count) => options.replicas = count,
                Err(_) => return Err(error("ERR REPLICAS is a number")),
            },
        }
        rest = &rest[2..];
    }
    Ok(options)
}

/// What `KEYSPACE INFO` promises of a `leaderless` keyspace: does R + W > N hold, and what follows.
fn promise_of_quorums(options: &Leaderless, copies: usize) -> String {
    let (read, write) = (options.read.of(copies), options.write.of(copies));
    let or_hints = if options.sloppy { ", or nodes that stand in for them," } else { "" };
    let survives = format!(
        "nothing acknowledged is lost while fewer than {write} of the {copies} replicas of its key{or_hints} lose their disks"
    );
    if options.sloppy && options.is_strict(copies) != Some(false) {
        return format!(
            "eventual: while replicas cannot be reached other nodes stand in for them, so a read may miss what was acknowledged elsewhere meanwhile (at other times R {} and W {} of {copies} hold as without SLOPPY); causes are seen before their effects, and replicas that have the same writes are the same; {survives}",
            options.read.name(),
            options.write.name()
        );
    }
    match options.is_strict(copies) {
        Some(true) => format!(
            "regular: R + W > N ({read} + {write} > {copies}), so a read sees the last write that was acknowledged before it began, or a later one; not linearizable: of two reads during a write the second may see less; {survives}"
        ),
        Some(false) => format!(
            "eventual: R + W <= N ({read} + {write} <= {copies}), so a read may miss what was acknowledged before it began; causes are seen before their effects, and replicas that have the same writes are the same; {survives}"
        ),
        None => format!(
            "regular in each zone for what was written there with LOCAL-QUORUM; eventual between zones; {survives}"
        ),
    }
}

/// `async`, `semi-sync <n>` or `sync`, and how many words that were.
pub(crate) fn acknowledgement(words: &[Bytes]) -> Result<(Acknowledgement, usize), Value> {
    let wrong = || error("ERR ACK is one of async, semi-sync <replicas>, sync");
    let word = words.first().ok_or_else(wrong)?;
    if word.eq_ignore_ascii_case(b"async") {
        return Ok((Acknowledgement::Async, 1));
    }
    if word.eq_ignore_ascii_case(b"sync") {
        return Ok((Acknowledgement::Sync, 1));
    }
    if !word.eq_ignore_ascii_case(b"semi-sync") {
        return Err(wrong());
    }
    let copies = words.get(1).and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse::<u32>().ok());
    let copies = copies.filter(|copies| *copies > 0).ok_or_else(|| {
        error("ERR ACK semi-sync takes the number of replicas beside the primary: at least 1")
    })?;
    Ok((Acknowledgement::SemiSync(copies), 2))
}

/// Does it say of some keys that they belong elsewhere, or what their keyspace promises?
pub fn says_where_keys_belong(change: &Change) -> bool {
    use Change::{AlterKeyspace, CreateKeyspace, DropKeyspace};
    matches!(change, CreateKeyspace { .. } | AlterKeyspace { .. } | DropKeyspace { .. })
}

fn create(call: &mut Call<'_>) -> Action {
    let options = read_level(&call.arguments[3..])
        .and_then(|(rest, read)| Ok((policy(&rest, None)?, read.unwrap_or_default())));
    match options {
        Ok((policy, read)) => Action::Change(Change::CreateKeyspace { prefix: prefix(call), policy, read }),
        Err(error) => error.into(),
    }
}

fn alter(call: &mut Call<'_>) -> Action {
    let state = call.context.cluster.state();
    let Some(catalogue) = &state.catalogue else { return no_catalogue().into() };
    let prefix = prefix(call);
    let Some(keyspace) = catalogue.keyspaces.get(&prefix) else { return unknown(&prefix).into() };
    let options = read_level(&call.arguments[3..]).and_then(|(rest, read)| {
        let had = catalogue.reads.get(&prefix).copied();
        Ok((policy(&rest, Some(&keyspace.policy))?, read.unwrap_or(had)))
    });
    match options {
        Ok((policy, read)) => Action::Change(Change::AlterKeyspace { prefix, policy, read }),
        Err(error) => error.into(),
    }
}

fn drop(call: &mut Call<'_>) -> Action {
    if call.arguments[2] != call.arguments[3] {
        return error("ERR the two prefixes differ, nothing was dropped: name the keyspace twice").into();
    }
    Action::Change(Change::DropKeyspace { prefix: prefix(call) })
}

fn failover(call: &mut Call<'_>) -> Action {
    let words: Vec<String> =
        call.arguments[3..].iter().map(|word| lossy(word).to_ascii_lowercase()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let node = |call: &Call<'_>| super::node::member_at(call, 4);
    let target = match words[..] {
        [] => Ok(Target::Another),
        ["back"] => Ok(Target::Back),
        ["to", _] => node(call).map(Target::Node),
        ["to", _, "force"] => node(call).map(Target::Forced),
        _ => Err(error("ERR syntax error: KEYSPACE FAILOVER <prefix> [TO <node> [FORCE] | BACK]")),
    };
    match target {
        Ok(target) => Action::Change(Change::Failover { prefix: prefix(call), target }),
        Err(error) => error.into(),
    }
}

fn lost(call: &mut Call<'_>) -> Action {
    let state = call.context.cluster.state();
    let Some(catalogue) = &state.catalogue else { return no_catalogue().into() };
    let prefix = prefix(call);
    let Some(keyspace) = catalogue.keyspaces.get(&prefix) else { return unknown(&prefix).into() };
    let number = keyspace.policy.number();
    let rest = &call.arguments[3..];
    let (key, verb) = match rest {
        [] => (None, Verb::List),
        [word] => match Verb::parse(word) {
            Some(verb) => (None, verb),
            None => (Some(word.clone()), Verb::List),
        },
        [key, word] => match Verb::parse(word) {
            Some(verb) => (Some(key.clone()), verb),
            None => return error(format!("ERR '{}' is neither REPLAY nor DISCARD", lossy(word))).into(),
        },
        _ => return error("ERR syntax error: KEYSPACE LOST <prefix> [<key>] [REPLAY|DISCARD]").into(),
    };
    if number == 0 {
        // A raft keyspace loses nothing that was acknowledged.
        return match verb {
            Verb::List => Value::Array(Vec::new()).into(),
            _ => integer(0).into(),
        };
    }
    Action::Lost { keyspace: number, key, verb }
}

fn import(call: &mut Call<'_>) -> Action {
    let prefix = prefix(call);
    let words: Vec<String> = call.arguments[3..].iter().map(|word| lossy(word)).collect();
    let lower: Vec<String> = words.iter().map(|word| word.to_ascii_lowercase()).collect();
    let imports = &call.context.imports;
    let running = imports.get(&prefix);
    let none = || error("ERR this node imports nothing into that keyspace; ask the node that was told to");
    match lower.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => running.map_or_else(none, |import| import.status()).into(),
        ["stop"] => match running {
            Some(import) => {
                import.stop();
                Value::OK.into()
            }
            None => none().into(),
        },
        ["from", _] | ["from", _, "skip-other-types"] => {
            let state = call.context.cluster.state();
            let Some(catalogue) = &state.catalogue else { return no_catalogue().into() };
            if !catalogue.keyspaces.contains_key(&prefix) {
                return unknown(&prefix).into();
            }
            let begun =
                Source::parse(&words[1]).and_then(|source| imports.begin(prefix, source, words.len() == 3));
            match begun {
                Ok(import) => Action::Import(import),
                Err(reason) => error(format!("ERR {reason}")).into(),
            }
        }
        _ => error("ERR syntax error: KEYSPACE IMPORT <prefix> [FROM <source> [SKIP-OTHER-TYPES] | STOP]")
            .into(),
    }
}

fn prefix(call: &Call<'_>) -> Bytes {
    call.arguments[2].clone()
}

fn unknown(prefix: &[u8]) -> Value {
    error(format!("ERR there is no keyspace of the prefix '{}'", lossy(prefix)))
}

fn info(call: &mut Call<'_>) -> Action {
    let asked = call.arguments[2].clone();
    from_catalogue(call, |state, catalogue| match catalogue.keyspaces.get(&asked) {
        Some(keyspace) => {
            let mut known = entry(&asked, keyspace, catalogue);
            if let Value::Map(fields) = &mut known {
                fields.extend(staleness(&state.staleness(keyspace.policy.number())));
            }
            known
        }
        None => unknown(&asked),
    })
}

/// How stale what this node's replicas answer was lately, as measured; nothing where they answer nothing that may be.
fn staleness(measured: &Histogram) -> Vec<(Value, Value)> {
    let ms = |share: f64| bulk(format!("{:.3}", measured.quantile(share).as_secs_f64() * 1000.0));
    let rows = [
        ("staleness_samples", integer(measured.count())),
        ("staleness_p50_ms", ms(0.5)),
        ("staleness_p99_ms", ms(0.99)),
        ("staleness_max_ms", ms(1.0)),
    ];
    rows.into_iter().map(|(name, value)| (bulk(name), value)).collect()
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
    let mut fields =
        vec![("prefix", Value::Bulk(prefix.clone())), ("strategy", bulk(keyspace.policy.strategy().name()))];
    match &keyspace.policy {
        Policy::Raft => fields.extend([
            ("replicas", integer(copies)),
            (
                "promise",
                bulk("linearizable, per key and per transaction in one slot; nothing acknowledged is lost"),
            ),
        ]),
        Policy::MultiPrimary { .. } => {}
        Policy::Leaderless { number, options } => {
            let groups = || catalogue.primaries_of(*number).map(|(_, group)| group);
            let copies = options.copies(copies);
            let away = groups().flat_map(|group| group.seats.values()).filter(|seat| seat.away).count();
            let strict =
                options.is_strict(copies).map_or("by-zone", |strict| if strict { "yes" } else { "no" });
            fields.extend([
                ("replicas", integer(copies as u64)),
                ("r", bulk(options.read.name())),
                ("w", bulk(options.write.name())),
                ("r_plus_w_above_n", bulk(strict)),
                ("sloppy", bulk(if options.sloppy { "yes" } else { "no" })),
                ("conflict", bulk(options.conflict.name())),
                ("groups", integer(groups().count() as u64)),
                (
                    "take_part_at_least",
                    integer(groups().map(|group| group.counted().count()).min().unwrap_or(0) as u64),
                ),
                ("away", integer(away as u64)),
                // As long as not all replicas are known to go by R and W, and to have what was acknowledged before, more are asked.
                (
                    "quorums_settled",
                    bulk(if groups().all(|group| group.former.is_empty()) { "yes" } else { "no" }),
                ),
                ("promise", bulk(promise_of_quorums(options, copies))),
            ]);
        }
        Policy::PrimaryReplica { number, options } => {
            let copies = if options.replicas == 0 { copies } else { options.replicas };
            let in_sync = catalogue.groups_of(*number).map(|(_, group)| group.in_sync.len()).min();
            fields.extend([
                ("replicas", integer(copies)),
                ("ack", bulk(spelled(options.acknowledgement))),
                ("durability", bulk(if options.relaxed { "relaxed" } else { "durable" })),
                ("min_in_sync", integer(options.min_in_sync)),
                ("max_lag_bytes", integer(options.max_lag_bytes)),
                ("max_lag_ms", integer(options.max_lag_ms)),
                ("groups", integer(catalogue.groups_of(*number).count() as u64)),
                ("in_sync_at_least", integer(in_sync.unwrap_or(0) as u64)),
                ("promise", bulk(promise(options))),
            ]);
        }
    }
    if let Policy::MultiPrimary { number, options } = &keyspace.policy {
        let primaries = catalogue.primaries.get(&PartitionId::of_keyspace(*number, 0));
        let take_part = primaries.map_or(0, |primaries| primaries.members().count());
        let away = primaries.map_or(0, |primaries| primaries.seats.values().filter(|seat| seat.away).count());
        let bound = match options.counters {
            Counters::Sum => "",
            Counters::Bounded => "; no counter is ever below 0, on any replica",
        };
        let replicas = match options.replicas {
            Replicas::Count(0) => copies.to_string(),
            Replicas::Count(count) => count.to_string(),
            Replicas::AllZones => "all-zones".into(),
        };
        fields.extend([
            ("replicas", bulk(replicas)),
            ("conflict", bulk(options.conflict.name())),
            ("counters", bulk(options.counters.name())),
            ("take_part", integer(take_part as u64)),
            ("away", integer(away as u64)),
            ("promise", bulk(MULTI_PRIMARY_PROMISE.to_owned() + bound)),
        ]);
    }
    let level = catalogue.reads.get(prefix).copied().or_else(|| own_level(&keyspace.policy));
    let level = level.map_or_else(|| "quorum".to_owned(), Consistency::name);
    fields.push(("read", bulk(level)));
    fields.push(("since_epoch", integer(keyspace.since)));
    Value::Map(fields.into_iter().map(|(name, value)| (bulk(name), value)).collect())
}

/// How fresh reads are where neither client nor keyspace says so; `None`: R replicas are asked.
pub(super) fn own_level(policy: &Policy) -> Option<Consistency> {
    match policy {
        Policy::Raft | Policy::PrimaryReplica { .. } => Some(Consistency::Strong),
        Policy::MultiPrimary { .. } => Some(Consistency::Session),
        Policy::Leaderless { .. } => None,
    }
}

/// As it is written in `ACK`.
pub(crate) fn spelled(acknowledgement: Acknowledgement) -> String {
    match acknowledgement {
        Acknowledgement::Async => "async".into(),
        Acknowledgement::SemiSync(copies) => format!("semi-sync {copies}"),
        Acknowledgement::Sync => "sync".into(),
    }
}

fn promise(options: &PrimaryReplica) -> String {
    let promise = promise_of(options.acknowledgement);
    match options.relaxed {
        false => promise,
        true => format!(
            "{promise}; a machine that loses power loses what was written in the second before, so that is lost if the machines of all who hold it do"
        ),
    }
}

fn promise_of(acknowledgement: Acknowledgement) -> String {
    match acknowledgement {
        Acknowledgement::Sync => {
            "linearizable; nothing acknowledged is lost while one replica that is in sync survives".into()
        }
        Acknowledgement::SemiSync(copies) => format!(
            "linearizable, and nothing acknowledged is lost, until a failover loses the primary and the {copies} replicas that acknowledged a write"
        ),
        Acknowledgement::Async => {
            "linearizable until a failover, which may lose what the replicas had not received; that is kept and listed"
                .into()
        }
    }
}
