//! The driver: one worker thread's shard, fed in batches.
//!
//! Connections, peers, the log thread and other workers put inputs into the queue and wake the driver; it runs after all
//! tasks that were ready before it, so one batch holds what many connections have read. A batch ([`Worker::batch`]) is
//! synchronous: take what is there, read the clock, step every input, finish once, hand out the outputs - one hand-over to
//! the log thread, one piece of bytes per peer, one wake-up per connection and per other worker.
//!
//! The clock is read *after* the inputs were taken: a read that a lease answers was asked before that moment, so the
//! moment can stand for it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use replication::catalogue::{CATALOGUE, Catalogue, Change, Refusal};
use replication::consistency::Seen;
use replication::contract::{Admin, Call, Event, Input, Output, Reply, Request, RequestId};
use replication::{NodeId, PartitionId, Placement, Shard, Time};
use resp::Value;
use tokio::sync::oneshot;

use crate::connection;
use crate::disk::{Job, LogHandle};
use crate::events;
use crate::inbox::{Answered, Delivery, Inbox, KeysInSlot, RemoteRequest};
use crate::node::Node;
use crate::peers::{self, Outbox};
use crate::pipeline::{Outcome, Place, Shared};
use crate::slab::Slab;

/// Who gets a reply: a part of a command of one of this worker's connections.
#[derive(Debug)]
pub struct Asker {
    /// The connection.
    pub client: u64,
    /// The connection's line.
    pub pipeline: Shared,
    /// The command.
    pub place: Place,
    /// Its part.
    pub part: u32,
}

#[derive(Debug)]
enum ReplyTo {
    Connection(Asker),
    /// A task of this thread.
    Task(oneshot::Sender<Reply>),
    /// Another worker, with the id that it gave.
    Worker {
        worker: usize,
        id: u64,
    },
}

/// What goes to another worker with the next batch.
#[derive(Debug, Default)]
struct ForWorker {
    requests: Vec<RemoteRequest>,
    replies: Vec<Answered>,
    other: Vec<Delivery>,
}

#[derive(Debug)]
struct State {
    shard: Shard,
    log: LogHandle,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    deliveries: Vec<Delivery>,
    askers: Slab<ReplyTo>,
    for_workers: Vec<ForWorker>,
    outbox: Outbox,
    jobs: Vec<Job>,
    /// The last batch that this worker has written itself, and of which the shard does not know.
    written: Option<u64>,
    published: Time,
    dirty: bool,
    roles_changed: bool,
    handing_over: bool,
    finished: bool,
}

/// A worker: its shard and its connections. Lives on one thread.
#[derive(Debug)]
pub struct Worker {
    /// Which of the node's workers.
    pub index: usize,
    /// What the node's threads share.
    pub node: Arc<Node>,
    /// Which partition a slot is in. Where that lives is known by the shard.
    placement: RefCell<Arc<Placement>>,
    /// Room for one read of any of its connections.
    pub scratch: RefCell<Box<[u8]>>,
    inbox: Arc<Inbox>,
    state: RefCell<State>,
    /// Is the driver going to run anyway?
    scheduled: Cell<bool>,
    draining: Cell<bool>,
    connections: RefCell<BTreeMap<u64, Shared>>,
}

/// The node's view of its partitions is refreshed at most this often, unless roles change.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// How long it takes until it is worth looking again whether the catalogue has changed.
const CHANGE_PAUSE: Duration = Duration::from_millis(5);
/// How long a client's connection waits for a node that has just started to know the catalogue, before it is told that it does
/// not.
const INFORMED_SOON: Duration = Duration::from_millis(1000);

/// The most that one read of a client's connection takes.
const READ_BYTES: usize = 64 << 10;

impl Worker {
    /// A worker with the shard that it drives.
    pub fn new(index: usize, node: Arc<Node>, shard: Shard, log: LogHandle) -> Rc<Worker> {
        let workers = node.inboxes.len();
        let state = State {
            shard,
            log,
            inputs: Vec::new(),
            outputs: Vec::new(),
            deliveries: Vec::new(),
            askers: Slab::new(),
            for_workers: (0..workers).map(|_| ForWorker::default()).collect(),
            outbox: Outbox::default(),
            jobs: Vec::new(),
            written: None,
            published: Time(0),
            dirty: true,
            roles_changed: true,
            handing_over: false,
            finished: false,
        };
        Rc::new(Worker {
            index,
            placement: RefCell::new(node.first_placement.clone()),
            scratch: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            inbox: node.inboxes[index].clone(),
            node,
            state: RefCell::new(state),
            scheduled: Cell::new(false),
            draining: Cell::new(false),
            connections: RefCell::default(),
        })
    }

    /// Runs until the node stops. To be awaited on the worker's own `LocalSet`.
    pub async fn drive(self: Rc<Self>) {
        loop {
            self.scheduled.set(false);
            let wake_at = self.batch();
            if self.state.borrow().finished {
                return;
            }
            match self.node.clock.instant_of(wake_at) {
                Some(instant) => {
                    let deadline = tokio::time::Instant::from_std(instant);
                    let _ = tokio::time::timeout_at(deadline, self.inbox.notified()).await;
                }
                None => self.inbox.notified().await,
            }
        }
    }

    /// Does this worker know the catalogue as it was after the node had started, or later? Until then it may not know where
    /// keys belong.
    pub fn is_informed(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::has(crate::planted::Mutant::KeysBeforeCatalogue) {
            return true;
        }
        self.placement.borrow().epoch >= self.node.catalogue_since_start.load(Ordering::Acquire)
    }

    /// Waits until it is informed, but not for long.
    pub async fn informed_soon(&self) {
        let patience = Instant::now() + INFORMED_SOON;
        while !self.is_informed() && Instant::now() < patience {
            tokio::time::sleep(CHANGE_PAUSE).await;
        }
    }

    /// Which partition a slot is in, as far as is known here.
    pub fn placement(&self) -> Arc<Placement> {
        self.placement.borrow().clone()
    }

    /// How many partitions there are, as far as is known here: that only ever rises.
    pub fn layout(&self) -> u32 {
        self.placement.borrow().layout()
    }

    fn set_placement(&self, placement: &Arc<Placement>) {
        let mut known = self.placement.borrow_mut();
        // The first one says nothing of nodes, and has no epoch.
        if placement.epoch >= known.epoch {
            *known = placement.clone();
        }
    }

    /// Asks a partition, chosen by the present [`Worker::placement`]; the reply goes to `asker` with a later batch.
    pub fn ask(&self, partition: PartitionId, call: Call, deadline: Time, ordered: bool, asker: Asker) {
        self.put(Some(asker.client), partition, call, deadline, ordered, ReplyTo::Connection(asker));
    }

    /// A request without an `origin` keeps no order with any other.
    fn put(
        &self,
        origin: Option<u64>,
        partition: PartitionId,
        call: Call,
        deadline: Time,
        ordered: bool,
        reply_to: ReplyTo,
    ) {
        let mut state = self.state.borrow_mut();
        let id = RequestId(state.askers.insert(reply_to));
        let origin = origin.unwrap_or((1 << 63) | (id.0 << 8) | self.index as u64);
        let (layout, keyspaces) = {
            let placement = self.placement.borrow();
            (placement.layout(), placement.keyspaces_numbered)
        };
        let request = Request { id, origin, partition, layout, keyspaces, call, deadline, ordered };
        let owner = self.node.owner(partition);
        if owner == self.index {
            state.inputs.push(Input::Request(request));
        } else {
            state.for_workers[owner].requests.push(RemoteRequest { worker: self.index, request });
        }
        drop(state);
        self.schedule();
    }

    /// Asks a partition on behalf of a task of this thread.
    pub async fn ask_and_wait(&self, partition: PartitionId, call: Call, deadline: Time) -> Reply {
        let (sender, receiver) = oneshot::channel();
        self.put(None, partition, call, deadline, false, ReplyTo::Task(sender));
        receiver
            .await
            .unwrap_or_else(|_| Reply::Unknown("the node stopped before there was an answer".into()))
    }

    /// Changes the catalogue: `change` makes the change up for the catalogue as it is, again if that has changed meanwhile.
    /// Returns the catalogue with the change, as this node has read it.
    ///
    /// # Errors
    /// Why not, as a client is to be told (with its prefix).
    pub async fn change(
        &self,
        change: &dyn Fn(&Catalogue) -> Result<Change, String>,
    ) -> Result<Arc<Catalogue>, String> {
        let deadline = self.deadline();
        let known = || self.node.context.cluster.state().catalogue.clone();
        let late = || self.node.clock.time_of(Instant::now()) >= deadline;
        let mut tried = 0;
        loop {
            let Some(before) = known() else {
                if late() {
                    return Err(
                        "CLUSTERDOWN this node has not read the catalogue yet, nothing was done".into()
                    );
                }
                tokio::time::sleep(CHANGE_PAUSE).await;
                continue;
            };
            let change = change(&before).map_err(|reason| format!("ERR {reason}"))?;
            let call = match change.call(&before) {
                Ok(Some(call)) => call,
                Ok(None) => return Ok(before),
                Err(Refusal(reason)) => return Err(format!("ERR {reason}")),
            };
            match self.ask_and_wait(CATALOGUE, call, deadline).await {
                Reply::Done(Value::Array(_)) => {
                    // Whoever asked is to find here what it asked for.
                    while known().is_none_or(|catalogue| catalogue.epoch == before.epoch) && !late() {
                        tokio::time::sleep(CHANGE_PAUSE).await;
                    }
                    return Ok(known().unwrap_or(before));
                }
                Reply::Done(Value::NullArray) => {}
                Reply::Done(other) => return Err(format!("UNKNOWN the catalogue answered {other:?}")),
                Reply::Refused(reason) => return Err(reason),
                Reply::Unknown(reason) => return Err(format!("UNKNOWN {reason}")),
            }
            tried += 1;
            if late() {
                return Err(format!(
                    "TRYAGAIN the catalogue changed {tried} times meanwhile, nothing was done"
                ));
            }
            tokio::time::sleep(CHANGE_PAUSE).await;
        }
    }

    /// Waits until all nodes that can be reached go by the catalogue of that epoch, or a later one: a key that is sent to any of them then goes where it
    /// belongs. For as long as a request may take.
    pub async fn wait_until_known(&self, epoch: u64) {
        let deadline = self.deadline();
        let late = || self.node.clock.time_of(Instant::now()) >= deadline;
        let state = || self.node.context.cluster.state();
        let members: Vec<NodeId> = state().nodes.iter().map(|node| node.id).collect();
        for node in members.into_iter().filter(|node| *node != self.node.identity.node()) {
            let call = || Call::Admin(Admin::Epoch { node });
            while state().is_alive(node) && !late() {
                match self.ask_and_wait(CATALOGUE, call(), deadline).await {
                    Reply::Done(Value::Integer(known)) if known >= epoch as i64 => break,
                    _ => tokio::time::sleep(CHANGE_PAUSE).await,
                }
            }
            if late() {
                tracing::warn!(
                    epoch,
                    node = node.0,
                    "a node that can be reached has not read the catalogue yet"
                );
                return;
            }
        }
    }

    /// Is there room for that many more requests?
    pub fn has_room(&self, requests: usize) -> bool {
        self.state.borrow().askers.has_room(requests)
    }

    /// Looks into this node's own replica of a slot.
    pub fn keys_in_slot(&self, question: KeysInSlot, asker: Asker) {
        let partition = self.placement().partition_of(question.slot);
        let owner = self.node.owner(partition);
        let mut state = self.state.borrow_mut();
        if owner == self.index {
            let answer = keys_in_slot(&state.shard, partition, question);
            asker.pipeline.borrow_mut().complete(asker.place, asker.part, Reply::Done(answer));
            return;
        }
        let id = state.askers.insert(ReplyTo::Connection(asker));
        state.for_workers[owner].other.push(Delivery::KeysInSlot { worker: self.index, id, question });
        drop(state);
        self.schedule();
    }

    /// An input for this worker's own shard, from a task of this thread.
    pub fn input(&self, input: Input) {
        self.state.borrow_mut().inputs.push(input);
        self.schedule();
    }

    /// Are connections to close once they are answered?
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// A connection is gone.
    pub fn forget(&self, client: u64) {
        self.connections.borrow_mut().remove(&client);
    }

    fn schedule(&self) {
        if !self.scheduled.replace(true) {
            self.inbox.wake();
        }
    }

    /// One batch. Returns when the next is due without a wake-up.
    fn batch(self: &Rc<Self>) -> Time {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let mut deliveries = std::mem::take(&mut state.deliveries);
        self.inbox.take(&mut deliveries);
        for delivery in deliveries.drain(..) {
            self.on_delivery(state, delivery);
        }
        state.deliveries = deliveries;

        let now = self.node.clock.now();
        let due = state.shard.wake_at() <= now.time;
        if due {
            state.inputs.push(Input::Wake);
        }
        while !state.inputs.is_empty() {
            for input in state.inputs.drain(..) {
                state.shard.step(now, input, &mut state.outputs);
            }
            state.shard.finish(now, &mut state.outputs);
            state.dirty = true;
            self.hand_out(state);
            state.inputs.extend(state.written.take().map(|number| Input::Written { number }));
        }
        self.send_off(state);
        self.publish(state, now.time);
        if state.handing_over {
            self.node.handed_over[self.index].store(state.shard.leads_none(), Ordering::Release);
        }
        let next_publish = if state.dirty { state.published + PUBLISH_EVERY } else { Time::NEVER };
        state.shard.wake_at().min(next_publish)
    }

    fn on_delivery(self: &Rc<Self>, state: &mut State, delivery: Delivery) {
        match delivery {
            Delivery::Input(input) => {
                if let Input::Placement(placement) = &input {
                    self.set_placement(placement);
                }
                state.inputs.push(input);
            }
            Delivery::Persisted(number) => state.inputs.push(Input::Persisted { number }),
            Delivery::Written(number) => state.inputs.push(Input::Written { number }),
            Delivery::Requests(requests) => {
                for RemoteRequest { worker, mut request } in requests {
                    let reply_to = ReplyTo::Worker { worker, id: request.id.0 };
                    request.id = RequestId(state.askers.insert(reply_to));
                    state.inputs.push(Input::Request(request));
                }
            }
            Delivery::Replies(replies) => {
                for (id, reply, seen) in replies {
                    self.reply(state, id, reply, seen);
                }
            }
            Delivery::KeysInSlot { worker, id, question } => {
                let partition = self.placement().partition_of(question.slot);
                let answer = keys_in_slot(&state.shard, partition, question);
                state.for_workers[worker].replies.push((id, Reply::Done(answer), None));
            }
            Delivery::Connection { stream, session } => {
                let client = session.client.id;
                let pipeline = crate::pipeline::Pipeline::shared();
                self.connections.borrow_mut().insert(client, pipeline.clone());
                tokio::task::spawn_local(connection::serve(self.clone(), stream, session, pipeline));
            }
            Delivery::Link(link) => {
                let kept = peers::keep_sending(self.clone(), link);
                tokio::task::spawn_local(or_fail(self.node.clone(), kept));
            }
            Delivery::Peer(stream) => {
                tokio::task::spawn_local(or_fail(self.node.clone(), peers::receive(self.clone(), stream)));
            }
            Delivery::HandOver => {
                state.handing_over = true;
                state.shard.hand_over(self.node.clock.now());
                state.inputs.push(Input::Wake);
            }
            Delivery::Drain => {
                self.draining.set(true);
                for pipeline in self.connections.borrow().values() {
                    pipeline.borrow().wake();
                }
            }
            Delivery::Finish => state.finished = true,
        }
    }

    /// Gives out what the shard wants done: to the log thread first (it works meanwhile), then to peers, then replies.
    fn hand_out(&self, state: &mut State) {
        let mut outputs = std::mem::take(&mut state.outputs);
        state.outbox.refresh(&self.node.peers);
        for output in outputs.drain(..) {
            match output {
                Output::Send { to, message } if to == self.node.identity.node() => {
                    // What a partition's leader has to tell the catalogue, which another worker of this node holds.
                    let incarnation = self.node.context.incarnation;
                    let input = Input::Message { from: to, incarnation, message };
                    state.for_workers[self.node.owner(CATALOGUE)].other.push(Delivery::Input(input));
                }
                Output::Send { to, message } => {
                    state.outbox.send(to, &message, &self.node.context.stats);
                }
                Output::Persist(batch) if batch.relaxed && state.log.write_now(&batch) => {
                    state.written = batch.tells_written.then_some(batch.number);
                }
                Output::Persist(batch) => state.jobs.push(Job::Persist(batch)),
                Output::Fetch { partition, from, to, max_bytes } => {
                    state.jobs.push(Job::Fetch { partition, from, to, max_bytes });
                }
                Output::Snapshot(write) => state.jobs.push(Job::Snapshot(write)),
                Output::Reply { id, reply, seen } => self.reply(state, id.0, reply, seen),
                Output::Event(event) => {
                    state.roles_changed |= events::record(&event, &self.node.context.stats);
                    match event {
                        Event::Catalogue(catalogue, read_at) => {
                            let placement = self.node.catalogue_changed(self.index, &catalogue, read_at);
                            placement.into_iter().for_each(|placement| self.set_placement(&placement));
                        }
                        Event::GivenUp { partition } => self.node.context.cluster.clear_status(partition),
                        _ => {}
                    }
                }
            }
        }
        state.outputs = outputs;
        state.log.push(&mut state.jobs);
    }

    /// What was handed out for others goes to them.
    fn send_off(&self, state: &mut State) {
        state.outbox.flush(&self.node.context.stats);
        for (worker, batch) in state.for_workers.iter_mut().enumerate() {
            if !batch.requests.is_empty() {
                batch.other.push(Delivery::Requests(std::mem::take(&mut batch.requests)));
            }
            if !batch.replies.is_empty() {
                batch.other.push(Delivery::Replies(std::mem::take(&mut batch.replies)));
            }
            self.node.inboxes[worker].append(&mut batch.other);
        }
    }

    fn reply(&self, state: &mut State, id: u64, reply: Reply, seen: Option<(PartitionId, Seen)>) {
        match state.askers.remove(id) {
            Some(ReplyTo::Connection(asker)) => {
                let mut pipeline = asker.pipeline.borrow_mut();
                pipeline.seen.extend(seen);
                let outcome = pipeline.complete(asker.place, asker.part, reply);
                match outcome {
                    Outcome::Done => {}
                    Outcome::Refused => self.node.context.stats.replies_refused.add(1),
                    Outcome::Unknown => self.node.context.stats.replies_unknown.add(1),
                }
            }
            Some(ReplyTo::Task(sender)) => drop(sender.send(reply)),
            Some(ReplyTo::Worker { worker, id }) => state.for_workers[worker].replies.push((id, reply, seen)),
            None => tracing::error!(id, "a reply to a request that nobody made"),
        }
    }

    /// Refreshes what other threads see of this worker's partitions.
    fn publish(&self, state: &mut State, now: Time) {
        let due = state.roles_changed || now.since(state.published) >= PUBLISH_EVERY;
        if state.dirty && due {
            self.node.context.cluster.set_status(state.shard.status(), now);
            self.node.context.cluster.set_hints(self.index, state.shard.hints());
            self.node.context.cluster.set_silent(self.index, state.shard.silent(now));
            state.published = now;
            state.dirty = false;
            state.roles_changed = false;
        }
    }

    /// Lets `INFO` see this worker's partitions as they are now, not as they were a moment ago.
    pub fn publish_now(&self) {
        let mut state = self.state.borrow_mut();
        if state.dirty {
            let now = self.node.clock.now().time;
            self.node.context.cluster.set_status(state.shard.status(), now);
            self.node.context.cluster.set_hints(self.index, state.shard.hints());
            self.node.context.cluster.set_silent(self.index, state.shard.silent(now));
            state.dirty = false;
            state.roles_changed = false;
        }
    }

    /// When a command that arrives now must have an answer.
    pub fn deadline(&self) -> Time {
        let timeout = Duration::from_millis(self.node.context.settings.request_timeout_ms.get());
        self.node.clock.time_of(Instant::now()) + timeout
    }

    /// A peer's connection broke: a hint for every shard.
    pub fn peer_lost(&self, node: NodeId) {
        for inbox in &self.node.inboxes {
            inbox.push(Delivery::Input(Input::PeerLost { node }));
        }
    }
}

/// Runs a task that the node cannot do without: a panic, of which the runtime would only end the task, fails the node.
pub async fn or_fail(node: Arc<Node>, task: impl Future<Output = ()>) {
    struct Guard(Arc<Node>);
    impl Drop for Guard {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.fail("a task of a worker panicked: a broken invariant, see the message above".into());
            }
        }
    }
    let _guard = Guard(node);
    task.await;
}

fn keys_in_slot(shard: &Shard, partition: PartitionId, question: KeysInSlot) -> Value {
    let table = shard.table(partition);
    match question.limit {
        None => Value::Integer(table.map_or(0, |table| table.count_in_slot(question.slot) as i64)),
        Some(limit) => {
            let keys = table.map(|table| table.keys_in_slot(question.slot, limit)).unwrap_or_default();
            Value::Array(keys.into_iter().map(Value::Bulk).collect())
        }
    }
}
