//! The table against a plain twin, and the laws of snapshots and digests.

use std::collections::BTreeMap;

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::mutation::{Mutation, MutationBuilder, Operation};

/// The plain twin: what each key holds, and its expiry.
type Twin = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

/// An operation that owns its bytes.
#[derive(Clone, Debug)]
enum Step {
    Set(u8, Vec<u8>, Option<u64>),
    SetRange(u8, u64, Vec<u8>),
    Delete(u8),
    Expire(u8, Option<u64>),
    Flush,
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
    proptest::option::of(0..20u64)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<u8>(), value(), expiry()).prop_map(|(k, v, e)| Step::Set(k, v, e)),
        4 => (any::<u8>(), 0..9000u64, value()).prop_map(|(k, o, v)| Step::SetRange(k, o, v)),
        4 => any::<u8>().prop_map(Step::Delete),
        3 => (any::<u8>(), expiry()).prop_map(|(k, e)| Step::Expire(k, e)),
        1 => (0..40u8).prop_map(|n| if n == 0 { Step::Flush } else { Step::Delete(n) }),
    ]
}

impl Step {
    fn mutation(&self) -> Mutation {
        let mut builder = MutationBuilder::new();
        match self {
            Step::Set(number, value, expire_at_ms) => {
                builder.push(&Operation::Set { key: &key(*number), value, expire_at_ms: *expire_at_ms });
            }
            Step::SetRange(number, offset, bytes) => {
                builder.push(&Operation::SetRange { key: &key(*number), offset: *offset, bytes });
            }
            Step::Delete(number) => builder.push(&Operation::Delete { key: &key(*number) }),
            Step::Expire(number, expire_at_ms) => {
                builder.push(&Operation::Expire { key: &key(*number), expire_at_ms: *expire_at_ms });
            }
            Step::Flush => builder.push(&Operation::Flush),
        }
        builder.finish().expect("there is an operation")
    }

    fn apply_to(&self, twin: &mut Twin) {
        match self {
            Step::Set(number, value, expire_at_ms) => {
                twin.insert(key(*number), (value.clone(), *expire_at_ms));
            }
            Step::SetRange(number, offset, bytes) => {
                let (value, _) = twin.entry(key(*number)).or_default();
                let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                value.resize(value.len().max(end), 0);
                value[start..end].copy_from_slice(bytes);
            }
            Step::Delete(number) => {
                twin.remove(&key(*number));
            }
            Step::Expire(number, expire_at_ms) => {
                if let Some((_, expiry)) = twin.get_mut(&key(*number)) {
                    *expiry = *expire_at_ms;
                }
            }
            Step::Flush => twin.clear(),
        }
    }
}

fn contents(table: &Table) -> Twin {
    let entries = table.entries_from(0).map(|(_, entry)| {
        let ValueRef::String(value) = entry.value;
        (entry.key.to_vec(), (value.to_vec(), entry.expire_at_ms))
    });
    entries.collect()
}

fn table_of(twin: &Twin) -> Table {
    let mut table = Table::new();
    for (key, (value, expire_at_ms)) in twin {
        table.put(&Entry { key, value: ValueRef::String(value), expire_at_ms: *expire_at_ms });
    }
    table
}

/// Everything that a table says of itself, against its twin.
fn check(table: &Table, twin: &Twin) {
    assert_eq!(&contents(table), twin);
    assert_eq!(table.len(), twin.len());
    let bytes: usize = twin.iter().map(|(key, (value, _))| key.len() + value.len()).sum();
    assert_eq!(table.bytes(), bytes as u64);
    assert_eq!(table.digest(), table.recompute_digest());
    assert_eq!(
        table.digest(),
        table_of(twin).digest(),
        "the digest is that of the state, not of the history"
    );
    assert_eq!(table.next_expiry_ms(), twin.values().filter_map(|(_, expiry)| *expiry).min());
    let mut due: Vec<_> = twin.iter().filter(|(_, (_, e))| e.is_some_and(|e| e <= 10)).collect();
    due.sort_by_key(|(_, (_, expiry))| *expiry);
    let expired = table.expired(10, usize::MAX);
    assert_eq!(expired.len(), due.len());
    assert!(expired.iter().zip(&due).all(|(key, (_, due))| twin[&key[..]].1 == due.1), "earliest first");
    assert!(table.entries_from(0).map(|(position, _)| position).is_sorted());
    assert!(table.entries_from(0).all(|(position, entry)| position == position_of(entry.key)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_table_holds_what_its_twin_holds(steps in proptest::collection::vec(step(), 1..300)) {
        let (mut table, mut twin) = (Table::new(), Twin::new());
        for step in &steps {
            prop_assert_eq!(table.apply(&step.mutation()), Ok(()));
            step.apply_to(&mut twin);
        }
        check(&table, &twin);
        for number in 0..=u8::MAX {
            let entry = table.get(&key(number)).map(|entry| (entry.value, entry.expire_at_ms));
            let expected = twin.get(&key(number)).map(|(value, expiry)| (ValueRef::String(value), *expiry));
            prop_assert_eq!(entry, expected);
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
            table.apply(&step.mutation()).unwrap();
            step.apply_to(&mut twin);
        }
        let mut inverses = Vec::new();
        for step in &undone {
            let mutation = step.mutation();
            inverses.push(table.inverse_of(&mutation).unwrap());
            table.apply(&mutation).unwrap();
        }
        for inverse in inverses.into_iter().rev().flatten() {
            table.apply(&inverse).unwrap();
        }
        check(&table, &twin);
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
            prop_assert_eq!(table.apply(&step.mutation()), Ok(()));
            step.apply_to(&mut twin);
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
            // Expire is made only for keys that are there: see `mutation`.
            if matches!(step, Step::Expire(number, _) if !twin.contains_key(&key(*number))) {
                continue;
            }
            prop_assert_eq!(table.apply(&step.mutation()), Ok(()));
            step.apply_to(&mut twin);
            log.push(step.mutation());
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
            prop_assert_eq!(lower.apply(&step.mutation()), Ok(()));
            step.apply_to(&mut twin);
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
                Step::Set(number, ..) | Step::SetRange(number, ..) | Step::Delete(number) | Step::Expire(number, _) => {
                    usize::from(key_slot(&key(*number)) >= first)
                }
                Step::Flush => 0,
            };
            let table = if side == 0 { &mut lower } else { &mut upper };
            prop_assert_eq!(table.apply(&step.mutation()), Ok(()));
            step.apply_to(&mut twins[side]);
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
