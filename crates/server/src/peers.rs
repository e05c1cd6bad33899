//! The other nodes: one TCP connection for each direction of each pair of nodes.
//!
//! Every node dials every other and *sends* on the connection that it dialed; what it receives comes on those that the
//! others dialed. A frame is a length (32 bits, little endian) and one [`wire::Message`]. Messages may be lost by
//! contract: what is sent while there is no connection, or over the bound of the queue, is dropped and counted.
//!
//! The sockets live on worker 0. Drivers of all workers encode what they send into one piece of bytes per peer and batch
//! ([`Outbox`]) and leave it in the peer's [`Link`]; what arrives goes to the shard of its partition.

use std::io;
use std::net::TcpStream as StdStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use replication::contract::Input;
use replication::wire::{self, Message};
use replication::{NodeId, PartitionId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::config::{Address, NodeConfig};
use crate::driver::Worker;
use crate::handshake::{self, Hello, Rejection};
use crate::inbox::Delivery;
use crate::node::Node;
use crate::random;
use crate::stats::Stats;

/// The longest frame: a write as long as the longest request, and its frame.
const FRAME_BYTES: usize = (1 << 30) + (1 << 16);
/// Bytes that may wait for one peer.
const QUEUE_BYTES: usize = 64 << 20;
/// Pieces up to this length are joined into one write.
const JOIN_BYTES: usize = 64 << 10;
const READ_BYTES: usize = 64 << 10;
const LARGE_READ_BYTES: usize = 1 << 20;
/// The first and the longest pause between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(1000);
/// How long connecting and introducing may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection whose bytes are not acknowledged for this long is broken.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The way to one peer.
#[derive(Debug)]
pub struct Link {
    /// As the configuration names it.
    pub config: NodeConfig,
    connected: AtomicBool,
    queue: Mutex<Queue>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    pieces: Vec<BytesMut>,
    bytes: usize,
}

impl Link {
    fn new(config: NodeConfig) -> Link {
        Link { config, connected: AtomicBool::new(false), queue: Mutex::default(), notify: Notify::new() }
    }

    /// Leaves bytes to be sent. Returns whether there was room.
    fn push(&self, piece: BytesMut) -> bool {
        let mut queue = self.lock();
        if !queue.pieces.is_empty() && queue.bytes + piece.len() > QUEUE_BYTES {
            return false;
        }
        queue.bytes += piece.len();
        queue.pieces.push(piece);
        drop(queue);
        self.notify.notify_one();
        true
    }

    fn take(&self) -> Queue {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The ways to all peers, by the ids that the peers have now.
#[derive(Debug, Default)]
pub struct Peers {
    links: RwLock<Vec<(NodeId, Arc<Link>)>>,
    version: AtomicU64,
}

impl Peers {
    /// A way to every node of the configuration but this one.
    pub fn new(nodes: impl Iterator<Item = (NodeId, NodeConfig)>) -> Peers {
        let links = nodes.map(|(id, config)| (id, Arc::new(Link::new(config)))).collect();
        Peers { links: RwLock::new(links), version: AtomicU64::new(1) }
    }

    /// All of them.
    pub fn links(&self) -> Vec<(NodeId, Arc<Link>)> {
        self.links.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// The node of this name has this id now. Returns the id that it had before, if that was another.
    pub fn set_id(&self, name: &str, id: NodeId) -> Option<NodeId> {
        let mut links = self.links.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (known, _) = links.iter_mut().find(|(_, link)| link.config.name == name)?;
        let before = std::mem::replace(known, id);
        self.version.fetch_add(1, Ordering::Release);
        (before != id).then_some(before)
    }
}

/// What one worker's batch sends, by peer.
#[derive(Debug, Default)]
pub struct Outbox {
    version: u64,
    links: Vec<(NodeId, Arc<Link>, BytesMut)>,
}

impl Outbox {
    /// Looks whether peers have other ids now.
    pub fn refresh(&mut self, peers: &Peers) {
        let version = peers.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            self.links = peers.links().into_iter().map(|(id, link)| (id, link, BytesMut::new())).collect();
        }
    }

    /// Adds a message for a peer; drops it if there is no connection.
    pub fn send(&mut self, to: NodeId, message: &Message, stats: &Stats) {
        let link = self.links.iter_mut().find(|(id, ..)| *id == to);
        let Some((_, _, bytes)) = link.filter(|(_, link, _)| link.connected.load(Ordering::Acquire)) else {
            stats.peer_drops.add(1);
            return;
        };
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        wire::encode(message, bytes);
        let length = (bytes.len() - start - 4) as u32;
        bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Leaves everything with the links.
    pub fn flush(&mut self, stats: &Stats) {
        for (_, link, bytes) in &mut self.links {
            if !bytes.is_empty() && !link.push(bytes.split()) {
                stats.peer_drops.add(1);
            }
        }
    }
}

/// Keeps a connection to a peer, for as long as the node runs.
pub async fn keep_sending(worker: Rc<Worker>, link: Arc<Link>) {
    let node = worker.node.clone();
    let mut pause = FIRST_PAUSE;
    let mut last_reason = String::new();
    loop {
        match connect(&node, &link).await {
            Ok((stream, hello)) => {
                pause = FIRST_PAUSE;
                last_reason.clear();
                let id = hello.identity.node();
                node.peer_found(&link.config, &hello.identity);
                node.context.stats.peer_connects.add(1);
                link.take();
                link.connected.store(true, Ordering::Release);
                node.context.cluster.set_alive(id, true);
                tracing::info!(peer = link.config.name, id = %hexadecimal(id), "connected");
                let error = send(stream, &link, &node.context.stats).await;
                link.connected.store(false, Ordering::Release);
                link.take();
                node.context.cluster.set_alive(id, false);
                worker.peer_lost(id);
                tracing::info!(peer = link.config.name, %error, "connection lost");
            }
            Err(Rejection::WeAreWiped(reason)) => {
                node.fail(format!("node '{}' turned this node away: {reason}", link.config.name));
            }
            Err(rejection) => {
                let reason = rejection.to_string();
                if reason != last_reason {
                    tracing::warn!(peer = link.config.name, address = %link.config.peer, reason, "no connection");
                    last_reason = reason;
                }
            }
        }
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn hexadecimal(id: NodeId) -> String {
    format!("{:016x}", id.0)
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.75 + 0.5 * (random::number() >> 11) as f64 / (1u64 << 53) as f64)
}

async fn connect(node: &Node, link: &Link) -> Result<(TcpStream, Hello), Rejection> {
    let attempt = async {
        let mut stream = open(&link.config.peer).await?;
        let hello = handshake::dial(&mut stream, node, &link.config.name).await?;
        Ok((stream, hello))
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, attempt).await {
        Ok(result) => result,
        Err(_) => Err(Rejection::Network("no answer in time".into())),
    }
}

/// Opens a connection to a peer's address.
async fn open(address: &Address) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    prepare(&stream)?;
    Ok(stream)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(SEND_TIMEOUT))?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(2))
        .with_interval(Duration::from_secs(1))
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)
}

/// Asks the peers of a node that is about to be rebuilt whom they know; returns the first answer.
///
/// # Errors
/// Nobody answers, with each one's reason.
pub async fn ask_roster(config: &crate::config::Config) -> Result<crate::roster::Content, String> {
    let mut reasons = Vec::new();
    for peer in config.nodes.iter().filter(|peer| peer.name != config.node) {
        let attempt = async {
            let mut stream = open(&peer.peer).await?;
            handshake::ask(&mut stream, &config.cluster, config.peer_secret.as_deref()).await
        };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, attempt).await {
            Ok(Ok(content)) => return Ok(content),
            Ok(Err(rejection)) => reasons.push(format!("{}: {rejection}", peer.name)),
            Err(_) => reasons.push(format!("{}: no answer in time", peer.name)),
        }
    }
    Err(reasons.join("; "))
}

/// Sends what is left in the link until the connection breaks.
async fn send(mut stream: TcpStream, link: &Link, stats: &Stats) -> io::Error {
    let (mut reader, mut writer) = stream.split();
    let mut scratch = [0; 64];
    loop {
        tokio::select! {
            biased;
            () = link.notify.notified() => {}
            read = reader.read(&mut scratch) => return match read {
                Ok(0) => io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the peer"),
                Ok(_) => io::Error::new(io::ErrorKind::InvalidData, "the peer sent on a one-way connection"),
                Err(error) => error,
            },
        }
        for piece in join(link.take().pieces) {
            if let Err(error) = writer.write_all(&piece).await {
                return error;
            }
            stats.peer_bytes_out.add(piece.len() as u64);
        }
    }
}

/// Joins neighbours as long as they stay small, so that many small pieces cost one write.
fn join(pieces: Vec<BytesMut>) -> Vec<BytesMut> {
    let mut joined: Vec<BytesMut> = Vec::with_capacity(1);
    for piece in pieces {
        match joined.last_mut() {
            Some(last) if last.len() + piece.len() <= JOIN_BYTES => last.extend_from_slice(&piece),
            _ => joined.push(piece),
        }
    }
    joined
}

/// Takes in a peer that dialed, and what it sends, until its connection breaks.
pub async fn receive(worker: Rc<Worker>, stream: StdStream) {
    let node = worker.node.clone();
    let address = stream.peer_addr().map_or_else(|_| "?".to_string(), |address| address.to_string());
    let Ok(mut stream) = TcpStream::from_std(stream) else { return };
    if prepare(&stream).is_err() {
        return;
    }
    let introduced = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake::accept(&mut stream, &node)).await;
    let hello = match introduced {
        Ok(Ok(Some(hello))) => hello,
        Ok(Ok(None)) => return,
        Ok(Err(Rejection::WeAreWiped(reason))) => {
            return node.fail(format!("{address} turned this node away: {reason}"));
        }
        Ok(Err(rejection)) => return tracing::warn!(address, %rejection, "a peer was not let in"),
        Err(_) => return tracing::debug!(address, "a peer did not introduce itself in time"),
    };
    if let Some(config) = node.context.config.nodes.iter().find(|known| known.name == hello.identity.name) {
        node.peer_found(config, &hello.identity);
    }
    let reason = match read_frames(&worker, &mut stream, &hello).await {
        Ok(()) => "closed by the peer".to_string(),
        Err(error) => error.to_string(),
    };
    tracing::info!(peer = hello.identity.name, reason, "a peer's connection ended");
    worker.peer_lost(hello.identity.node());
}

async fn read_frames(worker: &Worker, stream: &mut TcpStream, hello: &Hello) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(buffer.len().clamp(READ_BYTES, LARGE_READ_BYTES));
        let count = stream.read_buf(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        worker.node.context.stats.peer_bytes_in.add(count as u64);
        while let Some(frame) = next_frame(&mut buffer)? {
            let message = wire::decode(frame.freeze())
                .map_err(|wire::Malformed(reason)| io::Error::new(io::ErrorKind::InvalidData, reason))?;
            deliver(worker, hello, message);
        }
    }
}

fn next_frame(buffer: &mut BytesMut) -> io::Result<Option<BytesMut>> {
    let Some(length) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_BYTES {
        let text = format!("a frame of {length} bytes is longer than {FRAME_BYTES}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(length)))
}

/// Brings a message to the shards that it concerns.
fn deliver(worker: &Worker, hello: &Hello, message: Message) {
    let node = &worker.node;
    let (from, incarnation) = (hello.identity.node(), hello.incarnation);
    let give = |owner: usize, message: Message| {
        let input = Input::Message { from, incarnation, message };
        if owner == worker.index {
            worker.input(input);
        } else {
            node.inboxes[owner].push(Delivery::Input(input));
        }
    };
    if node.inboxes.len() == 1 {
        return give(0, message);
    }
    match message {
        Message::Many(messages) => {
            let mut by_owner: Vec<Vec<_>> = vec![Vec::new(); node.inboxes.len()];
            for (partition, message) in messages {
                by_owner[node.owner(partition)].push((partition, message));
            }
            for (owner, messages) in by_owner.into_iter().enumerate() {
                if !messages.is_empty() {
                    give(owner, Message::Many(messages));
                }
            }
        }
        Message::Alive => (0..node.inboxes.len()).for_each(|owner| give(owner, Message::Alive)),
        Message::Forwarded { sequence, .. } => {
            let owner = (sequence & 0xff) as usize; // the lane of the shard that asked (`shard::Options::lane`)
            if owner < node.inboxes.len() {
                give(owner, message);
            }
        }
        Message::Raft { partition, .. }
        | Message::Forward { partition, .. }
        | Message::Digest { partition, .. }
        | Message::Rebuild { partition, .. } => give(node.owner(partition), message),
        Message::SnapshotChunk(ref chunk) => give(node.owner(chunk.partition), message),
        Message::SnapshotAck(ref ack) => give(node.owner(ack.partition), message),
    }
}

/// The worker that owns a partition.
pub fn owner(partition: PartitionId, workers: usize) -> usize {
    partition.0 as usize % workers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_the_bytes_come() {
        let bytes = b"\x03\0\0\0abc\0\0\0\0\x01\0\0\0d";
        for cut in 0..bytes.len() {
            let mut buffer = BytesMut::from(&bytes[..cut]);
            let mut frames = Vec::new();
            while let Some(frame) = next_frame(&mut buffer).unwrap() {
                frames.push(frame);
            }
            buffer.extend_from_slice(&bytes[cut..]);
            while let Some(frame) = next_frame(&mut buffer).unwrap() {
                frames.push(frame);
            }
            assert_eq!(frames, [&b"abc"[..], b"", b"d"]);
        }
        let mut endless = BytesMut::from(&b"\xff\xff\xff\xffxyz"[..]);
        assert!(next_frame(&mut endless).is_err());
    }

    #[test]
    fn small_pieces_share_a_write_and_keep_their_order() {
        let piece = |byte: u8, length: usize| BytesMut::from(vec![byte; length].as_slice());
        let pieces = vec![piece(1, 10), piece(2, 20), piece(3, JOIN_BYTES), piece(4, 5), piece(5, 6)];
        let expected: Vec<u8> = pieces.iter().flatten().copied().collect();
        let joined = join(pieces);
        assert_eq!(joined.iter().map(BytesMut::len).collect::<Vec<_>>(), [30, JOIN_BYTES, 11]);
        assert_eq!(joined.iter().flatten().copied().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_full_queue_takes_no_more() {
        let link = Link::new(crate::testing::three_nodes().nodes[0].clone());
        assert!(link.push(BytesMut::zeroed(QUEUE_BYTES + 1)), "one piece always fits");
        assert!(!link.push(BytesMut::zeroed(1)));
        assert_eq!(link.take().pieces.len(), 1);
        assert!(link.push(BytesMut::zeroed(1)));
    }
}
