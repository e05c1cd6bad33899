//! What is said of each strategy in each fault.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::{Change, Member, MemberState, Settings};
use super::*;
use crate::primaries::{Conflict, Counters, MultiPrimary, Replicas, Seat};

fn cluster(nodes: u64, copies: u32) -> Catalogue {
    let member = |number: u64| Member {
        name: format!("n{number}"),
        client: String::new(),
        peer: String::new(),
        zone: format!("z{number}"),
        weight: 1,
        state: MemberState::Active,
        format: number,
    };
    let members: BTreeMap<NodeId, Member> =
        (1..=nodes).map(|number| (NodeId(number), member(number))).collect();
    let settings = Settings {
        replication_factor: copies,
        replace_after_ms: 0,
        moves_at_once: 1,
        move_bytes_per_second: 0,
    };
    Catalogue::genesis(members, 1, settings)
}

/// The same with a keyspace `k:` all of whose replicas take part.
fn with(catalogue: &Catalogue, policy: Policy) -> Catalogue {
    let change = Change::CreateKeyspace { prefix: Bytes::from_static(b"k:"), policy, read: None };
    let (mut after, _) = change.apply(catalogue).expect("it makes sense");
    for group in after.primaries.values_mut() {
        for (number, seat) in group.seats.values_mut().enumerate() {
            *seat = Seat { origin: number as u64 + 1, joined: true, ..*seat };
        }
    }
    after
}

fn leaderless_of(read: Level, write: Level, sloppy: bool) -> Policy {
    let options = Leaderless { replicas: 0, read, write, conflict: Conflict::Lww, sloppy };
    Policy::Leaderless { number: 0, options }
}

fn nodes(numbers: &[u64]) -> BTreeSet<NodeId> {
    numbers.iter().map(|number| NodeId(*number)).collect()
}

/// Of each side what is said to writes, to reads, and to reads at all levels.
fn said(catalogue: &Catalogue, fault: &Fault) -> Vec<(Answer, Answer, String)> {
    let explained = explain(catalogue, b"k:", fault).expect("there is such a keyspace");
    let of = |side: &Side| {
        let levels: Vec<String> =
            side.levels.iter().map(|(level, answers)| format!("{level} {}", answers.text())).collect();
        (side.writes.worst().unwrap(), side.reads.worst().unwrap(), levels.join("; "))
    };
    explained.sides.iter().map(of).collect()
}

const ACCEPTED: Answer = Answer::Accepted;
const FAILOVER: Answer = Answer::AcceptedAfterFailover;
const STALE: Answer = Answer::PossiblyStale;
const REFUSED: Answer = Answer::Refused;

#[test]
fn a_majority_goes_on_and_a_minority_refuses() {
    let catalogue = with(&cluster(3, 3), Policy::Raft);
    let leader = catalogue.partitions[0].replicas[0].0;
    let others: Vec<u64> = (1..=3).filter(|number| *number != leader).collect();
    let parted = Fault::Parted(nodes(&others), nodes(&[leader]));
    let all = "strong accepted; bounded accepted; session accepted; eventual accepted";
    assert_eq!(said(&catalogue, &Fault::None), [(ACCEPTED, ACCEPTED, all.into())]);
    let majority = "strong accepted after a failover; bounded accepted after a failover; session accepted; eventual accepted";
    let minority = "strong refused; bounded refused; session possibly stale; eventual possibly stale";
    assert_eq!(
        said(&catalogue, &parted),
        [(FAILOVER, FAILOVER, majority.into()), (REFUSED, REFUSED, minority.into())]
    );
    let explained = explain(&catalogue, b"k:", &parted).unwrap();
    assert_eq!(
        explained.sides[1].why,
        ["slots 0-16383: no majority: 1 of 3 replicas are here, 2 are needed"]
    );
    assert!(explained.sides[0].catalogue && !explained.sides[1].catalogue);
    assert_eq!(explained.lost, "nothing acknowledged");
    let two_gone = explain(&catalogue, b"k:", &Fault::Gone(nodes(&[1, 2]))).unwrap();
    assert!(two_gone.lost.starts_with("nothing acknowledged while the disks come back"));
    assert_eq!(explain(&catalogue, b"other:", &Fault::None), None);
}

#[test]
fn a_primary_is_replaced_where_the_catalogue_has_its_majority() {
    let of = |acknowledgement, min_in_sync| {
        let options = PrimaryReplica { min_in_sync, ..PrimaryReplica::new(acknowledgement) };
        with(&cluster(3, 3), Policy::PrimaryReplica { number: 0, options })
    };
    let answers = |catalogue: &Catalogue, fault: &Fault| -> Vec<(Answer, Answer)> {
        said(catalogue, fault).into_iter().map(|(writes, reads, _)| (writes, reads)).collect()
    };
    let catalogue = of(Acknowledgement::Sync, 1);
    let primary = catalogue.groups.values().next().unwrap().primary.0;
    let others: Vec<u64> = (1..=3).filter(|number| *number != primary).collect();
    let primary_alone = Fault::Parted(nodes(&[primary]), nodes(&others));
    let primary_with_one = Fault::Parted(nodes(&[primary, others[0]]), nodes(&others[1..]));
    assert_eq!(answers(&catalogue, &primary_alone), [(REFUSED, REFUSED), (FAILOVER, FAILOVER)]);
    assert_eq!(answers(&catalogue, &primary_with_one), [(ACCEPTED, ACCEPTED), (REFUSED, REFUSED)]);
    // Too few members in sync, or too few to ask.
    assert_eq!(answers(&of(Acknowledgement::Sync, 3), &primary_with_one)[0], (REFUSED, ACCEPTED));
    assert_eq!(answers(&of(Acknowledgement::SemiSync(2), 1), &primary_with_one)[0], (REFUSED, ACCEPTED));
    let semi = of(Acknowledgement::SemiSync(1), 1);
    assert_eq!(
        answers(&semi, &primary_alone)[1],
        (FAILOVER, FAILOVER),
        "two of three, so one has each write"
    );
    let gone = |catalogue: &Catalogue, numbers: &[u64]| {
        explain(catalogue, b"k:", &Fault::Gone(nodes(numbers))).unwrap().lost
    };
    assert_eq!(gone(&semi, &[primary]), "nothing acknowledged");
    assert!(gone(&semi, &[primary, others[0]]).starts_with("what only they had acknowledged"));
    assert!(gone(&of(Acknowledgement::Async, 1), &[primary]).contains("listed"));
    assert_eq!(gone(&of(Acknowledgement::Async, 1), &[others[0]]), "nothing acknowledged");
}

#[test]
fn replicas_that_all_take_writes_go_on_everywhere() {
    let options =
        MultiPrimary { conflict: Conflict::Lww, replicas: Replicas::Count(3), counters: Counters::Sum };
    let catalogue = with(&cluster(4, 3), Policy::MultiPrimary { number: 0, options });
    let seats: Vec<u64> =
        catalogue.primaries.values().next().unwrap().seats.keys().map(|node| node.0).collect();
    let without: Vec<u64> = (1..=4).filter(|number| !seats.contains(number)).collect();
    let parted = Fault::Parted(nodes(&seats[..1]), nodes(&without));
    let stale = "session possibly stale; eventual possibly stale";
    let refused = "session refused; eventual refused";
    let alone = (ACCEPTED, STALE, stale.to_owned());
    assert_eq!(
        said(&catalogue, &parted),
        [alone.clone(), (REFUSED, REFUSED, refused.into()), alone.clone(), alone],
        "two are cut off from everybody"
    );
}

#[test]
fn as_many_as_are_asked_decide_where_nobody_leads() {
    let three = |read, write, sloppy| with(&cluster(3, 3), leaderless_of(read, write, sloppy));
    let parted = Fault::Parted(nodes(&[1, 2]), nodes(&[3]));
    let answers = |catalogue: &Catalogue| -> Vec<(Answer, Answer)> {
        said(catalogue, &parted).into_iter().map(|(writes, reads, _)| (writes, reads)).collect()
    };
    let strict = three(Level::Quorum, Level::Quorum, false);
    assert_eq!(answers(&strict), [(ACCEPTED, ACCEPTED), (REFUSED, REFUSED)]);
    assert_eq!(
        said(&strict, &parted)[1].2,
        "bounded refused; session possibly stale; eventual possibly stale"
    );
    let any = three(Level::Count(1), Level::Count(1), false);
    assert_eq!(answers(&any), [(ACCEPTED, STALE), (ACCEPTED, STALE)]);
    assert_eq!(said(&any, &parted)[0].2, "bounded refused; session possibly stale; eventual possibly stale");
    let all = three(Level::Count(1), Level::All, false);
    assert_eq!(answers(&all), [(REFUSED, ACCEPTED), (REFUSED, ACCEPTED)]);
    // Of five nodes three hold it, and the others stand in for those.
    let sloppy = with(&cluster(5, 3), leaderless_of(Level::Quorum, Level::Quorum, true));
    let seats: Vec<u64> = sloppy.primaries.values().next().unwrap().seats.keys().map(|node| node.0).collect();
    let without: Vec<u64> = (1..=5).filter(|number| !seats.contains(number)).collect();
    let with_one = [&seats[..1], &without[..]].concat();
    let parted = Fault::Parted(nodes(&with_one), nodes(&seats[1..]));
    let explained = explain(&sloppy, b"k:", &parted).unwrap();
    assert_eq!(explained.sides[0].writes.text(), "accepted");
    assert_eq!(explained.sides[0].reads.text(), "possibly stale");
    assert!(explained.sides[0].why[0].contains("1 of 3 replicas and 2 that stand in are here"));
    assert!(explained.pacelc.starts_with("PA/EL"));
}
