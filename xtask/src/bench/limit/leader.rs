//! The leader: one thread for all sockets, one for its log.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hashbrown::HashMap;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use resp::{Limits, RequestDecoder};
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::Log;

const LISTENER: Token = Token(0);
const OWN_LOG: Token = Token(1);
const FIRST_FOLLOWER: usize = 2;
const READ_BYTES: usize = 64 << 10;

/// Runs the leader.
pub fn run(port: u16, followers: &[u16], log: Log) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), OWN_LOG)?);
    let (to_log, batches) = channel();
    let (synced, log_done) = channel();
    thread::spawn(move || sync_batches(log, &batches, &synced, &waker));
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut peers = Vec::new();
    for (index, port) in followers.iter().enumerate() {
        let mut peer = connect(*port)?;
        poll.registry().register(&mut peer.stream, Token(FIRST_FOLLOWER + index), both())?;
        peers.push(peer);
    }
    let first_client = FIRST_FOLLOWER + peers.len();
    let mut leader = Leader {
        // The log's own acknowledgements come last.
        synced: vec![0; peers.len() + 1],
        peers,
        clients: Vec::new(),
        free: Vec::new(),
        to_log,
        table: HashMap::default(),
        gathering: Batch::default(),
        flying: None,
        begun: 0,
        piece: vec![0; READ_BYTES],
    };
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => leader.on_connect(&listener, poll.registry(), first_client)?,
                OWN_LOG => {
                    let own = leader.peers.len();
                    leader.synced[own] += log_done.try_iter().count() as u64;
                }
                Token(token) if token < first_client => leader.on_follower(token - FIRST_FOLLOWER)?,
                Token(token) => leader.on_client(token - first_client),
            }
        }
        leader.advance()?;
    }
}

fn both() -> Interest {
    Interest::READABLE | Interest::WRITABLE
}

/// The log thread.
fn sync_batches(mut log: Log, batches: &Receiver<Arc<[u8]>>, synced: &Sender<()>, waker: &Waker) {
    for batch in batches {
        if let Err(error) = log.append(&batch) {
            eprintln!("limit server: log: {error}");
            std::process::exit(1);
        }
        if synced.send(()).is_err() || waker.wake().is_err() {
            return;
        }
    }
}

/// Followers are started just before the leader, so they may not listen yet.
fn connect(port: u16) -> io::Result<Socket> {
    for _ in 0..500 {
        if let Ok(stream) = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            return Ok(Socket { stream: TcpStream::from_std(stream), out: Vec::new(), written: 0 });
        }
        thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::other(format!("no follower on port {port}")))
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Clients with the number of writes they have in the batch.
    writers: Vec<(usize, usize)>,
}

struct Socket {
    stream: TcpStream,
    out: Vec<u8>,
    written: usize,
}

struct Client {
    socket: Socket,
    decoder: RequestDecoder,
    input: BytesMut,
    /// Writes in a batch, unanswered.
    pending: usize,
    /// A read that must not overtake them.
    held: Option<Vec<Bytes>>,
}

struct Leader {
    peers: Vec<Socket>,
    /// How many batches each follower, and at last the own log, has synced.
    synced: Vec<u64>,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    to_log: Sender<Arc<[u8]>>,
    table: HashMap<Bytes, Bytes, Xxh3DefaultBuilder>,
    gathering: Batch,
    flying: Option<Batch>,
    /// Batches sent so far.
    begun: u64,
    piece: Vec<u8>,
}

impl Leader {
    fn on_connect(&mut self, listener: &TcpListener, registry: &Registry, first: usize) -> io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let place = self.free.pop().unwrap_or(self.clients.len());
            registry.register(&mut stream, Token(first + place), both())?;
            let client = Client {
                socket: Socket { stream, out: Vec::new(), written: 0 },
                decoder: RequestDecoder::new(Limits::default()),
                input: BytesMut::new(),
                pending: 0,
                held: None,
            };
            if place == self.clients.len() {
                self.clients.push(Some(client));
            } else {
                self.clients[place] = Some(client);
            }
        }
    }

    fn on_follower(&mut self, index: usize) -> io::Result<()> {
        self.peers[index].flush()?;
        let mut acknowledged = 0;
        let open = self.peers[index].read_all(&mut self.piece, |bytes| acknowledged += bytes.len() as u64)?;
        self.synced[index] += acknowledged;
        if open { Ok(()) } else { Err(io::Error::other("a follower is gone")) }
    }

    fn on_client(&mut self, place: usize) {
        let Some(client) = self.clients.get_mut(place).and_then(Option::as_mut) else { return };
        let input = &mut client.input;
        let open = client.socket.read_all(&mut self.piece, |bytes| input.extend_from_slice(bytes));
        if !open.unwrap_or(false) || self.serve(place).is_err() {
            self.drop_client(place);
        }
    }

    /// Takes a client's requests up to a read that has to wait for its writes.
    fn serve(&mut self, place: usize) -> Result<(), String> {
        let Some(client) = self.clients[place].as_mut() else { return Ok(()) };
        let mut writes = 0;
        loop {
            let request = match client.held.take() {
                Some(request) => request,
                None => match client.decoder.decode(&mut client.input).map_err(|error| error.to_string())? {
                    Some(request) => request,
                    None => break,
                },
            };
            match request.as_slice() {
                [name, key, value] if name.eq_ignore_ascii_case(b"SET") => {
                    for part in [key, value] {
                        self.gathering.bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
                        self.gathering.bytes.extend_from_slice(part);
                    }
                    self.table.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
                    writes += 1;
                }
                _ if client.pending + writes > 0 => {
                    client.held = Some(request);
                    break;
                }
                [name, key] if name.eq_ignore_ascii_case(b"GET") => match self.table.get(key) {
                    Some(value) => {
                        client.socket.out.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
                        client.socket.out.extend_from_slice(value);
                        client.socket.out.extend_from_slice(b"\r\n");
                    }
                    None => client.socket.out.extend_from_slice(b"$-1\r\n"),
                },
                _ => client.socket.out.extend_from_slice(b"-ERR only SET and GET\r\n"),
            }
        }
        if writes > 0 {
            client.pending += writes;
            self.gathering.writers.push((place, writes));
        }
        client.socket.flush().map_err(|error| error.to_string())
    }

    /// Answers the batch that a majority has, and sends the next.
    fn advance(&mut self) -> io::Result<()> {
        loop {
            let mut synced = self.synced.clone();
            synced.sort_unstable();
            let committed = synced[synced.len() / 2];
            if self.flying.is_some() && committed < self.begun {
                return Ok(());
            }
            if let Some(batch) = self.flying.take() {
                self.answer(&batch);
            }
            if self.gathering.writers.is_empty() {
                return Ok(());
            }
            let batch = std::mem::take(&mut self.gathering);
            for peer in &mut self.peers {
                peer.out.extend_from_slice(&(batch.bytes.len() as u32).to_be_bytes());
                peer.out.extend_from_slice(&batch.bytes);
                peer.flush()?;
            }
            if self.to_log.send(batch.bytes.as_slice().into()).is_err() {
                return Err(io::Error::other("the log thread ended"));
            }
            self.begun += 1;
            self.flying = Some(batch);
        }
    }

    fn answer(&mut self, batch: &Batch) {
        for (place, writes) in &batch.writers {
            let Some(client) = self.clients[*place].as_mut() else { continue };
            client.pending = client.pending.saturating_sub(*writes);
            client.socket.out.extend(std::iter::repeat_n(b"+OK\r\n", *writes).flatten());
            if self.serve(*place).is_err() {
                self.drop_client(*place);
            }
        }
    }

    /// A client is forgotten only once no batch names it, so that its place is not given away before.
    fn drop_client(&mut self, place: usize) {
        let named = |batch: &Batch| batch.writers.iter().any(|(writer, _)| *writer == place);
        let waited_for = named(&self.gathering) || self.flying.as_ref().is_some_and(named);
        if self.clients[place].take().is_some() && !waited_for {
            self.free.push(place);
        }
    }
}

impl Socket {
    fn flush(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Hands on everything there is; false once the other side closed.
    fn read_all(&mut self, piece: &mut [u8], mut take: impl FnMut(&[u8])) -> io::Result<bool> {
        loop {
            match self.stream.read(piece) {
                Ok(0) => return Ok(false),
                Ok(length) => take(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }
}
