//! Where partitions ought to be: a pure function of the catalogue.
//!
//! First every node gets a quota, by weight, within what zones allow ([`quotas`]). Then, starting from where the partitions
//! are, as little as possible is changed until every quota holds: a node that has too much gives a partition to one that has
//! too little, if need be by way of others ([`Assignment::rebalance`]). The same goes for leaderships, among the nodes that
//! hold a partition ([`lead`]).
//!
//! Replicas of a partition are in different zones as far as there are zones enough, else spread over them evenly; that goes
//! before balance.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{CATALOGUE_VOTERS, Catalogue, Member, MemberState};
use crate::NodeId;
use crate::primaries::Replicas;

/// For each partition, in order: the nodes that ought to hold it, the preferred leader first.
pub fn plan(catalogue: &Catalogue) -> Vec<Vec<NodeId>> {
    let nodes = Nodes::of(catalogue);
    let present: Vec<Vec<NodeId>> =
        catalogue.partitions.iter().map(|record| record.wanted().to_vec()).collect();
    if nodes.ids.is_empty() {
        return present;
    }
    let copies = (catalogue.settings.replication_factor as usize).clamp(1, nodes.ids.len());
    let mut assignment = Assignment::new(&nodes, &present, copies);
    assignment.fill();
    assignment.rebalance();
    lead(&nodes, assignment.lists)
}

/// Who votes on the catalogue: in as many zones as possible, and as many of the present voters as possible.
pub fn catalogue_voters(catalogue: &Catalogue) -> Vec<NodeId> {
    let able = |state: MemberState| matches!(state, MemberState::Active | MemberState::Draining);
    let mut candidates: Vec<NodeId> =
        catalogue.members.iter().filter(|(_, member)| able(member.state)).map(|(id, _)| *id).collect();
    if candidates.is_empty() {
        return catalogue.voters.clone();
    }
    let most = CATALOGUE_VOTERS.min(candidates.len());
    // An even number can lose no more nodes than one less.
    let count = if most.is_multiple_of(2) && most > 2 { most - 1 } else { most };
    let zone = |id: &NodeId| catalogue.members[id].zone.as_str();
    let preference = |id: &NodeId| {
        let member = &catalogue.members[id];
        let leaves = member.state == MemberState::Draining;
        (leaves, !catalogue.voters.contains(id), member.name.clone())
    };
    candidates.sort_by_key(preference);
    let mut chosen: Vec<NodeId> = Vec::new();
    while chosen.len() < count {
        let in_zone = |id: &NodeId| chosen.iter().filter(|other| zone(other) == zone(id)).count();
        let next = candidates.iter().filter(|id| !chosen.contains(id)).min_by_key(|id| {
            let (leaves, ..) = preference(id);
            (leaves, in_zone(id))
        });
        match next.copied() {
            Some(next) => chosen.push(next),
            None => break,
        }
    }
    chosen.sort_unstable();
    chosen
}

/// The nodes that are to hold a keyspace which takes writes on all of its replicas: in as many zones as possible, and as many of those
/// that hold it as possible.
pub fn primaries(catalogue: &Catalogue, replicas: Replicas, present: &[NodeId]) -> Vec<NodeId> {
    let able = |member: &Member| member.weight > 0 && member.state == MemberState::Active;
    let mut candidates: Vec<(&NodeId, &Member)> =
        catalogue.members.iter().filter(|(_, member)| able(member)).collect();
    if candidates.is_empty() {
        return present.to_vec();
    }
    candidates.sort_by_key(|(id, member)| (!present.contains(id), &member.name));
    let zones: BTreeSet<&str> = candidates.iter().map(|(_, member)| member.zone.as_str()).collect();
    let factor = catalogue.settings.replication_factor as usize;
    let count = match replicas {
        Replicas::Count(0) => factor,
        Replicas::Count(count) => count as usize,
        Replicas::AllZones => factor.max(zones.len()),
    };
    let mut chosen: Vec<(&NodeId, &Member)> = Vec::new();
    while chosen.len() < count.min(candidates.len()) {
        let in_zone = |zone: &str| chosen.iter().filter(|(_, other)| other.zone == zone).count();
        let left = candidates.iter().filter(|candidate| !chosen.iter().any(|(id, _)| *id == candidate.0));
        let Some(next) = left.min_by_key(|(_, member)| in_zone(&member.zone)) else { break };
        chosen.push(*next);
    }
    chosen.into_iter().map(|(id, _)| *id).collect()
}

/// The nodes that are to hold a group of a keyspace without leaders: those of the partition that it lies over, the first of them if it is to be on
/// fewer, and others beside them if it is to be on more.
pub fn peers(catalogue: &Catalogue, first_slot: u16, replicas: u32) -> Vec<NodeId> {
    primaries(catalogue, Replicas::Count(replicas), &catalogue.home_of_group(first_slot, replicas))
}

/// The nodes that may hold partitions; from here on they go by their place in this list.
struct Nodes {
    ids: Vec<NodeId>,
    weights: Vec<u64>,
    zones: Vec<usize>,
    zone_count: usize,
}

impl Nodes {
    fn of(catalogue: &Catalogue) -> Nodes {
        let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
        let mut nodes = Nodes { ids: Vec::new(), weights: Vec::new(), zones: Vec::new(), zone_count: 0 };
        let in_states = |states: &[MemberState]| -> Vec<_> {
            let able = |member: &Member| member.weight > 0 && states.contains(&member.state);
            catalogue.members.iter().filter(|(_, member)| able(member)).collect()
        };
        // With too few nodes left a copy stays where it is rather than nowhere.
        let tiers: [&[MemberState]; 3] = [
            &[MemberState::Active],
            &[MemberState::Active, MemberState::Silent],
            &[MemberState::Active, MemberState::Silent, MemberState::Draining, MemberState::Leaving],
        ];
        let copies = catalogue.settings.replication_factor as usize;
        let mut able = Vec::new();
        for tier in tiers {
            able = in_states(tier);
            if able.len() >= copies {
                break;
            }
        }
        able.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        for (id, member) in able {
            let next = zones.len();
            nodes.ids.push(*id);
            nodes.weights.push(u64::from(member.weight));
            nodes.zones.push(*zones.entry(&member.zone).or_insert(next));
        }
        nodes.zone_count = zones.len();
        nodes
    }

    fn place_of(&self) -> BTreeMap<NodeId, usize> {
        self.ids.iter().enumerate().map(|(place, id)| (*id, place)).collect()
    }
}

/// Cuts `total` into shares proportional to `weights`, each between its floor and its cap. `total` lies between the sums of
/// the floors and the caps.
fn exact_shares(total: u64, weights: &[u64], bounds: &[(u64, u64)]) -> Vec<f64> {
    let clamped = |level: f64| -> Vec<f64> {
        let share = |(&weight, &(floor, cap)): (&u64, &(u64, u64))| {
            (level * weight as f64).clamp(floor as f64, cap as f64)
        };
        weights.iter().zip(bounds).map(share).collect()
    };
    // The level at which the shares add up to the total; their sum rises with it.
    let (mut low, mut high) = (0.0, total as f64 + 1.0);
    for _ in 0..128 {
        let middle = (low + high) / 2.0;
        if clamped(middle).iter().sum::<f64>() < total as f64 { low = middle } else { high = middle }
    }
    clamped(high)
}

/// A share rounded down, and rounded up.
fn rounded(exact: f64) -> (u64, u64) {
    ((exact + 1e-6).floor() as u64, (exact - 1e-6).ceil() as u64)
}

/// The same in integers. Where shares have to be rounded, those with the higher `present` are rounded up.
fn shares(total: u64, weights: &[u64], bounds: &[(u64, u64)], present: &[u64]) -> Vec<u64> {
    let exact = exact_shares(total, weights, bounds);
    let fraction = |index: usize| exact[index].fract();
    let mut share: Vec<u64> = exact.iter().map(|&exact| rounded(exact).0).collect();
    let mut rest = total.saturating_sub(share.iter().sum());
    let mut order: Vec<usize> =
        (0..weights.len()).filter(|&index| rounded(exact[index]).1 > share[index]).collect();
    // Each is rounded down or up, never further. What is there already is kept, else the larger remainder goes first.
    order.sort_by(|&a, &b| {
        let keeps = |index: usize| present[index] > share[index];
        keeps(b).cmp(&keeps(a)).then(fraction(b).total_cmp(&fraction(a))).then(a.cmp(&b))
    });
    for index in order {
        if rest > 0 {
            share[index] += 1;
            rest -= 1;
        }
    }
    share
}

/// How many replicas of one partition each zone holds: all at least `level - 1` (or as many as they have nodes), and `extra`
/// of them `level`.
#[derive(Clone, Copy)]
struct Spread {
    level: usize,
    extra: usize,
}

impl Spread {
    fn of(nodes: &Nodes, copies: usize) -> Spread {
        let sizes: Vec<usize> =
            (0..nodes.zone_count).map(|zone| nodes.zones.iter().filter(|&&of| of == zone).count()).collect();
        let room = |level: usize| sizes.iter().map(|&size| size.min(level)).sum::<usize>();
        let level = (1..copies).find(|&level| room(level) >= copies).unwrap_or(copies);
        Spread { level, extra: copies.saturating_sub(room(level - 1)) }
    }

    /// Is a list with so many replicas by zone within it (though perhaps not yet complete)?
    fn allows(self, by_zone: &[usize]) -> bool {
        by_zone.iter().all(|&count| count <= self.level)
            && by_zone.iter().filter(|&&count| count == self.level).count() <= self.extra
    }
}

/// How many replicas each node ought to hold.
fn quotas(nodes: &Nodes, partitions: u64, copies: usize, spread: Spread, present: &[u64]) -> Vec<u64> {
    let zones: Vec<usize> = (0..nodes.zone_count).collect();
    let in_zone = |zone: usize| (0..nodes.ids.len()).filter(move |&place| nodes.zones[place] == zone);
    let bounds: Vec<(u64, u64)> = zones
        .iter()
        .map(|&zone| {
            let size = in_zone(zone).count();
            (partitions * size.min(spread.level - 1) as u64, partitions * size.min(spread.level) as u64)
        })
        .collect();
    let weights: Vec<u64> =
        zones.iter().map(|&zone| in_zone(zone).map(|place| nodes.weights[place]).sum()).collect();
    let held: Vec<u64> = zones.iter().map(|&zone| in_zone(zone).map(|place| present[place]).sum()).collect();
    let of_zone = shares(partitions * copies as u64, &weights, &bounds, &held);
    let mut quotas = vec![0; nodes.ids.len()];
    for zone in zones {
        let places: Vec<usize> = in_zone(zone).collect();
        let weights: Vec<u64> = places.iter().map(|&place| nodes.weights[place]).collect();
        let held: Vec<u64> = places.iter().map(|&place| present[place]).collect();
        let bounds = vec![(0, partitions); places.len()];
        for (place, share) in places.iter().zip(shares(of_zone[zone], &weights, &bounds, &held)) {
            quotas[*place] = share;
        }
    }
    quotas
}

/// Who holds what, on the way to what ought to be.
struct Assignment<'a> {
    nodes: &'a Nodes,
    copies: usize,
    spread: Spread,
    /// By partition, in the order of preference; places in `nodes`.
    lists: Vec<Vec<usize>>,
    /// By node: the partitions that it holds.
    held: Vec<BTreeSet<usize>>,
    /// By node: those that it held from the beginning. Moving another one costs nothing.
    held_before: Vec<BTreeSet<usize>>,
    quotas: Vec<u64>,
}

impl<'a> Assignment<'a> {
    fn new(nodes: &'a Nodes, present: &[Vec<NodeId>], copies: usize) -> Assignment<'a> {
        let place_of = nodes.place_of();
        let mut lists: Vec<Vec<usize>> = Vec::with_capacity(present.len());
        for list in present {
            lists.push(list.iter().filter_map(|id| place_of.get(id).copied()).collect());
        }
        let count = |lists: &[Vec<usize>]| {
            let mut counts = vec![0u64; nodes.ids.len()];
            lists.iter().flatten().for_each(|&place| counts[place] += 1);
            counts
        };
        let spread = Spread::of(nodes, copies);
        let quotas = quotas(nodes, present.len() as u64, copies, spread, &count(&lists));
        // What is too much in one place goes first: copies above the number, and above what a zone may hold.
        let mut counts = count(&lists);
        for list in &mut lists {
            loop {
                let by_zone = by_zone(nodes, list);
                let fullest = by_zone.iter().copied().max().unwrap_or(0);
                let crowded = !spread.allows(&by_zone);
                if list.len() <= copies && !crowded {
                    break;
                }
                let surplus = |&place: &usize| counts[place] as i64 - quotas[place] as i64;
                let victims =
                    list.iter().copied().filter(|&place| !crowded || by_zone[nodes.zones[place]] == fullest);
                let Some(victim) = victims.max_by_key(surplus) else { break };
                counts[victim] -= 1;
                list.retain(|&place| place != victim);
            }
        }
        let mut held = vec![BTreeSet::new(); nodes.ids.len()];
        for (partition, list) in lists.iter().enumerate() {
            list.iter().for_each(|&place| {
                held[place].insert(partition);
            });
        }
        let held_before = held.clone();
        Assignment { nodes, copies, spread, lists, held, held_before, quotas }
    }

    /// How many more partitions a node ought to hold.
    fn lacks(&self, place: usize) -> i64 {
        self.quotas[place] as i64 - self.held[place].len() as i64
    }

    /// May the node get a replica of the partition, if the one on `instead_of` goes?
    fn may_hold(&self, place: usize, partition: usize, instead_of: Option<usize>) -> bool {
        let list = &self.lists[partition];
        if list.contains(&place) {
            return false;
        }
        let mut by_zone = by_zone(self.nodes, list);
        if let Some(leaves) = instead_of {
            by_zone[self.nodes.zones[leaves]] -= 1;
        }
        by_zone[self.nodes.zones[place]] += 1;
        self.spread.allows(&by_zone)
    }

    /// Partitions that have too few replicas get more, on nodes that lack some: those first that share few partitions with
    /// the nodes which hold this one, so that the load of a node that fails goes to many.
    fn fill(&mut self) {
        let count = self.nodes.ids.len();
        if self.lists.iter().all(|list| list.len() >= self.copies) {
            return;
        }
        let mut shared = vec![0u32; count * count];
        for list in &self.lists {
            for (&a, &b) in list.iter().flat_map(|a| list.iter().map(move |b| (a, b))) {
                shared[a * count + b] += 1;
            }
        }
        for partition in 0..self.lists.len() {
            while self.lists[partition].len() < self.copies {
                let able = (0..count).filter(|&place| self.may_hold(place, partition, None));
                let quota = |place: usize| self.quotas[place].max(1) as f64;
                let relation = |place: usize| {
                    let with = |&other: &usize| shared[place * count + other];
                    f64::from(self.lists[partition].iter().map(with).sum::<u32>()) / quota(place)
                };
                let filled = |place: usize| self.held[place].len() as f64 / quota(place);
                let turn = |place: usize| (place + count - partition % count) % count;
                let best = able.min_by(|&a, &b| {
                    let full = |place: usize| self.lacks(place) <= 0;
                    full(a)
                        .cmp(&full(b))
                        .then(relation(a).total_cmp(&relation(b)))
                        .then(filled(a).total_cmp(&filled(b)))
                        .then(turn(a).cmp(&turn(b)))
                });
                let Some(best) = best else { break };
                for &other in &self.lists[partition] {
                    shared[best * count + other] += 1;
                    shared[other * count + best] += 1;
                }
                self.lists[partition].push(best);
                self.held[best].insert(partition);
            }
        }
    }

    /// Moves replicas from nodes that have too many to nodes that have too few, each by the fewest moves.
    fn rebalance(&mut self) {
        for from in 0..self.nodes.ids.len() {
            while self.lacks(from) < 0 {
                let Some(path) = self.path(from) else { break };
                for (source, target, partition) in path {
                    let list = &mut self.lists[partition];
                    let place = list.iter().position(|&node| node == source).unwrap_or_default();
                    list[place] = target;
                    self.held[source].remove(&partition);
                    self.held[target].insert(partition);
                }
            }
        }
    }

    /// The moves (source, target, partition) that take one replica off `from` and give one to a node that lacks one, with
    /// the fewest that were there before. (A breadth-first search in which moves that cost nothing go first.)
    fn path(&self, from: usize) -> Option<Vec<(usize, usize, usize)>> {
        let count = self.nodes.ids.len();
        let mut came: Vec<Option<(usize, usize)>> = vec![None; count];
        let mut cost = vec![u32::MAX; count];
        let mut done = vec![false; count];
        cost[from] = 0;
        let mut queue = VecDeque::from([from]);
        while let Some(source) = queue.pop_front() {
            if std::mem::replace(&mut done[source], true) {
                continue;
            }
            if self.lacks(source) > 0 {
                return Some(unwind(&came, from, source));
            }
            let mut targets: Vec<usize> = (0..count).filter(|&target| !done[target]).collect();
            // Those who lack most first.
            targets.sort_by_key(|&target| std::cmp::Reverse(self.lacks(target)));
            for target in targets {
                let may = |partition: &&usize| self.may_hold(target, **partition, Some(source));
                let free = self.held[source].difference(&self.held_before[source]).find(may);
                if let Some(&partition) = free.filter(|_| cost[source] < cost[target]) {
                    cost[target] = cost[source];
                    came[target] = Some((source, partition));
                    queue.push_front(target);
                } else if cost[source] + 1 < cost[target]
                    && let Some(&partition) = self.held[source].iter().find(may)
                {
                    cost[target] = cost[source] + 1;
                    came[target] = Some((source, partition));
                    queue.push_back(target);
                }
            }
        }
        None
    }
}

/// How many of these nodes are in each zone.
fn by_zone(nodes: &Nodes, list: &[usize]) -> Vec<usize> {
    let mut by_zone = vec![0; nodes.zone_count];
    list.iter().for_each(|&place| by_zone[nodes.zones[place]] += 1);
    by_zone
}

/// The steps from `from` to `end`, the last first: what comes later has to make room before what goes there.
fn unwind(came: &[Option<(usize, usize)>], from: usize, end: usize) -> Vec<(usize, usize, usize)> {
    let mut path = Vec::new();
    let mut target = end;
    while target != from {
        let Some((source, partition)) = came[target] else { break };
        path.push((source, target, partition));
        target = source;
    }
    path
}

/// Puts the preferred leader of each partition first, so that leaderships are balanced by weight with the fewest changes:
/// none leads more than its share rounded up, none less than its share rounded down.
///
/// Every change brings some node closer to its share and none further from it. So this comes to rest, provided that all
/// of them are made at once (half of a chain of changes leaves those in its middle with too many or too few).
fn lead(nodes: &Nodes, mut lists: Vec<Vec<usize>>) -> Vec<Vec<NodeId>> {
    let count = nodes.ids.len();
    let mut leads: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
    let mut holds = vec![0u64; count];
    for (partition, list) in lists.iter().enumerate() {
        list.iter().for_each(|&place| holds[place] += 1);
        if let Some(&first) = list.first() {
            leads[first].insert(partition);
        }
    }
    let bounds: Vec<(u64, u64)> = holds.iter().map(|&held| (0, held)).collect();
    let exact = exact_shares(lists.len() as u64, &nodes.weights, &bounds);
    let (fewest, most): (Vec<u64>, Vec<u64>) = exact.into_iter().map(rounded).unzip();
    let mut pass = |enough: &[u64], takes: &dyn Fn(usize, u64) -> bool| {
        for (from, &enough) in enough.iter().enumerate() {
            while leads[from].len() as u64 > enough {
                let Some(path) = lead_path(&lists, &leads, from, takes) else { break };
                for (source, target, partition) in path {
                    leads[source].remove(&partition);
                    leads[target].insert(partition);
                    let list = &mut lists[partition];
                    let place = list.iter().position(|&node| node == target).unwrap_or_default();
                    list.swap(0, place);
                }
            }
        }
    };
    let too_few = |place: usize, leads: u64| leads < fewest[place];
    // Those who lead too many pass them on to those who lead too few, else to those who may lead one more; then those who
    // may lead one less to those who still lead too few.
    pass(&most, &too_few);
    pass(&most, &|place, leads| leads < most[place]);
    pass(&fewest, &too_few);
    lists.into_iter().map(|list| list.into_iter().map(|place| nodes.ids[place]).collect()).collect()
}

fn lead_path(
    lists: &[Vec<usize>],
    leads: &[BTreeSet<usize>],
    from: usize,
    takes: &dyn Fn(usize, u64) -> bool,
) -> Option<Vec<(usize, usize, usize)>> {
    let mut came: Vec<Option<(usize, usize)>> = vec![None; leads.len()];
    let mut queue = VecDeque::from([from]);
    while let Some(source) = queue.pop_front() {
        for &partition in &leads[source] {
            for &target in &lists[partition][1..] {
                if target == from || came[target].is_some() {
                    continue;
                }
                came[target] = Some((source, partition));
                if takes(target, leads[target].len() as u64) {
                    return Some(unwind(&came, from, target));
                }
                queue.push_back(target);
            }
        }
    }
    None
}
