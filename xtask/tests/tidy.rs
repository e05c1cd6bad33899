//! The repository checks its own manners: files that can be read in one sitting, modules that open with their story,
//! nothing left to be done, nothing that names the machine it was written on, links that lead somewhere.
//!
//! What is looked at: every file that git tracks or would track.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest Rust file, in lines. Aim below half of it.
const LONGEST_FILE: usize = 900;

struct File {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// All text files.
fn files() -> Vec<File> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files of the repository");
    assert!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
    let paths = String::from_utf8(output.stdout).unwrap();
    let files: Vec<File> = paths
        .split_terminator('\0')
        // A file that was removed and not yet committed is listed and not there; fixtures may be no text.
        .filter_map(|path| {
            Some(File { path: path.into(), text: fs::read_to_string(root().join(path)).ok()? })
        })
        .collect();
    assert!(
        files.iter().any(|file| file.path == "Cargo.toml"),
        "the list of files is that of this repository"
    );
    files
}

fn rust_files() -> impl Iterator<Item = File> {
    files().into_iter().filter(|file| file.path.ends_with(".rs"))
}

/// Fails with all violations of a rule.
fn expect_none(rule: &str, violations: Vec<String>) {
    assert!(violations.is_empty(), "{rule}:\n{}", violations.join("\n"));
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let long = rust_files().map(|file| (file.text.lines().count(), file.path));
    let long = long.filter(|(lines, _)| *lines > LONGEST_FILE);
    expect_none("split by theme", long.map(|(lines, path)| format!("{path}: {lines} lines")).collect());
}

#[test]
fn modules_open_with_their_story() {
    let silent = rust_files().filter(|file| !file.text.starts_with("//!"));
    expect_none("the first line of a module begins with //!", silent.map(|file| file.path).collect());
}

#[test]
fn nothing_is_left_to_be_done() {
    // In pieces, so that this file does not find itself.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"], ["to", "do!("], ["unimplem", "ented!("]];
    expect_none(
        "do it, or say what is deliberately absent",
        lines_with(&marks, |path| !path.ends_with(".json")),
    );
}

#[test]
fn nothing_names_where_it_was_written() {
    let paths = [["/wo", "rk/"], ["/ro", "ot/"], ["/home", "/"]];
    expect_none("a path of one machine", lines_with(&paths, |_| true));
    let hosts = [
        ["artif", "actory"],
        ["index.crates", ".io"],
        ["static.crates", ".io"],
        ["registry.npm", "js"],
        ["py", "pi.org"],
        ["python", "hosted"],
        ["deb.deb", "ian.org"],
    ];
    expect_none("a host of a package registry", lines_with(&hosts, |_| true));
    let resolved = [["\"resol", "ved\""]];
    expect_none(
        "a lock file that names hosts",
        lines_with(&resolved, |path| path.ends_with("package-lock.json")),
    );
}

/// The lines that contain one of the marks, each given in two pieces.
fn lines_with(marks: &[[&str; 2]], looked_at: impl Fn(&str) -> bool) -> Vec<String> {
    let marks: Vec<String> = marks.iter().map(|pieces| pieces.concat()).collect();
    let mut found = Vec::new();
    for file in files().into_iter().filter(|file| looked_at(&file.path)) {
        for (number, line) in file.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for file in files().into_iter().filter(|file| file.path.ends_with(".md")) {
        let folder = root().join(&file.path).parent().unwrap().to_path_buf();
        for target in links(&file.text) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let linked = if path.is_empty() { root().join(&file.path) } else { folder.join(path) };
            if !linked.exists() {
                broken.push(format!("{}: {target}", file.path));
            } else if !anchor.is_empty() && path.ends_with(".md") | path.is_empty() {
                let text = fs::read_to_string(&linked).unwrap();
                if !headings(&text).any(|heading| heading == anchor) {
                    broken.push(format!("{}: {target}: no such heading", file.path));
                }
            }
        }
    }
    expect_none("a link to nothing", broken);
}

/// Targets of links to files of the repository, outside of code.
fn links(text: &str) -> Vec<&str> {
    let mut links = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let mut rest = line;
        while let Some(begin) = rest.find("](").filter(|_| !in_code) {
            rest = &rest[begin + 2..];
            let Some(end) = rest.find(')') else { break };
            let target = rest[..end].trim();
            if !target.contains("://") && !target.starts_with("mailto:") {
                links.push(target);
            }
            rest = &rest[end..];
        }
    }
    links
}

/// Headings as links spell them: lower case, hyphens for spaces, no punctuation.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

#[test]
fn links_and_headings_are_recognized() {
    let text = "# One: two `three`\n[a](b.md#c) and [d](https://e) [f](#g)\n```\n[not](this)\n```\n";
    assert_eq!(links(text), ["b.md#c", "#g"]);
    assert_eq!(headings(text).collect::<Vec<_>>(), ["one-two-three"]);
}
