//! Recorded histories with known verdicts: a few beside this file, and the whole corpora where they are at hand.

use std::path::{Path, PathBuf};

use check::format::{ReadError, jepsen_etcd, porcupine_kv};
use check::model::{Register, Strings};
use check::{Budget, Verdict, check};

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn verdict(path: &Path) -> Verdict {
    let text = read(path);
    if path.extension().is_some_and(|extension| extension == "log") {
        check::<Register>(&readable(path, jepsen_etcd::read(&text)), Budget::default())
    } else {
        check::<Strings>(&readable(path, porcupine_kv::read(&text)), Budget::default())
    }
}

fn readable<T>(path: &Path, history: Result<T, ReadError>) -> T {
    history.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assert_verdict(path: &Path, expected: &str) {
    let verdict = verdict(path);
    let right = match expected {
        "ok" => verdict.is_valid(),
        "bad" => verdict.is_invalid(),
        other => panic!("unknown verdict {other}"),
    };
    assert!(right, "{} should be {expected}: {verdict}", path.display());
}

#[test]
fn fixtures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    assert_verdict(&folder.join("etcd_002_ok.log"), "ok");
    assert_verdict(&folder.join("etcd_000_bad.log"), "bad");
    assert_verdict(&folder.join("kv_c01_ok.txt"), "ok");
    assert_verdict(&folder.join("kv_c01_bad.txt"), "bad");
}

/// The folder in the environment variable `CONSORT_CORPORA`, else `../shared/corpora` beside the workspace.
#[test]
fn corpora() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora");
    let folder = std::env::var_os("CONSORT_CORPORA").map_or_else(beside, PathBuf::from);
    if !folder.join("VERDICTS.tsv").exists() {
        println!("skipped: no corpora in {}; set CONSORT_CORPORA", folder.display());
        return;
    }
    let verdicts = read(&folder.join("VERDICTS.tsv"));
    let mut checked = 0;
    for line in verdicts.lines() {
        let (file, expected) = line.split_once('\t').expect("file, tab, verdict");
        assert_verdict(&folder.join(file), expected);
        checked += 1;
    }
    println!("{checked} verdicts are right");
    assert!(checked > 0);
}
