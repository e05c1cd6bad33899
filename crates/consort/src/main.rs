//! `consort`: the one binary. `dev` runs a cluster on this machine, `server` runs one node, `ctl` asks a cluster about
//! itself, `verify` proves that a cluster keeps its promises, `check` judges recorded histories, `config` shows what a node
//! would be told.
//!
//! Where to read next: `dev` (child processes and the live table), `ctl`, `ask` (a small RESP client), `status` (what a node
//! says of itself).
#![allow(clippy::disallowed_methods)]

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!("planted bugs are not for release builds");

mod ask;
mod catalogue;
mod ctl;
mod dev;
mod judge;
mod serve;
mod status;
mod table;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A replicated key-value database that speaks the Redis protocol
#[derive(Parser, Debug)]
#[command(name = "consort", version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a cluster on this machine, to try and to develop against
    Dev(dev::Options),
    /// Run one node
    Server(serve::Options),
    /// Show what a node would be told: file, environment and flags put together
    Config(serve::Show),
    /// Ask a running cluster about itself, or give it orders
    Ctl(ctl::Options),
    /// Prove that a cluster keeps its promises: load and faults, and the recorded history checked
    Verify(verify::Options),
    /// Check recorded histories
    Check(judge::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Dev(options) => in_runtime(dev::run(options)),
        Command::Server(options) => in_runtime(serve::run(options)),
        Command::Config(options) => serve::show(&options),
        Command::Ctl(options) => in_runtime(ctl::run(options)),
        Command::Verify(options) => in_runtime(verify::run(options)),
        Command::Check(options) => judge::run(&options),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("consort: {failure}");
        ExitCode::FAILURE
    })
}

/// Runs on one thread with I/O, time and signals.
fn in_runtime(work: impl Future<Output = Result<ExitCode, String>>) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(work)
}
