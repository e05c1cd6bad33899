//! Views with pending writes show what the table will be once these are applied.

use bytes::Bytes;
use proptest::prelude::*;
use resp::Value;

use std::collections::BTreeMap;

use super::*;
use crate::collection::{Element, End, Kind, score};
use crate::mutation::{Mutation, MutationBuilder, Operation};
use crate::{Command, Prepared, Stamp, answer, fingerprint, prepare, prepare_transaction};

const KEYS: [&str; 4] = ["a", "b", "{a}", "long"];

/// What a key holds as a command finds it.
#[derive(Debug, PartialEq)]
enum State {
    String(Bytes, Option<u64>),
    /// All elements, in order where there is one; of a sorted set by score.
    Collection(Kind, Vec<(Vec<u8>, Vec<u8>)>, Option<u64>),
}

fn state(found: Option<Found<'_>>) -> Option<State> {
    match found? {
        Found::String(found) => {
            assert_eq!(found.len(), found.bytes().len() as u64);
            let (part, bytes) = (found.read(10..5000), found.bytes());
            assert_eq!(part[..], bytes[bytes.len().min(10)..bytes.len().min(5000)]);
            Some(State::String(found.to_bytes(), found.expire_at_ms))
        }
        Found::Collection(found) => {
            let mut elements: Vec<_> =
                found.elements().map(|e| (e.name.to_vec(), e.value.to_vec())).collect();
            assert_eq!(found.len(), elements.len(), "{:?}", found.kind);
            for (name, value) in &elements {
                assert_eq!(found.get(name), Some(&value[..]));
            }
            match found.kind {
                Kind::List => check_list(&found, &elements),
                Kind::SortedSet => check_scores(&found, &mut elements),
                Kind::Hash | Kind::Set => elements.sort(),
            }
            let (part, next) = found.scan(0, 1);
            assert!(next > 0 || part.len() == elements.len());
            if let Some(drawn) = found.draw(elements.len() as u64 * 7 + 3) {
                assert_eq!(found.get(drawn.name), Some(drawn.value));
            }
            Some(State::Collection(found.kind, elements, found.expire_at_ms))
        }
    }
}

fn check_list(found: &FoundCollection<'_>, elements: &[(Vec<u8>, Vec<u8>)]) {
    assert!(elements.is_sorted());
    let mut back: Vec<_> = found.elements_reversed().map(|e| (e.name.to_vec(), e.value.to_vec())).collect();
    back.reverse();
    assert_eq!(back, elements);
    for index in [0, elements.len() / 2, elements.len().saturating_sub(1), elements.len()] {
        let name = found.element_at(index).map(|element| element.name.to_vec());
        assert_eq!(name.as_ref(), elements.get(index).map(|(name, _)| name));
    }
}

fn check_scores(found: &FoundCollection<'_>, elements: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    let rank_name = |scored: Scored<'_>| (score::encode(scored.score).to_vec(), scored.member.to_vec());
    let by_score: Vec<_> = found.scored(false).map(rank_name).collect();
    assert!(by_score.is_sorted());
    let mut back: Vec<_> = found.scored(true).map(rank_name).collect();
    back.reverse();
    assert_eq!(back, by_score);
    for (rank, (score, member)) in by_score.iter().enumerate().step_by(7) {
        let name = score::rank_name(score, member);
        assert_eq!(found.rank_of(&name), rank);
        assert_eq!(found.scored_at(&name, false).map(rank_name).next().as_ref(), Some(&by_score[rank]));
        let before = found.scored_at(&name, true).map(rank_name).next();
        assert_eq!(before.as_ref(), rank.checked_sub(1).map(|rank| &by_score[rank]));
        for backwards in [false, true] {
            let at_rank = found.scored_at_rank(rank, backwards).map(rank_name).next();
            assert_eq!(at_rank.as_ref(), Some(&by_score[rank]), "{backwards}");
        }
    }
    *elements = by_score.into_iter().map(|(score, member)| (member, score)).collect();
}

/// An operation on one of the few keys: what it is, the key, a number, some bytes.
type Drawn = (u8, u8, u64, Vec<u8>);

fn operations() -> impl Strategy<Value = Vec<Drawn>> {
    let value = prop_oneof![
        3 => proptest::collection::vec(any::<u8>(), 0..8),
        1 => (any::<u8>(), 4000..9000usize).prop_map(|(byte, length)| vec![byte; length]),
    ];
    proptest::collection::vec((0..60u8, 0..KEYS.len() as u8, 0..5000u64, value), 1..60)
}

/// What a command makes of it when the key holds what `full` says: expiries only for keys that are there, elements only in
/// collections of their kind, and a key that loses its last element is deleted.
fn mutation((what, key, number, bytes): &Drawn, full: &Table) -> Option<Mutation> {
    let key = KEYS[usize::from(*key)].as_bytes();
    let expire_at_ms = (number % 3 != 0).then_some(*number);
    let held = full.get(key).map(|entry| entry.value);
    let kind = [Kind::Hash, Kind::Set, Kind::List, Kind::SortedSet][*number as usize % 4];
    let element = |number: u64| match kind {
        Kind::List => (position_name(number), bytes.clone()),
        Kind::Set => (format!("m{}", number % 50).into_bytes(), Vec::new()),
        Kind::Hash => (format!("f{}", number % 50).into_bytes(), bytes.clone()),
        Kind::SortedSet => {
            (format!("m{}", number % 50).into_bytes(), score::encode((number % 9) as f64).to_vec())
        }
    };
    let mut builder = MutationBuilder::new();
    match what {
        0..3 => builder.push(&Operation::Set { key, value: bytes, expire_at_ms }),
        3..8 if held.is_none_or(|held| held.as_string().is_some()) => {
            builder.push(&Operation::SetRange { key, offset: *number, bytes });
        }
        8..10 => builder.push(&Operation::Delete { key }),
        10..14 if held.is_some() => builder.push(&Operation::Expire { key, expire_at_ms }),
        14 => builder.push(&Operation::Flush),
        15..18 => {
            let elements: BTreeMap<_, _> = (0..number % 70).map(|more| element(number / 70 + more)).collect();
            let mut content = Vec::new();
            elements.iter().for_each(|(name, value)| Element { name, value }.write(&mut content));
            if !content.is_empty() {
                builder.push(&Operation::SetCollection { key, kind, content: &content, expire_at_ms });
            }
        }
        18..60 => {
            let found = match held {
                None => None,
                Some(ValueRef::Collection(found)) => Some(found),
                Some(ValueRef::String(_)) => return None,
            };
            let own = found.map_or(kind, |found| found.kind);
            if own != kind {
                return None;
            }
            let (name, value) = element(number / 4);
            let before = found.and_then(|found| found.get(&name));
            match (what, before) {
                (18..40, _) => {
                    let is_new = before.is_none();
                    builder.push(&Operation::SetElement { key, kind, name: &name, value: &value, is_new });
                }
                (_, Some(_)) if found.is_some_and(|found| found.len() == 1) => {
                    builder.push(&Operation::Delete { key });
                }
                // From an end, where there is one.
                (52..60, _) if matches!(kind, Kind::List | Kind::SortedSet) => {
                    let found = found.filter(|found| found.len() > 1)?;
                    let found = FoundCollection::new(found, found.kind, None, None);
                    let (end, backwards) = if *what < 56 { (End::First, false) } else { (End::Last, true) };
                    let name = match kind {
                        Kind::List if backwards => {
                            found.elements_reversed().next().map(|element| element.name)
                        }
                        Kind::List => found.elements().next().map(|element| element.name),
                        _ => found.scored(backwards).next().map(|scored| scored.member),
                    };
                    let name = name.expect("there are two");
                    let score =
                        if kind == Kind::List { &[][..] } else { found.get(name).expect("it is there") };
                    builder.push(&Operation::RemoveElement { key, kind, name, at_end: Some(end), score });
                }
                (_, Some(_)) => {
                    let (at_end, score) = (None, &[][..]);
                    builder.push(&Operation::RemoveElement { key, kind, name: &name, at_end, score });
                }
                (_, None) => {}
            }
        }
        _ => {}
    }
    builder.finish()
}

fn position_name(number: u64) -> Vec<u8> {
    (0..number % 50)
        .fold(crate::collection::position::first(), |at, _| crate::collection::position::after(&at))
}

proptest! {
    /// Two layers over a table that lags behind, at every lag, against a table to which all is applied.
    #[test]
    fn layers_show_the_state_to_come(operations in operations(), applied in 0..60usize, own_from in 0..60usize) {
        let (mut full, mut lagging) = (Table::new(), Table::new());
        let (mut pending, mut own) = (Pending::default(), Pending::default());
        let mut log = Vec::new();
        for operation in &operations {
            let Some(mutation) = mutation(operation, &full) else { continue };
            full.apply(&mutation).expect("well formed");
            log.push(mutation);
        }
        for (index, mutation) in log.iter().enumerate() {
            let layer = if index < own_from { &mut pending } else { &mut own };
            layer.record(index as u64 + 1, mutation);
        }
        let applied = applied.min(own_from).min(log.len());
        for step in 0..=applied {
            if let Some(index) = step.checked_sub(1) {
                lagging.apply(&log[index]).expect("well formed");
                pending.applied(index as u64 + 1);
            }
            if step % 5 != 0 && step != applied {
                continue;
            }
            let view = View::new(&lagging, Some(&pending), 0);
            let whole = View::new(&full, None, 0);
            for key in KEYS {
                let found = view.find(Some(&own), key.as_bytes());
                prop_assert_eq!(state(found), state(whole.find(None, key.as_bytes())), "{}", key);
                let fingerprints = [&view, &whole].map(|view| fingerprint(key.as_bytes(), view));
                prop_assert!(own_from < log.len() || fingerprints[0] == fingerprints[1], "{}", key);
            }
        }
        prop_assert_eq!(pending.is_empty(), applied >= own_from.min(log.len()));
    }
}

fn set(key: &str, value: &str) -> Mutation {
    let operation = Operation::Set { key: key.as_bytes(), value: value.as_bytes(), expire_at_ms: None };
    MutationBuilder::from_iter([operation]).finish().expect("an operation")
}

fn flush() -> Mutation {
    MutationBuilder::from_iter([Operation::Flush]).finish().expect("an operation")
}

#[test]
fn positions_of_pending_writes() {
    let mut pending = Pending::default();
    assert!(pending.is_empty());
    pending.record(5, &set("a", "1"));
    pending.record(7, &set("a", "2"));
    pending.record(8, &set("b", "2"));
    assert_eq!(
        [pending.position_of(b"a"), pending.position_of(b"b"), pending.position_of(b"c")],
        [Some(7), Some(8), None]
    );
    pending.record(9, &flush());
    assert_eq!(
        [pending.position_of(b"a"), pending.position_of(b"c")],
        [Some(9), Some(9)],
        "a flush touches all"
    );
    pending.record(10, &set("a", "3"));
    assert_eq!([pending.position_of(b"a"), pending.position_of(b"c")], [Some(10), Some(9)]);
    pending.applied(9);
    assert_eq!([pending.position_of(b"a"), pending.position_of(b"c")], [Some(10), None]);
    assert!(!pending.is_empty());
    pending.applied(10);
    assert!(pending.is_empty());
    pending.record(11, &set("a", "4"));
    pending.clear();
    assert!(pending.is_empty() && pending.position_of(b"a").is_none());
}

/// A key that is written all the time must not gather what was applied long ago.
#[test]
fn a_busy_key_keeps_only_what_is_under_way() {
    let table = Table::new();
    let mut pending = Pending::default();
    for position in 1..1000u64 {
        let operation = Operation::SetRange { key: b"k", offset: position, bytes: b"x" };
        pending.record(position, &MutationBuilder::from_iter([operation]).finish().expect("an operation"));
        pending.applied(position.saturating_sub(3));
    }
    let Layer::Touched(overlay) = pending.layer(b"k") else { panic!("it is under way") };
    assert_eq!(overlay.patch_count(), 3);
    let view = View::new(&table, Some(&pending), 0);
    assert!(view.find(None, b"k").is_some());
}

fn arguments(words: &str) -> Vec<Bytes> {
    words.split_ascii_whitespace().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
}

fn row(arguments: &[Bytes]) -> &'static Command {
    Command::lookup(&arguments[0]).expect("a command")
}

/// A table whose clock stands at `now_ms`, to which commands are applied at once.
struct Store {
    table: Table,
    now_ms: u64,
}

impl Store {
    fn new() -> Self {
        Store { table: Table::new(), now_ms: 1_000_000 }
    }

    fn view(&self) -> View<'_> {
        View::new(&self.table, None, self.now_ms)
    }

    fn prepare(&self, words: &str) -> Prepared {
        let arguments = arguments(words);
        let stamp = Stamp { time_ms: self.now_ms, ..Stamp::default() };
        prepare(row(&arguments), &arguments, &self.view(), &stamp)
    }

    fn run(&mut self, words: &str) -> Value {
        let prepared = self.prepare(words);
        if let Some(mutation) = &prepared.mutation {
            self.table.apply(mutation).expect("well formed");
        }
        prepared.reply
    }

    fn execute(&mut self, commands: &[&str], watches: &[crate::Watch]) -> Prepared {
        let commands: Vec<_> = commands.iter().map(|words| arguments(words)).map(|a| (row(&a), a)).collect();
        let stamp = Stamp { time_ms: self.now_ms, ..Stamp::default() };
        let prepared = prepare_transaction(&commands, watches, &self.view(), &stamp);
        if let Some(mutation) = &prepared.mutation {
            self.table.apply(mutation).expect("well formed");
        }
        prepared
    }
}

/// Commands whose outcome depends on what was there before, on one of a few keys.
const COMMANDS: [&str; 24] = [
    "INCR @",
    "DECRBY @ 7",
    "INCRBYFLOAT @ 0.5",
    "APPEND @ xyz",
    "APPEND @ 1",
    "SETRANGE @ 3 ab",
    "SETRANGE @ 5000 z",
    "SETBIT @ 9 1",
    "SETBIT @ 70 1",
    "SET @ 5",
    "SET @ 6 KEEPTTL",
    "SET @ 7 XX GET",
    "SETNX @ 8",
    "GETSET @ 9",
    "GETDEL @",
    "GETEX @ PERSIST",
    "PEXPIRE @ 50",
    "PEXPIRE @ 20 GT",
    "EXPIRE @ -1",
    "RENAME @ a",
    "COPY b @",
    "DEL @",
    "MSETNX a 1 @ 2",
    "FLUSHALL",
];

proptest! {
    /// With writes under way a command answers, and ends, as if each had been applied before the next was prepared.
    #[test]
    fn pending_writes_make_no_difference(
        steps in proptest::collection::vec((0..COMMANDS.len(), 0..3usize, 0..12usize, 0..9u64), 1..120),
    ) {
        let (mut plain, mut lagging) = (Store::new(), Store::new());
        let mut pending = Pending::default();
        let mut log = std::collections::VecDeque::new();
        for (index, (command, key, left, tick)) in steps.iter().enumerate() {
            // A flush is rare, since nothing is left to look at after it.
            let command = if COMMANDS[*command] == "FLUSHALL" && index % 8 != 0 { 0 } else { *command };
            let key = ["a", "b", "c"][*key];
            let words = COMMANDS[command].replace('@', key);
            plain.now_ms += tick;
            lagging.now_ms += tick;
            let reply = {
                let arguments = arguments(&words);
                let view = View::new(&lagging.table, Some(&pending), lagging.now_ms);
                let stamp = Stamp { time_ms: lagging.now_ms, ..Stamp::default() };
                let prepared = prepare(row(&arguments), &arguments, &view, &stamp);
                if let Some(mutation) = prepared.mutation {
                    pending.record(index as u64, &mutation);
                    log.push_back((index as u64, mutation));
                }
                prepared.reply
            };
            prop_assert_eq!(reply, plain.run(&words), "{}", words);
            while log.len() > *left {
                let Some((position, mutation)) = log.pop_front() else { break };
                lagging.table.apply(&mutation).expect("well formed");
                pending.applied(position);
            }
        }
        for (position, mutation) in log {
            lagging.table.apply(&mutation).expect("well formed");
            pending.applied(position);
        }
        prop_assert!(pending.is_empty());
        prop_assert_eq!(lagging.table.digest(), plain.table.digest());
    }
}

#[test]
fn commands_that_change_nothing_give_no_mutation() {
    let mut store = Store::new();
    store.run("SET k 5");
    store.run("SETBIT bits 3 1");
    store.run("PEXPIREAT bits 9000000");
    for words in [
        "SETNX k x",
        "SET k x NX",
        "SET absent x XX",
        "DEL absent",
        "EXPIRE absent 5",
        "PERSIST k",
        "SETBIT bits 3 1",
        "SETRANGE absent 0",
        "RENAME k k",
        "COPY absent k",
        "INCRBY k x",
        "GETEX k",
        "PEXPIREAT bits 9000000",
        "GETDEL absent",
        "MSETNX k 1 other 2",
        "GETEX bits PXAT 9000000",
    ] {
        let words = if words.starts_with("SETRANGE") {
            arguments(words).into_iter().chain([Bytes::new()]).collect()
        } else {
            arguments(words)
        };
        let stamp = Stamp { time_ms: store.now_ms, ..Stamp::default() };
        let prepared = prepare(row(&words), &words, &store.view(), &stamp);
        assert_eq!(prepared.mutation, None, "{words:?}");
    }
    let mut empty = Store::new();
    assert_eq!(empty.prepare("FLUSHALL").mutation, None);
    assert_eq!(empty.run("FLUSHALL"), Value::OK);
}

#[test]
fn a_write_deletes_what_it_finds_expired() {
    let mut store = Store::new();
    store.run("SET k v PX 100");
    assert_eq!(store.table.next_expiry_ms(), Some(1_000_100));
    store.now_ms += 100;
    assert_eq!(store.table.len(), 1, "the table keeps it");
    let prepared = store.prepare("DEL k");
    assert_eq!(prepared.reply, Value::Integer(0), "it counts as absent");
    let mutation = prepared.mutation.expect("and goes nevertheless");
    let operations: Vec<_> = mutation.operations().collect();
    assert_eq!(operations, [Ok(Operation::Delete { key: b"k" })]);
    assert_eq!(store.run("INCR k"), Value::Integer(1), "and starts anew");
    assert_eq!(store.run("TTL k"), Value::Integer(-1));
}

#[test]
fn a_read_tells_what_it_found_expired() {
    let mut store = Store::new();
    store.run("MSET a 1 b 2 c 3");
    store.run("PEXPIRE a 5");
    store.now_ms += 5;
    let arguments = arguments("MGET a b a");
    let told = answer(row(&arguments), &arguments, &store.view(), 0);
    assert_eq!(told.reply, Value::Array(vec![Value::Null, Value::bulk("2"), Value::Null]));
    assert_eq!(told.expired, ["a"]);
    store.table.apply(&told.expire().expect("a mutation")).expect("well formed");
    assert_eq!(store.table.len(), 2);
    assert_eq!(answer(row(&arguments), &arguments, &store.view(), 0).expire(), None);
}

#[test]
fn scans_and_keys_hide_the_expired() {
    let mut store = Store::new();
    store.run("MSET a 1 b 2");
    store.run("PEXPIRE a 5");
    store.now_ms += 5;
    for words in ["KEYS *", "SCAN 0", "RANDOMKEY"] {
        let arguments = arguments(words);
        let told = answer(row(&arguments), &arguments, &store.view(), 3);
        let shown = format!("{:?}", told.reply);
        assert!(shown.contains("b\"b\"") && !shown.contains("b\"a\""), "{words}: {shown}");
    }
}

#[test]
fn a_scan_gives_every_key_once_across_partitions() {
    let slots = [(0, 5000), (5001, 5001), (5002, 16383)];
    let mut tables = slots.map(|(first, last)| Table::with_slots(first, last));
    for number in 0..3000 {
        let key = format!("key:{number}");
        let slot = crate::slot::key_slot(key.as_bytes());
        let index = slots.iter().position(|(first, last)| (*first..=*last).contains(&slot)).expect("covered");
        tables[index].apply(&set(&key, "v")).expect("well formed");
    }
    let (mut cursor, mut keys, mut calls) = ("0".to_owned(), Vec::new(), 0);
    loop {
        let arguments = arguments(&format!("SCAN {cursor} COUNT 50"));
        let Ok(crate::Route::Home(crate::Home { slot, .. })) =
            crate::route(row(&arguments), &arguments, &|_: u16| 0, 0)
        else {
            panic!("a slot")
        };
        let index = slots.iter().position(|(first, last)| (*first..=*last).contains(&slot)).expect("covered");
        let view = View::new(&tables[index], None, 0);
        let Value::Array(mut reply) = answer(row(&arguments), &arguments, &view, 0).reply else {
            panic!("an array")
        };
        let (Some(Value::Array(found)), Some(Value::Bulk(next))) = (reply.pop(), reply.pop()) else {
            panic!("two")
        };
        keys.extend(found.into_iter().map(|key| format!("{key:?}")));
        cursor = String::from_utf8_lossy(&next).into_owned();
        calls += 1;
        if cursor == "0" {
            break;
        }
    }
    assert!((60..70).contains(&calls), "{calls} calls");
    assert_eq!(keys.len(), 3000);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3000);
}

#[test]
fn a_transaction_sees_its_own_writes() {
    let mut store = Store::new();
    store.run("SET k 1");
    let prepared = store.execute(
        &["INCR k", "APPEND k 0", "GET k", "SETRANGE k 9 x", "STRLEN k", "DEL k", "EXISTS k", "INCR k"],
        &[],
    );
    let expected = [
        Value::Integer(2),
        Value::Integer(2),
        Value::bulk("20"),
        Value::Integer(10),
        Value::Integer(10),
        Value::Integer(1),
        Value::Integer(0),
        Value::Integer(1),
    ];
    assert_eq!(prepared.reply, Value::Array(expected.to_vec()));
    assert_eq!(store.run("GET k"), Value::bulk("1"));
}

#[test]
fn a_failing_command_of_a_transaction_stands_alone() {
    let mut store = Store::new();
    let prepared = store.execute(&["SET k x", "INCR k", "DBSIZE", "SCAN 0", "PING", "APPEND k y"], &[]);
    let Value::Array(replies) = prepared.reply else { panic!("an array") };
    let failed: Vec<_> = replies.iter().map(Value::is_error).collect();
    assert_eq!(failed, [false, true, true, true, true, false]);
    assert_eq!(store.run("GET k"), Value::bulk("xy"));
    assert_eq!(store.execute(&["GET k"], &[]).mutation, None);
}

#[test]
fn a_watched_key_that_changed_stops_the_transaction() {
    let mut store = Store::new();
    let watch = |store: &Store| {
        let watch = |key: &'static str| crate::Watch {
            key: Bytes::from_static(key.as_bytes()),
            fingerprint: fingerprint(key.as_bytes(), &store.view()),
        };
        vec![watch("k"), watch("absent")]
    };
    store.run("SET k 1");
    let watches = watch(&store);
    assert_eq!(watches[1].fingerprint, 0);
    assert_ne!(watches[0].fingerprint, 0);
    assert_eq!(store.execute(&["INCR k"], &watches).reply, Value::Array(vec![Value::Integer(2)]));
    let stale = store.execute(&["INCR k"], &watches);
    assert_eq!((stale.reply, stale.mutation), (Value::NullArray, None));
    let watches = watch(&store);
    store.run("PEXPIRE k 10");
    assert_eq!(store.execute(&["INCR k"], &watches).reply, Value::NullArray, "an expiry is a change");
    let watches = watch(&store);
    store.run("SET absent x");
    assert_eq!(store.execute(&["INCR k"], &watches).reply, Value::NullArray, "so is a key that came");
    let watches = watch(&store);
    store.now_ms += 10;
    assert_eq!(store.execute(&["INCR k"], &watches).reply, Value::NullArray, "and one that expired");
}

#[test]
fn counters_keep_expiry_and_hold_the_sum() {
    let mut store = Store::new();
    store.run("SET k 41 PXAT 5000000");
    let prepared = store.prepare("INCR k");
    let mutation = prepared.mutation.expect("a change");
    for _ in 0..3 {
        store.table.apply(&mutation).expect("well formed");
    }
    assert_eq!(store.run("GET k"), Value::bulk("42"), "applied again it is still the sum");
    assert_eq!(store.run("PEXPIRETIME k"), Value::Integer(5_000_000));
}

#[test]
fn encodings_as_redis_would_choose_them() {
    let mut store = Store::new();
    let long = "x".repeat(45);
    for (value, encoding) in
        [("12", "int"), ("012", "embstr"), ("hello", "embstr"), (&long[..44], "embstr"), (&long, "raw")]
    {
        store.run(&format!("SET k {value}"));
        assert_eq!(store.run("OBJECT ENCODING k"), Value::bulk(encoding.to_owned()), "{value}");
    }
    assert_eq!(store.run("OBJECT ENCODING absent"), Value::Null);
    assert!(matches!(store.run("MEMORY USAGE k"), Value::Integer(60..100)));
}
