//! What shards say to one another, and its bytes.
//!
//! A frame is a version byte, a tag byte and the fields of the message in the order in which they are declared. Payloads
//! (entries, calls, values, slices of a snapshot) stand in the frame as they are, and decoding gives out slices of it: no
//! copy. How single fields look: `wire::fields`. The consensus' messages: `wire::consensus`. Bytes of earlier versions are
//! kept as fixtures in the tests.
//!
//! Decoding takes whatever comes: it checks every bound, never panics, and allocates for what is there, not for what is
//! claimed to be.

mod causal;
mod consensus;
mod fields;
#[cfg(test)]
mod tests;

use bytes::{BufMut, Bytes, BytesMut};
use fields::{Reader, put_bytes, put_number, put_option, put_position};

use crate::configuration::{Acknowledgement, Ask, Wish};
use crate::ordered::raft;
use crate::{NodeId, PartitionId};

/// A message between the shards of two nodes.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Of one partition's consensus.
    Raft { partition: PartitionId, message: raft::Message },
    /// Heartbeats (and their answers) of many partitions in one frame.
    Many(Vec<(PartitionId, raft::Message)>),
    /// Node-level sign of life; keeps quiet groups quiet.
    Alive,
    /// A client's command for a partition that the receiver leads. Runs at most once: `receiver_incarnation` must be the
    /// receiver's own, and `sequence` rises from one forward to the next of one sender incarnation. Runs in order: a
    /// receiver that has sent one back runs none of the same `generation` that come later. `layout`: in its lower half how many partitions, in its upper how many keyspaces with groups of their own there
    /// were when it was routed; those that say nothing of it (the first kind of this message) may have been routed by any.
    Forward {
        partition: PartitionId,
        receiver_incarnation: u64,
        sequence: u64,
        generation: u64,
        deadline_ms: u32,
        layout: u32,
        call: Bytes,
    },
    /// The answer: 0 done, 1 refused, 2 unknown, 3 not the leader (so: refused, try elsewhere); then the encoded value.
    /// `seen`: what its session has seen by it, encoded; empty if it is not told.
    Forwarded { sequence: u64, sender_incarnation: u64, outcome: u8, value: Bytes, seen: Bytes },
    /// A piece of a snapshot.
    SnapshotChunk(SnapshotChunk),
    /// How far the receiver got; the sender goes on from there.
    SnapshotAck(SnapshotAck),
    /// The sender's state of a partition has this digest at this index: does the receiver's?
    Digest { partition: PartitionId, index: u64, digest: u128 },
    /// What the leader of a partition has to tell the catalogue.
    Members(crate::catalogue::Report),
    /// What a replica of a group asks the catalogue for.
    Ask(Ask),
    /// Of replicas that all take writes.
    Causal { partition: PartitionId, message: crate::merged::causal::Message },
}

/// A piece of a snapshot on its way to a replica that is too far behind for the log.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotChunk {
    /// The partition.
    pub partition: PartitionId,
    /// The sender's term.
    pub term: u64,
    /// What the snapshot stands for.
    pub meta: raft::SnapshotMeta,
    /// Position that this slice starts from.
    pub from: data::Position,
    /// Position to go on from; `None`: this was the last.
    pub next: Option<data::Position>,
    /// The slice.
    pub bytes: Bytes,
}

/// The receiver's answer to a chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotAck {
    /// The partition.
    pub partition: PartitionId,
    /// The receiver's term.
    pub term: u64,
    /// The index of the snapshot.
    pub index: u64,
    /// The position that the receiver wants next; `None`: it has everything and it is durable.
    pub next: Option<data::Position>,
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// The version byte that all frames begin with.
const VERSION: u8 = 1;

mod tag {
    pub const RAFT: u8 = 1;
    pub const MANY: u8 = 2;
    pub const ALIVE: u8 = 3;
    pub const FORWARD: u8 = 4;
    pub const FORWARDED: u8 = 5;
    pub const SNAPSHOT_CHUNK: u8 = 6;
    pub const SNAPSHOT_ACK: u8 = 7;
    pub const DIGEST: u8 = 9;
    pub const MEMBERS: u8 = 10;
    pub const FORWARD_WITH_LAYOUT: u8 = 11;
    pub const ASK: u8 = 12;
    pub const CAUSAL: u8 = 13;
    pub const FORWARDED_AND_SEEN: u8 = 14;
}

/// Appends the bytes of `message` to `out` (no length in front; the frame has it).
pub fn encode(message: &Message, out: &mut BytesMut) {
    out.put_u8(VERSION);
    match message {
        Message::Raft { partition, message } => {
            out.put_u8(tag::RAFT);
            put_number(out, u64::from(partition.0));
            consensus::put_message(out, message);
        }
        Message::Many(messages) => {
            out.put_u8(tag::MANY);
            for (partition, message) in messages {
                put_number(out, u64::from(partition.0));
                consensus::put_message(out, message);
            }
        }
        Message::Alive => out.put_u8(tag::ALIVE),
        Message::Forward {
            partition,
            receiver_incarnation,
            sequence,
            generation,
            deadline_ms,
            layout,
            call,
        } => {
            out.put_u8(tag::FORWARD_WITH_LAYOUT);
            put_number(out, u64::from(partition.0));
            out.put_u64_le(*receiver_incarnation);
            put_number(out, *sequence);
            put_number(out, *generation);
            put_number(out, u64::from(*deadline_ms));
            put_number(out, u64::from(*layout));
            put_bytes(out, call);
        }
        Message::Forwarded { sequence, sender_incarnation, outcome, value, seen } => {
            out.put_u8(if seen.is_empty() { tag::FORWARDED } else { tag::FORWARDED_AND_SEEN });
            put_number(out, *sequence);
            out.put_u64_le(*sender_incarnation);
            out.put_u8(*outcome);
            put_bytes(out, value);
            if !seen.is_empty() {
                put_bytes(out, seen);
            }
        }
        Message::SnapshotChunk(chunk) => {
            out.put_u8(tag::SNAPSHOT_CHUNK);
            put_number(out, u64::from(chunk.partition.0));
            put_number(out, chunk.term);
            consensus::put_snapshot_meta(out, &chunk.meta);
            put_position(out, chunk.from);
            put_option(out, chunk.next, put_position);
            put_bytes(out, &chunk.bytes);
        }
        Message::SnapshotAck(ack) => {
            out.put_u8(tag::SNAPSHOT_ACK);
            put_number(out, u64::from(ack.partition.0));
            put_number(out, ack.term);
            put_number(out, ack.index);
            put_option(out, ack.next, put_position);
        }
        Message::Digest { partition, index, digest } => {
            out.put_u8(tag::DIGEST);
            put_number(out, u64::from(partition.0));
            put_number(out, *index);
            out.put_u128_le(*digest);
        }
        Message::Members(report) => {
            out.put_u8(tag::MEMBERS);
            put_number(out, u64::from(report.partition.0));
            put_number(out, report.index);
            consensus::put_nodes(out, &report.voters);
        }
        Message::Causal { partition, message } => {
            out.put_u8(tag::CAUSAL);
            put_number(out, u64::from(partition.0));
            causal::put_message(out, message);
        }
        Message::Ask(Ask { partition, version, from, wish }) => {
            out.put_u8(tag::ASK);
            put_number(out, u64::from(partition.0));
            put_number(out, *version);
            out.put_u64_le(from.0);
            let (kind, nodes): (u8, &[NodeId]) = match wish {
                Wish::Suspect => (0, &[]),
                Wish::Remove(nodes) => (1, nodes),
                Wish::Admit(node) => (2, std::slice::from_ref(node)),
                Wish::Appoint(node) => (3, std::slice::from_ref(node)),
                Wish::Renew => (4, &[]),
                Wish::Confirm(acknowledgement) => (7, &[NodeId(acknowledgement.rank().into())]),
                Wish::Settled(node) => (6, std::slice::from_ref(node)),
                Wish::Claim(claim) => (8, &[NodeId(*claim)]),
                Wish::Leave => (9, &[]),
                Wish::Eject(node) => (10, std::slice::from_ref(node)),
                Wish::Return => (11, &[]),
                Wish::Join => (12, &[]),
                Wish::Known => (14, &[]),
                Wish::Heat(reads) => (15, &[NodeId(u64::from(*reads))]),
                Wish::Ready => (16, &[]),
                Wish::Release { lane, lanes } => (13, &[NodeId(u64::from(*lane) << 8 | u64::from(*lanes))]),
            };
            out.put_u8(kind);
            consensus::put_nodes(out, nodes);
        }
    }
}

/// The message in `bytes`; payloads are slices of it.
///
/// # Errors
/// The bytes are not a message. Never panics and never allocates more than a small multiple of the input.
pub fn decode(bytes: Bytes) -> Result<Message, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != VERSION {
        return Err(Malformed("a version that is not known"));
    }
    let message = match reader.byte()? {
        tag::RAFT => {
            Message::Raft { partition: reader.partition()?, message: consensus::message(&mut reader)? }
        }
        tag::MANY => {
            let mut messages = Vec::new();
            while !reader.is_empty() {
                messages.push((reader.partition()?, consensus::message(&mut reader)?));
            }
            Message::Many(messages)
        }
        tag::ALIVE => Message::Alive,
        kind @ (tag::FORWARD | tag::FORWARD_WITH_LAYOUT) => Message::Forward {
            partition: reader.partition()?,
            receiver_incarnation: reader.word()?,
            sequence: reader.number()?,
            generation: reader.number()?,
            deadline_ms: reader.number_u32()?,
            layout: if kind == tag::FORWARD { 0 } else { reader.number_u32()? },
            call: reader.bytes()?,
        },
        kind @ (tag::FORWARDED | tag::FORWARDED_AND_SEEN) => Message::Forwarded {
            sequence: reader.number()?,
            sender_incarnation: reader.word()?,
            outcome: reader.byte()?,
            value: reader.bytes()?,
            seen: if kind == tag::FORWARDED { Bytes::new() } else { reader.bytes()? },
        },
        tag::SNAPSHOT_CHUNK => Message::SnapshotChunk(SnapshotChunk {
            partition: reader.partition()?,
            term: reader.number()?,
            meta: consensus::snapshot_meta(&mut reader)?,
            from: reader.word()?,
            next: reader.option(Reader::word)?,
            bytes: reader.bytes()?,
        }),
        tag::SNAPSHOT_ACK => Message::SnapshotAck(SnapshotAck {
            partition: reader.partition()?,
            term: reader.number()?,
            index: reader.number()?,
            next: reader.option(Reader::word)?,
        }),
        tag::DIGEST => Message::Digest {
            partition: reader.partition()?,
            index: reader.number()?,
            digest: reader.long_word()?,
        },
        tag::MEMBERS => Message::Members(crate::catalogue::Report {
            partition: reader.partition()?,
            index: reader.number()?,
            voters: consensus::nodes(&mut reader)?,
        }),
        tag::CAUSAL => {
            Message::Causal { partition: reader.partition()?, message: causal::message(&mut reader)? }
        }
        tag::ASK => Message::Ask(Ask {
            partition: reader.partition()?,
            version: reader.number()?,
            from: reader.node()?,
            wish: match (reader.byte()?, consensus::nodes(&mut reader)?.as_slice()) {
                (0, []) => Wish::Suspect,
                (1, nodes) => Wish::Remove(nodes.to_vec()),
                (2, [node]) => Wish::Admit(*node),
                (3, [node]) => Wish::Appoint(*node),
                (4, []) => Wish::Renew,
                // From before it said what is held: then nothing may be relied on.
                (5, []) => Wish::Confirm(Acknowledgement::Async),
                (7, [NodeId(rank)]) => {
                    let rank = u32::try_from(*rank).map_err(|_| Malformed("an acknowledgement"))?;
                    Wish::Confirm(Acknowledgement::of_rank(rank))
                }
                (6, [node]) => Wish::Settled(*node),
                (8, [NodeId(claim)]) => Wish::Claim(*claim),
                (9, []) => Wish::Leave,
                (10, [node]) => Wish::Eject(*node),
                (11, []) => Wish::Return,
                (12, []) => Wish::Join,
                (14, []) => Wish::Known,
                (15, [NodeId(reads)]) => {
                    Wish::Heat(u32::try_from(*reads).map_err(|_| Malformed("a number of reads"))?)
                }
                (16, []) => Wish::Ready,
                (13, [NodeId(number)]) if *number < 1 << 16 => {
                    Wish::Release { lane: (number >> 8) as u8, lanes: *number as u8 }
                }
                _ => return Err(Malformed("a wish that is not known")),
            },
        }),
        _ => return Err(Malformed("a kind of message that is not known")),
    };
    if reader.is_empty() { Ok(message) } else { Err(Malformed("bytes after the message")) }
}
