//! Scenarios from seeds.

use replication::configuration::Acknowledgement;
use replication::consistency::Consistency;
use replication::primaries::{Conflict, Leaderless, Level};

use super::{Consensus, Fault, Planned, Scenario};
use crate::client::workload::Workload;
use crate::clock::{MILLISECOND, SECOND, TrueTime};
use crate::network::Profile;
use crate::random::Random;

/// The stream of numbers that decides whether the cluster changes its shape all the time.
const RESTLESS: u64 = 1 << 20;

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

impl Scenario {
    /// What a seed makes.
    pub fn of_seed(seed: u64) -> Scenario {
        let mut scenario = Scenario::draw(&mut Random::new(seed));
        let mut random = Random::of_part(seed, RESTLESS);
        if random.chance(400) {
            scenario.make_restless(&mut random);
        }
        scenario
    }

    /// Gives the cluster nodes that may join, and an operator who has an idea every few seconds.
    fn make_restless(&mut self, random: &mut Random) {
        self.founders = self.nodes;
        self.nodes += random.between(1, 3) as usize;
        self.partitions = random.between(1, 6) as u32;
        self.sync_time.extend((self.founders..self.nodes).map(|_| disk_speed(random)));
        let mut at = SECOND;
        while at < self.breaks_until {
            self.faults.push(planned(Fault::Members, at, 0, random));
            at += random.between(500, 4000) * MILLISECOND;
        }
        let mut at = random.between(1, 5) * SECOND;
        while at < self.breaks_until && random.chance(800) {
            self.faults.push(planned(Fault::Split, at, 0, random));
            at += random.between(200, 8000) * MILLISECOND;
        }
        self.faults.sort_by_key(|planned| planned.at);
    }

    /// What a seed makes that dwells on something.
    pub fn of_seed_focused(seed: u64, focus: Focus) -> Scenario {
        Scenario::draw_focused(focus, &mut Random::new(seed))
    }

    fn draw(random: &mut Random) -> Scenario {
        let nodes = *random.pick(&[3, 3, 3, 4, 5]);
        let wall_trusted = random.chance(300);
        let breaks_until = random.between(15, 35) * SECOND;
        let consensus = Consensus {
            max_append_bytes: *random.pick(&[512, 16 << 10, 1 << 20]),
            max_inflight_bytes: *random.pick(&[4 << 10, 256 << 10, 8 << 20]),
            memory_tail_bytes: *random.pick(&[0, 2 << 10, 64 << 10]),
            max_apply_entries: *random.pick(&[1, 16, 4096]),
            quiet_after: *random.pick(&[150, 500, 2000]) * MILLISECOND,
        };
        Scenario {
            about: String::new(),
            alarm: None,
            #[cfg(feature = "planted-bugs")]
            planted: None,
            #[cfg(feature = "planted-bugs")]
            planted_merged: None,
            syncs_lie: false,
            chance: chance(random),
            nodes,
            founders: 0,
            partitions: random.between(1, 4) as u32,
            replication_factor: if nodes == 5 { *random.pick(&[3, 5]) } else { 3 },
            acknowledgement: None,
            relaxed: false,
            merged: false,
            leaderless: None,
            bounded: false,
            alters: false,
            hot_reads: 0,
            clients: random.between(4, 9) as usize,
            workload: Workload::draw(random),
            network: Profile::draw(random),
            consensus,
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
    /// A partition goes from node to node and back, as a catalogue says, while some are cut off and die.
    Moves,
    /// The keys are in a `primary-replica` keyspace.
    Primary,
    /// The same, with copies that are on disks a moment later only, and machines that lose power.
    Relaxed,
    /// The keys are in a `multi-primary` keyspace.
    Merged,
    /// The same, with counters that must not fall below zero.
    Bounded,
    /// The keys are in a `leaderless` keyspace.
    Leaderless,
    /// The same, and nodes without a replica stand in for those that cannot be reached.
    Sloppy,
    /// Counters are read at all levels, whatever the strategy.
    Reads,
    /// The same in keyspaces with leaders, and so many are read that copies for reads alone come about, in the middle of everything.
    Hot,
    /// Partitions are split, and at that very moment nodes die or are cut off; logs are cut all the time.
    Splits,
}

impl Scenario {
    fn draw_focused(focus: Focus, random: &mut Random) -> Scenario {
        let mut scenario = Scenario::draw(random);
        match focus {
            Focus::Members => {
                scenario.nodes = 5;
                scenario.replication_factor = 3;
                scenario.partitions = 1;
                if focus == Focus::Sloppy {
                    scenario.nodes = 5;
                    scenario.sync_time = (0..scenario.nodes).map(|_| disk_speed(random)).collect();
                }
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
            Focus::Moves => {
                const KINDS: [Fault; 6] = [
                    Fault::Move,
                    Fault::Move,
                    Fault::Members,
                    Fault::CutIsolated,
                    Fault::CutHalves,
                    Fault::CrashLeader,
                ];
                scenario.nodes = 5;
                scenario.founders = 5;
                scenario.replication_factor = 3;
                scenario.partitions = 2;
                scenario.sync_time = vec![(50_000, 300_000); scenario.nodes];
                scenario.faults = often(&KINDS, (500, 3000), scenario.breaks_until, random);
            }
            Focus::Primary | Focus::Relaxed => {
                const MODES: [Acknowledgement; 3] =
                    [Acknowledgement::Async, Acknowledgement::SemiSync(1), Acknowledgement::Sync];
                let mode = *random.pick(&MODES);
                scenario.acknowledgement = Some(mode);
                if random.chance(300) {
                    scenario.make_restless(random);
                }
                // A primary may be left as the only one in sync, and nothing survives the loss of its disk; what is lost at
                // once is lost only while all copies are there, see `World::rebuild`.
                scenario.faults.retain(|planned| !matches!(planned.fault, Fault::LyingSync | Fault::BitRot));
                if mode == Acknowledgement::Async || focus == Focus::Relaxed {
                    // What only the primary held goes with its disk, and nothing can list it. And where others are in doubt, an
                    // operator has to say that nobody will ever know better.
                    scenario.faults.retain(|planned| planned.fault != Fault::Rebuild);
                }
                if focus == Focus::Relaxed {
                    const KINDS: [Fault; 4] =
                        [Fault::CrashLeader, Fault::CrashNewLeader, Fault::CrashAll, Fault::CrashSeveral];
                    scenario.relaxed = true;
                    if random.chance(500) {
                        let more = often(&KINDS, (300, 3000), scenario.breaks_until, random);
                        scenario.faults.extend(more);
                        scenario.faults.sort_by_key(|planned| planned.at);
                    }
                }
            }
            Focus::Merged | Focus::Bounded | Focus::Leaderless | Focus::Sloppy => {
                scenario.merged = true;
                scenario.bounded = focus == Focus::Bounded;
                scenario.workload.bounded = scenario.bounded;
                scenario.partitions = 1;
                scenario.snapshot_log_bytes = *random.pick(&[1 << 10, 8 << 10, 256 << 10]);
                if random.chance(500) {
                    scenario.make_restless(random);
                }
                // What only one replica has goes with its disk.
                const LOSES: [Fault; 3] = [Fault::LyingSync, Fault::BitRot, Fault::Rebuild];
                let had = scenario.faults.clone();
                scenario.faults.retain(|planned| !LOSES.contains(&planned.fault));
                if matches!(focus, Focus::Leaderless | Focus::Sloppy) {
                    const QUORUMS: [(Level, Level); 5] = [
                        (Level::Quorum, Level::Quorum),
                        (Level::Quorum, Level::Quorum),
                        (Level::Count(1), Level::All),
                        (Level::All, Level::Count(1)),
                        (Level::Count(1), Level::Count(1)),
                    ];
                    let (read, write) = *random.pick(&QUORUMS);
                    let sloppy = focus == Focus::Sloppy;
                    if sloppy {
                        scenario.replication_factor = 3;
                    }
                    scenario.leaderless =
                        Some(Leaderless { replicas: 0, read, write, conflict: Conflict::Lww, sloppy });
                    // Not drawn: seeds stay what they were.
                    scenario.alters =
                        !sloppy && write != Level::Count(1) && scenario.chance.is_multiple_of(2);
                    if write != Level::Count(1) {
                        // What two hold one may lose.
                        let survives = |planned: &Planned| !LOSES[..2].contains(&planned.fault);
                        scenario.faults = had.into_iter().filter(survives).collect();
                        if sloppy && random.chance(700) {
                            scenario.faults = long_cuts(scenario.breaks_until, random);
                        } else if random.chance(300) {
                            const KINDS: [Fault; 3] =
                                [Fault::Rebuild, Fault::CutIsolated, Fault::CrashSeveral];
                            let more = often(&KINDS, (1000, 4000), scenario.breaks_until, random);
                            scenario.faults.extend(more);
                            scenario.faults.sort_by_key(|planned| planned.at);
                        }
                    }
                }
            }
            Focus::Reads => {
                const BOUNDS: [u32; 3] = [30, 150, 1000];
                let bounded = Consistency::Bounded(*random.pick(&BOUNDS));
                let (session, eventual) = (Consistency::Session, Consistency::Eventual);
                let mut levels = vec![session, session, bounded, bounded, eventual, Consistency::Strong];
                if random.chance(500) {
                    scenario.make_restless(random);
                }
                const LOSES: [Fault; 3] = [Fault::LyingSync, Fault::BitRot, Fault::Rebuild];
                match random.below(10) {
                    0..5 => {}
                    5..7 => {
                        scenario.acknowledgement = Some(Acknowledgement::Sync);
                        scenario.faults.retain(|planned| !LOSES[..2].contains(&planned.fault));
                    }
                    7 => {
                        scenario.merged = true;
                        levels = vec![session, session, eventual];
                    }
                    _ => {
                        const QUORUMS: [(Level, Level); 3] = [
                            (Level::Quorum, Level::Quorum),
                            (Level::Count(1), Level::All),
                            (Level::Count(1), Level::Count(1)),
                        ];
                        let (read, write) = *random.pick(&QUORUMS);
                        scenario.merged = true;
                        let conflict = Conflict::Lww;
                        scenario.leaderless =
                            Some(Leaderless { replicas: 0, read, write, conflict, sloppy: false });
                        levels = vec![session, session, bounded, bounded, eventual];
                    }
                }
                if scenario.merged {
                    scenario.partitions = 1;
                    scenario.faults.retain(|planned| !LOSES.contains(&planned.fault));
                }
                scenario.workload.levels = levels;
            }
            Focus::Hot => {
                const BOUNDS: [u32; 3] = [30, 150, 1000];
                const LOSES: [Fault; 3] = [Fault::LyingSync, Fault::BitRot, Fault::Rebuild];
                let bounded = Consistency::Bounded(*random.pick(&BOUNDS));
                scenario.nodes = 5;
                scenario.founders = 5;
                scenario.replication_factor = 3;
                scenario.partitions = random.between(1, 3) as u32;
                scenario.sync_time = (0..scenario.nodes).map(|_| disk_speed(random)).collect();
                scenario.hot_reads = *random.pick(&[2, 5, 10]);
                if random.chance(500) {
                    scenario.make_restless(random);
                }
                if random.chance(400) {
                    scenario.acknowledgement = Some(Acknowledgement::Sync);
                    scenario.faults.retain(|planned| !LOSES[..2].contains(&planned.fault));
                }
                let (session, eventual) = (Consistency::Session, Consistency::Eventual);
                scenario.workload.levels = vec![session, session, bounded, eventual, Consistency::Strong];
            }
            Focus::Splits => {
                scenario.nodes = 4;
                scenario.founders = 3;
                scenario.replication_factor = 3;
                scenario.partitions = 1;
                scenario.snapshot_log_bytes = *random.pick(&[200, 2 << 10]);
                scenario.sync_time = (0..scenario.nodes).map(|_| disk_speed(random)).collect();
                scenario.faults = splits_with_mishaps(scenario.breaks_until, random);
            }
        }
        scenario
    }
}

/// A split every second or so, and something that goes wrong about then.
fn splits_with_mishaps(until: TrueTime, random: &mut Random) -> Vec<Planned> {
    const MISHAPS: [Fault; 8] = [
        Fault::CrashAll,
        Fault::CrashAll,
        Fault::CrashSeveral,
        Fault::CrashLeader,
        Fault::CutIsolated,
        Fault::CutOneWay,
        Fault::Rebuild,
        Fault::Pause,
    ];
    let mut faults = Vec::new();
    let mut at = SECOND;
    while at < until {
        faults.push(planned(Fault::Split, at, 0, random));
        for _ in 0..random.between(1, 3) {
            let lasts = random.between(20, 1500) * MILLISECOND;
            // What an operator wants is asked for some time later.
            let at = at + random.between(0, 400) * MILLISECOND;
            faults.push(planned(*random.pick(&MISHAPS), at, lasts, random));
        }
        at += random.between(600, 2500) * MILLISECOND;
    }
    faults.sort_by_key(|planned| planned.at);
    faults
}

/// Faults of these kinds one soon after the other, each lasting so many milliseconds.
fn often(kinds: &[Fault], lasts_ms: (u64, u64), until: TrueTime, random: &mut Random) -> Vec<Planned> {
    let mut faults = Vec::new();
    let mut at = SECOND;
    while at < until {
        let lasts = random.between(lasts_ms.0, lasts_ms.1) * MILLISECOND;
        faults.push(planned(*random.pick(kinds), at, lasts, random));
        at += random.between(100, 1800) * MILLISECOND;
    }
    faults
}

/// Replicas are away for long enough that others stand in for them, and a disk is lost soon after.
fn long_cuts(until: TrueTime, random: &mut Random) -> Vec<Planned> {
    const CUTS: [Fault; 5] =
        [Fault::CutHalves, Fault::CutHalves, Fault::CutIsolated, Fault::CutOneWay, Fault::CrashSeveral];
    const MEANWHILE: [Fault; 5] =
        [Fault::CrashSeveral, Fault::CrashAll, Fault::CutIsolated, Fault::LinkBad, Fault::DiskSlow];
    let mut faults = Vec::new();
    let mut at = SECOND;
    while at < until {
        let lasts = random.between(3000, 9000) * MILLISECOND;
        faults.push(planned(*random.pick(&CUTS), at, lasts, random));
        if random.chance(500) {
            let meanwhile = at + random.between(500, 3000) * MILLISECOND;
            let lasts = random.between(100, 1500) * MILLISECOND;
            faults.push(planned(*random.pick(&MEANWHILE), meanwhile, lasts, random));
        }
        at += lasts;
        if random.chance(700) {
            let lost_at = at + random.between(0, 1500) * MILLISECOND;
            let lasts = random.between(300, 3000) * MILLISECOND;
            faults.push(planned(Fault::Rebuild, lost_at, lasts, random));
        }
        at += random.between(500, 4000) * MILLISECOND;
    }
    faults.sort_by_key(|planned| planned.at);
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
        faults.push(planned(Fault::Members, at, 0, random));
        for _ in 0..random.between(1, 2) {
            let lasts = random.between(400, 2000) * MILLISECOND;
            let fault = *random.pick(&MEANWHILE);
            let at = at + random.between(1, 700) * MILLISECOND;
            faults.push(planned(fault, at, lasts, random));
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
        faults.push(planned(fault, at, lasts, random));
        at += random.between(1_000_000, 2 * pause);
    }
    faults
}

fn planned(fault: Fault, at: TrueTime, lasts: TrueTime, random: &mut Random) -> Planned {
    Planned { fault, at, lasts, node: None, chance: chance(random), after_event: None }
}

/// What a stream of numbers follows from; short, since people read it.
fn chance(random: &mut Random) -> u64 {
    random.next() >> 32
}
