//! Asking the nodes how they are.

use std::time::{Duration, Instant};

use resp::Value;

use super::children::{Children, Fate};
use super::layout::Layout;
use crate::ask::{Connection, Login};
use crate::status::Status;

/// How long a node may take to answer before it counts as silent.
const LIMIT: Duration = Duration::from_millis(1000);

/// What is known of a node.
#[derive(Debug, Default)]
pub struct Seen {
    /// How it is.
    pub state: State,
    /// Its process, while it runs.
    pub pid: Option<u64>,
    /// What it last said, while it answers.
    pub status: Option<Status>,
    /// Commands a second, without our own.
    pub rate: u64,
    connection: Option<Connection>,
    before: Option<(Instant, u64)>,
}

/// How a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Its process runs and has not answered yet.
    #[default]
    Starting,
    /// It answers.
    Up,
    /// It answers, and is not our child: somebody started it by hand.
    Elsewhere,
    /// Its process runs and does not answer any more.
    Silent,
    /// Its process is gone; the text says how.
    Down(String),
}

/// The nodes of the cluster.
#[derive(Debug)]
pub struct Watch {
    addresses: Vec<String>,
    login: Login,
    nodes: Vec<Seen>,
    /// Since when every partition has a leader.
    led_since: Option<Instant>,
    ready: bool,
}

/// Leaderships go to the preferred nodes soon after a start. Nobody waits for longer than this for that.
const BALANCE_LIMIT: Duration = Duration::from_secs(5);

impl Watch {
    /// Nothing is known yet.
    pub fn new(layout: &Layout) -> Watch {
        Watch {
            addresses: layout.nodes.iter().map(super::layout::NodeLayout::client).collect(),
            login: layout.login(),
            nodes: layout.nodes.iter().map(|_| Seen::default()).collect(),
            led_since: None,
            ready: false,
        }
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> &[Seen] {
        &self.nodes
    }

    /// Has the cluster been ready: every partition had a leader and answered?
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Asks all nodes.
    pub async fn look(&mut self, children: &mut Children) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            node.look(&self.addresses[index], &self.login, children.fate(index)).await;
        }
        if !self.ready {
            let led = self.every_partition_has_a_leader();
            self.led_since = self.led_since.filter(|_| led).or(led.then(Instant::now));
            let long = self.led_since.is_some_and(|since| since.elapsed() > BALANCE_LIMIT);
            self.ready = led && (long || self.every_node_leads()) && self.every_node_reads().await;
        }
    }

    fn every_partition_has_a_leader(&self) -> bool {
        let led: usize = self.statuses().map(|status| status.led().len()).sum();
        let all = self.statuses().next().map_or(0, |status| status.partitions.len());
        self.statuses().count() == self.nodes.len() && all > 0 && led == all
    }

    /// As far as there are partitions enough.
    fn every_node_leads(&self) -> bool {
        let partitions = self.statuses().next().map_or(0, |status| status.partitions.len());
        partitions < self.nodes.len() || self.statuses().all(|status| !status.led().is_empty())
    }

    fn statuses(&self) -> impl Iterator<Item = &Status> {
        self.nodes.iter().filter_map(|node| node.status.as_ref())
    }

    /// `DBSIZE` asks every partition for a linearizable read, so an answer says that all of them serve.
    async fn every_node_reads(&mut self) -> bool {
        for node in &mut self.nodes {
            let Some(connection) = &mut node.connection else { return false };
            if !matches!(connection.ask(&["DBSIZE"], LIMIT).await, Ok(Value::Integer(_))) {
                return false;
            }
        }
        true
    }
}

impl Seen {
    async fn look(&mut self, address: &str, login: &Login, fate: Option<Fate>) {
        let child = match fate {
            Some(Fate::Runs(pid)) => Some(u64::from(pid)),
            _ => None,
        };
        match self.ask(address, login).await {
            Some(status) => {
                self.state = if child == Some(status.pid) { State::Up } else { State::Elsewhere };
                self.pid = Some(status.pid);
                self.count(&status);
                self.status = Some(status);
            }
            None => {
                let answered = !matches!(self.state, State::Starting);
                self.connection = None;
                (self.status, self.before, self.rate) = (None, None, 0);
                self.pid = child;
                self.state = match fate {
                    Some(Fate::Runs(_)) if answered => State::Silent,
                    Some(Fate::Runs(_)) | None => State::Starting,
                    Some(Fate::Gone(status)) => State::Down(status.to_string()),
                };
            }
        }
    }

    async fn ask(&mut self, address: &str, login: &Login) -> Option<Status> {
        if self.connection.is_none() {
            self.connection = Connection::open(address, login, LIMIT).await.ok();
        }
        Status::ask(self.connection.as_mut()?, LIMIT).await.ok()
    }

    /// The rate since the last look. One of the commands was our own question.
    fn count(&mut self, status: &Status) {
        let (now, commands) = (Instant::now(), status.counter("commands"));
        if let Some((then, before)) = self.before.filter(|(_, before)| *before <= commands) {
            let ours = (commands - before).min(1);
            let seconds = now.duration_since(then).as_secs_f64();
            self.rate = ((commands - before - ours) as f64 / seconds.max(0.001)).round() as u64;
        }
        self.before = Some((now, commands));
    }
}
