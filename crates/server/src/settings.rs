//! What `CONFIG SET` may change while the node runs.

use std::sync::RwLock;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::config::{Config, Redirect};
use crate::stats::Counter;

/// The numbers and the password that may change at run time. They begin as the configuration says and are forgotten
/// when the node stops.
#[derive(Debug, Default)]
pub struct Settings {
    /// Connections at once.
    pub max_clients: Counter,
    /// The longest bulk string, in bytes; holds for connections made after a change.
    pub bulk_bytes: Counter,
    /// Bytes of replies that wait for one slow client before it is cut off.
    pub output_buffer_bytes: Counter,
    /// A connection without a command for this long is closed; zero: never. In milliseconds.
    pub idle_timeout_ms: Counter,
    /// How long a client's command may take before it is refused or unknown, in milliseconds.
    pub request_timeout_ms: Counter,
    redirect: AtomicU8,
    password: RwLock<Option<String>>,
}

impl Settings {
    /// What the configuration says.
    pub fn new(config: &Config) -> Settings {
        let settings = Settings::default();
        settings.max_clients.set(config.limits.max_clients as u64);
        settings.bulk_bytes.set(config.limits.bulk_bytes as u64);
        settings.output_buffer_bytes.set(config.limits.output_buffer_bytes as u64);
        settings.idle_timeout_ms.set(config.limits.idle_timeout.as_millis() as u64);
        settings.request_timeout_ms.set(config.timing.request_timeout.as_millis() as u64);
        settings.set_redirect(config.redirect);
        settings.set_password(config.password.clone());
        settings
    }

    /// Which connections are told who leads a slot.
    pub fn redirect(&self) -> Redirect {
        Redirect::NAMES[usize::from(self.redirect.load(Ordering::Relaxed))].1
    }

    /// Sets which connections are told who leads a slot.
    pub fn set_redirect(&self, redirect: Redirect) {
        let place = Redirect::NAMES.iter().position(|(_, known)| *known == redirect);
        self.redirect.store(place.unwrap_or_default() as u8, Ordering::Relaxed);
    }

    /// Sets what [`Settings::password`] gives; the password itself is that of a [user](crate::acl::Users::set_password).
    pub fn set_password(&self, password: Option<String>) {
        *self.password.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = password;
    }

    /// The password of the configuration, for `CONFIG GET requirepass`.
    pub fn password(&self) -> Option<String> {
        self.password.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}
