//! `cargo xtask fuzz`: bad input for the decoders that face the network, with the stable compiler and without coverage:
//! valid requests and peer frames are damaged (bits, lengths, cuts, splices) and fed in pieces. A decoder must not panic,
//! and what it allocates must be in proportion to what it was given, whatever lengths the bytes claim. The targets in
//! `fuzz/` look deeper, with a compiler and a library that this needs not.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use mimalloc::MiMalloc;
use replication::ordered::raft::{self, Entry, EntryKind, Membership, SnapshotMeta};
use replication::wire::{self, Message, SnapshotAck, SnapshotChunk};
use replication::{NodeId, PartitionId};
use resp::{Limits, RequestDecoder, ValueDecoder};

/// What a decoder may allocate for each byte it was given: an argument of one byte takes a `Bytes`, a value of four bytes
/// a `Value`, and vectors double.
const BYTES_EACH: usize = 64;
/// And at any rate, for input that comes in pieces: the buffers.
const BUFFERS: usize = 256 << 10;
/// And at any rate, for a frame: much less, so that a count that is trusted a little shows, too.
const FRAME: usize = 16 << 10;

/// Counts the bytes that a thread allocates, freed or not, while it is asked to ([`allocated_by`]). Otherwise it is the
/// server's allocator and the look at one thread-local: this program also measures, and is the machine's limit.
pub struct Counting;

thread_local! {
    static ALLOCATED: Cell<Option<usize>> = const { Cell::new(None) };
}

fn count(bytes: usize) {
    // A thread that ends may have none any more.
    let _ = ALLOCATED.try_with(|allocated| {
        if let Some(before) = allocated.get() {
            allocated.set(Some(before + bytes));
        }
    });
}

/// What `act` gives, and the bytes that it allocated on this thread.
fn allocated_by<T>(act: impl FnOnce() -> T) -> (T, usize) {
    ALLOCATED.set(Some(0));
    let result = act();
    (result, ALLOCATED.take().unwrap_or_default())
}

// SAFETY: every call goes to the allocator below unchanged; counting allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }
}

/// How much, and from where.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Bytes for each decoder
    #[arg(long, default_value_t = 50_000_000)]
    bytes: u64,
    /// Other bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What a decoder made of its input.
#[derive(Default)]
struct Tally {
    bytes: u64,
    inputs: u64,
    understood: u64,
    refused: u64,
    /// The most that was allocated for an input, and the length of that.
    most: (usize, usize),
}

/// Feeds the decoders.
///
/// # Errors
/// A decoder allocated more than its input allows, with the input. A panic ends the process.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let mut random = Random(arguments.seed.wrapping_mul(2) | 1);
    let requests = requests();
    let frames: Vec<Vec<u8>> = messages().iter().map(encoded).collect();
    type Decoder = fn(&[u8], &mut Random) -> (u64, bool);
    let targets: [(&str, &[Vec<u8>], Decoder, usize); 3] = [
        ("requests of clients", &requests, decode_requests, BUFFERS),
        ("values", &requests, decode_values, BUFFERS),
        ("frames of peers", &frames, decode_frame, FRAME),
    ];
    for (name, samples, decoder, always) in targets {
        let begun = Instant::now();
        let mut tally = Tally::default();
        while tally.bytes < arguments.bytes {
            let input = damaged(samples, &mut random);
            feed(&input, decoder, always, &mut random, &mut tally)?;
        }
        println!(
            "{name}: {} bytes in {} inputs, {} understood, {} refused, at most {} bytes allocated (for {}), {:.0} s",
            tally.bytes,
            tally.inputs,
            tally.understood,
            tally.refused,
            tally.most.0,
            tally.most.1,
            begun.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

fn feed(
    input: &[u8],
    decoder: impl Fn(&[u8], &mut Random) -> (u64, bool),
    always: usize,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<(), String> {
    let ((understood, refused), allocated) = allocated_by(|| decoder(input, random));
    tally.bytes += input.len() as u64;
    tally.inputs += 1;
    tally.understood += understood;
    tally.refused += u64::from(refused);
    tally.most = tally.most.max((allocated, input.len()));
    if allocated > always + BYTES_EACH * input.len() {
        let text = input.escape_ascii();
        return Err(format!("{allocated} bytes were allocated for these {}: {text}", input.len()));
    }
    Ok(())
}

/// In pieces, as the network gives them.
fn decode_requests(input: &[u8], random: &mut Random) -> (u64, bool) {
    let mut decoder = RequestDecoder::new(Limits::default());
    decoder.set_authenticated(random.below(2) == 0);
    in_pieces(input, random, |buffer| decoder.decode(buffer).map(|found| found.is_some()).ok())
}

fn decode_values(input: &[u8], random: &mut Random) -> (u64, bool) {
    let mut decoder = ValueDecoder::new(Limits::default());
    in_pieces(input, random, |buffer| decoder.decode(buffer).map(|found| found.is_some()).ok())
}

fn in_pieces(
    input: &[u8],
    random: &mut Random,
    mut next: impl FnMut(&mut BytesMut) -> Option<bool>,
) -> (u64, bool) {
    let mut buffer = BytesMut::new();
    let mut understood = 0;
    for piece in input.chunks(1 + random.below(200)) {
        buffer.extend_from_slice(piece);
        loop {
            match next(&mut buffer) {
                Some(true) => understood += 1,
                Some(false) => break,
                None => return (understood, true),
            }
        }
    }
    (understood, false)
}

fn decode_frame(input: &[u8], _: &mut Random) -> (u64, bool) {
    match wire::decode(Bytes::copy_from_slice(input)) {
        Ok(_) => (1, false),
        Err(wire::Malformed(_)) => (0, true),
    }
}

/// A sample, or several one after the other, with something wrong in most.
fn damaged(samples: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const LARGE: [u64; 6] = [0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];
    let mut input = samples[random.below(samples.len())].clone();
    for _ in 0..random.below(5) {
        let at = random.below(input.len().max(1));
        match random.below(8) {
            0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
            1 => input.truncate(at),
            2 => input.extend_from_slice(&samples[random.below(samples.len())]),
            3 => {
                let other = &samples[random.below(samples.len())];
                let from = random.below(other.len().max(1));
                input.splice(at..at, other[from..].iter().copied());
            }
            4 => {
                let number = LARGE[random.below(LARGE.len())].to_le_bytes();
                let end = (at + 8).min(input.len());
                input[at..end].copy_from_slice(&number[..end - at]);
            }
            5 => {
                let digits = LARGE[random.below(LARGE.len())].to_string();
                input.splice(at..at, digits.bytes());
            }
            6 if !input.is_empty() => {
                let byte = input[at];
                input.splice(at..at, std::iter::repeat_n(byte, random.below(64)));
            }
            _ => {
                let noise: Vec<u8> = (0..random.below(32)).map(|_| random.next() as u8).collect();
                input.splice(at..at, noise);
            }
        }
        input.truncate(64 << 10);
    }
    input
}

fn requests() -> Vec<Vec<u8>> {
    [
        &b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n"[..],
        b"*1\r\n$4\r\nPING\r\n",
        b"PING hello \"quoted \\x41\"\r\n",
        b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n",
        b"*4\r\n$4\r\nMSET\r\n$1\r\na\r\n$100000\r\n",
        b"%2\r\n+a\r\n:1\r\n$1\r\nb\r\n*2\r\n#t\r\n,1.5\r\n",
        b"~3\r\n_\r\n(123456789012345678901234567890\r\n=7\r\ntxt:abc\r\n",
        b"*2\r\n*2\r\n*1\r\n:1\r\n-ERR no\r\n$-1\r\n",
        b"*1000000\r\n",
        b"\r\n",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut out = BytesMut::new();
    wire::encode(message, &mut out);
    out.to_vec()
}

fn messages() -> Vec<Message> {
    let partition = PartitionId(3);
    let entry = |index| Entry { index, term: 2, kind: EntryKind::Normal, payload: Bytes::from(vec![7; 90]) };
    let append = raft::Message::Append {
        term: 2,
        round: 9,
        prev_index: 4,
        prev_term: 2,
        commit: 4,
        admitted: 3,
        entries: (5..9).map(entry).collect(),
    };
    let heartbeat = raft::Message::Heartbeat { term: 2, round: 3, commit: 4, quiet: false };
    let vote = raft::Message::Vote { term: 3, last_index: 8, last_term: 2, transfer: true };
    let membership = Membership {
        voters: vec![NodeId(1), NodeId(2)],
        outgoing: vec![NodeId(3)],
        learners: vec![NodeId(4)],
    };
    let meta = SnapshotMeta { index: 7, term: 2, membership, exact_at: 9, terms: Vec::new() };
    let slice = Bytes::from(vec![5; 300]);
    vec![
        Message::Raft { partition, message: append },
        Message::Raft { partition, message: vote },
        Message::Many(vec![(partition, heartbeat.clone()), (PartitionId(4), heartbeat)]),
        Message::Alive,
        Message::Forward {
            partition,
            receiver_incarnation: 77,
            sequence: 256,
            generation: 1,
            layout: 0,
            deadline_ms: 2000,
            call: Bytes::from_static(b"\0\x02\0\0\0\x03\0\0\0GET\x01\0\0\0k"),
        },
        Message::Forwarded {
            sequence: 256,
            sender_incarnation: 9,
            outcome: 0,
            value: slice.clone(),
            seen: slice.clone(),
        },
        Message::SnapshotChunk(SnapshotChunk {
            partition,
            term: 2,
            meta,
            from: 0,
            next: Some(5),
            bytes: slice,
        }),
        Message::SnapshotAck(SnapshotAck { partition, term: 2, index: 7, next: None }),
        Message::Digest { partition, index: 7, digest: 1 << 100 },
    ]
}

/// A small generator (splitmix64): the same seed, the same bytes.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_that_trusts_a_length_is_caught() {
        let trusting = |input: &[u8], _: &mut Random| {
            let claimed = input.iter().fold(0usize, |sum, digit| sum * 10 + usize::from(digit - b'0'));
            drop(Vec::<u8>::with_capacity(claimed));
            (1, false)
        };
        let mut tally = Tally::default();
        assert!(feed(b"1000", trusting, FRAME, &mut Random(1), &mut tally).is_ok());
        assert!(feed(b"90000", trusting, FRAME, &mut Random(1), &mut tally).is_err());
    }

    #[test]
    fn the_samples_are_understood() {
        for message in messages() {
            assert_eq!(wire::decode(encoded(&message).into()), Ok(message));
        }
        assert_eq!(decode_requests(&requests()[0], &mut Random(1)), (1, false));
    }
}
