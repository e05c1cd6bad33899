//! The state of one client connection that commands read and change. `MULTI` and `WATCH` are kept by the transaction
//! module, not here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use data::Command;
use replication::PartitionId;
use replication::configuration::Acknowledgement;
use replication::consistency::{Consistency, Seen};
use replication::primaries::Quorum;
use resp::Protocol;

use crate::acl::{DEFAULT, User, Users};
use crate::clients::{Client, Clients};
use crate::profile::Profile;

/// What becomes of replies (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// They are sent.
    #[default]
    On,
    /// They are not.
    Off,
    /// The reply to this command (`CLIENT REPLY SKIP` itself) and the next one are not sent.
    SkipNext,
    /// The reply to the command under way is not sent.
    Skip,
}

/// One client connection.
#[derive(Debug)]
pub struct Session {
    /// The shared part: id, addresses, names, counters, and whether it was killed.
    pub client: Arc<Client>,
    /// The protocol that replies are written in. To change it use [`Session::set_protocol`].
    pub protocol: Protocol,
    /// May it run commands?
    pub authenticated: bool,
    /// What it may run. To change it use [`Session::become_user`].
    pub user: Arc<User>,
    /// The [version](Users::version) that `user` is of.
    users_version: u64,
    /// It began before this node knew who needs a password, and which.
    is_provisional: bool,
    /// As what it has proved itself meanwhile.
    proved_as: Option<Arc<User>>,
    /// `READONLY` was said. To change it use [`Session::set_readonly`].
    pub readonly: bool,
    /// Something was said that only a client says that knows about slots.
    pub cluster_aware: bool,
    /// What becomes of replies.
    pub reply_mode: ReplyMode,
    /// `CLIENT CONSISTENCY`, `CLIENT ACK` and `CLIENT QUORUM`.
    pub own: Profile,
    /// `SELECT`, where numbers mean something.
    pub selected: Profile,
    /// What was seen of each group by replies that told it, and with `CLIENT SESSION RESUME`.
    pub seen: BTreeMap<PartitionId, Seen>,
    /// The groups that were used without being told what was seen of them.
    pub used: BTreeSet<PartitionId>,
    clients: Arc<Clients>,
}

impl Session {
    pub(crate) fn new(client: Arc<Client>, clients: Arc<Clients>, users: &Users) -> Session {
        let (users_version, user) = (users.version(), users.default_user());
        Session {
            client,
            protocol: Protocol::Resp2,
            authenticated: user.is_open(),
            user,
            users_version,
            is_provisional: !users.is_loaded(),
            proved_as: None,
            readonly: false,
            cluster_aware: false,
            reply_mode: ReplyMode::On,
            own: Profile::default(),
            selected: Profile::default(),
            seen: BTreeMap::new(),
            used: BTreeSet::new(),
            clients,
        }
    }

    /// The password was right.
    pub fn become_user(&mut self, name: &Bytes, user: Arc<User>) {
        self.authenticated = true;
        self.proved_as = self.is_provisional.then(|| user.clone());
        self.user = user;
        self.client.change_names(|names| names.user = name.clone());
    }

    /// Looks whether the user is another one by now. A connection whose user is gone ends; what stays is what it has proved.
    pub fn follow(&mut self, users: &Users) {
        let version = users.version();
        if version == self.users_version {
            return;
        }
        self.users_version = version;
        match users.find(&self.client.names().user) {
            Some(user) => self.user = user,
            None => {
                self.user = Arc::new(User::new());
                self.client.kill();
            }
        }
        if self.is_provisional && users.is_loaded() {
            // A password that was right by what this node knew before it started may have been changed.
            let is_proved = self.proved_as.take().is_some_and(|user| user == self.user);
            self.is_provisional = false;
            self.authenticated &= is_proved || self.user.is_open();
        }
    }

    /// How fresh reads are to be, if the connection, its number or its user says so.
    pub fn consistency(&self) -> Option<Consistency> {
        self.own.consistency.or(self.selected.consistency).or(self.user.profile().consistency)
    }

    /// By how much writes are to be acknowledged, if the connection, its number or its user says so.
    pub fn acknowledgement(&self) -> Option<Acknowledgement> {
        let user = self.user.profile();
        self.own.acknowledgement.or(self.selected.acknowledgement).or(user.acknowledgement)
    }

    /// How many replicas of leaderless keyspaces are asked, if the connection, its number or its user says so.
    pub fn quorum(&self) -> Option<Quorum> {
        self.own.or(&self.selected).or(self.user.profile()).quorum()
    }

    /// Notes that a command arrived. To be called before each command; `now_ms` is the monotonic clock (one reading serves all
    /// commands of a pipeline).
    pub fn touch(&mut self, command: &'static Command, now_ms: u64) {
        self.client.touch(command, now_ms);
    }

    /// Decides whether the reply to the command that was just run is to be sent, and moves on to the next command. To be
    /// called once for each command, after it ran.
    pub fn sends_reply(&mut self) -> bool {
        let (sends, next) = match self.reply_mode {
            ReplyMode::On => (true, ReplyMode::On),
            ReplyMode::Off => (false, ReplyMode::Off),
            ReplyMode::SkipNext => (false, ReplyMode::Skip),
            ReplyMode::Skip => (false, ReplyMode::On),
        };
        self.reply_mode = next;
        sends
    }

    /// Replies are written in this protocol from the next one on.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        let number = if protocol == Protocol::Resp3 { 3 } else { 2 };
        self.client.protocol.store(number, Ordering::Relaxed);
    }

    /// `READONLY` and `READWRITE`.
    pub fn set_readonly(&mut self, readonly: bool) {
        self.readonly = readonly;
        self.client.readonly.store(readonly, Ordering::Relaxed);
    }

    /// `RESET`: the state of a new connection. The library's name and version stay, as in Redis.
    pub fn reset(&mut self, users: &Users) {
        self.user = users.default_user();
        self.users_version = users.version();
        self.is_provisional = !users.is_loaded();
        self.proved_as = None;
        self.set_protocol(Protocol::Resp2);
        self.set_readonly(false);
        self.cluster_aware = false;
        self.authenticated = self.user.is_open();
        self.reply_mode = ReplyMode::On;
        self.own = Profile::default();
        self.selected = Profile::default();
        self.seen.clear();
        self.used.clear();
        self.client.no_evict.store(false, Ordering::Relaxed);
        self.client.no_touch.store(false, Ordering::Relaxed);
        self.client.change_names(|names| {
            names.name = String::new();
            names.user = Bytes::from_static(DEFAULT);
        });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.clients.remove(self.client.id);
    }
}
