//! Snapshots of this replica's own state, which let the log before them go, and the start from one.
//!
//! A snapshot is taken while the partition serves: slice after slice of the table, a few at a time on their way to the
//! disk. It stands for `index`, the entry that was applied when it began; slices taken later also hold effects of later
//! entries, up to `exact_at`. Mutations are absolute, so the slices plus all entries from `index` on give the exact state
//! once `exact_at` is applied. The file is finished only when this node's own log holds entries up to `exact_at` durably.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use data::{Position, Table};

use super::Replica;
use super::split::Extent;
use super::tokens::Tokens;
use crate::contract::{Event, Output, SnapshotWrite};
#[cfg(any(test, feature = "planted-bugs"))]
use crate::ordered::raft::Bug;
use crate::ordered::raft::{HardState, Initial, Membership, SnapshotMeta};
use crate::placement::PartitionPlacement;
use crate::shard::outbox::Outbox;
use crate::shard::{Content, Recovered};
use crate::time::Now;

/// The size of a slice, about. A single larger value makes a larger one.
pub(super) const SLICE_BYTES: usize = 256 << 10;
/// Slices on their way to the disk at a time.
const SLICES_AHEAD: u64 = 2;
const VERSION: u8 = 1;
/// The version of snapshots of partitions that were split or came about by a split: the [`Extent`] stands first.
const VERSION_EXTENT: u8 = 2;
/// The version of snapshots of groups whose leaders are appointed: the [`Extent`], and where terms began.
const VERSION_TERMS: u8 = 3;

/// A snapshot on its way to the disk.
#[derive(Debug)]
pub(crate) struct Taking {
    id: u64,
    meta: SnapshotMeta,
    /// Where the next slice starts; `None` when all are given out.
    cursor: Option<Position>,
    /// Of the next piece.
    sequence: u64,
    written: u64,
    /// When all slices were taken: what has to be durable before the file is finished.
    exact_at: Option<u64>,
    finishing: bool,
}

impl Taking {
    /// Is the whole state in it, and only the end of the file missing?
    pub fn is_finishing(&self) -> bool {
        self.finishing
    }
}

/// What stands beside the table in a snapshot.
#[derive(Debug)]
pub(super) struct Tail {
    pub meta: SnapshotMeta,
    pub extent: Extent,
    pub last_stamp_ms: u64,
    pub tokens: Tokens,
}

impl Tail {
    /// The bytes for the snapshot file or the last chunk.
    pub fn encode(meta: &SnapshotMeta, extent: &Extent, last_stamp_ms: u64, tokens: &Tokens) -> Bytes {
        let meta_terms = &meta.terms;
        let meta = postcard::to_allocvec(meta).unwrap_or_default();
        let mut out = BytesMut::with_capacity(32 + meta.len());
        if !meta_terms.is_empty() {
            out.put_u8(VERSION_TERMS);
            extent.encode(&mut out);
            out.put_u32_le(meta_terms.len() as u32);
            for &(first, term) in meta_terms {
                out.put_u64_le(first);
                out.put_u64_le(term);
            }
        } else if *extent == Extent::default() {
            out.put_u8(VERSION);
        } else {
            out.put_u8(VERSION_EXTENT);
            extent.encode(&mut out);
        }
        out.put_u64_le(last_stamp_ms);
        out.put_u32_le(meta.len() as u32);
        out.put_slice(&meta);
        tokens.encode(&mut out);
        out.freeze()
    }

    /// What is in `bytes`, or `None`.
    pub fn decode(mut bytes: Bytes) -> Option<Tail> {
        let mut terms = Vec::new();
        let extent = match bytes.try_get_u8().ok()? {
            VERSION => Extent::default(),
            VERSION_EXTENT => Extent::decode(&mut bytes)?,
            VERSION_TERMS => {
                let extent = Extent::decode(&mut bytes)?;
                for _ in 0..bytes.try_get_u32_le().ok()? {
                    terms.push((bytes.try_get_u64_le().ok()?, bytes.try_get_u64_le().ok()?));
                }
                extent
            }
            _ => return None,
        };
        let last_stamp_ms = bytes.try_get_u64_le().ok()?;
        let length = bytes.try_get_u32_le().ok()? as usize;
        if length > bytes.len() {
            return None;
        }
        let meta = postcard::from_bytes(&bytes.split_to(length)).ok()?;
        let meta = SnapshotMeta { terms, ..meta };
        let tokens = Tokens::decode(&mut bytes)?;
        Some(Tail { meta, extent, last_stamp_ms, tokens })
    }
}

impl Replica {
    /// Begins, goes on with or finishes a snapshot, as the log's size and the disk's progress ask for.
    pub(super) fn take_snapshot(&mut self, outbox: &mut Outbox) {
        self.drop_overtaken_incoming(outbox);
        if self.taking.is_none() && !self.begin_snapshot() {
            return;
        }
        let Some(taking) = &mut self.taking else { return };
        let partition = self.partition;
        let snapshot = taking.id;
        while taking.sequence < taking.written + SLICES_AHEAD
            && let Some(cursor) = taking.cursor
        {
            let mut out = BytesMut::new();
            taking.cursor = self.table.slice(cursor, SLICE_BYTES, &mut out);
            let (sequence, bytes) = (taking.sequence, out.freeze());
            outbox.outputs.push(Output::Snapshot(SnapshotWrite::Chunk {
                partition,
                snapshot,
                sequence,
                bytes,
            }));
            taking.sequence += 1;
        }
        if taking.cursor.is_some() || taking.finishing {
            return;
        }
        let exact_at = *taking.exact_at.get_or_insert(self.applied.max(self.exact_at));
        if self.raft.durable_index() < exact_at || self.raft.stable() < exact_at || self.applied < exact_at {
            return;
        }
        taking.finishing = true;
        taking.meta.exact_at = exact_at;
        let sequence = taking.sequence;
        // Tokens are taken now, perhaps with those of later entries: those are committed and will be applied again.
        let meta = Tail::encode(&taking.meta, &self.extent, self.last_stamp_ms, &self.tokens);
        outbox.outputs.push(Output::Snapshot(SnapshotWrite::Finish { partition, snapshot, sequence, meta }));
    }

    fn begin_snapshot(&mut self) -> bool {
        let threshold = self.options.snapshot_log_bytes.max(self.table.bytes());
        // While a state from elsewhere is being received a snapshot of the present one is of no use.
        if (self.log_bytes <= threshold && !self.wants_snapshot)
            || self.is_needed_by_children()
            || self.incoming.is_some()
            || self.disk_full
            || self.applied < self.exact_at
        {
            return false;
        }
        let Some(meta) = self.raft.meta_at(self.applied.min(self.raft.stable())) else { return false };
        let id = self.next_snapshot_id();
        self.log_bytes = 0;
        self.wants_snapshot = false;
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.raft.has_bug(Bug::LogTruncatedTooEarly) {
            self.raft.compact(self.applied);
        }
        self.taking = Some(Taking {
            id,
            meta,
            cursor: Some(0),
            sequence: 0,
            written: 0,
            exact_at: None,
            finishing: false,
        });
        true
    }

    pub(super) fn next_snapshot_id(&mut self) -> u64 {
        self.next_snapshot += 1;
        self.next_snapshot
    }

    /// A piece of a snapshot file is on the disk.
    pub fn snapshot_written(&mut self, snapshot: u64, sequence: u64, now: Now, outbox: &mut Outbox) {
        if self.incoming_written(snapshot, sequence, now, outbox) {
            return;
        }
        let Some(taking) = self.taking.as_mut().filter(|taking| taking.id == snapshot) else { return };
        if !taking.finishing || sequence != taking.sequence {
            taking.written = taking.written.max(sequence + 1);
            return;
        }
        let index = taking.meta.index;
        self.taking = None;
        self.compactable = self.compactable.max(index);
        outbox.event(Event::SnapshotTaken { partition: self.partition, index });
        self.compact();
    }

    /// There was no room for a snapshot file, and what was written of it is gone. It is begun again when the log has
    /// grown as much again, or the leader offers it again.
    pub fn snapshot_failed(&mut self, snapshot: u64) {
        if self.taking.as_ref().is_some_and(|taking| taking.id == snapshot) {
            let is_first = self.compactable == 0 && self.applied > 0;
            self.wants_snapshot = is_first && self.extent != Extent::default();
            self.taking = None;
            self.log_bytes = self.options.snapshot_log_bytes / 2;
        }
        if self.incoming.as_ref().is_some_and(|incoming| incoming.is_file(snapshot)) {
            self.incoming = None;
        }
    }

    /// Lets the log go up to the newest durable snapshot, but not what a transfer under way needs, nor what a
    /// follower that answers is about to be sent.
    pub(super) fn compact(&mut self) {
        let mut index = self.compactable.min(self.needed_for_split()).min(self.raft.stable());
        for transfer in self.transfers.values() {
            index = index.min(transfer.index());
        }
        if index > self.raft.log_start() {
            self.raft.compact(index);
        }
    }

    /// Gives up the snapshot under way.
    pub(super) fn abort_snapshot(&mut self, outbox: &mut Outbox) {
        if let Some(taking) = self.taking.take() {
            let (partition, snapshot) = (self.partition, taking.id);
            outbox.outputs.push(Output::Snapshot(SnapshotWrite::Abort { partition, snapshot }));
        }
    }
}

/// What a replica starts from.
pub(super) struct Start {
    pub initial: Initial,
    pub table: Table,
    pub extent: Extent,
    pub last_stamp_ms: u64,
    pub tokens: Tokens,
    pub next_snapshot: u64,
}

/// Puts together what storage found. Where a snapshot from elsewhere had become durable and the log does not know of it
/// yet, the consensus resets the log.
///
/// # Panics
/// If the snapshot's description or the hard state cannot be read (their checksums were right, so a newer version wrote
/// them), or if entries between snapshot and log are missing.
pub(super) fn start_from(recovered: Recovered, placement: Option<&PartitionPlacement>) -> Start {
    let partition = recovered.partition;
    let hard_state = recovered.state.as_ref().map(|state| match HardState::decode(state) {
        Some(hard_state) => hard_state,
        None => panic!("the state record of partition {} was written by another version", partition.0),
    });
    let mut start = Start {
        initial: Initial { hard_state: hard_state.unwrap_or_default(), ..Initial::default() },
        table: empty_table(placement),
        extent: Extent::default(),
        last_stamp_ms: 0,
        tokens: Tokens::default(),
        next_snapshot: 0,
    };
    match recovered.snapshot {
        Some((_, Content::Merged(_))) => {
            panic!("partition {} has a snapshot of another strategy", partition.0)
        }
        Some((meta, Content::Table(table))) => {
            let Some(tail) = Tail::decode(meta) else {
                panic!("the snapshot of partition {} was written by another version", partition.0);
            };
            start.table = table;
            tail.extent.narrow(&mut start.table);
            start.extent = tail.extent;
            start.last_stamp_ms = tail.last_stamp_ms;
            start.tokens = tail.tokens;
            start.initial.snapshot = tail.meta;
        }
        None if start.initial.hard_state.newcomer => {}
        None => {
            let voters = placement.map(|placement| placement.replicas.clone()).unwrap_or_default();
            start.initial.snapshot.membership = sorted_voters(voters);
        }
    }
    start.next_snapshot = recovered.newest_snapshot;
    let base = start.initial.snapshot.index;
    assert!(
        recovered.log_start <= base,
        "partition {}: entries {} to {} are in no log and no snapshot",
        partition.0,
        base + 1,
        recovered.log_start
    );
    start.initial.entries = recovered.entries;
    start
}

pub(super) fn sorted_voters(mut voters: Vec<crate::NodeId>) -> Membership {
    voters.sort_unstable();
    Membership { voters, ..Membership::default() }
}

/// A table for the partition's slots.
pub(super) fn empty_table(placement: Option<&PartitionPlacement>) -> Table {
    placement
        .map_or_else(Table::new, |placement| Table::with_slots(placement.first_slot, placement.last_slot))
}

impl Replica {
    /// Takes over a state that came from elsewhere and is durable.
    pub(super) fn install(&mut self, table: Table, tail: Tail, now: Now, outbox: &mut Outbox) -> bool {
        if !self.raft.restore(&tail.meta, now.time) {
            return false;
        }
        self.abort_snapshot(outbox);
        let index = tail.meta.index;
        self.table = table;
        tail.extent.narrow(&mut self.table);
        self.extent = tail.extent;
        self.applied = index;
        self.applied_term = tail.meta.term;
        self.exact_at = tail.meta.exact_at;
        self.last_stamp_ms = self.last_stamp_ms.max(tail.last_stamp_ms);
        self.tokens = tail.tokens;
        self.unstable.clear();
        self.undo_bytes = 0;
        self.lost_here.clear();
        self.digests.reset();
        self.log_bytes = 0;
        self.compactable = index;
        self.pending.clear();
        let settled = self.proposals.partition_point(|proposal| proposal.index <= index);
        for proposal in self.proposals.drain(..settled) {
            if let Some(requester) = proposal.requester {
                let text = "the leader changed, and what became of the write cannot be told";
                outbox.answers.push((requester, crate::Reply::Unknown(text.into())));
            }
        }
        outbox.event(Event::SnapshotInstalled { partition: self.partition, index });
        self.incoming = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeId;

    fn meta() -> SnapshotMeta {
        SnapshotMeta {
            index: 300,
            term: 7,
            membership: sorted_voters(vec![NodeId(2), NodeId(1)]),
            exact_at: 301,
            terms: Vec::new(),
        }
    }

    fn tokens() -> Tokens {
        let mut tokens = Tokens::default();
        tokens.insert(Bytes::from_static(b"t"), Bytes::from_static(b"+OK\r\n"), 9, 100, 10);
        tokens
    }

    /// Bytes that are on disks by now: a change of format adds a version and keeps these.
    #[test]
    fn versions_1_and_2_are_still_read() {
        let rest = b"\x0a\0\0\0\0\0\0\0\x0a\0\0\0\xac\x02\x07\x02\x01\x02\0\0\xad\x02\
            \x01\0\0\0\x09\0\0\0\0\0\0\0\x01t\x05\0\0\0+OK\r\n";
        let mut split = Extent::default();
        for (extent, head) in
            [(&[][..], &b"\x01"[..]), (&b"\x05\0\x2c\x01\x09\0\0\0\x0b\0\0\0\0\0\0\0\x01"[..], &b"\x02"[..])]
        {
            let bytes = Bytes::from([head, extent, rest].concat());
            let tail = Tail::decode(bytes.clone()).expect("it is read");
            assert_eq!((&tail.meta, tail.last_stamp_ms), (&meta(), 10));
            assert_eq!(tail.tokens.reply(b"t"), Some(&Bytes::from_static(b"+OK\r\n")));
            assert_eq!(Tail::encode(&tail.meta, &tail.extent, 10, &tail.tokens), bytes);
            assert_eq!(tail.extent == Extent::default(), extent.is_empty());
            split = tail.extent;
        }
        let mut table = Table::new();
        split.narrow(&mut table);
        assert_eq!((table.slots(), split.layout(), split.split_at), ((5, 300), 9, 11));
    }

    #[test]
    fn damage_is_not_a_tail() {
        let whole = Tail::encode(&meta(), &Extent::default(), 10, &tokens());
        for length in 0..whole.len() {
            assert!(Tail::decode(whole.slice(..length)).is_none(), "{length} bytes of it");
        }
        assert!(Tail::decode(Bytes::from_static(b"\x04")).is_none(), "a version that is not known");
    }
}
