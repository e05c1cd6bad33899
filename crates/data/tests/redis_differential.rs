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
use data::{Command, Mutation, Pending, Stamp, Table, View};
use resp::{Limits, Value, ValueDecoder};

/// Commands per seed.
const COMMANDS: usize = 6000;

const SEEDS: u64 = 6;

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

/// Ours: a table, and writes that are under way to it.
struct Ours {
    table: Table,
    pending: Pending,
    log: VecDeque<(u64, Mutation)>,
    position: u64,
}

impl Ours {
    fn new() -> Self {
        Ours { table: Table::new(), pending: Pending::default(), log: VecDeque::new(), position: 0 }
    }

    fn prepare(&mut self, run: impl FnOnce(&View<'_>, &Stamp) -> data::Prepared) -> Value {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        let stamp = Stamp { time_ms: now_ms, ..Stamp::default() };
        let view = View { table: &self.table, pending: Some(&self.pending), now_ms };
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
        self.prepare(|view, stamp| data::prepare(command, arguments, view, stamp))
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

fn command(arguments: &[Bytes]) -> &'static Command {
    Command::lookup(&arguments[0]).expect("the generator knows only our commands")
}

const KEYS: &[&str] = &["a", "b", "c", "{a}x", "{a}y", "long", ""];

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
        Bit => push(random.pick(&["0", "1", "0", "1", "0", "1", "2", "-1", "x"])),
    }
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
        1 => draw(random, Value, &mut arguments),
        _ => {}
    }
    if arguments.is_empty() { generate(random) } else { arguments }
}

/// Are the replies the same, but for clocks that ran on between them and for what is meant to differ?
fn agree(arguments: &[Bytes], ours: &Value, theirs: &Value) -> bool {
    if ours == theirs {
        return true;
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

fn compare_one(ours: &mut Ours, redis: &mut Redis, random: &mut Random, errors: &mut usize) {
    let arguments = generate(random);
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
        let arguments = generate(random);
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
    let mine = ours.prepare(|view, stamp| data::prepare_transaction(&commands, &[], view, stamp));
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
    for key in KEYS {
        for name in ["GET", "PEXPIRETIME", "EXISTS", "TYPE"] {
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
    let Some(mut redis) = Redis::start() else {
        println!("skipped: there is no redis-server on the PATH");
        return;
    };
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut ours = Ours::new();
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
    const OWN: &[&str] = &["command|getkeys", "command|getkeysandflags"];
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
