//! `consort dev`: a cluster on this machine, for trying out and for developing against.
//!
//! Every node is a child process of this binary with a folder of its own under DIR: `consort.toml`, `log`, `data`. It
//! restarts nothing by itself; a node that was killed and started by hand elsewhere is found by asking its address. Children
//! stop gracefully when their standard input ends, so they cannot survive this process, however it dies; they have a
//! process group of their own, so Ctrl-C reaches this process alone, which then stops them in order.
//!
//! A browser can do the same to the nodes, and cut them off from one another (`control`).
//!
//! Where to read next: `layout` (names, ports, files), `children` (processes), `watch` (asking the nodes), `screen` (what is
//! shown).

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

mod children;
mod control;
mod layout;
mod screen;
mod watch;

use children::Children;
use control::Control;
use layout::Layout;
use screen::Screen;
use watch::Watch;

#[derive(Args, Debug)]
pub struct Options {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Node i takes clients at port P + i, peers at P + 1000 + i and browsers at P + 2000 + i, i from 1
    #[arg(long, value_name = "P", default_value_t = 7000)]
    base_port: u16,
    /// Where the nodes' folders are; kept when the cluster stops and used again
    #[arg(long, value_name = "DIR", default_value = "consort-dev")]
    data: PathBuf,
    /// Set a field of every node's configuration, such as partitions=24
    #[arg(long = "set", value_name = "FIELD=VALUE")]
    set: Vec<String>,
}

/// How often nodes are asked and the screen is refreshed.
const REFRESH: Duration = Duration::from_millis(500);
/// How often they are asked until the cluster is ready.
const IMPATIENT: Duration = Duration::from_millis(50);

/// `consort dev`
pub async fn run(options: Options) -> Result<ExitCode, String> {
    let failed = |error: std::io::Error| format!("cannot listen for signals: {error}");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let layout = Layout::prepare(&options.data, options.nodes, options.base_port, &options.set)?;
    layout.check_ports()?;
    let mut children = Children::start(&layout)?;
    let (control, mut orders) = Control::start(&layout).await?;
    let mut watch = Watch::new(&layout);
    let mut screen = Screen::new(std::io::stdout().is_terminal());
    screen.print(&layout.introduction());
    let mut told: Option<String> = None;
    loop {
        let pause = if watch.is_ready() { REFRESH } else { IMPATIENT };
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = tokio::time::sleep(pause) => {}
            Some(order) = orders.recv() => {
                let outcome = match order.starts {
                    true => children.start_again(&layout, order.node),
                    false => children.kill(order.node),
                };
                let _ = order.done.send(outcome);
            }
        }
        watch.look(&mut children).await;
        control.follow(&watch);
        if watch.is_ready() {
            let list = layout.nodes_json(&watch);
            if told.as_ref() != Some(&list) {
                layout.write_nodes_json(&list)?;
                told = Some(list);
            }
        }
        screen.show(&layout, &watch);
    }
    screen.print(&["stopping: leadership is handed over, logs are flushed".into()]);
    for (node, seen) in layout.nodes.iter().zip(watch.nodes()) {
        if seen.state == watch::State::Elsewhere {
            let pid = seen.pid.unwrap_or_default();
            screen.print(&[format!("{} was started elsewhere and goes on: kill {pid} stops it", node.name)]);
        }
    }
    layout.remove_nodes_json();
    let stubborn = children.stop().await;
    for name in &stubborn {
        screen.print(&[format!("{name} did not stop in time and was killed")]);
    }
    Ok(if stubborn.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
