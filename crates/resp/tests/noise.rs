//! Millions of random and mutated bytes: no decoder panics, and none takes much more memory than it was sent bytes.

use bytes::BytesMut;
use resp::{Limits, Protocol, RequestDecoder, Value, ValueDecoder, encode, encode_request};

/// A small seeded generator (splitmix64): the same bytes in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}

const ALPHABET: &[u8] = b"*$+-:_#,(!=%~>|?0123456789\r\n\r\n\"'\\x atf";

/// A few kilobytes of one kind: nonsense, the protocol's own characters, or valid traffic with some bytes changed.
fn input(random: &mut Random) -> Vec<u8> {
    let length = 1 + random.below(4096);
    match random.below(4) {
        0 => (0..length).map(|_| random.byte()).collect(),
        1 => (0..length).map(|_| ALPHABET[random.below(ALPHABET.len())]).collect(),
        kind => {
            let mut out = BytesMut::new();
            while out.len() < length {
                if kind == 2 {
                    request(random, &mut out)
                } else {
                    encode(&value(random, 0), Protocol::Resp3, &mut out)
                }
            }
            for _ in 0..random.below(3) {
                let place = random.below(out.len());
                out[place] =
                    if random.below(2) == 0 { random.byte() } else { ALPHABET[random.below(ALPHABET.len())] };
            }
            out.to_vec()
        }
    }
}

fn request(random: &mut Random, out: &mut BytesMut) {
    let arguments: Vec<Vec<u8>> = (0..1 + random.below(5)).map(|_| bytes(random)).collect();
    encode_request(&arguments, out);
}

fn bytes(random: &mut Random) -> Vec<u8> {
    (0..random.below(40)).map(|_| random.byte()).collect()
}

fn value(random: &mut Random, depth: usize) -> Value {
    let kinds = if depth < 5 { 11 } else { 7 };
    let items =
        |random: &mut Random| (0..random.below(6)).map(|_| value(random, depth + 1)).collect::<Vec<_>>();
    match random.below(kinds) {
        0 => Value::Simple("simple".into()),
        1 => Value::error("ERR error"),
        2 => Value::Integer(random.next() as i64),
        3 => Value::bulk(bytes(random)),
        4 => Value::Null,
        5 => Value::Double(f64::from_bits(random.next())),
        6 => Value::Verbatim(*b"txt", bytes(random).into()),
        7 => Value::Array(items(random)),
        8 => Value::Set(items(random)),
        9 => Value::Push(items(random)),
        _ => Value::Map(items(random).into_iter().map(|item| (item.clone(), item)).collect()),
    }
}

/// What decoding `fed` bytes may hold at most: a value costs tens of bytes where its text may cost three, lists double
/// as they grow, and every open aggregate reserves a little.
fn allowed_bytes(fed: usize, overhead: usize) -> usize {
    64 * fed + overhead
}

/// A decoder under test.
trait Decoder {
    /// Takes one command or value off the buffer: was there one, is the connection broken, and what is held?
    fn step(&mut self, buffer: &mut BytesMut) -> (bool, bool, usize);
}

impl Decoder for RequestDecoder {
    fn step(&mut self, buffer: &mut BytesMut) -> (bool, bool, usize) {
        let outcome = self.decode(buffer);
        (matches!(outcome, Ok(Some(_))), outcome.is_err(), self.held_bytes())
    }
}

impl Decoder for ValueDecoder {
    fn step(&mut self, buffer: &mut BytesMut) -> (bool, bool, usize) {
        let outcome = self.decode(buffer);
        (matches!(outcome, Ok(Some(_))), outcome.is_err(), self.held_bytes())
    }
}

/// What a run exercised.
#[derive(Debug, Default)]
struct Counts {
    decoded: usize,
    broken: usize,
}

/// Feeds `input` in random pieces. After an error the next piece begins a new connection, so that all of the input
/// reaches a decoder that is still willing.
fn feed<D: Decoder>(
    random: &mut Random,
    input: &[u8],
    overhead: usize,
    connect: impl Fn() -> D,
    counts: &mut Counts,
) {
    let mut decoder = connect();
    let mut buffer = BytesMut::new();
    let (mut fed, mut at) = (0, 0);
    while at < input.len() {
        let longest = if random.below(2) == 0 { 16 } else { 700 };
        let piece = (1 + random.below(longest)).min(input.len() - at);
        buffer.extend_from_slice(&input[at..at + piece]);
        (fed, at) = (fed + piece, at + piece);
        loop {
            let (decoded, broken, held_bytes) = decoder.step(&mut buffer);
            let held_bytes = held_bytes + buffer.capacity();
            assert!(held_bytes <= allowed_bytes(fed, overhead), "{held_bytes} bytes held after {fed}");
            counts.decoded += usize::from(decoded);
            if broken {
                counts.broken += 1;
                (decoder, buffer, fed) = (connect(), BytesMut::new(), 0);
            }
            if !decoded {
                break;
            }
        }
    }
}

fn run(total_bytes: usize, seed: u64) {
    let mut random = Random(seed);
    let (mut requests, mut values) = (Counts::default(), Counts::default());
    let mut fed = 0;
    while fed < total_bytes {
        let input = input(&mut random);
        fed += input.len();
        feed(&mut random, &input, 32 << 10, || RequestDecoder::new(Limits::default()), &mut requests);
        feed(&mut random, &input, 64 << 10, || ValueDecoder::new(Limits::default()), &mut values);
    }
    println!("{fed} bytes; requests: {requests:?}, values: {values:?}");
    // A run that exercised nothing would prove nothing.
    for counts in [requests, values] {
        assert!(counts.decoded > total_bytes / 1000 && counts.broken > total_bytes / 1000, "{counts:?}");
    }
}

#[test]
fn five_million_bytes() {
    run(5_000_000, 1);
}

#[test]
#[ignore = "long"]
fn fifty_million_bytes() {
    run(50_000_000, 2);
}
