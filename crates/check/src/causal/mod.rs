//! Causal consistency, with and without convergence, and the session guarantees.
//!
//! The causal order is the smallest one that holds what a session did in its order, and each write before the reads that
//! return it. A history is judged by *bad patterns* (Bouajjani, Enea, Guerraoui, Hamza: On verifying causal consistency,
//! POPL 2017, table 2), for histories in which every write is of its own value:
//!
//! | pattern | what it means |
//! |---|---|
//! | thin air read | a value was read that nobody wrote |
//! | cyclic causality | a write was read before something that it depends on |
//! | write co init read | nothing was read though a write had been seen |
//! | write co read | a value was read though one that replaces it had been seen |
//! | cyclic conflicts | two sessions saw concurrent writes end in different orders (forbidden by causal *convergence* only) |
//!
//! A session is a process of the history; its operations must not overlap. What was refused is left out. A write of
//! unknown outcome depends on what its session did before, but nothing depends on it except who reads it, since it may
//! take effect late. The check takes `O(n s)` steps for `n` operations and `s` sessions, so it needs no budget.

mod guarantees;
mod order;
mod patterns;

pub use guarantees::{Guarantee, session};
pub use patterns::{Level, causal};
