//! Trees and packed runs against a plain twin.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn names() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0..200u32).prop_map(|number| format!("name:{number:04}").into_bytes()),
        2 => proptest::collection::vec(any::<u8>(), 0..4),
        1 => (0..10u8).prop_map(|number| vec![number; 700]),
    ]
}

/// The same of many elements: `(name, Some(value))` sets, `(name, None)` removes.
fn steps() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
    let value = prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..30),
        1 => (any::<u8>(), 500..4000usize).prop_map(|(byte, length)| vec![byte; length]),
    ];
    proptest::collection::vec((names(), proptest::option::weighted(0.65, value)), 1..400)
}

fn check(tree: &Tree, twin: &BTreeMap<Vec<u8>, Vec<u8>>, order: Order) {
    assert_eq!(tree.len(), twin.len());
    assert_eq!(tree.bytes(), tree.blocks().map(<[u8]>::len).sum::<usize>());
    let mut all: Vec<_> =
        tree.iter_from(0).map(|element| (element.name.to_vec(), element.value.to_vec())).collect();
    let mut back: Vec<_> = tree.iter_back_from(usize::MAX).map(|element| element.name.to_vec()).collect();
    back.reverse();
    assert!(all.iter().map(|(name, _)| name).eq(&back));
    for (rank, (name, value)) in all.iter().enumerate() {
        assert_eq!(tree.get(name), Some(&value[..]));
        assert_eq!(tree.at(rank).map(|element| element.name), Some(&name[..]));
        if rank % 16 == 0 {
            assert_eq!(tree.iter_from(rank).next().map(|element| element.name), Some(&name[..]));
            assert_eq!(tree.iter_back_from(rank).next().map(|element| element.name), Some(&name[..]));
        }
        if order == Order::ByName {
            assert_eq!(tree.rank_of(name), rank);
            assert_eq!(tree.iter_at(name).next().map(|element| element.name), Some(&name[..]));
            let before = tree.iter_back_before(name).next().map(|element| element.name);
            assert_eq!(before, rank.checked_sub(1).map(|rank| &all[rank].0[..]));
        }
    }
    assert!(tree.at(all.len()).is_none() && tree.iter_from(all.len()).next().is_none());
    if order == Order::ByHash {
        let (mut seen, mut next) = (0, Some(0));
        while let Some(rank) = next {
            let (run, following) = tree.run_from(rank);
            seen += run.count();
            next = following;
        }
        assert_eq!(seen, all.len());
        all.sort_unstable();
    }
    assert!(all.iter().map(|(name, value)| (name, value)).eq(twin.iter()));
}

proptest! {
    #[test]
    fn trees_hold_what_was_put(steps in steps(), by_name in any::<bool>()) {
        let order = if by_name { Order::ByName } else { Order::ByHash };
        let (mut tree, mut twin) = (Tree::new(order), BTreeMap::new());
        for (index, (name, value)) in steps.iter().enumerate() {
            let (before, known) = match value {
                Some(value) => (tree.set(name, value), twin.insert(name.clone(), value.clone())),
                None => (tree.remove(name), twin.remove(name)),
            };
            prop_assert_eq!(before, known);
            if index % 37 == 0 {
                check(&tree, &twin, order);
            }
        }
        check(&tree, &twin, order);
        for name in twin.keys().cloned().collect::<Vec<_>>() {
            tree.remove(&name);
        }
        check(&tree, &BTreeMap::new(), order);
    }

    #[test]
    fn runs_hold_what_was_put(steps in steps(), by_name in any::<bool>()) {
        let order = if by_name { Order::ByName } else { Order::ByHash };
        let (mut run, mut twin) = (Vec::new(), BTreeMap::new());
        for (name, value) in &steps {
            let place = block::find(&run, name, order);
            prop_assert_eq!(place.is_there(), twin.contains_key(name));
            match value {
                Some(value) => {
                    block::put(&mut run, place, &Element { name, value });
                    twin.insert(name.clone(), value.clone());
                }
                None => {
                    block::take(&mut run, place);
                    twin.remove(name);
                }
            }
            prop_assert_eq!(block::get(&run, name), value.as_deref());
        }
        let mut all: Vec<_> = block::elements(&run).map(|e| (e.name.to_vec(), e.value.to_vec())).collect();
        if !by_name {
            all.sort_unstable();
        }
        prop_assert!(all.into_iter().eq(twin));
        prop_assert_eq!(block::pieces(&run).map(<[u8]>::len).sum::<usize>(), run.len());
    }
}

/// A queue of a million, and one that is pushed to the front: the runs are full.
#[test]
fn queues_fill_their_runs() {
    for to_front in [false, true] {
        let mut tree = Tree::new(Order::ByName);
        let mut at = position::first();
        for _ in 0..20_000 {
            tree.set(&at, b"0123456789");
            at = if to_front { position::before(&at) } else { position::after(&at) };
        }
        assert!(tree.runs() < tree.bytes() / 1300, "{} runs for {} bytes", tree.runs(), tree.bytes());
        for _ in 0..19_000 {
            let first = tree.at(0).map(|element| element.name.to_vec()).expect("there are more");
            tree.remove(&first);
        }
        assert!(tree.runs() < 40, "{} runs for a thousand elements", tree.runs());
    }
}

/// Elements that came another way, in another order, packed or not, have the same digest.
#[test]
fn digests_depend_on_the_content_alone() {
    let element = |number: u32| (format!("f{number}").into_bytes(), vec![number as u8; 20]);
    let (mut one, mut other, mut packed) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..30 {
        let (name, value) = element(number);
        Element { name: &name, value: &value }.write(&mut one);
        let (name, value) = element(29 - number);
        Element { name: &name, value: &value }.write(&mut other);
        let (name, value) = element((number * 7) % 30);
        Element { name: &name, value: &value }.write(&mut packed);
    }
    let tree =
        |key: &[u8], run: &[u8]| Collection::new(key, Kind::Hash, CollectionRef::packed(Kind::Hash, run));
    let (one, other) = (tree(b"k", &one), tree(b"k", &other));
    let packed = CollectionRef::packed(Kind::Hash, &packed);
    assert_eq!(one.digest, other.digest);
    assert_eq!(one.digest, packed.elements_digest(b"k"));
    assert_ne!(one.digest, packed.elements_digest(b"another"));
    assert_eq!(one.as_ref(), packed);
    let mut content = Vec::new();
    one.as_ref().write_content(&mut content);
    assert_eq!(content.len(), one.bytes());
    assert_eq!(CollectionRef::packed(Kind::Hash, &content), packed);
}

#[test]
fn a_sorted_set_stands_by_score() {
    let mut members = Collection::new(b"k", Kind::SortedSet, CollectionRef::packed(Kind::SortedSet, b""));
    for number in 0..500u32 {
        members.set(format!("m{number}").as_bytes(), &score::encode(f64::from(number % 50)));
    }
    for number in 0..250u32 {
        members.set(format!("m{number}").as_bytes(), &score::encode(-f64::from(number)));
    }
    for number in 400..450u32 {
        members.remove(format!("m{number}").as_bytes());
    }
    let by_score = members.by_score().expect("it is a sorted set");
    assert_eq!((by_score.len(), members.elements().len()), (450, 450));
    let lowest = by_score.at(0).expect("there are some").name;
    assert_eq!((score::decode(&lowest[..8]), &lowest[8..]), (-249.0, &b"m249"[..]));
}

#[test]
fn damaged_content_is_refused() {
    assert!(Kind::Hash.check_content(b"\x01a\x01b\x01c\x00").is_ok());
    for (kind, content) in [
        (Kind::Hash, &b"\x01a\x01b\x01a\x00"[..]),
        (Kind::Hash, b"\x01a\x02b"),
        (Kind::Set, b"\x01a\x01b"),
        (Kind::SortedSet, b"\x01a\x01b"),
        (Kind::List, b"\x01a\x01b"),
        (Kind::List, b"\x0812345678\x01b\x0812345677\x01b"),
    ] {
        assert!(kind.check_content(content).is_err(), "{kind:?} {content:?}");
    }
    assert!(Kind::from_number(0).is_err() && Kind::from_number(5).is_err());
}
