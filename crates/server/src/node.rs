//! A node: what its threads share, how it starts and how it stops.
//!
//! Threads: the caller's runtime accepts connections and keeps house; each worker has a thread with a shard and its
//! clients (worker 0 also has the peers' sockets), a log thread and a snapshot thread.

use std::net::TcpStream as StdStream;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use replication::catalogue::{CATALOGUE, Catalogue, Change, Member, Record, read_epoch};
use replication::contract::{Call, Input, Reply};
use replication::ordered::raft;
use replication::shard::{Options, Recovered};
use replication::{NodeId, PartitionId, Placement, Shard};
use resp::Value;
use tokio::sync::{Notify, oneshot};
use tokio::task::LocalSet;

use crate::boot;
use crate::clock::Clock;
use crate::cluster::{ClusterView, NodeView};
use crate::command::Context;
use crate::config::{Address, Config};
use crate::disk::{self, LogHandle};
use crate::driver::{self, Worker};
use crate::format::{self, Opened};
use crate::identity::Identity;
use crate::inbox::{Delivery, Inbox};
use crate::known::Known;
use crate::peers::{self, Link, Peers};
use crate::random;
use crate::roster::Roster;

/// How long a stopping node tries to hand its leaderships over.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long it then waits for its clients' last answers.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a node looks whether the catalogue knows it as it is.
const INTRODUCE_INTERVAL: Duration = Duration::from_millis(500);
/// How long after the catalogue could not be asked it is asked again.
const LEARN_PAUSE: Duration = Duration::from_millis(20);
/// How often it is noted up to where the catalogue was read.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);
/// How long it is asked before there is no answer.
const LEARN_DEADLINE: Duration = Duration::from_secs(2);
/// A node that has started goes on by what it knew before only after so long: others may be starting, too.
const LEARN_PATIENCE: Duration = Duration::from_secs(10);
/// How often a stopping node looks how far it is.
const STOP_INTERVAL: Duration = Duration::from_millis(5);

/// What the threads of a node share.
#[derive(Debug)]
pub struct Node {
    /// What commands may look at.
    pub context: Context,
    /// Who this node is.
    pub identity: Identity,
    /// Who the peers are.
    pub roster: Roster,
    /// The placement that the cluster began with, if this node is one of its founders.
    founding: Option<Placement>,
    /// How often it has lost what was not on its disk ([`crate::boot`]).
    pub losses: u64,
    /// What is known of the placement before the catalogue has been read.
    pub first_placement: Arc<Placement>,
    /// The latest one, which says what worker owns a partition that came about by a split.
    lanes: RwLock<Arc<Placement>>,
    /// The epoch of the catalogue that the cluster had after this node started: what it knew before may be out of date.
    /// [`u64::MAX`] until that is known; where nobody can tell, the one that the node goes by again.
    pub catalogue_since_start: AtomicU64,
    /// Which keyspaces this node has gone by.
    known: Known,
    /// The clocks.
    pub clock: Clock,
    /// One for each worker.
    pub inboxes: Vec<Arc<Inbox>>,
    /// The ways to the peers.
    pub peers: Peers,
    /// By worker: while handing over, does its shard lead nothing?
    pub handed_over: Vec<AtomicBool>,
    stop_now: AtomicBool,
    stop: Notify,
    failure: Mutex<Option<String>>,
    failed: Notify,
}

impl Node {
    /// A node that is about to start.
    pub fn new(config: Config, opened: Opened) -> Node {
        #[cfg(feature = "planted-bugs")]
        assert!(crate::planted::is_known(), "CONSORT_PLANTED names no fault");
        let Opened { identity, roster, founding, losses, known } = opened;
        let content = roster.content();
        let views = content.nodes.iter().map(|(name, known)| NodeView {
            id: NodeId(known.node),
            name: name.clone(),
            client: address(&known.client),
            peer: address(&known.peer),
            alive: known.node == identity.node,
        });
        let placement = founding.clone().unwrap_or_else(|| Placement::of_slots(identity.partitions));
        let cluster = ClusterView::new(identity.node(), views.collect(), Arc::new(placement.clone()));
        let workers = config.workers.max(1);
        let context = Context::new(Arc::new(config), Arc::new(cluster), random::number());
        let peers = Peers::new(context.faults.clone());
        let node = Node {
            losses,
            context,
            identity,
            roster,
            founding,
            lanes: RwLock::new(Arc::new(placement.clone())),
            first_placement: Arc::new(placement),
            catalogue_since_start: AtomicU64::new(u64::MAX),
            known,
            clock: Clock::start(),
            inboxes: (0..workers).map(|_| Arc::default()).collect(),
            peers,
            handed_over: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            stop_now: AtomicBool::new(false),
            stop: Notify::new(),
            failure: Mutex::default(),
            failed: Notify::new(),
        };
        node.follow_roster();
        node
    }

    /// The catalogue that a founder begins with.
    fn founding_catalogue(&self) -> Option<Arc<Catalogue>> {
        let placement = self.founding.as_ref()?;
        // Names, zones and weights are those that the placement was made from; addresses may be other ones by now.
        let mut catalogue = format::founding_catalogue(&self.context.config);
        let same = catalogue.members.keys().copied().eq(placement.members.iter().copied());
        if !same || catalogue.partitions.len() != placement.partitions.len() {
            return None;
        }
        catalogue.voters.clone_from(&placement.catalogue);
        for (record, placed) in catalogue.partitions.iter_mut().zip(&placement.partitions) {
            record.replicas.clone_from(&placed.replicas);
        }
        Some(Arc::new(catalogue))
    }

    /// Keeps a way to every other member. Returns those that are new.
    fn follow_roster(&self) -> Vec<Arc<Link>> {
        let configured = |name: &str| {
            let node = self.context.config.nodes.iter().find(|node| node.name == name);
            node.map(|node| node.peer.clone())
        };
        let members =
            self.roster.content().nodes.into_iter().filter(|(_, known)| known.node != self.identity.node);
        let members = members.map(|(name, known)| {
            let mut addresses: Vec<Address> = Address::parse(&known.peer).into_iter().collect();
            addresses.extend(configured(&name).filter(|address| !addresses.contains(address)));
            (NodeId(known.node), name, addresses)
        });
        self.peers.follow(members.collect())
    }

    /// A shard of this node has read another catalogue. Returns what follows from it, unless that is the end of this node.
    pub fn catalogue_changed(
        &self,
        worker: usize,
        catalogue: &Arc<Catalogue>,
        read_at: (u64, u64),
    ) -> Option<Arc<Placement>> {
        let id = self.identity.node();
        if catalogue.removed.contains_key(&id) {
            self.fail("this node was removed from the cluster; its data folder may be deleted".into());
            return None;
        }
        if let Err(reason) = self.roster.follow(catalogue).and_then(|()| self.known.note(catalogue, read_at))
        {
            self.fail(reason);
            return None;
        }
        let view = |(id, member): (&NodeId, &Member)| NodeView {
            id: *id,
            name: member.name.clone(),
            client: address(&member.client),
            peer: address(&member.peer),
            alive: false,
        };
        self.context.follow_users(&catalogue.users);
        let placement = Arc::new(catalogue.placement());
        *self.lanes.write().unwrap_or_else(PoisonError::into_inner) = placement.clone();
        let views = catalogue.members.iter().map(view).collect();
        self.context.cluster.set_catalogue(catalogue.clone(), placement.clone(), views);
        for link in self.follow_roster() {
            self.inboxes[0].push(Delivery::Link(link));
        }
        for (index, inbox) in self.inboxes.iter().enumerate().filter(|(index, _)| *index != worker) {
            tracing::debug!(index, epoch = catalogue.epoch, "a worker is told the placement");
            inbox.push(Delivery::Input(Input::Placement(placement.clone())));
        }
        Some(placement)
    }

    /// The epoch that this node went by before it started, if its copy of the catalogue has come that far, to `read`, and so many of those who vote on
    /// the catalogue are away that the others cannot say whether it is out of date.
    fn goes_by_what_it_knew(&self, read: u64) -> Option<u64> {
        let state = self.context.cluster.state();
        let voters = &state.catalogue.as_ref()?.voters;
        let present = voters.iter().filter(|voter| state.is_alive(**voter)).count();
        self.known.epoch().filter(|epoch| read >= *epoch && 2 * present <= voters.len())
    }

    /// The worker that owns a partition.
    pub fn owner(&self, partition: PartitionId) -> usize {
        let workers = self.inboxes.len();
        if workers == 1 {
            return 0;
        }
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        usize::from(lanes.lane_of(partition, workers as u8))
    }

    /// Stop the node; with `now` without handing leadership over.
    pub fn request_stop(&self, now: bool) {
        self.stop_now.fetch_or(now, Ordering::AcqRel);
        self.stop.notify_one();
    }

    /// Returns once somebody asked for a stop.
    pub async fn stop_requested(&self) {
        self.stop.notified().await;
    }

    /// The node cannot go on.
    pub fn fail(&self, reason: String) {
        tracing::error!(reason, "this node cannot go on");
        self.lock_failure().get_or_insert(reason);
        self.failed.notify_one();
    }

    /// Returns once the node cannot go on, with the reason.
    pub async fn failure(&self) -> String {
        loop {
            if let Some(reason) = self.lock_failure().clone() {
                return reason;
            }
            self.failed.notified().await;
        }
    }

    fn lock_failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// An address that a member has told. One that makes no sense is not connected to.
fn address(text: &str) -> Address {
    Address::parse(text).unwrap_or_else(|| Address { host: text.to_string(), port: 0 })
}

/// The threads of a node's workers.
#[derive(Debug)]
pub struct Workers {
    node: Arc<Node>,
    threads: Vec<JoinHandle<()>>,
    logs: Vec<LogHandle>,
    next: usize,
}

impl Workers {
    /// Starts every worker: opens its log, recovers its partitions, runs its shard.
    ///
    /// # Errors
    /// A log cannot be opened; the text names the file.
    pub async fn start(node: &Arc<Node>) -> Result<Workers, String> {
        let mut workers = Workers { node: node.clone(), threads: Vec::new(), logs: Vec::new(), next: 0 };
        let mut started = Vec::new();
        for index in 0..node.inboxes.len() {
            let (sender, receiver) = oneshot::channel();
            let node = node.clone();
            let run = move || {
                let ran =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(index, &node, sender)));
                if ran.is_err() {
                    node.fail(format!("worker {index} panicked: a broken invariant, see the message above"));
                }
            };
            let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(run);
            workers.threads.push(thread.map_err(|error| format!("cannot start a thread: {error}"))?);
            started.push(receiver);
        }
        for started in started {
            let log = started.await.map_err(|_| "a worker did not start".to_string())??;
            workers.logs.push(log);
        }
        Ok(workers)
    }

    /// Gives a client to the next worker.
    pub fn give_client(&mut self, stream: StdStream, session: crate::session::Session) {
        self.next = (self.next + 1) % self.node.inboxes.len();
        self.node.inboxes[self.next].push(Delivery::Connection { stream, session });
    }

    /// Gives a peer to the worker that has the peers.
    pub fn give_peer(&self, stream: StdStream) {
        self.node.inboxes[0].push(Delivery::Peer(stream));
    }

    /// Hands leadership over, lets clients have their answers, stops the threads.
    ///
    /// # Errors
    /// A thread did not end as it should.
    pub async fn stop(self) -> Result<(), String> {
        let node = self.node.clone();
        let alone = self.node.context.cluster.state().nodes.len() == 1;
        if !self.node.stop_now.load(Ordering::Acquire) && !alone {
            self.tell(|| Delivery::HandOver);
            let handed_over = || self.node.handed_over.iter().all(|worker| worker.load(Ordering::Acquire));
            if !wait_for(HAND_OVER_TIMEOUT, handed_over).await {
                tracing::warn!("leadership could not be handed over in time");
            }
        }
        self.tell(|| Delivery::Drain);
        if !wait_for(DRAIN_TIMEOUT, || self.node.context.clients.is_empty()).await {
            tracing::warn!(clients = self.node.context.clients.len(), "clients were cut off");
        }
        self.tell(|| Delivery::Finish);
        let join = move || -> Result<(), String> {
            let joined =
                self.threads.into_iter().map(|thread| thread.join().map_err(|_| "a worker panicked".into()));
            let workers: Vec<Result<(), String>> = joined.collect();
            let logs: Vec<Result<(), String>> = self.logs.iter().map(LogHandle::stop).collect();
            workers.into_iter().chain(logs).collect()
        };
        let stopped = tokio::task::spawn_blocking(join).await.unwrap_or_else(|error| Err(error.to_string()));
        let failure = node.lock_failure().clone();
        failure.map_or(stopped, Err)?;
        if let Err(reason) = boot::end(&node.context.config.data, node.losses) {
            tracing::warn!(reason, "if the machine is booted now, the next start takes it for one that died");
        }
        Ok(())
    }

    fn tell(&self, delivery: impl Fn() -> Delivery) {
        for inbox in &self.node.inboxes {
            inbox.push(delivery());
        }
    }
}

async fn wait_for(limit: Duration, condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(STOP_INTERVAL).await;
    }
    true
}

/// The life of a worker's thread.
fn work(index: usize, node: &Arc<Node>, started: oneshot::Sender<Result<LogHandle, String>>) {
    let folder = shard_folder(&node.context.config.data, index);
    let opened = disk::open(node.clone(), index, &folder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let (log, mut recovered, runtime) = match (opened, runtime) {
        (Ok((log, recovered)), Ok(runtime)) => (log, recovered, runtime),
        (Err(error), _) => return drop(started.send(Err(error))),
        (_, Err(error)) => return drop(started.send(Err(format!("cannot make a runtime: {error}")))),
    };
    node.known.bring_up(&mut recovered);
    let shard = make_shard(index, node, recovered);
    if started.send(Ok(log.clone())).is_err() {
        return;
    }
    let local = LocalSet::new();
    let worker = Worker::new(index, node.clone(), shard, log);
    if index == 0 {
        for link in node.peers.links() {
            local.spawn_local(driver::or_fail(node.clone(), peers::keep_sending(worker.clone(), link)));
        }
        local.spawn_local(driver::or_fail(node.clone(), introduce(worker.clone())));
        local.spawn_local(driver::or_fail(node.clone(), learn_epoch(worker.clone())));
        local.spawn_local(driver::or_fail(node.clone(), keep_known(node.clone())));
    }
    runtime.block_on(local.run_until(Rc::clone(&worker).drive()));
}

/// The folder that holds a worker's log and snapshots.
pub fn shard_folder(data: &Path, index: usize) -> std::path::PathBuf {
    data.join(format!("shard-{index}"))
}

/// Asks the catalogue's leader for the present epoch. A node knows keyspaces from its own copy of the catalogue, which at its
/// start ends wherever its log does, and begins with nothing: a key that it takes for one without a keyspace of its own
/// would be read, and written, where nobody else looks for it. So it waits with keys until it has read up to here.
///
/// Where there is no majority of the catalogue to ask, it goes on after a while by what it went by before ([`crate::known`]), as a node does
/// that has not stopped.
async fn learn_epoch(worker: Rc<Worker>) {
    let get = || {
        let command = data::Command::lookup(b"get")?;
        Some(Call::Command { command, arguments: vec!["GET".into(), Record::Epoch.key()], token: None })
    };
    let (node, patience) = (worker.node.clone(), Instant::now() + LEARN_PATIENCE);
    while let Some(call) = get() {
        // So that what is known meanwhile does not wait for as long as a request may take.
        let deadline = worker.node.clock.time_of(Instant::now() + LEARN_DEADLINE).min(worker.deadline());
        if let Reply::Done(Value::Bulk(bytes)) = worker.ask_and_wait(CATALOGUE, call, deadline).await {
            match read_epoch(&bytes) {
                Ok(epoch) => {
                    node.context.stats.goes_by_last_known.set(0);
                    return node.catalogue_since_start.store(epoch, Ordering::Release);
                }
                Err(error) => tracing::error!(reason = error.0, "the catalogue's epoch"),
            }
        }
        if patience <= Instant::now()
            && let Some(epoch) = node.goes_by_what_it_knew(worker.placement().epoch)
            && node.catalogue_since_start.swap(epoch, Ordering::AcqRel) == u64::MAX
        {
            node.context.stats.goes_by_last_known.set(1);
            tracing::warn!(
                epoch,
                "the catalogue has no majority here: going by what was known before the start"
            );
        }
        tokio::time::sleep(LEARN_PAUSE).await;
    }
}

/// Notes now and then up to where the catalogue was read.
async fn keep_known(node: Arc<Node>) {
    loop {
        tokio::time::sleep(NOTE_INTERVAL).await;
        let of = node.clone();
        let noted = tokio::task::spawn_blocking(move || of.known.catch_up()).await;
        if let Ok(Err(reason)) = noted {
            // Then the next start may have to wait for the catalogue.
            tracing::warn!(reason, "it could not be noted up to where the catalogue was read");
        }
    }
}

/// Tells the catalogue who this node is, whenever that is not what it says.
async fn introduce(worker: Rc<Worker>) {
    let node = worker.node.clone();
    let myself = node.context.config.myself().clone();
    let (client, peer) = (myself.client.to_string(), myself.peer.to_string());
    let (id, format) = (node.identity.node(), node.identity.format);
    loop {
        tokio::time::sleep(INTRODUCE_INTERVAL).await;
        let state = node.context.cluster.state();
        let Some(member) = state.catalogue.as_ref().and_then(|catalogue| catalogue.members.get(&id)) else {
            continue;
        };
        let same = member.client == client && member.peer == peer && member.zone == myself.zone;
        if same && member.format == format {
            continue;
        }
        let (client, peer, zone) = (client.clone(), peer.clone(), myself.zone.clone());
        let change = Change::Introduce { node: id, client, peer, zone, format };
        if let Err(reason) = worker.change(&|_| Ok(change.clone())).await {
            tracing::warn!(reason, "the catalogue does not know this node's addresses yet");
        }
    }
}

fn make_shard(index: usize, node: &Node, recovered: Vec<Recovered>) -> Shard {
    let config = &node.context.config;
    let options = Options {
        lane: index as u8,
        lanes: node.inboxes.len() as u8,
        raft: raft::Options {
            election_timeout: config.timing.election_timeout,
            heartbeat_interval: config.timing.heartbeat,
            losses: node.losses,
            #[cfg(feature = "planted-bugs")]
            planted: crate::planted::bug(),
            ..raft::Options::default()
        },
        snapshot_log_bytes: config.storage.snapshot_log_bytes,
        // What a client may send has to fit, with a little for the rest of the entry.
        max_payload_bytes: (config.limits.request_bytes + (1 << 20)).max(64 << 20),
        token_retention_ms: config.tokens.retention.as_millis() as u64,
        token_limit: config.tokens.limit,
        hint_bytes: config.hints.bytes,
        hint_window: config.hints.window,
        hot_reads: config.hot_reads,
        founding: node.founding_catalogue(),
        #[cfg(feature = "planted-bugs")]
        planted: crate::planted::merged_bug(),
        ..Options::new(node.identity.node(), node.context.incarnation, random::number())
    };
    // Everything that this node ever had a part in was recovered (`format`); what is left of a replica that was given up
    // are its promises. The catalogue is followed even by a node that has nothing of it yet.
    let held = recovered.iter().filter(|found| !found.is_given_up() || found.partition == CATALOGUE);
    let held: Vec<PartitionId> = held.map(|found| found.partition).collect();
    Shard::new(options, node.first_placement.clone(), held, recovered, node.clock.now())
}
