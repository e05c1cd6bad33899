//! The processes that a measurement starts, and its temporary folder: none outlives it.
//!
//! A *keeper* (this program again, `bench-keeper`) is told every process and folder over a pipe. When the pipe closes -
//! because the measurement ended, panicked, was interrupted or was killed outright - the keeper kills the processes by
//! their ids and removes the folders. It runs in a process group of its own, as the servers do, so an interrupt from the
//! terminal reaches only the measurement. A process that was stopped in good order is taken off the list, so that its id,
//! which may belong to somebody else by then, is not touched.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, io, thread};

/// Where servers are started, and who ends them. Clones share one keeper.
#[derive(Clone)]
pub struct Nursery {
    keeper: Arc<Mutex<Keeper>>,
    folder: PathBuf,
}

struct Keeper {
    child: Child,
    pipe: Option<ChildStdin>,
}

/// A server process; killed when dropped.
pub struct Server {
    child: Child,
    name: String,
    log: PathBuf,
    keeper: Arc<Mutex<Keeper>>,
}

impl Nursery {
    /// Makes a temporary folder below `parent` and starts the keeper.
    ///
    /// # Errors
    /// The folder or the keeper could not be made.
    pub fn new(parent: &Path) -> Result<Self, String> {
        let folder = parent.join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let program = env::current_exe().map_err(|error| format!("own path: {error}"))?;
        let mut child = Command::new(program)
            .arg("bench-keeper")
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("keeper: {error}"))?;
        let pipe = child.stdin.take();
        let mut keeper = Keeper { child, pipe };
        keeper.tell("folder", &folder.display().to_string())?;
        Ok(Nursery { keeper: Arc::new(Mutex::new(keeper)), folder })
    }

    /// A new empty folder for one server.
    ///
    /// # Errors
    /// It could not be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(folder)
    }

    /// Starts a server; what it prints goes to a file in the temporary folder.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(&self, name: &str, command: &mut Command) -> Result<Server, String> {
        let log = self.folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log);
        let output = output.map_err(|error| format!("{}: {error}", log.display()))?;
        let errors = output.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{name} ({}): {error}", command.get_program().to_string_lossy()))?;
        lock(&self.keeper).tell("process", &child.id().to_string())?;
        Ok(Server { child, name: name.into(), log, keeper: self.keeper.clone() })
    }
}

impl Server {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the end of what the server printed if it is not running any more.
    ///
    /// # Errors
    /// The server ended.
    pub fn check(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} ended ({status}):\n{}", self.name, tail(&self.log))),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// What the server printed last.
    pub fn printed(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process is gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = lock(&self.keeper).tell("gone", &self.child.id().to_string());
    }
}

impl Keeper {
    fn tell(&mut self, what: &str, name: &str) -> Result<(), String> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        writeln!(pipe, "{what} {name}").map_err(|error| format!("keeper: {error}"))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.pipe = None;
        let _ = self.child.wait();
    }
}

/// What the keeper process does: reads until the pipe closes, then cleans up.
///
/// # Errors
/// The pipe could not be read.
pub fn keep() -> Result<(), String> {
    let (mut processes, mut folders) = (BTreeSet::new(), BTreeSet::new());
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| format!("keeper: {error}"))?;
        match line.split_once(' ') {
            Some(("process", id)) => processes.insert(id.to_string()),
            Some(("gone", id)) => processes.remove(id),
            Some(("folder", path)) => folders.insert(PathBuf::from(path)),
            _ => return Err(format!("keeper: what is {line:?}?")),
        };
    }
    for id in &processes {
        // The shell's own `kill`: the program of that name is not everywhere.
        let _ = Command::new("sh").args(["-c", &format!("kill -KILL {id} 2>/dev/null")]).status();
    }
    for folder in &folders {
        remove(folder);
    }
    Ok(())
}

/// Removes a folder, again if a process that was just killed still wrote into it.
fn remove(folder: &Path) {
    for _ in 0..50 {
        if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn lock(keeper: &Mutex<Keeper>) -> std::sync::MutexGuard<'_, Keeper> {
    keeper.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Ports on loopback that nobody listens on right now.
///
/// # Errors
/// The system has none.
pub fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let listeners: Result<Vec<_>, _> = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect();
    let listeners = listeners.map_err(|error| format!("no free port: {error}"))?;
    let ports = listeners.iter().map(|listener| listener.local_addr().map(|address| address.port()));
    ports.collect::<Result<_, _>>().map_err(|error| format!("no free port: {error}"))
}

/// Calls `ready` until it succeeds, while `servers` run.
///
/// # Errors
/// A server ended, or `ready` did not succeed in time; then with its last error.
pub fn wait_until<T>(
    what: &str,
    servers: &mut [Server],
    mut ready: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let begin = Instant::now();
    loop {
        let error = match ready() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        for server in servers.iter_mut() {
            server.check()?;
        }
        if begin.elapsed() > PATIENCE {
            let printed: Vec<String> = servers.iter().map(Server::printed).collect();
            return Err(format!("{what} is not ready: {error}\n{}", printed.join("\n")));
        }
        thread::sleep(Duration::from_millis(20));
    }
}
