//! How long it takes until three replicas that all take writes have the same again, after one of them was cut off while clients wrote to all.
//!
//! Each node has its own clients, which go on all the time, also while the cut heals: a rate of writes, in batches, that the machine can do. `SET` of many
//! keys, counters and sets. Counted from the moment at which the cut is taken back until each replica has applied as much as each other, but for
//! what came within the last looks; connections have to come back within that, too.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use resp::Value;

use super::children::Nursery;
use super::systems::{Keyspace, System};
use super::wire::resp::Client;

/// Writes a second, to all nodes together.
const RATE: u64 = 5_000;
const NODES: u64 = 3;
const BATCH_EVERY: Duration = Duration::from_millis(20);
/// Of each kind.
const KEYS: u64 = 100_000;
const SETS: u64 = 2_000;
const MEMBERS: u64 = 50;
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What one replica may lack of another: what was written between two looks and is on its way.
const ON_ITS_WAY: u64 = RATE / 10;
/// How long it may take before it counts as not converging.
const PATIENCE: Duration = Duration::from_secs(120);

/// Cuts the last node off for so long, heals, and prints what was seen.
///
/// # Errors
/// A node could not be started, a write failed, or the replicas did not become the same.
pub fn measure(folder: &Path, program: &Path, cut_for: Duration) -> Result<(), String> {
    println!(
        "\nOne of three replicas cut off for {cut_for:?}: {RATE} writes a second to all of them, multi-primary"
    );
    let nursery = Nursery::new(folder)?;
    let system = System::consort_with_faults(&nursery, "consort-multi", program, Keyspace::Multi)?;
    let addresses = system.addresses();
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let writers: Vec<_> = addresses
            .iter()
            .zip(1..)
            .map(|(address, seed)| {
                let (stop, written) = (&stop, &written);
                scope.spawn(move || write(*address, seed, stop, written))
            })
            .collect();
        let told = cut_and_heal(&addresses, cut_for, &written);
        stop.store(true, Relaxed);
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked")??;
        }
        told
    })
}

fn cut_and_heal(addresses: &[SocketAddr], cut_for: Duration, written: &AtomicU64) -> Result<(), String> {
    let mut clients =
        addresses.iter().map(|address| Client::connect(*address)).collect::<Result<Vec<_>, _>>()?;
    let last = clients.len() - 1;
    let fault = |client: &mut Client, words: &[&str]| match client
        .call(&[&["CONSORT", "FAULT"][..], words].concat())?
    {
        Value::Error(text) => Err(format!("CONSORT FAULT {words:?}: {text}")),
        _ => Ok(()),
    };
    thread::sleep(Duration::from_secs(3));
    for node in 0..last {
        fault(&mut clients[last], &["CUT", &format!("n{node}")])?;
    }
    let (begun, before) = (Instant::now(), written.load(Relaxed));
    while begun.elapsed() < cut_for {
        thread::sleep(Duration::from_secs(10).min(cut_for.saturating_sub(begun.elapsed())));
        let each_second = (written.load(Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
        println!("  {:4.0} s cut off, {each_second:5.0} writes a second", begun.elapsed().as_secs_f64());
    }
    let apart = applied(&mut clients)?;
    fault(&mut clients[last], &["HEAL"])?;
    let healed = Instant::now();
    println!("  applied when it healed: {apart:?}");
    loop {
        let now = applied(&mut clients)?;
        let (least, most) = (now.iter().min().copied(), now.iter().max().copied());
        let (least, most) = (least.unwrap_or_default(), most.unwrap_or_default());
        let elapsed = healed.elapsed();
        if most - least <= ON_ITS_WAY {
            println!(
                "  all the same, but for what is on its way, after {:.2} s: {now:?}",
                elapsed.as_secs_f64()
            );
            return Ok(());
        }
        if elapsed > PATIENCE {
            return Err(format!("the replicas do not become the same: {now:?}"));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// How many mutations each node has applied, of all origins.
fn applied(clients: &mut [Client]) -> Result<Vec<u64>, String> {
    let of = |client: &mut Client| {
        let reply = client.call(&["INFO", "consort"])?;
        let (Value::Bulk(info) | Value::Verbatim(_, info)) = reply else {
            return Err(format!("INFO: {reply:?}"));
        };
        let info = String::from_utf8_lossy(&info).into_owned();
        let rows = info.lines().filter(|line| line.contains("strategy=multi-primary"));
        let applied = rows.filter_map(|row| {
            row.split(',').find_map(|field| field.strip_prefix("applied="))?.parse::<u64>().ok()
        });
        Ok(applied.sum::<u64>())
    };
    clients.iter_mut().map(of).collect()
}

/// Writes to one node until it is told to stop.
fn write(address: SocketAddr, seed: u64, stop: &AtomicBool, written: &AtomicU64) -> Result<(), String> {
    let mut client = Client::connect(address)?;
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut draw = move |most: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % most
    };
    let batch = RATE / NODES * BATCH_EVERY.as_millis() as u64 / 1000;
    let mut due = Instant::now();
    while !stop.load(Relaxed) {
        let commands: Vec<Vec<String>> = (0..batch)
            .map(|_| match draw(4) {
                0 => vec!["INCR".into(), format!("bench:counter:{}", draw(KEYS))],
                1 => vec!["SADD".into(), format!("bench:set:{}", draw(SETS)), draw(MEMBERS).to_string()],
                _ => {
                    vec!["SET".into(), format!("bench:key:{}", draw(KEYS)), format!("{:032}", draw(u64::MAX))]
                }
            })
            .collect();
        for reply in client.pipeline(&commands)? {
            if let Value::Error(text) = reply {
                return Err(format!("a write to {address} failed: {text}"));
            }
        }
        written.fetch_add(batch, Relaxed);
        due += BATCH_EVERY;
        match due.checked_duration_since(Instant::now()) {
            Some(wait) => thread::sleep(wait),
            // What is behind does not come all at once.
            None => due = Instant::now(),
        }
    }
    Ok(())
}
