//! RESP: Consort, Redis and the limit server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use resp::{Limits, Value, ValueDecoder, encode_request};

use super::{Answer, Operation, Wire};
use crate::bench::keys::{Key, VALUE_BYTES};

/// A connection that speaks RESP2; replies come in the order of the requests.
pub struct Resp {
    operation: Operation,
    /// After each write so many replicas are waited for (`WAIT`).
    waits_for: usize,
    /// The reply to a `WAIT` comes next.
    waiting: bool,
    decoder: ValueDecoder,
}

impl Resp {
    /// A new connection.
    pub fn new(operation: Operation, waits_for: usize) -> Self {
        let waits_for = if operation == Operation::Set { waits_for } else { 0 };
        Resp { operation, waits_for, waiting: false, decoder: ValueDecoder::new(Limits::default()) }
    }
}

impl Wire for Resp {
    fn open(&mut self, _out: &mut Vec<u8>) {}

    fn request(&mut self, key: &Key, value: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        match self.operation {
            Operation::Set => {
                out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$16\r\n");
                out.extend_from_slice(key);
                out.extend_from_slice(b"\r\n$64\r\n");
                out.extend_from_slice(value);
            }
            Operation::Get => {
                out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n$16\r\n");
                out.extend_from_slice(key);
            }
        }
        out.extend_from_slice(b"\r\n");
        if self.waits_for > 0 {
            let wait = format!("*3\r\n$4\r\nWAIT\r\n$1\r\n{}\r\n$1\r\n0\r\n", self.waits_for);
            out.extend_from_slice(wait.as_bytes());
        }
        Ok(())
    }

    fn receive(
        &mut self,
        input: &mut BytesMut,
        _out: &mut Vec<u8>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), String> {
        while let Some(value) = self.decoder.decode(input).map_err(|error| error.to_string())? {
            if self.waiting {
                self.waiting = false;
                answers.push(match value {
                    Value::Integer(held) if held >= self.waits_for as i64 => Ok(()),
                    other => Err(format!("WAIT said {other:?}")),
                });
                continue;
            }
            if self.waits_for > 0 && !value.is_error() {
                self.waiting = true;
                continue;
            }
            answers.push(match value {
                Value::Simple(_) => Ok(()),
                Value::Bulk(bytes) if bytes.len() == VALUE_BYTES => Ok(()),
                Value::Error(text) => Err(text.into_owned()),
                other => Err(format!("unexpected reply {other:?}")),
            });
        }
        Ok(())
    }
}

/// A blocking connection, for what is not measured.
pub struct Client {
    stream: TcpStream,
    decoder: ValueDecoder,
    input: BytesMut,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn connect(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| format!("{address}: {error}"))?;
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Client { stream, decoder: ValueDecoder::new(Limits::default()), input: BytesMut::new() })
    }

    /// Sends commands in one pipeline and returns their replies.
    ///
    /// # Errors
    /// The connection broke.
    pub fn pipeline<A: AsRef<[u8]>>(&mut self, commands: &[Vec<A>]) -> Result<Vec<Value>, String> {
        let mut out = BytesMut::new();
        for command in commands {
            encode_request(command, &mut out);
        }
        self.stream.write_all(&out).map_err(|error| error.to_string())?;
        commands.iter().map(|_| self.reply()).collect()
    }

    /// Sends a command and returns its reply.
    ///
    /// # Errors
    /// The connection broke, or the reply is an error.
    pub fn call(&mut self, command: &[&str]) -> Result<Value, String> {
        match self.pipeline(&[command.to_vec()])?.pop() {
            Some(Value::Error(text)) => Err(format!("{}: {text}", command.join(" "))),
            Some(value) => Ok(value),
            None => Err("no reply".into()),
        }
    }

    fn reply(&mut self) -> Result<Value, String> {
        let mut piece = [0; 65536];
        loop {
            if let Some(value) = self.decoder.decode(&mut self.input).map_err(|error| error.to_string())? {
                return Ok(value);
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return Err("the connection was closed".into()),
                Ok(length) => self.input.extend_from_slice(&piece[..length]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::keys;

    #[test]
    fn replies_are_matched_in_order_and_errors_are_told() {
        let (mut wire, mut out, mut answers) = (Resp::new(Operation::Get, 0), Vec::new(), Vec::new());
        wire.request(&keys::key(1), b"", &mut out).unwrap();
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$16\r\nbench:0000000001\r\n");
        let mut input = BytesMut::from(&b"+OK\r\n-MOVED 1 a:1\r\n$-1\r\n+O"[..]);
        wire.receive(&mut input, &mut out, &mut answers).unwrap();
        assert_eq!(answers.len(), 3);
        assert_eq!(answers[0], Ok(()));
        assert_eq!(answers[1], Err("MOVED 1 a:1".to_string()));
        assert!(answers[2].is_err(), "a value that is not there is not what was asked for");
    }
}
