//! A cluster of real processes on this machine, each with a folder, and a proxy before the port where it takes its peers.
//!
//! ```text
//! DIR/n1/consort.toml, log, data/, faults     a node; faults is what its disk and clocks do wrong
//! DIR/preload.so                              the library that does it
//! ```
//! The nodes know each other by the ports of the proxies alone, so everything that they say to one another can be cut,
//! delayed or damaged (`proxy`).

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use super::faultfile::{FaultFile, Wrong};
use super::machine::Machine;
use super::proxy::{Backend, Proxies};
use crate::ask::{Connection, Login};
use crate::status::Status;

/// How long a node may take to stop when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// How a process begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// As a founder of a new cluster.
    Bootstrap,
    /// On the data folder that it has.
    Normal,
    /// Without it, in the place of the node that it was.
    Rebuild,
    /// As a new member.
    Join,
}

/// A node.
pub struct Node {
    /// `n1`, ...
    pub name: String,
    /// Where it takes clients.
    pub client: String,
    folder: PathBuf,
    faults: FaultFile,
    /// Its machine, if that can lose power.
    machine: Option<Machine>,
    child: Option<Child>,
    paused: bool,
}

/// The cluster.
pub struct Cluster {
    /// Its nodes; those beyond the founders come and go.
    pub nodes: Vec<Node>,
    /// The links between them.
    pub proxies: Proxies,
    binary: PathBuf,
    folder: PathBuf,
    preload: Option<PathBuf>,
    machines: bool,
    settings: Vec<String>,
    environment: Vec<(String, String)>,
    ports: Ports,
}

/// Ports that nobody else uses, each tried before it is given out.
struct Ports(u16);

impl Ports {
    fn next(&mut self) -> Result<u16, String> {
        while self.0 < 32_000 {
            self.0 += 1;
            if TcpListener::bind(("127.0.0.1", self.0)).is_ok() {
                return Ok(self.0);
            }
        }
        Err("no free ports below 32000".into())
    }
}

/// What a cluster is made of.
pub struct Recipe<'a> {
    /// The program.
    pub binary: PathBuf,
    /// Where it lives.
    pub folder: &'a Path,
    /// How many founders.
    pub nodes: u16,
    /// Where to look for ports.
    pub base_port: u16,
    /// Fields of the configuration.
    pub settings: Vec<String>,
    /// For the nodes alone.
    pub environment: Vec<(String, String)>,
    /// The library for faults of disk and clocks, if it could be had.
    pub preload: Option<PathBuf>,
    /// Has each node a machine that can lose power?
    pub machines: bool,
}

impl Cluster {
    /// Starts the founders.
    ///
    /// # Errors
    /// Folders, ports or processes cannot be had.
    pub fn start(recipe: Recipe<'_>) -> Result<Cluster, String> {
        let mut cluster = Cluster {
            nodes: Vec::new(),
            proxies: Proxies::start()?,
            binary: recipe.binary,
            folder: recipe.folder.to_owned(),
            preload: recipe.preload,
            machines: recipe.machines,
            settings: recipe.settings,
            environment: recipe.environment,
            ports: Ports(recipe.base_port),
        };
        let mut places = Vec::new();
        for number in 1..=recipe.nodes {
            places.push(cluster.place(format!("n{number}"))?);
        }
        for place in &places {
            cluster.configure(place, &places)?;
        }
        for place in places {
            cluster.add(place)?;
        }
        for index in 0..cluster.nodes.len() {
            cluster.begin(index, Begin::Bootstrap)?;
        }
        Ok(cluster)
    }

    /// Starts one more node, which asks to become a member. Returns its index.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn join(&mut self, name: String) -> Result<usize, String> {
        let place = self.place(name)?;
        self.configure(&place, std::slice::from_ref(&place))?;
        self.add(place)?;
        let index = self.nodes.len() - 1;
        self.begin(index, Begin::Join)?;
        Ok(index)
    }

    fn place(&mut self, name: String) -> Result<Place, String> {
        let (client, peer) = (self.ports.next()?, self.ports.next()?);
        let proxy = self.ports.next()?;
        let folder = self.folder.join(&name);
        fs::create_dir_all(&folder).map_err(|error| format!("cannot write {}: {error}", folder.display()))?;
        Ok(Place { name, client, peer, proxy, folder })
    }

    fn add(&mut self, place: Place) -> Result<(), String> {
        let faults = FaultFile::create(place.folder.join("faults"))?;
        let machine = if self.machines { Some(Machine::new(&place.folder)?) } else { None };
        self.proxies.listen(Backend { name: place.name.clone(), listen: place.proxy, to: place.peer })?;
        let client = format!("127.0.0.1:{}", place.client);
        let Place { name, folder, .. } = place;
        self.nodes.push(Node { name, client, folder, faults, machine, child: None, paused: false });
        Ok(())
    }

    fn configure(&self, place: &Place, nodes: &[Place]) -> Result<(), String> {
        let mut text = format!(
            "cluster = \"verify\"\nname = {:?}\ndata = {:?}\n\"listen.peer\" = \"127.0.0.1:{}\"\n",
            place.name,
            self.data(&place.folder).display().to_string(),
            place.peer
        );
        for setting in &self.settings {
            let (field, value) = setting
                .split_once('=')
                .ok_or_else(|| format!("--set is \"{setting}\"; accepted: field=value"))?;
            let _ = writeln!(text, "{:?} = {:?}", field.trim(), value.trim());
        }
        for node in nodes {
            let _ = writeln!(
                text,
                "[[nodes]]\nname = {:?}\nclient = \"127.0.0.1:{}\"\npeer = \"127.0.0.1:{}\"",
                node.name, node.client, node.proxy
            );
        }
        let path = place.folder.join("consort.toml");
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    /// Starts the process of a node.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn begin(&mut self, index: usize, begin: Begin) -> Result<(), String> {
        // Who comes new asks a founder that is there to let it in.
        let seed = self.proxies.address_of_any_but(&self.nodes[index].name);
        let (binary, preload) = (self.binary.clone(), self.preload.clone());
        let environment = self.environment.clone();
        let node = &mut self.nodes[index];
        let failed = |error: std::io::Error| format!("cannot start {}: {error}", node.name);
        let open = || fs::OpenOptions::new().create(true).append(true).open(node.folder.join("log"));
        let mut command = Command::new(binary);
        command.args(["server", "--stop-with-stdin", "--config"]).arg(node.folder.join("consort.toml"));
        match begin {
            Begin::Bootstrap => drop(command.arg("--bootstrap")),
            Begin::Normal => {}
            Begin::Rebuild => drop(command.arg("--rebuild").args(seed.iter().flat_map(|at| ["--join", at]))),
            Begin::Join => drop(command.args(seed.iter().flat_map(|at| ["--join", at]))),
        }
        // A node of its own file: a CONSORT_NAME from the environment would be the same for all of them.
        let variables = std::env::vars_os().map(|(name, _)| name);
        variables.filter(|name| name.to_string_lossy().starts_with("CONSORT_")).for_each(|name| {
            command.env_remove(name);
        });
        if let Some(library) = preload {
            command.env("LD_PRELOAD", library).env("VERIFY_FAULTS", &node.faults.path);
        }
        if let Some(machine) = &node.machine {
            command.env("VERIFY_BOOT_ID", &machine.boot);
        }
        let child = command
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(open().map_err(failed)?)
            .stderr(open().map_err(failed)?)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        (node.child, node.paused) = (Some(child), false);
        Ok(())
    }

    /// The addresses where the nodes take clients.
    pub fn clients(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.client.clone()).collect()
    }

    fn data(&self, folder: &Path) -> PathBuf {
        if self.machines { Machine::data(folder) } else { folder.join("data") }
    }

    /// Can machines lose power?
    pub fn has_machines(&self) -> bool {
        self.machines
    }

    /// Can disks and clocks be made to fail?
    pub fn has_preload(&self) -> bool {
        self.preload.is_some()
    }

    /// Where the node of this name is in the list.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// What each node that answers says of itself.
    pub async fn statuses(&self) -> Vec<Status> {
        let mut statuses = Vec::new();
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            statuses.extend(node.status().await);
        }
        statuses
    }

    /// Ends all processes and forgets a node's place.
    pub async fn stop(&mut self) {
        for node in &mut self.nodes {
            node.resume().await;
            if let Some(child) = &mut node.child {
                drop(child.stdin.take());
            }
        }
        for node in &mut self.nodes {
            let _ = node.wait(STOP_LIMIT).await;
            node.kill().await;
        }
    }

    /// Forgets the last node, which has ended.
    pub async fn forget_last(&mut self) {
        if let Some(mut node) = self.nodes.pop() {
            node.kill().await;
            self.proxies.forget(&node.name);
            // Its disk is taken out before its folder goes elsewhere.
            drop(node.machine.take());
            let _ = fs::rename(&node.folder, node.folder.with_extension("gone"));
        }
    }
}

/// Names and ports.
struct Place {
    name: String,
    client: u16,
    peer: u16,
    proxy: u16,
    folder: PathBuf,
}

impl Node {
    /// Does it have a process?
    pub fn is_running(&self) -> bool {
        self.child.is_some() && !self.paused
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
        self.paused = false;
    }

    /// Asks it to stop in order, and waits.
    pub async fn stop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.stdin.take());
        }
        let _ = self.wait(STOP_LIMIT).await;
        self.kill().await;
    }

    /// Waits until its process has ended by itself.
    pub async fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        // Waiting closes the standard input, whose end asks a node to stop.
        let input = child.stdin.take();
        let ended = tokio::time::timeout(limit, child.wait()).await;
        child.stdin = input;
        let status = ended.ok()?.ok()?;
        self.child = None;
        Some(status)
    }

    /// Has its process ended by itself? Says how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status)
    }

    /// SIGSTOP, if it is not frozen already.
    pub async fn pause(&mut self) {
        if !self.paused {
            self.paused = self.signal("STOP").await;
        }
    }

    /// SIGCONT.
    pub async fn resume(&mut self) {
        if std::mem::replace(&mut self.paused, false) {
            self.signal("CONT").await;
        }
    }

    async fn signal(&self, name: &str) -> bool {
        let Some(pid) = self.child.as_ref().and_then(Child::id) else { return false };
        let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().await;
        sent.is_ok_and(|status| status.success())
    }

    /// Makes its disk or clocks go wrong, or right again.
    pub fn set(&self, wrong: Wrong) {
        self.faults.set(wrong);
    }

    /// Removes its data folder.
    pub fn wipe(&self) {
        for data in [self.folder.join("data"), Machine::data(&self.folder)] {
            let _ = fs::remove_dir_all(data);
        }
    }

    /// Its machine loses power.
    ///
    /// # Errors
    /// It has none that can, or the disk cannot be copied.
    pub async fn lose_power(&mut self) -> Result<(), String> {
        self.pause().await;
        let lost = self.machine.as_ref().ok_or("its machine cannot lose power")?.lose_power();
        self.kill().await;
        lost.and_then(|()| self.machine.as_mut().map_or(Ok(()), Machine::come_back))
    }

    /// What it says of itself.
    pub async fn status(&self) -> Option<Status> {
        let limit = Duration::from_millis(1500);
        let mut connection = Connection::open(&self.client, &Login::default(), limit).await.ok()?;
        Status::ask(&mut connection, limit).await.ok()
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}
