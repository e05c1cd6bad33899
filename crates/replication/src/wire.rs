//! What shards say to one another, and its bytes.

use bytes::{Bytes, BytesMut};

use crate::PartitionId;
use crate::ordered::raft;

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
    /// receiver's own, and `sequence` rises from one forward to the next of one sender incarnation.
    Forward {
        partition: PartitionId,
        receiver_incarnation: u64,
        sequence: u64,
        deadline_ms: u32,
        call: Bytes,
    },
    /// The answer: 0 done, 1 refused, 2 unknown, 3 not the leader (so: refused, try elsewhere); then the encoded value.
    Forwarded { sequence: u64, sender_incarnation: u64, outcome: u8, value: Bytes },
    /// A piece of a snapshot.
    SnapshotChunk(SnapshotChunk),
    /// How far the receiver got; the sender goes on from there.
    SnapshotAck(SnapshotAck),
    /// The sender's state of a partition has this digest at this index: does the receiver's?
    Digest { partition: PartitionId, index: u64, digest: u128 },
    /// A node without data asks the leaders to let it take the place of `old` ([`crate::contract::Admin::Replace`]).
    Rebuild { partition: PartitionId, old: crate::NodeId },
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

/// Appends the bytes of `message` to `out` (no length in front; the frame has it).
pub fn encode(message: &Message, out: &mut BytesMut) {
    let _ = (message, out);
    todo!()
}

/// The message in `bytes`; payloads are slices of it.
///
/// # Errors
/// The bytes are not a message. Never panics and never allocates more than a small multiple of the input.
pub fn decode(bytes: Bytes) -> Result<Message, Malformed> {
    let _ = bytes;
    todo!()
}
