//! `consort verify` and `consort check` as a user runs them: real processes, real faults, and their exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value as Json;

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("consort-verify-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Folder(path)
    }

    fn report(&self) -> Json {
        let text = fs::read_to_string(self.0.join("report.json")).expect("a report");
        serde_json::from_str(&text).expect("JSON")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn consort(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_consort")).args(arguments).output().expect("it runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn histories(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("histories").map(|entry| entry.expect("an entry").path());
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            files.extend(histories(&path));
        } else if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    files
}

#[test]
fn a_local_cluster_keeps_its_promises_under_faults() {
    let folder = Folder::new("local");
    let out = folder.0.to_str().expect("a path");
    // Those that are short, so that there are several.
    let faults = "kill,isolate,pause,corrupt,drop connections,failover,kill all";
    let output = consort(&[
        "verify",
        "--minutes",
        "0.5",
        "--seed",
        "5",
        "--rate",
        "600",
        "--faults",
        faults,
        "--out",
        out,
        "--base-port",
        "8200",
    ]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("every promise held"), "{text}");
    let report = folder.report();
    assert_eq!(report["held"], true, "{text}");
    assert!(report["operations"].as_u64().expect("a number") > 5_000, "{text}");
    assert!(report["faults"].as_array().expect("faults").len() >= 2, "{text}");
    assert!(report["verdicts"]["valid"].as_u64().expect("a number") > 60, "{text}");
    let page = fs::read_to_string(folder.0.join("report.html")).expect("a page");
    assert!(
        page.contains("every promise held") && page.contains("<svg") && !page.contains("http://localhost")
    );
    assert!(!folder.0.join("nodes").exists(), "the nodes' folders are removed if all is well");

    // The histories say the same to whoever reads the files. What an asynchronous keyspace may lose is not in them.
    let files = histories(&folder.0.join("histories"));
    let files: Vec<&str> =
        files.iter().filter_map(|path| path.to_str()).filter(|path| !path.contains("/async/")).collect();
    assert!(files.len() > 25, "{files:?}");
    let checked = consort(&[&["check"], files.as_slice()].concat());
    assert!(checked.status.success(), "{}", said(&checked));
    assert!(said(&checked).contains("writes follow reads: valid"), "{}", said(&checked));
}

/// What `KEYSPACE EXPLAIN` says of a cut before it comes is what clients see in it, of every strategy.
#[test]
fn each_side_of_a_cut_does_what_was_foretold() {
    let folder = Folder::new("foretold");
    fs::create_dir_all(&folder.0).expect("a folder");
    let (out, plan) = (folder.0.to_str().expect("a path"), folder.0.join("given.json"));
    let given = r#"[{"at_ms": 2000, "lasts_ms": 9000, "fault": "isolate", "node": 1}]"#;
    fs::write(&plan, given).expect("a plan");
    let plan = plan.to_str().expect("a path");
    let output = consort(&[
        "verify",
        "--minutes",
        "0.25",
        "--keyspaces",
        "default,sync,multi,peers,near",
        "--plan",
        plan,
        "--out",
        out,
        "--base-port",
        "27000",
    ]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    let compared = text.lines().filter(|line| line.contains("foretold (of 1 faults)"));
    assert_eq!(compared.count(), 5, "{text}");
}

#[test]
fn a_broken_history_is_a_failure() {
    let folder = Folder::new("check");
    fs::create_dir_all(&folder.0).expect("a folder");
    let path = folder.0.join("stale.jsonl");
    let lines = [
        r#"{"history":"consort","version":1,"model":"register","checks":["regular","monotonic_reads"]}"#,
        r#"{"event":"invoke","id":0,"process":1,"time":0,"key":"a","input":{"write":"x"}}"#,
        r#"{"event":"done","id":0,"time":1,"output":"written"}"#,
        r#"{"event":"invoke","id":1,"process":2,"time":2,"key":"a","input":"read"}"#,
        r#"{"event":"done","id":1,"time":3,"output":{"value":null}}"#,
        "",
    ];
    fs::write(&path, lines.join("\n")).expect("a file");
    let output = consort(&["check", path.to_str().expect("a path")]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("regular: invalid: stale read") && text.contains("monotonic reads: valid"),
        "{text}"
    );
    let missing = consort(&["check", "/nowhere.jsonl"]);
    assert!(!missing.status.success() && said(&missing).contains("cannot read /nowhere.jsonl"));
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = Folder::new("refused");
    let out = folder.0.to_str().expect("a path");
    let table: [(&[&str], &str); 4] = [
        (&["--cluster", "127.0.0.1:1"], "cannot connect to 127.0.0.1:1"),
        (&["--local", "--cluster", "127.0.0.1:1"], "cannot be used with"),
        (&["--binary", "/nowhere/consort"], "cannot start n1"),
        (&["--env", "nothing"], "accepted: NAME=VALUE"),
    ];
    for (arguments, expected) in table {
        let output = consort(&[&["verify", "--out", out, "--base-port", "9000"], arguments].concat());
        assert!(!output.status.success());
        assert!(said(&output).contains(expected), "{}", said(&output));
    }
}
