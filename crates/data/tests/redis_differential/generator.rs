//! Random commands, right and wrong.

use bytes::Bytes;

use super::ours::command;

/// A generator that gives the same numbers for the same seed (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

pub const KEYS: &[&str] = &["a", "b", "c", "{a}x", "{a}y", "long", ""];

/// Keys that hold collections for the most part: of each type, two in one slot, and one.
pub const HASHES: &[&str] = &["{c}h", "{c}h2", "h3"];
pub const LISTS: &[&str] = &["{c}l", "{c}l2", "l3"];
pub const SETS: &[&str] = &["{c}s", "{c}s2", "s3"];
pub const SORTED_SETS: &[&str] = &["{c}z", "{c}z2", "z3"];
/// Those of members whose scores are all the same, for ranges by member.
pub const EVEN: &[&str] = &["{c}e", "e2"];

pub const ALL_KEYS: &[&[&str]] = &[KEYS, HASHES, LISTS, SETS, SORTED_SETS, EVEN];

pub const SCORES: &[&str] = &[
    "0", "1", "-1", "2", "2", "3", "1.5", "-2.25", "100", "1e3", "inf", "-inf", "+inf", "nan", "abc", "",
    "0.1",
];

pub const BOUNDS: &[&str] =
    &["-inf", "+inf", "0", "1", "(1", "2", "(2", "-1", "(-1", "100", "(100", "1.5", "x", "(x", "(inf", "-5"];

pub const MEMBER_BOUNDS: &[&str] =
    &["-", "+", "[m", "(m", "[m1", "(m1", "[m3", "(m5", "[", "(", "x", "[zzz", "(b"];

pub const INDICES: &[&str] = &["0", "1", "2", "3", "-1", "-2", "-3", "5", "10", "-10", "100", "-100", "x"];

pub const NUMBERS: &[&str] = &[
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

pub const FLOATS: &[&str] = &[
    "0.1", "-0.1", "0.2", "1.5", "3", "-3", "5.0e1", "abc", "inf", "-inf", "nan", "1e5000", "", "0.001",
    "12.75", " 1", "1 ",
];

pub const VALUES: &[&str] = &[
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
pub const TIMES: &[&str] = &[
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

pub const OPTIONS: &[&str] = &[
    "NX", "XX", "GT", "LT", "GET", "EX", "PX", "EXAT", "PXAT", "KEEPTTL", "PERSIST", "nx", "get", "BIT",
    "BYTE", "bit", "REPLACE", "DB", "what",
];

/// What an argument of a command is drawn from.
#[derive(Clone, Copy)]
pub enum Draw {
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
pub const SHAPES: &[(&str, &[Draw])] = &[
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

pub fn draw(random: &mut Random, what: Draw, out: &mut Vec<Bytes>) {
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

pub fn name_of(arguments: &[Bytes]) -> &'static str {
    command(arguments).name
}

pub fn generate(random: &mut Random) -> Vec<Bytes> {
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
