//! Whole nodes as child processes on loopback, and clients that talk to them.
//!
//! A node is this same test program, started again to run [`node_process`] alone: so nodes can be killed as hard as real
//! ones. No test asserts how long something takes; they wait until it is so, up to a generous limit.
#![allow(clippy::disallowed_methods, missing_docs)]

mod acl;
mod basics;
mod collections;
mod consistency;
mod damage;
mod faults;
mod hot;
mod import;
mod leaderless;
mod limits;
mod membership;
mod multi_primary;
mod primary;
mod splits;
mod start;
mod support;
mod transactions;

/// The life of a node, in a process of its own ([`support::Node`]).
#[test]
#[ignore = "runs in child processes only"]
fn node_process() {
    support::process::run();
}
