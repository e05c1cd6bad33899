//! A real Redis.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use resp::{Limits, Value, ValueDecoder};

/// A Redis of our own, stopped when dropped.
pub struct Redis {
    process: Child,
    stream: TcpStream,
    decoder: ValueDecoder,
    buffer: BytesMut,
}

impl Redis {
    /// Starts it; `None` if there is no such program.
    pub fn start() -> Option<Redis> {
        // A port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let process = Process::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--hz", "1", "--dir"])
            .arg(std::env::temp_dir())
            .stdout(Stdio::null())
            .spawn();
        let process = match process {
            Ok(process) => process,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => panic!("redis-server does not start: {error}"),
        };
        for _ in 0..200 {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                stream.set_nodelay(true).expect("a socket takes options");
                let decoder = ValueDecoder::new(Limits::default());
                return Some(Redis { process, stream, decoder, buffer: BytesMut::new() });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("redis-server does not listen");
    }

    pub fn ask(&mut self, arguments: &[Bytes]) -> Value {
        let mut request = BytesMut::new();
        resp::encode_request(arguments, &mut request);
        self.stream.write_all(&request).expect("Redis reads");
        let mut chunk = [0; 65536];
        loop {
            if let Some(value) = self.decoder.decode(&mut self.buffer).expect("Redis speaks RESP") {
                return value;
            }
            let count = self.stream.read(&mut chunk).expect("Redis answers");
            assert!(count > 0, "Redis closed the connection");
            self.buffer.extend_from_slice(&chunk[..count]);
        }
    }

    pub fn ask_words(&mut self, words: &str) -> Value {
        let words: Vec<Bytes> =
            words.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        self.ask(&words)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
