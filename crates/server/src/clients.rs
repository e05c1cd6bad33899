//! The connections of a node, as `CLIENT LIST` shows them and `CLIENT KILL` ends them. Shared by all worker threads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::session::Session;

/// What other connections may know of one: everything is atomic or locked, written by its own connection.
#[derive(Debug)]
pub struct Client {
    /// The number that `CLIENT ID` says; never used twice.
    pub id: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Where it arrived.
    pub local: SocketAddr,
    killed: AtomicBool,
    kill: Notify,
}

impl Client {
    /// Asks the connection to close.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        self.kill.notify_waiters();
        self.kill.notify_one();
    }

    /// Was it asked to close?
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Returns once the connection is asked to close. For the task that owns the connection.
    pub async fn killed(&self) {
        while !self.is_killed() {
            self.kill.notified().await;
        }
    }
}

/// The registry.
#[derive(Debug, Default)]
pub struct Clients {
    next: AtomicU64,
    all: Mutex<BTreeMap<u64, Arc<Client>>>,
}

impl Clients {
    /// Enters a new connection; it is taken out again when the session is dropped. `authenticated` is what it starts as
    /// (true without a password).
    pub fn register(self: &Arc<Self>, peer: SocketAddr, local: SocketAddr, authenticated: bool) -> Session {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let client =
            Arc::new(Client { id, peer, local, killed: AtomicBool::new(false), kill: Notify::new() });
        self.lock().insert(id, client.clone());
        Session::new(client, self.clone(), authenticated)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a connection out.
    pub(crate) fn remove(&self, id: u64) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Client>>> {
        self.all.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
