//! Histories and verdicts: did a system keep what it promised?
//!
//! A [`History`] is what clients saw: which operation was invoked when, and whether it ended as done, refused or unknown.
//! A check reads a history and gives a verdict with a reason. This crate knows nothing of the system under test, so that
//! its verdict is independent, and it does no I/O: the simulator and the binary hand it what they recorded.
//!
//! * [`linearizable`](mod@linearizable): is there one order of all operations on a key that explains every answer and
//!   respects real time? For the [`model`]s register, strings with append, counter.
//! * [`causal`](mod@causal): does what a session has seen stay seen, and the four session guarantees?
//! * [`freshness`]: how old were the values that were read; regular registers; bounded staleness.
//! * [`counters`]: sums that only grow. [`expiry`]: keys that live for a time.
//! * [`durable`]: is every acknowledged write in the final state, or listed as lost, and nothing that was refused?
//! * [`fenced`](mod@fenced): does a primary stop before its successor acknowledges anything?
//! * [`convergent`](mod@convergent): do replicas hold the same when all is quiet?
//! * [`picture`]: a counterexample as a timeline.
//! * [`format`](mod@format): histories as text: our own JSON lines, Jepsen's etcd logs, porcupine's key-value logs.

pub mod causal;
pub mod convergent;
pub mod counters;
pub mod durable;
pub mod expiry;
pub mod fenced;
mod finding;
pub mod format;
pub mod freshness;
mod history;
pub mod linearizable;
mod map;
pub mod model;
pub mod picture;
mod text;
mod values;

pub use finding::{Counterexample, Finding};
pub use history::{History, Operation, OperationId, Outcome};
pub use linearizable::{Budget, Failure, Verdict, check};
pub use model::Model;
pub use text::Text;
pub use values::{Registers, Unfit};
