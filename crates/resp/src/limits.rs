//! What a peer may cost, and what it is told when it asks for more.

use std::fmt;

/// What one request may cost. Over a limit the connection gets an error and is closed; nobody else notices.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest bulk string, in bytes (Redis: `proto-max-bulk-len`, 512 MiB).
    pub bulk_bytes: usize,
    /// The most arguments of one command (Redis: 1024 * 1024).
    pub arguments: usize,
    /// The longest inline command, in bytes (Redis: 64 KiB); also the longest line that carries a length, and the
    /// longest simple string or error that [`ValueDecoder`](crate::ValueDecoder) takes.
    pub inline_bytes: usize,
    /// The longest request (or, in [`ValueDecoder`](crate::ValueDecoder), value) in all, in bytes.
    pub request_bytes: usize,
    /// How deep a value may nest ([`ValueDecoder`](crate::ValueDecoder) only).
    pub nesting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bulk_bytes: 512 << 20,
            arguments: 1 << 20,
            inline_bytes: 64 << 10,
            request_bytes: 1 << 30,
            nesting: 32,
        }
    }
}

/// The input is not RESP, or is over a limit; the text is what Redis answers (without the `-ERR ` prefix).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError(pub String);

impl ProtocolError {
    /// An error whose text begins as every protocol error of Redis does.
    pub(crate) fn new(what: impl fmt::Display) -> Self {
        ProtocolError(format!("Protocol error: {what}"))
    }

    /// `expected '$', got 'x'`: what Redis says of a byte that cannot stand where it does.
    pub(crate) fn unexpected(expected: char, got: u8) -> Self {
        ProtocolError::new(format_args!("expected '{expected}', got '{}'", printable(got)))
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ProtocolError {}

/// A byte as it may stand in an error text: line ends become spaces as in Redis, what cannot be printed is escaped.
pub(crate) fn printable(byte: u8) -> String {
    match byte {
        b'\r' | b'\n' => " ".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => byte.escape_ascii().to_string(),
    }
}

/// How much memory to ask for while `missing` bytes of a payload are still to come and `received` bytes are here.
///
/// A length that a peer only claims must not cost memory: the answer never exceeds what was received already (or one
/// small read), so memory at most doubles, while a long payload is still copied only a logarithmic number of times.
pub(crate) fn reservation(missing: usize, received: usize) -> usize {
    const SMALL_READ_BYTES: usize = 16 << 10;
    missing.min(received.max(SMALL_READ_BYTES))
}
