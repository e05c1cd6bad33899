//! Strategies that agree on a log and apply it.

pub(crate) mod pace;
pub mod raft;
pub(crate) mod replica;

pub use replica::TOKEN_BYTES;
pub use replica::split::FIRST_OF_CHILD;
