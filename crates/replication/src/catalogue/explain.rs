//! What becomes of a keyspace in a fault (`KEYSPACE EXPLAIN`): the CAP choice, computed.
//!
//! From the policy, the placement and the catalogue's present view of who is in sync follows for each side of a fault what it can do: the same
//! arithmetic as that of the replicas (majorities, in-sync sets, R and W), applied to the nodes that are left together. Nothing is asked of anybody.
//!
//! PACELC (Abadi, *Consistency tradeoffs in modern distributed database system design*, Computer 2012): in a partition (P) availability (A) or
//! consistency (C); else (E) latency (L) or consistency (C).

use std::collections::BTreeSet;

use super::{Catalogue, Keyspace, Policy};
use crate::configuration::{Acknowledgement, Configuration, PrimaryReplica};
use crate::primaries::{Leaderless, Level, Primaries};
use crate::quorum::majority;
use crate::{NodeId, PartitionId};

/// What happens to the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// These are gone.
    Gone(BTreeSet<NodeId>),
    /// The network falls into these two parts. Who is in neither is cut off from both, alone.
    Parted(BTreeSet<NodeId>, BTreeSet<NodeId>),
}

/// What is said to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It is done.
    Accepted,
    /// It is done once another node leads, which takes a moment.
    AcceptedAfterFailover,
    /// It is answered, perhaps without what was written elsewhere.
    PossiblyStale,
    /// It is refused before it takes effect.
    Refused,
}

impl Answer {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Answer::Accepted => "accepted",
            Answer::AcceptedAfterFailover => "accepted after a failover",
            Answer::PossiblyStale => "possibly stale",
            Answer::Refused => "refused",
        }
    }
}

/// The answers for all slots, by range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers(Vec<((u16, u16), Answer)>);

impl Answers {
    fn push(&mut self, slots: (u16, u16), answer: Answer) {
        match self.0.last_mut() {
            Some(((_, last), same)) if *same == answer && last.wrapping_add(1) == slots.0 => *last = slots.1,
            _ => self.0.push((slots, answer)),
        }
    }

    /// By range of slots.
    pub fn by_slots(&self) -> &[((u16, u16), Answer)] {
        &self.0
    }

    /// The worst of them.
    pub fn worst(&self) -> Option<Answer> {
        self.0.iter().map(|(_, answer)| *answer).max()
    }

    /// In words: one for all slots, or each with its slots.
    pub fn text(&self) -> String {
        match &self.0[..] {
            [(_, answer)] => answer.name().into(),
            parts => by_reason(parts.iter().map(|(slots, answer)| (*slots, answer.name().to_owned())))
                .into_iter()
                .map(|(answer, slots)| format!("{answer} for {slots}"))
                .collect::<Vec<_>>()
                .join("; "),
        }
    }
}

/// What is said of the same slots or others in the same words, once, with all of those slots.
fn by_reason(said: impl Iterator<Item = ((u16, u16), String)>) -> Vec<(String, String)> {
    let mut reasons: Vec<(String, Vec<(u16, u16)>)> = Vec::new();
    for (slots, text) in said {
        let ranges = match reasons.iter_mut().position(|(known, _)| *known == text) {
            Some(at) => &mut reasons[at].1,
            None => {
                reasons.push((text, Vec::new()));
                &mut reasons.last_mut().expect("one was put there").1
            }
        };
        match ranges.last_mut() {
            Some((_, last)) if last.wrapping_add(1) == slots.0 => *last = slots.1,
            _ => ranges.push(slots),
        }
    }
    let words = |ranges: Vec<(u16, u16)>| {
        let range = |(first, last): &(u16, u16)| format!("{first}-{last}");
        format!("slots {}", ranges.iter().map(range).collect::<Vec<_>>().join(", "))
    };
    reasons.into_iter().map(|(text, ranges)| (text, words(ranges))).collect()
}

/// What the nodes of one side can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Who they are.
    pub nodes: Vec<NodeId>,
    /// Writes, as the keyspace acknowledges them.
    pub writes: Answers,
    /// Reads that neither client nor keyspace says anything about.
    pub reads: Answers,
    /// Reads by level, of those levels that the strategy has.
    pub levels: Vec<(&'static str, Answers)>,
    /// Can keyspaces, members and placement be changed?
    pub catalogue: bool,
    /// Why not all is accepted.
    pub why: Vec<String>,
}

/// What becomes of a keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The choice in one line.
    pub pacelc: String,
    /// The sides, those that were named first.
    pub sides: Vec<Side>,
    /// What of what was acknowledged could be lost for good.
    pub lost: String,
}

/// What a group of replicas can do on one side.
struct Can {
    writes: Answer,
    reads: Answer,
    /// Beside the strategy's own: strong, bounded, session, eventual; `None`: there is no such level.
    levels: [Option<Answer>; 4],
    why: Option<String>,
}

const LEVELS: [&str; 4] = ["strong", "bounded", "session", "eventual"];

/// Explains a keyspace; `None`: there is none of that prefix.
pub fn explain(catalogue: &Catalogue, prefix: &[u8], fault: &Fault) -> Option<Explained> {
    let keyspace = catalogue.keyspaces.get(prefix)?;
    let all: BTreeSet<NodeId> = catalogue.members.keys().copied().collect();
    let sides: Vec<BTreeSet<NodeId>> = match fault {
        Fault::None => vec![all],
        Fault::Gone(gone) => vec![all.difference(gone).copied().collect()],
        Fault::Parted(one, other) => {
            let alone = all.iter().filter(|node| !one.contains(node) && !other.contains(node));
            let alone = alone.map(|node| BTreeSet::from([*node]));
            [one.clone(), other.clone()].into_iter().chain(alone).collect()
        }
    };
    let sides = sides.into_iter().filter(|side| !side.is_empty());
    Some(Explained {
        pacelc: pacelc(catalogue, keyspace),
        sides: sides.map(|side| on_side(catalogue, (prefix, keyspace), &side)).collect(),
        lost: lost(catalogue, keyspace, fault),
    })
}

fn on_side(catalogue: &Catalogue, (prefix, keyspace): (&[u8], &Keyspace), side: &BTreeSet<NodeId>) -> Side {
    let voters = catalogue.voters.iter().filter(|node| side.contains(node)).count();
    let catalogue_changes = voters >= majority(catalogue.voters.len());
    let mut found =
        Side { nodes: side.iter().copied().collect(), catalogue: catalogue_changes, ..Side::default() };
    let mut levels: [Answers; 4] = Default::default();
    let mut why: Vec<((u16, u16), String)> = Vec::new();
    let mut add = |slots: (u16, u16), can: Can| {
        found.writes.push(slots, can.writes);
        found.reads.push(slots, can.reads);
        for (answers, can) in levels.iter_mut().zip(can.levels) {
            can.into_iter().for_each(|can| answers.push(slots, can));
        }
        why.extend(can.why.map(|why| (slots, why)));
    };
    match &keyspace.policy {
        Policy::Raft => {
            let mut placed: Vec<_> = (0..).map(PartitionId).zip(&catalogue.partitions).collect();
            placed.sort_by_key(|(_, record)| record.first_slot);
            for (partition, record) in placed {
                let is_read = is_read_on(catalogue, partition, side);
                add((record.first_slot, record.last_slot), raft(&record.replicas, is_read, side));
            }
        }
        Policy::PrimaryReplica { number, options } => {
            for (partition, group) in catalogue.groups_of(*number) {
                let is_read = is_read_on(catalogue, partition, side);
                let can = primary_replica(group, options, is_read, side, catalogue_changes);
                add((group.first_slot, group.last_slot), can);
            }
        }
        Policy::MultiPrimary { number, .. } => {
            for (_, group) in catalogue.primaries_of(*number) {
                add(group.slots, multi_primary(group, side));
            }
        }
        Policy::Leaderless { number, options } => {
            for (_, group) in catalogue.primaries_of(*number) {
                let in_force = group.in_force().unwrap_or(*options);
                add(group.slots, leaderless(group, &in_force, side));
            }
        }
    }
    found.why =
        by_reason(why.into_iter()).into_iter().map(|(why, slots)| format!("{slots}: {why}")).collect();
    found.levels = LEVELS.into_iter().zip(levels).filter(|(_, answers)| !answers.0.is_empty()).collect();
    // A level that the keyspace says for itself is what its reads are.
    if let Some(level) = catalogue.reads.get(prefix)
        && let Some((_, answers)) = found.levels.iter().find(|(name, _)| level.name().starts_with(name))
    {
        found.reads = answers.clone();
    }
    found
}

fn of_those(replicas: &[NodeId], side: &BTreeSet<NodeId>) -> usize {
    replicas.iter().filter(|node| side.contains(node)).count()
}

/// Is there a copy for reads alone on that side?
fn is_read_on(catalogue: &Catalogue, partition: PartitionId, side: &BTreeSet<NodeId>) -> bool {
    let mut readers = catalogue.readers.get(&partition).into_iter().flatten();
    readers.any(|reader| reader.ready && side.contains(&reader.node))
}

fn raft(replicas: &[NodeId], is_read: bool, side: &BTreeSet<NodeId>) -> Can {
    let here = of_those(replicas, side);
    let needed = majority(replicas.len());
    if here >= needed {
        let leads = replicas.first().is_some_and(|node| side.contains(node));
        let done = if leads { Answer::Accepted } else { Answer::AcceptedAfterFailover };
        let any = Some(Answer::Accepted);
        return Can { writes: done, reads: done, levels: [Some(done), Some(done), any, any], why: None };
    }
    let stale = if here > 0 || is_read { Answer::PossiblyStale } else { Answer::Refused };
    Can {
        writes: Answer::Refused,
        reads: Answer::Refused,
        levels: [Some(Answer::Refused), Some(Answer::Refused), Some(stale), Some(stale)],
        why: Some(format!(
            "no majority: {here} of {} replicas are here, {needed} are needed",
            replicas.len()
        )),
    }
}

fn primary_replica(
    group: &Configuration,
    options: &PrimaryReplica,
    is_read: bool,
    side: &BTreeSet<NodeId>,
    catalogue: bool,
) -> Can {
    let here = of_those(&group.in_sync, side);
    let (all, has_primary) = (group.in_sync.len(), side.contains(&group.primary));
    // An acknowledged write is with the primary and so many others, so one of any so many has it.
    let consulted = match options.acknowledgement {
        Acknowledgement::SemiSync(copies) => all.saturating_sub(copies as usize).max(1),
        Acknowledgement::Sync | Acknowledgement::Async => 1,
    };
    let needed = match options.acknowledgement {
        Acknowledgement::SemiSync(copies) => (copies as usize + 1).max(options.min_in_sync as usize),
        _ => options.min_in_sync as usize,
    };
    let (leads, why) = if has_primary && here == all {
        (Some(Answer::Accepted), None)
    } else if !catalogue {
        let missing = match has_primary {
            true => {
                "members in sync are not here, and without the catalogue's majority they cannot be taken out"
            }
            false => "the primary is not here, and without the catalogue's majority nobody takes its place",
        };
        (None, Some(missing.to_owned()))
    } else if has_primary {
        (Some(Answer::Accepted), None)
    } else if here >= consulted {
        (Some(Answer::AcceptedAfterFailover), None)
    } else {
        let text = format!(
            "{here} of the {all} members in sync are here, and {consulted} are asked before one becomes primary"
        );
        (None, Some(text))
    };
    let reads = leads.unwrap_or(Answer::Refused);
    let (writes, why) = match leads {
        Some(_) if here < needed => {
            let text = format!("{here} members in sync are here, and writes need {needed} (NOREPLICAS)");
            (Answer::Refused, Some(text))
        }
        Some(leads) => (leads, why),
        None => (Answer::Refused, why),
    };
    let any_here = is_read || of_those(&group.replicas, side) > 0;
    let stale = match leads {
        Some(_) => Answer::Accepted,
        None if any_here => Answer::PossiblyStale,
        None => Answer::Refused,
    };
    // Copies that are not durable at once show nothing by themselves that could be lost.
    let by_replicas = if options.relaxed && leads.is_none() { Answer::Refused } else { stale };
    Can { writes, reads, levels: [Some(reads), Some(reads), Some(by_replicas), Some(by_replicas)], why }
}

fn multi_primary(group: &Primaries, side: &BTreeSet<NodeId>) -> Can {
    let members: Vec<NodeId> = group.members().map(|(node, _)| node).collect();
    let here = of_those(&members, side);
    if here == 0 {
        let why = Some("no replica is here".to_owned());
        let refused = Some(Answer::Refused);
        let levels = [None, None, refused, refused];
        return Can { writes: Answer::Refused, reads: Answer::Refused, levels, why };
    }
    let (reads, why) = match here == members.len() {
        true => (Answer::Accepted, None),
        false => (
            Answer::PossiblyStale,
            Some(
                "reads lack what the replicas elsewhere take; all of it merges when they are back".to_owned(),
            ),
        ),
    };
    Can { writes: Answer::Accepted, reads, levels: [None, None, Some(reads), Some(reads)], why }
}

fn leaderless(group: &Primaries, options: &Leaderless, side: &BTreeSet<NodeId>) -> Can {
    let counted: Vec<NodeId> = group.counted().collect();
    let here = of_those(&counted, side);
    let stand_ins = match options.sloppy && here > 0 {
        true => side.iter().filter(|node| !group.seats.contains_key(node)).count().min(counted.len() - here),
        false => 0,
    };
    let reached = |level: Level| match level {
        // Of those in the zone of whoever takes the request, which this does not know: of any.
        Level::LocalQuorum => here > 0,
        level => here > 0 && here + stand_ins >= group.needed(level),
    };
    let copies = group.copies as usize;
    let is_whole = here == counted.len();
    let strict = options.is_strict(copies) == Some(true) && !options.sloppy;
    let fresh = |reached: bool| match (reached, strict || is_whole) {
        (false, _) => Answer::Refused,
        (true, true) => Answer::Accepted,
        (true, false) => Answer::PossiblyStale,
    };
    // A write asks R replicas first.
    let (reads, written) = (reached(options.read), reached(options.read) && reached(options.write));
    let certain = group.all_acknowledged();
    let bounded = match (options.sloppy, options.write) {
        (true, _) => None,
        (false, Level::LocalQuorum) => Some(reached(Level::All)),
        (false, _) => Some(reached(certain)),
    };
    let any = match (here, is_whole) {
        (0, _) => Answer::Refused,
        (_, true) => Answer::Accepted,
        (_, false) => Answer::PossiblyStale,
    };
    let why = (!is_whole).then(|| {
        let beside = match stand_ins {
            0 => String::new(),
            count => format!(" and {count} that stand in"),
        };
        format!(
            "{here} of {} replicas{beside} are here; R is {} and W is {}",
            counted.len(),
            options.read.name(),
            options.write.name()
        )
    });
    Can {
        writes: if written { Answer::Accepted } else { Answer::Refused },
        reads: fresh(reads),
        levels: [
            None,
            bounded.map(|reached| if reached { Answer::Accepted } else { Answer::Refused }),
            Some(any),
            Some(any),
        ],
        why,
    }
}

fn pacelc(catalogue: &Catalogue, keyspace: &Keyspace) -> String {
    match &keyspace.policy {
        Policy::Raft => {
            "PC/EC: in a partition the side with a majority goes on and the other one refuses; else each write waits for a majority".into()
        }
        Policy::PrimaryReplica { options, .. } => match options.acknowledgement {
            Acknowledgement::Sync => {
                "PC/EC: in a partition the side of the catalogue's majority goes on and the other one refuses; else each write waits for all that are in sync".into()
            }
            Acknowledgement::SemiSync(copies) => format!(
                "PC/EC: in a partition the side of the catalogue's majority goes on and the other one refuses; else each write waits for {copies} beside the primary"
            ),
            Acknowledgement::Async => {
                "PC/EL: in a partition the side of the catalogue's majority goes on and the other one refuses; else a write waits for nobody but the primary".into()
            }
        },
        Policy::MultiPrimary { .. } => {
            "PA/EL: in a partition every replica goes on, and what they did merges afterwards; else nobody waits for others".into()
        }
        Policy::Leaderless { options, .. } => {
            let copies = options.copies(catalogue.settings.replication_factor);
            let (read, write) = (options.read.name(), options.write.name());
            match (options.sloppy, options.is_strict(copies)) {
                (true, _) => format!(
                    "PA/EL: in a partition nodes stand in for replicas that cannot be reached; else a request waits for R {read} and W {write} of {copies}"
                ),
                (false, Some(true)) => format!(
                    "PC/EC: R + W > N, so in a partition a side goes on that has R {read} and W {write} of {copies} replicas, and others refuse; else each request waits for as many"
                ),
                (false, Some(false)) => format!(
                    "PA/EL: R + W <= N, so in a partition both sides may go on, with R {read} and W {write} of {copies}, and reads may miss writes; else a request waits for no more"
                ),
                (false, None) => format!(
                    "PA/EL between zones, PC/EC in each: R {read} and W {write} of {copies}, counted in the zone of who takes the request"
                ),
            }
        }
    }
}

/// What could be lost if the disks of those that are gone never come back.
fn lost(catalogue: &Catalogue, keyspace: &Keyspace, fault: &Fault) -> String {
    let Fault::Gone(gone) = fault else {
        return match (&keyspace.policy, fault) {
            (Policy::PrimaryReplica { options, .. }, Fault::Parted(..))
                if options.acknowledgement == Acknowledgement::Async =>
            {
                "what the primary acknowledged and had not shipped, if the other side goes on: it is kept and listed (KEYSPACE LOST)"
                    .into()
            }
            _ => "nothing acknowledged".into(),
        };
    };
    let whole = |replicas: &[NodeId]| !replicas.is_empty() && replicas.iter().all(|node| gone.contains(node));
    match &keyspace.policy {
        Policy::Raft => {
            let minority = |replicas: &[NodeId]| {
                let here = replicas.iter().filter(|node| !gone.contains(node)).count();
                replicas.len() - here >= majority(replicas.len())
            };
            match catalogue.partitions.iter().any(|record| minority(&record.replicas)) {
                true => "nothing acknowledged while the disks come back; if those of a majority never do, what only they had".into(),
                false => "nothing acknowledged".into(),
            }
        }
        Policy::PrimaryReplica { number, options } => {
            let mut groups = catalogue.groups_of(*number).map(|(_, group)| group);
            let needed = |group: &Configuration| {
                let others =
                    group.in_sync.iter().filter(|node| **node != group.primary && gone.contains(node));
                gone.contains(&group.primary)
                    && match options.acknowledgement {
                        Acknowledgement::Async => true,
                        Acknowledgement::SemiSync(copies) => others.count() >= copies as usize,
                        Acknowledgement::Sync => whole(&group.in_sync),
                    }
            };
            match (groups.any(needed), options.acknowledgement) {
                (false, _) => "nothing acknowledged".into(),
                (true, Acknowledgement::Async) => {
                    "what a primary among them acknowledged and had not shipped; it is kept on its disk and listed (KEYSPACE LOST) when that comes back".into()
                }
                (true, _) => "what only they had acknowledged, if their disks never come back".into(),
            }
        }
        Policy::MultiPrimary { number, .. } => {
            let mut groups = catalogue.primaries_of(*number);
            match groups.any(|(_, group)| group.members().any(|(node, _)| gone.contains(&node))) {
                true => {
                    "what a replica among them acknowledged and had not shipped, if its disk never comes back"
                        .into()
                }
                false => "nothing acknowledged".into(),
            }
        }
        Policy::Leaderless { number, options } => {
            let loses = |group: &Primaries| {
                let here = group.counted().filter(|node| gone.contains(node)).count();
                here >= group.needed(group.least_held_by().unwrap_or(options.write)).max(1)
            };
            match catalogue.primaries_of(*number).any(|(_, group)| loses(group)) {
                true => format!(
                    "what only they acknowledged (W is {}), if their disks never come back",
                    options.write.name()
                ),
                false => "nothing acknowledged".into(),
            }
        }
    }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
