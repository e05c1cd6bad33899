//! What is told: a table for each measurement, and everything as JSON.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::load::{Outcome, new_histogram};

/// What the connections do.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Load {
    /// `SET` or `GET`.
    pub operation: &'static str,
    /// Connections at once.
    pub connections: usize,
    /// Requests that each sends before it waits.
    pub pipeline: usize,
}

impl Load {
    /// In words.
    pub fn name(&self) -> String {
        let connections = if self.connections == 1 { "connection" } else { "connections" };
        format!("{}, {} {connections}, pipeline {}", self.operation, self.connections, self.pipeline)
    }
}

/// One round of one system.
pub struct Round {
    /// What the load saw.
    pub outcome: Outcome,
    /// What the load generator took from the processors.
    pub client_cpu: Duration,
    /// What the system's processes took.
    pub server_cpu: Duration,
}

/// One load on all systems.
pub struct Measurement {
    load: Load,
    results: Vec<Collected>,
}

struct Collected {
    system: &'static str,
    throughput: Vec<f64>,
    latency: Histogram<u64>,
    /// Operations of any outcome, for the cost of one.
    answered: u64,
    failures: u64,
    failure: Option<String>,
    client_cpu: Duration,
    server_cpu: Duration,
}

/// A system under one load, in figures.
#[derive(Debug, Serialize)]
struct Figures {
    system: &'static str,
    /// Operations a second: the median of the rounds.
    throughput: f64,
    /// The same for each round.
    rounds: Vec<f64>,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    /// Processor time of the system's processes for one operation.
    server_cpu_us: f64,
    /// Processor time of the load generator for one operation.
    client_cpu_us: f64,
    failures: u64,
    failure: Option<String>,
}

impl Measurement {
    /// Without any round.
    ///
    /// # Errors
    /// Never in practice.
    pub fn new(load: Load, systems: impl Iterator<Item = &'static str>) -> Result<Self, String> {
        let results = systems.map(|system| {
            Ok(Collected {
                system,
                throughput: Vec::new(),
                latency: new_histogram()?,
                answered: 0,
                failures: 0,
                failure: None,
                client_cpu: Duration::ZERO,
                server_cpu: Duration::ZERO,
            })
        });
        Ok(Measurement { load, results: results.collect::<Result<_, String>>()? })
    }

    /// Adds a round of the `index`th system.
    pub fn add(&mut self, index: usize, round: Round) {
        let (result, outcome) = (&mut self.results[index], round.outcome);
        result.throughput.push(outcome.operations as f64 / outcome.elapsed.as_secs_f64().max(1e-9));
        // Both histograms have the same bounds, so this cannot fail.
        let _ = result.latency.add(&outcome.latency);
        result.answered += outcome.operations + outcome.failures;
        result.failures += outcome.failures;
        if result.failure.is_none() {
            result.failure = outcome.failure;
        }
        result.client_cpu += round.client_cpu;
        result.server_cpu += round.server_cpu;
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut out = format!("\n{}\n", self.load.name());
        let _ = writeln!(
            out,
            "  {:15} {:>10} {:>8} {:>10} {:>10} {:>10} {:>12} {:>12}",
            "", "op/s", "spread", "p50 us", "p99 us", "p99.9 us", "server us/op", "client us/op"
        );
        let figures = self.figures();
        for row in &figures {
            let _ = writeln!(
                out,
                "  {:15} {:>10.0} {:>7.0}% {:>10.0} {:>10.0} {:>10.0} {:>12.2} {:>12.2}",
                row.system,
                row.throughput,
                spread(&row.rounds) * 100.0,
                row.p50_us,
                row.p99_us,
                row.p999_us,
                row.server_cpu_us,
                row.client_cpu_us
            );
            if let Some(failure) = &row.failure {
                let _ = writeln!(out, "  {:15} {} failed, first: {failure}", "", row.failures);
            }
        }
        if let Some(ratios) = ratios(&figures) {
            let _ = writeln!(out, "  {ratios}");
        }
        out
    }

    fn figures(&self) -> Vec<Figures> {
        self.results.iter().map(Collected::figures).collect()
    }
}

impl Collected {
    fn figures(&self) -> Figures {
        let quantile = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1000.0;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / self.answered.max(1) as f64;
        Figures {
            system: self.system,
            throughput: median(&self.throughput),
            rounds: self.throughput.clone(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            server_cpu_us: each(self.server_cpu),
            client_cpu_us: each(self.client_cpu),
            failures: self.failures,
            failure: self.failure.clone(),
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[length / 2],
        length => (sorted[length / 2 - 1] + sorted[length / 2]) / 2.0,
    }
}

/// How far apart the rounds are, as a part of their median.
fn spread(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::MIN, f64::max);
    let smallest = values.iter().copied().fold(f64::MAX, f64::min);
    if values.is_empty() { 0.0 } else { (largest - smallest) / median(values).max(1e-9) }
}

/// The throughput of Consort as a multiple of each other system's.
fn ratios(figures: &[Figures]) -> Option<String> {
    let own = figures.iter().find(|row| row.system == "consort")?;
    let others = figures.iter().filter(|row| row.system != "consort");
    let ratios: Vec<String> = others
        .map(|row| format!("consort/{} {:.2}", row.system, own.throughput / row.throughput.max(1e-9)))
        .collect();
    if ratios.is_empty() { None } else { Some(ratios.join("   ")) }
}

/// Memory and restart of one system with many keys.
#[derive(Debug, Serialize)]
pub struct Footprint {
    /// Its name.
    pub system: &'static str,
    /// How many keys it held.
    pub keys: u32,
    /// Resident memory that each key added, in bytes, for each process.
    pub bytes_per_key: Vec<f64>,
    /// From the start of all its processes after all were killed until every slot gave its value.
    pub restart_ms: f64,
    /// From the start of a node that has nothing until it has a vote in every partition and every key.
    pub rebuild_ms: Option<f64>,
}

impl Footprint {
    /// For people.
    pub fn line(&self) -> String {
        let bytes: Vec<String> = self.bytes_per_key.iter().map(|bytes| format!("{bytes:.0}")).collect();
        format!(
            "  {:15} {} bytes per key (one figure for each process), serves all of {} keys {:.0} ms after a restart{}\n",
            self.system,
            bytes.join(", "),
            self.keys,
            self.restart_ms,
            self.rebuild_ms
                .map_or(String::new(), |ms| format!(", an empty replica is rebuilt in {ms:.0} ms"))
        )
    }
}

/// Everything that was measured.
pub struct Report {
    /// Loads.
    pub measurements: Vec<Measurement>,
    /// Memory and restarts.
    pub footprints: Vec<Footprint>,
}

#[derive(Serialize)]
struct Document<'a> {
    machine: Machine,
    measurements: Vec<Row>,
    footprints: &'a [Footprint],
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    load: Load,
    systems: Vec<Figures>,
}

#[derive(Serialize)]
struct Machine {
    processors: usize,
    kernel: String,
    versions: Vec<String>,
}

impl Report {
    /// An empty one.
    pub fn new() -> Self {
        Report { measurements: Vec::new(), footprints: Vec::new() }
    }

    /// For programs.
    ///
    /// # Errors
    /// Never in practice.
    pub fn json(&self) -> Result<String, String> {
        let rows = self.measurements.iter();
        let document = Document {
            machine: machine(),
            measurements: rows.map(|row| Row { load: row.load, systems: row.figures() }).collect(),
            footprints: &self.footprints,
        };
        serde_json::to_string_pretty(&document).map_err(|error| error.to_string())
    }
}

fn machine() -> Machine {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_string();
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_string)
    };
    Machine {
        processors: thread::available_parallelism().map_or(0, usize::from),
        kernel,
        versions: ["redis-server", "etcd", "rustc"].into_iter().filter_map(version).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(operations: u64) -> Round {
        let mut latency = new_histogram().unwrap();
        latency.record(2_000_000).unwrap();
        let elapsed = Duration::from_secs(1);
        let outcome = Outcome { operations, failures: 0, failure: None, elapsed, latency };
        Round { outcome, client_cpu: Duration::from_millis(10), server_cpu: Duration::from_millis(20) }
    }

    #[test]
    fn the_median_of_the_rounds_is_told_beside_the_others() {
        let load = Load { operation: "SET", connections: 1, pipeline: 1 };
        let mut measurement = Measurement::new(load, ["consort", "etcd"].into_iter()).unwrap();
        for operations in [100, 3000, 200] {
            measurement.add(0, round(operations));
            measurement.add(1, round(50));
        }
        let table = measurement.table();
        assert!(table.starts_with("\nSET, 1 connection, pipeline 1\n"), "{table}");
        assert!(table.contains("consort                200"), "{table}");
        assert!(table.contains("consort/etcd 4.00"), "{table}");
        let mut report = Report::new();
        report.measurements.push(measurement);
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        let row = &json["measurements"][0];
        assert_eq!(row["operation"], "SET");
        assert_eq!(row["systems"][0]["throughput"], 200.0);
        assert!((row["systems"][1]["server_cpu_us"].as_f64().unwrap() - 400.0).abs() < 1.0);
    }

    #[test]
    fn no_rounds_are_no_figures() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[1.0, 3.0]), 2.0);
        assert_eq!(spread(&[]), 0.0);
        assert_eq!(spread(&[1.0, 2.0, 3.0]), 1.0);
    }
}
