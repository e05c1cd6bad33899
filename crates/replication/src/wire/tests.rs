//! Every message survives its bytes; old bytes stay readable; other bytes are refused.

use bytes::{Bytes, BytesMut};
use data::merged::{Facet, HybridTime, VersionVector};
use proptest::prelude::*;

use super::{Message, SnapshotAck, SnapshotChunk, decode, encode};
use crate::configuration::{Acknowledgement, Ask, Wish};
use crate::merged::causal::{self, Round, state};
use crate::ordered::raft::{self, Entry, EntryKind, Membership, SnapshotMeta};
use crate::random::Random;
use crate::{NodeId, PartitionId};

fn encoded(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    encode(message, &mut out);
    out.freeze()
}

/// Numbers as they occur: small ones, and some near the limit.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..300, 0u64..(1 << 60)]
}

fn payload() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![Just(EntryKind::Noop), Just(EntryKind::Normal), Just(EntryKind::Membership)];
    (number(), kind, payload()).prop_map(|(term, kind, payload)| Entry { index: 0, term, kind, payload })
}

fn append() -> impl Strategy<Value = raft::Message> {
    let numbers = (number(), number(), number(), number(), number(), prop_oneof![Just(0), number()]);
    (numbers, prop::collection::vec(entry(), 0..5)).prop_map(
        |((term, round, prev_index, prev_term, commit, admitted), mut entries)| {
            for (entry, index) in entries.iter_mut().zip(prev_index + 1..) {
                entry.index = index;
            }
            raft::Message::Append { term, round, prev_index, prev_term, commit, admitted, entries }
        },
    )
}

fn consensus() -> impl Strategy<Value = raft::Message> {
    use raft::Message as M;
    let term = number;
    let plain = prop_oneof![
        term().prop_map(|term| M::PreVoteGranted { term }),
        term().prop_map(|term| M::VoteGranted { term }),
        term().prop_map(|term| M::TimeoutNow { term }),
        term().prop_map(|term| M::Stale { term }),
        term().prop_map(|term| M::Wake { term }),
        (term(), number()).prop_map(|(term, index)| M::Removed { term, index }),
        (term(), number()).prop_map(|(term, commit)| M::Commit { term, commit }),
        (term(), number()).prop_map(|(term, batch)| M::ReadIndex { term, batch }),
    ];
    let votes = (term(), number(), number(), any::<bool>(), any::<bool>()).prop_map(
        |(term, last_index, last_term, pre, transfer)| {
            if pre {
                M::PreVote { term, last_index, last_term }
            } else {
                M::Vote { term, last_index, last_term, transfer }
            }
        },
    );
    let answers = prop_oneof![
        (term(), number(), number(), number()).prop_map(|(term, round, match_index, version)| {
            M::AppendOk { term, round, match_index, version }
        }),
        (term(), number(), number(), number()).prop_map(|(term, round, index, version)| M::Held {
            term,
            round,
            index,
            version
        }),
        (term(), number(), number()).prop_map(|(term, batch, index)| M::ReadIndexOk { term, batch, index }),
        (term(), number(), number(), any::<bool>()).prop_map(|(term, round, commit, quiet)| M::Heartbeat {
            term,
            round,
            commit,
            quiet
        }),
        (term(), number(), number(), any::<bool>(), any::<bool>()).prop_map(
            |(term, round, commit, quiet, disk_full)| M::HeartbeatOk {
                term,
                round,
                commit,
                quiet,
                disk_full
            }
        ),
        (term(), number(), number(), number(), number(), any::<bool>()).prop_map(
            |(term, round, prev_index, hint_index, hint_term, disk_full)| M::AppendReject {
                term,
                round,
                prev_index,
                hint_index,
                hint_term,
                disk_full
            }
        ),
    ];
    prop_oneof![plain, votes, answers, append()]
}

fn nodes() -> impl Strategy<Value = Vec<NodeId>> {
    prop::collection::vec(any::<u64>().prop_map(NodeId), 0..4)
}

fn meta() -> impl Strategy<Value = SnapshotMeta> {
    (number(), number(), nodes(), nodes(), nodes(), number()).prop_map(
        |(index, term, voters, outgoing, learners, exact_at)| SnapshotMeta {
            index,
            term,
            membership: Membership { voters, outgoing, learners },
            exact_at,
            terms: Vec::new(),
        },
    )
}

fn partition() -> impl Strategy<Value = PartitionId> {
    any::<u32>().prop_map(PartitionId)
}

fn wish() -> impl Strategy<Value = Wish> {
    let node = || any::<u64>().prop_map(NodeId);
    prop_oneof![
        Just(Wish::Suspect),
        nodes().prop_map(Wish::Remove),
        node().prop_map(Wish::Admit),
        node().prop_map(Wish::Appoint),
        Just(Wish::Renew),
        (0u32..3).prop_map(|rank| Wish::Confirm(Acknowledgement::of_rank(rank))),
        node().prop_map(Wish::Settled),
        node().prop_map(Wish::Eject),
        Just(Wish::Leave),
        Just(Wish::Return),
        Just(Wish::Join),
        Just(Wish::Known),
        any::<u32>().prop_map(Wish::Heat),
        Just(Wish::Ready),
        any::<(u8, u8)>().prop_map(|(lane, lanes)| Wish::Release { lane, lanes }),
    ]
}

fn round() -> impl Strategy<Value = Round> {
    any::<(u64, u64)>().prop_map(|(life, number)| Round { life, number })
}

fn vector() -> impl Strategy<Value = VersionVector> {
    prop::collection::vec((1..9u64, number()), 0..4).prop_map(|counters| counters.into_iter().collect())
}

fn cursor() -> impl Strategy<Value = state::Cursor> {
    (prop::sample::select(Facet::ALL.to_vec()), any::<u64>())
}

fn causal() -> impl Strategy<Value = causal::Message> {
    use causal::{Body, Holds, Message as M, Range, Want, What};
    let what = prop_oneof![
        (any::<u64>(), any::<u32>()).prop_map(|(list, have)| What::Steps { list, have }),
        cursor().prop_map(|from| What::State { from }),
    ];
    let time = (any::<u64>(), any::<u32>()).prop_map(|(ms, logical)| HybridTime { ms, logical });
    let body = prop_oneof![
        (any::<u64>(), any::<(u32, u32)>(), vector(), payload()).prop_map(
            |(list, (number, of), vector, bytes)| { Body::Steps { list, number, of, vector, bytes } }
        ),
        (cursor(), prop::option::of(cursor()), vector(), time, payload()).prop_map(
            |(from, next, vector, latest, bytes)| Body::Slice { from, next, vector, latest, bytes }
        ),
        Just(Body::Gone),
    ];
    prop_oneof![
        prop::collection::vec(payload(), 0..4).prop_map(M::Mutations),
        ((vector(), vector(), vector()), any::<Option<u128>>(), number()).prop_map(
            |((vector, base, folded), digest, knows)| M::Holds(Holds { vector, base, folded, digest, knows })
        ),
        (any::<u64>(), vector(), what).prop_map(|(id, vector, what)| M::Want(Want { id, vector, what })),
        (any::<u64>(), body).prop_map(|(id, body)| M::Piece { id, body }),
        (any::<u64>(), cursor(), any::<Option<u64>>(), vector(), any::<u128>()).prop_map(
            |(round, (_, from), to, vector, digest)| M::Range(Range { round, from, to, vector, digest })
        ),
        (any::<u64>(), any::<u128>()).prop_map(|(round, digest)| M::RangeIs { round, digest }),
        any::<u64>().prop_map(|round| M::Rebuild { round }),
        (round(), vector()).prop_map(|(round, vector)| M::Ask { round, vector }),
        (round(), vector()).prop_map(|(round, vector)| M::Told { round, vector }),
        (payload(), any::<i128>()).prop_map(|(key, amount)| M::Rights { key, amount }),
        (vector(), prop::collection::vec(payload(), 0..4))
            .prop_map(|(base, mutations)| M::Hint { base, mutations }),
        (vector(), any::<bool>()).prop_map(|(vector, takes)| M::Hinted { vector, takes }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (partition(), causal()).prop_map(|(partition, message)| Message::Causal { partition, message }),
        (partition(), consensus()).prop_map(|(partition, message)| Message::Raft { partition, message }),
        prop::collection::vec((partition(), consensus()), 0..5).prop_map(Message::Many),
        Just(Message::Alive),
        (partition(), any::<u64>(), number(), number(), any::<(u32, u32)>(), payload()).prop_map(
            |(partition, receiver_incarnation, sequence, generation, (deadline_ms, layout), call)| {
                Message::Forward {
                    partition,
                    receiver_incarnation,
                    sequence,
                    generation,
                    deadline_ms,
                    layout,
                    call,
                }
            }
        ),
        (number(), any::<u64>(), any::<u8>(), payload(), payload()).prop_map(
            |(sequence, sender_incarnation, outcome, value, seen)| Message::Forwarded {
                sequence,
                sender_incarnation,
                outcome,
                value,
                seen
            }
        ),
        (partition(), number(), meta(), any::<u64>(), any::<Option<u64>>(), payload()).prop_map(
            |(partition, term, meta, from, next, bytes)| Message::SnapshotChunk(SnapshotChunk {
                partition,
                term,
                meta,
                from,
                next,
                bytes
            })
        ),
        (partition(), number(), number(), any::<Option<u64>>()).prop_map(|(partition, term, index, next)| {
            Message::SnapshotAck(SnapshotAck { partition, term, index, next })
        }),
        (partition(), number(), any::<u128>()).prop_map(|(partition, index, digest)| Message::Digest {
            partition,
            index,
            digest
        }),
        (partition(), number(), any::<u64>(), wish()).prop_map(|(partition, version, from, wish)| {
            Message::Ask(Ask { partition, version, from: NodeId(from), wish })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn survives_its_bytes(message in message()) {
        prop_assert_eq!(decode(encoded(&message)), Ok(message));
    }

    /// Nothing that is cut off anywhere passes for a whole message.
    #[test]
    fn cut_off_is_refused(message in message(), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&message);
        let cut = cut.index(bytes.len());
        if let (Ok(other), false) = (decode(bytes.slice(..cut)), matches!(message, Message::Many(_))) {
            prop_assert!(false, "{other:?} from {cut} of {} bytes of {message:?}", bytes.len());
        }
    }
}

/// One message of each kind, with its bytes in version 1. A change of format adds a version and keeps these.
fn fixtures() -> Vec<(Message, &'static str)> {
    use raft::Message as M;
    let raft = |message| Message::Raft { partition: PartitionId(300), message };
    let ask = |wish| {
        Message::Ask(Ask { partition: PartitionId::of_keyspace(1, 1), version: 9, from: NodeId(7), wish })
    };
    let entry = |index, kind, payload: &'static [u8]| Entry {
        index,
        term: 2,
        kind,
        payload: Bytes::from_static(payload),
    };
    let entries = vec![entry(11, EntryKind::Noop, b""), entry(12, EntryKind::Normal, b"abc")];
    let meta = SnapshotMeta {
        index: 9,
        term: 2,
        membership: Membership {
            voters: vec![NodeId(1), NodeId(2)],
            outgoing: vec![],
            learners: vec![NodeId(u64::MAX)],
        },
        exact_at: 200,
        terms: Vec::new(),
    };
    vec![
        (raft(M::PreVote { term: 3, last_index: 12, last_term: 2 }), "0101ac0201030c02"),
        (raft(M::PreVoteGranted { term: 3 }), "0101ac020203"),
        (raft(M::Vote { term: 3, last_index: 12, last_term: 2, transfer: true }), "0101ac0203030c0201"),
        (raft(M::VoteGranted { term: 3 }), "0101ac020403"),
        (
            raft(M::Append {
                term: 3,
                round: 500,
                prev_index: 10,
                prev_term: 1,
                commit: 9,
                admitted: 0,
                entries,
            }),
            "0101ac020503f4030a010902000200010203616263",
        ),
        (
            raft(M::Append {
                term: 3,
                round: 500,
                prev_index: 10,
                prev_term: 1,
                commit: 9,
                admitted: 300,
                entries: vec![entry(11, EntryKind::Noop, b"")],
            }),
            "0101ac021103ac02f4030a010901000200",
        ),
        (raft(M::AppendOk { term: 3, round: 500, match_index: 12, version: 0 }), "0101ac020603f4030c"),
        (
            raft(M::AppendReject {
                term: 3,
                round: 500,
                prev_index: 10,
                hint_index: 7,
                hint_term: 1,
                disk_full: false,
            }),
            "0101ac020703f4030a070100",
        ),
        (raft(M::Heartbeat { term: 3, round: 501, commit: 12, quiet: true }), "0101ac020803f5030c01"),
        (
            raft(M::HeartbeatOk { term: 3, round: 501, commit: 12, quiet: true, disk_full: false }),
            "0101ac020903f5030c0100",
        ),
        (raft(M::Commit { term: 3, commit: 12 }), "0101ac020a030c"),
        (raft(M::ReadIndex { term: 3, batch: 70 }), "0101ac020b0346"),
        (raft(M::ReadIndexOk { term: 3, batch: 70, index: 12 }), "0101ac020c03460c"),
        (raft(M::TimeoutNow { term: 3 }), "0101ac020d03"),
        (raft(M::Stale { term: 3 }), "0101ac020e03"),
        (raft(M::Wake { term: 3 }), "0101ac020f03"),
        (raft(M::Removed { term: 3, index: 12 }), "0101ac0210030c"),
        (raft(M::Ahead { term: 3, last_index: 12, last_term: 2 }), "0101ac0212030c02"),
        (raft(M::Held { term: 3, round: 7, index: 12, version: 0 }), "0101ac021303070c"),
        (raft(M::AppendOk { term: 3, round: 7, match_index: 12, version: 9 }), "0101ac02170309070c"),
        (raft(M::Held { term: 3, round: 7, index: 12, version: 9 }), "0101ac02180309070c"),
        (raft(M::LogEnd { term: 3, batch: 7 }), "0101ac02140307"),
        (raft(M::LogEndOk { term: 3, batch: 7, index: 12 }), "0101ac021503070c"),
        (raft(M::GrantedInDoubt { term: 3 }), "0101ac021603"),
        (
            Message::Many(vec![
                (PartitionId(1), M::Heartbeat { term: 3, round: 5, commit: 4, quiet: false }),
                (PartitionId(2), M::Heartbeat { term: 4, round: 6, commit: 5, quiet: false }),
            ]),
            "0102010803050400020804060500",
        ),
        (Message::Alive, "0103"),
        (
            Message::Forward {
                partition: PartitionId(1),
                receiver_incarnation: 0x0102_0304_0506_0708,
                sequence: 9,
                generation: 2,
                deadline_ms: 1000,
                layout: 12,
                call: Bytes::from_static(b"GET"),
            },
            "010b0108070605040302010902e8070c03474554",
        ),
        (
            Message::Forwarded {
                sequence: 9,
                sender_incarnation: 1,
                outcome: 2,
                value: Bytes::from_static(b"v"),
                seen: Bytes::new(),
            },
            "0105090100000000000000020176",
        ),
        (
            Message::Forwarded {
                sequence: 9,
                sender_incarnation: 1,
                outcome: 0,
                value: Bytes::from_static(b"v"),
                seen: Bytes::from_static(b"s"),
            },
            "010e0901000000000000000001760173",
        ),
        (
            Message::SnapshotChunk(SnapshotChunk {
                partition: PartitionId(1),
                term: 3,
                meta,
                from: 0,
                next: Some(256),
                bytes: Bytes::from_static(b"xy"),
            }),
            "010601030902020100000000000000020000000000000000\
             01ffffffffffffffffc8010000000000000000010001000000000000027879",
        ),
        (
            Message::SnapshotAck(SnapshotAck { partition: PartitionId(1), term: 3, index: 9, next: None }),
            "010701030900",
        ),
        (
            Message::Digest { partition: PartitionId(1), index: 9, digest: 3 },
            "0109010903000000000000000000000000000000",
        ),
        (ask(Wish::Suspect), "010c8180040907000000000000000000"),
        (ask(Wish::Remove(vec![NodeId(2)])), "010c81800409070000000000000001010200000000000000"),
        (ask(Wish::Admit(NodeId(2))), "010c81800409070000000000000002010200000000000000"),
        (ask(Wish::Appoint(NodeId(2))), "010c81800409070000000000000003010200000000000000"),
        (ask(Wish::Renew), "010c8180040907000000000000000400"),
        (
            ask(Wish::Confirm(Acknowledgement::SemiSync(2))),
            "010c81800409070000000000000007010200000000000000",
        ),
        (ask(Wish::Settled(NodeId(2))), "010c81800409070000000000000006010200000000000000"),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digit).collect()
}

#[test]
fn bytes_of_version_1() {
    let mut differences = Vec::new();
    for (message, bytes) in fixtures() {
        let got = hex(&encoded(&message));
        if got != bytes {
            differences.push(format!("{message:?}\n  {got}\n  {bytes}"));
        }
        assert_eq!(decode(unhex(bytes)), Ok(message));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// What nodes sent that did not say what is held.
#[test]
fn a_confirmation_of_the_first_kind_promises_nothing() {
    let read = decode(unhex("010c8180040907000000000000000500")).expect("decodes");
    let Message::Ask(Ask { wish, .. }) = read else { panic!("{read:?}") };
    assert_eq!(wish, Wish::Confirm(Acknowledgement::Async));
}

/// What nodes sent that knew nothing of splits.
#[test]
fn a_forward_of_the_first_kind_is_still_read() {
    let read = decode(unhex("01040108070605040302010902e80703474554")).expect("decodes");
    let Message::Forward { layout, deadline_ms, call, .. } = read else { panic!("{read:?}") };
    assert_eq!((layout, deadline_ms, &call[..]), (0, 1000, &b"GET"[..]));
}

#[test]
fn payloads_are_slices_of_the_frame() {
    let payload = Bytes::from(vec![7; 1000]);
    let entries = vec![Entry { index: 1, term: 1, kind: EntryKind::Normal, payload }];
    let append = raft::Message::Append {
        term: 1,
        round: 1,
        prev_index: 0,
        prev_term: 0,
        commit: 0,
        admitted: 0,
        entries,
    };
    let frame = encoded(&Message::Raft { partition: PartitionId(0), message: append });
    let Ok(Message::Raft { message: raft::Message::Append { entries, .. }, .. }) = decode(frame.clone())
    else {
        panic!("an append comes back");
    };
    assert!(frame.as_ptr_range().contains(&entries[0].payload.as_ptr()));
}

/// Random bytes, and messages with some bytes changed: decoded or refused, and if decoded, the same again from the bytes
/// that they encode to.
#[test]
fn takes_whatever_comes() {
    let mut random = Random::new(1);
    let known: Vec<Bytes> = fixtures().iter().map(|(message, _)| encoded(message)).collect();
    let mut accepted = 0u32;
    for _ in 0..5_000_000 {
        let mut bytes: Vec<u8> = if random.below(4) == 0 {
            (0..random.below(40)).map(|_| random.draw() as u8).collect()
        } else {
            known[random.below(known.len() as u64) as usize].to_vec()
        };
        for _ in 0..=random.below(3) {
            if !bytes.is_empty() {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.draw() as u8;
            }
        }
        if let Ok(message) = decode(Bytes::from(bytes)) {
            accepted += 1;
            assert_eq!(decode(encoded(&message)).as_ref(), Ok(&message));
        }
    }
    assert!(accepted > 100_000, "{accepted} were messages: the changes are too wild to test much");
}
