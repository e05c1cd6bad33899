//! The table against a plain twin, and the laws of snapshots and digests.

use std::collections::BTreeMap;

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::collection::{CollectionRef, Element, Kind, position, score};
use crate::mutation::{Mutation, MutationBuilder, Operation};

/// What a key holds.
#[derive(Clone, Debug, PartialEq)]
enum Held {
    String(Vec<u8>),
    Collection(Kind, BTreeMap<Vec<u8>, Vec<u8>>),
}

impl Held {
    fn of(value: ValueRef<'_>) -> Held {
        match value {
            ValueRef::String(bytes) => Held::String(bytes.to_vec()),
            ValueRef::Collection(collection) => {
                let elements = collection.elements().map(|e| (e.name.to_vec(), e.value.to_vec()));
                Held::Collection(collection.kind, elements.collect())
            }
        }
    }

    /// A string's bytes, or a collection's packed elements.
    fn content(&self) -> Vec<u8> {
        match self {
            Held::String(bytes) => bytes.clone(),
            Held::Collection(_, elements) => {
                let mut content = Vec::new();
                elements.iter().for_each(|(name, value)| Element { name, value }.write(&mut content));
                content
            }
        }
    }

    fn with_value<T>(&self, run: impl FnOnce(ValueRef<'_>) -> T) -> T {
        let content = self.content();
        match self {
            Held::String(_) => run(ValueRef::String(&content)),
            Held::Collection(kind, _) => run(ValueRef::Collection(CollectionRef::packed(*kind, &content))),
        }
    }
}

/// The plain twin: what each key holds, and its expiry.
type Twin = BTreeMap<Vec<u8>, (Held, Option<u64>)>;

/// An operation that owns its bytes.
#[derive(Clone, Debug)]
enum Step {
    Set(u8, Vec<u8>, Option<u64>),
    SetRange(u8, u64, Vec<u8>),
    Delete(u8),
    Expire(u8, Option<u64>),
    Flush,
    /// An element of a collection, after the key was deleted if it held something else.
    SetElement(u8, Kind, u8, Vec<u8>),
    /// The key is deleted if it was the last one.
    RemoveElement(u8, u8),
    /// So many elements from this one on.
    SetCollection(u8, Kind, u8, u8, Option<u64>),
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Hash), Just(Kind::Set), Just(Kind::List), Just(Kind::SortedSet)]
}

/// The element with this number, with a value such as the type has.
fn element(kind: Kind, number: u8, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    match kind {
        Kind::Hash => (vec![number; 1 + usize::from(number % 40)], value.to_vec()),
        Kind::Set => (vec![number; 1 + usize::from(number % 40)], Vec::new()),
        Kind::List => ([&position::first()[..7], &[number]].concat(), value.to_vec()),
        Kind::SortedSet => (vec![number; 3], score::encode(value.len() as f64).to_vec()),
    }
}

/// Names of keys: short, long, and some in one slot.
fn key(number: u8) -> Vec<u8> {
    match number % 4 {
        0 => format!("key:{number}").into_bytes(),
        1 => format!("{{tag}}{number}").into_bytes(),
        2 => vec![number],
        _ => vec![number; 3000],
    }
}

/// Values around the length from which entries are held apart.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 1000..4200usize).prop_map(|(byte, length)| vec![byte; length]),
        1 => (any::<u8>(), 4200..20_000usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn expiry() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(1..20u64)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<u8>(), value(), expiry()).prop_map(|(k, v, e)| Step::Set(k, v, e)),
        // Over one another: strings of one length that end, most of them.
        8 => (0..16u8, any::<u8>(), expiry()).prop_map(|(k, byte, e)| Step::Set(k, vec![byte; 5], e)),
        4 => (any::<u8>(), 0..9000u64, value()).prop_map(|(k, o, v)| Step::SetRange(k, o, v)),
        4 => any::<u8>().prop_map(Step::Delete),
        3 => (any::<u8>(), expiry()).prop_map(|(k, e)| Step::Expire(k, e)),
        1 => (0..40u8).prop_map(|n| if n == 0 { Step::Flush } else { Step::Delete(n) }),
        30 => (0..12u8, kind(), any::<u8>(), value()).prop_map(|(k, kind, n, v)| Step::SetElement(k, kind, n, v)),
        // Mostly of the kind that its key has, so that collections grow long.
        60 => (0..12u8, any::<u8>(), value()).prop_map(|(k, n, v)| {
            let kind = [Kind::Hash, Kind::Set, Kind::List, Kind::SortedSet][usize::from(k % 4)];
            Step::SetElement(k, kind, n, v)
        }),
        30 => (0..12u8, any::<u8>()).prop_map(|(k, n)| Step::RemoveElement(k, n)),
        3 => (0..12u8, kind(), any::<u8>(), 1..250u8, expiry())
            .prop_map(|(k, kind, n, count, e)| Step::SetCollection(k, kind, n, count, e)),
    ]
}

impl Step {
    /// The mutation that a command makes of it when the keys hold this; none if there is nothing to do.
    fn mutation(&self, twin: &Twin) -> Option<Mutation> {
        let mut builder = MutationBuilder::new();
        let held = twin.get(&key(self.number()));
        match self {
            Step::Set(number, value, expire_at_ms) => {
                builder.push(&Operation::Set { key: &key(*number), value, expire_at_ms: *expire_at_ms });
            }
            Step::SetRange(number, offset, bytes) => {
                if matches!(held, Some((Held::Collection(..), _))) {
                    builder.push(&Operation::Delete { key: &key(*number) });
                }
                builder.push(&Operation::SetRange { key: &key(*number), offset: *offset, bytes });
            }
            Step::Delete(number) => builder.push(&Operation::Delete { key: &key(*number) }),
            // Expire is made only for keys that are there: see `mutation`.
            Step::Expire(_, _) if held.is_none() => {}
            Step::Expire(number, expire_at_ms) => {
                builder.push(&Operation::Expire { key: &key(*number), expire_at_ms: *expire_at_ms });
            }
            Step::Flush => builder.push(&Operation::Flush),
            Step::SetElement(number, kind, element_number, value) => {
                if held.is_some_and(|(held, _)| !matches!(held, Held::Collection(other, _) if other == kind))
                {
                    builder.push(&Operation::Delete { key: &key(*number) });
                }
                let (name, value) = element(*kind, *element_number, value);
                let is_new = false;
                builder.push(&Operation::SetElement {
                    key: &key(*number),
                    kind: *kind,
                    name: &name,
                    value: &value,
                    is_new,
                });
            }
            Step::RemoveElement(number, element_number) => {
                let Some((Held::Collection(kind, elements), _)) = held else { return None };
                let (name, _) = element(*kind, *element_number, b"");
                match elements.contains_key(&name) {
                    false => return None,
                    true if elements.len() == 1 => builder.push(&Operation::Delete { key: &key(*number) }),
                    true => {
                        let (at_end, score) = (None, &[][..]);
                        builder.push(&Operation::RemoveElement {
                            key: &key(*number),
                            kind: *kind,
                            name: &name,
                            at_end,
                            score,
                        });
                    }
                }
            }
            Step::SetCollection(number, kind, first, count, expire_at_ms) => {
                let content = Held::Collection(*kind, elements(*kind, *first, *count)).content();
                let (kind, expire_at_ms) = (*kind, *expire_at_ms);
                builder.push(&Operation::SetCollection {
                    key: &key(*number),
                    kind,
                    content: &content,
                    expire_at_ms,
                });
            }
        }
        builder.finish()
    }

    fn number(&self) -> u8 {
        match self {
            Step::Set(number, ..)
            | Step::SetRange(number, ..)
            | Step::Delete(number)
            | Step::Expire(number, _)
            | Step::SetElement(number, ..)
            | Step::RemoveElement(number, _)
            | Step::SetCollection(number, ..) => *number,
            Step::Flush => 0,
        }
    }

    fn apply_to(&self, twin: &mut Twin) {
        let key = key(self.number());
        match self {
            Step::Set(_, value, expire_at_ms) => {
                twin.insert(key, (Held::String(value.clone()), *expire_at_ms));
            }
            Step::SetRange(_, offset, bytes) => {
                let held = twin.entry(key).or_insert_with(|| (Held::String(Vec::new()), None));
                if let Held::Collection(..) = held.0 {
                    *held = (Held::String(Vec::new()), None);
                }
                let Held::String(value) = &mut held.0 else { return };
                let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                value.resize(value.len().max(end), 0);
                value[start..end].copy_from_slice(bytes);
            }
            Step::Delete(_) => {
                twin.remove(&key);
            }
            Step::Expire(_, expire_at_ms) => {
                if let Some((_, expiry)) = twin.get_mut(&key) {
                    *expiry = *expire_at_ms;
                }
            }
            Step::Flush => twin.clear(),
            Step::SetElement(_, kind, number, value) => {
                let (name, value) = element(*kind, *number, value);
                let held =
                    twin.entry(key).or_insert_with(|| (Held::Collection(*kind, BTreeMap::new()), None));
                if !matches!(held.0, Held::Collection(other, _) if other == *kind) {
                    *held = (Held::Collection(*kind, BTreeMap::new()), None);
                }
                let Held::Collection(_, elements) = &mut held.0 else { return };
                elements.insert(name, value);
            }
            Step::RemoveElement(_, number) => {
                let Some((Held::Collection(kind, elements), _)) = twin.get_mut(&key) else { return };
                elements.remove(&element(*kind, *number, b"").0);
                if elements.is_empty() {
                    twin.remove(&key);
                }
            }
            Step::SetCollection(_, kind, first, count, expire_at_ms) => {
                twin.insert(key, (Held::Collection(*kind, elements(*kind, *first, *count)), *expire_at_ms));
            }
        }
    }
}

fn elements(kind: Kind, first: u8, count: u8) -> BTreeMap<Vec<u8>, Vec<u8>> {
    (0..count).map(|index| element(kind, first.wrapping_add(index), b"of many")).collect()
}

fn contents(table: &Table) -> Twin {
    let entries = table.entries_from(0);
    entries.map(|(_, entry)| (entry.key.to_vec(), (Held::of(entry.value), entry.expire_at_ms))).collect()
}

fn table_of(twin: &Twin) -> Table {
    let mut table = Table::new();
    for (key, (held, expire_at_ms)) in twin {
        held.with_value(|value| table.put(&Entry { key, value, expire_at_ms: *expire_at_ms }));
    }
    table
}

/// Everything that a table says of itself, against its twin.
fn check(table: &Table, twin: &Twin) {
    assert_eq!(&contents(table), twin);
    assert_eq!(table.len(), twin.len());
    let bytes: usize = twin.iter().map(|(key, (held, _))| key.len() + held.content().len()).sum();
    assert_eq!(table.bytes(), bytes as u64);
    assert_eq!(table.digest(), table.recompute_digest());
    assert_eq!(
        table.digest(),
        table_of(twin).digest(),
        "the digest is that of the state, not of the history"
    );
    let ends = twin.iter().filter_map(|(key, (_, expiry))| Some((expiry.as_ref()?, position_of(key))));
    assert_eq!(table.expiring(), ends.collect::<std::collections::BTreeSet<_>>().len());
    assert_eq!(table.next_expiry_ms(), twin.values().filter_map(|(_, expiry)| *expiry).min());
    let mut due: Vec<_> = twin.iter().filter(|(_, (_, e))| e.is_some_and(|e| e <= 10)).collect();
    due.sort_by_key(|(_, (_, expiry))| *expiry);
    let expired = table.expired(10, usize::MAX);
    assert_eq!(expired.len(), due.len());
    assert!(expired.iter().zip(&due).all(|(key, (_, due))| twin[&key[..]].1 == due.1), "earliest first");
    assert!(table.entries_from(0).map(|(position, _)| position).is_sorted());
    assert!(table.entries_from(0).all(|(position, entry)| position == position_of(entry.key)));
}

/// Does a step to both. Gives its mutation.
fn run(step: &Step, table: &mut Table, twin: &mut Twin) -> Option<Mutation> {
    let mutation = step.mutation(twin)?;
    assert_eq!(table.apply(&mutation), Ok(()));
    step.apply_to(twin);
    Some(mutation)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_table_holds_what_its_twin_holds(steps in proptest::collection::vec(step(), 1..300)) {
        let (mut table, mut twin) = (Table::new(), Twin::new());
        for step in &steps {
            run(step, &mut table, &mut twin);
        }
        check(&table, &twin);
        for number in 0..=u8::MAX {
            let entry = table.get(&key(number)).map(|entry| (Held::of(entry.value), entry.expire_at_ms));
            prop_assert_eq!(entry.as_ref(), twin.get(&key(number)));
        }
    }

    /// What takes a mutation back does, whatever it was, and the last of several first.
    #[test]
    fn mutations_can_be_taken_back(
        before in proptest::collection::vec(step(), 0..100),
        undone in proptest::collection::vec(step(), 1..60),
    ) {
        let (mut table, mut twin) = (Table::new(), Twin::new());
        for step in &before {
            run(step, &mut table, &mut twin);
        }
        let mut inverses = Vec::new();
        let mut later = twin.clone();
        for step in &undone {
            let Some(mutation) = step.mutation(&later) else { continue };
            step.apply_to(&mut later);
            inverses.push(table.inverse_of(&mutation).unwrap());
            table.apply(&mutation).unwrap();
        }
        for inverse in inverses.into_iter().rev().flatten() {
            table.apply(&inverse).unwrap();
        }
        check(&table, &twin);
    }

    /// What is told of a lost write does it again.
    #[test]
    fn mutations_can_be_said_as_commands(steps in proptest::collection::vec(step(), 1..80)) {
        let (mut table, mut copy, mut twin) = (Table::new(), Table::new(), Twin::new());
        for step in &steps {
            // No command writes nothing.
            if matches!(step, Step::SetRange(_, _, bytes) if bytes.is_empty()) {
                continue;
            }
            let Some(mutation) = run(step, &mut table, &mut twin) else { continue };
            for operation in mutation.operations() {
                for arguments in operation.unwrap().as_commands() {
                    let command = crate::Command::lookup(&arguments[0]).expect("a command");
                    let view = crate::View::new(&copy, None, 0);
                    let prepared = crate::prepare(command, &arguments, &view, &crate::Stamp::default());
                    prop_assert!(!prepared.reply.is_error(), "{:?}: {:?}", arguments, prepared.reply);
                    if let Some(mutation) = prepared.mutation {
                        copy.apply(&mutation).unwrap();
                    }
                }
            }
        }
        check(&copy, &twin);
    }

    /// Slices are taken while mutations go on; with all mutations since the first slice the copy is exact.
    #[test]
    fn a_fuzzy_snapshot_is_exact(
        before in proptest::collection::vec(step(), 0..100),
        during in proptest::collection::vec((step(), any::<bool>()), 1..200),
        max_bytes in 1..5000usize,
    ) {
        let (mut table, mut twin) = (Table::new(), Twin::new());
        let mut log = Vec::new();
        for step in &before {
            run(step, &mut table, &mut twin);
        }
        let mut slices = Vec::new();
        let mut cursor = Some(0);
        let take = |table: &Table, from, slices: &mut Vec<BytesMut>| {
            let mut slice = BytesMut::new();
            let next = table.slice(from, max_bytes, &mut slice);
            slices.push(slice);
            next
        };
        for (step, slice_now) in &during {
            if let (Some(from), true) = (cursor, *slice_now) {
                cursor = take(&table, from, &mut slices);
            }
            log.extend(run(step, &mut table, &mut twin));
        }
        while let Some(from) = cursor {
            cursor = take(&table, from, &mut slices);
        }
        let mut copy = Table::new();
        for slice in &slices {
            prop_assert_eq!(copy.load(slice), Ok(()));
        }
        for mutation in &log {
            prop_assert_eq!(copy.apply(mutation), Ok(()));
        }
        prop_assert_eq!(copy.digest(), table.digest());
        check(&copy, &twin);
    }

    /// Both halves are tables in their own right, and go on as such.
    #[test]
    fn a_table_divided_is_two(
        before in proptest::collection::vec(step(), 0..200),
        after in proptest::collection::vec(step(), 0..100),
        first in 1..SLOTS,
    ) {
        let (mut lower, mut twin) = (Table::with_slots(0, SLOTS - 1), Twin::new());
        for step in &before {
            run(step, &mut lower, &mut twin);
        }
        let whole = lower.digest();
        let mut upper = lower.split_off(first);
        prop_assert_eq!((lower.slots(), upper.slots()), ((0, first - 1), (first, SLOTS - 1)));
        prop_assert_eq!(lower.digest().wrapping_add(upper.digest()), whole);
        let mut twins = [Twin::new(), Twin::new()];
        for (key, held) in twin {
            twins[usize::from(key_slot(&key) >= first)].insert(key, held);
        }
        check(&lower, &twins[0]);
        check(&upper, &twins[1]);
        for step in &after {
            let side = match step {
                Step::Flush => 0,
                step => usize::from(key_slot(&key(step.number())) >= first),
            };
            run(step, if side == 0 { &mut lower } else { &mut upper }, &mut twins[side]);
        }
        check(&lower, &twins[0]);
        check(&upper, &twins[1]);
    }

    #[test]
    fn any_bytes_load_or_fail(bytes in proptest::collection::vec(0..0x14u8, 0..60)) {
        let mut table = Table::new();
        if table.load(&bytes).is_err() {
            prop_assert!(table.is_empty(), "nothing was loaded");
        }
    }
}

fn set(table: &mut Table, key: &[u8], value: &[u8], expire_at_ms: Option<u64>) {
    table.put(&Entry { key, value: ValueRef::String(value), expire_at_ms });
}

fn delete(table: &mut Table, key: &[u8]) {
    let builder = MutationBuilder::from_iter([Operation::Delete { key }]);
    table.apply(&builder.finish().expect("an operation")).expect("well formed");
}

#[test]
fn many_keys_split_and_merge_leaves() {
    let mut table = Table::new();
    let key = |number: u32| format!("key:{number:08}").into_bytes();
    for number in 0..20_000 {
        set(&mut table, &key(number), &number.to_le_bytes(), None);
    }
    assert_eq!(table.len(), 20_000);
    assert!(table.leaves.len() > 20_000 / 600, "{} leaves", table.leaves.len());
    assert!((0..20_000).all(|number| {
        table.get(&key(number)).map(|entry| entry.value) == Some(ValueRef::String(&number.to_le_bytes()))
    }));
    let full = table.digest();
    for number in 0..20_000 {
        if number % 100 != 0 {
            delete(&mut table, &key(number));
        }
    }
    assert_eq!(table.len(), 200);
    assert!(table.leaves.len() < 10, "{} leaves are left", table.leaves.len());
    assert_eq!(table.digest(), table.recompute_digest());
    for number in 0..20_000 {
        set(&mut table, &key(number), &number.to_le_bytes(), None);
    }
    assert_eq!(table.digest(), full, "the same state, the same digest");
}

#[test]
fn slots_can_be_counted_and_listed() {
    let mut table = Table::new();
    for number in 0..3000 {
        set(&mut table, format!("{{a}}{number}").as_bytes(), b"v", None);
        set(&mut table, format!("other:{number}").as_bytes(), b"v", None);
    }
    let slot = key_slot(b"a");
    let others = (0..3000).filter(|n| key_slot(format!("other:{n}").as_bytes()) == slot).count();
    assert_eq!(table.count_in_slot(slot), 3000 + others);
    assert_eq!(table.keys_in_slot(slot, 7).len(), 7);
    assert!(table.keys_in_slot(slot, usize::MAX).iter().all(|key| key_slot(key) == slot));
    let all: usize = (0..SLOTS).map(|slot| table.count_in_slot(slot)).sum();
    assert_eq!(all, 6000);
    // Half of the positions stand close together, so that guessing where one is goes wrong.
    for number in 0..3000 {
        assert!(table.get(format!("{{a}}{number}").as_bytes()).is_some());
        assert!(table.get(format!("other:{number}").as_bytes()).is_some());
        assert!(table.get(format!("{{a}}x{number}").as_bytes()).is_none());
    }
}

#[test]
fn every_rank_is_another_key() {
    let mut table = Table::new();
    assert_eq!(table.entry_at_rank(7), None);
    for number in 0..2000u32 {
        set(&mut table, &number.to_le_bytes(), b"", None);
    }
    let mut keys: Vec<_> =
        (0..2000).filter_map(|rank| table.entry_at_rank(rank)).map(|e| e.key_bytes()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 2000);
    assert_eq!(table.entry_at_rank(2001), table.entry_at_rank(1));
}

#[test]
fn a_mutation_that_is_not_well_formed_changes_nothing() {
    let mut table = Table::new();
    let good = MutationBuilder::from_iter([Operation::Set { key: b"k", value: b"v", expire_at_ms: None }]);
    let good = good.finish().expect("an operation");
    let bad = Mutation(Bytes::from([&good.0[..], b"\xff"].concat()));
    assert!(table.apply(&bad).is_err());
    assert!(table.is_empty());
}

#[test]
fn a_slice_has_at_least_one_entry_and_may_be_joined() {
    let mut table = Table::new();
    for number in 0..50u8 {
        set(&mut table, &[number], &[number; 100], Some(5));
    }
    let (mut all, mut cursor, mut slices) = (BytesMut::new(), Some(0), 0);
    while let Some(from) = cursor {
        let mut one = BytesMut::new();
        cursor = table.slice(from, 0, &mut one);
        assert!(!one.is_empty());
        slices += 1;
        all.extend_from_slice(&one);
    }
    assert_eq!(slices, 50);
    let mut copy = Table::new();
    copy.load(&all).expect("slices joined are a slice");
    assert_eq!(copy.digest(), table.digest());
    assert_eq!(Table::new().slice(0, 100, &mut BytesMut::new()), None, "an empty table has one empty slice");
}

#[test]
fn flush_keeps_the_slots() {
    let mut table = Table::with_slots(3, 9);
    set(&mut table, b"k", b"v", Some(1));
    let flush = MutationBuilder::from_iter([Operation::Flush]).finish().expect("an operation");
    table.apply(&flush).expect("well formed");
    assert_eq!((table.len(), table.slots(), table.digest(), table.next_expiry_ms()), (0, (3, 9), 0, None));
}
