//! What a key costs: bytes of memory and nanoseconds, for a million keys of 16 bytes with values of 64.
//! `cargo run --release -p data --example table_cost`

use bytes::{Bytes, BytesMut};
use data::mutation::MutationBuilder;
use data::{Command, Mutation, Operation, Pending, Stamp, Table, View, prepare};

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEYS: u64 = 1_000_000;

fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// The memory that the process holds, in bytes.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// A number that looks drawn by chance.
fn shuffled(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

fn set(number: u64, value: &[u8]) -> Mutation {
    let operation = Operation::Set { key: &key(number), value, expire_at_ms: None };
    MutationBuilder::from_iter([operation]).finish().unwrap_or(Mutation(Bytes::new()))
}

/// Nanoseconds that this thread has run on a processor; what others take of it does not count.
fn processor_ns() -> u64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedstat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

fn timed(name: &str, count: u64, mut run: impl FnMut(u64)) {
    let start = processor_ns();
    (0..count).for_each(&mut run);
    println!("{name:<28} {:>8.0} ns", (processor_ns() - start) as f64 / count as f64);
}

fn main() {
    let before = resident_bytes();
    let mut table = Table::new();
    timed("insert", KEYS, |number| {
        let _ = table.apply(&set(shuffled(number), &[b'v'; 64]));
    });
    let held = resident_bytes() - before;
    println!(
        "{} keys, {:.1} bytes of memory a key (80 are key and value)",
        table.len(),
        held as f64 / table.len() as f64
    );

    let mut found = 0;
    timed("get, there", KEYS, |number| {
        found += u64::from(table.get(&key(shuffled(number * 7 % KEYS))).is_some())
    });
    timed("get, absent", KEYS, |number| {
        found += u64::from(table.get(&key(shuffled(number) + (1 << 45))).is_some())
    });
    timed("overwrite, same length", KEYS, |number| {
        let _ = table.apply(&set(shuffled(number), &[b'w'; 64]));
    });
    timed("overwrite, other lengths", KEYS, |number| {
        let _ = table.apply(&set(shuffled(number), &[b'w'; 80][..48 + (number % 32) as usize]));
    });
    let held = resident_bytes() - before;
    println!("{:.1} bytes of memory a key after these", held as f64 / table.len() as f64);

    let get = [Bytes::from("GET"), Bytes::new()];
    let command = Command::lookup(b"GET").map(|row| (row, get));
    if let Some((row, mut arguments)) = command {
        let view = View { table: &table, pending: None, now_ms: 1 };
        timed("GET, as a command", KEYS, |number| {
            arguments[1] = Bytes::copy_from_slice(&key(shuffled(number * 7 % KEYS)));
            std::hint::black_box(data::answer(row, &arguments, &view, 0));
        });
    }
    pipeline(&mut table);
    long_value(&mut table);
    snapshot(&table);
    println!("({found} found)");
}

/// `INCR` of one key, with a thousand of them under way.
fn pipeline(table: &mut Table) {
    let arguments = [Bytes::from("INCR"), Bytes::from("counter")];
    let Some(row) = Command::lookup(&arguments[0]) else { return };
    let (mut pending, mut log) = (Pending::default(), std::collections::VecDeque::new());
    timed("INCR, 1000 under way", KEYS, |number| {
        let view = View { table, pending: Some(&pending), now_ms: 1 };
        if let Some(mutation) = prepare(row, &arguments, &view, &Stamp::default()).mutation {
            pending.record(number, &mutation);
            log.push_back((number, mutation));
        }
        if log.len() > 1000
            && let Some((position, mutation)) = log.pop_front()
        {
            let _ = table.apply(&mutation);
            pending.applied(position);
        }
    });
}

/// `APPEND` and `SETBIT` on a string of 100 MB.
fn long_value(table: &mut Table) {
    let change = |offset: u64, bytes: &[u8]| {
        let operation = Operation::SetRange { key: b"long", offset, bytes };
        MutationBuilder::from_iter([operation]).finish().unwrap_or(Mutation(Bytes::new()))
    };
    let _ = table.apply(&change(100 << 20, b"x"));
    timed("append to 100 MB", 100_000, |number| {
        let _ = table.apply(&change((100 << 20) + 1 + number * 16, b"sixteen bytes...."));
    });
    timed("write into 100 MB", 100_000, |number| {
        let _ = table.apply(&change(shuffled(number) % (100 << 20), b"b"));
    });
    let delete = MutationBuilder::from_iter([Operation::Delete { key: b"long" }]).finish();
    if let Some(delete) = delete {
        let _ = table.apply(&delete);
    }
}

fn snapshot(table: &Table) {
    let (start, mut cursor, mut bytes) = (processor_ns(), Some(0), 0);
    while let Some(from) = cursor {
        let mut slice = BytesMut::new();
        cursor = table.slice(from, 1 << 20, &mut slice);
        bytes += slice.len();
    }
    println!("snapshot: {bytes} bytes in {} ms", (processor_ns() - start) / 1_000_000);
}
