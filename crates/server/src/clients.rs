//! The connections of a node, as `CLIENT LIST` shows them and `CLIENT KILL` ends them. Shared by all worker threads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use data::Command;
use tokio::sync::Notify;

use crate::acl::{DEFAULT, Users};
use crate::clock::monotonic_ms;
use crate::session::Session;

/// The names that a client gave itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The user that it is.
    pub user: Bytes,
    /// `CLIENT SETNAME`.
    pub name: String,
    /// `CLIENT SETINFO LIB-NAME`.
    pub library: String,
    /// `CLIENT SETINFO LIB-VER`.
    pub library_version: String,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            user: Bytes::from_static(DEFAULT),
            name: String::new(),
            library: String::new(),
            library_version: String::new(),
        }
    }
}

/// What other connections may know of one: everything is atomic or locked, written by its own connection.
#[derive(Debug)]
pub struct Client {
    /// The number that `CLIENT ID` says; never used twice.
    pub id: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Where it arrived.
    pub local: SocketAddr,
    /// Commands queued after `MULTI`; -1 outside a transaction. Kept by the transaction module.
    pub queued: AtomicI64,
    /// Keys watched. Kept by the transaction module.
    pub watched: AtomicUsize,
    /// Bytes of replies that wait to be sent. Kept by the connection.
    pub output_bytes: AtomicUsize,
    /// Bytes read and not yet understood. Kept by the connection.
    pub input_bytes: AtomicUsize,
    /// 2 or 3.
    pub(crate) protocol: AtomicUsize,
    pub(crate) readonly: AtomicBool,
    pub(crate) no_evict: AtomicBool,
    pub(crate) no_touch: AtomicBool,
    created_ms: u64,
    last_ms: AtomicU64,
    last_command: AtomicUsize,
    names: Mutex<Names>,
    killed: AtomicBool,
    kill: Notify,
    /// Does it wait until there is something to pop?
    blocked: AtomicBool,
    /// How somebody wants that to end, as [`Unblock`].
    unblock: AtomicUsize,
    unblocked: Notify,
}

/// How `CLIENT UNBLOCK` ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unblock {
    /// As if its time were over.
    Timeout,
    /// With an error.
    Error,
}

impl Client {
    fn new(id: u64, peer: SocketAddr, local: SocketAddr, now_ms: u64) -> Client {
        Client {
            id,
            peer,
            local,
            queued: AtomicI64::new(-1),
            watched: AtomicUsize::new(0),
            output_bytes: AtomicUsize::new(0),
            input_bytes: AtomicUsize::new(0),
            protocol: AtomicUsize::new(2),
            readonly: AtomicBool::new(false),
            no_evict: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            created_ms: now_ms,
            last_ms: AtomicU64::new(now_ms),
            last_command: AtomicUsize::new(usize::MAX),
            names: Mutex::default(),
            killed: AtomicBool::new(false),
            kill: Notify::new(),
            blocked: AtomicBool::new(false),
            unblock: AtomicUsize::new(0),
            unblocked: Notify::new(),
        }
    }

    /// It waits until there is something to pop, or does so no longer.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.unblock.store(0, Ordering::Release);
        self.blocked.store(blocked, Ordering::Release);
    }

    /// Does it wait until there is something to pop?
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Acquire)
    }

    /// Ends its wait. Says whether it waited.
    pub fn unblock(&self, how: Unblock) -> bool {
        if !self.is_blocked() {
            return false;
        }
        self.unblock.store(1 + how as usize, Ordering::Release);
        self.unblocked.notify_one();
        true
    }

    /// Returns once somebody ends its wait.
    pub(crate) async fn unblocked(&self) -> Unblock {
        loop {
            match self.unblock.load(Ordering::Acquire) {
                0 => self.unblocked.notified().await,
                1 => return Unblock::Timeout,
                _ => return Unblock::Error,
            }
        }
    }

    /// Asks the connection to close.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.kill.notify_one();
    }

    /// Was it asked to close?
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Returns once the connection is asked to close. For the one task that owns the connection.
    pub async fn killed(&self) {
        while !self.is_killed() {
            self.kill.notified().await;
        }
    }

    /// The names that the client gave itself.
    pub fn names(&self) -> Names {
        lock(&self.names).clone()
    }

    pub(crate) fn change_names(&self, change: impl FnOnce(&mut Names)) {
        change(&mut lock(&self.names));
    }

    pub(crate) fn touch(&self, command: &'static Command, now_ms: u64) {
        self.last_ms.store(now_ms, Ordering::Relaxed);
        self.last_command.store(command.number(), Ordering::Relaxed);
    }

    /// When its last command arrived, in milliseconds of the [monotonic clock](monotonic_ms).
    pub fn last_ms(&self) -> u64 {
        self.last_ms.load(Ordering::Relaxed)
    }

    /// Bytes read and not yet understood, and bytes of replies that wait to be sent.
    pub fn waiting_bytes(&self) -> (usize, usize) {
        (self.input_bytes.load(Ordering::Relaxed), self.output_bytes.load(Ordering::Relaxed))
    }

    /// How long it has been connected, in milliseconds.
    pub fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.created_ms)
    }

    /// The row of `CLIENT LIST`, in the fields and the order of Redis. There is one file descriptor a connection, which
    /// is nobody's business: `fd` is -1.
    pub fn row(&self, now_ms: u64) -> String {
        let names = self.names();
        let queued = self.queued.load(Ordering::Relaxed);
        let (input, output) = self.waiting_bytes();
        let age = self.age_ms(now_ms) / 1000;
        let idle = now_ms.saturating_sub(self.last_ms()) / 1000;
        let command = Command::all().get(self.last_command.load(Ordering::Relaxed));
        format!(
            "id={} addr={} laddr={} fd=-1 name={} age={age} idle={idle} flags={} db=0 sub=0 psub=0 ssub=0 \
             multi={queued} qbuf={input} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={output} oll=0 \
             omem={output} tot-mem={} events=rw cmd={} user={} redir=-1 resp={} lib-name={} lib-ver={}",
            self.id,
            self.peer,
            self.local,
            names.name,
            self.flags(queued),
            input + output + size_of::<Client>(),
            command.map_or("NULL", |command| command.name),
            String::from_utf8_lossy(&names.user),
            self.protocol.load(Ordering::Relaxed),
            names.library,
            names.library_version,
        )
    }

    fn flags(&self, queued: i64) -> String {
        let flags: String = [
            (queued >= 0, 'x'),
            (self.is_blocked(), 'b'),
            (self.is_killed(), 'A'),
            (self.readonly.load(Ordering::Relaxed), 'r'),
            (self.no_evict.load(Ordering::Relaxed), 'e'),
            (self.no_touch.load(Ordering::Relaxed), 'T'),
        ]
        .into_iter()
        .filter_map(|(set, letter)| set.then_some(letter))
        .collect();
        if flags.is_empty() { "N".into() } else { flags }
    }
}

/// The registry.
#[derive(Debug, Default)]
pub struct Clients {
    next: AtomicU64,
    all: Mutex<BTreeMap<u64, Arc<Client>>>,
}

impl Clients {
    /// Enters a new connection; it is taken out again when the session is dropped. It begins as the user `default`, if that needs no password.
    pub fn register(self: &Arc<Self>, peer: SocketAddr, local: SocketAddr, users: &Users) -> Session {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let client = Arc::new(Client::new(id, peer, local, monotonic_ms()));
        lock(&self.all).insert(id, client.clone());
        Session::new(client, self.clone(), users)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        lock(&self.all).len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many wait until there is something to pop.
    pub fn blocked(&self) -> usize {
        lock(&self.all).values().filter(|client| client.is_blocked()).count()
    }

    /// All of them, in the order of their ids. The registry is not held while the caller looks at them.
    pub fn all(&self) -> Vec<Arc<Client>> {
        lock(&self.all).values().cloned().collect()
    }

    /// Takes a connection out.
    pub(crate) fn remove(&self, id: u64) {
        lock(&self.all).remove(&id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
