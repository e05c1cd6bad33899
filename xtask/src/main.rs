//! Development tasks: `cargo xtask sim|large|bench|fuzz|checker|mutants`. Each is a module of its own. The rules that the repository keeps about
//! itself are ordinary tests, in `tests/tidy.rs`.

// Measuring needs a clock.
#![allow(clippy::disallowed_methods)]

mod bench;
mod checker;
mod fuzz;
mod large;
mod mutants;
mod sim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: fuzz::Counting = fuzz::Counting;

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
    /// Simulates the catalogue of a large cluster, and tells what it costs.
    Large(large::Arguments),
    /// Measures Consort beside etcd, Redis and the machine's limit, all on this machine.
    Bench(bench::Arguments),
    /// Feeds damaged input to the decoders that face the network.
    Fuzz(fuzz::Arguments),
    /// Measures the check of linearizability.
    Checker(checker::Arguments),
    /// Runs `consort verify` on builds with planted bugs, and sees each found.
    Mutants(mutants::Arguments),
    /// Ends the processes of a measurement when it ends; started by `bench`.
    #[command(hide = true)]
    BenchKeeper,
    /// A process of the machine's limit; started by `bench`.
    #[command(hide = true)]
    BenchLimit(bench::LimitArguments),
}

fn main() -> ExitCode {
    match Arguments::parse().task {
        Task::Sim(arguments) => sim::run(&arguments),
        Task::Large(arguments) => told(large::run(&arguments)),
        Task::Bench(arguments) => told(bench::run(&arguments)),
        Task::Fuzz(arguments) => told(fuzz::run(&arguments)),
        Task::Checker(arguments) => told(checker::run(&arguments)),
        Task::Mutants(arguments) => told(mutants::run(&arguments)),
        Task::BenchKeeper => told(bench::keep()),
        Task::BenchLimit(arguments) => told(bench::run_limit(&arguments)),
    }
}

fn told(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
