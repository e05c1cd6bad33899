//! Users: who may run which commands on which keys, and how fresh and how safe what they do is if they do not say.
//!
//! The catalogue keeps them as texts, so all nodes have the same ones, and a node that is cut off goes on with those that it knows. A node makes a
//! [`User`] of each text once. A connection holds its user and looks again when [`Users::version`] has risen; it costs a command one look at one
//! number, and nothing more where the user may do everything.
//!
//! The user `default` is there without a record, too: as the configuration's password says. `ACL SETUSER default` makes it one of the catalogue's.
//!
//! Where to read next: [`user`](user::User) (rules and checks), `command::acl` (what `ACL` answers).

mod permissions;
mod user;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use bytes::Bytes;

pub use permissions::{Denied, Permissions, categories, commands_of};
pub use user::{User, hash_of, rules};

/// The user of connections that do not say who they are.
pub const DEFAULT: &[u8] = b"default";

/// The user that a node's own tasks are, where they come to it as a client; no record can have this name.
pub const MYSELF: &[u8] = b"\0myself";

/// The most entries that `ACL LOG` keeps.
const LOG_ENTRIES: usize = 128;
/// Alike refusals within this time are one entry. Milliseconds, as in Redis.
const LOG_TOGETHER_MS: u64 = 60_000;

/// The users that this node knows.
#[derive(Debug)]
pub struct Users {
    version: AtomicU64,
    all: RwLock<BTreeMap<Bytes, Arc<User>>>,
    /// The `default` of the configuration.
    fallback: RwLock<Arc<User>>,
    /// Was the catalogue read since the node started?
    loaded: AtomicU64,
    /// Drawn at each start of the process.
    own_password: [u8; 32],
    log: Mutex<Log>,
}

/// What was refused.
#[derive(Debug, Default)]
struct Log {
    next: u64,
    entries: VecDeque<LogEntry>,
}

/// One kind of refusal, as `ACL LOG` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its number.
    pub id: u64,
    /// How often it was so.
    pub count: u64,
    /// `command`, `key` or `auth`.
    pub reason: &'static str,
    /// `toplevel` or `multi`.
    pub context: &'static str,
    /// The command or the key, or the name that wanted in.
    pub object: Bytes,
    /// Of whom.
    pub user: Bytes,
    /// The connection, as `CLIENT LIST` shows it.
    pub client: String,
    /// Wall clock, in milliseconds: first and last.
    pub created_ms: u64,
    /// The last time.
    pub updated_ms: u64,
}

impl Users {
    /// The users of a node that starts with this password in its configuration.
    pub fn new(password: Option<&str>) -> Users {
        Users {
            version: AtomicU64::new(1),
            all: RwLock::default(),
            fallback: RwLock::new(Arc::new(User::fallback(password))),
            loaded: AtomicU64::new(0),
            own_password: {
                let mut password = [0; 32];
                crate::random::fill(&mut password);
                password
            },
            log: Mutex::default(),
        }
    }

    /// The password of [`MYSELF`].
    pub fn own_password(&self) -> &[u8] {
        &self.own_password
    }

    /// Rises with every change.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Are these the catalogue's users as they were when the node started, or later ones? Before, there are those that it knew when it stopped, and `default` as
    /// the configuration says.
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire) != 0
    }

    /// The user of that name.
    pub fn find(&self, name: &[u8]) -> Option<Arc<User>> {
        let all = self.all.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        match all.get(name) {
            Some(user) => Some(user.clone()),
            None if name == MYSELF => Some(Arc::new(User::fallback_of(&self.own_password))),
            None if name == DEFAULT => {
                Some(self.fallback.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone())
            }
            None => None,
        }
    }

    /// The user `default`.
    pub fn default_user(&self) -> Arc<User> {
        self.find(DEFAULT).expect("it is always there")
    }

    /// All of them by name.
    pub fn all(&self) -> Vec<(Bytes, Arc<User>)> {
        let mut all = self.all.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        all.entry(Bytes::from_static(DEFAULT))
            .or_insert_with(|| self.fallback.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone());
        all.into_iter().collect()
    }

    /// Does the catalogue say who `default` is?
    pub fn governs_default(&self) -> bool {
        self.all.read().unwrap_or_else(|poisoned| poisoned.into_inner()).contains_key(DEFAULT)
    }

    /// May a connection begin as `default` without a password?
    pub fn is_open(&self) -> bool {
        self.default_user().is_open()
    }

    /// Another password in the configuration of this node.
    pub fn set_password(&self, password: Option<&str>) {
        *self.fallback.write().unwrap_or_else(|poisoned| poisoned.into_inner()) =
            Arc::new(User::fallback(password));
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// The catalogue says these. One whose text this program does not understand may do nothing.
    pub fn follow(&self, texts: &BTreeMap<Bytes, Bytes>) {
        let mut all = self.all.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let same = all.len() == texts.len()
            && all
                .iter()
                .zip(texts)
                .all(|((name, user), (other, text))| name == other && user.text() == *text);
        if !same {
            *all = texts.iter().map(|(name, text)| (name.clone(), Arc::new(User::of_text(text)))).collect();
        }
        if !same {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// What was followed last is no older than the node's start, or there is nobody to ask for later ones.
    pub fn confirm(&self) {
        if self.loaded.swap(1, Ordering::AcqRel) == 0 {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The user, if the password is right and it may come in.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        // As much work for a name that is not there as for a wrong password.
        let hash = hash_of(password);
        let user = self.find(name)?;
        user.lets_in(&hash).then_some(user)
    }

    /// Something was refused.
    pub fn note(&self, refused: LogEntry) {
        let mut log = self.lock_log();
        let now_ms = refused.updated_ms;
        let alike = log.entries.iter().position(|known| {
            (known.reason, known.context, &known.object, &known.user)
                == (refused.reason, refused.context, &refused.object, &refused.user)
                && now_ms.saturating_sub(known.updated_ms) <= LOG_TOGETHER_MS
        });
        if let Some(mut entry) = alike.and_then(|at| log.entries.remove(at)) {
            entry.count += 1;
            entry.updated_ms = now_ms;
            entry.client = refused.client;
            return log.entries.push_front(entry);
        }
        let id = log.next;
        log.next += 1;
        log.entries.push_front(LogEntry { id, ..refused });
        log.entries.truncate(LOG_ENTRIES);
    }

    /// What was refused, the latest first.
    pub fn log(&self) -> Vec<LogEntry> {
        self.lock_log().entries.iter().cloned().collect()
    }

    /// Forgets what was refused.
    pub fn reset_log(&self) {
        self.lock_log().entries.clear();
    }

    fn lock_log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests;
