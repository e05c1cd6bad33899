//! `MEMORY`, `SLOWLOG` and `LATENCY`, as far as there is something to say. Nothing is recorded for the latter two yet, so
//! their lists are empty, as those of a Redis that records nothing.

use resp::Value;

use super::process::process;
use super::subcommand::{Container, Subcommand};
use super::{Action, Call, integer, map, text};

pub(super) const MEMORY: Container = Container {
    name: "memory",
    subcommands: &[
        Subcommand {
            name: "doctor",
            arity: 2,
            usage: "DOCTOR",
            about: "Return a report of memory problems.",
            run: |_| {
                text("Keys, values and what waits for slow clients is all that takes memory here; see INFO memory.").into()
            },
        },
        Subcommand {
            name: "purge",
            arity: 2,
            usage: "PURGE",
            about: "The allocator gives memory back by itself; nothing is done.",
            run: |_| Value::OK.into(),
        },
        Subcommand {
            name: "stats",
            arity: 2,
            usage: "STATS",
            about: "Return what takes memory.",
            run: memory_stats,
        },
    ],
    absent: &[("malloc-stats", "the allocator is not asked")],
};

pub(super) fn memory(call: &mut Call<'_>) -> Action {
    MEMORY.run(call)
}

fn memory_stats(call: &mut Call<'_>) -> Action {
    let (process, state) = (process(), call.context.cluster.state());
    let (keys, bytes) =
        state.statuses().fold((0, 0), |(keys, bytes), status| (keys + status.keys, bytes + status.bytes));
    map([
        ("peak.allocated", integer(process.peak_bytes)),
        ("total.allocated", integer(process.resident_bytes)),
        ("keys.count", integer(keys)),
        ("keys.bytes-per-key", integer(bytes.checked_div(keys).unwrap_or(0))),
        ("dataset.bytes", integer(bytes)),
        ("overhead.total", integer(process.resident_bytes.saturating_sub(bytes))),
    ])
    .into()
}

pub(super) const SLOWLOG: Container = Container {
    name: "slowlog",
    subcommands: &[
        Subcommand {
            name: "get",
            arity: -2,
            usage: "GET [<count>]",
            about: "Return entries of the slow log, which records nothing.",
            run: |_| Value::Array(Vec::new()).into(),
        },
        Subcommand {
            name: "len",
            arity: 2,
            usage: "LEN",
            about: "Return the length of the slow log.",
            run: |_| Value::Integer(0).into(),
        },
        Subcommand {
            name: "reset",
            arity: 2,
            usage: "RESET",
            about: "Reset the slow log.",
            run: |_| Value::OK.into(),
        },
    ],
    absent: &[],
};

pub(super) fn slowlog(call: &mut Call<'_>) -> Action {
    SLOWLOG.run(call)
}

const NOT_RECORDED: &str = "latencies are not recorded";

pub(super) const LATENCY: Container = Container {
    name: "latency",
    subcommands: &[
        Subcommand {
            name: "latest",
            arity: 2,
            usage: "LATEST",
            about: "Return the latest latency samples of all events, of which none are recorded.",
            run: |_| Value::Array(Vec::new()).into(),
        },
        Subcommand {
            name: "reset",
            arity: -2,
            usage: "RESET [<event> ...]",
            about: "Reset latency data, and return how many events were reset: none.",
            run: |_| Value::Integer(0).into(),
        },
    ],
    absent: &[
        ("doctor", NOT_RECORDED),
        ("graph", NOT_RECORDED),
        ("histogram", NOT_RECORDED),
        ("history", NOT_RECORDED),
    ],
};

pub(super) fn latency(call: &mut Call<'_>) -> Action {
    LATENCY.run(call)
}
