//! Values to bytes.
//!
//! What RESP2 cannot say falls back to what Redis sends there: maps, pairs, sets and pushes are flat arrays, doubles, big
//! numbers and verbatim strings are bulk strings, booleans are integers. Nothing is allocated but room in `out`. A line
//! never carries a CR or LF of its own (they become spaces), so no text can forge a reply.

use bytes::{BufMut, BytesMut};
use memchr::memchr2;

use crate::Value;
use crate::double::{DOUBLE_BYTES, format_double};

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The default of a new connection.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// Appends `value` to `out` as `protocol` writes it.
pub fn encode(value: &Value, protocol: Protocol, out: &mut BytesMut) {
    let resp3 = protocol == Protocol::Resp3;
    match value {
        Value::Simple(text) => line(b'+', text, out),
        Value::Error(text) => line(b'-', text, out),
        Value::Integer(number) => header(b':', *number, out),
        Value::Bulk(bytes) => blob(b'$', &[bytes], out),
        Value::Null if resp3 => out.put_slice(b"_\r\n"),
        Value::Null => out.put_slice(b"$-1\r\n"),
        Value::NullArray if resp3 => out.put_slice(b"_\r\n"),
        Value::NullArray => out.put_slice(b"*-1\r\n"),
        Value::Array(items) => list(b'*', items, protocol, out),
        Value::Set(items) => list(if resp3 { b'~' } else { b'*' }, items, protocol, out),
        Value::Push(items) => list(if resp3 { b'>' } else { b'*' }, items, protocol, out),
        Value::Map(items) => pairs(Some(b'%'), items, protocol, out),
        Value::Pairs(items) => pairs(None, items, protocol, out),
        Value::Double(number) => double(*number, resp3, out),
        Value::Boolean(truth) if resp3 => out.put_slice(if *truth { b"#t\r\n" } else { b"#f\r\n" }),
        Value::Boolean(truth) => header(b':', i64::from(*truth), out),
        Value::BigNumber(digits) if resp3 => line(b'(', digits, out),
        Value::BigNumber(digits) => blob(b'$', &[digits.as_bytes()], out),
        Value::Verbatim(format, text) if resp3 => blob(b'=', &[format, b":", text], out),
        Value::Verbatim(_, text) => blob(b'$', &[text], out),
    }
}

/// Appends a command as a client sends it: an array of bulk strings.
pub fn encode_request(arguments: &[impl AsRef<[u8]>], out: &mut BytesMut) {
    length(b'*', arguments.len(), out);
    for argument in arguments {
        blob(b'$', &[argument.as_ref()], out);
    }
}

fn list(kind: u8, items: &[Value], protocol: Protocol, out: &mut BytesMut) {
    length(kind, items.len(), out);
    for item in items {
        encode(item, protocol, out);
    }
}

/// A map if RESP3 has one of this `kind`, otherwise an array of arrays there; flat in RESP2.
fn pairs(kind: Option<u8>, items: &[(Value, Value)], protocol: Protocol, out: &mut BytesMut) {
    match protocol {
        Protocol::Resp3 => length(kind.unwrap_or(b'*'), items.len(), out),
        Protocol::Resp2 => length(b'*', items.len() * 2, out),
    }
    for (key, value) in items {
        if kind.is_none() && protocol == Protocol::Resp3 {
            length(b'*', 2, out);
        }
        encode(key, protocol, out);
        encode(value, protocol, out);
    }
}

fn double(number: f64, resp3: bool, out: &mut BytesMut) {
    let mut text = [0; DOUBLE_BYTES];
    let text = format_double(number, &mut text);
    if resp3 { line(b',', text, out) } else { blob(b'$', &[text.as_bytes()], out) }
}

/// A type byte, a text and a line end.
fn line(kind: u8, text: &str, out: &mut BytesMut) {
    out.reserve(text.len() + 3);
    out.put_u8(kind);
    let mut rest = text.as_bytes();
    while let Some(line_end) = memchr2(b'\r', b'\n', rest) {
        out.put_slice(&rest[..line_end]);
        out.put_u8(b' ');
        rest = &rest[line_end + 1..];
    }
    out.put_slice(rest);
    out.put_slice(b"\r\n");
}

/// A length, a payload made of `parts`, and a line end.
fn blob(kind: u8, parts: &[&[u8]], out: &mut BytesMut) {
    let bytes = parts.iter().map(|part| part.len()).sum();
    length(kind, bytes, out);
    out.reserve(bytes + 2);
    for part in parts {
        out.put_slice(part);
    }
    out.put_slice(b"\r\n");
}

fn length(kind: u8, length: usize, out: &mut BytesMut) {
    // No object in memory is longer than isize::MAX.
    header(kind, i64::try_from(length).unwrap_or(i64::MAX), out);
}

/// A type byte, a number and a line end.
fn header(kind: u8, number: i64, out: &mut BytesMut) {
    // Filled from the end: the type, a sign, at most 19 digits, the line end.
    let mut text = [0_u8; 24];
    let mut at = text.len() - 2;
    text[at..].copy_from_slice(b"\r\n");
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        text[at] = b'-';
    }
    at -= 1;
    text[at] = kind;
    out.put_slice(&text[at..]);
}
