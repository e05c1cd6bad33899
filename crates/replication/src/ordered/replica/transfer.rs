//! Snapshots to and from other replicas, in chunks.
//!
//! The leader offers (an empty chunk), the follower says what it has already, chunks go out a few at a time, each
//! acknowledged with the position that the follower wants next. A break is gone over by another offer; a
//! transfer that another leader began is gone on with if the new leader's log still reaches back to where that one
//! started, since the slices may be of any later state as long as all entries since are applied after them. The log from
//! the snapshot's index on is kept while the transfer runs, so that writes going on never make it start anew.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use data::{Position, Table};

use super::Replica;
use super::snapshot::{SLICE_BYTES, Tail};
use crate::NodeId;
use crate::contract::{Event, Output, SnapshotWrite};
use crate::ordered::raft::SnapshotMeta;
use crate::shard::outbox::Outbox;
use crate::time::{Now, Time};
use crate::wire::{Message, SnapshotAck, SnapshotChunk};

/// Chunks on their way at a time.
const CHUNKS_AHEAD: usize = 4;
/// Pieces that came and are not on the disk: with more the sender is held back, so that they do not pile up in memory.
const PIECES_AHEAD: u64 = 8;
/// Nothing acknowledged for this long: the follower is asked again how far it is.
const RESEND_AFTER: Duration = Duration::from_millis(500);
/// Nothing acknowledged for this long: given up, so that the log need not be kept any longer.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// A snapshot on its way to a follower.
#[derive(Debug)]
pub(crate) struct Transfer {
    meta: SnapshotMeta,
    /// The follower has answered the offer.
    accepted: bool,
    /// Where the next chunk starts; `None`: the tail was sent.
    cursor: Option<Position>,
    /// Where chunks that are not acknowledged start, oldest first.
    unacknowledged: Vec<Position>,
    tail_sent: bool,
    progress_at: Time,
    sent_at: Time,
}

/// A snapshot on its way in.
#[derive(Debug)]
pub(crate) struct Incoming {
    meta: SnapshotMeta,
    /// Whose it is: what another primary sent may have been taken back since.
    term: u64,
    table: Table,
    /// The position wanted next; `None`: only the tail is missing.
    next: Option<Position>,
    file: u64,
    sequence: u64,
    /// Pieces that are on the disk.
    written: u64,
    /// The leader waits for an acknowledgement that is held back until the disk has caught up.
    owed_to: Option<NodeId>,
    /// Everything came and the file is being made durable.
    finishing: Option<(NodeId, Tail)>,
}

impl Transfer {
    /// The entry that the snapshot stands for: the log after it has to be kept.
    pub fn index(&self) -> u64 {
        self.meta.index
    }

    /// Are there slices that could go out at once?
    fn has_room(&self) -> bool {
        self.accepted && self.cursor.is_some() && self.unacknowledged.len() < CHUNKS_AHEAD
    }
}

impl Incoming {
    /// The number of the file that it is being written to.
    pub fn file(&self) -> u64 {
        self.file
    }

    /// Is it being written to this file?
    pub fn is_file(&self, snapshot: u64) -> bool {
        self.file == snapshot
    }
}

impl Replica {
    /// Copies for new members go no faster than this; 0: as fast as it goes.
    pub fn limit_copies(&mut self, bytes_per_second: u64) {
        self.copies.bytes_per_second = bytes_per_second;
        self.raft.limit_copies(bytes_per_second);
    }

    /// A follower is too far behind for the log.
    pub(super) fn start_transfer(&mut self, to: NodeId, now: Now, outbox: &mut Outbox) {
        if !self.raft.is_leader() {
            return;
        }
        let Some(meta) = self.raft.meta_at(self.applied.min(self.raft.stable())) else { return };
        let transfer = Transfer {
            meta,
            accepted: false,
            cursor: Some(0),
            unacknowledged: Vec::new(),
            tail_sent: false,
            progress_at: now.time,
            sent_at: now.time,
        };
        self.transfers.insert(to, transfer);
        self.send_offer(to, outbox);
    }

    fn send_offer(&mut self, to: NodeId, outbox: &mut Outbox) {
        self.send_chunk(to, 0, Some(0), Bytes::new(), outbox);
    }

    fn send_chunk(
        &self,
        to: NodeId,
        from: Position,
        next: Option<Position>,
        bytes: Bytes,
        outbox: &mut Outbox,
    ) {
        let Some(transfer) = self.transfers.get(&to) else { return };
        let (partition, term, mut meta) = (self.partition, self.raft.term(), transfer.meta.clone());
        // What the slice may hold effects of: if another leader goes on with this transfer, it does not know.
        meta.exact_at = self.applied.max(self.exact_at);
        outbox.send(to, Message::SnapshotChunk(SnapshotChunk { partition, term, meta, from, next, bytes }));
    }

    /// Sends chunks as far as the window goes.
    fn send_chunks(&mut self, to: NodeId, now: Now, outbox: &mut Outbox) {
        let is_paced = !self.raft.membership().is_voter(to);
        loop {
            let Some(transfer) = self.transfers.get_mut(&to) else { return };
            if !transfer.accepted || transfer.tail_sent || transfer.unacknowledged.len() >= CHUNKS_AHEAD {
                return;
            }
            if is_paced && transfer.cursor.is_some() && !self.copies.allows(now.time) {
                return;
            }
            transfer.sent_at = now.time;
            let Some(from) = transfer.cursor else {
                // All slices are there: the tail is made now, so that it covers the state of the last slice.
                if !transfer.unacknowledged.is_empty() {
                    return;
                }
                // Nor may it hold what could be taken back.
                if self.raft.stable() < self.applied {
                    return;
                }
                transfer.tail_sent = true;
                transfer.meta.exact_at = self.applied.max(self.exact_at);
                let tail = Tail::encode(&transfer.meta, &self.extent, self.last_stamp_ms, &self.tokens);
                return self.send_chunk(to, Position::MAX, None, tail, outbox);
            };
            let mut out = BytesMut::new();
            let next = self.table.slice(from, SLICE_BYTES, &mut out);
            transfer.cursor = next;
            transfer.unacknowledged.push(from);
            if is_paced {
                self.copies.spend(out.len(), now.time);
            }
            // `Position::MAX` as the position to go on from says that only the tail is missing.
            self.send_chunk(to, from, Some(next.unwrap_or(Position::MAX)), out.freeze(), outbox);
        }
    }

    /// The follower says how far it is.
    pub fn on_snapshot_ack(&mut self, from: NodeId, ack: SnapshotAck, now: Now, outbox: &mut Outbox) {
        let partition = self.partition;
        // An answer of another term may be that of a replica which has forgotten everything since.
        if !self.raft.is_leader() || ack.term != self.raft.term() {
            return;
        }
        let Some(transfer) = self.transfers.get_mut(&from) else { return };
        let Some(next) = ack.next else {
            if ack.index < transfer.meta.index {
                return;
            }
            let index = transfer.meta.index;
            self.transfers.remove(&from);
            self.raft.snapshot_delivered(from, Some(ack.index), now.time);
            outbox.event(Event::SnapshotSent { partition, to: from, index, resumed: false, finished: true });
            return self.compact();
        };
        if !transfer.accepted {
            return self.accept(from, ack.index, next, now, outbox);
        }
        if ack.index != transfer.meta.index {
            return;
        }
        transfer.progress_at = now.time;
        if next == 0 && transfer.unacknowledged.first() != Some(&0) {
            // The follower lost what it had (it restarted): from the beginning.
            transfer.cursor = Some(0);
            transfer.unacknowledged.clear();
            transfer.tail_sent = false;
        } else {
            transfer.unacknowledged.retain(|&position| position >= next);
            let oldest =
                transfer.unacknowledged.first().copied().or(transfer.cursor).unwrap_or(Position::MAX);
            if next < oldest {
                // A late answer had made us go too far: back to what the follower wants.
                transfer.cursor = Some(next);
                transfer.unacknowledged.clear();
                transfer.tail_sent = false;
            }
            // A follower that is further than we thought (its answers came late) is not sent again what it has.
            if transfer.cursor.is_some_and(|cursor| cursor < next) {
                transfer.cursor = (next != Position::MAX).then_some(next);
            }
        }
        self.send_chunks(from, now, outbox);
    }

    /// The follower has answered the offer: it has nothing, or part of a snapshot that may be gone on with.
    fn accept(&mut self, to: NodeId, index: u64, next: Position, now: Now, outbox: &mut Outbox) {
        // Slices from before a split and slices from after it make no state.
        let first = self.raft.log_start().max(self.extent.split_at);
        let reachable = index >= first && index <= self.applied;
        let meta = if reachable { self.raft.meta_at(index) } else { None };
        let Some(transfer) = self.transfers.get_mut(&to) else { return };
        let mut resumed = false;
        match meta {
            Some(meta) if index != transfer.meta.index || next != 0 => {
                transfer.meta = meta;
                transfer.cursor = (next != Position::MAX).then_some(next);
                resumed = next != 0;
            }
            _ => transfer.cursor = Some(0),
        }
        transfer.accepted = true;
        transfer.progress_at = now.time;
        let (partition, index) = (self.partition, transfer.meta.index);
        outbox.event(Event::SnapshotSent { partition, to, index, resumed, finished: false });
        self.send_chunks(to, now, outbox);
    }

    /// The state is not what it was: what was sent of it is of no use.
    pub(super) fn restart_transfers(&mut self, now: Now) {
        for (to, _) in std::mem::take(&mut self.transfers) {
            self.raft.snapshot_delivered(to, None, now.time);
        }
    }

    /// Sends again what was lost, gives up what leads nowhere.
    pub(super) fn transfer_wake(&mut self, now: Now, outbox: &mut Outbox) {
        // The consensus may have stepped down and this replica not know it yet: no chunk may go out in a term that this
        // node does not lead.
        if !self.raft.is_leader() {
            return;
        }
        let waiting: Vec<NodeId> = self.transfers.keys().copied().collect();
        for to in waiting {
            if self.transfers.get(&to).is_some_and(Transfer::has_room) {
                // It was held back for its pace.
                self.send_chunks(to, now, outbox);
            }
            let Some(transfer) = self.transfers.get_mut(&to) else { continue };
            if now.time >= transfer.progress_at + GIVE_UP_AFTER {
                self.transfers.remove(&to);
                self.raft.snapshot_delivered(to, None, now.time);
                self.compact();
            } else if now.time >= transfer.sent_at.max(transfer.progress_at) + RESEND_AFTER {
                // What was sent may be lost, or the follower gone: it is asked how far it is. That costs next to nothing,
                // so one that never answers does not use up the pace of those that do.
                transfer.sent_at = now.time;
                transfer.accepted = false;
                transfer.unacknowledged.clear();
                transfer.tail_sent = false;
                self.send_offer(to, outbox);
            }
        }
    }

    pub(super) fn transfer_wake_at(&self) -> Time {
        let due = |transfer: &Transfer| transfer.sent_at.max(transfer.progress_at) + RESEND_AFTER;
        let resend = self.transfers.values().map(due).min().unwrap_or(Time::NEVER);
        match self.copies.bytes_per_second > 0 && self.transfers.values().any(Transfer::has_room) {
            true => resend.min(self.copies.paid_at()),
            false => resend,
        }
    }

    /// A chunk from the leader.
    pub fn on_snapshot_chunk(&mut self, from: NodeId, chunk: SnapshotChunk, now: Now, outbox: &mut Outbox) {
        if !self.raft.hear_leader(from, chunk.term, now.time) {
            return;
        }
        if chunk.meta.index <= self.applied {
            return self.acknowledge_log(from, chunk.meta.index, outbox);
        }
        if self.raft.has_more_to_apply() {
            // Among it may be a split, and what that gives birth to must not be passed over. The leader offers again.
            return;
        }
        let appointed = self.raft.is_appointed();
        let of_another = |incoming: &mut Incoming| {
            appointed && incoming.term != chunk.term && incoming.finishing.is_none()
        };
        if let Some(former) = self.incoming.take_if(of_another) {
            let (partition, snapshot) = (self.partition, former.file);
            outbox.outputs.push(Output::Snapshot(SnapshotWrite::Abort { partition, snapshot }));
        }
        let is_offer = chunk.from == 0 && chunk.next == Some(0);
        let same = self.incoming.as_ref().is_some_and(|incoming| incoming.meta.index == chunk.meta.index);
        match (&self.incoming, is_offer) {
            (Some(incoming), true) => {
                let next = incoming.next.unwrap_or(Position::MAX);
                return self.acknowledge(from, incoming.meta.index, Some(next), outbox);
            }
            (None, true) => return self.acknowledge(from, chunk.meta.index, Some(0), outbox),
            (_, false) if !same && chunk.from == 0 => {
                self.begin_incoming(chunk.meta.clone(), chunk.term, outbox)
            }
            (_, false) if !same => return self.acknowledge(from, chunk.meta.index, Some(0), outbox),
            _ => {}
        }
        self.take_chunk(from, chunk, outbox);
    }

    fn begin_incoming(&mut self, meta: SnapshotMeta, term: u64, outbox: &mut Outbox) {
        self.abort_snapshot(outbox);
        if let Some(former) = self.incoming.take() {
            let (partition, snapshot) = (self.partition, former.file);
            outbox.outputs.push(Output::Snapshot(SnapshotWrite::Abort { partition, snapshot }));
        }
        let file = self.next_snapshot_id();
        let table = self.empty_table();
        self.incoming = Some(Incoming {
            meta,
            term,
            table,
            next: Some(0),
            file,
            sequence: 0,
            written: 0,
            owed_to: None,
            finishing: None,
        });
    }

    fn take_chunk(&mut self, from: NodeId, chunk: SnapshotChunk, outbox: &mut Outbox) {
        let Some(incoming) = &mut self.incoming else { return };
        let (partition, snapshot, sequence) = (self.partition, incoming.file, incoming.sequence);
        let index = incoming.meta.index;
        if incoming.finishing.is_some() {
            return;
        }
        incoming.meta.exact_at = incoming.meta.exact_at.max(chunk.meta.exact_at);
        let Some(next) = chunk.next else {
            if incoming.next.is_some() {
                let wanted = incoming.next;
                return self.acknowledge(from, index, wanted, outbox);
            }
            let Some(mut tail) = Tail::decode(chunk.bytes) else { return };
            tail.meta.exact_at = tail.meta.exact_at.max(incoming.meta.exact_at);
            let meta = Tail::encode(&tail.meta, &tail.extent, tail.last_stamp_ms, &tail.tokens);
            incoming.finishing = Some((from, tail));
            outbox.outputs.push(Output::Snapshot(SnapshotWrite::Finish {
                partition,
                snapshot,
                sequence,
                meta,
            }));
            return;
        };
        if incoming.next == Some(chunk.from) && incoming.table.load(&chunk.bytes).is_ok() {
            incoming.next = (next != Position::MAX).then_some(next);
            incoming.sequence += 1;
            let bytes = chunk.bytes;
            outbox.outputs.push(Output::Snapshot(SnapshotWrite::Chunk {
                partition,
                snapshot,
                sequence,
                bytes,
            }));
        }
        if incoming.sequence > incoming.written + PIECES_AHEAD {
            incoming.owed_to = Some(from);
            return;
        }
        let wanted = incoming.next.unwrap_or(Position::MAX);
        self.acknowledge(from, index, Some(wanted), outbox);
    }

    /// The log here reaches as far as the snapshot: so much of it as is durable is acknowledged. If that is less, the
    /// leader will ask again.
    fn acknowledge_log(&self, to: NodeId, index: u64, outbox: &mut Outbox) {
        let held = self.applied.min(self.raft.durable_index());
        if held >= index {
            self.acknowledge(to, held, None, outbox);
        }
    }

    fn acknowledge(&self, to: NodeId, index: u64, next: Option<Position>, outbox: &mut Outbox) {
        let (partition, term) = (self.partition, self.raft.term());
        outbox.send(to, Message::SnapshotAck(SnapshotAck { partition, term, index, next }));
    }

    /// The log has overtaken a snapshot that came in part: it will not be gone on with.
    pub(super) fn drop_overtaken_incoming(&mut self, outbox: &mut Outbox) {
        let overtaken =
            |incoming: &mut Incoming| incoming.finishing.is_none() && incoming.meta.index <= self.applied;
        if let Some(incoming) = self.incoming.take_if(overtaken) {
            let (partition, snapshot) = (self.partition, incoming.file);
            outbox.outputs.push(Output::Snapshot(SnapshotWrite::Abort { partition, snapshot }));
        }
    }

    /// Is the piece one of the snapshot that comes in? If it was the last one, the state is taken over.
    pub(super) fn incoming_written(
        &mut self,
        file: u64,
        sequence: u64,
        now: Now,
        outbox: &mut Outbox,
    ) -> bool {
        let Some(incoming) = self.incoming.as_mut().filter(|incoming| incoming.file == file) else {
            return false;
        };
        if sequence != incoming.sequence || incoming.finishing.is_none() {
            incoming.written = incoming.written.max(sequence + 1);
            let (index, wanted) = (incoming.meta.index, incoming.next.unwrap_or(Position::MAX));
            if let Some(leader) = incoming.owed_to.take() {
                self.acknowledge(leader, index, Some(wanted), outbox);
            }
            return true;
        }
        let Some(incoming) = self.incoming.take() else { return true };
        if let Some((from, tail)) = incoming.finishing {
            let index = tail.meta.index;
            if self.install(incoming.table, tail, now, outbox) {
                // The file is durable, and a restart resets the log to it.
                self.acknowledge(from, index, None, outbox);
            } else {
                self.acknowledge_log(from, index, outbox);
            }
        }
        true
    }
}
