//! How stale reads are: what `staleness` makes a curve of.

use std::time::Duration;

use super::Worker;
use crate::verify::client::{Answer, Asked, Client};
use crate::verify::staleness::{PAUSES, Took, Trial};

/// Keys of a process, in several slots.
const KEYS: u64 = 16;
/// In one of so many turns latencies are measured.
const LATENCIES: u64 = 4;

impl Worker {
    /// Writes at one node and reads at another, a moment after.
    pub(super) async fn stale(&mut self, nodes: &mut [Client]) {
        if nodes.len() < 2 {
            return;
        }
        let at = self.draw.below(nodes.len() as u64) as usize;
        let elsewhere = (at + 1 + self.draw.below(nodes.len() as u64 - 1) as usize) % nodes.len();
        let key = format!("{}st:{}:{}", self.load.prefix, self.process.number, self.draw.below(KEYS));
        let number = self.turn.to_string();
        self.load.histories.lock().staleness.keys.insert(key.clone());
        if self.draw.one_in(LATENCIES) {
            return self.latencies(&mut nodes[at], &key, &number).await;
        }
        let pause = PAUSES[self.draw.below(PAUSES.len() as u64) as usize];
        if !self.asks(&mut nodes[at], "1").await || !self.asks(&mut nodes[elsewhere], "1").await {
            return;
        }
        let written = self.process.ask_apart(&mut nodes[at], &["SET", &key, &number]).await;
        if !matches!(written.answer, Answer::Done(_)) {
            return;
        }
        // A timer is too slow for less than some milliseconds.
        let due = written.to + pause;
        while self.process.now() < due {
            match due.saturating_sub(self.process.now()) {
                left @ 4_000.. => tokio::time::sleep(Duration::from_micros(left - 3_000)).await,
                _ => tokio::task::yield_now().await,
            }
        }
        let read = self.process.ask_apart(&mut nodes[elsewhere], &["GET", &key]).await;
        let Answer::Done(value) = read.answer else { return };
        let Ok(seen) = super::optional(value) else { return };
        // Numbers of this process alone, which rise.
        let stale = seen.and_then(|text| text.parse().ok()).is_none_or(|seen: u64| seen < self.turn);
        let trial = Trial { at: read.from, after: read.from - written.to, stale };
        self.load.histories.lock().staleness.trials.push(trial);
    }

    async fn latencies(&mut self, node: &mut Client, key: &str, number: &str) {
        let at = self.process.now();
        let mut took = [[0; 2]; 2];
        for (place, quorum) in ["1", "ALL"].into_iter().enumerate() {
            if !self.asks(node, quorum).await {
                return;
            }
            for (kind, command) in [&["SET", key, number][..], &["GET", key]].into_iter().enumerate() {
                let Asked { from, to, answer } = self.process.ask_apart(node, command).await;
                let Answer::Done(_) = answer else { return };
                took[kind][place] = to - from;
            }
        }
        let [writes, reads] = took;
        self.load.histories.lock().staleness.took.push(Took { at, writes, reads });
    }

    /// From now on so many are asked, on this connection.
    async fn asks(&mut self, node: &mut Client, quorum: &str) -> bool {
        matches!(node.ask(&["CLIENT", "QUORUM", "R", quorum, "W", quorum]).await, Answer::Done(_))
    }
}
