//! Development tasks: `cargo xtask sim`.

mod sim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Development tasks of Consort.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs whole simulated clusters, one per seed, and judges them.
    Sim(sim::Arguments),
}

fn main() -> ExitCode {
    match Arguments::parse().task {
        Task::Sim(arguments) => sim::run(&arguments),
    }
}
