//! The tools that clients need, and the folders that they are installed into.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, thread};

use crate::cluster::Cluster;

/// Why a test does not run here.
pub struct Missing(String);

/// Says that a test is skipped.
///
/// # Panics
/// Where `CONSORT_REQUIRE_CLIENTS` is set.
pub fn skip(test: &str, missing: &Missing) {
    let required = env::var_os("CONSORT_REQUIRE_CLIENTS").is_some_and(|value| !value.is_empty());
    assert!(!required, "{test} cannot run: {}", missing.0);
    eprintln!("skipped: {test}: {}", missing.0);
}

/// The repository's folder of scripts.
pub fn scripts(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients").join(language)
}

/// Checks that a program is here.
///
/// # Errors
/// It is not.
pub fn need(program: &str) -> Result<(), Missing> {
    match Command::new(program).arg("--version").output() {
        Ok(_) => Ok(()),
        Err(error) => Err(Missing(format!("{program}: {error}"))),
    }
}

/// A Chromium.
///
/// # Errors
/// There is none.
pub fn browser() -> Result<String, Missing> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.iter().find(|name| need(name).is_ok());
    found.map(|name| (*name).to_owned()).ok_or_else(|| Missing("no Chromium".into()))
}

/// A Python with redis-py and Playwright, and nothing else.
///
/// # Errors
/// There is no Python, or redis-py cannot be installed.
pub fn python() -> Result<PathBuf, Missing> {
    need("python3")?;
    let wanted = fs::read_to_string(scripts("python").join("requirements.txt")).unwrap();
    installed("python", &wanted, |folder| {
        run_installer(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let mut install = Command::new(folder.join("bin/pip"));
        install.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        run_installer(install.arg(scripts("python").join("requirements.txt")))
    })
    .map(|folder| folder.join("bin/python"))
}

/// A folder with ioredis in its `node_modules`.
///
/// # Errors
/// There is no npm, or ioredis cannot be installed.
pub fn node_modules() -> Result<PathBuf, Missing> {
    need("node")?;
    need("npm")?;
    let wanted = fs::read_to_string(scripts("node").join("package-lock.json")).unwrap();
    installed("node", &wanted, |folder| {
        fs::create_dir_all(folder).map_err(|error| Missing(error.to_string()))?;
        for file in ["package.json", "package-lock.json", ".npmrc"] {
            fs::copy(scripts("node").join(file), folder.join(file)).unwrap();
        }
        run_installer(Command::new("npm").arg("ci").current_dir(folder))
    })
    .map(|folder| folder.join("node_modules"))
}

/// Installs into a folder of the target folder unless what is wanted was installed there before. Test processes that
/// want the same wait for one another.
fn installed(
    name: &str,
    wanted: &str,
    install: impl FnOnce(&Path) -> Result<(), Missing>,
) -> Result<PathBuf, Missing> {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
    fs::create_dir_all(&parent).unwrap();
    let lock = File::create(parent.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let (folder, mark) = (parent.join(name), parent.join(format!("{name}.installed")));
    if fs::read_to_string(&mark).ok().as_deref() != Some(wanted) {
        let _ = fs::remove_dir_all(&folder);
        install(&folder)?;
        fs::write(&mark, wanted).unwrap();
    }
    Ok(folder)
}

fn run_installer(command: &mut Command) -> Result<(), Missing> {
    let name = format!("{command:?}");
    let output = command.output().map_err(|error| Missing(format!("{name}: {error}")))?;
    if output.status.success() { Ok(()) } else { Err(Missing(format!("{name}: {}", text(&output)))) }
}

/// Everything that a program printed.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a script against a cluster and prints what it printed.
///
/// # Panics
/// The script failed.
pub fn run(command: &mut Command, cluster: &Cluster) -> String {
    let output = command
        .env("CLIENT_TEST_NODES", cluster.addresses())
        .env("CLIENT_TEST_CLUSTER", cluster.folder())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = text(&output);
    println!("{command:?}\n{printed}");
    assert!(output.status.success(), "{} ({})", output.status, thread::current().name().unwrap_or("test"));
    printed
}
