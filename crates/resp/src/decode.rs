//! Bytes to requests and values.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::Value;

/// What one request may cost. Over a limit the connection gets an error and is closed; nobody else notices.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest bulk string, in bytes (Redis: `proto-max-bulk-len`, 512 MiB).
    pub bulk_bytes: usize,
    /// The most arguments of one command (Redis: 1024 * 1024).
    pub arguments: usize,
    /// The longest inline command, in bytes (Redis: 64 KiB).
    pub inline_bytes: usize,
    /// The longest request in all, in bytes.
    pub request_bytes: usize,
    /// How deep a value may nest ([`ValueDecoder`] only).
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

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ProtocolError {}

/// Reads commands from what a client sends.
#[derive(Debug)]
pub struct RequestDecoder {
    limits: Limits,
}

impl RequestDecoder {
    /// A decoder for one connection.
    pub fn new(limits: Limits) -> Self {
        RequestDecoder { limits }
    }

    /// The next command in `buffer`, its arguments as slices of the buffer (no copies), or `None` when more bytes are
    /// needed. Empty commands are skipped.
    ///
    /// # Errors
    /// The input is not RESP or is over a limit. The connection cannot go on.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, ProtocolError> {
        let _ = (buffer, &self.limits);
        todo!()
    }
}

/// Reads values from what a server answers.
#[derive(Debug)]
pub struct ValueDecoder {
    limits: Limits,
}

impl ValueDecoder {
    /// A decoder for one connection.
    pub fn new(limits: Limits) -> Self {
        ValueDecoder { limits }
    }

    /// The next value in `buffer`, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// The input is not RESP or is over a limit. The connection cannot go on.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Value>, ProtocolError> {
        let _ = (buffer, &self.limits);
        todo!()
    }
}
