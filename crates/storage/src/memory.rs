//! A disk in memory, with a page cache that a crash loses and faults that can be switched on. Deterministic: what
//! a crash keeps follows from its seed. Tests here and the simulator run on it.
//!
//! The model. A write changes the cache; [`File::sync`] makes a file's bytes and length durable,
//! [`Disk::sync_folder`] the creations, removals and renames. At a [crash](MemoryDisk::crash) each sector that was
//! written and not synced is kept or goes back to what it was, independently of the others, so writes tear and
//! overtake one another; so does each folder operation (one that would need a lost one is lost too). A file's name
//! is not made durable by syncing the file. A failed sync throws the written sectors away but leaves them in the
//! cache, as Linux does: a later sync that succeeds says nothing about them.
//!
//! Handles from before a crash are dead: every call on them fails.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, File};
use crate::random::Random;

/// What a disk writes in one piece.
pub const SECTOR_BYTES: usize = 512;

type Sector = Box<[u8; SECTOR_BYTES]>;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Inner>>);

/// An open file of a [`MemoryDisk`].
#[derive(Clone, Debug)]
pub struct MemoryFile {
    disk: MemoryDisk,
    node: usize,
    life: u64,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    nodes: Vec<Node>,
    /// Names as the running system sees them, and as they are on disk.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    operations: Vec<Operation>,
    /// Counts crashes, so that handles from before one are told.
    life: u64,
    faults: Faults,
    counts: Counts,
}

#[derive(Clone, Debug, Default)]
struct Faults {
    room: Option<u64>,
    sync_fails: bool,
    write_fails: bool,
    sync_lies: bool,
    stop_after: Option<u64>,
}

/// How often a disk was asked to do what, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of [`File::write_at`].
    pub writes: u64,
    /// Bytes written by them.
    pub written_bytes: u64,
    /// Calls of [`File::sync`].
    pub syncs: u64,
    /// Calls of [`Disk::sync_folder`].
    pub folder_syncs: u64,
}

#[derive(Clone, Debug)]
enum Operation {
    Create(String, usize),
    Remove(String),
    Rename(String, String),
}

/// A file's content: the cache, and what the disk holds where that differs.
#[derive(Clone, Debug, Default)]
struct Node {
    bytes: Vec<u8>,
    durable_length: usize,
    /// Sectors written and not synced: what a crash may go back to.
    dirty: BTreeMap<usize, Sector>,
    /// Sectors lost by a failed sync: what a crash goes back to.
    lost: BTreeMap<usize, Sector>,
}

impl Node {
    fn sector(&self, sector: usize) -> Sector {
        let mut copy = Box::new([0; SECTOR_BYTES]);
        let start = (sector * SECTOR_BYTES).min(self.bytes.len());
        let end = ((sector + 1) * SECTOR_BYTES).min(self.bytes.len());
        copy[..end - start].copy_from_slice(&self.bytes[start..end]);
        copy
    }

    /// Remembers what the disk holds in these sectors before the cache changes.
    fn touch(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES) {
            if !self.dirty.contains_key(&sector) {
                let old = self.lost.remove(&sector).unwrap_or_else(|| self.sector(sector));
                self.dirty.insert(sector, old);
            }
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        self.touch(offset.min(self.bytes.len()), end);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
    }

    fn resize(&mut self, length: usize) {
        let (from, to) = (self.bytes.len().min(length), self.bytes.len().max(length));
        self.touch(from, to);
        self.bytes.resize(length, 0);
    }

    fn sync(&mut self) {
        self.dirty.clear();
        self.durable_length = self.bytes.len();
    }

    fn restore(&mut self, sector: usize, old: &Sector) {
        let (start, end) = (sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(&old[..]);
    }

    fn crash(&mut self, random: &mut Random) {
        // Sometimes all or nothing, mostly sector by sector.
        let mood = random.below(4);
        let length =
            if mood == 0 || (mood > 1 && random.one_in(2)) { self.durable_length } else { self.bytes.len() };
        for (sector, old) in std::mem::take(&mut self.dirty) {
            let lost = match mood {
                0 => true,
                1 => false,
                _ => random.one_in(2),
            };
            if lost {
                self.restore(sector, &old);
            }
        }
        for (sector, old) in std::mem::take(&mut self.lost) {
            self.restore(sector, &old);
        }
        self.bytes.resize(length, 0);
        self.durable_length = length;
    }
}

fn apply(names: &mut BTreeMap<String, usize>, operation: &Operation) {
    match operation {
        Operation::Create(name, node) => {
            names.insert(name.clone(), *node);
        }
        Operation::Remove(name) => {
            names.remove(name);
        }
        Operation::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

impl Inner {
    /// Counts a change down to the point where the process stops.
    fn change(&mut self) -> io::Result<()> {
        match &mut self.faults.stop_after {
            Some(0) => Err(io::Error::other("the process was stopped here")),
            Some(n) => {
                *n -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn folder_operation(&mut self, operation: Operation) -> io::Result<()> {
        self.change()?;
        apply(&mut self.names, &operation);
        self.operations.push(operation);
        Ok(())
    }

    fn node_of(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Gives up the bytes of files that no crash can bring back. (Unlike on Unix, open handles do not keep them.)
    fn free_unnamed(&mut self) {
        let mut named = vec![false; self.nodes.len()];
        for node in self.names.values().chain(self.durable_names.values()) {
            named[*node] = true;
        }
        for (node, _) in self.nodes.iter_mut().zip(named).filter(|(_, named)| !named) {
            *node = Node::default();
        }
    }

    /// Takes room for growth from `old` to `new` bytes; a file that shrinks gives room back.
    fn take_room(&mut self, old: usize, new: usize) -> io::Result<()> {
        if let Some(room) = &mut self.faults.room {
            let (old, new) = (old as u64, new as u64);
            *room =
                (*room + old).checked_sub(new).ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        }
        Ok(())
    }
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The machine loses power: of what was not synced, `seed` decides what is kept. Faults are switched off,
    /// except for [`MemoryDisk::lie_about_sync`] and the room that is left; handles die.
    pub fn crash(&self, seed: u64) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let mut random = Random::new(seed);
        for node in &mut inner.nodes {
            node.crash(&mut random);
        }
        let mood = random.below(4);
        for operation in std::mem::take(&mut inner.operations) {
            if mood == 1 || (mood > 1 && random.one_in(2)) {
                apply(&mut inner.durable_names, &operation);
            }
        }
        inner.names = inner.durable_names.clone();
        inner.free_unnamed();
        self.end_life(inner);
    }

    /// The process dies, the machine does not: the cache survives, handles die. Faults are switched off as by a
    /// crash.
    pub fn kill(&self) {
        let mut inner = self.lock();
        self.end_life(&mut inner);
    }

    fn end_life(&self, inner: &mut Inner) {
        inner.life += 1;
        inner.faults.sync_fails = false;
        inner.faults.write_fails = false;
        inner.faults.stop_after = None;
    }

    /// From now on files may grow by this many bytes in all; `None`: by any number.
    pub fn limit_room(&self, bytes: Option<u64>) {
        self.lock().faults.room = bytes;
    }

    /// Syncs fail, and what they should have written is lost at the next crash.
    pub fn fail_syncs(&self, fail: bool) {
        self.lock().faults.sync_fails = fail;
    }

    /// Writes fail, after having written half of their bytes.
    pub fn fail_writes(&self, fail: bool) {
        self.lock().faults.write_fails = fail;
    }

    /// Syncs return without an error and make nothing durable.
    pub fn lie_about_sync(&self, lie: bool) {
        self.lock().faults.sync_lies = lie;
    }

    /// A bit turns over in something that is certainly durable: a snapshot, or a segment of the log that is not the newest
    /// (at the end of that one damage cannot always be told from a write that a crash tore). Says where; `None` if there
    /// is nothing of the kind.
    pub fn rot(&self, seed: u64) -> Option<String> {
        let mut inner = self.lock();
        let mut random = Random::new(seed);
        let newest = inner.durable_names.keys().rfind(|name| name.starts_with("wal-")).cloned();
        let mut candidates: Vec<(String, usize)> = Vec::new();
        for (name, &node) in &inner.durable_names {
            let is_log = name.starts_with("wal-") && Some(name) != newest.as_ref();
            let file = &inner.nodes[node];
            if (is_log || name.starts_with("snap-"))
                && file.dirty.is_empty()
                && file.bytes.iter().any(|&byte| byte != 0)
            {
                candidates.push((name.clone(), node));
            }
        }
        if candidates.is_empty() {
            return None;
        }
        let (name, node) = candidates.swap_remove(random.below(candidates.len() as u64) as usize);
        let bytes = &mut inner.nodes[node].bytes;
        let used = bytes.iter().rposition(|&byte| byte != 0)? + 1;
        let offset = random.below(used as u64) as usize;
        bytes[offset] ^= 1 << random.below(8);
        Some(format!("{name} at offset {offset}"))
    }

    /// After this many more changes (writes, syncs, folder operations) every further one fails, until the next
    /// crash: a process that stops in the middle of something.
    pub fn stop_after(&self, changes: u64) {
        self.lock().faults.stop_after = Some(changes);
    }

    /// Did [`MemoryDisk::stop_after`] stop everything?
    pub fn is_stopped(&self) -> bool {
        self.lock().faults.stop_after == Some(0)
    }

    /// Another disk with the same content and faults.
    pub fn copy(&self) -> MemoryDisk {
        MemoryDisk(Arc::new(Mutex::new(self.lock().clone())))
    }

    /// What was asked of this disk so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// A file's bytes, as the running system sees them.
    ///
    /// # Errors
    /// There is no such file.
    pub fn content(&self, name: &str) -> io::Result<Vec<u8>> {
        let inner = self.lock();
        let node = inner.node_of(name)?;
        Ok(inner.nodes[node].bytes.clone())
    }

    /// Puts a file there, durably.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut inner = self.lock();
        let node = inner.nodes.len();
        inner.nodes.push(Node { bytes: bytes.to_vec(), durable_length: bytes.len(), ..Node::default() });
        inner.names.insert(name.to_owned(), node);
        inner.durable_names.insert(name.to_owned(), node);
    }

    /// Damage: changes bytes of a file behind the system's back, durably. `change` gets the whole content.
    ///
    /// # Errors
    /// There is no such file.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut inner = self.lock();
        let node = inner.node_of(name)?;
        let node = &mut inner.nodes[node];
        change(&mut node.bytes);
        node.lost.clear();
        node.sync();
        Ok(())
    }
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn open(&self, name: &str, create: bool) -> io::Result<MemoryFile> {
        let mut inner = self.lock();
        let node = match inner.names.get(name) {
            Some(node) => *node,
            None if create => {
                let node = inner.nodes.len();
                inner.folder_operation(Operation::Create(name.to_owned(), node))?;
                inner.nodes.push(Node::default());
                node
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(MemoryFile { disk: self.clone(), node, life: inner.life })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        let node = inner.node_of(name)?;
        inner.folder_operation(Operation::Remove(name.to_owned()))?;
        let length = inner.nodes[node].bytes.len();
        inner.take_room(length, 0)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.node_of(from)?;
        inner.folder_operation(Operation::Rename(from.to_owned(), to.to_owned()))
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.change()?;
        inner.counts.folder_syncs += 1;
        if inner.faults.sync_fails {
            return Err(io::Error::other("the sync failed"));
        }
        if !inner.faults.sync_lies {
            inner.operations.clear();
            inner.durable_names = inner.names.clone();
            inner.free_unnamed();
        }
        Ok(())
    }
}

impl MemoryFile {
    fn with<R>(
        &self,
        change: bool,
        action: impl FnOnce(&mut Inner, usize) -> io::Result<R>,
    ) -> io::Result<R> {
        let mut inner = self.disk.lock();
        if inner.life != self.life {
            return Err(io::Error::other("the process that opened this file is dead"));
        }
        if change {
            inner.change()?;
        }
        action(&mut inner, self.node)
    }
}

impl File for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(false, |inner, node| {
            let bytes = &inner.nodes[node].bytes;
            let start = bytes.len().min(offset as usize);
            let length = buffer.len().min(bytes.len() - start);
            buffer[..length].copy_from_slice(&bytes[start..start + length]);
            Ok(length)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(true, |inner, node| {
            let offset = offset as usize;
            inner.counts.writes += 1;
            inner.counts.written_bytes += bytes.len() as u64;
            if inner.faults.write_fails {
                let length = bytes.len() / 2;
                inner.nodes[node].write(offset, &bytes[..length]);
                return Err(io::Error::other("the write failed"));
            }
            let old = inner.nodes[node].bytes.len();
            inner.take_room(old, old.max(offset + bytes.len()))?;
            inner.nodes[node].write(offset, bytes);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(true, |inner, node| {
            inner.counts.syncs += 1;
            let node = &mut inner.nodes[node];
            if inner.faults.sync_fails {
                let dirty = std::mem::take(&mut node.dirty);
                node.lost.extend(dirty);
                return Err(io::Error::other("the sync failed"));
            }
            if !inner.faults.sync_lies {
                node.sync();
            }
            Ok(())
        })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.with(true, |inner, node| {
            let old = inner.nodes[node].bytes.len();
            if (length as usize) > old {
                inner.take_room(old, length as usize)?;
                inner.nodes[node].resize(length as usize);
            }
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.with(false, |inner, node| Ok(inner.nodes[node].bytes.len() as u64))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.with(true, |inner, node| {
            let old = inner.nodes[node].bytes.len();
            inner.take_room(old, length as usize)?;
            inner.nodes[node].resize(length as usize);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(disk: &MemoryDisk, name: &str) -> Vec<u8> {
        disk.content(name).unwrap()
    }

    #[test]
    fn synced_bytes_survive_every_crash_and_others_tear_by_sector() {
        let (mut kept, mut gone, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let disk = MemoryDisk::new();
            let file = disk.open("a", true).unwrap();
            file.write_at(0, &[1; 2048]).unwrap();
            file.sync().unwrap();
            disk.sync_folder().unwrap();
            file.write_at(512, &[2; 1024]).unwrap();
            disk.crash(seed);
            let bytes = read(&disk, "a");
            assert!(bytes[..512].iter().chain(&bytes[1536..]).all(|byte| *byte == 1), "seed {seed}");
            let sectors: Vec<u8> = bytes[512..1536].chunks(512).map(|sector| sector[0]).collect();
            assert!(bytes[512..1536].chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
            match sectors[..] {
                [2, 2] => kept += 1,
                [1, 1] => gone += 1,
                _ => torn += 1,
            }
            assert!(file.sync().is_err(), "the handle is dead");
        }
        assert!(kept > 10 && gone > 10 && torn > 10, "{kept} {gone} {torn}");
    }

    #[test]
    fn folder_operations_need_a_folder_sync() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let disk = MemoryDisk::new();
            disk.put("a", b"old");
            disk.open("b", true).unwrap().sync().unwrap();
            disk.rename("a", "c").unwrap();
            disk.crash(seed);
            seen.insert(disk.list().unwrap().join(" "));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["a", "a b", "b c", "c"]);
        let disk = MemoryDisk::new();
        disk.put("a", b"old");
        disk.rename("a", "c").unwrap();
        disk.sync_folder().unwrap();
        disk.crash(3);
        assert_eq!(disk.list().unwrap(), ["c"]);
    }

    #[test]
    fn a_failed_sync_loses_what_it_should_have_written_even_if_the_next_succeeds() {
        let disk = MemoryDisk::new();
        disk.put("a", &[1; 512]);
        let file = disk.open("a", false).unwrap();
        file.write_at(0, &[2; 512]).unwrap();
        disk.fail_syncs(true);
        assert!(file.sync().is_err());
        disk.fail_syncs(false);
        file.sync().unwrap();
        assert_eq!(read(&disk, "a"), [2; 512], "the cache still has it");
        disk.copy().crash(1);
        let copy = disk.copy();
        copy.crash(1);
        assert_eq!(read(&copy, "a"), [1; 512], "the disk has not");
        file.write_at(0, &[2; 512]).unwrap();
        file.sync().unwrap();
        disk.crash(1);
        assert_eq!(read(&disk, "a"), [2; 512], "written again, it is");
    }

    #[test]
    fn a_lying_disk_keeps_nothing_for_certain() {
        let lost = (0..50).filter(|seed| {
            let disk = MemoryDisk::new();
            disk.put("a", &[1; 512]);
            disk.lie_about_sync(true);
            let file = disk.open("a", false).unwrap();
            file.write_at(0, &[2; 512]).unwrap();
            file.sync().unwrap();
            disk.crash(*seed);
            read(&disk, "a")[0] == 1
        });
        assert!(lost.count() > 5);
    }

    #[test]
    fn room_is_taken_by_growth_and_given_back_by_removal() {
        let disk = MemoryDisk::new();
        disk.limit_room(Some(1000));
        let file = disk.open("a", true).unwrap();
        file.allocate(900).unwrap();
        file.write_at(0, &[1; 900]).unwrap();
        assert_eq!(file.allocate(2000).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.write_at(900, &[1; 200]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.length().unwrap(), 900);
        disk.remove("a").unwrap();
        disk.open("b", true).unwrap().allocate(1000).unwrap();
    }

    #[test]
    fn a_stopped_process_changes_nothing_more() {
        let disk = MemoryDisk::new();
        disk.stop_after(2);
        let file = disk.open("a", true).unwrap();
        file.write_at(0, b"x").unwrap();
        assert!(disk.is_stopped());
        assert!(file.write_at(0, b"y").is_err() && file.sync().is_err() && disk.remove("a").is_err());
        disk.kill();
        assert_eq!(read(&disk, "a"), b"x");
        disk.open("a", false).unwrap().write_at(0, b"z").unwrap();
    }
}
