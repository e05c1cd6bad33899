//! A cluster of three nodes for one test.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

const NODES: u16 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// `consort dev` with its nodes; stopped and removed when dropped. After a failed test its folder stays, for its logs.
pub struct Cluster {
    dev: Child,
    folder: PathBuf,
    nodes: Vec<Node>,
}

/// A node, as `nodes.json` lists it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it takes clients.
    pub client: SocketAddr,
}

impl Cluster {
    /// Starts a cluster and waits until it is ready.
    ///
    /// # Panics
    /// It does not get ready; with its logs.
    pub fn start(test: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let output = File::create(folder.join("dev.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_consort"));
        // Settings of the shell that runs the tests stay out of them.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CONSORT_")) {
            command.env_remove(name);
        }
        command.args(["dev", "--nodes", &NODES.to_string(), "--base-port", &base_port().to_string()]);
        command.arg("--data").arg(&folder);
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let dev = command.spawn().unwrap();
        let mut cluster = Cluster { dev, folder, nodes: Vec::new() };
        let begin = Instant::now();
        while cluster.nodes.is_empty() {
            let ended = cluster.dev.try_wait().unwrap();
            assert!(
                ended.is_none() && begin.elapsed() < PATIENCE,
                "the cluster is not ready ({ended:?})\n{}",
                cluster.logs()
            );
            thread::sleep(Duration::from_millis(20));
            cluster.nodes = listed(&cluster.folder);
        }
        cluster
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The addresses of its nodes, separated by commas.
    pub fn addresses(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(|node| node.client.to_string()).collect();
        addresses.join(",")
    }

    /// The pages of its nodes, separated by commas.
    pub fn pages(&self) -> String {
        let page = |node: &Node| format!("http://127.0.0.1:{}/", node.client.port() + 2000);
        self.nodes.iter().map(page).collect::<Vec<String>>().join(",")
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Kills a node by `kill -9`.
    pub fn kill(&self, node: usize) {
        signal("KILL", &[process_ids(&self.folder)[node]]);
    }

    /// The end of every log.
    pub fn logs(&self) -> String {
        let node_logs = (1..=NODES).map(|number| self.folder.join(format!("n{number}")).join("log"));
        let logs = std::iter::once(self.folder.join("dev.log")).chain(node_logs);
        logs.map(|path| format!("--- {}\n{}\n", path.display(), end_of(&path))).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let nodes = process_ids(&self.folder);
        signal("TERM", &[self.dev.id()]);
        let begin = Instant::now();
        while matches!(self.dev.try_wait(), Ok(None)) && begin.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.dev.kill();
        let _ = self.dev.wait();
        // Nodes that a test started again itself are not children of `dev`.
        let left: Vec<u32> = nodes.into_iter().filter(|id| belongs(*id, &self.folder)).collect();
        signal("KILL", &left);
        if thread::panicking() {
            eprintln!("{}", self.logs());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A port below the range that systems give to outgoing connections, with free ones after it for clients, peers and browsers.
fn base_port() -> u16 {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = TRIES.fetch_add(1, Ordering::Relaxed) + std::process::id();
        let base = 10_000 + (number.wrapping_mul(2_654_435_761) >> 16) as u16 % 2_000 * 10;
        let ports = (0..=NODES).flat_map(|node| [base + node, base + 1000 + node, base + 2000 + node]);
        if ports.into_iter().all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return base;
        }
    }
}

fn list(folder: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(folder.join("nodes.json")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn listed(folder: &Path) -> Vec<Node> {
    let address = |entry: &serde_json::Value| entry["client"].as_str()?.parse().ok();
    list(folder).iter().filter_map(|entry| Some(Node { client: address(entry)? })).collect()
}

fn process_ids(folder: &Path) -> Vec<u32> {
    list(folder).iter().filter_map(|entry| u32::try_from(entry["pid"].as_u64()?).ok()).collect()
}

/// Whether a process is (still) a node of the cluster in that folder.
fn belongs(id: u32, folder: &Path) -> bool {
    let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&command).contains(&*folder.to_string_lossy())
}

fn signal(name: &str, ids: &[u32]) {
    for id in ids {
        let _ = Command::new("sh").args(["-c", &format!("kill -{name} {id} 2>/dev/null")]).status();
    }
}

fn end_of(path: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
