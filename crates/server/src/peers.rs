//! The other nodes: one TCP connection for each direction of each pair of nodes.
//!
//! Every node dials every other and *sends* on the connection that it dialed; what it receives comes on those that the
//! others dialed. A frame is a header of three numbers (32 bits, little endian: the length of the message, its CRC-32, the
//! CRC-32 of these two) and one [`wire::Message`]. A sum that is wrong ends the connection: the sums of TCP are weak, and a
//! damaged message could be one that was never sent. Messages may be lost by
//! contract: what is sent while there is no connection, or over the bound of the queue, is dropped and counted.
//!
//! The sockets live on worker 0. Drivers of all workers encode what they send into one piece of bytes per peer and batch
//! ([`Outbox`]) and leave it in the peer's [`Link`]; what arrives goes to the shard of its partition.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::TcpStream as StdStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use replication::NodeId;
use replication::catalogue::{CATALOGUE, Catalogue, Change, Member, MemberState};
use replication::contract::Input;
use replication::wire::{self, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::config::Address;
use crate::driver::Worker;
use crate::faults::{Fault, Faults};
use crate::handshake::{self, Hello, Introduced, JoinRequest, Joined, Rejection};
use crate::inbox::Delivery;
use crate::node::Node;
use crate::random;
use crate::roster::Content;
use crate::stats::Stats;

/// The longest frame: a write as long as the longest request, and its frame.
const FRAME_BYTES: usize = (1 << 30) + (1 << 16);
/// The length of what stands before each message that a node sends to a peer.
pub const HEADER_BYTES: usize = 12;
/// Bytes that may wait for one peer.
const QUEUE_BYTES: usize = 64 << 20;
/// A buffer that grew larger than this is given back after use.
const KEEP_BYTES: usize = 1 << 20;
/// Room for one read.
const READ_BYTES: usize = 256 << 10;
/// Frames up to this length are copied out of the read buffer, so that it can be used again and again (fresh memory costs
/// more than the copy: the system clears it).
const COPY_BYTES: usize = 64 << 10;
/// The first and the longest pause between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How long connecting and introducing may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a node that wants to become a member waits for the answer: the catalogue may just be choosing a leader.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection whose bytes are not acknowledged for this long is broken.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The way to one peer.
#[derive(Debug)]
pub struct Link {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where it may be found: where the catalogue says, then where the configuration says.
    addresses: Mutex<Vec<Address>>,
    connected: AtomicBool,
    /// It is no member any more.
    closed: AtomicBool,
    queue: Mutex<BytesMut>,
    notify: Notify,
    fault: Arc<Fault>,
}

impl Link {
    fn new(id: NodeId, name: String, addresses: Vec<Address>, fault: Arc<Fault>) -> Link {
        Link {
            id,
            name,
            addresses: Mutex::new(addresses),
            connected: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            queue: Mutex::default(),
            notify: Notify::new(),
            fault,
        }
    }

    fn addresses(&self) -> MutexGuard<'_, Vec<Address>> {
        self.addresses.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Leaves frames to be sent; `frames` is empty afterwards. Returns whether there was room.
    fn push(&self, frames: &mut BytesMut) -> bool {
        let mut queue = self.lock();
        if queue.is_empty() {
            std::mem::swap(&mut *queue, frames);
        } else if queue.len() + frames.len() <= QUEUE_BYTES {
            queue.extend_from_slice(frames);
        } else {
            give_back(frames);
            return false;
        }
        drop(queue);
        give_back(frames);
        self.notify.notify_one();
        true
    }

    /// Takes everything that is queued, into an empty `into` whose memory the queue uses from now on.
    fn take(&self, into: &mut BytesMut) {
        std::mem::swap(&mut *self.lock(), into);
    }

    fn lock(&self) -> MutexGuard<'_, BytesMut> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Empties a buffer and keeps its memory for the next use, unless it has grown very large.
fn give_back(buffer: &mut BytesMut) {
    if buffer.capacity() > KEEP_BYTES {
        *buffer = BytesMut::new();
    } else {
        buffer.clear();
    }
}

/// The ways to all peers, by the ids that the peers have now.
#[derive(Debug, Default)]
pub struct Peers {
    links: RwLock<Vec<(NodeId, Arc<Link>)>>,
    version: AtomicU64,
    faults: Arc<Faults>,
}

impl Peers {
    /// None is known yet.
    pub fn new(faults: Arc<Faults>) -> Peers {
        Peers { faults, ..Peers::default() }
    }

    /// All of them.
    pub fn links(&self) -> Vec<Arc<Link>> {
        self.lock_read().iter().map(|(_, link)| link.clone()).collect()
    }

    /// Is this one of the other members?
    fn has(&self, id: NodeId) -> bool {
        self.lock_read().iter().any(|(known, _)| *known == id)
    }

    /// These are the other members: id, name, addresses. Returns the ways that are new, which somebody has to keep
    /// ([`keep_sending`]).
    pub fn follow(&self, members: Vec<(NodeId, String, Vec<Address>)>) -> Vec<Arc<Link>> {
        let mut links = self.links.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (mut next, mut new) = (Vec::with_capacity(members.len()), Vec::new());
        for (id, name, addresses) in members {
            match links.iter().find(|(known, link)| *known == id && link.name == name) {
                Some((_, link)) => {
                    *link.addresses() = addresses;
                    next.push((id, link.clone()));
                }
                None => {
                    let link = Arc::new(Link::new(id, name, addresses, self.faults.of(id)));
                    new.push(link.clone());
                    next.push((id, link));
                }
            }
        }
        for (id, link) in links.iter().filter(|(id, _)| next.iter().all(|(kept, _)| kept != id)) {
            tracing::info!(peer = link.name, id = %hexadecimal(*id), "no member any more");
            link.closed.store(true, Ordering::Release);
            link.notify.notify_one();
        }
        *links = next;
        self.version.fetch_add(1, Ordering::Release);
        new
    }

    fn lock_read(&self) -> std::sync::RwLockReadGuard<'_, Vec<(NodeId, Arc<Link>)>> {
        self.links.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What one worker's batch sends, by peer.
#[derive(Debug, Default)]
pub struct Outbox {
    version: u64,
    links: Vec<(NodeId, Arc<Link>, BytesMut)>,
}

impl Outbox {
    /// Looks whether there are other peers now.
    pub fn refresh(&mut self, peers: &Peers) {
        let version = peers.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            let links = peers.links().into_iter();
            self.links = links.map(|link| (link.id, link, BytesMut::new())).collect();
        }
    }

    /// Adds a message for a peer; drops it if there is no connection, or none that anything gets through.
    pub fn send(&mut self, to: NodeId, message: &Message, stats: &Stats) {
        let link = self.links.iter_mut().find(|(id, ..)| *id == to);
        let gets_through =
            |link: &Link| link.connected.load(Ordering::Acquire) && !link.fault.sends_nothing();
        let Some((_, _, bytes)) = link.filter(|(_, link, _)| gets_through(link)) else {
            stats.peer_drops.add(1);
            return;
        };
        let start = bytes.len();
        bytes.extend_from_slice(&[0; HEADER_BYTES]);
        wire::encode(message, bytes);
        let header = header(&bytes[start + HEADER_BYTES..]);
        bytes[start..start + HEADER_BYTES].copy_from_slice(&header);
    }

    /// Leaves everything with the links.
    pub fn flush(&mut self, stats: &Stats) {
        for (_, link, bytes) in &mut self.links {
            if !bytes.is_empty() && !link.push(bytes) {
                stats.peer_drops.add(1);
            }
        }
    }
}

/// Keeps a connection to a peer, for as long as that is a member and the node runs.
pub async fn keep_sending(worker: Rc<Worker>, link: Arc<Link>) {
    let node = worker.node.clone();
    let mut pause = FIRST_PAUSE;
    let mut last_reason = String::new();
    for attempt in 0.. {
        if link.closed.load(Ordering::Acquire) {
            return;
        }
        match connect(&node, &link, attempt).await {
            Ok((stream, _)) => {
                pause = FIRST_PAUSE;
                last_reason.clear();
                node.context.stats.peer_connects.add(1);
                link.take(&mut BytesMut::new());
                link.connected.store(true, Ordering::Release);
                node.context.cluster.set_alive(link.id, true);
                tracing::info!(peer = link.name, id = %hexadecimal(link.id), "connected");
                let error = send(stream, &link, &node.context.stats).await;
                link.connected.store(false, Ordering::Release);
                link.take(&mut BytesMut::new());
                node.context.cluster.set_alive(link.id, false);
                worker.peer_lost(link.id);
                tracing::info!(peer = link.name, %error, "connection lost");
            }
            Err(Rejection::WeAreWiped(reason)) => {
                node.fail(format!("node '{}' turned this node away: {reason}", link.name));
            }
            Err(rejection) => {
                let reason = rejection.to_string();
                if reason != last_reason {
                    tracing::warn!(peer = link.name, reason, "no connection");
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

async fn connect(node: &Node, link: &Link, attempt: usize) -> Result<(TcpStream, Hello), Rejection> {
    let address = {
        let addresses = link.addresses();
        let turn = attempt.checked_rem(addresses.len());
        turn.map(|turn| addresses[turn].clone())
    };
    let address = address.ok_or_else(|| Rejection::Network("its address is not known".into()))?;
    let attempt = async {
        let mut stream = open(&address).await?;
        let hello = handshake::dial(&mut stream, node, &link.name).await?;
        match hello.identity.node() == link.id {
            true => Ok((stream, hello)),
            false => Err(Rejection::WeRefused(format!(
                "at {address} is node '{}' with id {}, not {}",
                link.name,
                hexadecimal(hello.identity.node()),
                hexadecimal(link.id)
            ))),
        }
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, attempt).await {
        Ok(result) => result,
        Err(_) => Err(Rejection::Network(format!("no answer from {address} in time"))),
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

/// Asks the member at `address` to let a node in.
///
/// # Errors
/// See [`Rejection`].
pub async fn ask_to_join(
    address: &Address,
    request: JoinRequest,
    secret: Option<&str>,
) -> Result<Joined, Rejection> {
    let attempt = async {
        let mut stream = open(address).await?;
        handshake::join(&mut stream, request, secret).await
    };
    match tokio::time::timeout(JOIN_TIMEOUT, attempt).await {
        Ok(result) => result,
        Err(_) => Err(Rejection::Network("no answer in time".into())),
    }
}

/// Sends what is left in the link until the connection breaks.
async fn send(mut stream: TcpStream, link: &Link, stats: &Stats) -> io::Error {
    let (mut reader, mut writer) = stream.split();
    let mut scratch = [0; 64];
    let mut frames = BytesMut::new();
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
        if link.closed.load(Ordering::Acquire) {
            return io::Error::other("it is no member any more");
        }
        link.take(&mut frames);
        if let Err(error) = writer.write_all(&frames).await {
            return error;
        }
        stats.peer_bytes_out.add(frames.len() as u64);
        give_back(&mut frames);
    }
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
        Ok(Ok(Introduced::Peer(hello))) => Rc::<Hello>::from(hello),
        Ok(Ok(Introduced::Joins(request))) => return let_in(&worker, &mut stream, *request).await,
        Ok(Err(Rejection::WeAreWiped(reason))) => {
            return node.fail(format!("{address} turned this node away: {reason}"));
        }
        Ok(Err(rejection)) => return tracing::warn!(address, %rejection, "a peer was not let in"),
        Err(_) => return tracing::debug!(address, "a peer did not introduce itself in time"),
    };
    let reason = match read_frames(&worker, &mut stream, &hello).await {
        Ok(()) => "closed by the peer".to_string(),
        Err(error) => error.to_string(),
    };
    tracing::info!(peer = hello.identity.name, reason, "a peer's connection ended");
    worker.peer_lost(hello.identity.node());
}

/// Lets a node in that wants to become a member, if the catalogue agrees.
async fn let_in(worker: &Rc<Worker>, stream: &mut TcpStream, request: JoinRequest) {
    let node = &worker.node;
    let id = NodeId(request.node);
    let member = Member {
        name: request.name.clone(),
        client: request.client,
        peer: request.peer,
        zone: request.zone,
        weight: request.weight,
        state: MemberState::Active,
        format: request.format,
    };
    // Made up anew for each attempt: the catalogue may have changed.
    let change = |catalogue: &Catalogue| {
        let former = catalogue.member_named(&request.name).map(|(former, _)| former);
        let replaces = former.filter(|former| request.rebuilds && *former != id);
        if request.rebuilds && former.is_none() {
            return Err(format!(
                "there is no node '{}' in the cluster whose place this one could take; start it with --join",
                request.name
            ));
        }
        Ok(Change::Join { node: id, member: member.clone(), replaces })
    };
    let joined = worker
        .change(&change)
        .await
        .map(|catalogue| Joined { layout: node.identity.layout(), members: Content::of(&catalogue) });
    tracing::info!(node = request.name, id = %hexadecimal(id), refused = joined.as_ref().err(), "asked to become a member");
    if let Err(rejection) = handshake::answer_join(stream, joined).await {
        tracing::warn!(%rejection, "a new member could not be told that it is one");
    }
}

async fn read_frames(worker: &Rc<Worker>, stream: &mut TcpStream, hello: &Rc<Hello>) -> io::Result<()> {
    let fault = worker.node.context.faults.of(hello.identity.node());
    let late = Rc::new(Late::default());
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let mut known_at = worker.node.peers.version.load(Ordering::Acquire);
    loop {
        // Half a long frame makes more room, up to its length; else the same memory is used again.
        if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
            buffer.reserve(READ_BYTES);
        }
        let count = stream.read_buf(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let version = worker.node.peers.version.load(Ordering::Acquire);
        if std::mem::replace(&mut known_at, version) != version
            && !worker.node.peers.has(hello.identity.node())
        {
            return Err(io::Error::other("it is no member any more"));
        }
        worker.node.context.stats.peer_bytes_in.add(count as u64);
        while let Some(frame) = next_frame(&mut buffer)? {
            let message = wire::decode(frame)
                .map_err(|wire::Malformed(reason)| io::Error::new(io::ErrorKind::InvalidData, reason))?;
            match (fault.hears_nothing(), fault.delay_ms()) {
                (true, _) => {}
                (false, 0) if late.is_empty() => deliver(worker, hello, message),
                (false, delay_ms) => late.put(worker, hello, message, delay_ms),
            }
        }
    }
}

/// Messages of one peer that come late, in their order.
#[derive(Debug, Default)]
struct Late {
    messages: RefCell<VecDeque<(tokio::time::Instant, Message)>>,
}

/// The most messages that are late at a time; more are lost, as in a network whose buffers are full.
const MOST_LATE: usize = 100_000;

impl Late {
    fn is_empty(&self) -> bool {
        self.messages.borrow().is_empty()
    }

    fn put(self: &Rc<Self>, worker: &Rc<Worker>, hello: &Rc<Hello>, message: Message, delay_ms: u32) {
        let due = tokio::time::Instant::now() + Duration::from_millis(delay_ms.into());
        let mut messages = self.messages.borrow_mut();
        if messages.len() >= MOST_LATE {
            worker.node.context.stats.peer_drops.add(1);
            return;
        }
        messages.push_back((due, message));
        if messages.len() > 1 {
            return;
        }
        let (late, worker, hello) = (self.clone(), worker.clone(), hello.clone());
        tokio::task::spawn_local(async move {
            loop {
                let Some(due) = late.messages.borrow().front().map(|(due, _)| *due) else { return };
                tokio::time::sleep_until(due).await;
                // It stays until it is delivered, so that what comes behind it does not overtake it.
                let Some(message) = late.messages.borrow().front().map(|(_, message)| message.clone()) else {
                    return;
                };
                deliver(&worker, &hello, message);
                late.messages.borrow_mut().pop_front();
            }
        });
    }
}

/// What stands before a message.
fn header(message: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&(message.len() as u32).to_le_bytes());
    header[4..8].copy_from_slice(&crc32fast::hash(message).to_le_bytes());
    let sum = crc32fast::hash(&header[..8]);
    header[8..].copy_from_slice(&sum.to_le_bytes());
    header
}

fn next_frame(buffer: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{what} is damaged"));
    let Some(header) = buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (length, sum) = (number(0) as usize, number(4));
    // The length has a sum of its own, or a wrong one would be waited for.
    if number(8) != crc32fast::hash(&header[..8]) {
        return Err(damaged("the header of a frame"));
    }
    if length > FRAME_BYTES {
        let text = format!("a frame of {length} bytes is longer than {FRAME_BYTES}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    if buffer.len() < HEADER_BYTES + length {
        return Ok(None);
    }
    buffer.advance(HEADER_BYTES);
    #[cfg(feature = "planted-bugs")]
    let sum = match crate::planted::has(crate::planted::Mutant::ChecksumIgnored) {
        true => crc32fast::hash(&buffer[..length]),
        false => sum,
    };
    if crc32fast::hash(&buffer[..length]) != sum {
        return Err(damaged("a message"));
    }
    if length > COPY_BYTES {
        return Ok(Some(buffer.split_to(length).freeze()));
    }
    let frame = Bytes::copy_from_slice(&buffer[..length]);
    buffer.advance(length);
    Ok(Some(frame))
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
        | Message::Causal { partition, .. }
        | Message::Digest { partition, .. } => give(node.owner(partition), message),
        Message::SnapshotChunk(ref chunk) => give(node.owner(chunk.partition), message),
        Message::SnapshotAck(ref ack) => give(node.owner(ack.partition), message),
        Message::Members(_) | Message::Ask(_) => give(node.owner(CATALOGUE), message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(buffer: &mut BytesMut) -> io::Result<Vec<Bytes>> {
        std::iter::from_fn(|| next_frame(buffer).transpose()).collect()
    }

    #[test]
    fn frames_are_found_however_the_bytes_come() {
        let messages = [&b"abc"[..], b"", b"d"];
        let bytes: Vec<u8> =
            messages.iter().flat_map(|message| [&header(message)[..], message].concat()).collect();
        for cut in 0..bytes.len() {
            let mut buffer = BytesMut::from(&bytes[..cut]);
            let mut found = frames(&mut buffer).unwrap();
            buffer.extend_from_slice(&bytes[cut..]);
            found.extend(frames(&mut buffer).unwrap());
            assert_eq!(found, messages);
        }
    }

    /// Whichever bit is wrong, no message comes of it, and nothing is waited for.
    #[test]
    fn damage_ends_the_connection() {
        let bytes = [&header(b"abc")[..], b"abc"].concat();
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = next_frame(&mut BytesMut::from(damaged.as_slice())).unwrap_err();
            assert!(error.to_string().ends_with("is damaged"), "bit {bit}: {error}");
        }
        let mut endless = [0xff; HEADER_BYTES];
        let sum = crc32fast::hash(&endless[..8]).to_le_bytes();
        endless[8..].copy_from_slice(&sum);
        assert!(next_frame(&mut BytesMut::from(&endless[..])).is_err());
    }

    #[test]
    fn a_queue_keeps_the_order_and_takes_no_more_than_its_bound() {
        let link = Link::new(NodeId(1), "n1".into(), Vec::new(), Arc::default());
        let piece = |byte: u8, length: usize| BytesMut::from(vec![byte; length].as_slice());
        assert!(link.push(&mut piece(1, QUEUE_BYTES + 1)), "one piece always fits");
        assert!(!link.push(&mut piece(2, 1)));
        let mut taken = BytesMut::new();
        link.take(&mut taken);
        assert_eq!(taken.len(), QUEUE_BYTES + 1);
        let mut pieces = [piece(1, 3), piece(2, 2), piece(3, 1)];
        for piece in &mut pieces {
            assert!(link.push(piece));
            assert!(piece.is_empty());
        }
        taken.clear();
        link.take(&mut taken);
        assert_eq!(taken[..], [1, 1, 1, 2, 2, 3]);
    }
}
