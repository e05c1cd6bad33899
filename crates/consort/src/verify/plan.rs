//! Which faults come when: drawn from a seed, printed, and read back to be replayed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A source of numbers that is the same everywhere for one seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// From a seed.
    pub fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// A number between two, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A fault: nodes are named by their number from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// `kill -9`, started again at the end.
    Kill { node: usize },
    /// `kill -9` of one that another has not heard for a moment, so that the other lacks its last writes; started again at the end.
    KillAhead { node: usize, other: usize },
    /// `kill -9` of all nodes at once, started again at the end.
    KillAll,
    /// Its machine loses power; started again at the end.
    PowerCut { node: usize },
    /// All machines do, at once.
    PowerCutAll,
    /// Frozen with SIGSTOP until the end.
    Pause { node: usize },
    /// Frozen for so long again and again, with so much time between.
    Stutter { node: usize, frozen_ms: u64, between_ms: u64 },
    /// Stopped in order, started again at the end.
    Stop { node: usize },
    /// Killed, its disk lost, started again as a new node in its place.
    Wipe { node: usize },
    /// Cut off from all others.
    Isolate { node: usize },
    /// What it says does not reach the others.
    Mute { node: usize },
    /// What the others say does not reach it.
    Deaf { node: usize },
    /// In two halves; the first `size` nodes from `node` on (in a ring) are one of them.
    Halves { node: usize, size: usize },
    /// Each node talks to its neighbours in a ring alone.
    Ring,
    /// One pair cannot talk; all others can.
    CutPair { node: usize, other: usize },
    /// All that it says and hears comes later.
    Delay { node: usize, milliseconds: u64, jitter: u64 },
    /// It is on a thin line.
    Throttle { node: usize, kilobytes: u64 },
    /// Its connections to the others break again and again.
    Drop { node: usize },
    /// Bits turn on the way to and from it.
    Corrupt { node: usize, one_of: u64 },
    /// Messages to and from it are lost, come twice, or out of order.
    Mix { node: usize, one_of: u64 },
    /// Its wall clock jumps.
    Jump { node: usize, milliseconds: i64 },
    /// Its clocks run faster.
    Drift { node: usize, millionths: i64 },
    /// No room on its disk.
    DiskFull { node: usize },
    /// Its `fsync` fails; a node that ended for that is started again at the end.
    SyncFails { node: usize },
    /// Its `fsync` is slow.
    SyncSlow { node: usize, milliseconds: u64 },
    /// All nodes' `fsync` is slow.
    SyncSlowAll { milliseconds: u64 },
    /// Keyspaces are handed to other primaries, partitions to other leaders, by order.
    Failover { node: usize },
    /// A partition is split.
    Split { partition: u64 },
    /// A node joins, gets its share, and is removed.
    Member,
    /// A keyspace is altered, and back.
    Alter,
    /// A command of the user's.
    User { name: String, begin: String, end: Option<String> },
}

impl Fault {
    /// Its kind, in a word.
    pub fn kind(&self) -> &str {
        match self {
            Fault::Kill { .. } => "kill",
            Fault::KillAhead { .. } => "kill ahead",
            Fault::KillAll => "kill all",
            Fault::PowerCut { .. } => "power cut",
            Fault::PowerCutAll => "power cut all",
            Fault::Pause { .. } => "pause",
            Fault::Stutter { .. } => "stutter",
            Fault::Stop { .. } => "stop",
            Fault::Wipe { .. } => "wipe",
            Fault::Isolate { .. } => "isolate",
            Fault::Mute { .. } => "mute",
            Fault::Deaf { .. } => "deaf",
            Fault::Halves { .. } => "halves",
            Fault::Ring => "ring",
            Fault::CutPair { .. } => "cut pair",
            Fault::Delay { .. } => "delay",
            Fault::Throttle { .. } => "throttle",
            Fault::Drop { .. } => "drop connections",
            Fault::Corrupt { .. } => "corrupt",
            Fault::Mix { .. } => "mix messages",
            Fault::Jump { .. } => "clock jump",
            Fault::Drift { .. } => "clock drift",
            Fault::DiskFull { .. } => "disk full",
            Fault::SyncFails { .. } => "fsync fails",
            Fault::SyncSlow { .. } => "fsync slow",
            Fault::SyncSlowAll { .. } => "fsync slow all",
            Fault::Failover { .. } => "failover",
            Fault::Split { .. } => "split",
            Fault::Member => "member",
            Fault::Alter => "alter",
            Fault::User { name, .. } => name,
        }
    }

    /// Does it act on processes or membership? Two of these are not in force at once: what one kills the other could
    /// not restart, and a disk that is lost while another node is away may be more than was promised to survive.
    fn is_of_processes(&self) -> bool {
        matches!(
            self,
            Fault::Kill { .. }
                | Fault::KillAhead { .. }
                | Fault::KillAll
                | Fault::PowerCut { .. }
                | Fault::PowerCutAll
                | Fault::Pause { .. }
                | Fault::Stutter { .. }
                | Fault::Stop { .. }
                | Fault::Wipe { .. }
                | Fault::SyncFails { .. }
                | Fault::Member
                | Fault::Split { .. }
                | Fault::Alter
                | Fault::User { .. }
        )
    }

    /// Must nothing else be wrong meanwhile?
    fn is_alone(&self) -> bool {
        matches!(self, Fault::Wipe { .. } | Fault::Member | Fault::User { .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = |node: &usize| format!("n{}", node + 1);
        match self {
            Fault::Kill { node } => write!(f, "{} is killed", n(node)),
            Fault::KillAhead { node, other } => {
                write!(f, "{} is killed when {} has not heard it for a moment", n(node), n(other))
            }
            Fault::KillAll => f.write_str("all nodes are killed"),
            Fault::PowerCut { node } => write!(f, "the machine of {} loses power", n(node)),
            Fault::PowerCutAll => f.write_str("all machines lose power"),
            Fault::Pause { node } => write!(f, "{} is frozen", n(node)),
            Fault::Stutter { node, frozen_ms, between_ms } => {
                write!(f, "{} is frozen for {frozen_ms} ms every {} ms", n(node), frozen_ms + between_ms)
            }
            Fault::Stop { node } => write!(f, "{} is stopped in order", n(node)),
            Fault::Wipe { node } => write!(f, "{} loses its disk", n(node)),
            Fault::Isolate { node } => write!(f, "{} is cut off", n(node)),
            Fault::Mute { node } => write!(f, "{} is not heard", n(node)),
            Fault::Deaf { node } => write!(f, "{} hears nobody", n(node)),
            Fault::Halves { node, size } => write!(f, "cut in halves, {size} nodes from {} on", n(node)),
            Fault::Ring => f.write_str("only neighbours hear each other"),
            Fault::CutPair { node, other } => write!(f, "{} and {} are cut off", n(node), n(other)),
            Fault::Delay { node, milliseconds, jitter } => {
                write!(f, "{} is {milliseconds} to {} ms away", n(node), milliseconds + jitter)
            }
            Fault::Throttle { node, kilobytes } => write!(f, "{} gets {kilobytes} kB a second", n(node)),
            Fault::Drop { node } => write!(f, "connections of {} break", n(node)),
            Fault::Corrupt { node, one_of } => write!(f, "bits turn at {}, one piece of {one_of}", n(node)),
            Fault::Mix { node, one_of } => {
                write!(f, "one message of {one_of} to and from {} is lost, doubled or late", n(node))
            }
            Fault::Jump { node, milliseconds } => {
                write!(f, "the wall clock of {} jumps by {milliseconds} ms", n(node))
            }
            Fault::Drift { node, millionths } => {
                write!(f, "the clocks of {} run faster by {millionths} millionths", n(node))
            }
            Fault::DiskFull { node } => write!(f, "the disk of {} is full", n(node)),
            Fault::SyncFails { node } => write!(f, "fsync fails at {}", n(node)),
            Fault::SyncSlow { node, milliseconds } => {
                write!(f, "fsync takes {milliseconds} ms longer at {}", n(node))
            }
            Fault::SyncSlowAll { milliseconds } => {
                write!(f, "fsync takes {milliseconds} ms longer everywhere")
            }
            Fault::Failover { node } => write!(f, "leaderships are handed to {}", n(node)),
            Fault::Split { partition } => write!(f, "partition {partition} is split"),
            Fault::Member => f.write_str("a node joins and is removed"),
            Fault::Alter => f.write_str("a keyspace is altered, and back"),
            Fault::User { name, .. } => f.write_str(name),
        }
    }
}

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// When it begins, from the start of the load.
    pub at_ms: u64,
    /// How long it lasts (some take longer to undo).
    pub lasts_ms: u64,
    /// What it is.
    #[serde(flatten)]
    pub fault: Fault,
}

impl Planned {
    /// When it is to end.
    pub fn end_ms(&self) -> u64 {
        self.at_ms + self.lasts_ms
    }
}

/// What can be done here.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// How many nodes there are.
    pub nodes: usize,
    /// Can disk and clocks be made to fail?
    pub preload: bool,
    /// Can machines lose power?
    pub machines: bool,
    /// Are they our own processes, behind proxies?
    pub local: bool,
}

/// Draws the faults of a run: one after the other, with quiet times between, now and then one of the network on top of one
/// of processes. Every kind comes once before any comes again, so a short run has many kinds.
///
/// With `only`, faults of other kinds are left out.
///
/// # Errors
/// `only` names a kind that there is not, or that cannot be had here.
pub fn draw(
    seed: u64,
    length: Duration,
    means: Means,
    user: &[Fault],
    only: &[String],
) -> Result<Vec<Planned>, String> {
    if only == ["none"] {
        return Ok(Vec::new());
    }
    let mut probe = Draw::new(1);
    let total = KINDS as u64 + user.len() as u64;
    let mut possible: BTreeMap<String, u64> = BTreeMap::new();
    for kind in 0..total {
        let fault = fault(kind, &mut probe, means, user);
        possible.extend(fault.map(|fault| (fault.kind().to_owned(), kind)));
    }
    if let Some(wrong) = only.iter().find(|name| !possible.contains_key(*name)) {
        let names: Vec<&str> = possible.keys().map(String::as_str).collect();
        return Err(format!("--faults is \"{wrong}\"; accepted here: none, {}", names.join(", ")));
    }
    let kinds: Vec<u64> = possible
        .iter()
        .filter(|(name, _)| only.is_empty() || only.contains(name))
        .map(|(_, kind)| *kind)
        .collect();
    Ok(if kinds.is_empty() { Vec::new() } else { deal(seed, length, means, user, &kinds) })
}

fn deal(seed: u64, length: Duration, means: Means, user: &[Fault], kinds: &[u64]) -> Vec<Planned> {
    let mut draw = Draw::new(seed);
    let mut plan: Vec<Planned> = Vec::new();
    let mut deck: Vec<u64> = Vec::new();
    let length = length.as_millis() as u64;
    let mut at = 2_000 + draw.below(2_000);
    loop {
        if deck.is_empty() {
            deck = kinds.to_vec();
            for place in (1..deck.len()).rev() {
                deck.swap(place, draw.below(place as u64 + 1) as usize);
            }
        }
        let Some(fault) = deck.pop().and_then(|kind| fault(kind, &mut draw, means, user)) else { continue };
        let lasts = draw.between(1_500, 7_000);
        // The end of the run is for healing.
        if at + lasts + 2_000 > length {
            return plan;
        }
        let second = draw.one_in(3).then(|| deck.last().copied()).flatten();
        let second = second.and_then(|kind| self::fault(kind, &mut draw, means, user));
        let fits = |second: &Fault| {
            !(fault.is_alone() || second.is_alone() || (fault.is_of_processes() && second.is_of_processes()))
        };
        let second = second.filter(fits);
        plan.push(Planned { at_ms: at, lasts_ms: lasts, fault });
        if let Some(second) = second {
            deck.pop();
            let later = draw.below(lasts / 2 + 1);
            plan.push(Planned {
                at_ms: at + later,
                lasts_ms: draw.between(500, lasts - later),
                fault: second,
            });
        }
        at += lasts + draw.between(2_000, 6_000);
    }
}

const KINDS: usize = 30;

fn fault(kind: u64, draw: &mut Draw, means: Means, user: &[Fault]) -> Option<Fault> {
    if kind as usize >= KINDS {
        return user.get(kind as usize - KINDS).cloned();
    }
    if !means.local {
        return None;
    }
    let nodes = means.nodes as u64;
    let node = draw.below(nodes) as usize;
    let other = (node + 1 + draw.below(nodes.max(2) - 1) as usize) % means.nodes;
    let fault = match kind {
        0 => Fault::Kill { node },
        1 => Fault::KillAll,
        2 => Fault::Pause { node },
        3 => Fault::Stop { node },
        4 => Fault::Wipe { node },
        5 => Fault::Isolate { node },
        6 => Fault::Mute { node },
        7 => Fault::Deaf { node },
        8 => Fault::Halves { node, size: means.nodes / 2 },
        9 => Fault::Ring,
        10 => Fault::CutPair { node, other },
        11 => Fault::Delay { node, milliseconds: draw.between(5, 300), jitter: draw.between(0, 200) },
        12 => Fault::Throttle { node, kilobytes: draw.between(8, 200) },
        13 => Fault::Drop { node },
        14 => Fault::Corrupt { node, one_of: draw.between(3, 60) },
        15 => {
            let ahead = draw.between(50, 20_000) as i64;
            Fault::Jump { node, milliseconds: if draw.one_in(2) { -ahead } else { ahead } }
        }
        16 => {
            let faster = draw.between(1_000, 20_000) as i64;
            Fault::Drift { node, millionths: if draw.one_in(2) { -faster } else { faster } }
        }
        17 => Fault::DiskFull { node },
        18 => Fault::SyncFails { node },
        19 => Fault::SyncSlow { node, milliseconds: draw.between(10, 400) },
        20 => Fault::Failover { node },
        21 => Fault::Split { partition: draw.below(6) },
        22 => Fault::Member,
        28 => Fault::KillAhead { node, other },
        // About as long as it takes others to put another one in its place.
        29 => {
            Fault::Stutter { node, frozen_ms: draw.between(300, 1_000), between_ms: draw.between(200, 1_500) }
        }
        27 => Fault::SyncSlowAll { milliseconds: draw.between(10, 200) },
        25 => Fault::PowerCut { node },
        26 => Fault::PowerCutAll,
        23 => Fault::Mix { node, one_of: draw.between(2, 40) },
        _ => Fault::Alter,
    };
    let possible = match fault {
        Fault::Jump { .. } | Fault::Drift { .. } | Fault::DiskFull { .. } => means.preload,
        Fault::SyncFails { .. } | Fault::SyncSlow { .. } | Fault::SyncSlowAll { .. } => means.preload,
        Fault::PowerCut { .. } | Fault::PowerCutAll => means.machines,
        Fault::Kill { .. } | Fault::KillAll | Fault::Stop { .. } => true,
        Fault::Pause { .. } | Fault::Stutter { .. } => true,
        // In a ring of three everybody is a neighbour.
        Fault::Ring => means.nodes > 3,
        Fault::Wipe { .. } | Fault::Member | Fault::KillAhead { .. } => means.nodes >= 3,
        _ => means.nodes >= 2,
    };
    possible.then_some(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEANS: Means = Means { nodes: 3, preload: true, machines: false, local: true };

    #[test]
    fn a_seed_is_a_plan_and_goes_through_text() {
        let plan = draw(7, Duration::from_secs(600), MEANS, &[], &[]).expect("a plan");
        assert_eq!(plan, draw(7, Duration::from_secs(600), MEANS, &[], &[]).expect("a plan"));
        assert_ne!(plan, draw(8, Duration::from_secs(600), MEANS, &[], &[]).expect("a plan"));
        let text = serde_json::to_string(&plan).expect("text");
        assert_eq!(serde_json::from_str::<Vec<Planned>>(&text).expect("a plan"), plan);
    }

    #[test]
    fn ten_minutes_have_thirty_faults_of_many_kinds() {
        for seed in 0..50 {
            let plan = draw(seed, Duration::from_secs(600), MEANS, &[], &[]).expect("a plan");
            let kinds: std::collections::BTreeSet<&str> =
                plan.iter().map(|planned| planned.fault.kind()).collect();
            assert!(
                plan.len() >= 45 && kinds.len() >= 20,
                "seed {seed}: {} of {} kinds",
                plan.len(),
                kinds.len()
            );
            assert!(plan.iter().all(|planned| planned.end_ms() + 1_000 <= 600_000));
        }
    }

    #[test]
    fn what_cannot_be_had_is_left_out() {
        let means = Means { nodes: 1, preload: false, machines: false, local: true };
        for planned in draw(3, Duration::from_secs(300), means, &[], &[]).expect("a plan") {
            let kind = planned.fault.kind().to_owned();
            assert!(["kill", "kill all", "pause", "stutter", "stop"].contains(&kind.as_str()), "{kind}");
        }
        let elsewhere = Means { nodes: 3, preload: false, machines: false, local: false };
        assert!(draw(3, Duration::from_secs(60), elsewhere, &[], &[]).expect("a plan").is_empty());
        let own = Fault::User { name: "mine".into(), begin: "true".into(), end: None };
        let plan =
            draw(3, Duration::from_secs(60), elsewhere, std::slice::from_ref(&own), &[]).expect("a plan");
        assert!(plan.len() > 3 && plan.iter().all(|planned| planned.fault == own));
    }

    #[test]
    fn faults_of_processes_are_not_mixed() {
        for seed in 0..200 {
            let plan = draw(seed, Duration::from_secs(300), MEANS, &[], &[]).expect("a plan");
            for (index, one) in plan.iter().enumerate() {
                for two in &plan[index + 1..] {
                    let both = two.at_ms < one.end_ms() && one.at_ms < two.end_ms();
                    assert!(!(both && one.fault.is_of_processes() && two.fault.is_of_processes()));
                    assert!(!both || !(one.fault.is_alone() || two.fault.is_alone()));
                }
            }
        }
    }
}
