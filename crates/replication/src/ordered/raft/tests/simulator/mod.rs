//! A seeded world of replicas of one group, driven through the public interface alone: messages are lost, delayed,
//! duplicated, reordered and cut off (also one way), replicas crash and lose what was not durable, clocks run at different
//! rates, disks are slow or full, members change, leaders hand over, logs are compacted and snapshots sent.
//!
//! Two moods: first break things and require safety (`oracle`, after every step); then heal and require progress: a
//! proposal commits, a follower's read is answered, all fall quiet with equal logs. Each run counts what it exercised, and
//! the sums are required not to be idle. `RAFT_SEEDS=from..to` runs other seeds than the usual.

mod chaos;
mod counters;
mod disk;
mod network;
mod node;
mod oracle;
mod snapshot;
mod world;

use super::super::Bug;
use counters::Counters;
use world::World;

/// Runs one seed through both moods.
fn run(seed: u64, bug: Option<Bug>) -> Counters {
    let mut world = World::new(seed, bug);
    world.break_things();
    world.heal();
    world.require_progress();
    world.counters
}

fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(wanted) = std::env::var("RAFT_SEEDS") else { return usual };
    let (from, to) = wanted.split_once("..").expect("RAFT_SEEDS=from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

/// Seeds that found something, once:
/// - 849: the only replicas with the last membership were no voters by it, and did not campaign.
const REGRESSIONS: [u64; 1] = [849];

#[test]
fn safe_while_broken_and_live_when_healed() {
    let mut sum = Counters::default();
    for seed in REGRESSIONS.into_iter().chain(seeds(0..300)) {
        if std::env::var_os("RAFT_TRACE").is_some() {
            println!("seed {seed}");
        }
        let seen = std::panic::catch_unwind(|| run(seed, None));
        match seen {
            Ok(counters) => sum.add(&counters),
            Err(_) => panic!("seed {seed} failed; see above"),
        }
    }
    println!("{sum:#?}");
    sum.require_not_idle();
}

/// Does any of these seeds find the fault?
fn finds(bug: Bug, seeds: std::ops::Range<u64>) -> Option<u64> {
    seeds.into_iter().find(|&seed| std::panic::catch_unwind(|| run(seed, Some(bug))).is_err())
}

macro_rules! planted {
    ($($name:ident: $bug:ident,)*) => {$(
        #[test]
        fn $name() {
            let found = finds(Bug::$bug, 0..1_000);
            println!("{:?} found by seed {found:?}", Bug::$bug);
            assert!(found.is_some(), "{:?} was not found", Bug::$bug);
        }
    )*};
}

planted! {
    finds_own_vote_before_durable: OwnVoteBeforeDurable,
    finds_own_log_before_durable: OwnLogBeforeDurable,
    finds_lease_too_long: LeaseTooLong,
    finds_joint_needs_one_majority: JointNeedsOneMajority,
    finds_read_without_confirming: ReadWithoutConfirming,
    finds_membership_not_reverted: MembershipNotReverted,
    finds_commit_of_earlier_term: CommitOfEarlierTerm,
    finds_vote_without_log_check: VoteWithoutLogCheck,
    finds_answer_before_durable: AnswerBeforeDurable,
    finds_append_without_check: AppendWithoutCheck,
    finds_no_promise_after_restart: NoPromiseAfterRestart,
    finds_lease_during_transfer: LeaseDuringTransfer,
    finds_snapshot_drops_suffix: SnapshotDropsSuffix,
}
