//! The differential oracle: our consensus core and that of TiKV (the crate `raft`, 0.7.0) through the same seeded cases. Where Raft
//! says what has to happen, both must do the same; where we differ on purpose, the code says so and counts it
//! (`docs/decisions/0007-differential-oracle.md`).
//!
//! `cargo run --release -- [--seeds N] [--first-seed S] [--bug NAME]`. With a bug planted in our core, success means that the
//! difference was seen.
//!
//! Where to read next: `core` (what a core is asked to do), `tables` (single decisions), `schedules` (whole clusters).

mod core;
mod ours;
mod random;
mod report;
mod schedules;
mod tables;
mod theirs;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use random::Random;
use replication::ordered::raft::Bug;
use report::Tally;

type Comparison = fn(&mut Random, &mut Tally) -> Result<(), String>;

/// How often each is drawn for a seed.
const COMPARISONS: [(&str, Comparison, u32); 5] = [
    ("append", tables::append, 40),
    ("vote", tables::vote, 40),
    ("snapshot", tables::snapshot, 20),
    ("lead", tables::lead, 40),
    ("schedule", schedules::run, 2),
];

/// Compares; the first difference ends it.
fn compare(first_seed: u64, seeds: u64, tally: &mut Tally) -> Result<(), String> {
    for seed in first_seed..first_seed + seeds {
        for (name, comparison, times) in COMPARISONS {
            for time in 0..times {
                let mut random = Random::new(seed << 8 | u64::from(time));
                let compared = catch_unwind(AssertUnwindSafe(|| comparison(&mut random, tally)));
                let failure = match compared {
                    Ok(Ok(())) => continue,
                    Ok(Err(difference)) => difference,
                    Err(panic) => {
                        let text = panic.downcast_ref::<String>().cloned();
                        let text =
                            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                        format!("a panic: {}", text.unwrap_or_default())
                    }
                };
                return Err(format!("{name}, seed {seed}, time {time}: {failure}"));
            }
        }
    }
    Ok(())
}

fn bug_named(name: &str) -> Result<Bug, String> {
    let error = || format!("there is no bug {name}; there are {:?}", Bug::ALL);
    Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name).ok_or_else(error)
}

fn arguments() -> Result<(u64, u64, Option<Bug>), String> {
    let (mut seeds, mut first_seed, mut bug) = (1000, 1, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{word}: {value} is not a number"));
        match word.as_str() {
            "--seeds" => seeds = number()?,
            "--first-seed" => first_seed = number()?,
            "--bug" => bug = Some(bug_named(&value)?),
            _ => return Err(format!("{word}: accepted are --seeds N, --first-seed S, --bug NAME")),
        }
    }
    Ok((seeds, first_seed, bug))
}

fn main() -> ExitCode {
    let (seeds, first_seed, bug) = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    ours::PLANTED.set(bug);
    let mut tally = Tally::default();
    let compared = compare(first_seed, seeds, &mut tally);
    print!("{tally}");
    match (compared, bug) {
        (Ok(()), None) => {
            let one_sided = tally.one_sided();
            println!("{seeds} seeds from {first_seed}: the cores agree");
            if one_sided.is_empty() || seeds < 20 {
                return ExitCode::SUCCESS;
            }
            println!("WEAK: always the same outcome: {}", one_sided.join(", "));
            ExitCode::FAILURE
        }
        (Ok(()), Some(bug)) => {
            println!("{bug:?} went unseen in {seeds} seeds");
            ExitCode::FAILURE
        }
        (Err(difference), bug) => {
            println!("{difference}");
            if bug.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the comparison can see. Each bug is planted on a thread of its own.
    const SEEN: [Bug; 7] = [
        Bug::VoteWithoutLogCheck,
        Bug::AppendWithoutCheck,
        Bug::CommitOfEarlierTerm,
        Bug::JointNeedsOneMajority,
        Bug::OwnLogBeforeDurable,
        Bug::VoteNotPersisted,
        Bug::SnapshotDropsSuffix,
    ];

    #[test]
    fn the_cores_agree() {
        let mut tally = Tally::default();
        assert_eq!(compare(1, 60, &mut tally), Ok(()));
        assert_eq!(tally.one_sided(), [""; 0]);
    }

    #[test]
    fn a_bug_in_ours_is_seen() {
        for bug in SEEN {
            let search = move || {
                ours::PLANTED.set(Some(bug));
                compare(1, 60, &mut Tally::default())
            };
            let found = std::thread::spawn(search).join().expect("panics are caught");
            assert!(found.is_err(), "{bug:?} went unseen");
        }
    }
}
