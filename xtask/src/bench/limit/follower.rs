//! A follower: syncs each batch that the leader sends, and says so with one byte.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use super::Log;

/// Serves one leader after the other.
pub fn run(port: u16, mut log: Log) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    loop {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut batch = Vec::new();
        let mut length = [0; 4];
        while stream.read_exact(&mut length).is_ok() {
            batch.resize(u32::from_be_bytes(length) as usize, 0);
            stream.read_exact(&mut batch)?;
            log.append(&batch)?;
            stream.write_all(&[1])?;
        }
    }
}
