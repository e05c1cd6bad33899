//! Files that say what is to be checked.
//!
//! The first line names the model and the checks; the other lines are operations ([`json_lines`](super::json_lines)), or,
//! for two checks that are not about operations:
//!
//! ```json
//! {"history":"consort","version":1,"model":"writes","checks":["durable"]}
//! {"write":{"key":"a","value":"1","ended":"acknowledged"}}
//! {"held":{"key":"a","value":"1"}}
//! {"listed":{"key":"a","value":"2"}}
//! ```
//!
//! ```json
//! {"history":"consort","version":1,"model":"replicas","checks":["convergent"]}
//! {"group":"partition 3","replica":"n1","digest":"0badcafe"}
//! ```

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ReadError;
use super::json_lines::{complete_lines, header, header_line, json, read, read_as};
use crate::causal::{Guarantee, Level, causal, session};
use crate::convergent::{ReplicaState, convergent};
use crate::durable::{Ended, durable};
use crate::expiry::{ExpiringInput, expiring};
use crate::finding::Finding;
use crate::linearizable::{Budget, check};
use crate::model::{Counter, Model, Register, RegisterOutput, Strings, Transactions};
use crate::{counters, freshness};

/// What a file may ask to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Of any model with operations but `expiring`.
    Linearizable,
    /// Of `register`: read your writes.
    ReadYourWrites,
    /// Of `register`: monotonic reads.
    MonotonicReads,
    /// Of `register`: monotonic writes.
    MonotonicWrites,
    /// Of `register`: writes follow reads.
    WritesFollowReads,
    /// Of `register`: causal consistency.
    Causal,
    /// Of `register`: causal consistency with convergence.
    CausalConvergent,
    /// Of `register`: a regular register.
    Regular,
    /// Of `register`: no read is staler than this, in the file's unit of time.
    Bounded(u64),
    /// Of `counter`: sums that only grow.
    Monotonic,
    /// Of `expiring`: keys live as long as they should, give or take this.
    Expiring(u64),
    /// Of `writes`: nothing acknowledged is lost that is not listed.
    Durable,
    /// Of `replicas`: all hold the same.
    Convergent,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Linearizable => f.write_str("linearizable"),
            Check::ReadYourWrites => f.write_str(Guarantee::ReadYourWrites.name()),
            Check::MonotonicReads => f.write_str(Guarantee::MonotonicReads.name()),
            Check::MonotonicWrites => f.write_str(Guarantee::MonotonicWrites.name()),
            Check::WritesFollowReads => f.write_str(Guarantee::WritesFollowReads.name()),
            Check::Causal => f.write_str("causal"),
            Check::CausalConvergent => f.write_str("causal and convergent"),
            Check::Regular => f.write_str("regular"),
            Check::Bounded(bound) => write!(f, "no read staler than {bound}"),
            Check::Monotonic => f.write_str("sums only grow"),
            Check::Expiring(tolerance) => {
                write!(f, "keys live as long as they should, give or take {tolerance}")
            }
            Check::Durable => f.write_str("nothing acknowledged is lost unlisted"),
            Check::Convergent => f.write_str("replicas hold the same"),
        }
    }
}

/// A line about writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteLine {
    /// A client sent it.
    Write {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// How it ended.
        ended: Ended,
    },
    /// It is there in the end.
    Held {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// The system says that it lost it.
    Listed {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
}

/// The lines as a file.
pub fn write_writes(lines: &[WriteLine]) -> String {
    header_line("writes", &[Check::Durable]) + &lines.iter().map(json).collect::<String>()
}

/// The states of replicas as a file.
pub fn write_replicas(states: &[ReplicaState]) -> String {
    header_line("replicas", &[Check::Convergent]) + &states.iter().map(json).collect::<String>()
}

/// Checks what the first line of a file asks for, in that order.
///
/// # Errors
/// The first line names another format, version or model, or a check that is not of this model; or a line is not as it
/// should be.
pub fn judge(text: &str, budget: Budget) -> Result<Vec<(Check, Finding)>, ReadError> {
    let header = header(text)?;
    let checks = if header.checks.is_empty() { vec![Check::Linearizable] } else { header.checks };
    let each = |one: &dyn Fn(Check) -> Option<Finding>| {
        let judged = |check: Check| {
            let reason = || format!("{check} is no check of the model {:?}", header.model);
            one(check).map(|finding| (check, finding)).ok_or_else(|| ReadError { line: 1, reason: reason() })
        };
        checks.iter().copied().map(judged).collect::<Result<Vec<_>, _>>()
    };
    match header.model.as_str() {
        Register::NAME => {
            let history = read::<Register>(text)?;
            each(&|check| of_registers(check, &history, budget))
        }
        Counter::NAME => {
            let history = read::<Counter>(text)?;
            each(&|check| match check {
                Check::Monotonic => Some(counters::monotonic(&history)),
                _ => linearizable::<Counter>(check, &history, budget),
            })
        }
        Strings::NAME => {
            let history = read::<Strings>(text)?;
            each(&|check| linearizable::<Strings>(check, &history, budget))
        }
        Transactions::NAME => {
            let history = read::<Transactions>(text)?;
            each(&|check| linearizable::<Transactions>(check, &history, budget))
        }
        EXPIRING => {
            let history = read_as::<ExpiringInput, RegisterOutput>(EXPIRING, text)?;
            each(&|check| match check {
                Check::Expiring(tolerance) => Some(expiring(&history, tolerance)),
                _ => None,
            })
        }
        "writes" => {
            let lines: Vec<WriteLine> = lines(text)?;
            each(&|check| (check == Check::Durable).then(|| of_writes(&lines)))
        }
        "replicas" => {
            let states: Vec<ReplicaState> = lines(text)?;
            each(&|check| (check == Check::Convergent).then(|| convergent(&states)))
        }
        other => Err(ReadError { line: 1, reason: format!("unknown model {other:?}") }),
    }
}

/// The model of keys that expire.
pub const EXPIRING: &str = "expiring";

fn lines<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, ReadError> {
    let numbered = complete_lines(text).enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty());
    numbered
        .map(|(number, line)| {
            serde_json::from_str(line)
                .map_err(|error| ReadError { line: number + 1, reason: error.to_string() })
        })
        .collect()
}

fn linearizable<M: Model>(
    asked: Check,
    history: &crate::History<M::Input, M::Output>,
    budget: Budget,
) -> Option<Finding> {
    (asked == Check::Linearizable).then(|| check::<M>(history, budget).into())
}

/// One check of a history of registers; `None` for a check that is of another model.
pub fn of_registers(asked: Check, history: &crate::Registers, budget: Budget) -> Option<Finding> {
    Some(match asked {
        Check::Linearizable => check::<Register>(history, budget).into(),
        Check::ReadYourWrites => session(history, Guarantee::ReadYourWrites),
        Check::MonotonicReads => session(history, Guarantee::MonotonicReads),
        Check::MonotonicWrites => session(history, Guarantee::MonotonicWrites),
        Check::WritesFollowReads => session(history, Guarantee::WritesFollowReads),
        Check::Causal => causal(history, Level::Causal),
        Check::CausalConvergent => causal(history, Level::Convergent),
        Check::Regular => freshness::regular(history),
        Check::Bounded(bound) => freshness::bounded(history, bound).0,
        Check::Monotonic | Check::Expiring(_) | Check::Durable | Check::Convergent => return None,
    })
}

fn of_writes(lines: &[WriteLine]) -> Finding {
    let report = durable(
        lines.iter().filter_map(|line| match line {
            WriteLine::Write { key, value, ended } => Some((key.as_str(), value.as_str(), *ended)),
            _ => None,
        }),
        lines.iter().filter_map(|line| match line {
            WriteLine::Held { key, value } => Some((key.as_str(), value.as_str())),
            _ => None,
        }),
        lines.iter().filter_map(|line| match line {
            WriteLine::Listed { key, value } => Some((key.as_str(), value.as_str())),
            _ => None,
        }),
    );
    match report.is_valid() {
        true => Finding::Valid,
        false => Finding::invalid("acknowledged writes", Vec::new(), report.to_string()),
    }
}
