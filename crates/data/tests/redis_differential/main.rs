//! The commands against a real Redis: thousands of random ones, right and wrong, go to both, and every reply must be the
//! same, error texts included. Ours run through a view with pending writes that are applied late, and some of them in
//! transactions. Differences that are meant are listed in `commands/mod.rs`; [`agree`] allows for them and for clocks
//! that run on.
//!
//! Without a `redis-server` on the PATH the test says so and passes.

// A test against a live server needs the live clock, for both sides to agree on what "now" is.
#![allow(clippy::disallowed_methods)]

mod agree;
mod generator;
mod ours;
mod redis;

use agree::agree;
use bytes::Bytes;
use data::Command;
use generator::{ALL_KEYS, Random, generate};
use ours::{Ours, command};
use redis::Redis;
use resp::Value;

/// Commands per seed.
const COMMANDS: usize = 6000;

const SEEDS: u64 = 12;

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
    assert_eq!(ours.merged.digest(), ours.merged.recompute_digest());
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
