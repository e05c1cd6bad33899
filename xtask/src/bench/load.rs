//! The load: connections that each send a batch of requests, wait for all answers, and send the next (a closed loop).
//!
//! One thread over `epoll`, so that the generator takes as little as possible of the machine that it shares with the
//! servers. The latency of an operation is the time from handing its batch to the kernel to reading its answer. What it
//! does not measure: an open loop, where requests arrive however slow the answers are.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::keys::{self, Key, Random};
use super::wire::{Answer, Wire};

/// How long answers are waited for after the last request.
const DRAIN: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 256 << 10;

/// Where one connection goes, what it speaks, and which keys it uses.
pub struct Plan<'a> {
    /// The server's address.
    pub address: SocketAddr,
    /// Its protocol.
    pub wire: Box<dyn Wire>,
    /// The keys to choose from; not empty.
    pub keys: &'a [Key],
}

/// In which order the keys are used, and when a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// At random, until the time is over.
    Random,
    /// Each connection goes through its keys once.
    Once,
}

/// What a run gave.
pub struct Outcome {
    /// Operations that did what they should, within the time.
    pub operations: u64,
    /// Operations that were answered otherwise.
    pub failures: u64,
    /// The first of those answers.
    pub failure: Option<String>,
    /// How long the run took.
    pub elapsed: Duration,
    /// Latency of the operations that succeeded, in nanoseconds.
    pub latency: Histogram<u64>,
}

impl Outcome {
    fn new() -> Result<Self, String> {
        let latency = new_histogram()?;
        Ok(Outcome { operations: 0, failures: 0, failure: None, elapsed: Duration::ZERO, latency })
    }
}

/// An empty histogram of nanoseconds, from 1 us to 2 minutes.
///
/// # Errors
/// Never in practice: the bounds are fixed.
pub fn new_histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1_000, 120_000_000_000, 3).map_err(|error| error.to_string())
}

struct Connection<'a> {
    stream: TcpStream,
    plan: Plan<'a>,
    input: BytesMut,
    out: Vec<u8>,
    /// How much of `out` was written.
    written: usize,
    /// When the batch under way was sent, and how many answers it still lacks.
    sent: Instant,
    missing: usize,
    /// How many requests were begun.
    begun: usize,
}

/// Runs the load for `duration`, or less in [`Order::Once`].
///
/// # Errors
/// A connection broke.
pub fn run(
    plans: Vec<Plan<'_>>,
    pipeline: usize,
    duration: Duration,
    order: Order,
    seed: u64,
) -> Result<Outcome, String> {
    let fault = |error: io::Error| format!("load: {error}");
    let mut poll = Poll::new().map_err(fault)?;
    let mut connections = Vec::with_capacity(plans.len());
    for (index, plan) in plans.into_iter().enumerate() {
        let mut connection = Connection::open(plan)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut connection.stream, Token(index), interest).map_err(fault)?;
        connections.push(connection);
    }
    let mut generator = Generator {
        random: Random::new(seed),
        pipeline,
        order,
        end: Instant::now() + duration,
        outcome: Outcome::new()?,
        piece: vec![0; READ_BYTES],
        answers: Vec::new(),
    };
    let begin = Instant::now();
    generator.end = begin + duration;
    for connection in &mut connections {
        generator.next_batch(connection)?;
    }
    let mut events = Events::with_capacity(1024);
    while connections.iter().any(|connection| connection.missing > 0) {
        if Instant::now() > generator.end + DRAIN {
            return Err(generator.silent(&connections));
        }
        poll.poll(&mut events, Some(Duration::from_millis(100)))
            .or_else(ignore_interruption)
            .map_err(fault)?;
        for event in &events {
            let connection = &mut connections[event.token().0];
            if event.is_writable() {
                connection.flush()?;
            }
            generator.on_readable(connection)?;
        }
    }
    generator.outcome.elapsed = begin.elapsed().min(duration);
    Ok(generator.outcome)
}

fn ignore_interruption(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

struct Generator {
    random: Random,
    pipeline: usize,
    order: Order,
    end: Instant,
    outcome: Outcome,
    piece: Vec<u8>,
    answers: Vec<Answer>,
}

impl Generator {
    fn next_batch(&mut self, connection: &mut Connection<'_>) -> Result<(), String> {
        let keys = connection.plan.keys;
        let size = match self.order {
            Order::Random => self.pipeline,
            Order::Once => self.pipeline.min(keys.len() - connection.begun),
        };
        for _ in 0..size {
            let number = self.random.next();
            let key = match self.order {
                Order::Random => &keys[(number >> 32) as usize % keys.len()],
                Order::Once => &keys[connection.begun],
            };
            connection.plan.wire.request(key, &keys::value(number), &mut connection.out)?;
            connection.begun += 1;
        }
        connection.missing = size;
        connection.sent = Instant::now();
        connection.flush()
    }

    fn on_readable(&mut self, connection: &mut Connection<'_>) -> Result<(), String> {
        loop {
            match connection.stream.read(&mut self.piece) {
                Ok(0) => return Err(format!("{} closed the connection", connection.plan.address)),
                Ok(length) => connection.input.extend_from_slice(&self.piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("{}: {error}", connection.plan.address)),
            }
            let Connection { plan, input, out, .. } = connection;
            plan.wire.receive(input, out, &mut self.answers)?;
            self.count(connection);
            if connection.missing == 0 && Instant::now() < self.end {
                self.next_batch(connection)?;
            } else {
                connection.flush()?;
            }
        }
    }

    fn count(&mut self, connection: &mut Connection<'_>) {
        let now = Instant::now();
        let latency = (now - connection.sent).as_nanos() as u64;
        connection.missing = connection.missing.saturating_sub(self.answers.len());
        for answer in self.answers.drain(..) {
            match answer {
                Err(error) => {
                    self.outcome.failures += 1;
                    self.outcome.failure.get_or_insert(error);
                }
                Ok(()) if now <= self.end => {
                    self.outcome.operations += 1;
                    self.outcome.latency.saturating_record(latency);
                }
                Ok(()) => {}
            }
        }
    }

    fn silent(&self, connections: &[Connection<'_>]) -> String {
        let waiting: Vec<_> = connections.iter().filter(|connection| connection.missing > 0).collect();
        let address = waiting.first().map(|connection| connection.plan.address.to_string());
        format!(
            "{} connections got no answer, one of them from {}",
            waiting.len(),
            address.unwrap_or_default()
        )
    }
}

impl<'a> Connection<'a> {
    fn open(mut plan: Plan<'a>) -> Result<Self, String> {
        let fault = |error: io::Error| format!("{}: {error}", plan.address);
        let stream = std::net::TcpStream::connect(plan.address).map_err(fault)?;
        stream.set_nodelay(true).map_err(fault)?;
        stream.set_nonblocking(true).map_err(fault)?;
        let mut out = Vec::new();
        plan.wire.open(&mut out);
        Ok(Connection {
            stream: TcpStream::from_std(stream),
            plan,
            input: BytesMut::new(),
            out,
            written: 0,
            sent: Instant::now(),
            missing: 0,
            begun: 0,
        })
    }

    fn flush(&mut self) -> Result<(), String> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("{}: {error}", self.plan.address)),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }
}
