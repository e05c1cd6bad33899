//! Strategies that agree on a log and apply it.

pub(crate) mod pace;
pub mod raft;
pub(crate) mod replica;

pub use replica::TOKEN_BYTES;
