//! The laws: replicas that applied the same mutations are the same, in whichever order they came as long as causes came before
//! effects; and they hold what the specification says. One suite for all facets, since all are made of the same elements.
//!
//! The specification (in the style of Burckhardt et al., POPL 2014) looks at all mutations of a run and at which of them had been applied
//! where each was made, and at no state at all: a version is there if nobody who had seen it put or removed the element, and an addition
//! counts if nobody who had seen it did.

use std::collections::BTreeMap;

use bytes::BytesMut;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::element::{Fault, fault};
use super::*;
use bytes::Bytes;

const REPLICAS: usize = 3;

/// What a client does at a replica.
#[derive(Clone, Debug)]
enum Act {
    Put(u8, Facet, u8),
    Remove(u8, Facet, u8),
    Clear(u8),
    Add(u8, Facet, u8, i64),
    /// Puts a string in the place of all that is there.
    Set(u8),
    /// Removes, then puts, then adds twice, in one mutation.
    Several(u8, Facet, u8, i64),
    Expire(u8, u64),
    /// Puts, then clears, then puts something else, in one mutation.
    Undone(u8, Facet, u8),
}

#[derive(Clone, Debug)]
enum Step {
    Act(usize, Act),
    /// The next mutation of one replica comes to another, if it may be applied there.
    Deliver(usize, usize),
    /// One replica takes over what another one has, folded from so many mutations before where it has to be.
    Repair(usize, usize, usize),
}

#[derive(Debug, Default)]
struct Replica {
    table: MergedTable,
    vector: VersionVector,
    /// All that was applied, in order, as it is folded.
    log: Vec<(Vec<fold::Step>, VersionVector)>,
    /// How many of each replica's mutations have come.
    taken: [usize; REPLICAS],
    clock: u64,
}

#[derive(Debug, Default)]
struct World {
    replicas: [Replica; REPLICAS],
    /// What each replica made, in order.
    made: [Vec<Merge>; REPLICAS],
}

fn origin(replica: usize) -> u64 {
    100 + replica as u64
}

fn key(number: u8) -> Bytes {
    Bytes::from(format!("k{number}"))
}

fn name(facet: Facet, number: u8) -> Bytes {
    match facet {
        Facet::String | Facet::Expiry => Bytes::new(),
        Facet::List => Bytes::copy_from_slice(&u64::from(number).to_be_bytes()),
        _ => Bytes::from(format!("n{number}")),
    }
}

fn value(facet: Facet, dot: Dot) -> Bytes {
    match facet {
        Facet::Set => Bytes::new(),
        Facet::SortedSet => Bytes::copy_from_slice(&crate::collection::score::encode(dot.counter as f64)),
        _ => Bytes::from(format!("v{}.{}", dot.origin, dot.counter)),
    }
}

impl Replica {
    fn apply(&mut self, merge: &Merge) {
        self.table.apply(merge);
        self.vector.raise(merge.dot.origin, merge.dot.counter);
        self.log.push((fold::Step::all_of(merge.clone()).collect(), self.vector.clone()));
    }
}

impl World {
    fn act(&mut self, at: usize, act: &Act) {
        let replica = &mut self.replicas[at];
        let dot = Dot { origin: origin(at), counter: self.made[at].len() as u64 + 1 };
        // Clocks that stand still and run apart: causes must win all the same.
        replica.clock += u64::from(dot.counter.is_multiple_of(3));
        let time = HybridTime { ms: replica.clock * (1 + at as u64), logical: 0 };
        let seen = |key: u8, facet: Facet, number: u8| {
            replica.table.element(&super::tests::key(key), facet, &name(facet, number)).seen()
        };
        let put = |k: u8, facet: Facet, n: u8, value: Bytes| Change::Put {
            key: key(k),
            facet,
            name: name(facet, n),
            value,
            seen: seen(k, facet, n),
        };
        let changes = match *act {
            Act::Put(k, facet, n) => vec![put(k, facet, n, value(facet, dot))],
            Act::Remove(k, facet, n) => {
                let seen = seen(k, facet, n);
                vec![Change::Remove { key: key(k), facet, name: name(facet, n), seen }]
            }
            Act::Clear(k) => vec![clear(&replica.table, k)],
            Act::Set(k) => {
                let (key, facet, value) = (key(k), Facet::String, value(Facet::String, dot));
                let put = Change::Put { key, facet, name: Bytes::new(), value, seen: Vec::new() };
                vec![clear(&replica.table, k), put]
            }
            Act::Add(k, facet, n, amount) => {
                let element = replica.table.element(&key(k), facet, &name(facet, n));
                let addition = element.addition(dot.origin, dot.counter, i128::from(amount));
                vec![Change::Add { key: key(k), facet, name: name(facet, n), addition }]
            }
            Act::Several(k, facet, n, amount) => {
                let first = put(k, facet, n, value(facet, Dot::default()));
                let mut element = Element::default();
                let one = element.addition(dot.origin, dot.counter, i128::from(amount));
                element.add(dot, &one);
                let two = element.addition(dot.origin, dot.counter, 1);
                let add = |addition| Change::Add { key: key(k), facet, name: name(facet, n), addition };
                vec![clear(&replica.table, k), first, put(k, facet, n, value(facet, dot)), add(one), add(two)]
            }
            Act::Undone(k, facet, n) => {
                let (one, other) = (value(facet, dot), value(facet, dot));
                vec![put(k, facet, n, one), clear(&replica.table, k), put(k, facet, n + 1, other)]
            }
            Act::Expire(k, at_ms) => {
                vec![put(k, Facet::Expiry, 0, Bytes::copy_from_slice(&at_ms.to_le_bytes()))]
            }
        };
        let merge = Merge { dot, time, vector: replica.vector.clone(), changes };
        assert_eq!(Merge::decode(&merge.encode()), Ok(merge.clone()));
        replica.apply(&merge);
        replica.taken[at] += 1;
        self.made[at].push(merge);
    }

    /// Says whether something was applied.
    fn deliver(&mut self, from: usize, to: usize) -> bool {
        let replica = &mut self.replicas[to];
        let Some(merge) = self.made[from].get(replica.taken[from]) else { return false };
        if !replica.vector.includes(&merge.vector) {
            return false;
        }
        replica.apply(merge);
        replica.taken[from] += 1;
        true
    }

    fn repair(&mut self, from: usize, to: usize, earlier: usize) {
        let (giver, taker) = (&self.replicas[from], &self.replicas[to]);
        let before = |place: usize| match place {
            0 => VersionVector::new(),
            place => giver.log[place - 1].1.clone(),
        };
        let place = (0..=giver.log.len()).rev().find(|place| taker.vector.includes(&before(*place)));
        let place = place.expect("whoever has nothing may begin at the beginning").saturating_sub(earlier);
        // Of what is kept the older half is folded.
        let (folded, recent) = giver.log[place..].split_at((giver.log.len() - place) / 2);
        let steps_in = |log: &[(Vec<fold::Step>, VersionVector)]| {
            log.iter().flat_map(|(steps, _)| steps).cloned().collect::<Vec<_>>()
        };
        let mut fold = Fold::new();
        steps_in(folded).into_iter().for_each(|step| fold.take_step(step));
        let mut bytes = BytesMut::new();
        fold.for_each(|step| step.write(&mut bytes));
        steps_in(recent).iter().for_each(|step| step.write(&mut bytes));
        let steps = fold::Step::read_all(&bytes.freeze()).expect("well formed");
        let vector = giver.vector.clone();
        let taker = &mut self.replicas[to];
        let known = taker.vector.clone();
        // It keeps all that it has ever applied.
        let others: Vec<fold::Step> = taker.log.iter().flat_map(|(steps, _)| steps).cloned().collect();
        let new = fold::resolve(steps, &taker.table, |_, _| &known, &|| others.clone())
            .expect("it is known who took it away");
        taker.table.apply_steps(&new, |_, _| &known);
        taker.vector.merge(&vector);
        taker.log.push((new, taker.vector.clone()));
        for (replica, taken) in taker.taken.iter_mut().enumerate() {
            *taken = taker.vector.get(origin(replica)) as usize;
        }
    }

    fn deliver_all(&mut self) {
        let mut again = true;
        while again {
            again = false;
            for from in 0..REPLICAS {
                for to in 0..REPLICAS {
                    again |= self.deliver(from, to);
                }
            }
        }
    }

    fn run(steps: &[Step]) -> World {
        let mut world = World::default();
        for step in steps {
            match step {
                Step::Act(at, act) => world.act(*at, act),
                Step::Deliver(from, to) => {
                    world.deliver(*from, *to);
                }
                Step::Repair(from, to, earlier) => {
                    world.repair(*from, *to, *earlier);
                }
            }
        }
        world
    }

    /// What the specification says that a replica holds which has applied `vector`: of each element its versions and its sum.
    fn specified(&self, vector: &VersionVector) -> BTreeMap<(Bytes, Facet, Bytes), (Vec<Dot>, i128)> {
        let all: Vec<&Merge> = self.made.iter().flatten().filter(|merge| vector.covers(merge.dot)).collect();
        let mut specified: BTreeMap<_, (Vec<Dot>, i128)> = BTreeMap::new();
        for merge in &all {
            for (place, change) in merge.changes.iter().enumerate() {
                let (Change::Put { key, facet, name, .. } | Change::Add { key, facet, name, .. }) = change
                else {
                    continue;
                };
                let takes_away = |other: &Change| match other {
                    Change::Put { key: k, facet: f, name: n, .. }
                    | Change::Remove { key: k, facet: f, name: n, .. } => (k, f, n) == (key, facet, name),
                    Change::Clear { key: k, .. } => k == key,
                    Change::Add { .. } => false,
                };
                let was_seen =
                    all.iter().any(|by| by.vector.covers(merge.dot) && by.changes.iter().any(takes_away));
                let was_replaced =
                    matches!(change, Change::Put { .. }) && merge.changes[place + 1..].iter().any(takes_away);
                if was_seen || was_replaced {
                    continue;
                }
                let element = specified.entry((key.clone(), *facet, name.clone())).or_default();
                match change {
                    Change::Add { addition, .. } => element.1 += addition.amount,
                    _ => element.0.push(merge.dot),
                }
            }
        }
        specified
    }

    fn check(&self, replica: &Replica) {
        let mut held = BTreeMap::new();
        let mut keys: Vec<Bytes> =
            replica.table.keys_from(0).map(|(_, key, _)| Bytes::copy_from_slice(key)).collect();
        keys.extend(replica.table.expired(u64::MAX, usize::MAX));
        keys.extend((0..3).map(key));
        keys.sort();
        keys.dedup();
        for key in keys {
            for (facet, name, element) in replica.table.elements(&key) {
                assert!(!element.is_absent());
                let dots: Vec<Dot> = element.versions().iter().map(|version| version.dot).collect();
                held.insert((key.clone(), facet, name), (dots, element.sum()));
            }
            let latest = replica.table.element(&key, Facet::Expiry, b"");
            let latest = latest.versions().iter().map(|version| table::deadline(&version.value)).max();
            let shown = replica.table.expire_at_ms(&key);
            assert_eq!(shown, latest.filter(|&at_ms| at_ms != table::NEVER));
        }
        let mut specified = self.specified(&replica.vector);
        specified.values_mut().for_each(|(dots, _)| dots.sort());
        assert_eq!(held, specified);
        assert_eq!(replica.table.digest(), replica.table.recompute_digest());
    }
}

fn clear(table: &MergedTable, k: u8) -> Change {
    let elements = table.elements(&key(k)).into_iter();
    let seen = elements.filter(|(_, _, element)| element.has_parts());
    Change::Clear {
        key: key(k),
        seen: seen.map(|(facet, name, element)| (facet, name, element.seen())).collect(),
    }
}

fn acts() -> impl Strategy<Value = Act> {
    let facet = || {
        prop_oneof![
            Just(Facet::String),
            Just(Facet::Hash),
            Just(Facet::Set),
            Just(Facet::List),
            Just(Facet::SortedSet)
        ]
    };
    prop_oneof![
        4 => (0..3u8, facet(), 0..3u8).prop_map(|(k, f, n)| Act::Put(k, f, n)),
        2 => (0..3u8, facet(), 0..3u8).prop_map(|(k, f, n)| Act::Remove(k, f, n)),
        2 => (0..3u8).prop_map(Act::Clear),
        6 => (0..3u8, facet(), 0..2u8, -5..50i64).prop_map(|(k, f, n, a)| Act::Add(k, f, n, a)),
        1 => (0..3u8, facet(), 0..2u8, -5..50i64).prop_map(|(k, f, n, a)| Act::Several(k, f, n, a)),
        2 => (0..3u8).prop_map(Act::Set),
        1 => (0..3u8, facet(), 0..3u8).prop_map(|(k, f, n)| Act::Undone(k, f, n)),
        1 => (0..3u8, prop_oneof![1..100u64, Just(table::NEVER)]).prop_map(|(k, at)| Act::Expire(k, at)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => (0..REPLICAS, acts()).prop_map(|(at, act)| Step::Act(at, act)),
        2 => (0..REPLICAS, 0..REPLICAS).prop_map(|(from, to)| Step::Deliver(from, to)),
    ];
    proptest::collection::vec(step, 1..120)
}

fn steps_with_repairs() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..REPLICAS, acts()).prop_map(|(at, act)| Step::Act(at, act)),
        6 => (0..REPLICAS, 0..REPLICAS).prop_map(|(from, to)| Step::Deliver(from, to)),
        1 => (0..REPLICAS, 0..REPLICAS, 0..30usize).prop_map(|(from, to, early)| Step::Repair(from, to, early)),
    ];
    proptest::collection::vec(step, 1..160)
}

/// Elements of one key that come as steps are stored together, also where they become too many for one piece, and where some are known.
#[test]
fn what_is_stored_together_is_what_is_stored_alone() {
    const MANY: u64 = 700;
    for facet in [Facet::Hash, Facet::Set, Facet::SortedSet, Facet::List] {
        let name = |number: u64| match facet {
            Facet::List => Bytes::copy_from_slice(&number.to_be_bytes()),
            _ => Bytes::from(format!("n{number:05}")),
        };
        let (mut alone, mut together) = (MergedTable::new(), MergedTable::new());
        let (mut steps, mut known, mut lengths) = (Vec::new(), VersionVector::new(), Vec::new());
        for counter in 1..=3 * MANY {
            let dot = Dot { origin: 7, counter };
            let (key, name) = (Bytes::from("k1"), name(counter % MANY));
            let change = match counter / MANY {
                0 => Change::Put { key, facet, name, value: value(facet, dot), seen: Vec::new() },
                1 if matches!(facet, Facet::Hash | Facet::SortedSet) => {
                    let addition = Addition { first: counter, before: 0, amount: 5, total: 5 };
                    Change::Add { key, facet, name, addition }
                }
                1 => Change::Put { key, facet, name, value: value(facet, dot), seen: Vec::new() },
                _ => {
                    let seen = alone.element(&key, facet, &name).seen();
                    Change::Remove { key, facet, name, seen }
                }
            };
            let vector = VersionVector::from_iter([(7, counter - 1)]);
            let merge =
                Merge { dot, time: HybridTime { ms: counter, logical: 0 }, vector, changes: vec![change] };
            alone.apply(&merge);
            if counter <= MANY / 2 {
                together.apply(&merge);
                known.raise(7, counter);
            }
            steps.extend(fold::Step::all_of(merge));
            if counter.is_multiple_of(MANY / 4) || counter == 3 * MANY {
                together.apply_steps(&steps, |_, _| &known);
                assert_eq!(together.digest(), alone.digest(), "{facet:?}, after {counter}");
                assert_eq!(together.digest(), together.recompute_digest(), "{facet:?}, after {counter}");
                known.raise(7, counter);
                steps.clear();
                lengths.push(together.elements(b"k1").len());
            }
        }
        assert!(lengths.iter().any(|length| *length > 600) && together.is_empty(), "{facet:?}: {lengths:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// At every moment each replica holds what the specification says of what it has applied; so those that have applied the same hold
    /// the same.
    #[test]
    fn replicas_hold_what_is_specified(steps in steps()) {
        let mut world = World::run(&steps);
        world.replicas.iter().for_each(|replica| world.check(replica));
        world.deliver_all();
        world.replicas.iter().for_each(|replica| world.check(replica));
        let digests = world.replicas.each_ref().map(|replica| replica.table.digest());
        prop_assert!(digests.iter().all(|digest| *digest == digests[0]), "the bytes are the same, too");
    }

    /// `SET` of a key that holds a plain string, or nothing, is prepared without reading its elements; and comes to the same.
    #[test]
    fn what_is_set_quickly_is_set_as_ever(steps in steps()) {
        let world = World::run(&steps);
        for replica in &world.replicas {
            for k in 0..4 {
                let dot = Dot { origin: 100, counter: 1 << 20 };
                prop_assert_eq!(prepare::set(&replica.table, dot, &key(k), true), prepare::set(&replica.table, dot, &key(k), false));
            }
        }
    }

    /// The same if replicas take over what others have as a fold of it.
    #[test]
    fn a_fold_stands_for_the_mutations_in_it(steps in steps_with_repairs(), last in 0..REPLICAS) {
        let mut world = World::run(&steps);
        world.replicas.iter().for_each(|replica| world.check(replica));
        for other in 0..REPLICAS {
            world.repair(other, last, 0);
        }
        world.replicas.iter().for_each(|replica| world.check(replica));
        world.deliver_all();
        world.replicas.iter().for_each(|replica| world.check(replica));
        let digests = world.replicas.each_ref().map(|replica| replica.table.digest());
        prop_assert!(digests.iter().all(|digest| *digest == digests[0]), "the bytes are the same, too");
    }

    /// A replica that begins with the state of another one goes on as if it had applied all of it itself.
    #[test]
    fn a_state_stands_for_all_that_made_it(before in steps(), after in steps(), giver in 0..REPLICAS, taker in 0..REPLICAS) {
        let mut world = World::run(&before);
        if giver != taker {
            // What the taker made is not to be lost: the giver has all of it.
            world.deliver_all();
            let mut table = MergedTable::new();
            let mut next = Some((Facet::String, 0));
            while let Some(from) = next {
                let mut slice = BytesMut::new();
                next = world.replicas[giver].table.slice(from, 20, &mut slice);
                prop_assert_eq!(table.load(from.0, &slice), Ok(()));
            }
            world.replicas[taker].table = table;
        }
        for step in &after {
            match step {
                Step::Act(at, act) => world.act(*at, act),
                Step::Deliver(from, to) | Step::Repair(from, to, _) => {
                    world.deliver(*from, *to);
                }
            }
        }
        world.deliver_all();
        world.replicas.iter().for_each(|replica| world.check(replica));
    }

    #[test]
    fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(0..8u8, 0..60)) {
        let _ = Merge::decode(&Bytes::from(bytes.clone()));
        let _ = Element::read(&bytes);
    }
}

/// Does any of many random histories show the fault?
fn finds(planted: Fault) -> bool {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    (0..4000).any(|_| {
        let steps = steps().new_tree(&mut runner).expect("steps").current();
        std::panic::catch_unwind(|| {
            fault::plant(Some(planted));
            let mut world = World::run(&steps);
            world.replicas.iter().for_each(|replica| world.check(replica));
            world.deliver_all();
            world.replicas.iter().for_each(|replica| world.check(replica));
        })
        .is_err()
    })
}

#[test]
fn every_planted_fault_is_found() {
    for planted in [
        Fault::RemovedWithoutContext,
        Fault::NothingReplaced,
        Fault::PartDroppedWhole,
        Fault::FirstForgotten,
        Fault::FloorLowered,
        Fault::FloorForgotten,
        Fault::AddedTwice,
    ] {
        let found = finds(planted);
        fault::plant(None);
        assert!(found, "{planted:?} was not found");
    }
}

#[test]
fn fixtures_of_version_1() {
    let merge = Merge {
        dot: Dot { origin: 7, counter: 300 },
        time: HybridTime { ms: 5, logical: 1 },
        vector: [(7, 299), (9, 2)].into_iter().collect(),
        changes: vec![
            Change::Put {
                key: Bytes::from("k"),
                facet: Facet::Hash,
                name: Bytes::from("f"),
                value: Bytes::from("v"),
                seen: vec![Seen { origin: 9, last: 2, total: -3 }],
            },
            Change::Clear { key: Bytes::from("c"), seen: vec![(Facet::String, Bytes::new(), Vec::new())] },
            Change::Add {
                key: Bytes::from("n"),
                facet: Facet::String,
                name: Bytes::new(),
                addition: Addition { first: 3, before: 0, amount: 1, total: 1 << 70 },
            },
        ],
    };
    let bytes =
        b"\x01\x07\xac\x02\x05\x01\x02\x07\xab\x02\x09\x02\x01\x01k\x01\x01f\x01v\x01\x09\x02\x05\x00\
        \x03\x01c\x01\x00\x00\x00\x04\x01n\x00\x00\x03\x00\x02\x00\x00\x80\x01";
    assert_eq!(merge.encode(), &bytes[..]);
    assert_eq!(Merge::decode(&merge.encode()), Ok(merge));
}

/// An element that was put and added to on both sides of a removal.
#[test]
fn what_was_added_meanwhile_counts_and_nothing_else() {
    let mut world = World::default();
    world.act(0, &Act::Add(0, Facet::String, 0, 5));
    world.deliver_all();
    world.act(1, &Act::Clear(0));
    world.act(0, &Act::Add(0, Facet::String, 0, 1));
    world.act(2, &Act::Clear(0));
    world.deliver_all();
    for replica in &world.replicas {
        world.check(replica);
        assert_eq!(replica.table.element(b"k0", Facet::String, b"").sum(), 1);
    }
}
