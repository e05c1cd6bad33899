//! The report of a run: one page of HTML that needs nothing else, the same as JSON, and the histories as files.

mod figures;
mod html;

use std::fs;
use std::path::Path;

use check::Finding;
use check::format::file::{Check, EXPIRING, WriteLine, write_replicas, write_writes};
use check::format::{edn, json_lines};
use check::model::{Counter, Model, Register, Strings, Transactions};
use serde_json::{Value as Json, json};

use super::faults::Happened;
use super::judge::{Judged, Verdict};
use super::keyspaces::Freshness;
use super::plan::Planned;
use super::staleness;

pub use figures::{Availability, Latency};

/// A whole run.
pub struct Run {
    /// What the command line was, to do it again.
    pub command: String,
    /// The seed of the plan and the load.
    pub seed: u64,
    /// The version of the program that was tested.
    pub version: String,
    /// How long the load lasted, in microseconds.
    pub length: u64,
    /// What had been planned.
    pub plan: Vec<Planned>,
    /// What happened.
    pub happened: Vec<Happened>,
    /// What could not be tested, and why.
    pub left_out: Vec<String>,
    /// Each keyspace.
    pub keyspaces: Vec<Judged>,
    /// Verdicts on the cluster as a whole.
    pub cluster: Vec<Verdict>,
    /// How long the checks took, in milliseconds.
    pub judged_in: u64,
    /// How long the cluster took to be whole again after everything was undone, in milliseconds.
    pub healed_in: u64,
    /// What the replicas held in the end.
    pub replicas: Vec<check::convergent::ReplicaState>,
}

impl Run {
    /// All verdicts, with the keyspace they are about.
    pub fn verdicts(&self) -> impl Iterator<Item = (&str, &Verdict)> {
        let of_keyspaces = self
            .keyspaces
            .iter()
            .flat_map(|judged| judged.verdicts.iter().map(|verdict| (judged.name(), verdict)));
        of_keyspaces.chain(self.cluster.iter().map(|verdict| ("cluster", verdict)))
    }

    /// How many verdicts are of each kind: valid, invalid, unknown.
    pub fn count(&self) -> (usize, usize, usize) {
        let of = |name: &str| self.verdicts().filter(|(_, verdict)| verdict.finding.name() == name).count();
        (of("valid"), of("invalid"), of("unknown"))
    }

    /// How many operations were checked; those that several checks were about count once.
    pub fn operations(&self) -> usize {
        self.keyspaces.iter().map(|judged| judged.recorder.lock().all.len()).sum()
    }

    /// The kinds of faults that happened.
    pub fn kinds(&self) -> std::collections::BTreeMap<&str, usize> {
        let mut kinds = std::collections::BTreeMap::new();
        for fault in &self.happened {
            *kinds.entry(fault.kind.as_str()).or_default() += 1;
        }
        kinds
    }
}

impl Judged {
    /// The keyspace, for people.
    pub fn name(&self) -> &str {
        match self.keyspace.prefix.as_str() {
            "" => "(all other keys)",
            prefix => prefix,
        }
    }

    /// The keyspace, for a file.
    fn file_name(&self) -> String {
        let letters = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
        match self.keyspace.prefix.as_str() {
            "" => "default".to_owned(),
            prefix => prefix.trim_end_matches(':').chars().map(letters).collect(),
        }
    }
}

/// Writes `report.html`, `report.json`, `plan.json` and the histories into a folder.
///
/// # Errors
/// They cannot be written.
pub fn write(run: &Run, folder: &Path) -> Result<(), String> {
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            let _ = fs::create_dir_all(parent);
        }
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    put("report.html", &html::page(run))?;
    put("report.json", &(serde_json::to_string_pretty(&as_json(run)).unwrap_or_default() + "\n"))?;
    put("plan.json", &(serde_json::to_string_pretty(&run.plan).unwrap_or_default() + "\n"))?;
    put("histories/replicas.jsonl", &write_replicas(&run.replicas))?;
    for judged in &run.keyspaces {
        let all = judged.histories.lock();
        let place = |file: &str| format!("histories/{}/{file}", judged.file_name());
        let sessions = [
            Check::Linearizable,
            Check::ReadYourWrites,
            Check::MonotonicReads,
            Check::MonotonicWrites,
            Check::WritesFollowReads,
            Check::CausalConvergent,
            Check::Bounded(0),
        ];
        // Where replicas take writes at the same time there is no one order of all operations, and sessions alone have seen something.
        let merges = judged.keyspace.merges;
        let regular = [Check::Bounded(0), Check::ReadYourWrites, Check::MonotonicReads];
        let of_each_key = if judged.keyspace.everywhere { 3 } else { 1 };
        let fresh = judged.keyspace.freshness.map(|freshness| {
            let bound = match freshness {
                Freshness::Session => u64::MAX,
                Freshness::Bounded(bound) => bound,
            };
            [Check::Bounded(bound), Check::ReadYourWrites, Check::MonotonicReads]
        });
        let of_sessions = match (&fresh, judged.keyspace.regular, merges) {
            (Some(checks), ..) => &checks[..],
            (None, true, _) => &regular[..of_each_key],
            (None, false, true) if judged.keyspace.leaderless => &regular[1..of_each_key],
            (None, false, true) => &sessions[1..sessions.len() - 1],
            (None, false, false) => &sessions[..],
        };
        put(&place("sessions.jsonl"), &json_lines::write_as(Register::NAME, of_sessions, &all.sessions))?;
        if judged.keyspace.regular {
            let checks = [Check::Bounded(0)];
            let lines = json_lines::write_as(Register::NAME, &checks, &all.registers);
            put(&place("registers.jsonl"), &lines)?;
        }
        if !merges && fresh.is_none() {
            put(&place("registers.jsonl"), &json_lines::write::<Register>(&all.registers))?;
            put(&place("registers.edn"), &edn::registers(&all.registers))?;
            put(&place("lists.jsonl"), &json_lines::write::<Strings>(&all.lists))?;
            put(&place("lists.edn"), &edn::lists(&all.lists))?;
            let sums = [Check::Linearizable, Check::Monotonic];
            put(&place("counters.jsonl"), &json_lines::write_as(Counter::NAME, &sums, &all.counters))?;
            put(&place("transactions.jsonl"), &json_lines::write::<Transactions>(&all.transactions))?;
            let keys = [Check::Expiring(30_000)];
            put(&place("expiry.jsonl"), &json_lines::write_as(EXPIRING, &keys, &all.expiring))?;
        }
        let lines: Vec<WriteLine> = all
            .blind
            .iter()
            .map(|write| {
                let (key, value, ended) = (write.key.clone(), write.value.clone(), write.ended);
                WriteLine::Write { key, value, ended }
            })
            .chain(
                judged
                    .held
                    .iter()
                    .map(|(key, value)| WriteLine::Held { key: key.clone(), value: value.clone() }),
            )
            .chain(
                judged
                    .lost
                    .iter()
                    .map(|write| WriteLine::Listed { key: write.key.clone(), value: write.value.clone() }),
            )
            .collect();
        put(&place("writes.jsonl"), &write_writes(&lines))?;
    }
    Ok(())
}

fn as_json(run: &Run) -> Json {
    let (valid, invalid, unknown) = run.count();
    json!({
        "held": invalid == 0 && unknown == 0,
        "command": run.command,
        "seed": run.seed,
        "version": run.version,
        "seconds": run.length as f64 / 1e6,
        "operations": run.operations(),
        "verdicts": { "valid": valid, "invalid": invalid, "unknown": unknown },
        "checked_in_ms": run.judged_in,
        "healed_in_ms": run.healed_in,
        "faults": run.happened,
        "fault_kinds": run.kinds(),
        "left_out": run.left_out,
        "cluster": run.cluster.iter().map(verdict).collect::<Vec<_>>(),
        "keyspaces": run.keyspaces.iter().map(|judged| keyspace(judged, run)).collect::<Vec<_>>(),
    })
}

fn keyspace(judged: &Judged, run: &Run) -> Json {
    let samples = judged.recorder.lock();
    let availability = Availability::new(&samples.all, run.length);
    let staleness = &judged.staleness;
    let during: Vec<Json> = run
        .happened
        .iter()
        .map(|fault| {
            let (share, longest) = availability.during(fault.from, fault.to);
            json!({ "kind": fault.kind, "answered": share, "longest_without_a_write_ms": longest / 1000 })
        })
        .collect();
    json!({
        "prefix": judged.keyspace.prefix,
        "kind": judged.keyspace.kind,
        "promise": judged.keyspace.promise,
        "operations": samples.all.len(),
        "answered": availability.share(),
        "refused_for": samples.refusals,
        "read_latency_us": Latency::new(&samples.all, false),
        "write_latency_us": Latency::new(&samples.all, true),
        "staleness": {
            "reads": staleness.ages.len(),
            "stale": staleness.stale(),
            "p99_us": staleness.quantile(0.99),
            "max_us": staleness.quantile(1.0),
        },
        "stale_by_time": staleness::as_json(&judged.curve),
        "listed_as_lost": judged.listed,
        "lost_with_disks": judged.with_disks,
        "during_faults": during,
        "verdicts": judged.verdicts.iter().map(verdict).collect::<Vec<_>>(),
    })
}

fn verdict(verdict: &Verdict) -> Json {
    let reason = match &verdict.finding {
        Finding::Valid => None,
        Finding::Invalid(example) => Some(example.text.clone()),
        Finding::Unknown(reason) => Some(reason.clone()),
    };
    json!({
        "check": verdict.check,
        "workload": verdict.workload,
        "verdict": verdict.finding.name(),
        "operations": verdict.operations,
        "exempt": verdict.exempt,
        "ms": verdict.milliseconds,
        "reason": reason,
        "note": verdict.note,
    })
}
