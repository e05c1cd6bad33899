//! `consort check`: judges recorded histories, as `consort verify` and the simulator write them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use check::Budget;
use check::format::file::judge;
use clap::Args;

#[derive(Args, Debug)]
pub struct Options {
    /// Files of JSON lines; the first line says what is to be checked
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How many operations a search may try for each key
    #[arg(long, default_value_t = 50_000_000, value_name = "N")]
    steps: u64,
}

/// `consort check`
pub fn run(options: &Options) -> Result<ExitCode, String> {
    let budget = Budget { steps: options.steps, ..Budget::default() };
    let mut all_valid = true;
    for path in &options.files {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let began = Instant::now();
        let findings = judge(&text, budget).map_err(|error| format!("{}: {error}", path.display()))?;
        for (check, finding) in findings {
            println!("{}: {check}: {finding}", path.display());
            all_valid &= finding.is_valid();
        }
        println!("{}: took {:.2} s", path.display(), began.elapsed().as_secs_f64());
    }
    Ok(if all_valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
