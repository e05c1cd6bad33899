//! The commands against a real Redis: thousands of random ones, right and wrong, go to both, and every reply must be the
//! same, error texts included. Ours run through a view with pending writes that are applied late, and some of them in
//! transactions. Differences that are meant are listed in `commands/mod.rs`; [`agree`] allows for them and for clocks
//! that run on.
//!
//! Without a `redis-server` on the PATH the test says so and passes.

// A test against a live server needs the live clock, for both sides to agree on what "now" is.
#![allow(clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use data::merged::{Dot, HybridTime, Merge};
use data::{Command, Mutation, Pending, Stamp, Table, View};
use resp::{Limits, Value, ValueDecoder};

/// Commands per seed.
const COMMANDS: usize = 6000;

const SEEDS: u64 = 12;

/// A Redis of our own, stopped when dropped.
struct Redis {
    process: Child,
    stream: TcpStream,
    decoder: ValueDecoder,
    buffer: BytesMut,
}

impl Redis {
    /// Starts it; `None` if there is no such program.
    fn start() -> Option<Redis> {
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

    fn ask(&mut self, arguments: &[Bytes]) -> Value {
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

    fn ask_words(&mut self, words: &str) -> Value {
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

/// A generator that gives the same numbers for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Ours: a table, and writes that are under way to it; or one whose elements merge, of which this is the only replica.
struct Ours {
    table: Table,
    pending: Pending,
    log: VecDeque<(u64, Mutation)>,
    position: u64,
    merges: bool,
}

impl Ours {
    fn new(merges: bool) -> Self {
        Ours { table: Table::new(), pending: Pending::default(), log: VecDeque::new(), position: 0, merges }
    }

    /// Runs a write where changes merge: each is applied at once, from its bytes.
    fn merge(&mut self, run: impl FnOnce(&Table, Dot, &Stamp) -> data::merged::Prepared) -> Value {
        let now_ms = now_ms();
        let dot = Dot { origin: 1 << 60, counter: self.position + 1 };
        let stamp = Stamp { time_ms: now_ms, ..Stamp::default() };
        let prepared = run(&self.table, dot, &stamp);
        if !prepared.changes.is_empty() {
            let vector = [(dot.origin, self.position)].into_iter().collect();
            let time = HybridTime { ms: now_ms, logical: 0 };
            let merge = Merge { dot, time, vector, changes: prepared.changes };
            let merge = Merge::decode(&merge.encode()).expect("it was encoded just now");
            self.table.apply_merged(&merge);
            self.position += 1;
        }
        prepared.reply
    }

    fn prepare(&mut self, run: impl FnOnce(&View<'_>, &Stamp) -> data::Prepared) -> Value {
        let now_ms = now_ms();
        let stamp = Stamp { time_ms: now_ms, ..Stamp::default() };
        let view = View::new(&self.table, Some(&self.pending), now_ms);
        let prepared = run(&view, &stamp);
        if let Some(mutation) = prepared.mutation {
            self.position += 1;
            self.pending.record(self.position, &mutation);
            self.log.push_back((self.position, mutation));
        }
        prepared.reply
    }

    fn run(&mut self, arguments: &[Bytes]) -> Value {
        let command = command(arguments);
        if let Err(error) = command.check_arity(arguments) {
            return error;
        }
        if self.merges {
            return self
                .merge(|table, dot, stamp| data::prepare_merged(command, arguments, table, dot, stamp));
        }
        self.prepare(|view, stamp| data::prepare(command, arguments, view, stamp))
    }

    fn run_transaction(&mut self, commands: &[(&'static Command, Vec<Bytes>)]) -> Value {
        if self.merges {
            return self.merge(|table, dot, stamp| {
                data::prepare_merged_transaction(commands, &[], table, dot, stamp)
            });
        }
        self.prepare(|view, stamp| data::prepare_transaction(commands, &[], view, stamp))
    }

    /// Applies all but the last `left` mutations.
    fn apply_but(&mut self, left: usize) {
        while self.log.len() > left {
            let Some((position, mutation)) = self.log.pop_front() else { break };
            self.table.apply(&mutation).expect("our own mutations are well formed");
            self.pending.applied(position);
        }
        assert_eq!(self.pending.is_empty(), self.log.is_empty());
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

fn command(arguments: &[Bytes]) -> &'static Command {
    Command::lookup(&arguments[0]).expect("the generator knows only our commands")
}

const KEYS: &[&str] = &["a", "b", "c", "{a}x", "{a}y", "long", ""];

/// Keys that hold collections for the most part: of each type, two in one slot, and one.
const HASHES: &[&str] = &["{c}h", "{c}h2", "h3"];
const LISTS: &[&str] = &["{c}l", "{c}l2", "l3"];
const SETS: &[&str] = &["{c}s", "{c}s2", "s3"];
const SORTED_SETS: &[&str] = &["{c}z", "{c}z2", "z3"];
/// Those of members whose scores are all the same, for ranges by member.
const EVEN: &[&str] = &["{c}e", "e2"];

const ALL_KEYS: &[&[&str]] = &[KEYS, HASHES, LISTS, SETS, SORTED_SETS, EVEN];

const SCORES: &[&str] = &[
    "0", "1", "-1", "2", "2", "3", "1.5", "-2.25", "100", "1e3", "inf", "-inf", "+inf", "nan", "abc", "",
    "0.1",
];

const BOUNDS: &[&str] =
    &["-inf", "+inf", "0", "1", "(1", "2", "(2", "-1", "(-1", "100", "(100", "1.5", "x", "(x", "(inf", "-5"];

const MEMBER_BOUNDS: &[&str] =
    &["-", "+", "[m", "(m", "[m1", "(m1", "[m3", "(m5", "[", "(", "x", "[zzz", "(b"];

const INDICES: &[&str] = &["0", "1", "2", "3", "-1", "-2", "-3", "5", "10", "-10", "100", "-100", "x"];

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "8",
    "9",
    "10",
    "-2",
    "-7",
    "15",
    "63",
    "100",
    "-100",
    "1000",
    "5000",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "9223372036854775",
    "9223372036854775806",
    "4294967296",
    "1.5",
    "abc",
    "",
    " 1",
    "+1",
    "01",
    "-0",
];

const FLOATS: &[&str] = &[
    "0.1", "-0.1", "0.2", "1.5", "3", "-3", "5.0e1", "abc", "inf", "-inf", "nan", "1e5000", "", "0.001",
    "12.75", " 1", "1 ",
];

const VALUES: &[&str] = &[
    "",
    "x",
    "hello",
    "12",
    "-5",
    "0",
    "3.5",
    "9223372036854775807",
    "-9223372036854775808",
    "hello world, this is a longer string",
    "\u{0}\u{1}\u{7f}",
    "\u{ff}\u{ff}",
    " 1",
];

/// When keys end: long ago, far off, or nonsense. [`draw`] adds numbers that differ from one another, so that no two
/// relative ones lie so close together that a tick of the clock could decide which is later.
const TIMES: &[&str] = &[
    "-1",
    "0",
    "33177117420",
    "33177117420000",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775",
    "9223372036854776",
    "abc",
    "",
];

const OPTIONS: &[&str] = &[
    "NX", "XX", "GT", "LT", "GET", "EX", "PX", "EXAT", "PXAT", "KEEPTTL", "PERSIST", "nx", "get", "BIT",
    "BYTE", "bit", "REPLACE", "DB", "what",
];

/// What an argument of a command is drawn from.
#[derive(Clone, Copy)]
enum Draw {
    Key,
    Number,
    Float,
    Value,
    Time,
    Word(&'static str),
    /// One of the options, or nothing.
    Choice,
    /// An option and a time.
    Ending,
    Bit,
    /// A key of a collection, of its own type mostly.
    KeyOf(&'static [&'static str]),
    /// Of the two that lie in one slot, mostly.
    Pair(&'static [&'static str]),
    /// A field, a member or a value of a list: few different ones.
    Member,
    /// Up to three hundred of what is inside, so that some collections are long.
    Many(&'static [Draw]),
    Score,
    Bound,
    MemberBound,
    Index,
    /// One of these words, or nothing.
    Maybe(&'static [&'static str]),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// The number of a database; those that only Redis has are left out.
    Database,
}

use Draw::*;

/// What is sent to both: the shape of each command, which the generator then varies.
const SHAPES: &[(&str, &[Draw])] = &[
    ("get", &[Key]),
    ("set", &[Key, Value]),
    ("set", &[Key, Number]),
    ("set", &[Key, Value, Choice]),
    ("set", &[Key, Value, Choice, Choice]),
    ("set", &[Key, Value, Ending]),
    ("set", &[Key, Value, Choice, Ending]),
    ("set", &[Key, Value, Ending, Choice, Choice]),
    ("setnx", &[Key, Value]),
    ("setex", &[Key, Time, Value]),
    ("psetex", &[Key, Time, Value]),
    ("getset", &[Key, Value]),
    ("getdel", &[Key]),
    ("getex", &[Key]),
    ("getex", &[Key, Ending]),
    ("getex", &[Key, Choice]),
    ("mget", &[Key, Key, Key]),
    ("mset", &[Key, Value, Key, Number]),
    ("msetnx", &[Key, Value, Key, Value]),
    ("append", &[Key, Value]),
    ("strlen", &[Key]),
    ("getrange", &[Key, Number, Number]),
    ("substr", &[Key, Number, Number]),
    ("setrange", &[Key, Number, Value]),
    ("incr", &[Key]),
    ("decr", &[Key]),
    ("incrby", &[Key, Number]),
    ("decrby", &[Key, Number]),
    ("incrbyfloat", &[Key, Float]),
    ("setbit", &[Key, Number, Bit]),
    ("getbit", &[Key, Number]),
    ("bitcount", &[Key]),
    ("bitcount", &[Key, Number, Number]),
    ("bitcount", &[Key, Number, Number, Choice]),
    ("bitcount", &[Key, Number, Number, Word("BIT")]),
    ("bitpos", &[Key, Bit]),
    ("bitpos", &[Key, Bit, Number]),
    ("bitpos", &[Key, Bit, Number, Number]),
    ("bitpos", &[Key, Bit, Number, Number, Choice]),
    ("bitpos", &[Key, Bit, Number, Number, Word("BIT")]),
    ("del", &[Key]),
    ("del", &[Key, Key]),
    ("unlink", &[Key, Key]),
    ("exists", &[Key, Key, Key]),
    ("touch", &[Key, Key]),
    ("type", &[Key]),
    ("expire", &[Key, Time]),
    ("expire", &[Key, Time, Choice]),
    ("pexpire", &[Key, Time, Choice]),
    ("expireat", &[Key, Time, Choice, Choice]),
    ("pexpireat", &[Key, Time, Choice]),
    ("ttl", &[Key]),
    ("pttl", &[Key]),
    ("expiretime", &[Key]),
    ("pexpiretime", &[Key]),
    ("persist", &[Key]),
    ("rename", &[Key, Key]),
    ("renamenx", &[Key, Key]),
    ("copy", &[Key, Key]),
    ("copy", &[Key, Key, Choice]),
    ("copy", &[Key, Key, Word("DB"), Database, Choice]),
    ("object", &[Word("refcount"), Word("absent")]),
    ("object", &[Word("freq"), Key]),
    ("object", &[Word("nonsense"), Key]),
    ("object", &[Word("encoding"), Key, Key]),
    ("memory", &[Word("usage"), Word("absent")]),
    ("memory", &[Word("usage"), Key, Word("SAMPLES"), Word("x")]),
    ("flushall", &[Word("nonsense")]),
    ("scan", &[Word("x")]),
    ("scan", &[Word("0"), Word("COUNT"), Word("0")]),
    ("scan", &[Word("0"), Word("COUNT"), Word("x")]),
    ("scan", &[Word("0"), Word("WHAT"), Word("1")]),
    ("scan", &[Word("0"), Word("COUNT")]),
    ("hset", &[KeyOf(HASHES), Member, Value]),
    ("hset", &[KeyOf(HASHES), Many(&[Member, Member])]),
    ("hset", &[KeyOf(HASHES), Member, Value, Member]),
    ("hset", &[KeyOf(HASHES), Member, Number]),
    ("hmset", &[KeyOf(HASHES), Member, Value, Member, Value]),
    ("hsetnx", &[KeyOf(HASHES), Member, Value]),
    ("hget", &[KeyOf(HASHES), Member]),
    ("hmget", &[KeyOf(HASHES), Member, Member, Member]),
    ("hdel", &[KeyOf(HASHES), Many(&[Member])]),
    ("hdel", &[KeyOf(HASHES), Member]),
    ("hexists", &[KeyOf(HASHES), Member]),
    ("hlen", &[KeyOf(HASHES)]),
    ("hstrlen", &[KeyOf(HASHES), Member]),
    ("hgetall", &[KeyOf(HASHES)]),
    ("hkeys", &[KeyOf(HASHES)]),
    ("hvals", &[KeyOf(HASHES)]),
    ("hincrby", &[KeyOf(HASHES), Member, Number]),
    ("hrandfield", &[KeyOf(HASHES)]),
    ("hrandfield", &[KeyOf(HASHES), Index]),
    ("hrandfield", &[KeyOf(HASHES), Index, Maybe(&["WITHVALUES", "what"])]),
    ("hscan", &[KeyOf(HASHES), OneOf(&["0"]), Word("COUNT"), Word("100000")]),
    (
        "hscan",
        &[KeyOf(HASHES), OneOf(&["0", "x"]), Word("MATCH"), Word("m1*"), Word("COUNT"), Word("100000")],
    ),
    ("hscan", &[KeyOf(HASHES), Word("0"), Word("COUNT"), OneOf(&["0", "x"])]),
    ("lpush", &[KeyOf(LISTS), Member]),
    ("rpush", &[KeyOf(LISTS), Member, Member]),
    ("lpush", &[KeyOf(LISTS), Many(&[Member])]),
    ("rpush", &[KeyOf(LISTS), Many(&[Value])]),
    ("lpushx", &[KeyOf(LISTS), Member]),
    ("rpushx", &[KeyOf(LISTS), Member, Value]),
    ("lpop", &[KeyOf(LISTS)]),
    ("rpop", &[KeyOf(LISTS)]),
    ("lpop", &[KeyOf(LISTS), Index]),
    ("rpop", &[KeyOf(LISTS), Index]),
    ("llen", &[KeyOf(LISTS)]),
    ("lindex", &[KeyOf(LISTS), Index]),
    ("lrange", &[KeyOf(LISTS), Index, Index]),
    ("lrange", &[KeyOf(LISTS), Word("0"), Word("-1")]),
    ("lset", &[KeyOf(LISTS), Index, Value]),
    ("lrem", &[KeyOf(LISTS), Index, Member]),
    ("ltrim", &[KeyOf(LISTS), Index, Index]),
    ("linsert", &[KeyOf(LISTS), OneOf(&["BEFORE", "AFTER", "after", "what"]), Member, Value]),
    ("lpos", &[KeyOf(LISTS), Member]),
    ("lpos", &[KeyOf(LISTS), Member, Word("RANK"), Index]),
    ("lpos", &[KeyOf(LISTS), Member, Word("COUNT"), Index, Word("RANK"), Index]),
    ("lpos", &[KeyOf(LISTS), Member, Word("MAXLEN"), Index, Word("COUNT"), Index]),
    ("lmove", &[Pair(LISTS), Pair(LISTS), OneOf(&["LEFT", "RIGHT", "left", "x"]), OneOf(&["LEFT", "RIGHT"])]),
    ("rpoplpush", &[Pair(LISTS), Pair(LISTS)]),
    ("lmpop", &[OneOf(&["2", "2", "1", "0", "x", "5"]), Pair(LISTS), Pair(LISTS), OneOf(&["LEFT", "RIGHT"])]),
    ("lmpop", &[Word("1"), KeyOf(LISTS), OneOf(&["LEFT", "RIGHT"]), Word("COUNT"), Index]),
    ("sadd", &[KeyOf(SETS), Member]),
    ("sadd", &[KeyOf(SETS), Many(&[Member])]),
    ("sadd", &[KeyOf(SETS), Value]),
    ("srem", &[KeyOf(SETS), Member, Member]),
    ("srem", &[KeyOf(SETS), Many(&[Member])]),
    ("sismember", &[KeyOf(SETS), Member]),
    ("smismember", &[KeyOf(SETS), Member, Member]),
    ("scard", &[KeyOf(SETS)]),
    ("smembers", &[KeyOf(SETS)]),
    ("spop", &[KeyOf(SETS), OneOf(&["100000", "0", "-1", "x"])]),
    ("srandmember", &[KeyOf(SETS)]),
    ("srandmember", &[KeyOf(SETS), Index]),
    ("smove", &[Pair(SETS), Pair(SETS), Member]),
    ("sunion", &[Pair(SETS), Pair(SETS), Pair(SETS)]),
    ("sinter", &[Pair(SETS), Pair(SETS)]),
    ("sdiff", &[Pair(SETS), Pair(SETS)]),
    ("sunionstore", &[Pair(SETS), Pair(SETS), Pair(SETS)]),
    ("sinterstore", &[Pair(SETS), Pair(SETS), Pair(SETS)]),
    ("sdiffstore", &[Pair(SETS), Pair(SETS), Pair(SETS)]),
    ("sintercard", &[OneOf(&["2", "0", "x", "9"]), Pair(SETS), Pair(SETS)]),
    ("sintercard", &[Word("2"), Pair(SETS), Pair(SETS), Word("LIMIT"), Index]),
    ("sscan", &[KeyOf(SETS), Word("0"), Word("COUNT"), Word("100000")]),
    ("zadd", &[KeyOf(SORTED_SETS), Score, Member]),
    ("zadd", &[KeyOf(SORTED_SETS), Many(&[Score, Member])]),
    (
        "zadd",
        &[
            KeyOf(SORTED_SETS),
            Maybe(&["NX", "XX", "GT", "LT", "CH"]),
            Maybe(&["CH", "GT", "LT", "NX"]),
            Score,
            Member,
            Score,
            Member,
        ],
    ),
    ("zadd", &[KeyOf(SORTED_SETS), Maybe(&["NX", "XX", "GT", "LT"]), Word("INCR"), Score, Member]),
    ("zadd", &[KeyOf(SORTED_SETS), Word("INCR"), Score, Member, Score]),
    ("zadd", &[KeyOf(EVEN), Word("7"), Member, Word("7"), Member]),
    ("zincrby", &[KeyOf(SORTED_SETS), Score, Member]),
    ("zrem", &[KeyOf(SORTED_SETS), Member, Member]),
    ("zrem", &[KeyOf(SORTED_SETS), Many(&[Member])]),
    ("zscore", &[KeyOf(SORTED_SETS), Member]),
    ("zmscore", &[KeyOf(SORTED_SETS), Member, Member]),
    ("zcard", &[KeyOf(SORTED_SETS)]),
    ("zcount", &[KeyOf(SORTED_SETS), Bound, Bound]),
    ("zlexcount", &[KeyOf(EVEN), MemberBound, MemberBound]),
    ("zrank", &[KeyOf(SORTED_SETS), Member]),
    ("zrevrank", &[KeyOf(SORTED_SETS), Member]),
    ("zrange", &[KeyOf(SORTED_SETS), Index, Index, Maybe(&["WITHSCORES", "REV", "rev", "what"])]),
    ("zrange", &[KeyOf(SORTED_SETS), Word("0"), Word("-1"), Word("WITHSCORES")]),
    ("zrange", &[KeyOf(SORTED_SETS), Bound, Bound, Word("BYSCORE"), Maybe(&["REV"]), Maybe(&["WITHSCORES"])]),
    (
        "zrange",
        &[KeyOf(SORTED_SETS), Bound, Bound, Word("BYSCORE"), Maybe(&["REV"]), Word("LIMIT"), Index, Index],
    ),
    ("zrange", &[KeyOf(EVEN), MemberBound, MemberBound, Word("BYLEX"), Maybe(&["REV", "WITHSCORES"])]),
    ("zrange", &[KeyOf(SORTED_SETS), Index, Index, Word("LIMIT"), Index, Index]),
    ("zrevrange", &[KeyOf(SORTED_SETS), Index, Index, Maybe(&["WITHSCORES", "REV"])]),
    ("zrangebyscore", &[KeyOf(SORTED_SETS), Bound, Bound, Maybe(&["WITHSCORES", "REV"])]),
    ("zrangebyscore", &[KeyOf(SORTED_SETS), Bound, Bound, Word("LIMIT"), Index, Index]),
    (
        "zrevrangebyscore",
        &[KeyOf(SORTED_SETS), Bound, Bound, Word("LIMIT"), Index, Index, Word("WITHSCORES")],
    ),
    ("zrangebylex", &[KeyOf(EVEN), MemberBound, MemberBound]),
    ("zrangebylex", &[KeyOf(EVEN), MemberBound, MemberBound, Word("LIMIT"), Index, Index]),
    ("zrevrangebylex", &[KeyOf(EVEN), MemberBound, MemberBound]),
    ("zrangestore", &[Pair(SORTED_SETS), Pair(SORTED_SETS), Index, Index]),
    (
        "zrangestore",
        &[Pair(SORTED_SETS), Pair(SORTED_SETS), Bound, Bound, Word("BYSCORE"), Word("LIMIT"), Index, Index],
    ),
    ("zremrangebyrank", &[KeyOf(SORTED_SETS), Index, Index]),
    ("zremrangebyscore", &[KeyOf(SORTED_SETS), Bound, Bound]),
    ("zremrangebylex", &[KeyOf(EVEN), MemberBound, MemberBound]),
    ("zpopmin", &[KeyOf(SORTED_SETS)]),
    ("zpopmax", &[KeyOf(SORTED_SETS), Index]),
    ("zmpop", &[OneOf(&["2", "2", "0", "x"]), Pair(SORTED_SETS), Pair(SORTED_SETS), OneOf(&["MIN", "MAX"])]),
    ("zmpop", &[Word("1"), KeyOf(SORTED_SETS), OneOf(&["MIN", "MAX", "x"]), Word("COUNT"), Index]),
    ("zrandmember", &[KeyOf(SORTED_SETS)]),
    ("zrandmember", &[KeyOf(SORTED_SETS), Index, Maybe(&["WITHSCORES"])]),
    ("zunion", &[Word("2"), Pair(SORTED_SETS), Pair(SETS), Maybe(&["WITHSCORES"])]),
    (
        "zunion",
        &[OneOf(&["2", "0", "x", "7"]), Pair(SORTED_SETS), Pair(SORTED_SETS), Word("WEIGHTS"), Score, Score],
    ),
    (
        "zinter",
        &[
            Word("2"),
            Pair(SORTED_SETS),
            Pair(SORTED_SETS),
            Word("AGGREGATE"),
            OneOf(&["SUM", "MIN", "MAX", "x"]),
            Word("WITHSCORES"),
        ],
    ),
    ("zdiff", &[Word("2"), Pair(SORTED_SETS), Pair(SORTED_SETS), Maybe(&["WITHSCORES", "WEIGHTS"])]),
    (
        "zunionstore",
        &[Pair(SORTED_SETS), Word("2"), Pair(SORTED_SETS), Pair(SETS), Word("WEIGHTS"), Score, Score],
    ),
    ("zinterstore", &[Pair(SORTED_SETS), Word("2"), Pair(SORTED_SETS), Pair(SORTED_SETS)]),
    ("zdiffstore", &[Pair(SORTED_SETS), Word("2"), Pair(SORTED_SETS), Pair(SORTED_SETS)]),
    ("zintercard", &[Word("2"), Pair(SORTED_SETS), Pair(SORTED_SETS), Word("LIMIT"), Index]),
    ("zscan", &[KeyOf(SORTED_SETS), Word("0"), Word("COUNT"), Word("100000")]),
    ("del", &[KeyOf(SORTED_SETS), KeyOf(HASHES)]),
    ("type", &[KeyOf(LISTS)]),
    ("rename", &[Pair(LISTS), Pair(LISTS)]),
    ("copy", &[Pair(SORTED_SETS), Pair(SORTED_SETS), Word("REPLACE")]),
    ("copy", &[Pair(HASHES), Pair(HASHES), Word("REPLACE")]),
    ("rename", &[Pair(SETS), Pair(HASHES)]),
    ("expire", &[KeyOf(HASHES), Time]),
    ("persist", &[KeyOf(HASHES)]),
    ("pexpiretime", &[KeyOf(HASHES)]),
    ("expire", &[KeyOf(LISTS), Time]),
    ("pexpiretime", &[KeyOf(LISTS)]),
    ("set", &[KeyOf(LISTS), Value]),
    ("set", &[KeyOf(LISTS), Value, Word("GET")]),
    ("get", &[KeyOf(LISTS)]),
    ("mget", &[KeyOf(LISTS), Key]),
];

fn draw(random: &mut Random, what: Draw, out: &mut Vec<Bytes>) {
    let mut push = |text: &str| out.push(Bytes::copy_from_slice(text.as_bytes()));
    match what {
        Key => push(random.pick(KEYS)),
        // Long offsets are drawn seldom: each makes a long string.
        Number => push(random.pick(NUMBERS)),
        Float => push(random.pick(FLOATS)),
        Value if random.below(20) == 0 => push(&"long value ".repeat(random.below(1000))),
        Value => push(random.pick(VALUES)),
        Time => {
            let far = (300_000 + random.below(1_000_000_000)).to_string();
            let listed = random.pick(TIMES);
            push(random.pick(&[&far, listed]));
        }
        Word(word) => push(word),
        Database => push(random.pick(&["0", "0", "0", "16", "-1", "x", "2147483648", "9223372036854775807"])),
        Choice if random.below(4) > 0 => push(random.pick(OPTIONS)),
        Choice => {}
        Ending => {
            push(random.pick(&["EX", "PX", "EXAT", "PXAT", "px"]));
            draw(random, Time, out);
        }
        KeyOf(keys) | Pair(keys) if random.below(25) == 0 => {
            // Ranges by member are told of equal scores only.
            let others = if keys == EVEN { HASHES } else { random.pick(&ALL_KEYS[..5]) };
            let from = if random.below(2) == 0 { others } else { keys };
            push(random.pick(from));
        }
        KeyOf(keys) => push(random.pick(keys)),
        Pair(keys) => push(random.pick(&keys[..2])),
        Member if random.below(60) == 0 => push(&"a long member ".repeat(random.below(80))),
        Member => {
            let different = random.pick(&[8, 8, 8, 300]);
            push(&format!("m{}", random.below(different)));
        }
        Many(inner) => {
            let most = random.pick(&[5, 5, 5, 5, 300]);
            for _ in 0..random.below(most) + 1 {
                inner.iter().for_each(|what| draw(random, *what, out));
            }
        }
        // Most scores are such, or nearly no ZADD of many would succeed.
        Score if random.below(40) > 0 => push(random.pick(&SCORES[..13])),
        Score => push(random.pick(SCORES)),
        Bound => push(random.pick(BOUNDS)),
        MemberBound => push(random.pick(MEMBER_BOUNDS)),
        Index => push(random.pick(INDICES)),
        Maybe(words) if random.below(2) == 0 => push(random.pick(words)),
        Maybe(_) => {}
        OneOf(words) => push(random.pick(words)),
        Bit => push(random.pick(&["0", "1", "0", "1", "0", "1", "2", "-1", "x"])),
    }
}

fn name_of(arguments: &[Bytes]) -> &'static str {
    command(arguments).name
}

fn generate(random: &mut Random) -> Vec<Bytes> {
    let (name, shape) = random.pick(SHAPES);
    let name = if random.below(2) == 0 { name.to_uppercase() } else { name.to_owned() };
    let mut arguments = vec![Bytes::from(name)];
    for what in shape {
        draw(random, *what, &mut arguments);
    }
    // One in thirty is cut short or gets something more.
    match random.below(60) {
        0 => {
            arguments.pop();
        }
        // Ranks take one more argument since 7.2.
        1 if !name_of(&arguments).ends_with("rank") => draw(random, Value, &mut arguments),
        _ => {}
    }
    // What a single SPOP takes is left to chance, and what follows depends on it.
    let is_chance =
        arguments.first().is_some_and(|name| name.eq_ignore_ascii_case(b"spop")) && arguments.len() == 2;
    if arguments.is_empty() || is_chance { generate(random) } else { arguments }
}

/// A reply of ours as it comes from a connection that speaks RESP2, as the one to Redis does.
fn as_sent(value: &Value) -> Value {
    let mut bytes = BytesMut::new();
    resp::encode(value, resp::Protocol::Resp2, &mut bytes);
    let decoded = ValueDecoder::new(Limits::default()).decode(&mut bytes).expect("it was encoded just now");
    decoded.expect("it is whole")
}

/// A reply whose order means nothing in an order that does: pairs for hashes, elements for sets.
fn sorted_reply(value: &Value, step: usize) -> Vec<String> {
    let elements = match value {
        Value::Array(elements) => match &elements[..] {
            // Cursor and elements of a scan.
            [Value::Bulk(_), Value::Array(inner)] => &inner[..],
            elements => elements,
        },
        other => std::slice::from_ref(other),
    };
    let mut sorted: Vec<_> = elements.chunks(step).map(|chunk| format!("{chunk:?}")).collect();
    sorted.sort();
    sorted
}

/// The same but for how floating point numbers are written: with 17 digits by Redis 7.0, as short as possible by ours.
fn same_numbers(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_numbers(one, other))
        }
        _ if one == other => true,
        _ => match (number(one), number(other)) {
            (Some(one), Some(other)) => one == other,
            _ => false,
        },
    }
}

/// Are the replies the same, but for clocks that ran on between them and for what is meant to differ?
fn agree(arguments: &[Bytes], ours: &Value, theirs: &Value) -> bool {
    let ours = &as_sent(ours);
    if ours == theirs {
        return true;
    }
    // The null of arrays may be null as an element.
    if matches!(ours, Value::NullArray | Value::Null) && matches!(theirs, Value::NullArray | Value::Null) {
        return ours == theirs;
    }
    let length = |value: &Value| match value {
        Value::Array(elements) => Some(elements.len()),
        Value::Bulk(_) => Some(1),
        _ => None,
    };
    match command(arguments).name {
        "hgetall" | "hscan" => return sorted_reply(ours, 2) == sorted_reply(theirs, 2),
        "hkeys" | "hvals" | "smembers" | "spop" | "sunion" | "sinter" | "sdiff" | "sscan" => {
            return sorted_reply(ours, 1) == sorted_reply(theirs, 1);
        }
        "zscan" => return sorted_reply(ours, 2).len() == sorted_reply(theirs, 2).len(),
        "hrandfield" | "srandmember" | "zrandmember" => {
            return !ours.is_error() && length(ours) == length(theirs);
        }
        name if name.starts_with('z') => return same_numbers(ours, theirs),
        _ => {}
    }
    // Ours says only the beginning of a long option that it does not know.
    if let (Value::Error(one), Value::Error(other)) = (ours, theirs)
        && one.len() > 128
        && other.starts_with(&**one)
    {
        return true;
    }
    let within = |tolerance: i64| match (ours, theirs) {
        (Value::Integer(one), Value::Integer(other)) => {
            *one > 0 && *other > 0 && one.abs_diff(*other) <= tolerance as u64
        }
        _ => false,
    };
    match command(arguments).name {
        // Cut short by the generator they may succeed; only their errors are compared here.
        "scan" | "memory" | "object" => !ours.is_error() && !theirs.is_error(),
        // The databases that only Redis has.
        "copy" => matches!(ours, Value::Error(text) if text == "ERR DB index is out of range"),
        "ttl" | "expiretime" => within(2),
        "pttl" | "pexpiretime" => within(2000),
        "incrbyfloat" => match (number(ours), number(theirs)) {
            (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(1.0),
            _ => false,
        },
        _ => false,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bulk(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

fn show(arguments: &[Bytes]) -> String {
    let short = |argument: &Bytes| format!("{:?}", argument.slice(..argument.len().min(60)));
    arguments.iter().map(short).collect::<Vec<_>>().join(" ")
}

/// Sums of decimals may differ in the last place: then Redis takes ours, so that what follows does not differ.
fn settle(redis: &mut Redis, arguments: &[Bytes], ours: &Value, theirs: &Value) {
    if let ("incrbyfloat", Value::Bulk(sum), true) = (command(arguments).name, ours, ours != theirs) {
        redis.ask(&[Bytes::from("SET"), arguments[1].clone(), sum.clone(), Bytes::from("KEEPTTL")]);
    }
}

/// Where changes merge there is no adding of infinities.
fn generate_for(ours: &Ours, random: &mut Random) -> Vec<Bytes> {
    let mut arguments = generate(random);
    for argument in arguments.iter_mut().filter(|argument| ours.merges && argument.ends_with(b"inf")) {
        *argument = Bytes::from("4");
    }
    arguments
}

fn compare_one(ours: &mut Ours, redis: &mut Redis, random: &mut Random, errors: &mut usize) {
    let arguments = generate_for(ours, random);
    let (mine, theirs) = (ours.run(&arguments), redis.ask(&arguments));
    assert!(
        agree(&arguments, &mine, &theirs),
        "{}\n  ours:  {mine:?}\n  Redis: {theirs:?}",
        show(&arguments)
    );
    *errors += usize::from(mine.is_error());
    settle(redis, &arguments, &mine, &theirs);
}

fn compare_transaction(ours: &mut Ours, redis: &mut Redis, random: &mut Random) {
    let mut commands = Vec::new();
    for _ in 0..random.below(6) + 1 {
        let arguments = generate_for(ours, random);
        let row = command(&arguments);
        // What cannot be queued aborts the whole transaction, which is the server's part.
        let queued = row.check_arity(&arguments).is_ok() && data::route::one_slot(row, &arguments).is_ok();
        if queued && !matches!(row.name, "incrbyfloat" | "scan" | "flushall") {
            commands.push((row, arguments));
        }
    }
    redis.ask_words("MULTI");
    for (_, arguments) in &commands {
        assert_eq!(redis.ask(arguments), Value::Simple("QUEUED".into()), "{}", show(arguments));
    }
    let theirs = redis.ask_words("EXEC");
    let mine = ours.run_transaction(&commands);
    let (Value::Array(mine), Value::Array(theirs)) = (mine, theirs) else { panic!("EXEC gives an array") };
    assert_eq!(mine.len(), theirs.len());
    for ((_, arguments), (mine, theirs)) in commands.iter().zip(mine.iter().zip(&theirs)) {
        let all: Vec<_> = commands.iter().map(|(_, arguments)| show(arguments)).collect();
        let context = format!("{}\n  in {all:#?}", show(arguments));
        assert!(agree(arguments, mine, theirs), "{context}\n  ours:  {mine:?}\n  Redis: {theirs:?}");
    }
}

/// Both hold the same keys with the same values and expiries.
fn compare_state(ours: &mut Ours, redis: &mut Redis) {
    ours.apply_but(0);
    for key in ALL_KEYS.iter().copied().flatten() {
        let whole = match redis.ask(&["TYPE", key].map(Bytes::from)) {
            Value::Simple(name) if name == "hash" => vec!["HGETALL", key],
            Value::Simple(name) if name == "list" => vec!["LRANGE", key, "0", "-1"],
            Value::Simple(name) if name == "set" => vec!["SMEMBERS", key],
            Value::Simple(name) if name == "zset" => vec!["ZRANGE", key, "0", "-1", "WITHSCORES"],
            _ => vec!["GET", key],
        };
        let arguments: Vec<_> =
            whole.into_iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        let (mine, theirs) = (ours.run(&arguments), redis.ask(&arguments));
        assert!(
            agree(&arguments, &mine, &theirs),
            "{}\n  ours:  {mine:?}\n  Redis: {theirs:?}",
            show(&arguments)
        );
        for name in ["PEXPIRETIME", "EXISTS", "TYPE"] {
            let arguments = [Bytes::from(name), Bytes::from(*key)];
            let (mine, theirs) = (ours.run(&arguments), redis.ask(&arguments));
            assert!(
                agree(&arguments, &mine, &theirs),
                "{}\n  ours:  {mine:?}\n  Redis: {theirs:?}",
                show(&arguments)
            );
        }
    }
    ours.apply_but(0);
    let arguments = [Bytes::from("KEYS"), Bytes::from("*")];
    let sorted = |value| match value {
        Value::Array(mut keys) => {
            keys.sort_by_key(|key| format!("{key:?}"));
            keys
        }
        other => panic!("KEYS gives an array, not {other:?}"),
    };
    assert_eq!(sorted(ours.run(&arguments)), sorted(redis.ask(&arguments)));
    assert_eq!(ours.table.digest(), ours.table.recompute_digest());
}

#[test]
fn commands_answer_as_redis_does() {
    compare(false, 0..SEEDS);
}

/// The same by the only replica of a keyspace whose changes merge.
#[test]
fn commands_answer_as_redis_does_where_changes_merge() {
    compare(true, 100..100 + SEEDS / 3);
}

fn compare(merges: bool, seeds: std::ops::Range<u64>) {
    let Some(mut redis) = Redis::start() else {
        println!("skipped: there is no redis-server on the PATH");
        return;
    };
    for seed in seeds {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut ours = Ours::new(merges);
        redis.ask_words("FLUSHALL");
        let mut errors = 0;
        for index in 0..COMMANDS {
            if random.below(10) == 0 {
                compare_transaction(&mut ours, &mut redis, &mut random);
            } else {
                compare_one(&mut ours, &mut redis, &mut random, &mut errors);
            }
            let left = random.below(30);
            ours.apply_but(left);
            if index % 500 == 0 {
                compare_state(&mut ours, &mut redis);
            }
        }
        compare_state(&mut ours, &mut redis);
        assert!((COMMANDS / 20..COMMANDS * 3 / 4).contains(&errors), "{errors} errors: the mix is off");
    }
}

/// Facts about commands that clients read: ours against those of Redis.
#[test]
fn rows_say_what_redis_says() {
    let Some(mut redis) = Redis::start() else {
        println!("skipped: there is no redis-server on the PATH");
        return;
    };
    let mut compared = 0;
    for command in Command::all() {
        compared += usize::from(compare_row(&mut redis, command));
        for row in command.subcommands {
            compared += usize::from(compare_row(&mut redis, row));
        }
    }
    assert!(compared > 100, "{compared} rows compared");
}

/// Says whether Redis has the command at all.
fn compare_row(redis: &mut Redis, command: &Command) -> bool {
    // Redis 7.0 asks for one argument too many here; 7.2 does not.
    // The scores of ranks came with 7.2.
    const OWN: &[&str] = &["command|getkeys", "command|getkeysandflags", "zrank", "zrevrank"];
    let info = redis.ask(&["COMMAND", "INFO", command.name].map(Bytes::from));
    let Value::Array(rows) = info else { panic!("COMMAND INFO gives an array") };
    let Some(Value::Array(row)) = rows.first() else { return false };
    if OWN.contains(&command.name) {
        return true;
    }
    let words = |value: &Value| -> Vec<String> {
        let Value::Array(words) = value else { panic!("an array of words, not {value:?}") };
        let word = |word: &Value| match word {
            Value::Simple(text) => text.trim_start_matches('@').to_owned(),
            other => panic!("a word, not {other:?}"),
        };
        let mut words: Vec<_> = words.iter().map(word).collect();
        words.sort();
        words
    };
    let name = command.name;
    assert_eq!(row[1], Value::Integer(command.arity.into()), "arity of {name}");
    let mut flags: Vec<_> = command.flag_names().map(str::to_owned).collect();
    flags.sort();
    assert_eq!(flags, words(&row[2]), "flags of {name}");
    let keys = [i64::from(command.keys.first), i64::from(command.keys.last), i64::from(command.keys.step)];
    assert_eq!(keys.map(Value::Integer), row[3..6], "keys of {name}");
    assert_eq!(command.category_names(), words(&row[6]), "categories of {name}");
    true
}
