//! `consort verify`: does the cluster keep its promises?
//!
//! Clients work on every keyspace through ordinary connections while faults come and go; everything that they ask and are
//! answered is recorded. Then all is healed, what is left is read, and each keyspace is judged for what it promises by the
//! checkers of the crate `check`, which knows nothing of how we replicate. A run is a success only if every promise held.
//!
//! Where to read next: `plan` (which fault comes when), `faults` (carries them out), `cluster` and `proxy` (processes and
//! the links between them), `workload` (what clients do), `judge` (the verdicts), `report`.

mod client;
mod cluster;
mod faultfile;
mod faults;
mod foretold;
mod judge;
mod keyspaces;
mod machine;
mod plan;
mod proxy;
mod record;
mod report;
mod settled;
mod staleness;
mod workload;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use client::Target;
use cluster::{Cluster, Recipe};
use faults::Director;
use judge::{Evidence, Judged};
use keyspaces::{Keyspace, LostWrite};
use plan::{Fault, Means, Planned};
use record::Recorder;
use report::Run;
use workload::{Kind, Load, Settled, Shared};

use crate::ask::{Connection, Login};
use crate::status::Status;

#[derive(Args, Debug)]
pub struct Options {
    /// Test a cluster of our own, started for it on this machine (the default)
    #[arg(long, conflicts_with = "cluster")]
    local: bool,
    /// Test this cluster, by the addresses where its nodes take clients. Only keys beginning with verify-<seed>: are written in each
    /// keyspace, and deleted in the end
    #[arg(long, value_name = "ADDRESS,...", value_delimiter = ',')]
    cluster: Vec<String>,
    #[command(flatten)]
    login: Login,
    /// How many nodes the local cluster has
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// The program that the local cluster runs, if it is not this one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Set a field of every local node's configuration
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// Set a variable of every local node's environment
    #[arg(long = "env", value_name = "NAME=VALUE")]
    environment: Vec<String>,
    /// How long the load lasts, in minutes
    #[arg(long, default_value_t = 1.0, value_name = "M")]
    minutes: f64,
    /// From which faults and load are drawn; without it, a new one each time
    #[arg(long)]
    seed: Option<u64>,
    /// The faults of an earlier run (its plan.json) instead of drawn ones
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Only faults of these kinds, as the report names them; "none" for no faults
    #[arg(long, value_name = "KIND,...", value_delimiter = ',')]
    faults: Vec<String>,
    /// A fault of your own: a command for the shell that begins it
    #[arg(long = "fault", value_name = "NAME=COMMAND")]
    user_faults: Vec<String>,
    /// The command that ends a fault of your own
    #[arg(long = "undo", value_name = "NAME=COMMAND")]
    user_undos: Vec<String>,
    /// Give each local node a disk image of its own, so that its machine can lose power (needs root and loop devices)
    #[arg(long, conflicts_with = "cluster")]
    power_cuts: bool,
    /// Only these keyspaces, by their prefix; "default" for the one of all other keys
    #[arg(long, value_name = "PREFIX,...", value_delimiter = ',')]
    keyspaces: Vec<String>,
    /// Only these workloads: registers, sessions, lists, counters, transactions, expiry, writes, sets
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = Kind::parse)]
    workloads: Vec<Kind>,
    /// Operations a second, about, of all clients together
    #[arg(long, default_value_t = 1000, value_name = "N")]
    rate: u64,
    /// Where the report goes
    #[arg(long, value_name = "DIR", default_value = "consort-verify")]
    out: PathBuf,
    /// Keep the folders of the local nodes even if all is well
    #[arg(long)]
    keep: bool,
    /// Where the local cluster looks for free ports
    #[arg(long, value_name = "P", default_value_t = 21_000)]
    base_port: u16,
}

/// How often the faults are looked at, and how often progress is shown.
const TICK: Duration = Duration::from_millis(50);
/// How long all nodes may take to list what they lost.
const LISTED: Duration = Duration::from_secs(15);

/// `consort verify`
///
/// # Errors
/// The run could not be made. That a promise was broken is no error but the exit code 1.
pub async fn run(options: Options) -> Result<ExitCode, String> {
    let seed = options.seed.unwrap_or_else(new_seed);
    let screen = Screen { live: std::io::stderr().is_terminal() };
    std::fs::create_dir_all(&options.out)
        .map_err(|error| format!("cannot write {}: {error}", options.out.display()))?;
    let mut left_out = Vec::new();
    let data = options.out.join("nodes");
    let mut cluster = match options.cluster.is_empty() {
        true => Some(start_local(&options, &data, &mut left_out, &screen).await?),
        false => None,
    };
    // A node that is frozen does not end with this process: an interrupted run stops its nodes, too.
    let failed = |error: std::io::Error| format!("cannot listen for signals: {error}");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let tested = tokio::select! {
        tested = test(&options, seed, cluster.as_mut(), left_out, &screen) => tested,
        _ = interrupt.recv() => Err("interrupted".to_owned()),
        _ = terminate.recv() => Err("terminated".to_owned()),
    };
    if let Some(cluster) = &mut cluster {
        screen.say("stopping the nodes");
        cluster.stop().await;
    }
    // Before folders are removed: disks are in them.
    drop(cluster);
    let run = tested?;
    report::write(&run, &options.out)?;
    let (_, invalid, unknown) = run.count();
    if invalid + unknown == 0 && !options.keep {
        let _ = std::fs::remove_dir_all(&data);
    }
    summarise(&run, &options.out);
    Ok(if invalid + unknown == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn new_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as u64 % 1_000_000_000
}

/// What is shown while it runs.
struct Screen {
    live: bool,
}

impl Screen {
    /// A line that stays.
    fn say(&self, text: &str) {
        let clear = if self.live { "\r\x1b[K" } else { "" };
        eprintln!("{clear}{text}");
    }

    /// A line that the next one replaces; shown only where that can be.
    fn progress(&self, text: &str) {
        if self.live {
            let width = terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0));
            let text: String = text.chars().take(width.saturating_sub(1)).collect();
            eprint!("\r\x1b[K{text}");
        }
    }
}

async fn start_local(
    options: &Options,
    folder: &Path,
    left_out: &mut Vec<String>,
    screen: &Screen,
) -> Result<Cluster, String> {
    machine::take_out_leftovers(folder);
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).map_err(|error| format!("cannot write {}: {error}", folder.display()))?;
    let folder = std::fs::canonicalize(folder).map_err(|error| format!("cannot read the folder: {error}"))?;
    let preload = match faultfile::compile(&folder) {
        Ok(library) => Some(library),
        Err(reason) => {
            left_out.push(format!("faults of disk and clocks: {reason}"));
            None
        }
    };
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?,
    };
    // Small, so that snapshots, splits and moves happen within minutes.
    let mut settings: Vec<String> =
        ["partitions=6", "storage.snapshot_log_bytes=256KiB", "storage.segment_bytes=1MiB"]
            .map(str::to_owned)
            .to_vec();
    settings.extend(options.set.iter().cloned());
    let pairs = options.environment.iter().map(|pair| {
        let (name, value) =
            pair.split_once('=').ok_or_else(|| format!("--env is \"{pair}\"; accepted: NAME=VALUE"))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let recipe = Recipe {
        binary,
        folder: &folder,
        nodes: options.nodes,
        base_port: options.base_port,
        settings,
        environment: pairs.collect::<Result<_, String>>()?,
        preload,
        machines: options.power_cuts,
    };
    screen.say(&format!("starting {} nodes in {}", options.nodes, folder.display()));
    let mut cluster = Cluster::start(recipe)?;
    match prepare(options, &mut cluster).await {
        Ok(()) => Ok(cluster),
        Err(reason) => {
            let logs: Vec<String> = cluster.nodes.iter().map(|node| node.log_tail()).collect();
            cluster.stop().await;
            Err(format!("the cluster did not become ready: {reason}\n{}", logs.join("\n")))
        }
    }
}

/// Waits for a cluster of our own, and makes its keyspaces.
async fn prepare(options: &Options, cluster: &mut Cluster) -> Result<(), String> {
    settled::wait(cluster.nodes.len(), || cluster.statuses()).await?;
    // One copy has no replica that could acknowledge.
    let possible = |prefix: &str| {
        (options.nodes > 1 || !["semi:", "relaxed:"].contains(&prefix))
            && (options.nodes > 3 || prefix != keyspaces::SLOPPY)
    };
    let wanted = |prefix: &str| is_wanted(&options.keyspaces, prefix) && possible(prefix);
    keyspaces::create(&cluster.nodes[0].client, &wanted).await?;
    settled::wait(cluster.nodes.len(), || cluster.statuses()).await.map(|_| ())
}

fn is_wanted(chosen: &[String], prefix: &str) -> bool {
    let name = if prefix.is_empty() { "default" } else { prefix };
    chosen.is_empty()
        || chosen
            .iter()
            .any(|chosen| chosen == name || chosen.trim_end_matches(':') == name.trim_end_matches(':'))
}

/// The run itself.
async fn test(
    options: &Options,
    seed: u64,
    cluster: Option<&mut Cluster>,
    left_out: Vec<String>,
    screen: &Screen,
) -> Result<Run, String> {
    let addresses = match &cluster {
        Some(cluster) => cluster.clients(),
        None => options.cluster.clone(),
    };
    let local = cluster.is_some();
    let login = options.login.clone();
    let known = keyspaces::ask(&addresses[0], &login).await?;
    let is_ours = known.is_some();
    let mut spaces = known.unwrap_or_else(|| vec![Keyspace::foreign()]);
    spaces.iter_mut().for_each(|keyspace| keyspace.everywhere = keyspace.replicas >= addresses.len());
    spaces.retain(|keyspace| is_wanted(&options.keyspaces, &keyspace.prefix));
    if spaces.is_empty() {
        return Err("there is no such keyspace; --keyspaces takes prefixes, and default".into());
    }
    let length = Duration::from_secs_f64(options.minutes.max(0.05) * 60.0);
    let mut plan = planned(options, seed, length, cluster.as_deref())?;
    let run_plan = plan.clone();
    screen.say(&format!(
        "seed {seed}: {} faults in {:.0} s, {} keyspaces",
        plan.len(),
        length.as_secs_f64(),
        spaces.len()
    ));

    let target = Arc::new(Target { addresses, login, begin: Instant::now() });
    let until = target.now() + length.as_micros() as u64;
    let mut loads = start_load(options, seed, &target, &spaces, until, local, is_ours);
    let primaries: Vec<String> =
        spaces.iter().filter(|space| space.has_primaries).map(|space| space.prefix.clone()).collect();
    let alter = primaries.iter().find(|prefix| *prefix == "semi:").map(|prefix| {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        (prefix.clone(), [words("ACK sync"), words("ACK semi-sync 1")])
    });
    let mut cluster = cluster;
    let all = spaces.iter().map(|space| (space.prefix.clone(), space.freshness.is_some())).collect();
    let mut director = Director::new(cluster.as_deref_mut(), target.begin, primaries, all, alter);
    let mut told = Instant::now();
    while target.now() < until {
        director.step(&mut plan, &mut |line| screen.say(&line)).await;
        if told.elapsed() > Duration::from_millis(500) {
            told = Instant::now();
            let done: u64 = loads.iter().map(|load| load.recorder.done()).sum();
            let (now, end) = (target.now() as f64 / 1e6, until as f64 / 1e6);
            screen.progress(&format!("{now:>7.1} of {end:.0} s  {done} operations  {}", director.wrong()));
        }
        tokio::time::sleep(TICK).await;
    }
    screen.say(&format!("{:>7.1} s  all is healed", target.now() as f64 / 1e6));
    director.heal(&mut |line| screen.say(&line)).await;
    let mut happened = std::mem::take(&mut director.happened);
    let listed = std::mem::take(&mut director.listed);
    happened.sort_by_key(|fault| fault.from);
    drop(director);
    for load in &mut loads {
        for task in load.tasks.drain(..) {
            let _ = task.await;
        }
    }
    let healing = Instant::now();
    let (whole, version) = end_state(cluster.as_deref(), &target).await;
    let healed_in = healing.elapsed().as_millis() as u64;
    screen.say("reading what is left");
    // All at once: of a cluster that is broken each would be waited for.
    let reading: Vec<_> = loads
        .iter()
        .map(|load| {
            let (target, histories) = (target.clone(), load.histories.clone());
            let prefix = prefix_of(&load.keyspace, seed, local);
            tokio::spawn(async move { workload::settle(&target, &prefix, &histories).await })
        })
        .collect();
    let mut evidence = Vec::new();
    for (load, reading) in loads.iter().zip(reading) {
        let settled = reading.await.unwrap_or_else(|error| Err(error.to_string()));
        let lost = match load.keyspace.loss {
            keyspaces::Loss::None | keyspaces::Loss::WithDisk => Ok(Vec::new()),
            keyspaces::Loss::Listed => ask_lost(&target, &load.keyspace.prefix).await.map(|mut lost| {
                let before = listed.iter().filter(|(prefix, _)| *prefix == load.keyspace.prefix);
                lost.extend(before.map(|(_, write)| write.clone()));
                lost.sort();
                lost.dedup();
                lost
            }),
        };
        evidence.push((settled, lost));
    }
    screen.say("checking");
    let judging = Instant::now();
    let keyspaces = judge_all(loads, evidence, &happened);
    let judged_in = judging.elapsed().as_millis() as u64;
    if !local && is_ours {
        clean_up(&target, &keyspaces, seed, screen).await;
    }
    let (replicas, mismatches) = match &whole {
        Some(Ok(statuses)) => (
            settled::states(statuses),
            statuses.iter().map(|status| status.counter("digest_mismatches")).sum(),
        ),
        _ => (Vec::new(), 0),
    };
    let verdicts = match whole {
        None => Vec::new(),
        Some(Err(reason)) => judge::cluster(&Err(reason), mismatches),
        Some(Ok(_)) => judge::cluster(&Ok(replicas.clone()), mismatches),
    };
    Ok(Run {
        command: again(options, seed),
        seed,
        version,
        length: until,
        plan: run_plan,
        happened,
        left_out,
        keyspaces,
        cluster: verdicts,
        judged_in,
        healed_in,
        replicas,
    })
}

/// The faults of the run.
fn planned(
    options: &Options,
    seed: u64,
    length: Duration,
    cluster: Option<&Cluster>,
) -> Result<Vec<Planned>, String> {
    if let Some(path) = &options.plan {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        return serde_json::from_str(&text)
            .map_err(|error| format!("{} is no plan: {error}", path.display()));
    }
    let pair = |text: &String| {
        let (name, command) = text
            .split_once('=')
            .ok_or_else(|| format!("--fault or --undo is \"{text}\"; accepted: NAME=COMMAND"))?;
        Ok((name.to_owned(), command.to_owned()))
    };
    let mut undos: BTreeMap<String, String> =
        options.user_undos.iter().map(pair).collect::<Result<_, String>>()?;
    let user = options.user_faults.iter().map(|text| {
        let (name, begin) = pair(text)?;
        let end = undos.remove(&name);
        Ok(Fault::User { name, begin, end })
    });
    let user: Vec<Fault> = user.collect::<Result<_, String>>()?;
    if let Some(name) = undos.keys().next() {
        return Err(format!("--undo {name} has no --fault of that name"));
    }
    let means = Means {
        nodes: cluster.map_or(options.cluster.len(), |cluster| cluster.nodes.len()),
        preload: cluster.is_some_and(Cluster::has_preload),
        machines: cluster.is_some_and(Cluster::has_machines),
        local: cluster.is_some(),
    };
    plan::draw(seed, length, means, &user, &options.faults)
}

/// A keyspace under load.
struct Loaded {
    keyspace: Keyspace,
    recorder: Recorder,
    histories: Shared,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

fn start_load(
    options: &Options,
    seed: u64,
    target: &Arc<Target>,
    spaces: &[Keyspace],
    until: u64,
    local: bool,
    is_ours: bool,
) -> Vec<Loaded> {
    let kinds = if options.workloads.is_empty() { Kind::ALL.to_vec() } else { options.workloads.clone() };
    let of_each = Load::processes(&kinds, target.addresses.len());
    let processes = of_each * spaces.len() as u64;
    let pace = Duration::from_secs_f64(processes as f64 / options.rate.max(1) as f64);
    let mut first = 0;
    let mut loaded = Vec::new();
    for keyspace in spaces {
        let (recorder, histories) = (Recorder::default(), Shared::default());
        // On a cluster of others' our keys must not be theirs.
        let prefix = prefix_of(keyspace, seed, local);
        let load = Load {
            target: target.clone(),
            prefix,
            histories: histories.clone(),
            recorder: recorder.clone(),
            kinds: kinds.iter().copied().filter(|kind| kind.fits(keyspace)).collect(),
            stays: keyspace.merges,
            carries: keyspace.freshness.is_some(),
            bounded: keyspace.bounded,
            pace,
            until,
            idempotent: is_ours && !keyspace.merges,
            repeats: keyspace.loss == keyspaces::Loss::None && !keyspace.relaxed,
            seed: seed ^ first,
        };
        let tasks = load.start(first);
        first += of_each;
        loaded.push(Loaded { keyspace: keyspace.clone(), recorder, histories, tasks });
    }
    loaded
}

/// What our keys in a cluster of others' begin with.
/// What all keys of a keyspace begin with: in a cluster that lives on they are to be told from those of others.
fn prefix_of(keyspace: &Keyspace, seed: u64, local: bool) -> String {
    if local { keyspace.prefix.clone() } else { own_prefix(keyspace, seed) }
}

fn own_prefix(keyspace: &Keyspace, seed: u64) -> String {
    format!("{}verify-{seed}:", keyspace.prefix)
}

/// Waits until the cluster is whole. `None` where nothing can be said: it is no Consort. Also the version.
async fn end_state(
    cluster: Option<&Cluster>,
    target: &Arc<Target>,
) -> (Option<Result<Vec<Status>, String>>, String) {
    let whole = match cluster {
        Some(cluster) => Some(settled::wait(cluster.nodes.len(), || cluster.statuses()).await),
        None if all_statuses(target).await.is_empty() => None,
        None => Some(settled::wait(target.addresses.len(), || all_statuses(target)).await),
    };
    let version = match &whole {
        Some(Ok(statuses)) => statuses.first().map(|status| status.version.clone()).unwrap_or_default(),
        _ => String::new(),
    };
    (whole, if version.is_empty() { "unknown".into() } else { version })
}

async fn all_statuses(target: &Arc<Target>) -> Vec<Status> {
    let limit = Duration::from_secs(2);
    let mut statuses = Vec::new();
    for address in &target.addresses {
        let Ok(mut connection) = Connection::open(address, &target.login, limit).await else {
            continue;
        };
        statuses.extend(Status::ask(&mut connection, limit).await.ok());
    }
    statuses
}

async fn ask_lost(target: &Arc<Target>, prefix: &str) -> Result<Vec<LostWrite>, String> {
    let deadline = Instant::now() + LISTED;
    let mut at = 0;
    loop {
        let address = &target.addresses[at % target.addresses.len()];
        match keyspaces::lost(address, &target.login, prefix).await {
            Ok(lost) => return Ok(lost),
            Err(reason) if Instant::now() > deadline => return Err(reason),
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
        at += 1;
    }
}

/// Judges the keyspaces, two at a time.
fn judge_all(
    loads: Vec<Loaded>,
    evidence: Vec<(Result<Settled, String>, Result<Vec<LostWrite>, String>)>,
    happened: &[faults::Happened],
) -> Vec<Judged> {
    let jobs = std::sync::Mutex::new(loads.into_iter().zip(evidence).enumerate().collect::<Vec<_>>());
    let judged = std::sync::Mutex::new(Vec::new());
    let take = || jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((place, (load, (settled, lost)))) = take() {
                    // What cannot be listed is not listed: a loss is then a silent one.
                    let (lost, problem) = match lost {
                        Ok(lost) => (lost, None),
                        Err(reason) => (Vec::new(), Some(reason)),
                    };
                    let settled = match problem {
                        None => settled,
                        Some(reason) => Err(format!("KEYSPACE LOST: {reason}")),
                    };
                    let evidence = Evidence { happened, settled: &settled, lost: &lost };
                    let one = judge::judge(load.keyspace, load.recorder, load.histories, &evidence);
                    judged.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((place, one));
                }
            });
        }
    });
    let mut judged = judged.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    judged.sort_by_key(|(place, _)| *place);
    judged.into_iter().map(|(_, one)| one).collect()
}

/// Deletes what the run wrote into a cluster that is not ours.
async fn clean_up(target: &Arc<Target>, keyspaces: &[Judged], seed: u64, screen: &Screen) {
    for judged in keyspaces {
        let keys = workload::keys(&own_prefix(&judged.keyspace, seed), &judged.histories);
        screen.say(&format!("deleting {} keys of {}", keys.len(), judged.name()));
        workload::delete(target, &keys).await;
    }
}

/// The command that makes this run again.
fn again(options: &Options, seed: u64) -> String {
    let mut words = vec!["consort verify".to_owned()];
    match options.cluster.is_empty() {
        true => words.push(format!("--local --nodes {}", options.nodes)),
        false => words.push(format!("--cluster {}", options.cluster.join(","))),
    }
    words.push(format!("--minutes {} --seed {seed} --rate {}", options.minutes, options.rate));
    if !options.keyspaces.is_empty() {
        words.push(format!("--keyspaces {}", options.keyspaces.join(",")));
    }
    if options.power_cuts {
        words.push("--power-cuts".to_owned());
    }
    if !options.workloads.is_empty() {
        let names: Vec<&str> = options.workloads.iter().map(|kind| kind.name()).collect();
        words.push(format!("--workloads {}", names.join(",")));
    }
    if !options.faults.is_empty() {
        words.push(format!("--faults '{}'", options.faults.join(",")));
    }
    let pairs = [
        ("set", &options.set),
        ("env", &options.environment),
        ("fault", &options.user_faults),
        ("undo", &options.user_undos),
    ];
    for (flag, values) in pairs {
        words.extend(values.iter().map(|value| format!("--{flag} '{value}'")));
    }
    words.join(" ")
}

fn summarise(run: &Run, out: &Path) {
    println!(
        "{} operations, {} faults of {} kinds, checked in {:.1} s",
        run.operations(),
        run.happened.len(),
        run.kinds().len(),
        run.judged_in as f64 / 1e3
    );
    for (keyspace, verdict) in run.verdicts() {
        let note = verdict.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        println!(
            "  {:<8} {:<18} {:<13} {}{note}",
            verdict.finding.name(),
            keyspace,
            verdict.workload,
            verdict.check
        );
    }
    for (keyspace, verdict) in run.verdicts().filter(|(_, verdict)| !verdict.finding.is_valid()) {
        println!("\n{keyspace}, {}: {}", verdict.workload, verdict.finding);
    }
    let (_, invalid, unknown) = run.count();
    println!(
        "\n{}; the report is {}",
        match (invalid, unknown) {
            (0, 0) => "every promise held".to_owned(),
            (0, unknown) => format!("no promise was broken, {unknown} could not be decided"),
            (invalid, _) => format!("{invalid} checks say that a promise was broken"),
        },
        out.join("report.html").display()
    );
}
