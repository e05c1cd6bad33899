//! `MULTI ... EXEC` and `WATCH` of one connection.
//!
//! Commands are queued here and go to their partition as one request at `EXEC`; so all keys, watched ones among them, must
//! lie in one slot. `WATCH` asks the partition for the fingerprints of keys, and `EXEC` carries them: it goes ahead only
//! if the keys still have them. A key that was changed and changed back counts as unchanged.

use bytes::Bytes;
use data::command::Kind;
use data::route::Route;
use data::{Command, Home, Homes, Watch};
use resp::Value;

/// Commands that the server answers itself and that may stand in a transaction, because they only look.
const LOCAL: [&str; 6] = ["ping", "echo", "time", "select", "info", "command"];

/// The state.
#[derive(Debug, Default)]
pub struct Transaction {
    open: bool,
    spoilt: bool,
    home: Option<Home>,
    bytes: usize,
    queued: Vec<(&'static Command, Vec<Bytes>)>,
    watches: Vec<Watch>,
    watched_home: Option<Home>,
    /// A `WATCH` was refused: an `EXEC` that was sent behind it must not go ahead without it.
    watch_failed: bool,
}

/// Keys whose fingerprints were asked for.
#[derive(Debug)]
pub struct Watching {
    /// Where they live.
    pub home: Home,
    /// The keys.
    pub keys: Vec<Bytes>,
}

/// What `EXEC` is to do.
#[derive(Debug)]
pub struct Execution {
    /// Where the keys live; `None`: nothing touches a key and nothing is watched.
    pub home: Option<Home>,
    /// For the partition, in order.
    pub commands: Vec<(&'static Command, Vec<Bytes>)>,
    /// What the partition must find unchanged.
    pub watches: Vec<Watch>,
    /// For the server itself, with their places among the replies, rising.
    pub local: Vec<(usize, &'static Command, Vec<Bytes>)>,
}

const CROSS_SLOT: Value =
    Value::Error(std::borrow::Cow::Borrowed("CROSSSLOT Keys in request don't hash to the same slot"));

impl Transaction {
    /// Are commands being queued?
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The number of queued commands; -1 outside of a transaction.
    pub fn queued(&self) -> i64 {
        if self.open { self.queued.len() as i64 } else { -1 }
    }

    /// The number of watched keys.
    pub fn watches(&self) -> usize {
        self.watches.len()
    }

    /// `MULTI`.
    ///
    /// # Errors
    /// One is open.
    pub fn open(&mut self) -> Result<Value, Value> {
        if self.open {
            return Err(Value::error("ERR MULTI calls can not be nested"));
        }
        self.open = true;
        Ok(Value::OK)
    }

    /// A command could not be queued: `EXEC` will refuse.
    pub fn spoil(&mut self) {
        self.spoilt |= self.open;
    }

    /// `DISCARD`.
    ///
    /// # Errors
    /// None is open.
    pub fn discard(&mut self) -> Result<Value, Value> {
        if !self.open {
            return Err(Value::error("ERR DISCARD without MULTI"));
        }
        *self = Transaction::default();
        Ok(Value::OK)
    }

    /// Queues a command. `limit` is the most bytes that the queue may hold.
    ///
    /// # Errors
    /// The command may not stand in a transaction, or not in this one.
    pub fn queue(
        &mut self,
        command: &'static Command,
        arguments: Vec<Bytes>,
        limit: usize,
        homes: &dyn Homes,
    ) -> Result<Value, Value> {
        self.bytes += arguments.iter().map(|argument| argument.len() + 32).sum::<usize>();
        if self.bytes > limit {
            return Err(Value::error("ERR the transaction is longer than a request may be"));
        }
        if command.kind == Kind::Server {
            if !LOCAL.contains(&command.name) && command.name != "unwatch" {
                return Err(Value::error("ERR Command not allowed inside a transaction"));
            }
        } else {
            let home = home_of(command, &arguments, homes)?;
            self.set_home(home)?;
        }
        self.queued.push((command, arguments));
        Ok(Value::Simple("QUEUED".into()))
    }

    fn set_home(&mut self, home: Home) -> Result<(), Value> {
        if let Some(fixed) = self.home.or(self.watched_home).filter(|fixed| *fixed != home) {
            return Err(apart(fixed, home));
        }
        self.home = Some(home);
        Ok(())
    }

    /// `EXEC`: the transaction and the watches are over, whatever becomes of them.
    ///
    /// # Errors
    /// None is open, or it is spoilt.
    pub fn take(&mut self) -> Result<Execution, Value> {
        if !self.open {
            return Err(Value::error("ERR EXEC without MULTI"));
        }
        let taken = std::mem::take(self);
        if taken.spoilt || taken.watch_failed {
            return Err(Value::error("EXECABORT Transaction discarded because of previous errors."));
        }
        let (mut commands, mut local) = (Vec::new(), Vec::new());
        for (place, (command, arguments)) in taken.queued.into_iter().enumerate() {
            if command.kind == Kind::Server {
                local.push((place, command, arguments));
            } else {
                commands.push((command, arguments));
            }
        }
        let home = taken.home.or(taken.watched_home);
        Ok(Execution { home, commands, watches: taken.watches, local })
    }

    /// `WATCH`: what to ask the partition.
    ///
    /// # Errors
    /// A transaction is open (which stays as it is), or the keys are in several slots (then the next `EXEC` is refused).
    pub fn watch(&mut self, keys: &[Bytes], homes: &dyn Homes) -> Result<Watching, Value> {
        if self.open {
            return Err(Value::error("ERR WATCH inside MULTI is not allowed"));
        }
        let home = homes.home_of(&keys[0]);
        let mut others = keys.iter().map(|key| homes.home_of(key)).chain(self.watched_home);
        if let Some(other) = others.find(|other| *other != home) {
            self.watch_failed = true;
            return Err(apart(home, other));
        }
        Ok(Watching { home, keys: keys.to_vec() })
    }

    /// The partition's answer to `WATCH`: 16 bytes a key, little endian; `None` if it failed.
    pub fn watched(&mut self, watching: Watching, fingerprints: Option<Value>) {
        let Some(Value::Array(fingerprints)) = fingerprints else {
            self.watch_failed = true;
            return;
        };
        self.watched_home = Some(watching.home);
        for (key, fingerprint) in watching.keys.into_iter().zip(fingerprints) {
            let Value::Bulk(bytes) = fingerprint else { continue };
            let Ok(bytes) = <[u8; 16]>::try_from(bytes.as_ref()) else { continue };
            if !self.watches.iter().any(|watch| watch.key == key) {
                self.watches.push(Watch { key, fingerprint: u128::from_le_bytes(bytes) });
            }
        }
    }

    /// `UNWATCH`.
    pub fn unwatch(&mut self) {
        self.watches.clear();
        self.watched_home = None;
        self.watch_failed = false;
    }
}

/// Why keys of two homes cannot be in one transaction.
fn apart(one: Home, other: Home) -> Value {
    if one.slot == other.slot { data::errors::CROSS_KEYSPACE } else { CROSS_SLOT }
}

/// The one home of a command's keys.
fn home_of(command: &'static Command, arguments: &[Bytes], homes: &dyn Homes) -> Result<Home, Value> {
    if command.name == "scan" {
        return Err(Value::error("ERR Command not allowed inside a transaction"));
    }
    // Every slot counts as a group here: what is atomic is one slot.
    let keys = data::route::keys_of(command, arguments)?;
    if let [first, rest @ ..] = &keys[..] {
        let home = homes.home_of(&arguments[*first]);
        let mut others = rest.iter().map(|key| homes.home_of(&arguments[*key]));
        return others.find(|other| *other != home).map_or(Ok(home), |other| Err(apart(home, other)));
    }
    match data::route(command, arguments, homes, 0)? {
        Route::Home(home) => Ok(home),
        Route::Scatter { .. } => Err(CROSS_SLOT),
        Route::Every { .. } | Route::Server => Err(Value::error(format!(
            "ERR '{}' concerns every slot and is not allowed inside a transaction",
            command.name
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_watch_stops_the_exec_that_was_sent_behind_it() {
        let mut transaction = Transaction::default();
        let keys = [Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        assert_eq!(transaction.watch(&keys, &u32::from).unwrap_err(), CROSS_SLOT);
        transaction.open().unwrap();
        let refusal = transaction.take().unwrap_err();
        assert!(matches!(&refusal, Value::Error(text) if text.starts_with("EXECABORT ")), "{refusal:?}");
        transaction.open().unwrap();
        assert!(transaction.take().is_ok(), "EXEC ended that");
        assert!(transaction.watch(&keys, &u32::from).is_err());
        transaction.unwatch();
        transaction.open().unwrap();
        assert!(transaction.take().is_ok(), "so does UNWATCH");
    }
}
