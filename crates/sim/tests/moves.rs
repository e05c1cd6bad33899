//! One move of a partition from node to node, again and again: each time the node that loses the partition, the one that gets
//! it, the leader of the partition or the leader of the catalogue dies after another event of the move. Whatever the moment,
//! nothing acknowledged is lost, the catalogue has one owner for each slot, and the move ends or is undone. The same for the
//! split of a partition, in which one of its followers, its leader, the catalogue's or all nodes at once die.
//!
//! An event is the finest step there is: a message that arrives, a sync that ends, a batch that a node steps. Each run of the
//! tests takes a share of them; `EVERY=1 cargo test --release -p sim --test moves -- --nocapture` takes them all.

use sim::{Fault, Focus, Planned, Scenario};

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

const VICTIMS: [Fault; 4] =
    [Fault::CrashSource, Fault::CrashDestination, Fault::CrashLeader, Fault::CrashCatalogueLeader];

const MOVE: (Fault, &[Fault]) = (Fault::Move, &VICTIMS);
const SPLIT: (Fault, &[Fault]) = (Fault::Split, &VICTIMS_OF_SPLITS);

fn planned(fault: Fault, at: u64, lasts: u64, chance: u64, after_event: Option<u64>) -> Planned {
    Planned { fault, at, lasts, node: None, chance, after_event }
}

const VICTIMS_OF_SPLITS: [Fault; 5] = [
    Fault::CrashSource,
    Fault::CrashDestination,
    Fault::CrashLeader,
    Fault::CrashCatalogueLeader,
    Fault::CrashAll,
];

/// A quiet cluster of four nodes with one partition, which is moved or split once. Which of its replicas goes, and where it is
/// split, follows from `chance`.
fn quiet(fault: Fault, chance: u64, lasts: u64, replaces_silent: bool) -> Scenario {
    let drawn = Scenario::of_seed_focused(1, Focus::Moves);
    Scenario {
        // The sixteenths of it choose how fast moves are, the thirds whether silent nodes are replaced.
        chance: 48 * chance + u64::from(replaces_silent),
        nodes: 4,
        founders: 4,
        partitions: 1,
        replication_factor: 3,
        clients: 3,
        // The log is cut, so that the newcomer needs a snapshot.
        snapshot_log_bytes: 1 << 10,
        sync_time: vec![(100_000, 400_000); 4],
        breaks_until: 3 * SECOND + lasts,
        workload: sim::Workload { think: 20 * MILLISECOND, ..drawn.workload },
        network: sim::Profile::quiet(),
        faults: vec![planned(fault, 2 * SECOND, 0, chance, None)],
        ..drawn
    }
}

/// Kills at every `every`-th event of the move; returns the number of events that a move has, and of runs.
fn kill_at_each_event(
    (fault, victims): (Fault, &[Fault]),
    chance: u64,
    lasts: u64,
    replaces_silent: bool,
    every: usize,
) -> (u64, u64) {
    let scenario = quiet(fault, chance, lasts, replaces_silent);
    let calm = sim::run(&scenario, false);
    assert_eq!(calm.violation, None, "without a death");
    let moved = calm.moved.expect("it was moved");
    let events = moved.end - moved.start;
    assert!((30..20_000).contains(&events), "{events} events of a move");
    let mut runs = 0;
    for &victim in victims {
        for event in (moved.start..moved.end + 20).step_by(every) {
            let mut scenario = scenario.clone();
            scenario.faults.push(planned(victim, 0, lasts, event, Some(event)));
            runs += 1;
            let violation = sim::run(&scenario, false).violation;
            assert_eq!(violation, None, "{victim:?} after event {event} of\n{}", scenario.to_text());
        }
    }
    (events, runs)
}

/// Every how many events: `EVERY`, or a share that takes some seconds.
fn every(share: usize) -> usize {
    std::env::var("EVERY").ok().and_then(|text| text.parse().ok()).unwrap_or(share)
}

#[test]
fn whoever_dies_after_whichever_event_of_a_move_comes_back_and_the_move_ends() {
    for chance in 0..4 {
        let (events, runs) = kill_at_each_event(MOVE, chance, 300 * MILLISECOND, false, every(67));
        println!("move {chance}: {events} events, {runs} deaths, each for 300 ms");
    }
}

/// Silent for so long that the others take its share, or what is left of it: the move is undone or ends without it.
#[test]
fn whoever_dies_for_long_after_whichever_event_of_a_move_is_replaced() {
    for chance in 0..4 {
        let (events, runs) = kill_at_each_event(MOVE, chance, 9 * SECOND, true, every(101));
        println!("move {chance}: {events} events, {runs} deaths, each for 9 s");
    }
}

#[test]
fn whoever_dies_after_whichever_event_of_a_split_comes_back_and_the_split_ends() {
    for chance in 0..4 {
        let (events, runs) = kill_at_each_event(SPLIT, chance, 300 * MILLISECOND, false, every(67));
        println!("split {chance}: {events} events, {runs} deaths, each for 300 ms");
    }
}

#[test]
fn whoever_dies_for_long_after_whichever_event_of_a_split_is_replaced() {
    for chance in 0..4 {
        let (events, runs) = kill_at_each_event(SPLIT, chance, 9 * SECOND, true, every(101));
        println!("split {chance}: {events} events, {runs} deaths, each for 9 s");
    }
}
