//! Clusters of child processes, and a plain client.

pub mod client;
pub mod process;

pub use client::Client;
pub use process::Cluster;

use std::time::{Duration, Instant};

/// The longest that anything here may take. Long, since the machine may be busy; nothing depends on its length.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Tries until `attempt` gives something.
///
/// # Panics
/// It does not for [`LIMIT`].
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(start.elapsed() < LIMIT, "{what} did not happen in {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `text` as the bytes of a request: words are separated by blanks.
pub fn request(text: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
    request_of(&words)
}

/// The bytes of a request.
pub fn request_of(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
