//! Nodes as child processes.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use resp::Value;
use server::Start;
use server::config::{Address, Sources, load};

use super::client::{elements, field};
use super::{Client, eventually};

/// What a child is told through its environment.
const CONFIG: &str = "CLUSTER_TEST_CONFIG";
const START: &str = "CLUSTER_TEST_START";

/// The life of a node: runs until SIGTERM. Does nothing if it is not started by [`Node::start`].
pub fn run() {
    let (Ok(path), Ok(start)) = (std::env::var(CONFIG), std::env::var(START)) else { return };
    let text = fs::read_to_string(&path).expect("the configuration is there");
    let sources = Sources { file: Some((&path, &text)), ..Sources::default() };
    let config = load(sources).expect("the configuration is valid").config;
    let start = match start.as_str() {
        "bootstrap" => Start::Bootstrap,
        "rebuild" => Start::Rebuild(None),
        start => match start.strip_prefix("join ") {
            Some(address) => Start::Join(Address::parse(address).expect("an address")),
            None => Start::Normal,
        },
    };
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false);
    log.with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ran = runtime.block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .expect("signals can be handled");
        server::run(config, start, async move {
            terminate.recv().await;
        })
        .await
    });
    match ran {
        Ok(()) => std::process::exit(0),
        Err(failure) => {
            eprintln!("failure: {failure}");
            std::process::exit(1);
        }
    }
}

/// A node's place: its ports, its folder, and its process while it runs.
pub struct Node {
    pub name: String,
    pub port: u16,
    pub peer: u16,
    folder: PathBuf,
    config: PathBuf,
    child: Option<Child>,
}

impl Node {
    /// Starts the process.
    pub fn start(&mut self, start: Start) {
        assert!(self.child.is_none(), "it runs already");
        let start = match start {
            Start::Normal => "normal".to_string(),
            Start::Bootstrap => "bootstrap".to_string(),
            Start::Rebuild(_) => "rebuild".to_string(),
            Start::Join(address) => format!("join {address}"),
        };
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log file");
        let child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(["--exact", "node_process", "--ignored", "--nocapture", "--test-threads", "1"])
            .env(CONFIG, &self.config)
            .env(START, start)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the process starts");
        self.child = Some(child);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM.
    pub fn terminate(&mut self) {
        self.signal("-TERM");
    }

    /// It stands still until it goes on, or is killed.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// It goes on.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("it runs").id();
        let sent = Command::new("kill").args([signal, &id.to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        eventually("the end of the process", || child.try_wait().expect("it can be waited for"))
    }

    /// Where its data is.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Changes a piece of its configuration file.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.config).expect("the configuration is there");
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(&self.config, text.replace(from, to)).expect("it can be written");
    }

    /// Lists the nodes in its configuration file the other way round.
    pub fn reverse_nodes(&self) {
        let text = fs::read_to_string(&self.config).expect("the configuration is there");
        let mut parts: Vec<&str> = text.split("[[nodes]]").collect();
        parts[1..].reverse();
        fs::write(&self.config, parts.join("[[nodes]]")).expect("it can be written");
    }

    /// A connection to it; waits until it listens.
    pub fn client(&self) -> Client {
        eventually("a connection", || Client::connect(self.port).ok())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }
}

/// A cluster on loopback. The folder stays behind if a test fails.
pub struct Cluster {
    pub nodes: Vec<Node>,
    folder: PathBuf,
}

static CLUSTERS: AtomicU64 = AtomicU64::new(0);

impl Cluster {
    /// A cluster of nodes that do not run yet. `extra` is added to each one's configuration.
    pub fn prepare(count: usize, extra: &str) -> Cluster {
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("consort-cluster-{}-{number}", std::process::id()));
        let ports = free_ports(count * 2);
        let list: String = (0..count)
            .map(|index| {
                let (client, peer) = (ports[index * 2], ports[index * 2 + 1]);
                format!(
                    "[[nodes]]\nname = \"n{index}\"\nclient = \"127.0.0.1:{client}\"\npeer = \"127.0.0.1:{peer}\"\n"
                )
            })
            .collect();
        let nodes = (0..count).map(|index| {
            let name = format!("n{index}");
            let folder = folder.join(&name);
            fs::create_dir_all(&folder).expect("a temporary folder can be made");
            let config = folder.join("consort.toml");
            let data = folder.join("data");
            let head = format!("cluster = \"test\"\nname = \"{name}\"\ndata = \"{}\"\n", data.display());
            fs::write(&config, format!("{head}{extra}\n{list}")).expect("the configuration can be written");
            Node { name, port: ports[index * 2], peer: ports[index * 2 + 1], folder, config, child: None }
        });
        Cluster { nodes: nodes.collect(), folder }
    }

    /// Adds a node that does not run yet, and lists itself alone. Returns its number.
    pub fn add(&mut self, extra: &str) -> usize {
        let index = self.nodes.len();
        let name = format!("n{index}");
        let folder = self.folder.join(&name);
        fs::create_dir_all(&folder).expect("a temporary folder can be made");
        let (config, data) = (folder.join("consort.toml"), folder.join("data"));
        let ports = free_ports(2);
        let (client, peer) = (ports[0], ports[1]);
        let text = format!(
            "cluster = \"test\"\nname = \"{name}\"\ndata = \"{}\"\n{extra}\n[[nodes]]\nname = \"{name}\"\n\
             client = \"127.0.0.1:{client}\"\npeer = \"127.0.0.1:{peer}\"\n",
            data.display()
        );
        fs::write(&config, text).expect("the configuration can be written");
        self.nodes.push(Node { name, port: client, peer, folder, config, child: None });
        index
    }

    /// Starts a node that is to join through another.
    pub fn join(&mut self, node: usize, through: usize) {
        let seed = Address::loopback(self.nodes[through].peer);
        self.nodes[node].start(Start::Join(seed));
    }

    /// A new cluster that serves. `extra` is added to each node's configuration.
    pub fn start(count: usize, extra: &str) -> Cluster {
        let mut cluster = Cluster::prepare(count, extra);
        for node in &mut cluster.nodes {
            node.start(Start::Bootstrap);
        }
        for index in 0..count {
            cluster.wait_until_serving(index);
        }
        cluster
    }

    /// Waits until a node answers for every partition.
    pub fn wait_until_serving(&mut self, node: usize) {
        let what = format!("node {node} serving every partition; see {}", self.folder.display());
        eventually(&what, || {
            let node = &mut self.nodes[node];
            let ended = node.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "{} ended: {}", node.name, node.log());
            let mut client = Client::connect(node.port).ok()?;
            matches!(client.try_call("DBSIZE"), Ok(Value::Integer(_))).then_some(())
        });
    }

    /// Waits until a node, in its present identity, has a vote in every partition, and no change is left under way.
    pub fn wait_until_member(&self, node: usize) {
        let status = self.client(node).call("CONSORT STATUS");
        let id = field(&status, "id");
        let other = (node + 1) % self.nodes.len();
        eventually("the node's membership", || {
            let status = self.client(other).call("CONSORT STATUS");
            let is_member = |partition: &Value| {
                let replica = field(partition, "replica");
                let settled = ["outgoing", "learners"].map(|ids| elements(field(replica, ids)).is_empty());
                settled == [true; 2] && elements(field(partition, "voters")).contains(id)
            };
            elements(field(&status, "partitions")).iter().all(is_member).then_some(())
        });
    }

    /// A connection to a node.
    pub fn client(&self, node: usize) -> Client {
        self.nodes[node].client()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill();
        }
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        } else {
            for node in &self.nodes {
                let log = node.log();
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                eprintln!("--- {} in {}", node.name, self.folder.display());
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

/// Ports for a test's nodes. Not those that the system gives to whoever asks for any: it would give them to others, too,
/// until a node listens there. Each process of tests has some of its own.
pub fn free_ports(count: usize) -> Vec<u16> {
    const FIRST: u32 = 12_000;
    const PROCESSES: u32 = 1_250;
    const EACH: u32 = 16;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let next = || {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let process = (std::process::id() + given / EACH * 617) % PROCESSES;
        (FIRST + process * EACH + given % EACH) as u16
    };
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(next).filter(free).take(count).collect()
}
