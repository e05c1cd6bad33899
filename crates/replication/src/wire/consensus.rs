//! The bytes of the consensus' messages: a kind byte, the term, the other fields in the order of their declaration.
//! Entries are consecutive, so their indexes are not written: kind byte, term, payload.

use bytes::{BufMut, BytesMut};

use super::Malformed;
use super::fields::{Reader, put_bytes, put_flag, put_number};
use crate::NodeId;
use crate::ordered::raft::{Entry, EntryKind, Membership, Message, SnapshotMeta};

mod kind {
    pub const PRE_VOTE: u8 = 1;
    pub const PRE_VOTE_GRANTED: u8 = 2;
    pub const VOTE: u8 = 3;
    pub const VOTE_GRANTED: u8 = 4;
    pub const APPEND: u8 = 5;
    pub const APPEND_OK: u8 = 6;
    pub const APPEND_REJECT: u8 = 7;
    pub const HEARTBEAT: u8 = 8;
    pub const HEARTBEAT_OK: u8 = 9;
    pub const COMMIT: u8 = 10;
    pub const READ_INDEX: u8 = 11;
    pub const READ_INDEX_OK: u8 = 12;
    pub const TIMEOUT_NOW: u8 = 13;
    pub const STALE: u8 = 14;
    pub const WAKE: u8 = 15;
    pub const REMOVED: u8 = 16;
    /// An append to one that has not yet acknowledged since when it is a member: that comes first.
    pub const APPEND_ADMITTED: u8 = 17;
    pub const AHEAD: u8 = 18;
    pub const HELD: u8 = 19;
    pub const LOG_END: u8 = 20;
    pub const LOG_END_OK: u8 = 21;
    pub const GRANTED_IN_DOUBT: u8 = 22;
    /// From one that is not in sync: the version of the configuration that it knows comes first.
    pub const APPEND_OK_VOUCHED: u8 = 23;
    pub const HELD_VOUCHED: u8 = 24;
}

pub(super) fn put_message(out: &mut BytesMut, message: &Message) {
    let (kind, numbers): (u8, &[u64]) = match message {
        Message::PreVote { last_index, last_term, .. } => (kind::PRE_VOTE, &[*last_index, *last_term]),
        Message::PreVoteGranted { .. } => (kind::PRE_VOTE_GRANTED, &[]),
        Message::Vote { last_index, last_term, .. } => (kind::VOTE, &[*last_index, *last_term]),
        Message::VoteGranted { .. } => (kind::VOTE_GRANTED, &[]),
        Message::Append { round, prev_index, prev_term, commit, admitted: 0, .. } => {
            (kind::APPEND, &[*round, *prev_index, *prev_term, *commit])
        }
        Message::Append { round, prev_index, prev_term, commit, admitted, .. } => {
            (kind::APPEND_ADMITTED, &[*admitted, *round, *prev_index, *prev_term, *commit])
        }
        Message::AppendOk { round, match_index, version: 0, .. } => {
            (kind::APPEND_OK, &[*round, *match_index])
        }
        Message::AppendOk { round, match_index, version, .. } => {
            (kind::APPEND_OK_VOUCHED, &[*version, *round, *match_index])
        }
        Message::AppendReject { round, prev_index, hint_index, hint_term, .. } => {
            (kind::APPEND_REJECT, &[*round, *prev_index, *hint_index, *hint_term])
        }
        Message::Heartbeat { round, commit, .. } => (kind::HEARTBEAT, &[*round, *commit]),
        Message::HeartbeatOk { round, commit, .. } => (kind::HEARTBEAT_OK, &[*round, *commit]),
        Message::Commit { commit, .. } => (kind::COMMIT, &[*commit]),
        Message::ReadIndex { batch, .. } => (kind::READ_INDEX, &[*batch]),
        Message::ReadIndexOk { batch, index, .. } => (kind::READ_INDEX_OK, &[*batch, *index]),
        Message::TimeoutNow { .. } => (kind::TIMEOUT_NOW, &[]),
        Message::Stale { .. } => (kind::STALE, &[]),
        Message::Wake { .. } => (kind::WAKE, &[]),
        Message::Removed { index, .. } => (kind::REMOVED, &[*index]),
        Message::Ahead { last_index, last_term, .. } => (kind::AHEAD, &[*last_index, *last_term]),
        Message::Held { round, index, version: 0, .. } => (kind::HELD, &[*round, *index]),
        Message::Held { round, index, version, .. } => (kind::HELD_VOUCHED, &[*version, *round, *index]),
        Message::LogEnd { batch, .. } => (kind::LOG_END, &[*batch]),
        Message::LogEndOk { batch, index, .. } => (kind::LOG_END_OK, &[*batch, *index]),
        Message::GrantedInDoubt { .. } => (kind::GRANTED_IN_DOUBT, &[]),
    };
    out.put_u8(kind);
    put_number(out, message.term());
    for &number in numbers {
        put_number(out, number);
    }
    match message {
        Message::Vote { transfer: flag, .. }
        | Message::AppendReject { disk_full: flag, .. }
        | Message::Heartbeat { quiet: flag, .. } => put_flag(out, *flag),
        Message::HeartbeatOk { quiet, disk_full, .. } => {
            put_flag(out, *quiet);
            put_flag(out, *disk_full);
        }
        Message::Append { entries, .. } => put_entries(out, entries),
        _ => {}
    }
}

fn put_entries(out: &mut BytesMut, entries: &[Entry]) {
    let payloads: usize = entries.iter().map(|entry| entry.payload.len() + 16).sum();
    out.reserve(payloads + 16);
    put_number(out, entries.len() as u64);
    for entry in entries {
        out.put_u8(entry.kind as u8);
        put_number(out, entry.term);
        put_bytes(out, &entry.payload);
    }
}

pub(super) fn message(reader: &mut Reader) -> Result<Message, Malformed> {
    let kind = reader.byte()?;
    let term = reader.number()?;
    Ok(match kind {
        kind::PRE_VOTE => {
            Message::PreVote { term, last_index: reader.number()?, last_term: reader.number()? }
        }
        kind::PRE_VOTE_GRANTED => Message::PreVoteGranted { term },
        kind::VOTE => Message::Vote {
            term,
            last_index: reader.number()?,
            last_term: reader.number()?,
            transfer: reader.flag()?,
        },
        kind::VOTE_GRANTED => Message::VoteGranted { term },
        kind::APPEND => append(reader, term, 0)?,
        kind::APPEND_ADMITTED => {
            let admitted = reader.number()?;
            append(reader, term, admitted)?
        }
        kind::APPEND_OK | kind::APPEND_OK_VOUCHED => {
            let version = if kind == kind::APPEND_OK { 0 } else { reader.number()? };
            Message::AppendOk { term, version, round: reader.number()?, match_index: reader.number()? }
        }
        kind::APPEND_REJECT => Message::AppendReject {
            term,
            round: reader.number()?,
            prev_index: reader.number()?,
            hint_index: reader.number()?,
            hint_term: reader.number()?,
            disk_full: reader.flag()?,
        },
        kind::HEARTBEAT => Message::Heartbeat {
            term,
            round: reader.number()?,
            commit: reader.number()?,
            quiet: reader.flag()?,
        },
        kind::HEARTBEAT_OK => Message::HeartbeatOk {
            term,
            round: reader.number()?,
            commit: reader.number()?,
            quiet: reader.flag()?,
            disk_full: reader.flag()?,
        },
        kind::COMMIT => Message::Commit { term, commit: reader.number()? },
        kind::READ_INDEX => Message::ReadIndex { term, batch: reader.number()? },
        kind::READ_INDEX_OK => {
            Message::ReadIndexOk { term, batch: reader.number()?, index: reader.number()? }
        }
        kind::TIMEOUT_NOW => Message::TimeoutNow { term },
        kind::STALE => Message::Stale { term },
        kind::WAKE => Message::Wake { term },
        kind::REMOVED => Message::Removed { term, index: reader.number()? },
        kind::AHEAD => Message::Ahead { term, last_index: reader.number()?, last_term: reader.number()? },
        kind::HELD | kind::HELD_VOUCHED => {
            let version = if kind == kind::HELD { 0 } else { reader.number()? };
            Message::Held { term, version, round: reader.number()?, index: reader.number()? }
        }
        kind::LOG_END => Message::LogEnd { term, batch: reader.number()? },
        kind::LOG_END_OK => Message::LogEndOk { term, batch: reader.number()?, index: reader.number()? },
        kind::GRANTED_IN_DOUBT => Message::GrantedInDoubt { term },
        _ => return Err(Malformed("a kind of consensus message that is not known")),
    })
}

fn append(reader: &mut Reader, term: u64, admitted: u64) -> Result<Message, Malformed> {
    let round = reader.number()?;
    let prev_index = reader.number()?;
    let prev_term = reader.number()?;
    let commit = reader.number()?;
    let count = reader.number()?;
    let mut entries = Vec::new();
    for offset in 1..=count {
        let kind =
            EntryKind::from_byte(reader.byte()?).ok_or(Malformed("a kind of entry that is not known"))?;
        entries.push(Entry {
            index: prev_index + offset,
            term: reader.number()?,
            kind,
            payload: reader.bytes()?,
        });
    }
    Ok(Message::Append { term, round, prev_index, prev_term, commit, admitted, entries })
}

pub(super) fn put_snapshot_meta(out: &mut BytesMut, meta: &SnapshotMeta) {
    put_number(out, meta.index);
    put_number(out, meta.term);
    for nodes in [&meta.membership.voters, &meta.membership.outgoing, &meta.membership.learners] {
        put_nodes(out, nodes);
    }
    put_number(out, meta.exact_at);
}

pub(super) fn put_nodes(out: &mut BytesMut, nodes: &[NodeId]) {
    put_number(out, nodes.len() as u64);
    for node in nodes {
        out.put_u64_le(node.0);
    }
}

pub(super) fn snapshot_meta(reader: &mut Reader) -> Result<SnapshotMeta, Malformed> {
    let index = reader.number()?;
    let term = reader.number()?;
    let membership =
        Membership { voters: nodes(reader)?, outgoing: nodes(reader)?, learners: nodes(reader)? };
    Ok(SnapshotMeta { index, term, membership, exact_at: reader.number()?, terms: Vec::new() })
}

pub(super) fn nodes(reader: &mut Reader) -> Result<Vec<NodeId>, Malformed> {
    let count = reader.number()?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(reader.node()?);
    }
    Ok(nodes)
}
