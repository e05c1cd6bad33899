//! How many small commands one core decodes in a second: `cargo bench -p resp`.

// A benchmark measures with the clock.
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use resp::{Limits, RequestDecoder, encode_request};

/// A pipeline of this many commands arrives at once.
const PIPELINE: usize = 512;
const ROUNDS: usize = 20_000;

fn main() {
    measure("PING", &["PING"]);
    measure("GET", &["GET", "key:000012345"]);
    measure("SET", &["SET", "key:000012345", "value-of-24-bytes-length"]);
}

fn measure(name: &str, command: &[&str]) {
    let mut wire = BytesMut::new();
    for _ in 0..PIPELINE {
        encode_request(command, &mut wire);
    }
    let mut decoder = RequestDecoder::new(Limits::default());
    let mut buffer = BytesMut::new();
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        buffer.extend_from_slice(&wire);
        while let Ok(Some(arguments)) = decoder.decode(&mut buffer) {
            black_box(&arguments);
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let millions = (PIPELINE * ROUNDS) as f64 / seconds / 1e6;
    println!("{name:5} {millions:6.1} million commands a second");
}
