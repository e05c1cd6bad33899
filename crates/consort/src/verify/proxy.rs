//! What stands between the nodes: every byte that one says to another goes through here, and may be held up, held back or
//! damaged.
//!
//! A node dials every other and sends on the connection that it dialed, so a link is one direction of one pair. Whose
//! connection it is a proxy learns from the first frame (`server::dialer`). What is *cut* from a to b: nothing that a says
//! reaches b, neither on the connection that a dialed nor as an answer on the one that b dialed. The connections stay, as in a
//! network that loses everything, until `drop_connections`, or until one side gives up.
//!
//! The proxies have a thread of their own: what they are busy with must not delay the clients, whose clocks are those of
//! the history.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// What is wrong with one direction of one pair of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkFault {
    /// Nothing gets through.
    pub cut: bool,
    /// Everything comes later by this.
    pub delay: Duration,
    /// And by up to this, drawn for each piece; the order stays.
    pub jitter: Duration,
    /// So many bytes a second; 0: no limit.
    pub bytes_per_second: u64,
    /// One piece of so many has a bit turned; 0: none.
    pub corrupt_one_of: u64,
    /// One message of so many is lost, comes twice, or after the next one (a third each); 0: none.
    pub mix_one_of: u64,
}

/// Messages of one direction of a connection, as they come in pieces.
#[derive(Debug, Default)]
struct Messages {
    /// What is not whole yet.
    rest: Vec<u8>,
    /// Frames of the handshake to come before there are messages; they go through as they are.
    introductions: u8,
    /// Overtaken by the next one.
    late: Option<Vec<u8>>,
}

impl Messages {
    /// What goes out for a piece that came in. `mixed` says what is done to a message, if anything.
    fn through(&mut self, piece: &[u8], mut mixed: impl FnMut() -> Option<Mixed>) -> Vec<u8> {
        self.rest.extend_from_slice(piece);
        let mut out = Vec::with_capacity(piece.len());
        loop {
            let header = if self.introductions > 0 { 4 } else { server::PEER_HEADER_BYTES };
            let Some(length) = self.rest.first_chunk::<4>() else { return out };
            let length = header + u32::from_le_bytes(*length) as usize;
            if self.rest.len() < length {
                return out;
            }
            let message: Vec<u8> = self.rest.drain(..length).collect();
            if self.introductions > 0 {
                self.introductions -= 1;
                out.extend(message);
                continue;
            }
            match mixed() {
                Some(Mixed::Lost) => {}
                Some(Mixed::Twice) => {
                    out.extend_from_slice(&message);
                    out.extend(message);
                }
                Some(Mixed::Late) if self.late.is_none() => {
                    self.late = Some(message);
                    continue;
                }
                _ => out.extend(message),
            }
            out.extend(self.late.take().into_iter().flatten());
        }
    }
}

/// What is done to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mixed {
    Lost,
    Twice,
    Late,
}

/// What a proxy stands before.
#[derive(Clone, Debug)]
pub struct Backend {
    /// The node's name.
    pub name: String,
    /// Where the others look for it.
    pub listen: u16,
    /// Where it is.
    pub to: u16,
}

/// A pair: who says, who hears.
type Pair = (String, String);

/// The proxies of a cluster.
pub struct Proxies {
    shared: Arc<Shared>,
    runtime: Handle,
    /// Ends the thread when it is dropped.
    _alive: watch::Sender<()>,
}

struct Shared {
    faults: Mutex<BTreeMap<Pair, LinkFault>>,
    /// Changes when a connection of the pair must end.
    drops: watch::Sender<(u64, Option<Pair>)>,
    listeners: Mutex<BTreeMap<String, (Backend, tokio::task::AbortHandle)>>,
    /// For decisions about single pieces, which no seed can reproduce: which bytes make up a piece depends on timing.
    random: AtomicU64,
    /// Pieces that were damaged.
    damaged: AtomicU64,
}

impl Proxies {
    /// Starts their thread.
    ///
    /// # Errors
    /// The system gives none.
    pub fn start() -> Result<Proxies, String> {
        let failed = |error: std::io::Error| format!("cannot start the proxies: {error}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (alive, mut ended) = watch::channel(());
        std::thread::Builder::new()
            .name("proxies".into())
            .spawn(move || runtime.block_on(async move { while ended.changed().await.is_ok() {} }))
            .map_err(failed)?;
        let shared = Shared {
            faults: Mutex::default(),
            drops: watch::channel((0, None)).0,
            listeners: Mutex::default(),
            random: AtomicU64::new(0x9e37_79b9_7f4a_7c15),
            damaged: AtomicU64::new(0),
        };
        Ok(Proxies { shared: Arc::new(shared), runtime: handle, _alive: alive })
    }

    /// Stands before a node.
    ///
    /// # Errors
    /// The port is taken.
    pub fn listen(&self, backend: Backend) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("cannot listen at port {}: {error}", backend.listen);
        let listener = std::net::TcpListener::bind(("127.0.0.1", backend.listen)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let (shared, name, to) = (self.shared.clone(), backend.name.clone(), backend.clone());
        let task = self.runtime.spawn(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(shared.clone(), to.clone(), stream));
            }
        });
        lock(&self.shared.listeners).insert(name, (backend, task.abort_handle()));
        Ok(())
    }

    /// Stands before a node no longer.
    pub fn forget(&self, name: &str) {
        if let Some((_, task)) = lock(&self.shared.listeners).remove(name) {
            task.abort();
        }
        lock(&self.shared.faults).retain(|(from, to), _| from != name && to != name);
        self.shared.drop_connections(None);
    }

    /// Where some other node is to be found.
    pub fn address_of_any_but(&self, name: &str) -> Option<String> {
        let listeners = lock(&self.shared.listeners);
        let (_, (backend, _)) = listeners.iter().find(|(other, _)| *other != name)?;
        Some(format!("127.0.0.1:{}", backend.listen))
    }

    /// Changes what is wrong with what `from` says to `to`.
    pub fn change(&self, from: &str, to: &str, change: impl FnOnce(&mut LinkFault)) {
        let mut faults = lock(&self.shared.faults);
        change(faults.entry((from.to_owned(), to.to_owned())).or_default());
    }

    /// Ends the connections between two nodes; they will dial again.
    pub fn drop_connections(&self, from: &str, to: &str) {
        self.shared.drop_connections(Some((from.to_owned(), to.to_owned())));
    }

    /// Everything is right again.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
    }

    /// How many pieces were damaged so far.
    pub fn damaged(&self) -> u64 {
        self.shared.damaged.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Shared {
    fn drop_connections(&self, pair: Option<Pair>) {
        self.drops.send_modify(|drops| *drops = (drops.0 + 1, pair));
    }

    fn fault(&self, pair: &Pair) -> LinkFault {
        lock(&self.faults).get(pair).copied().unwrap_or_default()
    }

    /// A number below `bound`.
    fn below(&self, bound: u64) -> u64 {
        let mut word = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound.max(1)
    }
}

/// How long a dialer may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(5);
/// Pieces that may be on their way.
const QUEUE: usize = 256;
/// A piece.
const PIECE_BYTES: usize = 64 << 10;
/// How often what is cut is looked at again.
const PATIENCE: Duration = Duration::from_millis(5);

async fn serve(shared: Arc<Shared>, backend: Backend, mut stream: TcpStream) {
    let mut first = Vec::new();
    let introduced = tokio::time::timeout(INTRODUCTION, async {
        loop {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
            first.extend_from_slice(&piece[..count]);
            match server::dialer(&first) {
                Ok(None) => {}
                Ok(Some(name)) => return Some(name),
                // Another version of the protocol: what is said of everybody holds for it, too.
                Err(_) => return Some("?".to_owned()),
            }
        }
    });
    let Ok(Some(from)) = introduced.await else { return };
    let Ok(other) = TcpStream::connect(("127.0.0.1", backend.to)).await else { return };
    let _ = (stream.set_nodelay(true), other.set_nodelay(true));
    let pair = (from.clone(), backend.name.clone());
    let back = (backend.name, from);
    let mut drops = shared.drops.subscribe();
    let (from_dialer, to_dialer) = stream.into_split();
    let (from_node, to_node) = other.into_split();
    // Only what the dialer says are messages, after its two frames of the handshake.
    let messages = (pair.0 != "?").then(|| Messages { introductions: 2, ..Messages::default() });
    let there = carry(shared.clone(), pair.clone(), from_dialer, to_node, first, messages);
    let again = carry(shared.clone(), back, from_node, to_dialer, Vec::new(), None);
    let dropped = async {
        while drops.changed().await.is_ok() {
            let wanted = drops.borrow_and_update().1.clone();
            if wanted.is_none_or(|wanted| wanted == pair) {
                return;
            }
        }
    };
    // When one direction ends the connection does.
    tokio::select! {
        () = there => {}
        () = again => {}
        () = dropped => {}
    }
}

/// Carries what one side says to the other, however late.
async fn carry(
    shared: Arc<Shared>,
    pair: Pair,
    mut reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    first: Vec<u8>,
    mut messages: Option<Messages>,
) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>(QUEUE);
    let (of_reader, pair_of_reader) = (shared.clone(), pair.clone());
    // It owns the sender: when there is no more to read, what is under way is delivered and then the connection ends.
    let read = async move {
        let (shared, pair) = (of_reader, pair_of_reader);
        let mut last = Instant::now();
        let mut piece = first;
        loop {
            if !piece.is_empty() {
                let fault = shared.fault(&pair);
                if let Some(messages) = &mut messages {
                    let mixed = || {
                        let hit = fault.mix_one_of > 0 && shared.below(fault.mix_one_of) == 0;
                        hit.then(|| [Mixed::Lost, Mixed::Twice, Mixed::Late][shared.below(3) as usize])
                    };
                    piece = messages.through(&piece, mixed);
                }
                if piece.is_empty() {
                    piece = vec![0; PIECE_BYTES];
                    match reader.read(&mut piece).await {
                        Ok(count) if count > 0 => piece.truncate(count),
                        _ => return,
                    }
                    continue;
                }
                if fault.corrupt_one_of > 0 && shared.below(fault.corrupt_one_of) == 0 {
                    let bit = shared.below(8 * piece.len() as u64) as usize;
                    piece[bit / 8] ^= 1 << (bit % 8);
                    shared.damaged.fetch_add(1, Ordering::Relaxed);
                }
                let jitter = Duration::from_micros(shared.below(fault.jitter.as_micros() as u64 + 1));
                last = last.max(Instant::now() + fault.delay + jitter);
                if sender.send((last, piece)).await.is_err() {
                    return;
                }
            }
            piece = vec![0; PIECE_BYTES];
            match reader.read(&mut piece).await {
                Ok(count) if count > 0 => piece.truncate(count),
                _ => return,
            }
        }
    };
    let write = deliver(&shared, &pair, receiver, writer);
    tokio::select! {
        () = write => {}
        () = async { read.await; std::future::pending::<()>().await } => {}
    }
}

async fn deliver(
    shared: &Shared,
    pair: &Pair,
    mut pieces: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut writer: OwnedWriteHalf,
) {
    while let Some((due, piece)) = pieces.recv().await {
        tokio::time::sleep_until(due).await;
        let mut fault = shared.fault(pair);
        while fault.cut {
            tokio::time::sleep(PATIENCE).await;
            fault = shared.fault(pair);
        }
        if writer.write_all(&piece).await.is_err() {
            return;
        }
        if fault.bytes_per_second > 0 {
            let pause = piece.len() as f64 / fault.bytes_per_second as f64;
            tokio::time::sleep(Duration::from_secs_f64(pause)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(header: usize, body: &[u8]) -> Vec<u8> {
        let mut frame = (body.len() as u32).to_le_bytes().to_vec();
        frame.resize(header, 7);
        frame.extend_from_slice(body);
        frame
    }

    #[test]
    fn messages_are_mixed_and_introductions_are_not() {
        let header = server::PEER_HEADER_BYTES;
        let mut sent = [frame(4, b"hello"), frame(4, b"")].concat();
        let messages: Vec<Vec<u8>> =
            [&b"a"[..], b"", b"ccc", b"d", b"e"].map(|body| frame(header, body)).to_vec();
        sent.extend(messages.concat());
        for step in 1..sent.len() {
            let mut orders =
                [None, Some(Mixed::Late), Some(Mixed::Twice), Some(Mixed::Lost), None].into_iter();
            let mut through = Messages { introductions: 2, ..Messages::default() };
            let out: Vec<u8> = sent
                .chunks(step)
                .flat_map(|piece| through.through(piece, || orders.next().flatten()))
                .collect();
            let [a, late, twice, _, last] = messages.as_slice() else { panic!("five") };
            let expected = [&frame(4, b"hello"), &frame(4, b""), a, twice, twice, late, last]
                .map(Vec::as_slice)
                .concat();
            assert_eq!(out, expected, "in pieces of {step}");
        }
    }
}
