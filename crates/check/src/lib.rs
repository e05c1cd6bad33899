//! Histories and verdicts: did a system keep what it promised?
//!
//! A [`History`] is what clients saw: which operation was invoked when, and whether it ended as done, refused or unknown.
//! A check reads a history and gives a verdict with a reason. This crate knows nothing of the system under test, so that
//! its verdict is independent, and it does no I/O: the simulator and the binary hand it what they recorded.
//!
//! * [`linearizable`](mod@linearizable): is there one order of all operations on a key that explains every answer and
//!   respects real time? For the [`model`]s register, strings with append, counter.
//! * [`durable`]: is every acknowledged write in the final state, and nothing that was refused?
//! * [`format`](mod@format): histories as text: our own JSON lines, Jepsen's etcd logs, porcupine's key-value logs.

pub mod durable;
pub mod format;
mod history;
pub mod linearizable;
mod map;
pub mod model;
mod text;

pub use history::{History, Operation, OperationId, Outcome};
pub use linearizable::{Budget, Failure, Verdict, check};
pub use model::Model;
pub use text::Text;
