//! What one seed makes: a cluster, its options, its clients, and a schedule of what goes wrong when.

use std::time::Duration;

use replication::ordered::raft;

use crate::client::workload::Workload;
use crate::clock::{MILLISECOND, SECOND, TrueTime};
use crate::network::Profile;
use crate::random::Random;

/// Something that goes wrong, or an operator's doing. Who is hit is drawn when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One node dies.
    Crash,
    /// The leader of some partition dies.
    CrashLeader,
    /// The next node that is elected dies right afterwards.
    CrashNewLeader,
    /// Several nodes die at once.
    CrashSeveral,
    /// All nodes die at once.
    CrashAll,
    /// The nodes fall into two groups that do not hear one another.
    CutHalves,
    /// One node, by preference a leader, hears nobody and is not heard.
    CutIsolated,
    /// One node is not heard, or hears nobody.
    CutOneWay,
    /// Each node hears only its two neighbours in a ring (with three nodes: one link is cut).
    CutRing,
    /// Some links lose, double and delay.
    LinkBad,
    /// A process stands still and then goes on.
    Pause,
    /// Syncs of one node take long.
    DiskSlow,
    /// The disk of one node is full.
    DiskFull,
    /// A sync fails: the process dies, the machine does not.
    SyncFails,
    /// A wall clock jumps.
    WallJump,
    /// A monotonic clock runs at another rate.
    RateChange,
    /// Leadership is handed over by order.
    Transfer,
    /// A node is told that its connection to a peer broke, though it may not have.
    PeerLostHint,
    /// A node loses its disk and comes back as another node in its place.
    Rebuild,
    /// A disk says that it has synced and has not; in the end the machine loses power, and its disk counts as lost.
    LyingSync,
    /// A bit turns over on a disk; the process stops and reads everything again.
    BitRot,
    /// A partition gets other members: one more, one less, one or two exchanged, some without a vote.
    Members,
    /// The clients rest, so that groups fall quiet.
    Rest,
}

const KINDS: [(Fault, u32); 23] = [
    (Fault::Crash, 12),
    (Fault::CrashLeader, 12),
    (Fault::CrashNewLeader, 6),
    (Fault::CrashSeveral, 8),
    (Fault::CrashAll, 6),
    (Fault::CutHalves, 9),
    (Fault::CutIsolated, 12),
    (Fault::CutOneWay, 8),
    (Fault::CutRing, 8),
    (Fault::LinkBad, 10),
    (Fault::Pause, 8),
    (Fault::DiskSlow, 8),
    (Fault::DiskFull, 6),
    (Fault::SyncFails, 5),
    (Fault::WallJump, 6),
    (Fault::RateChange, 6),
    (Fault::Transfer, 10),
    (Fault::PeerLostHint, 6),
    (Fault::Rebuild, 6),
    (Fault::LyingSync, 5),
    (Fault::BitRot, 6),
    (Fault::Members, 14),
    (Fault::Rest, 8),
];

/// A fault with its time.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// When it begins.
    pub at: TrueTime,
    /// How long it lasts.
    pub lasts: TrueTime,
    /// What it is.
    pub fault: Fault,
}

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Nodes.
    pub nodes: usize,
    /// Partitions.
    pub partitions: u32,
    /// Replicas of each.
    pub replication_factor: usize,
    /// Clients.
    pub clients: usize,
    /// What they do.
    pub workload: Workload,
    /// The network between nodes.
    pub network: Profile,
    /// The consensus' numbers.
    pub raft: raft::Options,
    /// When logs are cut.
    pub snapshot_log_bytes: u64,
    /// The size of a segment of the log.
    pub segment_bytes: u64,
    /// By node: the usual time of a sync, at the least and at the most. Where they differ much, what one node holds
    /// durably another will not for long.
    pub sync_time: Vec<(TrueTime, TrueTime)>,
    /// Wall clocks are right to the millisecond and never jump: then nothing may expire early.
    pub wall_trusted: bool,
    /// What goes wrong.
    pub faults: Vec<Planned>,
    /// Things break until then; afterwards all is healed.
    pub breaks_until: TrueTime,
}

/// How far a clock's rate may be off: two clocks then differ by less than the stated bound.
pub const RATE_ERROR_PPM: i64 = 24_000;

impl Scenario {
    /// What the seed makes.
    pub fn draw(random: &mut Random) -> Scenario {
        let nodes = *random.pick(&[3, 3, 3, 4, 5]);
        let wall_trusted = random.chance(300);
        let breaks_until = random.between(15, 35) * SECOND;
        let raft = raft::Options {
            max_append_bytes: *random.pick(&[512, 16 << 10, 1 << 20]),
            max_inflight_bytes: *random.pick(&[4 << 10, 256 << 10, 8 << 20]),
            memory_tail_bytes: *random.pick(&[0, 2 << 10, 64 << 10]),
            quiet_after: Duration::from_millis(*random.pick(&[150, 500, 2000])),
            ..raft::Options::default()
        };
        Scenario {
            nodes,
            partitions: random.between(1, 4) as u32,
            replication_factor: if nodes == 5 { *random.pick(&[3, 5]) } else { 3 },
            clients: random.between(4, 9) as usize,
            workload: Workload::draw(random),
            network: Profile::draw(random),
            raft,
            snapshot_log_bytes: *random.pick(&[4 << 10, 16 << 10, 64 << 10, 1 << 20]),
            segment_bytes: *random.pick(&[32 << 10, 128 << 10]),
            sync_time: (0..nodes).map(|_| disk_speed(random)).collect(),
            wall_trusted,
            faults: schedule(breaks_until, wall_trusted, random),
            breaks_until,
        }
    }
}

/// What a seed dwells on: some sequences of events are too rare to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// Members change, and in the middle of that the network falls apart, leaders die, logs are cut.
    Members,
    /// Leaders stand still until others lead, and then go on as if nothing had been.
    Pauses,
    /// Nodes die and come back while leaders are elected.
    Elections,
}

impl Scenario {
    /// As [`Scenario::draw`], dwelling on something.
    pub fn draw_focused(focus: Focus, random: &mut Random) -> Scenario {
        let mut scenario = Scenario::draw(random);
        match focus {
            Focus::Members => {
                scenario.nodes = 5;
                scenario.replication_factor = 3;
                scenario.partitions = 1;
                scenario.snapshot_log_bytes = *random.pick(&[1 << 10, 64 << 10]);
                scenario.sync_time = (0..scenario.nodes).map(|_| disk_speed(random)).collect();
                scenario.faults = changes_of_members(scenario.breaks_until, random);
            }
            Focus::Pauses => {
                scenario.partitions = 1;
                scenario.faults = often(&[Fault::Pause], (700, 2000), scenario.breaks_until, random);
            }
            Focus::Elections => {
                const KINDS: [Fault; 4] =
                    [Fault::CrashLeader, Fault::CrashNewLeader, Fault::CrashAll, Fault::CrashSeveral];
                scenario.partitions = 2;
                scenario.sync_time = vec![(50_000, 300_000); scenario.nodes];
                scenario.faults = often(&KINDS, (1, 120), scenario.breaks_until, random);
            }
        }
        scenario
    }
}

/// Faults of these kinds one soon after the other, each lasting so many milliseconds.
fn often(kinds: &[Fault], lasts_ms: (u64, u64), until: TrueTime, random: &mut Random) -> Vec<Planned> {
    let mut faults = Vec::new();
    let mut at = SECOND;
    while at < until {
        let lasts = random.between(lasts_ms.0, lasts_ms.1) * MILLISECOND;
        faults.push(Planned { at, lasts, fault: *random.pick(kinds) });
        at += random.between(100, 1800) * MILLISECOND;
    }
    faults
}

/// A change of members every few seconds, and something that goes wrong while it is under way.
fn changes_of_members(until: TrueTime, random: &mut Random) -> Vec<Planned> {
    const MEANWHILE: [Fault; 6] = [
        Fault::CutHalves,
        Fault::CutHalves,
        Fault::CutIsolated,
        Fault::CrashLeader,
        Fault::CrashSeveral,
        Fault::Transfer,
    ];
    let mut faults = Vec::new();
    let mut at = SECOND;
    while at < until {
        faults.push(Planned { at, lasts: 0, fault: Fault::Members });
        for _ in 0..random.between(1, 2) {
            let lasts = random.between(400, 2000) * MILLISECOND;
            let fault = *random.pick(&MEANWHILE);
            faults.push(Planned { at: at + random.between(1, 700) * MILLISECOND, lasts, fault });
        }
        at += random.between(1500, 3500) * MILLISECOND;
    }
    faults.sort_by_key(|planned| planned.at);
    faults
}

/// A fast disk, a usual one, or a slow one.
fn disk_speed(random: &mut Random) -> (TrueTime, TrueTime) {
    let (low, high) =
        *random.pick(&[(50_000, 300_000), (300_000, 4 * MILLISECOND), (10 * MILLISECOND, 60 * MILLISECOND)]);
    (low, random.between(low, high))
}

/// Faults at random times, of kinds that this seed likes.
fn schedule(until: TrueTime, wall_trusted: bool, random: &mut Random) -> Vec<Planned> {
    let mut weights: Vec<u32> = KINDS.iter().map(|(_, weight)| *weight).collect();
    for (weight, (fault, _)) in weights.iter_mut().zip(KINDS) {
        if random.chance(350) || (wall_trusted && fault == Fault::WallJump) {
            *weight = 0;
        }
    }
    weights[0] = weights[0].max(1);
    let pause = *random.pick(&[400, 1000, 2500]) * MILLISECOND;
    let mut faults = Vec::new();
    let mut at = SECOND;
    while at < until {
        let fault = KINDS[random.weighted(&weights)].0;
        let lasts = match random.below(4) {
            0 => random.between(2, 120) * MILLISECOND,
            1 | 2 => random.between(200, 2500) * MILLISECOND,
            _ => random.between(1, 6) * SECOND,
        };
        faults.push(Planned { at, lasts, fault });
        at += random.between(1_000_000, 2 * pause);
    }
    faults
}
