//! `cargo xtask large`: what the catalogue and the signs of life cost in a cluster of a thousand nodes, simulated in one
//! thread ([`sim::large`]). Virtual time is exact; processor time is this machine's, for all nodes together.

use std::time::{Duration, Instant};

use clap::Args;
use replication::catalogue::{MemberState, Settings};
use sim::large::{Counts, Large};

/// How large.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Nodes
    #[arg(long, default_value_t = 1000)]
    nodes: u64,
    /// Partitions; 16384 are the most
    #[arg(long, default_value_t = 16384)]
    partitions: u32,
    /// How many partitions are moved at a time
    #[arg(long, default_value_t = 10)]
    moves_at_once: u32,
    /// Seconds of virtual time that are measured while nothing happens
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

/// Processor seconds, and what was said, in a piece of virtual time.
struct Piece {
    seconds: f64,
    spent: Duration,
    counts: Counts,
}

impl Piece {
    fn tell(&self, what: &str, nodes: u64) {
        let per_node = |number: u64| number as f64 / self.seconds / nodes as f64;
        println!(
            "{what}: {:.1} s, {:.0} messages and {:.1} kB a second and node ({:.0} of them signs of life), \
             {} changes of the catalogue, {} readings of it, {:.2} ms of processor a second and node",
            self.seconds,
            per_node(self.counts.messages),
            per_node(self.counts.bytes) / 1000.0,
            per_node(self.counts.alive),
            self.counts.changes,
            self.counts.reads,
            self.spent.as_secs_f64() * 1000.0 / self.seconds / nodes as f64,
        );
    }
}

fn add(sum: &mut Counts, more: Counts) {
    sum.messages += more.messages;
    sum.bytes += more.bytes;
    sum.alive += more.alive;
    sum.changes += more.changes;
    sum.reads += more.reads;
}

/// Lets time pass until something is so.
fn until(large: &mut Large, most: u32, so: impl Fn(&Large) -> bool) -> Result<Piece, String> {
    const STEP: Duration = Duration::from_millis(250);
    let begin = Instant::now();
    let mut counts = Counts::default();
    for step in 1..=most * 4 {
        add(&mut counts, large.pass(STEP));
        if so(large) {
            return Ok(Piece { seconds: f64::from(step) / 4.0, spent: begin.elapsed(), counts });
        }
    }
    Err(format!("not within {most} virtual seconds"))
}

fn settled(large: &Large) -> bool {
    let planned = replication::catalogue::plan::plan(large.catalogue());
    let records = &large.catalogue().partitions;
    records.iter().zip(&planned).all(|(record, to)| record.moving_to.is_empty() && record.replicas == *to)
}

/// Runs the cluster and tells.
///
/// # Errors
/// Something did not come about.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let Arguments { nodes, partitions, moves_at_once, seconds } = *arguments;
    let settings =
        Settings { replication_factor: 3, replace_after_ms: 10_000, moves_at_once, move_bytes_per_second: 0 };
    println!("{nodes} nodes, {partitions} partitions of three replicas, {moves_at_once} moves at a time");
    let mut large = Large::new(nodes, partitions, settings);
    let all = nodes as usize;
    let piece =
        until(&mut large, 120, |large| large.informed() == all && large.led() == partitions as usize)?;
    piece.tell("every node knows the first catalogue and every partition has a leader", nodes);

    let piece = until(&mut large, 60, settled)?;
    piece.tell("everything is where it ought to be", nodes);
    large.pass(Duration::from_secs(5));
    let begin = Instant::now();
    let counts = large.pass(Duration::from_secs(u64::from(seconds)));
    let piece = Piece { seconds: f64::from(seconds), spent: begin.elapsed(), counts };
    piece.tell("nothing happens", nodes);

    let epoch = large.catalogue().epoch;
    let new = large.join();
    let piece =
        until(&mut large, 3600, |large| large.catalogue().members.contains_key(&new) && settled(large))?;
    piece.tell("a node joined and has its share", nodes);
    println!("  in {} changes", large.catalogue().epoch - epoch);

    let (epoch, gone) = (large.catalogue().epoch, replication::NodeId(nodes / 2));
    large.kill(gone);
    let is_silent = |large: &Large| {
        large.catalogue().members.get(&gone).is_some_and(|member| member.state == MemberState::Silent)
    };
    let piece = until(&mut large, 120, is_silent)?;
    piece.tell("a node died and was given up", nodes);
    let piece = until(&mut large, 3600, settled)?;
    piece.tell("its share is with the others", nodes);
    println!("  in {} changes", large.catalogue().epoch - epoch);
    Ok(())
}
