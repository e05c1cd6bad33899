//! `cargo xtask sim`: many seeds on all cores; of the first that fails, the least scenario that still fails and its story. Or
//! one scenario from a file.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use sim::{Counters, Focus, Outcome, Scenario, Shrinking};

/// Lines of the story that are printed of a failing seed without `--story`.
const LAST_LINES: usize = 120;
/// Fewer seeds than this may well leave something untried.
const ENOUGH_SEEDS: u64 = 50;

/// What to simulate.
#[derive(Args, Debug)]
pub struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Print all that happens (of one seed: with --seeds 1; else of the first that fails).
    #[arg(long)]
    story: bool,
    /// Run the scenario in this file instead (such as a failing run prints).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "first_seed", "keep_going"])]
    scenario: Option<PathBuf>,
    /// Scenarios that dwell on something: members, pauses, elections, moves, splits, primary, relaxed, merged, bounded, leaderless, sloppy, reads, hot.
    #[arg(long, value_parser = focus)]
    focus: Option<Focus>,
    /// Print the scenario of the first seed and run nothing.
    #[arg(long, conflicts_with = "scenario")]
    print: bool,
    /// Do not look for the least scenario that still fails.
    #[arg(long)]
    no_shrink: bool,
    /// Go on after a failure and list every failing seed.
    #[arg(long)]
    keep_going: bool,
    /// Threads, each running whole simulations.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    threads: usize,
}

fn focus(text: &str) -> Result<Focus, String> {
    match text {
        "members" => Ok(Focus::Members),
        "pauses" => Ok(Focus::Pauses),
        "elections" => Ok(Focus::Elections),
        "moves" => Ok(Focus::Moves),
        "splits" => Ok(Focus::Splits),
        "primary" => Ok(Focus::Primary),
        "relaxed" => Ok(Focus::Relaxed),
        "merged" => Ok(Focus::Merged),
        "bounded" => Ok(Focus::Bounded),
        "leaderless" => Ok(Focus::Leaderless),
        "sloppy" => Ok(Focus::Sloppy),
        "reads" => Ok(Focus::Reads),
        "hot" => Ok(Focus::Hot),
        _ => Err("accepted: members, pauses, elections, moves, splits, primary, relaxed, merged, bounded, leaderless, sloppy, reads, hot".into()),
    }
}

impl Arguments {
    fn scenario_of(&self, seed: u64) -> Scenario {
        match self.focus {
            Some(focus) => Scenario::of_seed_focused(seed, focus),
            None => Scenario::of_seed(seed),
        }
    }
}

/// What all threads add to.
#[derive(Default)]
struct Total {
    counters: Counters,
    simulated: Duration,
    failures: Vec<(u64, Outcome)>,
    done: u64,
}

/// Runs the seeds. The exit code says whether all were good.
pub fn run(arguments: &Arguments) -> ExitCode {
    if arguments.print {
        print!("{}", arguments.scenario_of(arguments.first_seed).to_text());
        return ExitCode::SUCCESS;
    }
    match &arguments.scenario {
        Some(path) => run_file(path, arguments),
        None => run_seeds(arguments),
    }
}

fn run_seeds(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let total = Mutex::new(Total::default());
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= arguments.seeds {
                        break;
                    }
                    let seed = arguments.first_seed + number;
                    let outcome = sim::run(&arguments.scenario_of(seed), false);
                    if outcome.violation.is_some() && !arguments.keep_going {
                        stop.store(true, Ordering::Relaxed);
                    }
                    add(&total, seed, outcome, arguments, began);
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    report(&total, arguments, began.elapsed())
}

fn add(total: &Mutex<Total>, seed: u64, outcome: Outcome, arguments: &Arguments, began: Instant) {
    let mut total = total.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    total.counters.merge(&outcome.counters);
    total.simulated += Duration::from_nanos(outcome.simulated_ns);
    total.done += 1;
    if outcome.violation.is_some() {
        total.failures.push((seed, outcome));
    }
    if std::io::stderr().is_terminal() || total.done.is_multiple_of(50) {
        let end = if std::io::stderr().is_terminal() { "\r" } else { "\n" };
        let seconds = began.elapsed().as_secs();
        let (done, failed) = (total.done, total.failures.len());
        eprint!("{done}/{} seeds, {failed} failed, {seconds} s{end}", arguments.seeds);
        let _ = std::io::stderr().flush();
    }
}

fn report(total: &Total, arguments: &Arguments, took: Duration) -> ExitCode {
    println!("\nexercised:\n{}", total.counters);
    let missing = total.counters.missing();
    if !missing.is_empty() && total.done >= ENOUGH_SEEDS {
        println!("WEAK: never happened: {}", missing.join(", "));
    }
    println!(
        "{} seeds from {}: {:.2} simulated hours in {:.0} s, {} failed",
        total.done,
        arguments.first_seed,
        total.simulated.as_secs_f64() / 3600.0,
        took.as_secs_f64(),
        total.failures.len()
    );
    let speed = total.simulated.as_secs_f64() / took.as_secs_f64().max(1e-9);
    println!("{speed:.0} times as fast as time: {:.1} simulated years a day", speed / 365.25);
    let mut failures: Vec<&(u64, Outcome)> = total.failures.iter().collect();
    failures.sort_by_key(|(seed, _)| *seed);
    if arguments.story && arguments.seeds == 1 {
        tell(&arguments.scenario_of(arguments.first_seed), usize::MAX);
    } else if let Some((seed, _)) = failures.first() {
        explain(&arguments.scenario_of(*seed), arguments);
    }
    list(&failures, arguments);
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the scenario in a file. It is good if the alarm that the file expects is raised, or none.
fn run_file(path: &Path, arguments: &Arguments) -> ExitCode {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return refuse(path, &error.to_string()),
    };
    let scenario = match Scenario::from_text(&text) {
        Ok(scenario) => scenario,
        Err(error) => return refuse(path, &error.to_string()),
    };
    let outcome = sim::run(&scenario, false);
    println!("exercised:\n{}", outcome.counters);
    println!("{:.1} simulated seconds, trace {:016x}", outcome.simulated_ns as f64 / 1e9, outcome.trace);
    match &outcome.violation {
        Some(violation) => println!("ALARM {violation}"),
        None => println!("no alarm"),
    }
    if arguments.story {
        tell(&scenario, usize::MAX);
    }
    if outcome.violation.as_ref().map(|violation| violation.oracle) == scenario.alarm.as_deref() {
        return ExitCode::SUCCESS;
    }
    match &scenario.alarm {
        Some(expected) => println!("FAILED: the alarm of {expected:?} was expected"),
        None => explain(&scenario, arguments),
    }
    ExitCode::FAILURE
}

fn refuse(path: &Path, reason: &str) -> ExitCode {
    eprintln!("{}: {reason}", path.display());
    ExitCode::FAILURE
}

/// Prints the least scenario that fails as this one does, and its story.
fn explain(scenario: &Scenario, arguments: &Arguments) {
    let lines = if arguments.story { usize::MAX } else { LAST_LINES };
    if arguments.no_shrink {
        return tell(scenario, lines);
    }
    let show = std::io::stderr().is_terminal();
    let least = sim::shrink(scenario, Shrinking::default(), |runs, faults| {
        if show {
            eprint!("looking for the least that fails: {runs} runs, {faults} faults left\r");
        }
    });
    let Some(least) = least else { return tell(scenario, lines) };
    println!(
        "\n---- the least scenario found that fails in this way; keep it in crates/sim/scenarios/NAME.toml,"
    );
    println!(
        "---- without its line `alarm` once it is mended; again: cargo xtask sim --scenario FILE --story"
    );
    print!("{}", least.to_text());
    tell(&least, lines);
}

/// Runs a scenario again and prints its story: simulations are deterministic, so it is the same one.
fn tell(scenario: &Scenario, lines: usize) {
    let outcome = sim::run(scenario, true);
    let skipped = outcome.story.len().saturating_sub(lines);
    println!("\n---- the story ({skipped} earlier lines left out)");
    for line in outcome.story.iter().skip(skipped) {
        println!("{line}");
    }
    if let Some(violation) = outcome.violation {
        println!("ALARM {violation}");
    }
}

fn list(failures: &[&(u64, Outcome)], arguments: &Arguments) {
    let mut seen = BTreeSet::new();
    for (seed, outcome) in failures {
        let Some(violation) = &outcome.violation else { continue };
        let text = violation.to_string();
        // All of the first of a kind, one line of the others.
        let first = seen.insert(violation.oracle);
        let text = if first { text.as_str() } else { text.lines().next().unwrap_or_default() };
        println!("\nFAILED seed {seed}: {text}");
        let focus =
            arguments.focus.map(|focus| format!("--focus {focus:?} ").to_lowercase()).unwrap_or_default();
        println!("    again: cargo xtask sim {focus}--seeds 1 --first-seed {seed} --story");
    }
}
