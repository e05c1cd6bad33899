//! `cargo xtask mutants`: does `consort verify` see the faults that are built in on purpose?
//!
//! A build with the feature `planted-bugs` (which a release build cannot have) is run under `consort verify`, one fault after
//! the other, each with the kinds of trouble that it needs, until a check says that a promise was broken or the time is up.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::Args;
use serde_json::Value as Json;

#[derive(Args, Debug)]
pub struct Arguments {
    /// Only these
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// For how many minutes each is looked for at the most
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// The seed of the first run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the reports go
    #[arg(long, default_value = "target/mutants/reports")]
    out: PathBuf,
}

/// A fault, and the trouble in which it shows.
struct Mutant {
    name: &'static str,
    faults: &'static str,
    keyspaces: &'static str,
}

const fn mutant(name: &'static str, faults: &'static str, keyspaces: &'static str) -> Mutant {
    Mutant { name, faults, keyspaces }
}

const CUTS: &str = "isolate,mute,deaf,halves,cut pair,pause";
/// These need root: see `--power-cuts` of `consort verify`.
const POWER: &str = "power cut,power cut all,fsync slow,fsync slow all";

const MUTANTS: &[Mutant] = &[
    mutant("KeysBeforeCatalogue", "kill,stop", ""),
    mutant("ReadWithoutConfirming", "stutter,isolate", "default,sync"),
    mutant("SeenIgnored", CUTS, "near"),
    mutant("BoundIgnored", CUTS, "within"),
    mutant("LeaseTooLong", "stutter", "default,sync"),
    mutant("MissingFence", CUTS, "async,semi"),
    mutant("AcknowledgedBeforeShipped", "isolate,mute,kill,pause", "sync,semi"),
    mutant("SuffixNotSaved", "isolate,mute,kill,pause", "async"),
    mutant("LaggingReplicaPromoted", "kill ahead", "semi"),
    mutant("StaleInSyncSet", "isolate,deaf,mute,delay", "sync,semi"),
    mutant("VoteWithoutLogCheck", "isolate,deaf,kill,pause", "default"),
    mutant("AppendWithoutCheck", "isolate,mute,kill,drop connections", "default"),
    mutant("AnswerBeforeDurable", POWER, "default,sync"),
    mutant("OwnLogBeforeDurable", POWER, "default"),
    mutant("OwnVoteBeforeDurable", POWER, "default"),
    mutant("VoteNotPersisted", POWER, "default"),
    mutant("NeverInDoubt", POWER, "relaxed"),
    mutant("StableBeforeDurable", POWER, "relaxed"),
    mutant("CommitOfEarlierTerm", "isolate,kill,pause", "default"),
    mutant("NoPromiseAfterRestart", "kill,pause,isolate", "default"),
    mutant("MembershipNotReverted", "member,isolate,kill", "default"),
    mutant("JointNeedsOneMajority", "member,isolate,halves", "default"),
    mutant("SnapshotWithOldMembership", "member,kill", "default"),
    mutant("GivenUpTooEarly", "member,isolate", "default"),
    mutant("ChangeOfAnyEpoch", "member,split,isolate", "default"),
    mutant("SplitForgottenTooEarly", "split,kill,kill all", "default"),
    mutant("SnapshotBeforeChildIsDurable", "split,kill all", "default"),
    mutant("CommitIndexAhead", "isolate,kill,kill all", "default"),
    mutant("LogTruncatedTooEarly", "kill,kill all,pause", "default"),
    mutant("ExpiryByFollower", "clock jump,clock drift", "default"),
    mutant("TokenLost", "kill,failover,isolate", "default"),
    mutant("ServesWhatWasSplitOff", "split,delay", "default"),
    mutant("LeaseDuringTransfer", "failover,pause", "default"),
    mutant("DuplicateApply", "mix messages", ""),
    mutant("ChecksumIgnored", "corrupt", ""),
    mutant("NewcomerVotes", "wipe,isolate", "default"),
    mutant("DependenciesIgnored", "isolate,mute,deaf,cut pair,drop connections", "multi"),
    mutant("ClockTakenRaw", "clock jump,clock drift", "multi"),
    mutant("AppliedTwice", "isolate,mute,deaf,drop connections", "multi"),
    mutant("GapsIgnored", "isolate,mute,deaf,drop connections", "multi"),
    mutant("ForgottenEarly", "isolate,halves,kill", "multi"),
    mutant("ListsMixed", "isolate,kill,kill all", "multi"),
    mutant("ToldBeforeDurable", POWER, "multi"),
    mutant("HoldsBeforeDurable", POWER, "multi"),
    mutant("AnsweredBeforeDurable", POWER, "multi"),
    mutant("ReadBeforeCovered", "isolate,mute,deaf,delay,drop connections", "peers"),
    mutant("ReadQuorumShort", "isolate,mute,deaf,delay,drop connections", "peers"),
    mutant("WriteQuorumShort", "isolate,halves", "peers"),
    mutant("CountsBeforeCaughtUp", "wipe,isolate", "peers"),
    mutant("SnapshotDropsSuffix", "isolate,kill,pause", "default"),
];

/// One run lasts so long; more of them make the time.
const CHUNK: f64 = 1.5;

pub fn run(arguments: &Arguments) -> Result<(), String> {
    let binary = build()?;
    let names = || MUTANTS.iter().map(|mutant| mutant.name).collect::<Vec<_>>().join(", ");
    if let Some(wrong) = arguments.only.iter().find(|name| MUTANTS.iter().all(|mutant| mutant.name != **name))
    {
        return Err(format!("--only is {wrong}; accepted: {}", names()));
    }
    let mut missed = Vec::new();
    let chosen =
        |mutant: &&Mutant| arguments.only.is_empty() || arguments.only.iter().any(|name| name == mutant.name);
    for mutant in MUTANTS.iter().filter(chosen) {
        let found = look_for(mutant, &binary, arguments).unwrap_or_else(|reason| {
            println!("{:<28} {reason}", mutant.name);
            None
        });
        match found {
            Some((seconds, checks)) => {
                println!("{:<28} found after {seconds:.0} s by: {checks}", mutant.name)
            }
            None => {
                println!("{:<28} NOT FOUND within {} minutes", mutant.name, arguments.minutes);
                missed.push(mutant.name);
            }
        }
    }
    match missed.is_empty() {
        true => Ok(()),
        false => Err(format!("not found: {}", missed.join(", "))),
    }
}

fn build() -> Result<PathBuf, String> {
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--locked",
            "-p",
            "consort",
            "--features",
            "planted-bugs",
            "--target-dir",
            "target/mutants",
        ])
        .status()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    match built.success() {
        true => Ok(PathBuf::from("target/mutants/debug/consort")),
        false => Err("the build with planted bugs failed".into()),
    }
}

/// Runs until it is found. How long that took, and which checks saw it.
fn look_for(mutant: &Mutant, binary: &Path, arguments: &Arguments) -> Result<Option<(f64, String)>, String> {
    let began = Instant::now();
    for attempt in 0.. {
        let left = arguments.minutes - began.elapsed().as_secs_f64() / 60.0;
        if left < 0.5 {
            return Ok(None);
        }
        let out = arguments.out.join(mutant.name);
        let _ = std::fs::remove_dir_all(&out);
        let mut command = Command::new(binary);
        command
            .args(["verify", "--local", "--minutes", &left.min(CHUNK).to_string()])
            .args(["--seed", &(arguments.seed + attempt).to_string(), "--rate", "2000"])
            .args(["--faults", mutant.faults, "--env", &format!("CONSORT_PLANTED={}", mutant.name)])
            .arg("--out")
            .arg(&out);
        if mutant.faults == POWER {
            command.arg("--power-cuts");
        }
        if !mutant.keyspaces.is_empty() {
            command.args(["--keyspaces", mutant.keyspaces]);
        }
        let ran = command.output().map_err(|error| format!("cannot run {}: {error}", binary.display()))?;
        let text = std::fs::read_to_string(out.join("report.json"));
        let report: Json = match text.ok().and_then(|text| serde_json::from_str(&text).ok()) {
            Some(report) => report,
            None => {
                let said = String::from_utf8_lossy(&ran.stderr);
                return Err(format!("no report: {}", said.lines().last().unwrap_or_default()));
            }
        };
        let checks = broken(&report);
        if !checks.is_empty() {
            return Ok(Some((began.elapsed().as_secs_f64(), checks.join("; "))));
        }
    }
    Ok(None)
}

/// The checks that said that a promise was broken.
fn broken(report: &Json) -> Vec<String> {
    let list = |value: &Json| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Json, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let keyspaces = list(&report["keyspaces"]).into_iter().map(|keyspace| {
        let prefix = text(&keyspace, "prefix");
        (if prefix.is_empty() { "default".to_owned() } else { prefix }, list(&keyspace["verdicts"]))
    });
    let cluster = std::iter::once(("cluster".to_owned(), list(&report["cluster"])));
    keyspaces
        .chain(cluster)
        .flat_map(|(name, verdicts)| {
            let invalid = verdicts.into_iter().filter(|verdict| verdict["verdict"] == "invalid");
            let told =
                |verdict: Json| format!("{name} {}: {}", text(&verdict, "workload"), text(&verdict, "check"));
            invalid.map(told).collect::<Vec<_>>()
        })
        .collect()
}
