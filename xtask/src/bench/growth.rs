//! What clients see while a cluster grows from three nodes to six: one second of load after the other, before, during and
//! after. Somebody asks for the slots all the time, and every answer has to cover all of them.
//!
//! All nodes share this machine, so a part of what is lost is lost to three more processes, which take the same share of
//! the processors when the moves are long over. That part is told apart: what the larger cluster does at rest is measured
//! as well.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use resp::Value;

use super::children::Nursery;
use super::load::{self, Order, Outcome, new_histogram};
use super::systems::{Keyspace, Route, System};
use super::wire::Operation;
use super::wire::resp::Client;

const KEYS: u32 = 400_000;
const CONNECTIONS: usize = 50;
const NEW_NODES: usize = 3;
const ROUND: Duration = Duration::from_secs(1);
/// Seconds before the first node joins, and after everything is where it ought to be.
const ROUNDS: usize = 8;
/// How long the moves may take before they count as stuck.
const PATIENCE: Duration = Duration::from_secs(300);
const SLOTS: i64 = 16_384;

/// Runs the load and prints what it saw.
///
/// # Errors
/// A node could not be started, the moves did not end, or a slot was not covered.
pub fn measure(folder: &Path, program: &Path, move_speed: Option<&str>) -> Result<(), String> {
    println!("\nGrowing from three nodes to six: SET of 64 bytes, {CONNECTIONS} connections, {KEYS} keys");
    let nursery = Nursery::new(folder)?;
    let mut system = System::consort(&nursery, "consort", program, Route::Any, KEYS, Keyspace::Raft)?;
    super::fill(&system, Duration::from_secs(120))?;
    let first = system.addresses()[0];
    if let Some(speed) = move_speed {
        Client::connect(first)?.call(&["NODE", "SETTING", "move-bytes-per-second", speed])?;
    }
    let (stop, polls) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let poll = scope.spawn(|| poll_slots(first, &stop, &polls));
        let told = rounds(&nursery, &mut system, program, first);
        stop.store(true, Relaxed);
        poll.join().map_err(|_| "the one who asked for slots panicked")??;
        told
    })?;
    println!("  CLUSTER SLOTS was asked for {} times, and covered every slot each time", polls.load(Relaxed));
    Ok(())
}

fn rounds(nursery: &Nursery, system: &mut System, program: &Path, first: SocketAddr) -> Result<(), String> {
    round(system, 0)?; // to warm up
    let before = (0..ROUNDS).map(|seed| round(system, seed as u64)).collect::<Result<Vec<_>, _>>()?;
    let base = Row::of("before", &before)?;
    println!("{}", base.line(None));
    let begin = Instant::now();
    for index in 0..NEW_NODES {
        system.join(nursery, program, index)?;
    }
    let mut during = Vec::new();
    while !has_settled(first)? {
        let outcome = round(system, during.len() as u64)?;
        println!(
            "{}",
            Row::of(&format!("{:4.0} s", begin.elapsed().as_secs_f64()), [&outcome])?.line(Some(&base))
        );
        during.push(outcome);
        system.check()?;
        if begin.elapsed() > PATIENCE {
            return Err("the partitions are still moving".into());
        }
    }
    println!("{}", Row::of("all of these", &during)?.line(Some(&base)));
    let after = (0..ROUNDS).map(|seed| round(system, seed as u64)).collect::<Result<Vec<_>, _>>()?;
    println!("{}", Row::of("after", &after)?.line(Some(&base)));
    Ok(())
}

fn round(system: &System, seed: u64) -> Result<Outcome, String> {
    load::run(system.plans(Operation::Set, CONNECTIONS), 1, ROUND, Order::Random, seed)
}

/// What some rounds gave together.
struct Row {
    name: String,
    per_second: f64,
    /// Of its worst second.
    least: f64,
    p50: f64,
    p99: f64,
    longest: f64,
    failures: u64,
    failure: Option<String>,
}

impl Row {
    fn of<'a>(name: &str, outcomes: impl IntoIterator<Item = &'a Outcome>) -> Result<Row, String> {
        let mut latency = new_histogram()?;
        let (mut operations, mut seconds, mut least) = (0, 0.0, f64::MAX);
        let (mut failures, mut failure) = (0, None);
        for outcome in outcomes {
            latency.add(&outcome.latency).map_err(|error| error.to_string())?;
            operations += outcome.operations;
            seconds += outcome.elapsed.as_secs_f64();
            least = f64::min(least, outcome.operations as f64 / outcome.elapsed.as_secs_f64());
            failures += outcome.failures;
            failure = failure.or(outcome.failure.clone());
        }
        let ms = |quantile: f64| latency.value_at_quantile(quantile) as f64 / 1e6;
        let (p50, p99, longest) = (ms(0.5), ms(0.99), latency.max() as f64 / 1e6);
        let per_second = operations as f64 / f64::max(seconds, 1e-9);
        Ok(Row { name: name.to_string(), per_second, least, p50, p99, longest, failures, failure })
    }

    fn line(&self, base: Option<&Row>) -> String {
        let ratios = base.map_or_else(String::new, |base| {
            format!("  {:3.0} %, p99 x {:.1}", 100.0 * self.per_second / base.per_second, self.p99 / base.p99)
        });
        let failures = match &self.failure {
            Some(failure) => format!("  {} not done: {failure}", self.failures),
            None => String::new(),
        };
        format!(
            "  {:13} {:7.0} /s (worst second {:6.0}), p50 {:5.2} ms, p99 {:6.2} ms, longest {:6.1} ms{ratios}{failures}",
            self.name, self.per_second, self.least, self.p50, self.p99, self.longest
        )
    }
}

/// Are all nodes members, with nothing on its way?
fn has_settled(address: SocketAddr) -> Result<bool, String> {
    let reply = Client::connect(address)?.call(&["NODE", "LIST"])?;
    let Value::Array(members) = &reply else { return Err(format!("NODE LIST: {reply:?}")) };
    let number = |member: &Value, name: &str| {
        let Value::Array(fields) = member else { return None };
        let place = fields.iter().position(|field| *field == Value::Bulk(name.to_string().into()))?;
        match fields.get(place + 1)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    };
    let is_settled = |member: &Value| {
        number(member, "arriving") == Some(0)
            && number(member, "leaving") == Some(0)
            && number(member, "partitions").is_some_and(|held| held > 0)
    };
    Ok(members.len() == 3 + NEW_NODES && members.iter().all(is_settled))
}

/// Asks for the slots until it is told to stop.
fn poll_slots(address: SocketAddr, stop: &AtomicBool, polls: &AtomicU64) -> Result<(), String> {
    let mut client = Client::connect(address)?;
    while !stop.load(Relaxed) {
        let reply = client.call(&["CLUSTER", "SLOTS"])?;
        let Value::Array(rows) = &reply else { return Err(format!("CLUSTER SLOTS: {reply:?}")) };
        let mut next = 0;
        for row in rows {
            match row {
                Value::Array(fields) => match fields[..] {
                    [Value::Integer(from), Value::Integer(to), Value::Array(_), ..] if from == next => {
                        next = to + 1;
                    }
                    _ => return Err(format!("slot {next} is not covered once: {reply:?}")),
                },
                _ => return Err(format!("CLUSTER SLOTS: {reply:?}")),
            }
        }
        if next != SLOTS {
            return Err(format!("slot {next} is not covered: {reply:?}"));
        }
        polls.fetch_add(1, Relaxed);
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
