//! A client that waits for each answer.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use bytes::BytesMut;
use resp::{Limits, Value, ValueDecoder};

use super::{LIMIT, request, request_of};

/// A connection.
pub struct Client {
    pub stream: TcpStream,
    decoder: ValueDecoder,
    buffer: BytesMut,
}

impl Client {
    /// Connects to a port of this machine.
    pub fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Client { stream, decoder: ValueDecoder::new(Limits::default()), buffer: BytesMut::new() })
    }

    /// The next answer; an error at the end of the stream.
    pub fn read(&mut self) -> io::Result<Value> {
        loop {
            let decoded = self.decoder.decode(&mut self.buffer);
            if let Some(value) = decoded.map_err(|error| io::Error::other(error.to_string()))? {
                return Ok(value);
            }
            let mut chunk = [0; 16 << 10];
            let count = self.stream.read(&mut chunk)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&chunk[..count]);
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a command and reads its answer.
    pub fn try_call(&mut self, text: &str) -> io::Result<Value> {
        self.send(&request(text))?;
        self.read()
    }

    /// Sends a command and reads its answer.
    ///
    /// # Panics
    /// The connection broke.
    pub fn call(&mut self, text: &str) -> Value {
        self.try_call(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// As [`Client::call`], with words that may hold blanks.
    pub fn call_of(&mut self, words: &[&[u8]]) -> Value {
        self.send(&request_of(words)).and_then(|()| self.read()).expect("the connection holds")
    }

    /// Sends all commands at once, then reads all answers.
    ///
    /// # Panics
    /// The connection broke.
    pub fn pipeline(&mut self, commands: &[String]) -> Vec<Value> {
        let bytes: Vec<u8> = commands.iter().flat_map(|command| request(command)).collect();
        self.send(&bytes).expect("the connection holds");
        commands.iter().map(|_| self.read().expect("the connection holds")).collect()
    }
}

/// A bulk string.
pub fn bulk(text: &str) -> Value {
    Value::bulk(text.as_bytes().to_vec())
}

/// A field of a map (or of the flat array that RESP2 makes of it).
///
/// # Panics
/// There is none of this name.
pub fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    let named = |key: &Value| matches!(key, Value::Bulk(bytes) if bytes.as_ref() == name.as_bytes());
    let found = match value {
        Value::Map(pairs) => pairs.iter().find(|(key, _)| named(key)).map(|(_, value)| value),
        Value::Array(flat) => flat.chunks_exact(2).find(|pair| named(&pair[0])).map(|pair| &pair[1]),
        _ => None,
    };
    found.unwrap_or_else(|| panic!("no field {name} in {value:?}"))
}

/// The elements of an array.
///
/// # Panics
/// It is none.
pub fn elements(value: &Value) -> &[Value] {
    match value {
        Value::Array(elements) => elements,
        other => panic!("{other:?} is not an array"),
    }
}
