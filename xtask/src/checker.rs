//! `cargo xtask checker`: how long a check of linearizability takes, on a history made up by a perfect register per key.

use std::time::Instant;

use check::model::{Register, RegisterInput, RegisterOutput};
use check::{Budget, Registers, check};
use clap::Args;

use crate::fuzz::Random;

#[derive(Args, Debug)]
pub struct Arguments {
    /// Operations
    #[arg(long, default_value_t = 100_000)]
    operations: u64,
    /// Keys
    #[arg(long, default_value_t = 100)]
    keys: u64,
    /// Clients, which have an operation under way all the time
    #[arg(long, default_value_t = 16)]
    clients: u64,
    /// Of so many writes one ends with nobody knowing
    #[arg(long, default_value_t = 200)]
    unknown_one_of: u64,
}

pub fn run(arguments: &Arguments) -> Result<(), String> {
    let mut random = Random(1);
    let mut below = |bound: u64| random.below(bound.max(1) as usize) as u64;
    let mut history = Registers::new();
    let mut values = vec![None; arguments.keys as usize];
    // Each client's operation takes effect at a moment within it; clients take turns in a random order.
    let mut free_at = vec![0; arguments.clients as usize];
    let mut effects: Vec<(u64, u64)> = Vec::new();
    for number in 0..arguments.operations {
        let client = (0..free_at.len()).min_by_key(|&client| free_at[client]).unwrap_or(0);
        let begin = free_at[client];
        let effect = begin + 1 + below(1000);
        let end = effect + 1 + below(1000);
        free_at[client] = end + 1 + below(50);
        effects.push((effect, number));
        let key = below(arguments.keys);
        let id = match below(2) {
            0 => history.invoke(client as u64, key.to_string(), RegisterInput::Read, begin),
            _ => {
                let value = RegisterInput::Write(Some(number.to_string().as_str().into()));
                history.invoke(client as u64, key.to_string(), value, begin)
            }
        };
        history.done(id, end, RegisterOutput::Written);
    }
    effects.sort_unstable();
    let operations = history.operations().to_vec();
    let mut answered = Registers::new();
    let mut outcomes = vec![None; operations.len()];
    for (_, number) in effects {
        let operation = &operations[number as usize];
        let key = operation.key.parse::<usize>().unwrap_or(0);
        outcomes[number as usize] = Some(match &operation.input {
            RegisterInput::Write(value) => {
                values[key].clone_from(value);
                RegisterOutput::Written
            }
            _ => RegisterOutput::Value(values[key].clone()),
        });
    }
    for (operation, output) in operations.into_iter().zip(outcomes) {
        let writes = matches!(operation.input, RegisterInput::Write(_));
        let open = writes && below(arguments.unknown_one_of) == 0;
        let outcome = match (operation.outcome, output) {
            (check::Outcome::Done { at, .. }, Some(output)) if !open => check::Outcome::Done { at, output },
            _ => check::Outcome::Unknown,
        };
        answered.push(check::Operation { outcome, ..operation });
    }
    let began = Instant::now();
    let verdict = check::<Register>(&answered, Budget::default());
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} operations on {} keys by {} clients: {verdict} in {seconds:.2} s",
        arguments.operations, arguments.keys, arguments.clients
    );
    if verdict.is_valid() { Ok(()) } else { Err("a history of perfect registers is linearizable".into()) }
}
