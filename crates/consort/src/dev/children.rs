//! The nodes as child processes.

use std::fs::OpenOptions;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use super::layout::{Layout, NodeLayout};

/// How long a node may take to stop gracefully before it is killed.
const PATIENCE: Duration = Duration::from_secs(15);

/// The children, in the order of the nodes.
#[derive(Debug)]
pub struct Children {
    children: Vec<(String, Child)>,
}

/// What became of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs, under this process id.
    Runs(u32),
    /// It is gone.
    Gone(ExitStatus),
}

impl Children {
    /// Starts one for every node.
    ///
    /// # Errors
    /// A child cannot be started; those that were are stopped by the end of their input.
    pub fn start(layout: &Layout) -> Result<Children, String> {
        let start = |node: &NodeLayout| Ok((node.name.clone(), start(layout, node)?));
        Ok(Children { children: layout.nodes.iter().map(start).collect::<Result<_, String>>()? })
    }

    /// What became of the child of a node.
    pub fn fate(&mut self, index: usize) -> Option<Fate> {
        let (_, child) = self.children.get_mut(index)?;
        match (child.try_wait(), child.id()) {
            (Ok(Some(status)), _) => Some(Fate::Gone(status)),
            (_, Some(pid)) => Some(Fate::Runs(pid)),
            _ => None,
        }
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// It does not run as a child of this process.
    pub fn kill(&mut self, index: usize) -> Result<(), String> {
        match self.fate(index) {
            Some(Fate::Runs(_)) => {}
            _ => return Err("it does not run, or was not started here".into()),
        }
        let (name, child) = &mut self.children[index];
        child.start_kill().map_err(|error| format!("cannot kill {name}: {error}"))
    }

    /// Starts a node whose process is gone.
    ///
    /// # Errors
    /// It runs, or cannot be started.
    pub fn start_again(&mut self, layout: &Layout, index: usize) -> Result<(), String> {
        if matches!(self.fate(index), Some(Fate::Runs(_))) {
            return Err("it runs".into());
        }
        self.children[index].1 = start(layout, &layout.nodes[index])?;
        Ok(())
    }

    /// Stops all that still run, gracefully: their input ends. Returns the names of those that had to be killed.
    pub async fn stop(mut self) -> Vec<String> {
        for (_, child) in &mut self.children {
            drop(child.stdin.take());
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut stubborn = Vec::new();
        for (name, child) in &mut self.children {
            if tokio::time::timeout_at(deadline, child.wait()).await.is_err() {
                let _ = child.kill().await;
                stubborn.push(name.clone());
            }
        }
        stubborn
    }
}

fn start(layout: &Layout, node: &NodeLayout) -> Result<Child, String> {
    let failed = |error: std::io::Error| format!("cannot start {}: {error}", node.name);
    let log = OpenOptions::new().create(true).append(true).open(node.log()).map_err(failed)?;
    let error_log = log.try_clone().map_err(failed)?;
    let mut command = Command::new(&layout.program);
    // A node of its own file: a CONSORT_NAME from the environment would be the same for all of them.
    let variables = std::env::vars_os().map(|(name, _)| name);
    variables.filter(|name| name.to_string_lossy().starts_with("CONSORT_")).for_each(|name| {
        command.env_remove(name);
    });
    command
        .args(["server", "--bootstrap", "--stop-with-stdin", "--config"])
        .arg(node.config())
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(error_log)
        .process_group(0)
        .spawn()
        .map_err(failed)
}
