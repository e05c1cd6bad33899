//! What a server answers: any value of RESP2 and RESP3.
//!
//! Every element is taken out of the buffer as soon as it is complete and put on a stack of unfinished aggregates, so a
//! reply that arrives in pieces is parsed once, whatever its size. Attributes are read and dropped. Streamed strings and
//! aggregates (`$?`, `*?`) are refused: no server in use sends them. The depth of the stack is bounded by
//! [`Limits::nesting`], so no later recursion over a value (its drop, its encoding) can exhaust the thread's stack.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};

use crate::limits::{printable, reservation};
use crate::line::{self, Line};
use crate::{Limits, ProtocolError, Value};

/// Aggregates reserve room for at most this many elements before the first one is here.
const FIRST_ELEMENTS: usize = 16;

/// Reads values from what a server answers.
#[derive(Debug)]
pub struct ValueDecoder {
    limits: Limits,
    /// The aggregates that are open, outermost first.
    open: Vec<Aggregate>,
    /// A string whose header was read and whose payload stands at the front of the buffer.
    blob: Option<(BlobKind, usize)>,
    /// Up to here the line at the front of the buffer was searched for its end.
    searched: usize,
    /// Bytes of the outermost value that were taken out of the buffer.
    taken_bytes: usize,
    /// A connection that broke the protocol once has no next value.
    failure: Option<ProtocolError>,
}

#[derive(Clone, Copy, Debug)]
enum BlobKind {
    Bulk,
    Error,
    Verbatim,
}

#[derive(Clone, Copy, Debug)]
enum AggregateKind {
    Array,
    Set,
    Push,
    Map,
    Attribute,
}

#[derive(Debug)]
struct Aggregate {
    kind: AggregateKind,
    /// Elements still to come; a pair counts as two.
    missing: usize,
    elements: Vec<Value>,
}

/// What one step over the buffer gave.
enum Step {
    /// A value without elements, or an aggregate without any.
    Value(Value),
    /// The header of something whose content follows.
    Opened,
    /// More bytes are needed.
    Incomplete,
}

impl ValueDecoder {
    /// A decoder for one connection.
    pub fn new(limits: Limits) -> Self {
        ValueDecoder { limits, open: Vec::new(), blob: None, searched: 0, taken_bytes: 0, failure: None }
    }

    /// Memory that the lists of unfinished values hold, in bytes (without what the strings in them share with the
    /// buffer).
    pub fn held_bytes(&self) -> usize {
        let elements: usize = self.open.iter().map(|aggregate| aggregate.elements.capacity()).sum();
        elements * size_of::<Value>() + self.open.capacity() * size_of::<Aggregate>()
    }

    /// The next value in `buffer`, or `None` when more bytes are needed. Between calls the caller may only append to
    /// the buffer.
    ///
    /// # Errors
    /// The input is not RESP or is over a limit. The connection cannot go on: every later call gives the same error.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Value>, ProtocolError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let outcome = self.next_value(buffer);
        if let Err(failure) = &outcome {
            self.failure = Some(failure.clone());
        }
        outcome
    }

    fn next_value(&mut self, buffer: &mut BytesMut) -> Result<Option<Value>, ProtocolError> {
        loop {
            let step = match self.blob {
                Some((kind, length)) => self.blob_payload(kind, length, buffer)?,
                None => self.line(buffer)?,
            };
            match step {
                Step::Incomplete => return Ok(None),
                Step::Opened => {}
                Step::Value(value) => {
                    if let Some(outermost) = self.put(value) {
                        self.taken_bytes = 0;
                        return Ok(Some(outermost));
                    }
                }
            }
        }
    }

    /// Puts a complete value into the aggregate that waits for it; returns the outermost value once that is complete.
    fn put(&mut self, mut value: Value) -> Option<Value> {
        while let Some(mut aggregate) = self.open.pop() {
            aggregate.missing -= 1;
            if !matches!(aggregate.kind, AggregateKind::Attribute) {
                aggregate.elements.push(value);
            }
            if aggregate.missing > 0 {
                self.open.push(aggregate);
                return None;
            }
            // An attribute is not a value: what it describes is still to come.
            value = aggregate.finish()?;
        }
        Some(value)
    }

    /// Counts bytes that were taken out of the buffer, or are about to be.
    fn charge(&mut self, bytes: usize) -> Result<(), ProtocolError> {
        self.taken_bytes = self.taken_bytes.saturating_add(bytes);
        if self.taken_bytes > self.limits.request_bytes {
            return Err(ProtocolError::new("too big value"));
        }
        Ok(())
    }

    /// Reads the line at the front of the buffer: a whole simple value, or the header of what follows.
    fn line(&mut self, buffer: &mut BytesMut) -> Result<Step, ProtocolError> {
        let Some(&kind) = buffer.first() else { return Ok(Step::Incomplete) };
        if !b"+-:$*_#,(!=%~>|".contains(&kind) {
            return Err(ProtocolError::new(format_args!("unknown type '{}'", printable(kind))));
        }
        let end = match line::find(buffer, 0, &mut self.searched, self.limits.inline_bytes) {
            Line::Ends(end) => end,
            Line::Incomplete => return Ok(Step::Incomplete),
            Line::TooLong => return Err(ProtocolError::new("too big line")),
            Line::Broken => return Err(ProtocolError::new("expected LF after CR")),
        };
        self.searched = 0;
        self.charge(end + 2)?;
        let step = self.line_content(kind, &buffer[1..end]);
        buffer.advance(end + 2);
        step
    }

    fn line_content(&mut self, kind: u8, text: &[u8]) -> Result<Step, ProtocolError> {
        match kind {
            b'$' => self.open_blob(BlobKind::Bulk, text),
            b'!' => self.open_blob(BlobKind::Error, text),
            b'=' => self.open_blob(BlobKind::Verbatim, text),
            b'*' => self.open_aggregate(AggregateKind::Array, text),
            b'~' => self.open_aggregate(AggregateKind::Set, text),
            b'>' => self.open_aggregate(AggregateKind::Push, text),
            b'%' => self.open_aggregate(AggregateKind::Map, text),
            b'|' => self.open_aggregate(AggregateKind::Attribute, text),
            _ => simple(kind, text).map(Step::Value),
        }
    }

    fn open_blob(&mut self, kind: BlobKind, text: &[u8]) -> Result<Step, ProtocolError> {
        if text == b"-1" && matches!(kind, BlobKind::Bulk) {
            return Ok(Step::Value(Value::Null));
        }
        let length = parse_length(text, "invalid bulk length")?;
        if length > self.limits.bulk_bytes {
            return Err(ProtocolError::new("invalid bulk length"));
        }
        self.charge(length + 2)?;
        self.blob = Some((kind, length));
        Ok(Step::Opened)
    }

    fn blob_payload(
        &mut self,
        kind: BlobKind,
        length: usize,
        buffer: &mut BytesMut,
    ) -> Result<Step, ProtocolError> {
        let Some(terminator) = buffer.get(length..length + 2) else {
            buffer.reserve(reservation(length + 2 - buffer.len(), buffer.len()));
            return Ok(Step::Incomplete);
        };
        if terminator != b"\r\n" {
            return Err(ProtocolError::new("expected CRLF at the end of a bulk string"));
        }
        let payload = buffer.split_to(length).freeze();
        buffer.advance(2);
        self.blob = None;
        match kind {
            BlobKind::Bulk => Ok(Step::Value(Value::Bulk(payload))),
            BlobKind::Error => Ok(Step::Value(Value::Error(owned_text(&payload)))),
            BlobKind::Verbatim => verbatim(payload).map(Step::Value),
        }
    }

    fn open_aggregate(&mut self, kind: AggregateKind, text: &[u8]) -> Result<Step, ProtocolError> {
        if text == b"-1" && matches!(kind, AggregateKind::Array) {
            return Ok(Step::Value(Value::NullArray));
        }
        let count = parse_length(text, "invalid multibulk length")?;
        let width = if matches!(kind, AggregateKind::Map | AggregateKind::Attribute) { 2 } else { 1 };
        let missing = count.saturating_mul(width);
        // Every element takes bytes, so a count above the limit of bytes can only be a lie.
        if missing > self.limits.request_bytes {
            return Err(ProtocolError::new("invalid multibulk length"));
        }
        if self.open.len() >= self.limits.nesting {
            return Err(ProtocolError::new("nested too deeply"));
        }
        let reserved = if matches!(kind, AggregateKind::Attribute) { 0 } else { missing.min(FIRST_ELEMENTS) };
        let aggregate = Aggregate { kind, missing, elements: Vec::with_capacity(reserved) };
        if missing > 0 {
            self.open.push(aggregate);
            return Ok(Step::Opened);
        }
        Ok(aggregate.finish().map_or(Step::Opened, Step::Value))
    }
}

impl Aggregate {
    /// The value that its elements make, or `None` for an attribute.
    fn finish(self) -> Option<Value> {
        match self.kind {
            AggregateKind::Array => Some(Value::Array(self.elements)),
            AggregateKind::Set => Some(Value::Set(self.elements)),
            AggregateKind::Push => Some(Value::Push(self.elements)),
            AggregateKind::Map => Some(Value::Map(pairs(self.elements))),
            AggregateKind::Attribute => None,
        }
    }
}

fn pairs(elements: Vec<Value>) -> Vec<(Value, Value)> {
    let mut pairs = Vec::with_capacity(elements.len() / 2);
    let mut elements = elements.into_iter();
    while let (Some(key), Some(value)) = (elements.next(), elements.next()) {
        pairs.push((key, value));
    }
    pairs
}

fn parse_length(text: &[u8], error: &str) -> Result<usize, ProtocolError> {
    if text == b"?" {
        return Err(ProtocolError::new("streamed types are not supported"));
    }
    line::integer(text)
        .and_then(|length| usize::try_from(length).ok())
        .ok_or_else(|| ProtocolError::new(error))
}

/// A value that is one line.
fn simple(kind: u8, text: &[u8]) -> Result<Value, ProtocolError> {
    let value = match kind {
        b'+' if text == b"OK" => Some(Value::OK),
        b'+' => Some(Value::Simple(owned_text(text))),
        b'-' => Some(Value::Error(owned_text(text))),
        b':' => parse(text).map(Value::Integer),
        b',' => double(text).map(Value::Double),
        b'(' => big_number(text).map(Value::BigNumber),
        b'#' => match text {
            b"t" => Some(Value::Boolean(true)),
            b"f" => Some(Value::Boolean(false)),
            _ => None,
        },
        _ => text.is_empty().then_some(Value::Null),
    };
    value.ok_or_else(|| {
        ProtocolError::new(format_args!("invalid value '{}{}'", char::from(kind), shortened(text)))
    })
}

/// The beginning of a text, fit for an error message.
fn shortened(text: &[u8]) -> String {
    text[..text.len().min(32)].escape_ascii().to_string()
}

fn owned_text(text: &[u8]) -> Cow<'static, str> {
    Cow::Owned(String::from_utf8_lossy(text).into_owned())
}

fn parse<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn double(text: &[u8]) -> Option<f64> {
    match text {
        // A C library may print the sign of a NaN.
        b"-nan" => Some(f64::NAN),
        _ => parse(text),
    }
}

fn big_number(text: &[u8]) -> Option<Cow<'static, str>> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    valid.then(|| owned_text(text))
}

fn verbatim(mut payload: Bytes) -> Result<Value, ProtocolError> {
    match *payload {
        [first, second, third, b':', ..] => {
            payload.advance(4);
            Ok(Value::Verbatim([first, second, third], payload))
        }
        _ => Err(ProtocolError::new("invalid verbatim string")),
    }
}
