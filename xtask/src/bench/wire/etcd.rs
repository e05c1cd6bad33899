//! etcd's gRPC calls, with their few protocol-buffer fields laid by hand: `Put`, `Range` (linearizable unless one asks
//! otherwise) and `Status`. Source: the public API description of etcd 3.4.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;

use super::http2::{Http2, grpc_headers};
use super::{Answer, Operation, Wire};
use crate::bench::keys::Key;

/// A gRPC message begins with a byte of flags and its length.
const MESSAGE_HEADER_BYTES: usize = 5;
/// Wire type 2 of protocol buffers: a length, then bytes.
const LENGTH_DELIMITED: u8 = 2;

/// `PutRequest` and `RangeRequest` both have the key here.
const KEY: u8 = 1;
const PUT_VALUE: u8 = 2;
const RANGE_RESPONSE_KVS: u64 = 2;
const STATUS_HEADER: u64 = 1;
const STATUS_LEADER: u64 = 4;
const HEADER_MEMBER: u64 = 2;

/// A connection; a pipeline is that many streams at once.
pub struct Etcd {
    operation: Operation,
    http: Http2,
    headers: Vec<u8>,
    body: Vec<u8>,
    closed: Vec<Vec<u8>>,
}

impl Etcd {
    /// A new connection to `address`.
    pub fn new(address: SocketAddr, operation: Operation) -> Self {
        let path = match operation {
            Operation::Set => "/etcdserverpb.KV/Put",
            Operation::Get => "/etcdserverpb.KV/Range",
        };
        let headers = grpc_headers(&address.to_string(), path);
        Etcd { operation, http: Http2::new(), headers, body: Vec::new(), closed: Vec::new() }
    }
}

impl Wire for Etcd {
    fn open(&mut self, out: &mut Vec<u8>) {
        self.http.open(out);
    }

    fn request(&mut self, key: &Key, value: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        self.body.clear();
        self.body.resize(MESSAGE_HEADER_BYTES, 0);
        put_field(KEY, key, &mut self.body);
        if self.operation == Operation::Set {
            put_field(PUT_VALUE, value, &mut self.body);
        }
        let length = (self.body.len() - MESSAGE_HEADER_BYTES) as u32;
        self.body[1..MESSAGE_HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
        self.http.request(&self.headers, &self.body, out)
    }

    fn receive(
        &mut self,
        input: &mut BytesMut,
        out: &mut Vec<u8>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), String> {
        self.http.receive(input, out, &mut self.closed)?;
        for body in self.closed.drain(..) {
            answers.push(match (message(&body), self.operation) {
                (Ok(message), Operation::Get) if field(message, RANGE_RESPONSE_KVS).is_none() => {
                    Err("the key is not there".into())
                }
                (outcome, _) => outcome.map(|_| ()),
            });
        }
        Ok(())
    }
}

/// The message in the body of a response.
fn message(body: &[u8]) -> Result<&[u8], String> {
    if body.is_empty() {
        return Err("the call failed".into());
    }
    let length = body.get(1..MESSAGE_HEADER_BYTES).and_then(|length| length.try_into().ok());
    let length = length.map(u32::from_be_bytes).ok_or("a short gRPC message")?;
    let message = &body[MESSAGE_HEADER_BYTES..];
    if message.len() == length as usize {
        Ok(message)
    } else {
        Err("a gRPC message of another length".into())
    }
}

/// Appends a field of bytes; its number and length must be below 16 and 128.
fn put_field(number: u8, bytes: &[u8], out: &mut Vec<u8>) {
    debug_assert!(number < 16 && bytes.len() < 128);
    out.extend_from_slice(&[number << 3 | LENGTH_DELIMITED, bytes.len() as u8]);
    out.extend_from_slice(bytes);
}

/// A field's content.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The first field of that number.
fn field(mut message: &[u8], wanted: u64) -> Option<Field<'_>> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let content = match tag & 7 {
            0 => Field::Number(varint(&mut message)?),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (bytes, rest) = message.split_at_checked(length)?;
                message = rest;
                Field::Bytes(bytes)
            }
            _ => return None,
        };
        if tag >> 3 == wanted {
            return Some(content);
        }
    }
    None
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Whether the member at `address` leads.
///
/// # Errors
/// It does not answer, or knows no leader.
pub fn leads(address: SocketAddr) -> Result<bool, String> {
    let body = call(address, "/etcdserverpb.Maintenance/Status")?;
    let message = message(&body)?;
    let member = match field(message, STATUS_HEADER) {
        Some(Field::Bytes(header)) => field(header, HEADER_MEMBER),
        _ => None,
    };
    match (member, field(message, STATUS_LEADER)) {
        (Some(Field::Number(member)), Some(Field::Number(leader))) if leader != 0 => Ok(member == leader),
        _ => Err(format!("{address} knows no leader")),
    }
}

/// Calls a method with an empty message and returns the body of the response.
fn call(address: SocketAddr, path: &str) -> Result<Vec<u8>, String> {
    let fault = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect(address).map_err(fault)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(fault)?;
    let (mut http, mut out) = (Http2::new(), Vec::new());
    let (mut input, mut closed, mut piece) = (BytesMut::new(), Vec::new(), [0; 4096]);
    http.open(&mut out);
    http.request(&grpc_headers(&address.to_string(), path), &[0; MESSAGE_HEADER_BYTES], &mut out)?;
    loop {
        stream.write_all(&out).map_err(fault)?;
        out.clear();
        if let Some(body) = closed.pop() {
            return Ok(body);
        }
        let length = stream.read(&mut piece).map_err(fault)?;
        if length == 0 {
            return Err(format!("{address} closed the connection"));
        }
        input.extend_from_slice(&piece[..length]);
        http.receive(&mut input, &mut out, &mut closed)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_among_others() {
        let mut bytes = vec![0x18, 0xac, 0x02];
        put_field(2, b"value", &mut bytes);
        assert!(matches!(field(&bytes, 3), Some(Field::Number(300))));
        assert!(matches!(field(&bytes, 2), Some(Field::Bytes(b"value"))));
        assert!(field(&bytes, 4).is_none());
        assert!(field(&bytes[..bytes.len() - 1], 2).is_none(), "a field that is cut short is none");
    }

    #[test]
    fn a_call_without_a_message_failed() {
        assert!(message(b"").is_err());
        assert!(message(b"\0\0\0\0\x02a").is_err());
        assert_eq!(message(b"\0\0\0\0\x02ab").unwrap(), b"ab");
    }
}
