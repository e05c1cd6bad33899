//! Strategies that agree on a log and apply it.

pub mod raft;
