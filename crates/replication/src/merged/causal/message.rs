//! What replicas say to one another.

use bytes::Bytes;
use data::merged::{HybridTime, VersionVector};

use super::Range;
use super::state::Cursor;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Mutations, causes before effects.
    Mutations(Vec<Bytes>),
    /// What the sender has.
    Holds(Holds),
    /// The sender has missed something.
    Want(Want),
    /// Something that was wanted.
    Piece { id: u64, body: Body },
    /// What a range of keys comes to, and what with.
    Range(Range),
    /// What the range of a round comes to at the sender.
    RangeIs { round: u64, digest: u128 },
    /// The receiver holds something else in the range of that round than it ought to.
    Rebuild { round: u64 },
    /// The sender is asked by a client for what all have, and has applied `vector`.
    Ask { round: Round, vector: VersionVector },
    /// All that was durable with the sender when it was asked in that round.
    Told { round: Round, vector: VersionVector },
    /// For a node that stands in for members ([`crate::merged::hints`]): all members hold `base`, and these mutations come after it, causes
    /// before effects.
    Hint { base: VersionVector, mutations: Vec<Bytes> },
    /// The sender stands in for members: all of this is durable there, or with all members. Does it take more?
    Hinted { vector: VersionVector, takes: bool },
    /// The sender lacks rights to a counter that is not to fall below zero.
    Rights { key: Bytes, amount: i128 },
}

/// A question that a replica asks others, in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Round {
    /// Another one in each life.
    pub life: u64,
    /// Rises from one to the next.
    pub number: u64,
}

/// What a replica has.
#[derive(Clone, Debug, PartialEq)]
pub struct Holds {
    /// All that is durable.
    pub vector: VersionVector,
    /// Who has less than this can only take a state.
    pub base: VersionVector,
    /// Who has less than this can only take steps, or a state.
    pub folded: VersionVector,
    /// The digest of the state, if all that is applied is durable.
    pub digest: Option<u128>,
    /// The version of the catalogue's record of the group that the sender goes by.
    pub knows: u64,
}

/// What a replica has missed.
#[derive(Clone, Debug, PartialEq)]
pub struct Want {
    /// Rises from one to the next of a replica; pieces of one thing have the same.
    pub id: u64,
    /// What it has.
    pub vector: VersionVector,
    /// What it wants.
    pub what: What,
}

/// See [`Want`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// That many pieces of steps have come, of the list of that number: the next one.
    Steps { list: u64, have: u32 },
    /// The slice of the state that begins there.
    State { from: Cursor },
}

/// A piece of what was wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Piece `number`, from 0 on, of `of` of a list; with all of them all that is in `vector` is known.
    Steps { list: u64, number: u32, of: u32, vector: VersionVector, bytes: Bytes },
    /// A slice, and where the next one begins; what it has is `vector`, and nothing in it is of later than `latest`.
    Slice { from: Cursor, next: Option<Cursor>, vector: VersionVector, latest: HybridTime, bytes: Bytes },
    /// It is not kept: a state has to be taken.
    Gone,
}
