//! Was the promise kept? Every keyspace is judged for what it promises (`docs/guarantees.md`), from what its clients saw.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use check::causal::{Guarantee, Level, causal, session};
use check::convergent::{ReplicaState, convergent};
use check::durable::{Ended, Report, durable};
use check::expiry::{ExpiringInput, expiring};
use check::fenced::{self, fenced};
use check::freshness::{Staleness, bounded};
use check::model::{Counter, Model, Register, RegisterInput, RegisterOutput, Strings, Transactions};
use check::picture::{Bar, Shade, timeline};
use check::{Budget, Counterexample, Finding, History, Operation, Outcome, check, counters};

use super::faults::Happened;
use super::foretold;
use super::keyspaces::{Freshness, Keyspace, Loss, LostWrite};
use super::record::Recorder;
use super::staleness::Point;
use super::workload::{Histories, Settled, Shared};

/// What one check of one workload found.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What was asked.
    pub check: String,
    /// What it was asked of.
    pub workload: &'static str,
    /// What was found.
    pub finding: Finding,
    /// How many operations it is about.
    pub operations: usize,
    /// How many were left out, since the promise does not cover them.
    pub exempt: usize,
    /// How long the check took.
    pub milliseconds: u64,
    /// The counterexample as a picture.
    pub picture: Option<String>,
    /// More to tell.
    pub note: Option<String>,
}

/// A keyspace, what happened to it, and the verdicts.
pub struct Judged {
    /// The keyspace.
    pub keyspace: Keyspace,
    /// What was sampled.
    pub recorder: Recorder,
    /// What was done.
    pub histories: Shared,
    /// The verdicts.
    pub verdicts: Vec<Verdict>,
    /// How old the values were that were read.
    pub staleness: Staleness,
    /// How stale reads are by chance: what was measured while nothing was broken, and what latencies predict.
    pub curve: Vec<Point>,
    /// What was there in the end: keys and values of single writes.
    pub held: Vec<(String, String)>,
    /// What the keyspace lists as lost.
    pub lost: Vec<LostWrite>,
    /// How many acknowledged single writes are listed as lost.
    pub listed: usize,
    /// How many went with a disk, which an asynchronous keyspace allows.
    pub with_disks: usize,
}

/// What is known besides the histories.
pub struct Evidence<'a> {
    /// What happened to the cluster.
    pub happened: &'a [Happened],
    /// What was read when all was quiet, or why it could not be.
    pub settled: &'a Result<Settled, String>,
    /// What the keyspace lists as lost.
    pub lost: &'a [LostWrite],
}

/// What each search may cost.
const BUDGET: Budget = Budget { steps: 20_000_000, memory_bytes: 512 << 20 };
/// What a relaxed keyspace acknowledged so long ago is on disks (a second, and what cutting all machines takes).
const RELAXED: u64 = 2_000_000;
/// Keys expire by a clock in milliseconds, and a batch of commands goes by one reading of it.
const CLOCK_READING: u64 = 30_000;

/// Judges one keyspace.
pub fn judge(keyspace: Keyspace, recorder: Recorder, histories: Shared, evidence: &Evidence<'_>) -> Judged {
    let mut judge = Judge {
        shades: evidence
            .happened
            .iter()
            .map(|fault| Shade { label: fault.what.clone(), from: fault.from, to: fault.to })
            .collect(),
        clocks_off: evidence.happened.iter().map(|fault| fault.jumped_us).max().unwrap_or(0)
            + evidence.happened.iter().map(|fault| fault.drifted_us).sum::<u64>(),
        verdicts: Vec::new(),
        exemption: Exemption::new(&keyspace, &histories.lock(), evidence),
    };
    let all = histories.lock();
    let staleness = judge.values(&keyspace, &all);
    let (listed, with_disks) = judge.accounts(&keyspace, &all, evidence);
    judge.impossible(&all, evidence);
    judge.verdicts.extend(foretold::judge(&keyspace.prefix, evidence.happened, &recorder.lock().all));
    let verdicts = judge.verdicts;
    let curve = all.staleness.while_quiet(evidence.happened).curve(keyspace.replicas);
    drop(all);
    let held = evidence.settled.iter().flat_map(|settled| settled.held.clone()).collect();
    let lost = evidence.lost.to_vec();
    Judged { keyspace, recorder, histories, verdicts, staleness, curve, held, lost, listed, with_disks }
}

/// Keys of which writes were lost as the promise allows: it ends there.
struct Exemption {
    keys: BTreeSet<String>,
    /// Moments within which what was acknowledged may have gone with a disk.
    windows: Vec<(u64, u64)>,
}

impl Exemption {
    fn new(keyspace: &Keyspace, histories: &Histories, evidence: &Evidence<'_>) -> Exemption {
        let mut exemption = Exemption { keys: BTreeSet::new(), windows: Vec::new() };
        if keyspace.loss == Loss::None && !keyspace.relaxed {
            return exemption;
        }
        let before = |kind: &str, microseconds: u64| {
            let of_kind = evidence.happened.iter().filter(move |fault| fault.kind == kind);
            of_kind
                .map(move |fault| (fault.from.saturating_sub(microseconds), fault.from))
                .collect::<Vec<_>>()
        };
        if keyspace.loss != Loss::None {
            exemption.keys.extend(evidence.lost.iter().map(|write| unbraced(&write.key)));
            exemption.windows.extend(before("wipe", keyspace.max_lag_ms * 1000));
        }
        if keyspace.relaxed {
            exemption.windows.extend(before("power cut all", RELAXED));
        }
        let windows = exemption.windows.clone();
        let within = |at: u64| windows.iter().any(|(from, to)| (*from..=*to).contains(&at));
        exemption.keys.extend(written_at(&histories.registers, &within));
        exemption.keys.extend(written_at(&histories.sessions, &within));
        exemption.keys.extend(written_at(&histories.lists, &within));
        exemption.keys.extend(written_at(&histories.counters, &within));
        exemption.keys.extend(written_at(&histories.transactions, &within));
        exemption.keys.extend(written_at(&histories.expiring, &within));
        exemption
    }

    fn went_with_a_disk(&self, at: u64) -> bool {
        self.windows.iter().any(|(from, to)| (*from..=*to).contains(&at))
    }

    fn without<I: Clone, O: Clone>(&self, history: &History<I, O>) -> (History<I, O>, usize) {
        let mut kept = History::new();
        let mut left_out = 0;
        for operation in history.operations() {
            match self.keys.contains(&operation.key) {
                true => left_out += 1,
                false => drop(kept.push(operation.clone())),
            }
        }
        (kept, left_out)
    }
}

/// Keys that had operations under way then.
fn written_at<'a, I, O>(
    history: &'a History<I, O>,
    within: &'a impl Fn(u64) -> bool,
) -> impl Iterator<Item = String> + 'a {
    let touched = |operation: &&Operation<I, O>| {
        within(operation.invoked_at) || matches!(operation.outcome, Outcome::Done { at, .. } if within(at))
    };
    history.operations().iter().filter(touched).map(|operation| operation.key.clone())
}

/// What stands before and in braces is the key of a transaction's slot.
fn unbraced(key: &str) -> String {
    match braced(key) {
        Some((prefix, slot)) => format!("{prefix}{slot}"),
        None => key.to_owned(),
    }
}

/// What is before the hash tag of a key, and the tag.
fn braced(key: &str) -> Option<(&str, &str)> {
    let (prefix, rest) = key.split_once('{')?;
    Some((prefix, rest.split_once('}')?.0))
}

struct Judge {
    shades: Vec<Shade>,
    /// By how much the wall clocks of two nodes may have differed.
    clocks_off: u64,
    verdicts: Vec<Verdict>,
    exemption: Exemption,
}

impl Judge {
    /// Everything whose answers are checked one by one.
    fn values(&mut self, keyspace: &Keyspace, all: &Histories) -> Staleness {
        if let Some(freshness) = keyspace.freshness {
            return self.fresh(freshness, all);
        }
        if keyspace.regular {
            return self.regular(keyspace, all);
        }
        if keyspace.merges {
            match keyspace.leaderless {
                true => self.sessions_at_their_nodes(keyspace, all),
                false => self.sessions(all),
            }
            return Staleness::default();
        }
        let (registers, exempt) = self.exemption.without(&all.registers);
        self.linearizable::<Register>("registers", &registers, exempt);
        let (sessions, exempt) = self.exemption.without(&all.sessions);
        self.linearizable::<Register>("sessions", &sessions, exempt);
        self.sessions(all);
        let mut staleness = Staleness::default();
        self.registers("no stale read (bound 0)", "sessions", &sessions, exempt, |history| {
            let (finding, ages) = bounded(history, 0);
            staleness = ages;
            finding
        });
        let (lists, exempt) = self.exemption.without(&all.lists);
        self.linearizable::<Strings>("lists", &lists, exempt);
        let (sums, exempt) = self.exemption.without(&all.counters);
        self.linearizable::<Counter>("counters", &sums, exempt);
        self.judged("sums only grow", "counters", &sums, exempt, Counter::describe, counters::monotonic);
        let (transactions, exempt) = self.exemption.without(&all.transactions);
        self.linearizable::<Transactions>("transactions", &transactions, exempt);
        let jumped = self.clocks_off;
        let (keys, exempt) = self.exemption.without(&all.expiring);
        let asked = match jumped {
            0 => "keys live as long as they should".to_owned(),
            off => format!("keys live as long as they should, give or take {:.3} s", off as f64 / 1e6),
        };
        self.judged(&asked, "expiry", &keys, exempt, describe_expiring, |history| {
            expiring(history, jumped + CLOCK_READING)
        });
        staleness
    }

    /// What sessions see that any replica answers which is fresh enough.
    fn fresh(&mut self, freshness: Freshness, all: &Histories) -> Staleness {
        let (sessions, exempt) = self.exemption.without(&all.sessions);
        let mut staleness = Staleness::default();
        let (asked, bound) = match freshness {
            Freshness::Session => ("reads are of what was written", u64::MAX),
            Freshness::Bounded(bound) => ("no read is older than the bound", bound),
        };
        self.registers(asked, "sessions", &sessions, exempt, |history| {
            let (finding, ages) = bounded(history, bound);
            staleness = ages;
            finding
        });
        for guarantee in [Guarantee::ReadYourWrites, Guarantee::MonotonicReads] {
            self.registers(guarantee.name(), "sessions", &sessions, exempt, |history| {
                session(history, guarantee)
            });
        }
        staleness
    }

    /// What a read sees that asks enough replicas; whatever key it is of, nothing is said about two of them.
    fn regular(&mut self, keyspace: &Keyspace, all: &Histories) -> Staleness {
        let (registers, exempt) = self.exemption.without(&all.registers);
        let mut staleness = Staleness::default();
        self.registers("regular", "registers", &registers, exempt, |history| {
            let (finding, ages) = bounded(history, 0);
            staleness = ages;
            finding
        });
        let (sessions, exempt) = self.exemption.without(&all.sessions);
        self.registers("regular", "sessions", &sessions, exempt, |history| bounded(history, 0).0);
        self.sessions_at_their_nodes(keyspace, all);
        staleness
    }

    /// What every session has seen of each key, where nothing is said about two of them. A node without a replica passes requests on to any that
    /// answers, which may know less than the one before.
    fn sessions_at_their_nodes(&mut self, keyspace: &Keyspace, all: &Histories) {
        if !keyspace.everywhere {
            return;
        }
        let (sessions, exempt) = self.exemption.without(&all.sessions);
        for guarantee in [Guarantee::ReadYourWrites, Guarantee::MonotonicReads] {
            self.registers(guarantee.name(), "sessions", &sessions, exempt, |history| {
                session(history, guarantee)
            });
        }
    }

    /// What every session has seen.
    fn sessions(&mut self, all: &Histories) {
        let (sessions, exempt) = self.exemption.without(&all.sessions);
        for guarantee in Guarantee::ALL {
            self.registers(guarantee.name(), "sessions", &sessions, exempt, |history| {
                session(history, guarantee)
            });
        }
        let level = Level::Convergent;
        self.registers("causal, convergent", "sessions", &sessions, exempt, |history| causal(history, level));
    }

    fn linearizable<M: Model>(
        &mut self,
        workload: &'static str,
        history: &History<M::Input, M::Output>,
        exempt: usize,
    ) {
        self.judged("linearizable", workload, history, exempt, M::describe, |history| {
            check::<M>(history, BUDGET).into()
        });
    }

    fn registers(
        &mut self,
        asked: &str,
        workload: &'static str,
        history: &History<RegisterInput, RegisterOutput>,
        exempt: usize,
        run: impl FnOnce(&History<RegisterInput, RegisterOutput>) -> Finding,
    ) {
        self.judged(asked, workload, history, exempt, Register::describe, run);
    }

    fn judged<I, O>(
        &mut self,
        asked: &str,
        workload: &'static str,
        history: &History<I, O>,
        exempt: usize,
        describe: impl Fn(&I, Option<&O>) -> String,
        run: impl FnOnce(&History<I, O>) -> Finding,
    ) {
        let operations = history.operations();
        if operations.is_empty() && exempt == 0 {
            return;
        }
        let began = Instant::now();
        let finding = run(history);
        let picture = match &finding {
            Finding::Invalid(example) if !example.operations.is_empty() => {
                Some(self.picture(operations, example, describe))
            }
            _ => None,
        };
        self.verdicts.push(Verdict {
            check: asked.to_owned(),
            workload,
            finding,
            operations: operations.len(),
            exempt,
            milliseconds: began.elapsed().as_millis() as u64,
            picture,
            note: None,
        });
    }

    fn picture<I, O>(
        &self,
        operations: &[Operation<I, O>],
        example: &Counterexample,
        describe: impl Fn(&I, Option<&O>) -> String,
    ) -> String {
        let blamed = example.operations.last().copied();
        let bar = |index: &usize| {
            let operation = &operations[*index];
            let (to, output) = match &operation.outcome {
                Outcome::Done { at, output } => (Some(*at), Some(output)),
                Outcome::Refused | Outcome::Unknown => (None, None),
            };
            Bar {
                row: format!("client {}", operation.process),
                label: format!("{} {}", operation.key, describe(&operation.input, output)),
                from: operation.invoked_at,
                to,
                blamed: Some(*index) == blamed,
            }
        };
        let bars: Vec<Bar> = example.operations.iter().take(60).map(bar).collect();
        timeline(&bars, &self.shades, 1_000_000)
    }

    /// What is judged by what is there in the end. Returns how many acknowledged writes are listed as lost, and how many
    /// went with disks.
    fn accounts(&mut self, keyspace: &Keyspace, all: &Histories, evidence: &Evidence<'_>) -> (usize, usize) {
        let Ok(settled) = evidence.settled else { return (0, 0) };
        let began = Instant::now();
        let mut report = durable(
            all.blind.iter().map(|write| (write.key.as_str(), write.value.as_str(), write.ended)),
            settled.held.iter().map(|(key, value)| (key.as_str(), value.as_str())),
            evidence.lost.iter().map(|write| (write.key.as_str(), write.value.as_str())),
        );
        let moments: BTreeMap<&str, u64> =
            all.blind.iter().map(|write| (write.key.as_str(), write.at)).collect();
        let when = |key: &str| moments.get(key).copied();
        let missing = report.missing.len();
        report.missing.retain(|(key, _)| !when(key).is_some_and(|at| self.exemption.went_with_a_disk(at)));
        let with_disks = missing - report.missing.len();
        let picture = self.losses(all, &report);
        let note = match (keyspace.loss, report.listed.len(), with_disks) {
            (_, 0, 0) => None,
            (Loss::WithDisk, _, disks) => Some(format!("{disks} lost with the disk of a node that lost it")),
            (Loss::None, _, disks) => Some(format!("{disks} lost with the power of all machines")),
            (Loss::Listed, listed, 0) => Some(format!("{listed} lost, all listed")),
            (Loss::Listed, listed, disks) => {
                Some(format!("{listed} lost and listed, {disks} with the disk of a node that lost it"))
            }
        };
        if !all.blind.is_empty() {
            let finding = found(&report);
            let picture = finding.is_invalid().then_some(picture).flatten();
            let (operations, milliseconds) = (all.blind.len(), began.elapsed().as_millis() as u64);
            self.verdicts.push(Verdict {
                check: match keyspace.loss {
                    Loss::None | Loss::WithDisk => "nothing acknowledged is lost".into(),
                    Loss::Listed => "what was lost is listed".into(),
                },
                workload: "writes",
                finding,
                operations,
                exempt: 0,
                milliseconds,
                picture,
                note,
            });
        }
        if keyspace.loss == Loss::Listed {
            self.fencing(all, settled, evidence);
        }
        self.sets(all, settled, evidence);
        let (sums, exempt) = self.exemption.without(&all.counters);
        self.judged(
            "everything acknowledged is counted once",
            "counters",
            &sums,
            exempt,
            Counter::describe,
            |history| counters::settled(history, &settled.sums),
        );
        if keyspace.bounded {
            let name = "no counter is ever below zero";
            self.judged(name, "counters", &all.counters, 0, Counter::describe, |history| {
                counters::never_negative(history, &settled.sums)
            });
        }
        (report.listed.len(), with_disks)
    }

    /// What may be lost and is listed must not have been acknowledged beside a successor.
    fn fencing(&mut self, all: &Histories, settled: &Settled, evidence: &Evidence<'_>) {
        let began = Instant::now();
        let held: BTreeSet<&str> = settled.held.keys().map(String::as_str).collect();
        let lost: BTreeMap<&str, &str> =
            evidence.lost.iter().map(|write| (write.key.as_str(), write.reign.as_str())).collect();
        let acknowledged = all.blind.iter().filter(|write| write.ended == Ended::Acknowledged);
        let writes: Vec<fenced::Write<'_>> = acknowledged
            .filter(|write| held.contains(write.key.as_str()) || lost.contains_key(write.key.as_str()))
            .map(|write| fenced::Write {
                log: braced(&write.key).map_or(&*write.key, |(_, tag)| tag),
                key: &write.key,
                from: write.from,
                to: write.at,
                lost: lost.get(write.key.as_str()).copied().filter(|_| !held.contains(write.key.as_str())),
            })
            .collect();
        if writes.is_empty() {
            return;
        }
        let finding = fenced(&writes);
        let picture = match &finding {
            Finding::Invalid(example) => {
                let bar = |place: &usize| {
                    let write = &writes[*place];
                    let row =
                        if write.lost.is_some() { "acknowledged, lost" } else { "acknowledged and there" };
                    Bar {
                        row: row.into(),
                        label: write.key.to_owned(),
                        from: write.from,
                        to: Some(write.to),
                        blamed: example.operations.last() == Some(place),
                    }
                };
                let bars: Vec<Bar> = example.operations.iter().map(bar).collect();
                Some(timeline(&bars, &self.shades, 1_000_000))
            }
            _ => None,
        };
        self.verdicts.push(Verdict {
            check: "no primary acknowledges beside its successor".into(),
            workload: "writes",
            finding,
            operations: writes.len(),
            exempt: 0,
            milliseconds: began.elapsed().as_millis() as u64,
            picture,
            note: None,
        });
    }

    /// Sets whose writes may have been lost and listed are left out: the list tells of bytes, not of members.
    fn sets(&mut self, all: &Histories, settled: &Settled, evidence: &Evidence<'_>) {
        let began = Instant::now();
        let excluded = |set: &str| {
            self.exemption.keys.contains(set)
                || (!self.exemption.windows.is_empty())
                || evidence.lost.iter().any(|write| write.key == set)
        };
        let names: Vec<String> = (0..1 << 16).map(|member: u32| member.to_string()).collect();
        let counted: Vec<&(String, u32, Ended)> =
            all.members.iter().filter(|(set, ..)| !excluded(set)).collect();
        let name = |member: u32| names.get(member as usize).map_or("?", String::as_str);
        let report = durable(
            counted.iter().map(|(set, member, ended)| (set.as_str(), name(*member), *ended)),
            settled
                .members
                .iter()
                .filter(|(set, _)| !excluded(set))
                .flat_map(|(set, members)| members.iter().map(|member| (set.as_str(), name(*member)))),
            [],
        );
        if !all.members.is_empty() {
            self.verdicts.push(Verdict {
                check: "every member that was added is there".into(),
                workload: "sets",
                finding: found(&report),
                operations: counted.len(),
                exempt: all.members.len() - counted.len(),
                milliseconds: began.elapsed().as_millis() as u64,
                picture: None,
                note: None,
            });
        }
    }

    /// The missing writes on the time line: when they were acknowledged, and what happened then.
    fn losses(&self, all: &Histories, report: &Report) -> Option<String> {
        let missing: BTreeSet<&str> = report.missing.iter().map(|(key, _)| key.as_str()).collect();
        let mut lost: Vec<u64> = all
            .blind
            .iter()
            .filter(|write| missing.contains(write.key.as_str()))
            .map(|write| write.at)
            .collect();
        lost.sort_unstable();
        let (first, last) = (*lost.first()?, *lost.last()?);
        let margin = (last - first) / 2 + 500_000;
        let shown = first.saturating_sub(margin)..=last + margin;
        // Forty groups of writes by their time; a group is one bar.
        let width = (shown.end() - shown.start()) / 40 + 1;
        let mut bars = Vec::new();
        for (row, of) in [("acknowledged and there", false), ("acknowledged, lost", true)] {
            for step in 0..=40 {
                let (from, to) = (shown.start() + step * width, shown.start() + (step + 1) * width);
                let count = all
                    .blind
                    .iter()
                    .filter(|write| write.ended == Ended::Acknowledged && (from..to).contains(&write.at))
                    .filter(|write| missing.contains(write.key.as_str()) == of)
                    .count();
                if count > 0 {
                    let label = count.to_string();
                    bars.push(Bar { row: row.into(), label, from, to: Some(to - width / 10), blamed: of });
                }
            }
        }
        Some(timeline(&bars, &self.shades, 1_000_000))
    }

    fn impossible(&mut self, all: &Histories, evidence: &Evidence<'_>) {
        if let Some(first) = all.absurd.first() {
            let text = format!("{} answers of a kind that cannot be; the first: {first}", all.absurd.len());
            self.verdicts.push(plain(
                "answers make sense",
                "all",
                invalid("impossible answer", text),
                all.absurd.len(),
            ));
        }
        if let Err(reason) = evidence.settled {
            let finding = invalid("no progress", reason.clone());
            self.verdicts.push(plain("what was written can be read when all is quiet", "all", finding, 0));
        }
    }
}

fn found(report: &Report) -> Finding {
    match report.is_valid() {
        true => Finding::Valid,
        false => invalid("acknowledged writes", report.to_string()),
    }
}

pub(super) fn invalid(pattern: &'static str, text: String) -> Finding {
    Finding::Invalid(Box::new(Counterexample { pattern, operations: Vec::new(), text }))
}

/// A verdict on something that is no history.
pub fn plain(check: &str, workload: &'static str, finding: Finding, operations: usize) -> Verdict {
    let (check, exempt, milliseconds) = (check.to_owned(), 0, 0);
    Verdict { check, workload, finding, operations, exempt, milliseconds, picture: None, note: None }
}

/// What can be said of the cluster as a whole once it is quiet.
pub fn cluster(whole: &Result<Vec<ReplicaState>, String>, mismatches: u64) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    match whole {
        Ok(states) => {
            verdicts.push(plain(
                "healed, the cluster is whole again",
                "replicas",
                Finding::Valid,
                states.len(),
            ));
            verdicts.push(plain("replicas hold the same", "replicas", convergent(states), states.len()));
        }
        Err(reason) => {
            let finding = invalid("no progress", reason.clone());
            verdicts.push(plain("healed, the cluster is whole again", "replicas", finding, 0));
        }
    }
    if mismatches > 0 {
        let text = format!("the nodes themselves found {mismatches} differences between replicas");
        verdicts.push(plain("replicas hold the same", "replicas", invalid("replicas differ", text), 0));
    }
    verdicts
}

fn describe_expiring(input: &ExpiringInput, output: Option<&RegisterOutput>) -> String {
    match input {
        ExpiringInput::Get => Register::describe(&RegisterInput::Read, output),
        ExpiringInput::Set { value, lives } => format!("set {:?} for {} ms", value.as_str(), lives / 1000),
    }
}
