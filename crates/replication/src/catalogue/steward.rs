//! What is to be changed next: decided by the node that leads the catalogue, again and again, from nothing but the catalogue
//! and who shows signs of life. So it does not matter who leads it, or how often that changes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Catalogue, Change, MemberState, Policy, Report, plan, readers};
use crate::configuration::{Ask, Configuration, PrimaryReplica, Wish};
use crate::placement::PartitionPlacement;
use crate::primaries::Replicas;
use crate::{NodeId, PartitionId};

/// A node that was given up for being silent is taken back when it has been heard of this lately.
pub(super) const HEARD_LATELY: Duration = Duration::from_secs(3);

/// What the steward looks at.
pub struct Situation<'a> {
    /// The catalogue as it is, with everything that is committed.
    pub catalogue: &'a Catalogue,
    /// For how long nothing was heard of a node.
    pub silent_for: &'a dyn Fn(NodeId) -> Duration,
    /// What leaders of partitions say that has not been looked at.
    pub reports: &'a [Report],
    /// What replicas of groups ask for.
    pub asks: &'a [Ask],
    /// How many reads a second, that more than one replica may answer, are answered of partitions and groups. `None`: that is not known yet.
    pub heat: Option<&'a BTreeMap<PartitionId, u32>>,
    /// From how many a second for each copy on another one is made; 0: never.
    pub hot: u32,
}

/// The next change, if there is anything to change.
pub fn next_change(situation: &Situation<'_>) -> Option<Change> {
    let Situation { catalogue, reports, .. } = situation;
    let news = |change: &Change| matches!(change.apply(catalogue), Ok((_, touched)) if !touched.is_empty());
    let settled = reports.iter().map(|report| Change::Settle(report.clone())).find(news);
    settled
        .or_else(|| next_configurations(situation))
        .or_else(|| next_seats(situation))
        .or_else(|| next_state(situation))
        .or_else(|| next_voters(catalogue))
        .or_else(|| next_removal(situation))
        .or_else(|| readers::next(situation))
        .or_else(|| next_place(catalogue))
        .or_else(|| next_homes(situation))
        .or_else(|| next_split(catalogue))
        .filter(news)
}

/// A primary that was not heard of here for so long may be taken for dead by a single one of those in sync.
const SILENT_PRIMARY: Duration = Duration::from_millis(800);

/// What replicas of groups ask for, all at once: what one of them asks for has nothing to do with the others.
fn next_configurations(situation: &Situation<'_>) -> Option<Change> {
    let mut decided: BTreeMap<PartitionId, Configuration> = BTreeMap::new();
    for ask in situation.asks {
        if decided.contains_key(&ask.partition) {
            continue;
        }
        let Some(record) = situation.catalogue.groups.get(&ask.partition) else { continue };
        if record.version != ask.version {
            continue;
        }
        if let Some(next) = answer(ask, record, situation) {
            decided.insert(ask.partition, Configuration { version: record.version + 1, ..next });
        }
    }
    (!decided.is_empty()).then(|| Change::Configure(decided.into_iter().collect()))
}

/// A replica that takes writes beside others is not waited for if it was not heard of for so long.
const SILENT_REPLICA: Duration = Duration::from_secs(2);

/// What replicas of keyspaces that take writes on all of them ask for, and where these are to be.
fn next_seats(situation: &Situation<'_>) -> Option<Change> {
    let Situation { catalogue, silent_for, asks, .. } = situation;
    let limit = Duration::from_millis(catalogue.settings.replace_after_ms);
    let mut decided = Vec::new();
    let multi_primary = catalogue.keyspaces.values().filter_map(|keyspace| match keyspace.policy {
        Policy::MultiPrimary { number, options } => Some((number, options.replicas)),
        _ => None,
    });
    let multi_primary: BTreeMap<u16, Replicas> = multi_primary.collect();
    for (&partition, record) in &catalogue.primaries {
        let mut next = record.clone();
        let of_record = |ask: &&Ask| ask.partition == partition && ask.version == record.version;
        for ask in asks.iter().filter(of_record) {
            match ask.wish {
                Wish::Claim(claim) => next.claim(ask.from, claim),
                Wish::Eject(node) if node != ask.from && silent_for(node) >= SILENT_REPLICA => {
                    next.eject(node)
                }
                Wish::Return => next.take_back(ask.from),
                Wish::Join => next.join(ask.from),
                Wish::Known => next.settle(),
                Wish::Leave if record.seats.get(&ask.from).is_some_and(|seat| seat.leaving) => {
                    next.seats.remove(&ask.from);
                }
                _ => {}
            }
        }
        // Who was removed from the cluster will not come back; who is to be removed and has been silent for so long that another would
        // take its place will not either.
        next.seats.retain(|node, _| match catalogue.members.get(node) {
            Some(member) if member.state == MemberState::Leaving => {
                limit.is_zero() || silent_for(*node) < limit
            }
            Some(_) => true,
            None => false,
        });
        match (next.leaderless, multi_primary.get(&partition.keyspace())) {
            (Some(options), _) => {
                next.follow(&plan::peers(catalogue, next.slots.0, options.replicas));
                next.resize(options.copies(catalogue.settings.replication_factor) as u32);
            }
            (None, Some(&replicas)) => {
                let present: Vec<NodeId> = next.seats.keys().copied().collect();
                next.follow(&plan::primaries(catalogue, replicas, &present));
            }
            (None, None) => {}
        }
        if next != *record {
            next.version += 1;
            decided.push((partition, next));
        }
    }
    (!decided.is_empty()).then_some(Change::Seat(decided))
}

/// What a wish makes of a configuration; `None`: nothing (yet).
fn answer(ask: &Ask, record: &Configuration, situation: &Situation<'_>) -> Option<Configuration> {
    let mut next = record.clone();
    let is_primary = ask.from == record.primary;
    match &ask.wish {
        Wish::Suspect => {
            let successor = best_suspect(ask, record, situation)?;
            next.appoint(successor, false);
            next.in_sync.retain(|node| *node != record.primary);
        }
        Wish::Remove(nodes) if is_primary => {
            next.in_sync.retain(|node| *node == record.primary || !nodes.contains(node));
            if options_of(ask.partition, situation.catalogue)?.relaxed {
                let leaving = record.in_sync.iter().filter(|node| !next.in_sync.contains(node));
                let leaving = leaving.filter(|node| !record.dismissed.contains(node));
                next.dismissed.extend(leaving);
            }
        }
        Wish::Admit(node) if is_primary && record.replicas.contains(node) => {
            next.in_sync.push(*node);
            next.in_sync.sort_unstable();
            next.in_sync.dedup();
        }
        Wish::Appoint(node) if is_primary => {
            let mut may = [&record.in_sync, &record.witnesses, &record.dismissed].into_iter();
            let may = may.any(|nodes| nodes.contains(node));
            if !may || node == &record.primary {
                return None;
            }
            next.appoint(*node, true);
        }
        Wish::Renew if is_primary => next.appoint(record.primary, true),
        Wish::Confirm(held) if is_primary => {
            next.witnesses.clear();
            next.consult = 0;
            next.dismissed.clear();
            // The keyspace may have been altered since the primary asked: it knows only what holds for what it knew.
            let policy = options_of(ask.partition, situation.catalogue)?.acknowledgement;
            next.guaranteed = policy.min(*held);
        }
        Wish::Settled(node) if is_primary => next.settling.retain(|other| other != node),
        _ => return None,
    }
    // Who was removed from the cluster will never say what it holds.
    next.settling.retain(|node| situation.catalogue.members.contains_key(node));
    next.dismissed.retain(|node| situation.catalogue.members.contains_key(node));
    (next != *record).then_some(next)
}

/// The options of the keyspace that a group is of.
fn options_of(partition: PartitionId, catalogue: &Catalogue) -> Option<PrimaryReplica> {
    catalogue.keyspaces.values().find_map(|keyspace| match keyspace.policy {
        Policy::PrimaryReplica { number, options } if number == partition.keyspace() => Some(options),
        _ => None,
    })
}

/// Who is to follow a primary that is missed: one of those in sync who miss it. A single one is believed if the primary is
/// not heard of here either; else all of them have to miss it, since one that is cut off by itself is no reason.
fn best_suspect(ask: &Ask, record: &Configuration, situation: &Situation<'_>) -> Option<NodeId> {
    let others = || record.in_sync.iter().copied().filter(|node| *node != record.primary);
    let misses = |node: &NodeId| {
        situation.asks.iter().any(|other| {
            other.partition == ask.partition
                && other.version == ask.version
                && other.from == *node
                && other.wish == Wish::Suspect
        })
    };
    let is_member = situation.catalogue.members.contains_key(&record.primary);
    let silent = !is_member || (situation.silent_for)(record.primary) >= SILENT_PRIMARY;
    // One that was appointed and has not begun is not to be heard of.
    let all_miss_it = record.witnesses.is_empty() && others().all(|node| misses(&node));
    if !silent && !all_miss_it {
        return None;
    }
    // The first in the order of preference, so that leaderships stay spread.
    let order = record.replicas.iter().copied().chain(others());
    order.into_iter().find(|node| others().any(|other| other == *node) && misses(node))
}

/// Groups follow the partitions that they lie over. A former primary that is to list what it lost is waited for, unless it was
/// removed, or is to be removed and has been silent for so long that any other node would be replaced: then its list is gone
/// with it, and it must not stay a member for ever.
fn next_homes(situation: &Situation<'_>) -> Option<Change> {
    let Situation { catalogue, silent_for, .. } = situation;
    let limit = Duration::from_millis(catalogue.settings.replace_after_ms);
    let comes_back = |node: &NodeId| {
        catalogue.members.get(node).is_some_and(|member| {
            member.state != MemberState::Leaving || limit.is_zero() || silent_for(*node) < limit
        })
    };
    let mut moved = Vec::new();
    for keyspace in catalogue.keyspaces.values() {
        let Policy::PrimaryReplica { number, options } = keyspace.policy else { continue };
        for (partition, configuration) in catalogue.groups_of(number) {
            let replicas = catalogue.home_of_group(configuration.first_slot, options.replicas);
            let mut next = configuration.clone();
            next.settling.retain(comes_back);
            next.dismissed.retain(|node| catalogue.members.contains_key(node));
            if !replicas.is_empty() {
                next.replicas = replicas;
            }
            if next != *configuration {
                next.version += 1;
                moved.push((partition, next));
            }
        }
    }
    (!moved.is_empty()).then_some(Change::Configure(moved))
}

/// Nodes that fell silent, and those that are back.
fn next_state(situation: &Situation<'_>) -> Option<Change> {
    let Situation { catalogue, silent_for, .. } = situation;
    let in_state = |state: MemberState| {
        catalogue.members.iter().filter(move |(_, member)| member.state == state).map(|(id, _)| *id)
    };
    let back = in_state(MemberState::Silent).find(|&node| silent_for(node) < HEARD_LATELY);
    if let Some(node) = back {
        return Some(Change::State { node, state: MemberState::Active });
    }
    let limit = Duration::from_millis(catalogue.settings.replace_after_ms);
    if limit.is_zero() {
        return None;
    }
    // Others have to be there to take its partitions, and most nodes have to be heard: else it is we who are cut off.
    let there = in_state(MemberState::Active).filter(|&node| silent_for(node) < HEARD_LATELY).count();
    let enough =
        there >= catalogue.settings.replication_factor as usize && there * 2 > catalogue.members.len();
    let node = in_state(MemberState::Active).filter(|&node| silent_for(node) >= limit);
    let node = node.max_by_key(|&node| silent_for(node)).filter(|_| enough)?;
    Some(Change::State { node, state: MemberState::Silent })
}

fn next_voters(catalogue: &Catalogue) -> Option<Change> {
    let voters = plan::catalogue_voters(catalogue);
    let mut present = catalogue.voters.clone();
    present.sort_unstable();
    (present != voters).then_some(Change::Voters(voters))
}

/// Members that were told to leave and have nothing left: of their own, and of what others count on. Who has been silent for so long that others take
/// its place will not say so.
fn next_removal(situation: &Situation<'_>) -> Option<Change> {
    let Situation { catalogue, silent_for, asks, .. } = situation;
    let is_sloppy = catalogue.has_sloppy();
    let limit = Duration::from_millis(catalogue.settings.replace_after_ms);
    let holds_no_hints = |node: NodeId| {
        let released = asks.iter().filter(|ask| ask.from == node).filter_map(|ask| match ask.wish {
            Wish::Release { lane, lanes } => Some((lane, lanes)),
            _ => None,
        });
        let released: BTreeSet<(u8, u8)> = released.collect();
        let is_gone = !limit.is_zero() && silent_for(node) >= limit;
        is_gone || released.first().is_some_and(|(_, lanes)| released.len() == usize::from(*lanes))
    };
    let leaving = catalogue.members.iter().filter(|(_, member)| member.state == MemberState::Leaving);
    let node = leaving
        .map(|(id, _)| *id)
        .filter(|&node| !is_sloppy || holds_no_hints(node))
        .find(|&node| !catalogue.holds_anything(node) && !catalogue.voters.contains(&node))?;
    Some(Change::Remove { node })
}

/// What is not where it ought to be. What need not be moved but only led by another, all at once: half of such a change
/// would be the beginning of another plan, and they might go on for ever. Else one partition, those first that have lost a
/// copy.
fn next_place(catalogue: &Catalogue) -> Option<Change> {
    let planned = plan::plan(catalogue);
    let moving = catalogue.moves();
    let able =
        |node: &NodeId| catalogue.members.get(node).is_some_and(|member| member.state == MemberState::Active);
    let sorted = |nodes: &[NodeId]| {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        nodes
    };
    let mut led_by_others = Vec::new();
    let mut best = None;
    for (record, (to, partition)) in
        catalogue.partitions.iter().zip(planned.into_iter().zip((0..).map(PartitionId)))
    {
        // One that is being split has its members until that is done: the new one begins with them.
        let is_split = catalogue.split.is_some_and(|split| split.parent == partition);
        if record.wanted() == to || is_split {
            continue;
        }
        if sorted(record.wanted()) == sorted(&to) {
            led_by_others.push((partition, to));
            continue;
        }
        // One that is on its way already does not count as one more.
        if record.moving_to.is_empty() && moving >= catalogue.settings.moves_at_once as usize {
            continue;
        }
        let urgency = u8::from(record.wanted().iter().all(able));
        if best.as_ref().is_none_or(|(least, _)| urgency < *least) {
            best = Some((urgency, (partition, to)));
        }
    }
    if !led_by_others.is_empty() {
        return Some(Change::Place(led_by_others));
    }
    best.map(|(_, place)| Change::Place(vec![place]))
}

/// The partition with the most slots is divided in the middle, while there are to be more.
fn next_split(catalogue: &Catalogue) -> Option<Change> {
    if catalogue.split.is_some() || catalogue.partitions.len() >= catalogue.partitions_wanted as usize {
        return None;
    }
    let slots = |record: &PartitionPlacement| record.last_slot - record.first_slot;
    let partitions = (0..).map(PartitionId).zip(&catalogue.partitions);
    // Of equals the first.
    let (partition, widest) = partitions.max_by_key(|&(number, record)| (slots(record), Reverse(number)))?;
    let first_slot = widest.first_slot + slots(widest) / 2 + 1;
    (slots(widest) > 0).then_some(Change::Split { partition, first_slot })
}
