//! `consort server` and `consort config`.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use server::Start;
use server::config::{Address, Config, Sources, load};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Where the configuration comes from.
#[derive(Args, Debug)]
pub struct From {
    /// The configuration file (TOML)
    #[arg(long, short, env = "CONSORT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// This node's name, one of those under [[nodes]]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The data folder
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Set any field of the configuration, such as timing.heartbeat=50ms; goes over file and environment
    #[arg(long = "set", value_name = "FIELD=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    from: From,
    /// The first start of a new cluster: an empty data folder may be formatted. A formatted one is used as it is
    #[arg(long, conflicts_with = "rebuild")]
    bootstrap: bool,
    /// Join the cluster of the node that takes its peers at this address. A formatted data folder is used as it is, unless
    /// --rebuild is given too
    #[arg(long, value_name = "PEER-ADDRESS", conflicts_with = "bootstrap", value_parser = address)]
    join: Option<Address>,
    /// Throw away what the data folder holds, come back under a new identity, and fetch everything from the peers
    #[arg(long)]
    rebuild: bool,
    /// Stop when standard input ends: for a parent process that must not leave nodes behind
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

#[derive(Args, Debug)]
pub struct Show {
    #[command(flatten)]
    from: From,
    /// Say what each field means and what follows from it
    #[arg(long)]
    explain: bool,
    /// Show passwords too
    #[arg(long)]
    secrets: bool,
    /// Accepted and needless: printing is what this command does
    #[arg(long, hide = true)]
    print: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((field, value)) => Ok((field.trim().to_string(), value.to_string())),
        None => Err("accepted: field=value, such as timing.heartbeat=50ms".into()),
    }
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text)
        .ok_or_else(|| "accepted: the peer address of a member, such as 10.0.0.1:17000".into())
}

/// Reads the configuration. Warnings go to standard error.
fn configuration(from: &From) -> Result<Config, String> {
    let named = [("name", &from.name), ("data", &from.data)];
    let named = named.into_iter().filter_map(|(field, value)| Some((field.to_string(), value.clone()?)));
    let flags: Vec<(String, String)> = from.set.iter().cloned().chain(named).collect();
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let file = match &from.config {
        Some(path) => {
            let name = path.display().to_string();
            let text =
                std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
            Some((name, text))
        }
        None => None,
    };
    let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
    let loaded = load(Sources { file, environment: &environment, flags: &flags })
        .map_err(|error| format!("the configuration is wrong\n{error}"))?;
    for warning in &loaded.warnings {
        eprintln!("consort: warning: {warning}");
    }
    Ok(loaded.config)
}

/// `consort config`
pub fn show(options: &Show) -> Result<ExitCode, String> {
    print!("{}", configuration(&options.from)?.to_toml(options.explain, options.secrets));
    Ok(ExitCode::SUCCESS)
}

/// `consort server`
pub async fn run(options: Options) -> Result<ExitCode, String> {
    let config = configuration(&options.from)?;
    start_log(&config.log)?;
    warn_of_descriptors(&config);
    let start = match (options.bootstrap, options.rebuild, options.join) {
        (true, ..) => Start::Bootstrap,
        (_, true, seed) => Start::Rebuild(seed),
        (.., Some(seed)) => Start::Join(seed),
        _ => Start::Normal,
    };
    let stop = stop_signal(options.stop_with_stdin)?;
    tokio::spawn(give_memory_back());
    server::run(config, start, stop).await.map_err(|failure| failure.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// The allocator gives memory that was freed back to the system only when it is called again, after a while. A node that
/// has just applied a long log and then idles would keep twice what it needs.
async fn give_memory_back() {
    let mut timer = tokio::time::interval(std::time::Duration::from_secs(1));
    loop {
        timer.tick().await;
        // SAFETY: may be called from any thread at any time.
        #[allow(unsafe_code)]
        unsafe {
            libmimalloc_sys::mi_collect(false);
        }
    }
}

fn start_log(directives: &str) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(directives).map_err(|error| format!("log is \"{directives}\": {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

/// Descriptors beside those of clients: log, snapshots, peers, listeners.
const OWN_DESCRIPTORS: usize = 100;

fn warn_of_descriptors(config: &Config) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let needed = config.limits.max_clients + OWN_DESCRIPTORS;
    if let Some(allowed) = open_files(&limits).filter(|allowed| *allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            "fewer file descriptors than limits.max_clients needs; raise them (ulimit -n) or lower it"
        );
    }
}

/// The soft limit of open files in `/proc/self/limits`.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Completes at the first SIGINT or SIGTERM, or when standard input ends; a second signal ends the process at once.
fn stop_signal(with_stdin: bool) -> Result<impl Future<Output = ()>, String> {
    let failed = |error: std::io::Error| format!("cannot listen for signals: {error}");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut input = with_stdin.then(end_of_input);
    Ok(async move {
        let why = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
            () = async {
                match input.take() {
                    Some(ended) => drop(ended.await),
                    None => std::future::pending().await,
                }
            } => "end of standard input",
        };
        tracing::info!(why, "stopping: handing leadership over");
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tracing::warn!("second signal: stopping at once");
            std::process::exit(1);
        });
    })
}

/// Completes when standard input ends. A thread waits for it: it may be anything, a terminal or a pipe.
fn end_of_input() -> tokio::sync::oneshot::Receiver<()> {
    let (ended, input) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while matches!(std::io::stdin().read(&mut buffer), Ok(read) if read > 0) {}
        let _ = ended.send(());
    });
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_read() {
        let text = "Limit                     Soft Limit  Hard Limit  Units\nMax open files            1024        4096        files\n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(open_files("Max open files unlimited unlimited files"), None);
    }

    #[test]
    fn pairs_of_field_and_value() {
        assert_eq!(pair("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert!(pair("a").is_err());
    }
}
