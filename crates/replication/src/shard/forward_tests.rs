//! The order that requests keep, who is asked twice, and what is taken back.

use super::*;
use crate::consistency::Consistency;
use crate::contract::{Call, Output, RequestId};
use crate::shard::call::encode_value;

const PARTITION: PartitionId = PartitionId(0);
const OLD: NodeId = NodeId(1);
const NEW: NodeId = NodeId(2);

const SEQUENCE: u64 = 1 << 8;

fn write(origin: u64, arrival: u64) -> Work {
    let call = Call::Fingerprint { keys: Vec::new() };
    let requester = Requester::Local { id: RequestId(arrival), tells: None };
    Work {
        requester,
        origin,
        call,
        wishes: Wishes::default(),
        deadline: Time::NEVER,
        ordered: true,
        layout: 0,
        keyspaces: 0,
        arrival,
    }
}

/// Request 1 of connection 7 is under way at `OLD`.
fn begun() -> (Forwards, Peers, Outbox) {
    let mut peers = Peers::new(Duration::from_millis(100), Duration::from_secs(1), Time(0));
    peers.hear(OLD, 11, Time(0));
    peers.hear(NEW, 22, Time(0));
    let mut forwards = Forwards::new(0);
    let mut outbox = Outbox::default();
    forwards.forward(PARTITION, write(7, 1), OLD, &peers, Time(0), &mut outbox);
    (forwards, peers, outbox)
}

/// The generations of the forwards sent so far.
fn generations(outbox: &Outbox) -> Vec<u64> {
    let generation = |output: &Output| match output {
        Output::Send { message: Message::Forward { generation, .. }, .. } => Some(*generation),
        _ => None,
    };
    outbox.outputs.iter().filter_map(generation).collect()
}

fn arrivals(due: Vec<(PartitionId, Work)>) -> Vec<u64> {
    due.into_iter().map(|(_, work)| work.arrival).collect()
}

/// A request of the same connection for another node would overtake what is under way.
#[test]
fn a_connection_keeps_its_order_over_a_change_of_leader() {
    let (mut forwards, peers, mut outbox) = begun();
    assert!(forwards.has_to_wait(PARTITION, 7, None), "this node would serve it before the one under way");
    forwards.forward(PARTITION, write(7, 2), NEW, &peers, Time(0), &mut outbox);
    forwards.forward(PARTITION, write(8, 3), NEW, &peers, Time(0), &mut outbox);
    assert_eq!(generations(&outbox).len(), 2, "request 2 waits, request 3 is another connection's");
    assert!(forwards.due(Time(0) + RETRY_AFTER).is_empty(), "still under way");

    forwards.on_forwarded(OLD, SEQUENCE, NOT_LEADER, (&Bytes::new(), &Bytes::new()), Time(1), &mut outbox);
    assert!(outbox.answers.is_empty());
    assert_eq!(arrivals(forwards.due(Time(0) + RETRY_AFTER * 2)), [1, 2]);
    assert!(!forwards.has_to_wait(PARTITION, 7, None));
}

#[test]
fn what_waits_for_an_answer_goes_on_when_it_has_come() {
    let (mut forwards, peers, mut outbox) = begun();
    forwards.forward(PARTITION, write(7, 2), NEW, &peers, Time(0), &mut outbox);
    forwards.on_forwarded(
        OLD,
        SEQUENCE,
        REFUSED,
        (&Bytes::from("ERR no"), &Bytes::new()),
        Time(1),
        &mut outbox,
    );
    assert_eq!(forwards.wake_at(), Time(1));
    assert_eq!(arrivals(forwards.due(Time(1))), [2]);
}

/// A node that sent a request back must not serve the next one of its connection, whatever it has become meanwhile;
/// so that one has the same generation although another connection's were tried again.
#[test]
fn what_a_connection_has_under_way_is_of_one_generation() {
    let (mut forwards, peers, mut outbox) = begun();
    forwards.forward(PARTITION, write(8, 2), OLD, &peers, Time(0), &mut outbox);
    forwards.on_forwarded(
        OLD,
        2 * SEQUENCE,
        NOT_LEADER,
        (&Bytes::new(), &Bytes::new()),
        Time(1),
        &mut outbox,
    );
    for (partition, work) in forwards.due(Time(1) + RETRY_AFTER) {
        forwards.forward(partition, work, OLD, &peers, Time(1), &mut outbox);
    }
    forwards.forward(PARTITION, write(7, 3), OLD, &peers, Time(1), &mut outbox);
    assert_eq!(generations(&outbox), [0, 0, 1, 0]);
}

/// At a level below `strong`.
fn read(origin: u64, arrival: u64) -> Work {
    let wishes = Wishes { consistency: Some(Consistency::Session), tells: true, ..Wishes::default() };
    Work { wishes, ordered: false, ..write(origin, arrival) }
}

/// Reads of so many connections go to `OLD`.
fn reads(forwards: &mut Forwards, peers: &Peers, count: u64, outbox: &mut Outbox) {
    for number in 1..=count {
        forwards.forward(PARTITION, read(number, number), OLD, peers, Time(0), outbox);
    }
}

/// To whom the forwards went.
fn asked(outbox: &Outbox) -> Vec<NodeId> {
    let to = |output: &Output| match output {
        Output::Send { to, message: Message::Forward { .. } } => Some(*to),
        _ => None,
    };
    outbox.outputs.iter().filter_map(to).collect()
}

fn hedging(count: u64) -> (Forwards, Outbox, Time) {
    let mut peers = Peers::new(Duration::from_millis(100), Duration::from_secs(1), Time(0));
    peers.hear(OLD, 11, Time(0));
    peers.hear(NEW, 22, Time(0));
    let (mut forwards, mut outbox) = (Forwards::new(0), Outbox::default());
    reads(&mut forwards, &peers, count, &mut outbox);
    let at = forwards.wake_at();
    assert!(at > Time(0) && at < Time::NEVER, "somebody has to look");
    forwards.hedge(at, &mut |_, _, _| Some((NEW, 22)), &mut outbox);
    (forwards, outbox, at)
}

#[test]
fn of_reads_without_an_answer_one_in_twenty_is_asked_elsewhere_as_well_and_the_first_answer_counts() {
    let (mut forwards, mut outbox, at) = hedging(40);
    assert_eq!(asked(&outbox).into_iter().filter(|to| *to == NEW).count(), 2, "of forty");
    assert!(forwards.has_to_wait(PARTITION, 1, Some(OLD)), "what comes next waits for the answer");
    let answer = (&encode_value(&resp::Value::OK), &Bytes::new());
    forwards.on_forwarded(NEW, 41 * SEQUENCE, DONE, answer, at, &mut outbox);
    assert_eq!(outbox.answers.len(), 1);
    forwards.on_forwarded(OLD, SEQUENCE, DONE, answer, at, &mut outbox);
    assert_eq!(outbox.answers.len(), 1, "it was answered");
    assert!(!forwards.has_to_wait(PARTITION, 1, Some(OLD)));
    // The other one is answered by the first that was asked.
    forwards.on_forwarded(NEW, 42 * SEQUENCE, NOT_LEADER, (&Bytes::new(), &Bytes::new()), at, &mut outbox);
    assert_eq!(outbox.answers.len(), 1, "the other one may still answer");
    forwards.on_forwarded(OLD, 2 * SEQUENCE, DONE, answer, at, &mut outbox);
    assert_eq!(outbox.answers.len(), 2);
}

/// No more than one in twenty is asked twice at first; but those that have waited for long are, where others are faster.
#[test]
fn reads_that_are_stuck_go_elsewhere_before_it_is_too_late() {
    let (mut forwards, mut outbox, _) = hedging(40);
    let asked_of_new = |outbox: &Outbox| asked(outbox).into_iter().filter(|to| *to == NEW).count();
    assert_eq!(asked_of_new(&outbox), 2);
    let at = forwards.wake_at();
    assert_eq!(at, Time(0) + STUCK_AFTER);
    // As long as it is to be expected that the other one is no faster, no more is asked of it.
    forwards.loads.answered(NEW, Duration::from_secs(1), at);
    let (mut slow, mut none) = (hedging(40).0, Outbox::default());
    slow.loads.answered(NEW, Duration::from_secs(1), at);
    slow.hedge(at, &mut |_, _, _| Some((NEW, 22)), &mut none);
    assert_eq!(asked_of_new(&none), 0);
    // That is asked again, after as long as it has waited by then.
    assert_eq!(slow.wake_at(), at + STUCK_AFTER);
    slow.loads.lost(NEW);
    slow.hedge(slow.wake_at(), &mut |_, _, _| Some((NEW, 22)), &mut none);
    assert_eq!(asked_of_new(&none), 38);
    forwards.loads.lost(NEW);
    forwards.hedge(at, &mut |_, _, _| Some((NEW, 22)), &mut outbox);
    assert_eq!(asked_of_new(&outbox), 40, "all of them");
    assert_eq!(forwards.wake_at(), Time::NEVER, "and once");
}

/// Three reads of one connection, sent to `OLD`, the first of them answered after a while.
fn pipeline() -> (Forwards, Peers, Outbox, Time) {
    let (mut forwards, mut outbox) = (Forwards::new(0), Outbox::default());
    let mut peers = Peers::new(Duration::from_millis(100), Duration::from_secs(1), Time(0));
    peers.hear(OLD, 11, Time(0));
    peers.hear(NEW, 22, Time(0));
    for arrival in 1..=3 {
        forwards.forward(PARTITION, read(1, arrival), OLD, &peers, Time(0), &mut outbox);
    }
    let at = Time(0) + Duration::from_millis(60);
    let seen = Seen::Log { term: 3, index: 8 }.encode();
    forwards.on_forwarded(OLD, SEQUENCE, DONE, (&encode_value(&resp::Value::OK), &seen), at, &mut outbox);
    assert_eq!(outbox.answers.len(), 1);
    (forwards, peers, outbox, at)
}

/// What has no answer is taken back, all of it, and whoever is asked instead may not answer from less than what was seen.
#[test]
fn a_pipeline_that_is_stuck_is_asked_elsewhere_with_what_its_session_has_seen() {
    let (mut forwards, _, mut outbox, answered_at) = pipeline();
    let look = |forwards: &mut Forwards, outbox: &mut Outbox| {
        let at = forwards.wake_at();
        forwards.hedge(at, &mut |_, asked, _| Some(if asked == OLD { (NEW, 22) } else { (OLD, 11) }), outbox);
        at
    };
    let mut at = Time(0);
    while at < answered_at + STUCK_AFTER {
        assert_eq!(asked(&outbox), [OLD; 3], "not yet: an answer has come just now");
        at = look(&mut forwards, &mut outbox);
    }
    assert_eq!(at, answered_at + STUCK_AFTER);
    assert_eq!(asked(&outbox), [OLD, OLD, OLD, NEW, NEW], "both, and each once");
    let seen = forwards.sent.values().map(|sent| sent.work.wishes.seen.clone());
    let shown = Some(Seen::Log { term: 3, index: 8 });
    assert!(seen.into_iter().all(|seen| seen == shown));
    // The next one of the connection follows them.
    assert!(forwards.has_to_wait(PARTITION, 1, Some(OLD)));
    assert!(!forwards.has_to_wait(PARTITION, 1, Some(NEW)));

    let answer = (&encode_value(&resp::Value::OK), &Bytes::new());
    (2..4).for_each(|number| forwards.on_forwarded(OLD, number * SEQUENCE, DONE, answer, at, &mut outbox));
    assert_eq!(outbox.answers.len(), 1, "nobody waits for that any more");
    forwards.on_forwarded(NEW, 4 * SEQUENCE, DONE, answer, at, &mut outbox);
    assert_eq!(outbox.answers.len(), 2);
    // It is taken back once more if need be, after twice the time at the least.
    let patient = at + STUCK_AFTER * 3 / 2;
    while at < patient {
        assert_eq!(asked(&outbox).len(), 5);
        at = look(&mut forwards, &mut outbox);
    }
    assert_eq!(asked(&outbox)[5..], [OLD]);
    forwards.on_forwarded(OLD, 6 * SEQUENCE, DONE, answer, at, &mut outbox);
    assert_eq!(outbox.answers.len(), 3);
    assert!(forwards.streams[&PARTITION].lines.is_empty() && forwards.sent.is_empty());
    assert_eq!(forwards.wake_at(), Time::NEVER);
}

#[test]
fn a_pipeline_at_a_process_that_is_gone_is_asked_elsewhere_in_order() {
    let (mut forwards, _, mut outbox, at) = pipeline();
    forwards.lost(OLD, at, &mut outbox);
    assert_eq!(outbox.answers.len(), 1);
    let due = forwards.due(at);
    assert!(due.iter().all(|(_, work)| work.wishes.seen.is_some()));
    assert_eq!(arrivals(due), [2, 3]);
}

/// Its client reads the replies in order: one that comes late may not be of more than those behind it.
#[test]
fn what_was_overtaken_stays_where_it_is() {
    let (mut forwards, _, mut outbox, at) = pipeline();
    let answer = (&encode_value(&resp::Value::OK), &Bytes::new());
    forwards.on_forwarded(OLD, 3 * SEQUENCE, DONE, answer, at, &mut outbox);
    let sent = asked(&outbox).len();
    for _ in 0..3 {
        let at = forwards.wake_at().min(at + STUCK_AFTER * 4);
        forwards.hedge(at, &mut |_, _, _| Some((NEW, 22)), &mut outbox);
    }
    assert_eq!(asked(&outbox).len(), sent);
    forwards.lost(OLD, at, &mut outbox);
    assert_eq!(outbox.answers.len(), 3, "refused");
}

/// Seed 600352 of `--focus reads`.
#[test]
fn what_was_sent_back_goes_before_what_is_taken_elsewhere() {
    let (mut forwards, _, mut outbox, at) = pipeline();
    forwards.on_forwarded(OLD, 2 * SEQUENCE, NOT_LEADER, (&Bytes::new(), &Bytes::new()), at, &mut outbox);
    let sent = asked(&outbox).len();
    let at = at + STUCK_AFTER;
    for _ in 0..3 {
        forwards.hedge(at, &mut |_, _, _| Some((NEW, 22)), &mut outbox);
    }
    assert_eq!(asked(&outbox).len(), sent, "not before the one in front of it");
    assert_eq!(arrivals(forwards.due(at)), [2, 3]);
}

/// What a write has shown its session is known when its answer has come, and not before.
#[test]
fn reads_behind_a_write_stay_where_they_are() {
    let (mut forwards, peers, mut outbox, _) = pipeline();
    forwards.forward(PARTITION, write(1, 9), OLD, &peers, Time(0), &mut outbox);
    let sent = asked(&outbox).len();
    for late in [STUCK_AFTER, STUCK_AFTER * 2] {
        forwards.hedge(Time(0) + late * 2, &mut |_, _, _| Some((NEW, 22)), &mut outbox);
    }
    assert_eq!(asked(&outbox).len(), sent);
    forwards.lost(OLD, Time(1), &mut outbox);
    assert_eq!(outbox.answers.len(), 4);
}

#[test]
fn a_read_that_was_asked_twice_is_answered_once_whatever_becomes_of_the_nodes() {
    let (mut forwards, mut outbox, at) = hedging(20);
    forwards.lost(NEW, at, &mut outbox);
    assert!(outbox.answers.is_empty(), "the first one that was asked is there");
    forwards.lost(OLD, at, &mut outbox);
    assert!(outbox.answers.is_empty(), "another replica can be asked");
    assert_eq!(arrivals(forwards.due(at)), (1..=20).collect::<Vec<u64>>());
    assert!(forwards.streams[&PARTITION].lines.is_empty());
    let (mut forwards, mut outbox, _) = hedging(20);
    forwards.sweep(Time::NEVER, &|_| String::new(), &mut outbox);
    assert_eq!(outbox.answers.len(), 20, "when all are late");
    assert!(forwards.first_deadline().is_none());
}
