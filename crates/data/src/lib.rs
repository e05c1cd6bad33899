//! What commands mean: the command table, the values, and how a command becomes a change of state. Pure: no I/O, no
//! clock, no randomness.
//!
//! A write happens in two steps that every replication strategy shares. [`prepare`](crate::prepare::prepare) looks at the
//! state through a [`View`] and turns command and [`Stamp`] into a reply and an absolute [`Mutation`];
//! [`Table::apply`] changes the state by it. Whatever depends on time, chance or the previous value is decided in the
//! first step, once; so every replica that applies the same mutations in the same order holds the same state, and a
//! mutation that is applied again after a later state of its key has been loaded does no harm as long as those that
//! followed it are applied too (which makes a snapshot that was taken while writes went on exact).
//!
//! Where to read next: `command` (the table), `table` (the state), `collection` (hashes, lists, sets and sorted sets), `view` (state plus writes under way), `mutation`.

pub mod collection;
pub mod command;
pub(crate) mod commands;
mod context;
mod entry;
pub mod errors;
pub mod glob;
pub mod merged;
pub mod mutation;
mod number;
pub mod prepare;
pub mod route;
pub mod slot;
pub mod stamp;
pub mod table;
mod varint;
pub mod view;

pub use collection::{CollectionRef, Kind};
pub use command::Command;
pub use commands::blocking::{Blocking, blocking};
pub use entry::ValueRef;
pub use mutation::{Mutation, MutationBuilder, Operation};
pub use prepare::{
    Answer, Prepared, Watch, answer, fingerprint, prepare, prepare_merged, prepare_merged_transaction,
    prepare_transaction,
};
pub use route::{Home, Homes, Route, route};
pub use stamp::Stamp;
pub use table::{Digest, Position, Table};
pub use view::{Pending, View};
