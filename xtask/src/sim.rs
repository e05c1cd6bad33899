//! `cargo xtask sim`: many seeds on all cores, and the story of the first that fails.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use sim::{Counters, Outcome};

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
    /// Go on after a failure and list every failing seed.
    #[arg(long)]
    keep_going: bool,
    /// Threads, each running whole simulations.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    threads: usize,
}

/// What all threads add to.
#[derive(Default)]
struct Total {
    counters: Counters,
    simulated: Duration,
    failures: Vec<Outcome>,
    done: u64,
}

/// Runs the seeds. The exit code says whether all were good.
pub fn run(arguments: &Arguments) -> ExitCode {
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
                    let outcome = sim::run(arguments.first_seed + number, false);
                    if outcome.violation.is_some() && !arguments.keep_going {
                        stop.store(true, Ordering::Relaxed);
                    }
                    add(&total, outcome, arguments, began);
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    report(&total, arguments, began.elapsed())
}

fn add(total: &Mutex<Total>, outcome: Outcome, arguments: &Arguments, began: Instant) {
    let mut total = total.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    total.counters.merge(&outcome.counters);
    total.simulated += Duration::from_nanos(outcome.simulated_ns);
    total.done += 1;
    if outcome.violation.is_some() {
        total.failures.push(outcome);
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
    let mut failures: Vec<&Outcome> = total.failures.iter().collect();
    failures.sort_by_key(|outcome| outcome.seed);
    if arguments.story && arguments.seeds == 1 {
        tell(arguments.first_seed, usize::MAX);
    } else if let Some(first) = failures.first() {
        tell(first.seed, if arguments.story { usize::MAX } else { LAST_LINES });
    }
    list(&failures);
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a seed again and prints its story: simulations are deterministic, so it is the same one.
fn tell(seed: u64, lines: usize) {
    let outcome = sim::run(seed, true);
    let skipped = outcome.story.len().saturating_sub(lines);
    println!("\n---- the story of seed {seed} ({skipped} earlier lines left out)");
    for line in outcome.story.iter().skip(skipped) {
        println!("{line}");
    }
}

fn list(failures: &[&Outcome]) {
    let mut seen = BTreeSet::new();
    for outcome in failures {
        let text = outcome.violation.as_deref().unwrap_or_default();
        let kind = text.split(':').next().unwrap_or_default();
        // All of the first of a kind, one line of the others.
        let text = if seen.insert(kind) { text } else { text.lines().next().unwrap_or_default() };
        println!("\nFAILED seed {}: {text}", outcome.seed);
        println!("    again: cargo xtask sim --seeds 1 --first-seed {} --story", outcome.seed);
    }
}
