//! States on their way to the disk: snapshots of this replica's own, and what came from another one.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Replica;
use crate::PartitionId;
use crate::contract::{Event, Output, SnapshotWrite, Write};
use crate::merged::causal::{StateFile, Taking};
use crate::shard::outbox::Outbox;

/// Chunks on their way to the disk at a time.
const CHUNKS_AHEAD: u64 = 2;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    /// The number of the last file.
    newest: u64,
    /// Bytes of the log since the last snapshot.
    pub log_bytes: u64,
    /// The log begins after this entry.
    pub log_start: u64,
    taking: Option<(File, Taking)>,
    incoming: Option<Incoming>,
}

/// A file that is being written.
#[derive(Debug, Default)]
struct File {
    number: u64,
    /// Of the next piece.
    sequence: u64,
    written: u64,
    is_ending: bool,
}

/// A state that came from another replica.
#[derive(Debug)]
struct Incoming {
    file: File,
    index: u64,
    chunks: VecDeque<Bytes>,
    meta: Bytes,
}

impl File {
    fn has_room(&self) -> bool {
        self.sequence < self.written + CHUNKS_AHEAD && !self.is_ending
    }

    fn chunk(&mut self, partition: PartitionId, bytes: Bytes, outbox: &mut Outbox) {
        let (snapshot, sequence) = (self.number, self.sequence);
        self.sequence += 1;
        outbox.outputs.push(Output::Snapshot(SnapshotWrite::Chunk { partition, snapshot, sequence, bytes }));
    }

    fn end(&mut self, partition: PartitionId, meta: Bytes, outbox: &mut Outbox) {
        let (snapshot, sequence) = (self.number, self.sequence);
        self.is_ending = true;
        outbox.outputs.push(Output::Snapshot(SnapshotWrite::Finish { partition, snapshot, sequence, meta }));
    }

    /// A piece is on the disk. Says whether it was the last one.
    fn written(&mut self, sequence: u64) -> bool {
        self.written = self.written.max(sequence + 1);
        self.is_ending && sequence == self.sequence
    }
}

impl Snapshots {
    /// Files have higher numbers than this.
    pub fn after(newest: u64) -> Snapshots {
        Snapshots { newest, ..Snapshots::default() }
    }

    fn next_file(&mut self) -> File {
        self.newest += 1;
        File { number: self.newest, ..File::default() }
    }

    fn abort(&mut self, partition: PartitionId, number: u64, outbox: &mut Outbox) {
        outbox.outputs.push(Output::Snapshot(SnapshotWrite::Abort { partition, snapshot: number }));
    }

    /// A state that came from another replica is to be made durable.
    pub fn write_incoming(&mut self, partition: PartitionId, state: StateFile, outbox: &mut Outbox) {
        if let Some((file, _)) = self.taking.take() {
            self.abort(partition, file.number, outbox);
        }
        let file = self.next_file();
        let StateFile { chunks, meta, index } = state;
        self.incoming = Some(Incoming { file, index, chunks: chunks.into(), meta });
    }
}

impl Replica {
    /// Begins, goes on with or ends a file.
    pub(super) fn take_snapshot(&mut self, outbox: &mut Outbox) {
        let partition = self.partition;
        let Some(causal) = &self.causal else { return };
        let snapshots = &mut self.snapshots;
        if let Some(incoming) = &mut snapshots.incoming {
            while incoming.file.has_room() {
                match incoming.chunks.pop_front() {
                    Some(chunk) => incoming.file.chunk(partition, chunk, outbox),
                    None => incoming.file.end(partition, incoming.meta.clone(), outbox),
                }
            }
            return;
        }
        if snapshots.taking.is_none() {
            let threshold = self.options.snapshot_log_bytes.max(causal.table().bytes());
            if snapshots.log_bytes <= threshold || self.disk_full {
                return;
            }
            snapshots.log_bytes = 0;
            let file = snapshots.next_file();
            snapshots.taking = Some((file, causal.begin_snapshot()));
        }
        let Some((file, taking)) = &mut snapshots.taking else { return };
        while file.has_room() {
            match causal.snapshot_chunk(taking) {
                Some(chunk) => file.chunk(partition, chunk, outbox),
                None => match causal.snapshot_end(taking) {
                    Some(meta) => file.end(partition, meta, outbox),
                    None => return,
                },
            }
        }
    }

    /// A piece of a file is on the disk.
    pub fn snapshot_written(&mut self, number: u64, sequence: u64, outbox: &mut Outbox) {
        let partition = self.partition;
        let snapshots = &mut self.snapshots;
        let index = if let Some(incoming) = snapshots.incoming.as_mut().filter(|of| of.file.number == number)
        {
            if !incoming.file.written(sequence) {
                return;
            }
            let index = incoming.index;
            snapshots.incoming = None;
            if let Some(causal) = &mut self.causal {
                causal.state_is_durable();
            }
            outbox.event(Event::SnapshotInstalled { partition, index });
            index
        } else if let Some((file, taking)) =
            snapshots.taking.as_mut().filter(|(file, _)| file.number == number)
        {
            if !file.written(sequence) {
                return;
            }
            let index = taking.index();
            snapshots.taking = None;
            outbox.event(Event::SnapshotTaken { partition, index });
            index
        } else {
            return;
        };
        if index > snapshots.log_start {
            snapshots.log_start = index;
            self.writes.push(Write::Trim { partition, index });
        }
    }

    /// There was no room for a file, and what was written of it is gone. It is tried again when the log has grown as much again.
    pub fn snapshot_failed(&mut self, number: u64) {
        let snapshots = &mut self.snapshots;
        if snapshots.taking.take_if(|(file, _)| file.number == number).is_some() {
            snapshots.log_bytes = self.options.snapshot_log_bytes / 2;
        }
        if snapshots.incoming.take_if(|incoming| incoming.file.number == number).is_some()
            && let Some(causal) = &mut self.causal
        {
            causal.state_failed();
        }
    }
}
