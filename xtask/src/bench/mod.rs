//! `cargo xtask bench`: throughput, latency and processor time of Consort beside etcd, Redis and the machine's limit.
//!
//! All systems run on this machine at the same time, with data on the same disk; the load goes to one after the other in
//! short rounds, in an order that changes from round to round, so that whatever else the machine does hits all alike. A
//! measurement is a load (operation, connections, pipeline) for each system; the figure for throughput is the median of
//! its rounds, latencies are those of all rounds together. Nothing here asserts a time.
//!
//! Where to read next: [`systems`] (what is started, and how), [`load`] (the closed loop), [`wire`] (the protocols),
//! [`limit`] (the bare server), [`report`], [`memory`], [`growth`], [`heal`], [`children`] (that nothing is left behind).

mod children;
mod growth;
mod heal;
mod keys;
mod limit;
mod load;
mod memory;
mod process;
mod report;
mod systems;
mod wire;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use children::Nursery;
use load::Order;
use report::{Load, Measurement, Report, Round};
use systems::{Keyspace, Peer, Route, System};
use wire::Operation;

pub use children::keep;
pub use limit::{Arguments as LimitArguments, run as run_limit};

/// Keys that the loads choose from.
const KEYS: u32 = 100_000;

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Seconds of load for each system in each measurement, all rounds together
    #[arg(long, default_value_t = 12)]
    seconds: u32,
    /// Into how many rounds they are cut
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Numbers of connections
    #[arg(long, value_delimiter = ',', default_value = "1,50,256")]
    connections: Vec<usize>,
    /// Requests that a connection sends before it waits for answers
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    pipeline: Vec<usize>,
    /// What the connections do
    #[arg(long, value_enum, value_delimiter = ',', default_value = "set,get")]
    operations: Vec<Operation>,
    /// How Consort's keys are replicated; each is a cluster of its own
    #[arg(long, value_enum, value_delimiter = ',', default_value = "raft")]
    keyspaces: Vec<Keyspace>,
    /// What to measure beside Consort
    #[arg(long, value_enum, value_delimiter = ',', default_value = "etcd,redis,redis-replicas,limit")]
    peers: Vec<Peer>,
    /// Where connections to clusters go
    #[arg(long, value_enum, default_value = "leader")]
    route: Route,
    /// One second for each measurement, in one round
    #[arg(long)]
    quick: bool,
    /// Also: memory per key, and the time that a restart takes, with a million keys
    #[arg(long)]
    memory: bool,
    /// Also: what clients see while the cluster grows from three nodes to six
    #[arg(long)]
    growth: bool,
    /// Also: how long replicas that all take writes need to become the same after one was cut off for so many seconds
    #[arg(long)]
    heal: Option<u64>,
    /// How fast partitions are copied meanwhile, as `NODE SETTING move-bytes-per-second` takes it [default: the default]
    #[arg(long)]
    move_speed: Option<String>,
    /// Another binary of Consort, from before a change say, to measure in the same run
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// Leave Consort out (to measure the peers alone)
    #[arg(long)]
    without_consort: bool,
    /// Where to write all figures as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where the servers keep their data, below a temporary folder [default: target/bench]
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// Runs the measurements and prints the table.
///
/// # Errors
/// A system could not be built or started, or broke under load.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let folder = arguments.folder.clone().unwrap_or_else(|| target_folder(root).join("bench"));
    let program = if arguments.without_consort { None } else { Some(build(root)?) };
    let mut report = Report::new();
    if !arguments.connections.is_empty() && arguments.seconds > 0 {
        let nursery = Nursery::new(&folder)?;
        let mut systems = start(&nursery, program.as_deref(), arguments)?;
        measure_all(&mut systems, arguments, &mut report)?;
    }
    if arguments.memory {
        memory::measure(&folder, program.as_deref(), &arguments.keyspaces, &arguments.peers, &mut report)?;
    }
    if let (true, Some(program)) = (arguments.growth, &program) {
        growth::measure(&folder, program, arguments.move_speed.as_deref())?;
    }
    if let (Some(seconds), Some(program)) = (arguments.heal, &program) {
        heal::measure(&folder, program, Duration::from_secs(seconds))?;
    }
    if let Some(path) = &arguments.json {
        fs::write(path, report.json()?).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Where cargo puts what it builds.
fn target_folder(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Builds the binary and returns its path.
fn build(root: &Path) -> Result<PathBuf, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--release", "--package", "consort"]);
    let status = command.status().map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err("consort could not be built".into());
    }
    Ok(target_folder(root).join("release").join("consort"))
}

fn start(nursery: &Nursery, program: Option<&Path>, arguments: &Arguments) -> Result<Vec<System>, String> {
    let mut systems = Vec::new();
    if let Some(program) = program {
        for &keyspace in &arguments.keyspaces {
            let (name, ..) = keyspace.described();
            systems.push(System::consort(nursery, name, program, arguments.route, KEYS, keyspace)?);
        }
    }
    if let Some(program) = &arguments.baseline {
        let keyspace = arguments.keyspaces.first().copied().unwrap_or(Keyspace::Raft);
        systems.push(System::consort(nursery, "baseline", program, arguments.route, KEYS, keyspace)?);
    }
    for peer in &arguments.peers {
        systems.push(System::peer(nursery, *peer, arguments.route, KEYS)?);
    }
    for system in &systems {
        println!("{:15} {}", system.name, system.promise);
        fill(system, Duration::from_secs(120))?;
    }
    Ok(systems)
}

/// Writes every key once.
fn fill(system: &System, patience: Duration) -> Result<(), String> {
    const PIPELINE: usize = 256;
    let outcome = load::run(system.filling_plans(), PIPELINE, patience, Order::Once, 0)?;
    match outcome.failure {
        Some(failure) => Err(format!("{}: {failure}", system.name)),
        None => Ok(()),
    }
}

fn measure_all(systems: &mut [System], arguments: &Arguments, report: &mut Report) -> Result<(), String> {
    for operation in arguments.operations.iter().copied() {
        settle(systems)?;
        for connections in &arguments.connections {
            for pipeline in &arguments.pipeline {
                let load =
                    Load { operation: operation.name(), connections: *connections, pipeline: *pipeline };
                let measurement = measure(systems, operation, load, arguments)?;
                print!("{}", measurement.table());
                report.measurements.push(measurement);
            }
        }
    }
    Ok(())
}

/// Writes a few single keys, some time apart, before reads are measured after many writes. etcd 3.4 keeps the buffer of
/// its last large batch until later batches were committed, and copies it for every read: a cost that a cluster under
/// mixed load does not have.
fn settle(systems: &[System]) -> Result<(), String> {
    const PAUSE: Duration = Duration::from_millis(300);
    for _ in 0..3 {
        for system in systems {
            let mut plans = system.filling_plans();
            plans.iter_mut().for_each(|plan| plan.keys = &plan.keys[..1]);
            load::run(plans, 1, PAUSE, Order::Once, 0)
                .map_err(|error| format!("{}: {error}", system.name))?;
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn measure(
    systems: &mut [System],
    operation: Operation,
    load: Load,
    arguments: &Arguments,
) -> Result<Measurement, String> {
    let rounds = if arguments.quick { 1 } else { arguments.rounds.max(1) };
    let seconds = if arguments.quick { 1 } else { arguments.seconds };
    let duration = Duration::from_secs(seconds.into()) / rounds;
    let mut measurement = Measurement::new(load, systems.iter().map(|system| system.name))?;
    for round in 0..rounds as usize {
        for turn in 0..systems.len() {
            let index = (round + turn) % systems.len();
            let system = &mut systems[index];
            let failed = |error| format!("{} ({}): {error}", system.name, load.name());
            let (own, servers) = (process::cpu_time(std::process::id())?, system.cpu_time()?);
            let plans = system.plans(operation, load.connections);
            let outcome =
                load::run(plans, load.pipeline, duration, Order::Random, round as u64).map_err(failed)?;
            let client_cpu = process::cpu_time(std::process::id())?.saturating_sub(own);
            let server_cpu = system.cpu_time()?.saturating_sub(servers);
            measurement.add(index, Round { outcome, client_cpu, server_cpu });
            system.check()?;
        }
    }
    Ok(measurement)
}
