//! What is held for members of a group by a node that has no replica of it.

use data::merged::HybridTime;

use super::*;
use crate::contract::Output;
use crate::primaries::{Conflict, Leaderless, Level, Seat};

const GROUP: PartitionId = PartitionId(1 << 16);
const MEMBERS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

fn at(ms: u64) -> Now {
    Now { time: Time(ms * 1_000_000), wall_ms: 1_000_000 + ms }
}

fn primaries() -> Primaries {
    let options = Leaderless {
        replicas: 3,
        read: Level::Quorum,
        write: Level::Quorum,
        conflict: Conflict::Lww,
        sloppy: true,
    };
    let mut primaries = Primaries::founding_peers(&MEMBERS, (0, 99), options);
    for (node, seat) in &mut primaries.seats {
        *seat = Seat { origin: node.0, joined: true, ..Seat::default() };
    }
    primaries
}

fn hints(hint_bytes: u64, recovered: Recovered) -> Hints {
    let options = Options { hint_bytes, ..Options::new(NodeId(9), 7, 0) };
    let mut hints = Hints::new(options, recovered, GROUP, at(0));
    hints.set_members(&primaries());
    hints
}

fn vector(counters: &[(u64, u64)]) -> VersionVector {
    counters.iter().copied().collect()
}

fn mutation(origin: u64, counter: u64, after: &[(u64, u64)]) -> Bytes {
    let time = HybridTime { ms: 1_000_000, logical: counter as u32 };
    Merge { dot: Dot { origin, counter }, time, vector: vector(after), changes: Vec::new() }.encode()
}

/// What was said to nodes, and what was written.
#[derive(Debug, Default)]
struct Done {
    said: Vec<(NodeId, Message)>,
    events: Vec<causal::Event>,
}

impl Done {
    fn hinted(&self, node: NodeId) -> Option<(VersionVector, bool)> {
        self.said.iter().rev().find_map(|(to, message)| match message {
            Message::Hinted { vector, takes } if *to == node => Some((vector.clone(), *takes)),
            _ => None,
        })
    }

    fn given(&self, node: NodeId) -> Vec<Bytes> {
        let given = self.said.iter().filter_map(|(to, message)| match message {
            Message::Mutations(mutations) if *to == node => Some(mutations.clone()),
            _ => None,
        });
        given.flatten().collect()
    }
}

fn finish(hints: &mut Hints, now: Now) -> Done {
    let mut outbox = Outbox::default();
    hints.finish(now, &mut outbox);
    take(outbox)
}

fn take(outbox: Outbox) -> Done {
    let mut done = Done::default();
    for output in outbox.outputs {
        match output {
            Output::Send { to, message: wire::Message::Causal { partition, message } } => {
                assert_eq!(partition, GROUP);
                done.said.push((to, message));
            }
            Output::Event(Event::Causal { event, .. }) => done.events.push(event),
            other => panic!("{other:?}"),
        }
    }
    done
}

fn receive(hints: &mut Hints, from: NodeId, message: Message, now: Now) -> Done {
    let mut outbox = Outbox::default();
    hints.receive(from, message, now, &mut outbox);
    take(outbox)
}

fn hint(hints: &mut Hints, base: &[(u64, u64)], mutations: Vec<Bytes>, now: Now) {
    receive(hints, MEMBERS[0], Message::Hint { base: vector(base), mutations }, now);
}

/// A member answers what it was asked last.
fn told(hints: &mut Hints, node: NodeId, holds: &[(u64, u64)], now: Now) {
    let round = Round { life: life(7), number: 1 };
    receive(hints, node, Message::Told { round, vector: vector(holds) }, now);
}

#[test]
fn nothing_is_held_before_it_is_durable_nor_without_its_causes() {
    let mut hints = hints(1 << 20, Recovered::nothing(GROUP.of_hints()));
    let base = [(1, 4), (2, 7)];
    // The second comes first.
    hint(&mut hints, &base, vec![mutation(1, 6, &[(1, 5), (2, 7)])], at(1));
    assert_eq!(hints.status().hints, 0);
    hint(&mut hints, &base, vec![mutation(1, 5, &base)], at(2));
    assert_eq!(hints.status().hints, 2);
    let done = finish(&mut hints, at(3));
    assert_eq!(done.hinted(MEMBERS[0]), Some((vector(&base), true)), "it is not durable yet");
    assert_eq!(hints.dots().count(), 0);
    hints.persisted(PersistToken(2));
    let done = finish(&mut hints, at(4));
    assert_eq!(done.hinted(MEMBERS[0]), Some((vector(&[(1, 6), (2, 7)]), true)));
    assert_eq!(hints.dots().count(), 2);
    // Again, and of another origin whose causes are not here.
    hint(&mut hints, &base, vec![mutation(1, 5, &base), mutation(2, 9, &[(2, 8)])], at(5));
    assert_eq!(hints.status().hints, 2);
}

#[test]
fn it_goes_when_all_members_hold_it_and_is_given_to_who_does_not_get_it_elsewhere() {
    let mut hints = hints(1 << 20, Recovered::nothing(GROUP.of_hints()));
    let (one, two) = (mutation(1, 1, &[]), mutation(1, 2, &[(1, 1)]));
    hint(&mut hints, &[], vec![one.clone(), two.clone()], at(0));
    finish(&mut hints, at(0));
    hints.persisted(PersistToken(2));
    let done = finish(&mut hints, at(500));
    assert!(matches!(done.said[..], [.., (_, Message::Ask { .. })]), "{done:?}");
    told(&mut hints, MEMBERS[0], &[(1, 2)], at(501));
    told(&mut hints, MEMBERS[1], &[], at(501));
    assert!(finish(&mut hints, at(502)).given(MEMBERS[1]).is_empty(), "others may be about to");
    told(&mut hints, MEMBERS[1], &[], at(1600));
    assert_eq!(finish(&mut hints, at(1600)).given(MEMBERS[1]), [one.clone(), two.clone()]);
    told(&mut hints, MEMBERS[1], &[(1, 2)], at(1650));
    finish(&mut hints, at(1650));
    assert_eq!(hints.status().hints, 2, "the third has said nothing");
    // A client of the third asks for it.
    let round = Round { life: 1, number: 1 };
    let ask = Message::Ask { round, vector: vector(&[(1, 1)]) };
    let done = receive(&mut hints, MEMBERS[2], ask, at(1700));
    assert_eq!(done.given(MEMBERS[2]), [two]);
    finish(&mut hints, at(1700));
    assert_eq!(hints.status().hints, 2, "what it has applied may not be durable");
    told(&mut hints, MEMBERS[2], &[(1, 2)], at(1800));
    finish(&mut hints, at(1800));
    assert_eq!(hints.status().hints, 0);
    assert!(!hints.is_done(at(1801)));
    finish(&mut hints, at(13_000));
    assert!(hints.is_done(at(25_000)), "nobody counts on it any more");
}

#[test]
fn what_is_too_much_is_not_taken_and_what_was_taken_stays() {
    let bytes = mutation(1, 1, &[]).len() as u64;
    let mut hints = hints(bytes * 3, Recovered::nothing(GROUP.of_hints()));
    let all: Vec<Bytes> = (1..=9).map(|counter| mutation(1, counter, &[(1, counter - 1)][..])).collect();
    hint(&mut hints, &[], all.clone(), at(0));
    finish(&mut hints, at(0));
    hints.persisted(PersistToken(9));
    let done = finish(&mut hints, at(1));
    let (holds, takes) = done.hinted(MEMBERS[0]).expect("an answer");
    assert!(!takes && holds.get(1) < 4, "{holds:?}");
    let held = hints.status().hints;
    assert_eq!(held, holds.get(1));
    hint(&mut hints, &[], all.clone(), at(100_000));
    finish(&mut hints, at(100_000));
    assert_eq!(hints.status().hints, held, "not for its size, and not for its age");
    for node in MEMBERS {
        told(&mut hints, node, &[(1, 9)], at(100_001));
    }
    finish(&mut hints, at(100_001));
    assert_eq!(hints.status().hints, 0);
    hint(&mut hints, &[(1, 9)], vec![mutation(1, 10, &[(1, 9)])], at(100_002));
    let done = finish(&mut hints, at(100_002));
    assert_eq!(done.hinted(MEMBERS[0]).map(|(_, takes)| takes), Some(true), "there is room again");
    hints.set_refusing(true);
    hint(&mut hints, &[(1, 9)], vec![mutation(1, 11, &[(1, 10)])], at(100_003));
    assert_eq!(hints.status().hints, 1, "the node is to go");
}

#[test]
fn what_was_held_is_held_after_a_start() {
    let entry = |index: u64, payload: Bytes| Entry { index, term: TERM, kind: EntryKind::Normal, payload };
    let entries = vec![entry(1, mutation(1, 5, &[(1, 4)])), entry(2, mutation(2, 8, &[(1, 5), (2, 7)]))];
    let recovered = Recovered { entries, ..Recovered::nothing(GROUP.of_hints()) };
    let mut hints = hints(1 << 20, recovered);
    assert_eq!(hints.dots().count(), 2);
    hint(&mut hints, &[(1, 4)], vec![mutation(1, 6, &[(1, 5)])], at(1));
    let done = finish(&mut hints, at(2));
    assert_eq!(done.hinted(MEMBERS[0]), Some((vector(&[(1, 5), (2, 8)]), true)));
    assert_eq!(hints.status().hints, 3);
}
