//! Faults built in on purpose that plain seeds show soon: any change to the simulator keeps being able to see them. Those that
//! take hundreds of seeds are kept as scenarios, see `scenarios.rs`; [`keep_a_scenario`] makes one.

use sim::{Bug, Focus, MergedBug, Scenario, Violation};

/// What is made wrong on purpose.
#[derive(Clone, Copy, Debug)]
enum Sabotage {
    /// Syncs return without having made anything durable.
    SyncsLie,
    /// A fault in the consensus, or near it.
    Consensus(Bug),
    /// A fault in a replica of a `multi-primary` keyspace.
    Merged(MergedBug),
}

fn scenario(seed: u64, focus: Option<Focus>, sabotage: Sabotage) -> Scenario {
    let drawn = match focus {
        Some(focus) => Scenario::of_seed_focused(seed, focus),
        None => Scenario::of_seed(seed),
    };
    match sabotage {
        Sabotage::SyncsLie => Scenario { syncs_lie: true, ..drawn },
        Sabotage::Consensus(bug) => Scenario { planted: Some(bug), ..drawn },
        Sabotage::Merged(bug) => Scenario { planted_merged: Some(bug), ..drawn },
    }
}

fn violation(seed: u64, focus: Option<Focus>, sabotage: Sabotage) -> Option<Violation> {
    sim::run(&scenario(seed, focus, sabotage), false).violation
}

/// Expects an alarm by one of these judges within so many seeds.
fn assert_alarm(sabotage: Sabotage, seeds: u64, judges: &[&str]) {
    assert_alarm_in(None, sabotage, seeds, judges);
}

fn assert_alarm_in(focus: Option<Focus>, sabotage: Sabotage, seeds: u64, judges: &[&str]) {
    let alarm = (1..=seeds).find_map(|seed| Some((seed, violation(seed, focus, sabotage)?)));
    let Some((seed, violation)) = alarm else { panic!("{sabotage:?} went unseen") };
    println!("{sabotage:?} was seen in seed {seed}: {violation}");
    assert!(judges.contains(&violation.oracle), "another alarm than expected: {violation}");
}

#[test]
fn a_disk_that_lies_about_its_syncs() {
    let judges = [
        "recovery",
        "state machine safety",
        "leader completeness",
        "election safety",
        "panic",
        "apply order",
    ];
    assert_alarm(Sabotage::SyncsLie, 10, &judges);
}

#[test]
fn a_vote_without_a_look_at_the_log() {
    let judges = ["leader completeness", "state machine safety", "panic"];
    assert_alarm(Sabotage::Consensus(Bug::VoteWithoutLogCheck), 20, &judges);
}

#[test]
fn entries_taken_without_a_look_at_the_one_before() {
    let judges = ["state machine safety", "leader completeness", "digest", "panic"];
    assert_alarm(Sabotage::Consensus(Bug::AppendWithoutCheck), 40, &judges);
}

#[test]
fn a_lease_that_is_too_long() {
    assert_alarm(Sabotage::Consensus(Bug::LeaseTooLong), 40, &["lease", "register", "counter", "list"]);
}

#[test]
fn a_commit_index_on_disk_that_is_ahead() {
    let judges = ["state machine safety", "leader completeness", "digest", "panic"];
    assert_alarm(Sabotage::Consensus(Bug::CommitIndexAhead), 40, &judges);
}

#[test]
fn a_request_that_is_executed_twice() {
    let judges = ["counter", "list", "read your writes", "register", "idempotence"];
    assert_alarm(Sabotage::Consensus(Bug::DuplicateApply), 10, &judges);
}

#[test]
fn a_token_that_only_the_leader_remembers() {
    assert_alarm(Sabotage::Consensus(Bug::TokenLost), 20, &["counter", "list", "idempotence"]);
}

#[test]
fn followers_that_expire_keys_by_their_own_clocks() {
    assert_alarm(Sabotage::Consensus(Bug::ExpiryByFollower), 10, &["digest"]);
}

/// Each fault of a replica that takes writes beside others, and how many seeds it takes.
#[test]
#[ignore = "a tool: it says how soon each is seen"]
fn faults_of_replicas_that_all_take_writes() {
    for bug in MergedBug::ALL {
        let focus = if bug == MergedBug::RightsIgnored { Focus::Bounded } else { Focus::Merged };
        let found =
            (1..=300).find_map(|seed| Some((seed, violation(seed, Some(focus), Sabotage::Merged(bug))?)));
        println!("{bug:?}: {found:?}");
    }
}

/// Looks for a seed in which a fault is seen, takes away what it does not need, and keeps the scenario.
///
/// `BUG=LeaseTooLong FOCUS=Pauses SEEDS=1000 cargo test --release -p sim --test planted -- --ignored --nocapture`
#[test]
#[ignore = "a tool: it looks for scenarios"]
fn keep_a_scenario() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let bug = variable("BUG");
    let focus = match variable("FOCUS").as_str() {
        "" => None,
        "Members" => Some(Focus::Members),
        "Pauses" => Some(Focus::Pauses),
        "Elections" => Some(Focus::Elections),
        "Moves" => Some(Focus::Moves),
        "Splits" => Some(Focus::Splits),
        "Primary" => Some(Focus::Primary),
        "Relaxed" => Some(Focus::Relaxed),
        "Merged" => Some(Focus::Merged),
        "Bounded" => Some(Focus::Bounded),
        "Leaderless" => Some(Focus::Leaderless),
        "Sloppy" => Some(Focus::Sloppy),
        "Reads" => Some(Focus::Reads),
        "Hot" => Some(Focus::Hot),
        other => panic!("no such focus: {other}"),
    };
    let consensus = Bug::ALL.into_iter().find(|known| format!("{known:?}") == bug);
    let merged = MergedBug::ALL.into_iter().find(|known| format!("{known:?}") == bug);
    let sabotage = consensus.map(Sabotage::Consensus).or(merged.map(Sabotage::Merged));
    let sabotage = sabotage.expect("the name of a fault");
    let seeds: u64 = variable("SEEDS").parse().unwrap_or(1000);
    let first: u64 = variable("FIRST").parse().unwrap_or(1);
    let found = (first..first + seeds).find_map(|seed| Some((seed, violation(seed, focus, sabotage)?)));
    let Some((seed, alarm)) = found else { panic!("{bug} went unseen in {seeds} seeds of {focus:?}") };
    println!("{bug}: seed {seed} of {focus:?}: {alarm}");
    // Some take long, and need all that they have.
    let runs = variable("RUNS").parse().unwrap_or(4000);
    let mut least =
        sim::shrink(&scenario(seed, focus, sabotage), sim::Shrinking { runs, tries: 12 }, |_, _| ()).unwrap();
    // How often it is seen: what the scenario does not name changes with its chance.
    let first = least.chance;
    let seen = (0..200).filter(|more| {
        let scenario = Scenario { chance: first + more, ..least.clone() };
        sim::run(&scenario, false).violation.is_some_and(|found| found.oracle == alarm.oracle)
    });
    println!("{bug}: seen in {} of 200 streams of chance; {} faults left", seen.count(), least.faults.len());
    least.about = format!("Found with {bug} planted.");
    let path = format!("{}/scenarios/{bug}.toml", env!("CARGO_MANIFEST_DIR"));
    std::fs::create_dir_all(format!("{}/scenarios", env!("CARGO_MANIFEST_DIR"))).unwrap();
    std::fs::write(path, least.to_text()).unwrap();
}

#[test]
fn of_a_failing_scenario_the_least_is_found_that_fails_in_the_same_way() {
    let long = scenario(3, None, Sabotage::Consensus(Bug::ExpiryByFollower));
    let before = sim::run(&long, false).violation.expect("it fails");
    let effort = sim::Shrinking { runs: 150, tries: 2 };
    let least = sim::shrink(&long, effort, |_, _| ()).expect("it fails");
    let outcome = sim::run(&least, false);
    let after = outcome.violation.expect("what is left still fails");
    assert_eq!(after.oracle, before.oracle);
    assert_eq!(least.alarm.as_deref(), Some(before.oracle));
    assert!(least.faults.len() < long.faults.len() / 2, "{} faults are left", least.faults.len());
    assert!(least.clients < long.clients, "clients it does not need are left");
    // As text it is the same one.
    let again = Scenario::from_text(&least.to_text()).expect("it is readable");
    assert_eq!(sim::run(&again, false).trace, outcome.trace);
    let sound = Scenario { planted: None, ..long };
    assert!(sim::shrink(&sound, effort, |_, _| ()).is_none(), "a good scenario cannot be made less");
}

/// The same seeds without a fault are good.
#[test]
fn seeds_that_dwell_on_something_are_good() {
    for focus in
        [Focus::Members, Focus::Pauses, Focus::Elections, Focus::Moves, Focus::Merged, Focus::Leaderless]
    {
        for seed in 1..=8 {
            let outcome = sim::run(&Scenario::of_seed_focused(seed, focus), false);
            assert_eq!(outcome.violation, None, "{focus:?}, seed {seed}");
        }
    }
}
