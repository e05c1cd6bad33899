//! The log thread: carries out what one worker's shard wants done to the disk, so that no worker ever waits for it.
//!
//! It takes everything that is queued, appends all batches, makes them durable with one sync and tells the worker the
//! number of the last: the longer a sync takes, the more of them the next one serves. Between two syncs it does one other
//! thing at most (a piece of a snapshot, a fetch), so that those do not hold commits up for long.
//!
//! Batches that nobody wants to be durable at once ([`Batch::relaxed`]) are only written, and synced a little later with
//! whatever has come until then. The worker writes those itself if nothing else is going on ([`LogHandle::write_now`]): that costs
//! it less than to have the thread woken, and to be woken.
//!
//! A write or sync that fails stops the process: what is on the disk is not known any more, and the next start finds out. A
//! full disk does not: the shard is told, batches wait, and the thread looks for room every second; once the batches that
//! waited are written, the shard is told that too. A panic ends the process as a failed write does.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use data::Table;
use replication::PartitionId;
use replication::contract::{Batch, Input, RELAXED_SYNC, SnapshotWrite, Write};
use replication::shard::Recovered;
use storage::journal::{Journal, Options};
use storage::{AppendError, Disk, File as _, RealDisk, SnapshotError};

use crate::boot;
use crate::inbox::Delivery;
use crate::node::Node;

/// How often a full disk is looked at again.
const RECLAIM_INTERVAL: Duration = Duration::from_secs(1);
/// A batch that is relaxed is synced after this time, or when so many bytes wait: long enough to spare nearly all syncs, and short
/// against [`RELAXED_SYNC`] since until then replicas cannot apply it.
const RELAXED_INTERVAL: Duration = Duration::from_millis(50);
const RELAXED_BYTES: u64 = 8 << 20;
/// A worker leaves a batch to the thread if less room than this is left: it may have to begin a new file.
const LEAST_ROOM: u64 = 1 << 20;
const _: () = assert!(RELAXED_INTERVAL.as_millis() * 2 < RELAXED_SYNC.as_millis());
/// The exit code of a process that can no longer trust its disk (`EX_IOERR`).
const EXIT_CODE: i32 = 74;

/// Something to be done.
#[derive(Debug)]
pub enum Job {
    /// Make durable, in order.
    Persist(Batch),
    /// Read back.
    Fetch {
        /// Whose entries.
        partition: PartitionId,
        /// The first.
        from: u64,
        /// The last, included.
        to: u64,
        /// About how many bytes at the most.
        max_bytes: usize,
    },
    /// Write a piece of a snapshot.
    Snapshot(SnapshotWrite),
}

#[derive(Debug, Default)]
struct Queue {
    jobs: Vec<Job>,
    stopping: bool,
    /// Batches that were left here and are not written yet: no later one may be before.
    unwritten: usize,
    /// Bytes that are written and not synced, and when they are to be at the latest.
    unsynced: u64,
    sync_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The way to a log thread.
#[derive(Clone, Debug)]
pub struct LogHandle {
    shared: Arc<Shared>,
    writer: Arc<Writer<RealDisk>>,
}

impl LogHandle {
    /// Leaves jobs; `jobs` is empty afterwards.
    pub fn push(&self, jobs: &mut Vec<Job>) {
        if !jobs.is_empty() {
            let mut queue = self.shared.lock();
            queue.unwritten += jobs.iter().filter(|job| matches!(job, Job::Persist(_))).count();
            queue.jobs.append(jobs);
            drop(queue);
            self.shared.filled.notify_one();
        }
    }

    /// Writes a relaxed batch at once, if nothing has to be written before it and the log is free. Says whether it did.
    pub fn write_now(&self, batch: &Batch) -> bool {
        let mut queue = self.shared.lock();
        if queue.unwritten > 0 || queue.stopping {
            return false;
        }
        let Ok(mut journal) = self.writer.journal.try_lock() else { return false };
        if journal.is_full() || journal.room() < LEAST_ROOM + bytes_of(batch) {
            return false;
        }
        match journal.append_now(batch) {
            Ok(()) => {}
            Err(AppendError::Full) => return false,
            Err(error) => self.writer.die(&error),
        }
        let bytes = self.writer.count(batch);
        let wakes = queue.sync_at.is_none() || queue.unsynced >= RELAXED_BYTES;
        queue.note_written(bytes);
        if wakes {
            self.shared.filled.notify_one();
        }
        true
    }

    /// Has the thread finish what is queued and end, and waits for that.
    ///
    /// # Errors
    /// The thread panicked: what is on the disk is not known.
    pub fn stop(&self) -> Result<(), String> {
        self.shared.lock().stopping = true;
        self.shared.filled.notify_one();
        let thread = self.shared.thread.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        match thread.map(JoinHandle::join) {
            Some(Err(_)) => Err("a log thread panicked: see the message above".into()),
            Some(Ok(())) | None => Ok(()),
        }
    }
}

/// Opens a worker's log and starts its thread. Returns what was found.
///
/// # Errors
/// The folder cannot be opened or is damaged; the text names the file.
pub fn open(node: Arc<Node>, index: usize, folder: &Path) -> Result<(LogHandle, Vec<Recovered>), String> {
    let disk =
        RealDisk::open(folder).map_err(|error| format!("cannot open {}: {error}", folder.display()))?;
    let options = Options { segment_bytes: node.context.config.storage.segment_bytes, ..Options::default() };
    let placement = node.first_placement.clone();
    let make_table = |partition| match placement.get(partition) {
        Some(placed) => Table::with_slots(placed.first_slot, placed.last_slot),
        None => Table::new(),
    };
    let (journal, recovered) = Journal::open(disk, options, make_table).map_err(|error| {
        format!("{}: {error}. If it cannot be mended, start with --rebuild", folder.display())
    })?;
    let shared = Arc::new(Shared::default());
    let folder = folder.display().to_string();
    let writer = Arc::new(Writer { node, folder, journal: Mutex::new(journal) });
    let log = Log::new(index, shared.clone(), writer.clone());
    let thread = std::thread::Builder::new().name(format!("log-{index}")).spawn(move || watch(log));
    let thread = thread.map_err(|error| format!("cannot start a thread: {error}"))?;
    *shared.thread.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(thread);
    Ok((LogHandle { shared, writer }, recovered))
}

/// Runs a log. If that panics the process ends: a node that no longer writes must not look alive.
fn watch<D: Disk>(log: Log<D>) {
    let folder = log.writer.folder.clone();
    if catch_unwind(AssertUnwindSafe(|| log.run())).is_err() {
        end(&folder, &"the log thread panicked, see the message above");
    }
}

/// The log itself, which the worker may write to as well.
#[derive(Debug)]
struct Writer<D: Disk> {
    node: Arc<Node>,
    folder: String,
    journal: Mutex<Journal<D>>,
}

impl<D: Disk> Writer<D> {
    fn lock(&self) -> MutexGuard<'_, Journal<D>> {
        self.journal.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Counts a batch that was written; returns its bytes.
    fn count(&self, batch: &Batch) -> u64 {
        let bytes = bytes_of(batch);
        self.node.context.stats.log_bytes.add(bytes);
        self.node.context.stats.batches.add(1);
        bytes
    }

    /// What is durable is not known any more: nothing may be claimed from here on, so the process ends at once.
    fn die(&self, error: &dyn std::fmt::Display) -> ! {
        boot::distrust(&self.node.context.config.data, self.node.losses);
        end(&self.folder, error)
    }
}

impl Queue {
    fn note_written(&mut self, bytes: u64) {
        self.unsynced += bytes;
        self.sync_at.get_or_insert_with(|| Instant::now() + RELAXED_INTERVAL);
    }

    fn is_time_to_sync(&self) -> bool {
        self.sync_at.is_some_and(|at| Instant::now() >= at) || self.unsynced >= RELAXED_BYTES
    }
}

struct Log<D: Disk> {
    index: usize,
    shared: Arc<Shared>,
    writer: Arc<Writer<D>>,
    /// Not appended yet.
    batches: VecDeque<Batch>,
    /// Fetches and snapshots, not done yet.
    others: VecDeque<Job>,
    /// The shard was told that the disk is full.
    full: bool,
    /// When room was last looked for.
    looked: Instant,
}

impl<D: Disk> Log<D> {
    fn new(index: usize, shared: Arc<Shared>, writer: Arc<Writer<D>>) -> Log<D> {
        let (batches, others) = (VecDeque::new(), VecDeque::new());
        Log { index, shared, writer, batches, others, full: false, looked: Instant::now() }
    }

    fn run(mut self) {
        while self.take() {
            self.commit();
            self.do_one_other();
            self.look_for_room();
        }
        self.commit();
        self.sync(false);
    }

    /// Takes what is queued; waits for it if there is nothing else to do. False: the node stops.
    fn take(&mut self) -> bool {
        let mut queue = self.shared.lock();
        while queue.jobs.is_empty() && !queue.stopping && self.others.is_empty() && !queue.is_time_to_sync() {
            let until_sync = queue.sync_at.map(|at| at.saturating_duration_since(Instant::now()));
            let looks_again = (self.full || !self.batches.is_empty()).then_some(RECLAIM_INTERVAL);
            if let Some(most) = until_sync.into_iter().chain(looks_again).min() {
                let waited = self.shared.filled.wait_timeout(queue, most);
                queue = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
                if looks_again.is_some() {
                    break;
                }
                continue;
            }
            queue = self.shared.filled.wait(queue).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        let goes_on = !queue.stopping;
        let jobs = std::mem::take(&mut queue.jobs);
        drop(queue);
        for job in jobs {
            match job {
                Job::Persist(batch) => self.batches.push_back(batch),
                other => self.others.push_back(other),
            }
        }
        goes_on
    }

    /// Appends all batches, syncs once if one of them wants it or it is time, and says how far it got.
    fn commit(&mut self) {
        let (mut appended, mut bytes) = (0, 0);
        let (mut strict, mut tell_written) = (false, None);
        while let Some(batch) = self.batches.front() {
            let result = self.writer.lock().append(batch);
            match result {
                Ok(()) => {
                    strict |= !batch.relaxed;
                    if batch.tells_written {
                        tell_written = Some(batch.number);
                    }
                    bytes += self.writer.count(batch);
                    self.batches.pop_front();
                    appended += 1;
                }
                Err(AppendError::Full) => {
                    self.tell_full(true);
                    break;
                }
                Err(error) => self.writer.die(&error),
            }
        }
        let mut queue = self.shared.lock();
        queue.unwritten -= appended;
        if appended > 0 {
            queue.note_written(bytes);
        }
        let is_time = queue.is_time_to_sync();
        drop(queue);
        if let Some(number) = tell_written {
            self.deliver(Delivery::Written(number));
        }
        if strict || is_time {
            self.sync(!strict);
        }
        let is_full = appended > 0 && self.writer.lock().is_full();
        if is_full && !self.full {
            self.tell_full(true);
        }
    }

    /// Makes durable what is written, and says so; `relaxed`: nobody waits for it.
    fn sync(&mut self, relaxed: bool) {
        let mut queue = self.shared.lock();
        if queue.sync_at.take().is_none() {
            return;
        }
        queue.unsynced = 0;
        drop(queue);
        let start = Instant::now();
        if relaxed {
            // Most of it is done while the worker may write on.
            let file = self.writer.lock().newest_file();
            file.sync().unwrap_or_else(|error| self.writer.die(&error));
        }
        let number = self.writer.lock().sync().unwrap_or_else(|error| self.writer.die(&error));
        let stats = &self.writer.node.context.stats;
        stats.fsyncs.add(1);
        let took_us = start.elapsed().as_micros() as u64;
        if took_us > stats.fsync_max_us.get() {
            stats.fsync_max_us.set(took_us);
        }
        self.deliver(Delivery::Persisted(number));
        if relaxed {
            // For what the worker has written; batches that came here have seen to it themselves.
            self.writer.lock().maintain().unwrap_or_else(|error| self.writer.die(&error));
        }
    }

    fn do_one_other(&mut self) {
        let input = match self.others.pop_front() {
            Some(Job::Fetch { partition, from, to, max_bytes }) => {
                let entries = self.writer.lock().fetch(partition, from, to, max_bytes);
                let entries = entries.unwrap_or_else(|error| self.writer.die(&error));
                Some(Input::Fetched { partition, from, entries })
            }
            Some(Job::Snapshot(write)) => {
                let (partition, snapshot) = write.file();
                let mut journal = self.writer.lock();
                let written = journal.snapshot(write);
                let is_full = journal.is_full();
                drop(journal);
                match written {
                    Ok(input) => input,
                    Err(SnapshotError::Full) => {
                        // A snapshot needs much more room than a write does.
                        if is_full {
                            self.tell_full(true);
                        }
                        Some(Input::SnapshotFailed { partition, snapshot })
                    }
                    Err(error) => self.writer.die(&error),
                }
            }
            Some(Job::Persist(_)) | None => None,
        };
        if let Some(input) = input {
            self.deliver(Delivery::Input(input));
        }
    }

    /// Tries the batches that waited again if there is room; the shard hears of it only when all of them fitted.
    fn look_for_room(&mut self) {
        if !self.full || self.looked.elapsed() < RECLAIM_INTERVAL {
            return;
        }
        self.looked = Instant::now();
        let room = self.writer.lock().try_reclaim().unwrap_or_else(|error| self.writer.die(&error));
        if room {
            self.commit();
            let is_full = self.writer.lock().is_full();
            if self.batches.is_empty() && !is_full {
                self.tell_full(false);
            }
        }
    }

    fn tell_full(&mut self, full: bool) {
        if self.full == full {
            return;
        }
        self.full = full;
        self.looked = Instant::now();
        let full_logs = &self.writer.node.context.stats.full_logs;
        let folder = &self.writer.folder;
        if full {
            full_logs.add(1);
            tracing::error!(folder, "the disk is full: writes are refused, reads go on");
        } else {
            full_logs.sub(1);
            tracing::info!(folder, "the disk has room again: writes are taken");
        }
        self.deliver(Delivery::Input(Input::Disk { full }));
    }

    fn deliver(&self, delivery: Delivery) {
        self.writer.node.inboxes[self.index].push(delivery);
    }
}

fn end(folder: &str, error: &dyn std::fmt::Display) -> ! {
    tracing::error!(folder, %error, "the log failed; this process stops");
    eprintln!("consort: {folder}: {error}: the log failed, so this process stops at once");
    std::process::exit(EXIT_CODE);
}

/// About what a batch takes in the log.
fn bytes_of(batch: &Batch) -> u64 {
    batch.writes.iter().map(size).sum()
}

/// About what a record takes in the log.
fn size(write: &Write) -> u64 {
    match write {
        Write::Append { entry, .. } => entry.payload.len() as u64 + 32,
        Write::State { state, .. } => state.len() as u64 + 32,
        Write::Lost { entries, .. } => entries.iter().map(|lost| lost.payload.len() as u64 + 40).sum(),
        Write::Reset { .. } | Write::Trim { .. } | Write::Forget { .. } => 32,
    }
}

#[cfg(test)]
mod tests {
    use storage::MemoryDisk;

    use super::*;
    use crate::format::Opened;
    use crate::identity::{Identity, derived_id};
    use crate::roster::Roster;
    use crate::testing::{Folder, three_nodes};

    const SEGMENT_BYTES: u64 = 64 << 10;

    fn log(disk: MemoryDisk, folder: &Folder) -> Log<MemoryDisk> {
        let mut config = three_nodes();
        config.data = folder.path().to_path_buf();
        let identity = Identity::new(&config, derived_id("test", "n1"), 1);
        let roster = Roster::load(&config.data).unwrap();
        let known = crate::known::Known::open(&config.data).unwrap();
        let options = Options { segment_bytes: SEGMENT_BYTES, ..Options::default() };
        let (journal, _) = Journal::open(disk, options, |_| Table::new()).unwrap();
        let node = Arc::new(Node::new(config, Opened { identity, roster, founding: None, losses: 0, known }));
        let writer = Writer { node, folder: "memory".into(), journal: Mutex::new(journal) };
        Log::new(0, Arc::default(), Arc::new(writer))
    }

    fn batch(number: u64, bytes: usize) -> Batch {
        let writes = vec![Write::State { partition: PartitionId(0), state: vec![7; bytes].into() }];
        Batch { number, writes, ..Batch::default() }
    }

    fn told(log: &Log<MemoryDisk>) -> Vec<String> {
        let mut deliveries = Vec::new();
        log.writer.node.inboxes[0].take(&mut deliveries);
        deliveries.iter().map(|delivery| format!("{delivery:?}")).collect()
    }

    #[test]
    fn a_batch_that_did_not_fit_is_written_once_there_is_room() {
        let (disk, folder) = (MemoryDisk::new(), Folder::new());
        let mut log = log(disk.clone(), &folder);
        disk.limit_room(Some(0));
        log.batches.push_back(batch(1, 4 * SEGMENT_BYTES as usize));
        log.shared.lock().unwritten = 1;
        log.commit();
        assert_eq!(told(&log), ["Input(Disk { full: true })"]);
        assert_eq!((log.batches.len(), log.writer.node.context.stats.full_logs.get()), (1, 1));
        log.looked -= RECLAIM_INTERVAL;
        log.look_for_room();
        assert!(told(&log).is_empty(), "still full");
        disk.limit_room(None);
        log.looked -= RECLAIM_INTERVAL;
        log.look_for_room();
        assert_eq!(told(&log), ["Persisted(1)", "Input(Disk { full: false })"]);
        assert_eq!((log.batches.len(), log.writer.node.context.stats.full_logs.get()), (0, 0));
    }
}
