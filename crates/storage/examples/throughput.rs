//! How fast the log is on a real disk: `cargo run --release -p storage --example throughput [FOLDER]`.
//!
//! Prints synced batches a second and MB/s for several batch sizes, the time to recover a million small entries,
//! and the speed of a snapshot. Numbers say something about one machine's disk; compare them with others of the
//! same machine.

#![allow(clippy::disallowed_methods)] // it measures time

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use storage::log::{Entry, Options};
use storage::{Disk, File, Log, RealDisk, Record, Snapshots};

const ENTRY_BYTES: usize = 100;
const PARTITIONS: u32 = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args()
        .nth(1)
        .map_or_else(|| std::env::temp_dir().join("consort-throughput"), PathBuf::from);
    if folder.exists() {
        return Err(format!(
            "{} is there already; name a folder that can be made and removed",
            folder.display()
        )
        .into());
    }
    let result = measure(&folder);
    std::fs::remove_dir_all(&folder)?;
    result
}

fn measure(folder: &Path) -> Result<(), Box<dyn Error>> {
    bare_disk(&folder.join("bare"))?;
    for (entries, batches) in [(1, 5000), (10, 5000), (100, 3000), (1000, 1000)] {
        synced_batches(&folder.join(format!("batches-{entries}")), entries, batches)?;
    }
    recovery(&folder.join("recovery"))?;
    snapshot(&folder.join("snapshot"))
}

/// What the disk can do: one write of 4 KiB into a file that has been written before, one sync.
fn bare_disk(folder: &Path) -> Result<(), Box<dyn Error>> {
    let file = RealDisk::open(folder)?.open("bare", true)?;
    let block = [7; 4096];
    let writes = 2000;
    for number in 0..writes {
        file.write_at(number * 4096, &block)?;
    }
    file.sync()?;
    let start = Instant::now();
    for number in 0..writes {
        file.write_at(number * 4096, &block)?;
        file.sync()?;
    }
    println!("bare disk: {:.0} synced writes of 4 KiB/s", writes as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

/// Hands out entries round robin over the partitions.
#[derive(Default)]
struct Source {
    position: u64,
    partition: u32,
}

impl Source {
    fn next(&mut self, payload: &Bytes) -> Record {
        if self.partition == 0 {
            self.position += 1;
        }
        let partition = self.partition;
        self.partition = (partition + 1) % PARTITIONS;
        let entry = Entry { position: self.position, epoch: 1, kind: 1, payload: payload.clone() };
        Record::Append { partition, entry }
    }
}

fn synced_batches(folder: &Path, entries: usize, batches: u32) -> Result<(), Box<dyn Error>> {
    let (mut log, _) = Log::open(RealDisk::open(folder)?, Options::default())?;
    let payload = Bytes::from(vec![7; ENTRY_BYTES]);
    let mut source = Source::default();
    let mut slowest = 0.0f64;
    let start = Instant::now();
    for _ in 0..batches {
        let begin = Instant::now();
        let records: Vec<Record> = (0..entries).map(|_| source.next(&payload)).collect();
        log.append(&records)?;
        log.maintain()?;
        log.sync()?;
        slowest = slowest.max(begin.elapsed().as_secs_f64());
    }
    let seconds = start.elapsed().as_secs_f64();
    let rate = f64::from(batches) / seconds;
    let megabytes = rate * (entries * ENTRY_BYTES) as f64 / 1e6;
    println!(
        "batches of {entries:4} entries of {ENTRY_BYTES} B, each synced: {rate:7.0} batches/s, {:9.0} entries/s, \
         {megabytes:6.1} MB/s, slowest {:.1} ms",
        rate * entries as f64,
        slowest * 1e3,
    );
    Ok(())
}

fn recovery(folder: &Path) -> Result<(), Box<dyn Error>> {
    let entries = 1_000_000;
    let (mut log, _) = Log::open(RealDisk::open(folder)?, Options::default())?;
    let payload = Bytes::from(vec![7; ENTRY_BYTES]);
    let mut source = Source::default();
    let start = Instant::now();
    for _ in 0..entries / 1000 {
        let records: Vec<Record> = (0..1000).map(|_| source.next(&payload)).collect();
        log.append(&records)?;
        log.maintain()?;
    }
    log.sync()?;
    println!("{entries} entries appended, one sync: {:.2} s", start.elapsed().as_secs_f64());
    drop(log);
    for round in ["first", "second"] {
        let start = Instant::now();
        let (log, found) = Log::open(RealDisk::open(folder)?, Options::default())?;
        let seconds = start.elapsed().as_secs_f64();
        let count: usize = found.iter().map(|found| found.entries.len()).sum();
        println!(
            "recovery of {count} entries ({} MB), {round} time: {seconds:.2} s",
            log.bytes() / 1_000_000
        );
        let start = Instant::now();
        let mut read = 0;
        while read < found[0].entries.len() {
            read += log.read(0, read as u64 + 1, u64::MAX, 1 << 20)?.len();
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "reading {read} entries of one partition back: {seconds:.2} s, {:.0}/s",
            read as f64 / seconds
        );
    }
    Ok(())
}

fn snapshot(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut snapshots = Snapshots::open(RealDisk::open(folder)?)?;
    let chunk = vec![7; 256 << 10];
    let chunks = 2000;
    let start = Instant::now();
    for sequence in 0..chunks {
        snapshots.chunk(1, 1, sequence, &chunk)?;
    }
    snapshots.finish(1, 1, chunks, b"")?;
    let megabytes = chunks as f64 * chunk.len() as f64 / 1e6;
    println!("snapshot of {megabytes:.0} MB: {:.0} MB/s", megabytes / start.elapsed().as_secs_f64());
    Ok(())
}
