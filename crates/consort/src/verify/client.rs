//! A client of the cluster as its users have one: a RESP connection to some node, another node when that fails, and an
//! answer that is done, refused or unknown.

use std::sync::Arc;
use std::time::{Duration, Instant};

use resp::Value;

use super::record::Recorder;
use crate::ask::{Connection, Login};

/// How a command ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was done, and answered this.
    Done(Value),
    /// It did not happen and never will.
    Refused(String),
    /// It may have happened.
    Unknown,
}

/// Longer than a node waits itself (5 s by default), so that its own answer is heard.
const PATIENCE: Duration = Duration::from_secs(8);
/// For those who do not wait.
const HASTE: Duration = Duration::from_millis(300);
/// A node that does not even say hello is not waited for so long.
const HELLO: Duration = Duration::from_secs(2);
/// After a failure.
const PAUSE: Duration = Duration::from_millis(40);

/// Where the cluster is and since when the run goes.
#[derive(Debug)]
pub struct Target {
    /// The nodes.
    pub addresses: Vec<String>,
    /// Who clients are.
    pub login: Login,
    /// When the run began: moments of the history are microseconds since.
    pub begin: Instant,
}

impl Target {
    /// Microseconds since the run began.
    pub fn now(&self) -> u64 {
        self.begin.elapsed().as_micros() as u64
    }
}

/// One client.
pub struct Client {
    target: Arc<Target>,
    at: usize,
    connection: Option<Connection>,
    /// Stays with its node however often that fails.
    faithful: bool,
    readonly: bool,
    /// How long an answer is waited for.
    patience: Duration,
}

impl Client {
    /// A client that begins at the node of this number and goes on to the next when one fails.
    pub fn new(target: &Arc<Target>, at: usize) -> Client {
        let at = at % target.addresses.len();
        Client {
            target: target.clone(),
            at,
            connection: None,
            faithful: false,
            readonly: false,
            patience: PATIENCE,
        }
    }

    /// A client of one node, which says READONLY: reads are served there.
    pub fn of_one(target: &Arc<Target>, at: usize) -> Client {
        Client { faithful: true, readonly: true, ..Client::new(target, at) }
    }

    /// A client of one node, which passes on what it does not lead.
    pub fn through_one(target: &Arc<Target>, at: usize) -> Client {
        Client { faithful: true, ..Client::new(target, at) }
    }

    /// As [`of_one`](Self::of_one), but it does not wait for long.
    pub fn hasty(target: &Arc<Target>, at: usize) -> Client {
        Client { patience: HASTE, ..Client::of_one(target, at) }
    }

    /// Sends a command and waits for its answer.
    pub async fn ask(&mut self, command: &[&str]) -> Answer {
        if self.connection.is_none()
            && let Err(reason) = self.connect().await
        {
            self.turn();
            tokio::time::sleep(PAUSE).await;
            return Answer::Refused(reason);
        }
        let Some(connection) = &mut self.connection else { return Answer::Unknown };
        match connection.ask(command, self.patience).await {
            Ok(Value::Error(text)) => self.failed(text.as_ref()).await,
            Ok(value) => Answer::Done(value),
            Err(_) => {
                self.turn();
                tokio::time::sleep(PAUSE).await;
                Answer::Unknown
            }
        }
    }

    async fn connect(&mut self) -> Result<(), String> {
        let address = &self.target.addresses[self.at];
        let mut connection = Connection::open(address, &self.target.login, HELLO.min(self.patience)).await?;
        if self.readonly {
            // A server that is no cluster does not know it, and does not need to.
            connection.ask(&["READONLY"], HELLO).await?;
        }
        self.connection = Some(connection);
        Ok(())
    }

    async fn failed(&mut self, text: &str) -> Answer {
        // A write at a Redis replica: somebody else is primary now.
        if text.starts_with("READONLY") || text.starts_with("LOADING") || text.starts_with("MASTERDOWN") {
            self.turn();
        }
        tokio::time::sleep(PAUSE).await;
        match text.starts_with("UNKNOWN") {
            true => Answer::Unknown,
            false => Answer::Refused(text.to_owned()),
        }
    }

    /// Goes on to the next node.
    fn turn(&mut self) {
        self.connection = None;
        if !self.faithful {
            self.at = (self.at + 1) % self.target.addresses.len();
        }
    }
}

/// What one workload's process does: asks, and has the moments and outcomes of what it asked recorded.
pub struct Process {
    /// Its number, which no other process of the run has.
    pub number: u64,
    /// Its client.
    pub client: Client,
    recorder: Recorder,
    target: Arc<Target>,
}

/// A command that was sent, with its moments.
#[derive(Debug)]
pub struct Asked {
    /// When it was sent.
    pub from: u64,
    /// When its answer came.
    pub to: u64,
    /// The answer.
    pub answer: Answer,
}

impl Process {
    /// A process.
    pub fn new(number: u64, client: Client, recorder: Recorder, target: &Arc<Target>) -> Process {
        Process { number, client, recorder, target: target.clone() }
    }

    /// The present moment of the history.
    pub fn now(&self) -> u64 {
        self.target.now()
    }

    /// Asks; `writes` is for the statistics alone.
    pub async fn ask(&mut self, command: &[&str], writes: bool) -> Asked {
        let (from, node) = (self.now(), self.client.at);
        let answer = self.client.ask(command).await;
        let to = self.now();
        self.recorder.sample((from, to), node, writes, &answer);
        Asked { from, to, answer }
    }

    /// Asks through another client than its own.
    pub async fn ask_by(&mut self, client: &mut Client, command: &[&str], writes: bool) -> Asked {
        let (from, node) = (self.now(), client.at);
        let answer = client.ask(command).await;
        let to = self.now();
        self.recorder.sample((from, to), node, writes, &answer);
        Asked { from, to, answer }
    }

    /// The same, where what becomes of it is no measure of what clients of the keyspace see: it is asked otherwise than they ask.
    pub async fn ask_apart(&self, client: &mut Client, command: &[&str]) -> Asked {
        let (from, answer) = (self.now(), client.ask(command).await);
        Asked { from, to: self.now(), answer }
    }

    /// Does these together (`MULTI` ... `EXEC`). Watches nothing. The answer is that of `EXEC`.
    pub async fn transaction(&mut self, commands: &[Vec<&str>], writes: bool) -> Asked {
        let (from, node) = (self.now(), self.client.at);
        let answer = self.run_transaction(commands).await;
        let to = self.now();
        self.recorder.sample((from, to), node, writes, &answer);
        Asked { from, to, answer }
    }

    /// As [`transaction`](Self::transaction), for a sequence of commands that is recorded as a whole.
    pub async fn run_transaction(&mut self, commands: &[Vec<&str>]) -> Answer {
        let begin: &[&str] = &["MULTI"];
        for command in std::iter::once(begin).chain(commands.iter().map(Vec::as_slice)) {
            match self.client.ask(command).await {
                Answer::Done(_) => {}
                // Nothing was executed, and never will be: the connection that holds the queue is given up.
                Answer::Refused(text) => {
                    self.client.connection = None;
                    return Answer::Refused(text);
                }
                Answer::Unknown => return Answer::Refused("the connection broke before EXEC".into()),
            }
        }
        self.client.ask(&["EXEC"]).await
    }
}
