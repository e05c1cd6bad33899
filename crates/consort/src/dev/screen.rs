//! What `consort dev` shows: on a terminal a table that is refreshed in place, elsewhere a line for each change.

use std::io::Write;

use super::layout::{Layout, NodeLayout};
use super::watch::{Seen, State, Watch};
use crate::table;

/// Standard output.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    /// Lines of the table that stand on the terminal now.
    standing: usize,
    /// What was last said of each node.
    said: Vec<String>,
    ready: bool,
}

impl Screen {
    /// A screen; `terminal`: the cursor can be moved.
    pub fn new(terminal: bool) -> Screen {
        Screen { terminal, standing: 0, said: Vec::new(), ready: false }
    }

    /// Prints lines that stay.
    pub fn print(&mut self, lines: &[String]) {
        let mut out = String::new();
        for line in lines {
            out.push_str(line);
            out.push('\n');
        }
        self.standing = 0;
        put(&out);
    }

    /// Shows how the nodes are.
    pub fn show(&mut self, layout: &Layout, watch: &Watch) {
        if self.terminal {
            self.refresh(&lines(layout, watch));
        } else {
            self.tell_changes(layout, watch);
        }
        self.ready = watch.is_ready();
    }

    /// Goes back up to where the table began and writes it anew, in one write, so that it does not flicker.
    fn refresh(&mut self, lines: &[String]) {
        let (width, height) = terminal_size::terminal_size()
            .map_or((110, 40), |(width, height)| (usize::from(width.0), usize::from(height.0)));
        let mut out = String::new();
        if self.standing > 0 {
            out.push_str(&format!("\x1b[{}A\r", self.standing));
        }
        let shown = lines.len().min(height.saturating_sub(1));
        for line in &lines[..shown] {
            out.extend(line.chars().take(width.saturating_sub(1)));
            out.push_str("\x1b[K\n");
        }
        out.push_str("\x1b[J");
        self.standing = shown;
        put(&out);
    }

    fn tell_changes(&mut self, layout: &Layout, watch: &Watch) {
        let saying: Vec<String> =
            layout.nodes.iter().zip(watch.nodes()).map(|(node, seen)| sentence(node, seen)).collect();
        let mut out = String::new();
        for (index, line) in saying.iter().enumerate() {
            if self.said.get(index) != Some(line) {
                out.push_str(line);
                out.push('\n');
            }
        }
        if watch.is_ready() && !self.ready {
            out.push_str("ready: every partition has a leader and answers\n");
        }
        self.said = saying;
        if !out.is_empty() {
            put(&out);
        }
    }
}

/// The terminal may be gone; the cluster goes on.
fn put(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn describe(state: &State) -> String {
    match state {
        State::Starting => "starting".into(),
        State::Up => "up".into(),
        State::Elsewhere => "running elsewhere".into(),
        State::Silent => "does not answer".into(),
        State::Down(how) => format!("down ({how})"),
    }
}

fn sentence(node: &NodeLayout, seen: &Seen) -> String {
    let pid = seen.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
    let leads = seen.status.as_ref().map_or(String::new(), |status| {
        let led = status.led();
        format!(", leads {} ({})", led.len(), table::ranges(&led))
    });
    format!("{} at {}: {}{pid}{leads}", node.name, node.client(), describe(&seen.state))
}

/// The table, and below it what is to be done about nodes that are down.
fn lines(layout: &Layout, watch: &Watch) -> Vec<String> {
    let rows: Vec<Vec<String>> =
        layout.nodes.iter().zip(watch.nodes()).map(|(node, seen)| row(node, seen)).collect();
    let mut lines =
        table::table(&["NODE", "CLIENTS AT", "PID", "STATE", "KEYS", "OPS/S", "MEMORY", "LEADS"], &rows);
    lines.push(String::new());
    if !watch.is_ready() {
        lines.push("waiting until every partition has a leader and answers".into());
    }
    for (node, seen) in layout.nodes.iter().zip(watch.nodes()) {
        if matches!(seen.state, State::Down(_)) {
            lines.push(format!("{} is down. Its log: {}", node.name, node.log().display()));
            lines.push(format!("  start it again: {}", node.restart));
        }
    }
    lines.push("Ctrl-C stops all nodes; the data stays".into());
    lines
}

fn row(node: &NodeLayout, seen: &Seen) -> Vec<String> {
    let pid = seen.pid.map_or("-".into(), |pid| pid.to_string());
    let mut row = vec![node.name.clone(), node.client(), pid, describe(&seen.state)];
    match &seen.status {
        Some(status) => {
            let led = status.led();
            row.push(status.counter("keys").to_string());
            row.push(seen.rate.to_string());
            row.push(table::bytes(status.counter("memory_bytes")));
            row.push(match led.len() {
                0 => "nothing".into(),
                count => format!("{count} ({})", table::ranges(&led)),
            });
        }
        None => row.extend(["-", "-", "-", "-"].map(str::to_string)),
    }
    row
}
