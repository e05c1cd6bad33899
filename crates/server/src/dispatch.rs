//! What becomes of a command: run here, queued in a transaction, or asked of the partitions that hold its keys.
//!
//! Everything here is synchronous; replies come back through the [pipeline](crate::pipeline). Commands that need the
//! replies of all those before them (`WATCH`, `WAIT`) hold the line: nothing more is taken until those have come.

mod ask;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use data::command::Kind;
use data::slot::SLOTS;
use data::{Blocking, Command, Home, Homes, Route};
use replication::catalogue::Catalogue;
use replication::contract::{Admin, Call, Reply};
use replication::{PartitionId, Placement};
use resp::{Protocol, Value};

use self::ask::Asks;
use crate::blocking::{self, Waiting};
use crate::clock::monotonic_ms;
use crate::command::{self, Action};
use crate::config::Redirect;
use crate::driver::Worker;
use crate::inbox::KeysInSlot;
use crate::pipeline::{ENCODE_BYTES, Finish, Manner, Shared};
use crate::random;
use crate::session::Session;
use crate::transaction::{Transaction, Watching};

/// Bytes of commands of one connection that may be under way at once (one command more is always taken).
const IN_FLIGHT_BYTES: usize = 64 << 20;
/// Bytes of replies of one connection that may wait to be sent, for one more command to be taken.
const REPLY_BYTES: usize = ENCODE_BYTES;
/// What a command under way costs beside its arguments' bytes.
const COMMAND_BYTES: usize = 64;
/// The longest idempotency token (Redis has none to compare with).
const TOKEN_BYTES: usize = 64;

const BUSY: Value =
    Value::Error(std::borrow::Cow::Borrowed("BUSY too many commands are under way on this node"));

/// What is to be done when all commands so far are answered.
#[derive(Debug)]
enum Hold {
    /// The fingerprints of `WATCH` have come.
    Watch(Watching),
    /// `WAIT` can be answered.
    Wait(Manner, Waits),
    /// A command that waits until there is something to pop can be tried.
    Block(Manner, Waiting, usize),
    /// Partitions can be asked.
    Ask(Asks),
    /// `CLIENT SESSION TOKEN` can be answered.
    Token(Manner),
}

/// What a `WAIT` asks for.
#[derive(Clone, Copy, Debug)]
struct Waits {
    copies: i64,
    /// Milliseconds; 0: for ever.
    timeout: i64,
    /// It is `WAITAOF`.
    of_disks: bool,
}

impl Waits {
    /// `copies`: beside the primary's, or with it if it is about disks.
    fn reply(&self, copies: i64) -> Value {
        match self.of_disks {
            false => Value::Integer(copies),
            true => Value::Array(vec![Value::Integer(copies.min(1)), Value::Integer((copies - 1).max(0))]),
        }
    }
}

/// How many members in sync hold what was written to these groups in these terms: the least of all. Asks again until there are
/// enough or time is up, since a request waits only for so long.
async fn copies_of(worker: &Worker, groups: Vec<(PartitionId, u64)>, waits: Waits) -> i64 {
    let begun = monotonic_ms();
    loop {
        let spent = monotonic_ms().saturating_sub(begun);
        let left = match waits.timeout {
            0 => WAIT_STEP_MS,
            timeout => (timeout as u64).saturating_sub(spent).min(WAIT_STEP_MS),
        };
        let mut least = i64::MAX;
        for &(group, term) in &groups {
            let copies = waits.copies.min(i64::from(u32::MAX)) as u32;
            let ask = Admin::Wait { term, copies, milliseconds: left as u32, durably: waits.of_disks };
            let held = match worker.ask_and_wait(group, Call::Admin(ask), worker.deadline()).await {
                Reply::Done(Value::Integer(held)) => held,
                _ => 0,
            };
            least = least.min(held);
        }
        let spent = monotonic_ms().saturating_sub(begun);
        if least >= waits.copies || (waits.timeout > 0 && spent >= waits.timeout as u64) {
            return least;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A `WAIT` asks the primaries again so often.
const WAIT_STEP_MS: u64 = 500;

/// Runs the commands of one connection.
#[derive(Debug)]
pub struct Dispatch {
    worker: Rc<Worker>,
    session: Session,
    pipeline: Shared,
    transaction: Transaction,
    hold: Option<Hold>,
    /// More commands stand in the input behind the one that runs.
    more_behind: bool,
    /// A read is under way that any replica may answer: what comes next must not overtake it.
    alone: bool,
    /// All that is under way are reads that any replica may answer, in their order.
    relaxed: bool,
    /// The command that runs waits until there is something to pop.
    blocked: bool,
    closing: bool,
    in_flight_limit: usize,
    /// How many partitions there were for what is under way.
    layout: u32,
    /// The groups of keyspaces of their own that were written to, and the term in which this node last knew them.
    written: BTreeMap<PartitionId, u64>,
    /// Groups that were asked for all there is, which is told with the answer.
    telling: BTreeSet<PartitionId>,
    /// The last group that was used without being told what was seen of it.
    last_used: Option<PartitionId>,
    /// Partitions were written to as well.
    wrote_partitions: bool,
    /// For commands that ask for chance.
    seed: u64,
    /// The monotonic clock at the first command of this turn.
    turn_ms: Option<u64>,
    commands: u64,
}

impl Dispatch {
    /// For a new connection.
    pub fn new(worker: Rc<Worker>, session: Session, pipeline: Shared) -> Dispatch {
        let layout = worker.layout();
        let in_flight_limit = worker.node.context.config.limits.in_flight.max(1);
        Dispatch {
            worker,
            session,
            pipeline,
            transaction: Transaction::default(),
            hold: None,
            more_behind: false,
            alone: false,
            relaxed: false,
            telling: BTreeSet::new(),
            last_used: None,
            blocked: false,
            closing: false,
            in_flight_limit,
            layout,
            written: BTreeMap::new(),
            wrote_partitions: false,
            seed: random::number(),
            turn_ms: None,
            commands: 0,
        }
    }

    /// What commands may look at.
    pub fn context(&self) -> &command::Context {
        &self.worker.node.context
    }

    /// Room for a read, shared by all connections of the worker.
    pub fn scratch(&self) -> std::cell::RefMut<'_, Box<[u8]>> {
        self.worker.scratch.borrow_mut()
    }

    /// The protocol that the connection speaks now.
    pub fn protocol(&self) -> Protocol {
        self.session.protocol
    }

    /// May the client run commands?
    pub fn is_authenticated(&self) -> bool {
        self.session.authenticated
    }

    /// Is the connection to close when everything is answered?
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Does the node stop?
    pub fn is_draining(&self) -> bool {
        self.worker.is_draining()
    }

    /// Does a command wait for those before it?
    pub fn is_waiting(&self) -> bool {
        self.hold.is_some()
    }

    /// Does the command that runs wait until there is something to pop? Then the client may be gone long before it ends.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// May another command be taken?
    pub fn takes_more(&mut self) -> bool {
        if self.closing {
            return false;
        }
        let in_flight = self.pipeline.borrow().in_flight();
        let layout = self.worker.layout();
        if layout != self.layout {
            // A partition was split: what comes now may go to the new one, and must not overtake what went to the old.
            if in_flight > 0 {
                return false;
            }
            let placement = self.worker.placement();
            placement.with_children(&mut self.session.used, self.layout);
            self.layout = layout;
        }
        if self.hold.is_some() {
            if in_flight > 0 {
                return false;
            }
            self.let_go();
        }
        self.alone &= in_flight > 0;
        self.blocked &= in_flight > 0;
        let pipeline = self.pipeline.borrow();
        !self.alone
            && pipeline.len() < self.in_flight_limit
            && pipeline.in_flight_bytes() < IN_FLIGHT_BYTES
            && pipeline.reply_bytes() < REPLY_BYTES
    }

    /// Everything before the holding command is answered.
    fn let_go(&mut self) {
        match self.hold.take() {
            Some(Hold::Watch(watching)) => {
                let fingerprints = self.pipeline.borrow_mut().take_fingerprints();
                self.transaction.watched(watching, fingerprints);
                let watched = self.transaction.watches();
                self.session.client.watched.store(watched, std::sync::atomic::Ordering::Relaxed);
            }
            Some(Hold::Wait(manner, waits)) => self.begin_wait(manner, waits),
            Some(Hold::Block(manner, waiting, bytes)) => self.begin_blocking(manner, waiting, bytes),
            Some(Hold::Ask(asks)) => self.ask(asks),
            Some(Hold::Token(manner)) => self.begin_token(manner),
            None => {}
        }
    }

    /// A turn of the connection ends; `unread` bytes wait for more.
    pub fn end_turn(&mut self, unread: usize) {
        use std::sync::atomic::Ordering::Relaxed;
        if self.commands > 0 {
            self.context().stats.commands.add(self.commands);
            self.commands = 0;
        }
        for (is_write, took) in self.pipeline.borrow_mut().took.drain(..) {
            self.context().stats.took(is_write, took);
        }
        self.turn_ms = None;
        self.session.client.input_bytes.store(unread, Relaxed);
        let waiting = self.pipeline.borrow().reply_bytes();
        self.session.client.output_bytes.store(waiting, Relaxed);
    }

    /// Runs a command; are there `more_behind` it?
    pub fn run(&mut self, arguments: Vec<Bytes>, more_behind: bool) {
        self.commands += 1;
        self.more_behind = more_behind;
        let Some(name) = arguments.first() else { return };
        let Some(command) = Command::lookup(name) else {
            return self.fail(unknown_command(&arguments));
        };
        if self.turn_ms.is_none() {
            let users = &self.worker.node.context.users;
            if !users.is_loaded() && self.worker.is_informed() {
                users.confirm();
            }
            self.session.follow(users);
        }
        let now_ms = *self.turn_ms.get_or_insert_with(monotonic_ms);
        self.session.touch(command, now_ms);
        if !self.session.authenticated && command::needs_authentication(command) {
            return self.fail(command::NO_AUTHENTICATION);
        }
        if let Err(error) = command.check_arity(&arguments) {
            return self.fail(error);
        }
        if !self.session.user.is_unlimited()
            && let Err(error) = self.permit(command, &arguments)
        {
            return self.fail(error);
        }
        if !self.worker.is_informed() && needs_catalogue(command) {
            return self.fail(Value::error(
                "CLUSTERDOWN this node has not read the catalogue since it started, nothing was done",
            ));
        }
        match command.name {
            "multi" => self.on_multi(),
            "exec" => self.on_exec(),
            "discard" => self.on_discard(),
            "watch" => self.on_watch(&arguments),
            "unwatch" if !self.transaction.is_open() => {
                self.transaction.unwatch();
                self.session.client.watched.store(0, std::sync::atomic::Ordering::Relaxed);
                self.reply(Value::OK);
            }
            "wait" if !self.transaction.is_open() => self.on_wait(&arguments),
            "waitaof" if !self.transaction.is_open() => self.on_wait_aof(&arguments),
            "reset" | "quit" => self.run_here(command, &arguments),
            _ if self.transaction.is_open() => self.queue(command, arguments),
            "idempotent" => self.on_idempotent(arguments),
            // A subcommand may be the server's where its container is not (`MEMORY DOCTOR` beside `MEMORY USAGE key`).
            _ if command.resolve(&arguments).kind == Kind::Server => self.run_here(command, &arguments),
            _ => match data::blocking(command, &arguments) {
                Some(blocking) => self.block(command, arguments, blocking),
                None => self.route(command, arguments, None),
            },
        }
    }

    fn permit(&self, command: &'static Command, arguments: &[Bytes]) -> Result<(), Value> {
        let in_transaction = self.transaction.is_open();
        command::permit(command, arguments, &self.session, &self.worker.node.context, in_transaction)
    }

    fn on_multi(&mut self) {
        let reply = self.transaction.open();
        self.show_queue();
        self.reply(reply.unwrap_or_else(|error| error));
    }

    fn on_discard(&mut self) {
        let reply = self.transaction.discard();
        self.show_queue();
        self.reply(reply.unwrap_or_else(|error| error));
    }

    fn queue(&mut self, command: &'static Command, arguments: Vec<Bytes>) {
        let reply = {
            let (limit, placement) =
                (self.worker.node.context.config.limits.request_bytes, self.worker.placement());
            self.transaction.queue(command, arguments, limit, &*placement)
        };
        self.show_queue();
        match reply {
            Ok(reply) => self.reply(reply),
            Err(error) => self.fail(error),
        }
    }

    /// What `CLIENT LIST` shows of the transaction.
    fn show_queue(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        self.session.client.queued.store(self.transaction.queued(), Relaxed);
        self.session.client.watched.store(self.transaction.watches(), Relaxed);
    }

    fn on_exec(&mut self) {
        let taken = self.transaction.take();
        self.show_queue();
        let execution = match taken {
            Ok(execution) => execution,
            Err(error) => return self.fail(error),
        };
        // The user may be another one by now than when they were queued.
        let queued = execution.commands.iter().map(|(command, arguments)| (command, arguments));
        let queued = queued.chain(execution.local.iter().map(|(_, command, arguments)| (command, arguments)));
        for (command, arguments) in queued {
            if let Err(error) = self.permit(command, arguments) {
                return self.fail(error);
            }
        }
        let mut local = Vec::new();
        for (place, command, arguments) in &execution.local {
            local.push((*place, self.run_in_transaction(command, arguments)));
        }
        let Some(home) = execution.home else {
            return self.reply(Value::Array(local.into_iter().map(|(_, reply)| reply).collect()));
        };
        let bytes = execution.commands.iter().map(|(_, arguments)| size(arguments)).sum();
        let is_write = execution.commands.iter().any(|(command, _)| command.kind == Kind::Write);
        let call = Call::Transaction { commands: execution.commands, watches: execution.watches };
        let partition = self.worker.placement().at(home);
        self.ask_one(partition, call, Finish::Transaction { local }, is_write, bytes);
    }

    fn run_in_transaction(&mut self, command: &'static Command, arguments: &[Bytes]) -> Value {
        if command.name == "unwatch" {
            return Value::OK; // EXEC ends every watch
        }
        match command::run(command, arguments, &mut self.session, &self.worker.node.context) {
            Action::Reply(reply) => reply,
            _ => Value::error("ERR Command not allowed inside a transaction"),
        }
    }

    fn on_watch(&mut self, arguments: &[Bytes]) {
        let placement = self.worker.placement();
        match self.transaction.watch(&arguments[1..], &*placement) {
            Err(error) => self.reply(error),
            Ok(watching) => {
                let partition = placement.at(watching.home);
                let call = Call::Fingerprint { keys: watching.keys.clone() };
                self.ask_one(partition, call, Finish::Watch, false, size(arguments));
                self.hold = Some(Hold::Watch(watching));
            }
        }
    }

    /// `WAIT replicas timeout`. A write to a partition is on a majority when it is acknowledged, and that is all that is known
    /// of it; what was written to groups of `primary-replica` keyspaces is asked of their primaries.
    fn on_wait(&mut self, arguments: &[Bytes]) {
        let number =
            |bytes: &Bytes| std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<i64>().ok());
        let (Some(copies), Some(timeout)) = (number(&arguments[1]), number(&arguments[2])) else {
            return self.fail(Value::error("ERR value is not an integer or out of range"));
        };
        if timeout < 0 {
            return self.fail(Value::error("ERR timeout is negative"));
        }
        self.wait_for(Waits { copies: copies.max(0), timeout, of_disks: false });
    }

    /// `WAITAOF numlocal numreplicas timeout`. What is acknowledged is on the disk of the primary, and what counts as held by
    /// others is on theirs.
    fn on_wait_aof(&mut self, arguments: &[Bytes]) {
        let number =
            |bytes: &Bytes| std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<i64>().ok());
        let numbers = [number(&arguments[1]), number(&arguments[2]), number(&arguments[3])];
        let [Some(local), Some(copies), Some(timeout)] = numbers else {
            return self.fail(Value::error("ERR value is not an integer or out of range"));
        };
        if !(0..=1).contains(&local) || copies < 0 {
            return self.fail(Value::error("ERR value is out of range"));
        }
        if timeout < 0 {
            return self.fail(Value::error("ERR timeout is negative"));
        }
        // Here what is on a replica's disk counts once it is on the primary's, too.
        self.wait_for(Waits { copies: if copies > 0 { copies + 1 } else { local }, timeout, of_disks: true });
    }

    fn wait_for(&mut self, waits: Waits) {
        let manner = self.manner();
        self.hold = Some(Hold::Wait(manner, waits));
        if self.pipeline.borrow().in_flight() == 0 {
            self.let_go();
        }
    }

    /// A command that waits until there is something to pop.
    fn block(&mut self, command: &'static Command, arguments: Vec<Bytes>, blocking: Blocking) {
        let placement = self.worker.placement();
        let route = match data::route(command, &arguments, &*placement, self.seed) {
            Ok(route) => route,
            Err(error) => return self.fail(error),
        };
        if let Some(moved) = self.redirection(command, &arguments, &route) {
            return self.reply(moved);
        }
        let Route::Home(home) = route else { unreachable!("its keys lie in one slot") };
        if placement.primaries.contains_key(&placement.at(home)) {
            return self.fail(Value::error(
                "ERR nothing waits for elements in a multi-primary or leaderless keyspace, since several replicas might give the same one away: pop without waiting, or use a keyspace of another strategy",
            ));
        }
        let bytes = size(&arguments);
        let call = Call::Command { command, arguments, token: None };
        self.used_untold(placement.at(home));
        let call = match self.demanding(placement.at(home), call, None, true) {
            Ok(call) => call,
            Err(error) => return self.fail(error),
        };
        let manner = self.manner();
        self.hold = Some(Hold::Block(manner, Waiting { call, blocking }, bytes));
        if self.pipeline.borrow().in_flight() == 0 {
            self.let_go();
        }
    }

    /// Everything before is answered, and nothing more is taken until the command is.
    fn begin_blocking(&mut self, manner: Manner, waiting: Waiting, bytes: usize) {
        let place = self.pipeline.borrow_mut().wait(manner, Finish::Plain, 1, true, bytes);
        self.pipeline.borrow_mut().untimed();
        (self.alone, self.blocked) = (true, true);
        let (worker, client, pipeline) =
            (self.worker.clone(), self.session.client.clone(), self.pipeline.clone());
        tokio::task::spawn_local(blocking::run(worker, client, pipeline, place, waiting));
    }

    /// Everything before `WAIT` is answered: asks the primaries of what was written.
    fn begin_wait(&mut self, manner: Manner, waits: Waits) {
        let known = self.known_replicas();
        let groups: Vec<(PartitionId, u64)> =
            self.written.iter().map(|(group, term)| (*group, *term)).collect();
        if groups.is_empty() {
            let reply = waits.reply(known + i64::from(waits.of_disks));
            return self.pipeline.borrow_mut().ready(manner, reply);
        }
        let place = self.pipeline.borrow_mut().wait(manner, Finish::Plain, 1, false, COMMAND_BYTES);
        self.pipeline.borrow_mut().untimed();
        let (worker, pipeline) = (self.worker.clone(), self.pipeline.clone());
        // Somebody wrote to partitions, too, perhaps: of those no more is known than that.
        let most = if self.wrote_partitions { known + i64::from(waits.of_disks) } else { i64::MAX };
        tokio::task::spawn_local(async move {
            let copies = copies_of(&worker, groups, waits).await.min(most);
            pipeline.borrow_mut().complete(place, 0, Reply::Done(waits.reply(copies)));
        });
    }

    /// Everything before `CLIENT SESSION TOKEN` is answered.
    fn begin_token(&mut self, manner: Manner) {
        self.note_seen();
        let place = self.pipeline.borrow_mut().wait(manner, Finish::Plain, 1, false, COMMAND_BYTES);
        let (worker, pipeline) = (self.worker.clone(), self.pipeline.clone());
        let (used, seen) = (self.session.used.clone(), self.session.seen.clone());
        tokio::task::spawn_local(async move {
            let reply = crate::seen::token(&worker, used, seen).await;
            pipeline.borrow_mut().complete(place, 0, reply);
        });
    }

    /// Copies beside the leader's that are certain to hold an acknowledged write.
    fn known_replicas(&self) -> i64 {
        let state = self.worker.node.context.cluster.state();
        let copies =
            state.placement.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(1);
        (copies / 2) as i64
    }

    fn on_idempotent(&mut self, mut arguments: Vec<Bytes>) {
        let token = arguments[1].clone();
        if token.is_empty() || token.len() > TOKEN_BYTES {
            let text = format!("ERR the token of IDEMPOTENT must have 1 to {TOKEN_BYTES} bytes");
            return self.fail(Value::error(text));
        }
        arguments.drain(..2);
        let Some(command) = arguments.first().and_then(|name| Command::lookup(name)) else {
            return self.fail(unknown_command(&arguments));
        };
        if let Err(error) = command.check_arity(&arguments) {
            return self.fail(error);
        }
        if command.kind != Kind::Write {
            return self.fail(Value::error("ERR IDEMPOTENT takes a command that writes keys"));
        }
        if data::blocking(command, &arguments).is_some() {
            // It would be answered what it was answered first: that there was nothing.
            return self.fail(Value::error("ERR IDEMPOTENT takes no command that waits"));
        }
        if let Err(error) = self.permit(command, &arguments) {
            return self.fail(error);
        }
        self.route(command, arguments, Some(token));
    }

    /// A command of kind `Server`.
    fn run_here(&mut self, command: &'static Command, arguments: &[Bytes]) {
        if matches!(command.name, "info" | "consort") {
            self.worker.publish_now();
        }
        let action = command::run(command, arguments, &mut self.session, &self.worker.node.context);
        match action {
            Action::Reply(reply) => self.reply(reply),
            Action::Close(reply) => {
                self.reply(reply);
                self.closing = true;
            }
            Action::Reset(reply) => {
                self.transaction = Transaction::default();
                self.show_queue();
                self.reply(reply);
            }
            Action::Shutdown { now } => {
                self.closing = true;
                self.worker.node.request_stop(now);
            }
            Action::Admin { partition, admin } => {
                self.ask_one(partition, Call::Admin(admin), Finish::Plain, true, COMMAND_BYTES);
            }
            Action::Change(change) => {
                let asker = self.take_place(Finish::Plain, 1, true, COMMAND_BYTES)(0);
                let worker = self.worker.clone();
                tokio::task::spawn_local(async move {
                    let changed = crate::under_prefix::change(&worker, &change).await;
                    if let (Ok(catalogue), true) =
                        (&changed, command::keyspace::says_where_keys_belong(&change))
                    {
                        worker.wait_until_known(catalogue.epoch).await;
                    }
                    let reply = changed_reply(changed.map(|_| Value::OK));
                    asker.pipeline.borrow_mut().complete(asker.place, asker.part, reply);
                });
            }
            Action::Users(edit) => {
                let asker = self.take_place(Finish::Plain, 1, true, COMMAND_BYTES)(0);
                let worker = self.worker.clone();
                tokio::task::spawn_local(async move {
                    let reply = std::cell::Cell::new(Value::OK);
                    let users = worker.node.context.users.clone();
                    let change = |catalogue: &Catalogue| {
                        let (change, answer) = edit.change(catalogue, &users)?;
                        reply.set(answer);
                        Ok(change)
                    };
                    let changed = worker.change(&change).await;
                    let reply = changed_reply(changed.map(|_| reply.into_inner()));
                    asker.pipeline.borrow_mut().complete(asker.place, asker.part, reply);
                });
            }
            Action::SessionToken => {
                let manner = self.manner();
                self.hold = Some(Hold::Token(manner));
                if self.pipeline.borrow().in_flight() == 0 {
                    self.let_go();
                }
            }
            Action::Lost { keyspace, key, verb } => {
                let asker = self.take_place(Finish::Plain, 1, true, COMMAND_BYTES)(0);
                let worker = self.worker.clone();
                tokio::task::spawn_local(async move {
                    let reply = crate::lost::run(&worker, keyspace, key, verb).await;
                    asker.pipeline.borrow_mut().complete(asker.place, asker.part, reply);
                });
            }
            Action::Import(import) => {
                tokio::task::spawn_local(crate::import::run(self.worker.node.clone(), import));
                self.reply(Value::OK);
            }
            Action::KeysInSlot { slot, limit } => {
                let asker = self.take_place(Finish::Plain, 1, false, COMMAND_BYTES);
                self.worker.keys_in_slot(KeysInSlot { slot, limit }, asker(0));
            }
        }
    }

    /// A command about keys.
    fn route(&mut self, command: &'static Command, arguments: Vec<Bytes>, token: Option<Bytes>) {
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let placement = self.worker.placement();
        let route = match data::route(command, &arguments, &*placement, self.seed) {
            Ok(route) => route,
            Err(error) => return self.fail(error),
        };
        let is_write = command.kind == Kind::Write;
        if let Some(moved) = self.redirection(command, &arguments, &route) {
            return self.reply(moved);
        }
        let bytes = size(&arguments);
        match route {
            Route::Server => self.fail(Value::error(format!("ERR '{}' cannot be run here", command.name))),
            Route::Home(home) => {
                let partition = placement.at(home);
                let finish = match command.name {
                    "scan" => Finish::Scan { next: home_after(&placement, partition) },
                    _ => Finish::Plain,
                };
                self.ask_one(partition, Call::Command { command, arguments, token }, finish, is_write, bytes);
            }
            Route::Scatter { .. } | Route::Every { .. } if token.is_some() => {
                self.fail(Value::error(
                    "CROSSSLOT IDEMPOTENT takes a command whose keys are in one partition",
                ));
            }
            Route::Scatter { parts, gather } => {
                let calls = parts.into_iter().map(|part| (PartitionId(part.group), part.arguments)).collect();
                self.ask_many(command, calls, Finish::Gather(gather), is_write, bytes);
            }
            Route::Every { gather } => {
                let calls = placement.all().map(|partition| (partition, arguments.clone())).collect();
                self.ask_many(command, calls, Finish::Gather(gather), is_write, bytes);
            }
        }
    }

    /// `MOVED`, for a client that asks who leads rather than to be served through this node. Transactions and what has
    /// keys in several partitions are always served through this node.
    fn redirection(&self, command: &'static Command, arguments: &[Bytes], route: &Route) -> Option<Value> {
        let redirects = match self.context().settings.redirect() {
            Redirect::Never => false,
            Redirect::Aware => self.session.cluster_aware,
            Redirect::Always => true,
        };
        let one_partition = match route {
            Route::Home(_) => true,
            Route::Scatter { parts, .. } => parts.len() == 1,
            Route::Server | Route::Every { .. } => false,
        };
        if !redirects || !one_partition || self.transaction.watches() > 0 {
            return None;
        }
        // Commands without a key (SCAN, RANDOMKEY) are about this or that partition, not about one that the client means.
        let keys = data::route::keys_of(command, arguments).ok()?;
        let placement = self.worker.placement();
        let home = placement.home_of(&arguments[*keys.first()?]);
        let (slot, partition) = (home.slot, placement.at(home));
        if home.keyspace != 0 {
            // A cluster client has one map of slots, which is that of the partitions.
            return None;
        }
        let any_replica = self.session.readonly && command.kind != Kind::Write;
        let state = self.context().cluster.state();
        let node = state.elsewhere(partition, any_replica)?;
        Some(Value::error(format!("MOVED {slot} {}:{}", node.client.host, node.client.port)))
    }

    /// To be called once for each command, after it ran.
    fn manner(&mut self) -> Manner {
        Manner { protocol: self.session.protocol, silent: !self.session.sends_reply() }
    }

    fn reply(&mut self, reply: Value) {
        if let Value::Error(text) = &reply {
            self.context().stats.error(text);
        }
        let manner = self.manner();
        self.pipeline.borrow_mut().ready(manner, reply);
    }

    /// The command is wrong; within `MULTI` that spoils the transaction.
    fn fail(&mut self, error: Value) {
        self.transaction.spoil();
        self.reply(error);
    }
}

/// What came of a change of the catalogue.
fn changed_reply(changed: Result<Value, String>) -> Reply {
    match changed {
        Ok(value) => Reply::Done(value),
        Err(reason) => match reason.strip_prefix("UNKNOWN ") {
            Some(reason) => Reply::Unknown(reason.into()),
            None => Reply::Refused(reason),
        },
    }
}

/// Where `SCAN` goes on when a partition is at its end: with the next slot, then with the next keyspace that has groups of
/// its own.
fn home_after(placement: &Placement, partition: PartitionId) -> Option<Home> {
    let keyspace = partition.keyspace();
    let last_slot = match placement.groups.get(&partition) {
        Some(group) => group.configuration.last_slot,
        None => placement.get(partition).map_or(SLOTS - 1, |placed| placed.last_slot),
    };
    if last_slot < SLOTS - 1 {
        return Some(Home { keyspace, slot: last_slot + 1 });
    }
    let numbers = placement.prefixes.values().copied();
    let next = numbers.filter(|number| *number > keyspace).min()?;
    Some(Home { keyspace: next, slot: 0 })
}

/// What a command holds in memory, about.
fn size(arguments: &[Bytes]) -> usize {
    arguments.iter().map(|argument| argument.len() + 32).sum::<usize>() + COMMAND_BYTES
}

/// As Redis says it: the name and the beginning of the arguments, each up to 128 bytes.
fn unknown_command(arguments: &[Bytes]) -> Value {
    let text = |bytes: &Bytes| {
        let shown = &bytes[..bytes.len().min(128)];
        String::from_utf8_lossy(shown).replace(['\r', '\n'], " ")
    };
    let name = arguments.first().map(text).unwrap_or_default();
    let mut beginning = String::new();
    for argument in arguments.iter().skip(1) {
        if beginning.len() >= 128 {
            break;
        }
        beginning.push_str(&format!("'{}' ", text(argument)));
    }
    Value::error(format!("ERR unknown command '{name}', with args beginning with: {beginning}"))
}

/// Does a command go where keys belong? What a transaction queues was let in by `MULTI`.
fn needs_catalogue(command: &Command) -> bool {
    command.kind != Kind::Server || matches!(command.name, "multi" | "watch" | "idempotent")
}
