//! Copies for reads alone. Where more reads are asked for than the replicas should answer, and more than one replica may answer them, other nodes get the
//! log as learners and answer some of them for as long as that lasts.
//!
//! Who answers many of them says so once a second ([`Wish::Heat`]); the node that leads the catalogue adds up what all replicas say. From `hot` a second for
//! each copy on there is one copy more, and then another, one at a time, each once the one before has caught up and says so ([`Wish::Ready`]). One goes when
//! those that are left would have half of that to answer: between the two nothing changes, or copies would come and go. Nobody counts on them: they are in no
//! majority and never in sync. So one is dropped at once where anything else is to happen: its node goes, or is to hold a replica, or the partition is divided.

use std::collections::{BTreeMap, BTreeSet};

use super::change::{Refusal, refuse};
use super::steward::HEARD_LATELY;
use super::{Catalogue, Change, MemberState, Record, Situation};
use crate::configuration::Wish;
use crate::placement::Reader;
use crate::{NodeId, PartitionId};

/// Those who hold a partition or group, or are to, beside its readers; `None`: there is none, or it has no followers.
fn holders(catalogue: &Catalogue, partition: PartitionId) -> Option<BTreeSet<NodeId>> {
    if partition.keyspace() == 0 {
        let record = catalogue.partitions.get(partition.0 as usize)?;
        return Some(record.replicas.iter().chain(&record.moving_to).copied().collect());
    }
    let group = catalogue.groups.get(&partition)?;
    Some(catalogue.members.keys().copied().filter(|node| group.places(*node)).collect())
}

/// Notes who holds copies for reads.
pub(super) fn set(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    decided: &[(PartitionId, Vec<Reader>)],
) -> Result<(), Refusal> {
    for (partition, readers) in decided {
        let holders = holders(catalogue, *partition);
        let distinct: BTreeSet<NodeId> = readers.iter().map(|reader| reader.node).collect();
        let may = |node: &NodeId| {
            let holds = holders.as_ref().is_none_or(|holders| holders.contains(node));
            catalogue.members.contains_key(node) && !holds
        };
        if distinct.len() != readers.len() || !distinct.iter().all(may) {
            return refuse(format!("partition {} cannot be read there", partition.0));
        }
        match readers.is_empty() {
            true => catalogue.readers.remove(partition),
            false => catalogue.readers.insert(*partition, readers.clone()),
        };
        touched.insert(Record::Readers(*partition));
        if let Some(group) = catalogue.groups.get_mut(partition) {
            // Its replicas go by versions.
            group.version += 1;
            touched.insert(Record::Group(*partition));
        }
    }
    Ok(())
}

/// One copy more or less, where it is time for that.
pub(super) fn next(situation: &Situation<'_>) -> Option<Change> {
    let Situation { catalogue, heat, .. } = situation;
    let hot = heat.iter().flat_map(|heat| heat.keys());
    let looked_at: BTreeSet<PartitionId> = catalogue.readers.keys().chain(hot).copied().collect();
    let mut decided: BTreeMap<PartitionId, Vec<Reader>> = BTreeMap::new();
    for partition in looked_at {
        let had = catalogue.readers.get(&partition).cloned().unwrap_or_default();
        let next = wanted(situation, partition, &had, &decided);
        if next != had {
            decided.insert(partition, next);
        }
    }
    (!decided.is_empty()).then(|| Change::Readers(decided.into_iter().collect()))
}

fn wanted(
    situation: &Situation<'_>,
    partition: PartitionId,
    had: &[Reader],
    decided: &BTreeMap<PartitionId, Vec<Reader>>,
) -> Vec<Reader> {
    let Situation { catalogue, asks, heat, hot, .. } = situation;
    let Some(holders) = holders(catalogue, partition) else { return Vec::new() };
    let to_be_divided = catalogue.partitions.len() < catalogue.partitions_wanted as usize;
    let is_divided = partition.keyspace() == 0 && (catalogue.split.is_some() || to_be_divided);
    if *hot == 0 || is_divided {
        return Vec::new();
    }
    let is_ready = |reader: &Reader| {
        let says_so = |node| {
            let mut of_partition = asks.iter().filter(|ask| ask.partition == partition);
            of_partition.any(|ask| ask.from == node && ask.wish == Wish::Ready)
        };
        reader.ready || says_so(reader.node)
    };
    let stays = |node: NodeId| may_read(situation, node) && !holders.contains(&node);
    let mut next: Vec<Reader> = had
        .iter()
        .filter(|reader| stays(reader.node))
        .map(|reader| Reader { ready: is_ready(reader), ..*reader })
        .collect();
    let Some(heat) = heat else { return next };
    let rate = u64::from(heat.get(&partition).copied().unwrap_or(0));
    let (hot, copies) = (u64::from(*hot), (holders.len() + next.len()) as u64);
    if rate > hot * copies && next.iter().all(|reader| reader.ready) {
        let free = catalogue.members.keys().copied().filter(|&node| {
            stays(node)
                && (situation.silent_for)(node) < HEARD_LATELY
                && next.iter().all(|reader| reader.node != node)
        });
        let load = |node: &NodeId| {
            let reads =
                |(_, readers): (&PartitionId, &Vec<Reader>)| readers.iter().any(|of| of.node == *node);
            let read = catalogue.readers.iter().filter(|entry| reads(*entry)).count()
                + decided.iter().filter(|entry| reads(*entry)).count();
            let held = catalogue.partitions.iter().filter(|record| record.places(*node)).count()
                + catalogue.groups.values().filter(|group| group.places(*node)).count();
            (read, held)
        };
        next.extend(free.min_by_key(load).map(|node| Reader { node, ready: false }));
    } else if !next.is_empty() && 2 * rate < hot * (copies - 1) {
        next.pop();
    }
    next
}

/// May the node hold copies for reads at all?
fn may_read(situation: &Situation<'_>, node: NodeId) -> bool {
    let member = situation.catalogue.members.get(&node);
    member.is_some_and(|member| member.weight > 0 && member.state == MemberState::Active)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::catalogue::{Member, Settings};
    use crate::configuration::Ask;

    const FIRST: PartitionId = PartitionId(0);
    const HOT: u32 = 100;

    /// One partition on the first three of so many nodes.
    fn catalogue(nodes: u64) -> Catalogue {
        let member = |id: u64| Member {
            name: format!("n{id}"),
            client: String::new(),
            peer: String::new(),
            zone: String::new(),
            weight: 100,
            state: MemberState::Active,
            format: 0,
        };
        let members = (1..=nodes).map(|id| (NodeId(id), member(id))).collect();
        let settings = Settings { replication_factor: 3, moves_at_once: 1, ..Settings::default() };
        let mut catalogue = Catalogue::genesis(members, 1, settings);
        catalogue.partitions[0].replicas = [1, 2, 3].map(NodeId).to_vec();
        catalogue
    }

    /// Lets it act until there is nothing to do. `ready`: copies say at once that they have caught up.
    fn run(catalogue: &mut Catalogue, heat: Option<u32>, ready: bool) {
        for _ in 0..20 {
            let heat = heat.map(|rate| BTreeMap::from([(FIRST, rate)]));
            let readers = catalogue.readers.get(&FIRST).into_iter().flatten();
            let asks = readers.map(|reader| {
                let (partition, from, wish) = (FIRST, reader.node, Wish::Ready);
                Ask { partition, version: 0, from, wish }
            });
            let asks: Vec<Ask> = if ready { asks.collect() } else { Vec::new() };
            let situation = Situation {
                catalogue,
                silent_for: &|_| Duration::ZERO,
                reports: &[],
                asks: &asks,
                heat: heat.as_ref(),
                hot: HOT,
            };
            let Some(change) = next(&situation) else { return };
            *catalogue = change.apply(catalogue).expect("it makes sense").0;
        }
        panic!("it comes to no rest: {:?}", catalogue.readers);
    }

    fn read_at(catalogue: &Catalogue) -> Vec<u64> {
        let readers = catalogue.readers.get(&FIRST).into_iter().flatten();
        readers.filter(|reader| reader.ready).map(|reader| reader.node.0).collect()
    }

    #[test]
    fn copies_come_while_many_reads_do_and_go_when_half_would_do_without() {
        let mut catalogue = catalogue(6);
        run(&mut catalogue, Some(3 * HOT), true);
        assert!(read_at(&catalogue).is_empty(), "as many as three are to answer");
        run(&mut catalogue, Some(3 * HOT + 1), true);
        assert_eq!(read_at(&catalogue), [4]);
        run(&mut catalogue, Some(5 * HOT + 1), true);
        assert_eq!(read_at(&catalogue), [4, 5, 6], "there are no more nodes");
        run(&mut catalogue, Some(5 * HOT / 2), true);
        assert_eq!(read_at(&catalogue).len(), 3, "half of what five answer: it stays");
        run(&mut catalogue, Some(5 * HOT / 2 - 1), true);
        assert_eq!(read_at(&catalogue).len(), 2);
        run(&mut catalogue, None, true);
        assert_eq!(read_at(&catalogue).len(), 2, "who has just begun to lead knows nothing yet");
        run(&mut catalogue, Some(0), true);
        assert!(catalogue.readers.is_empty());
    }

    #[test]
    fn the_next_one_waits_until_the_one_before_is_there() {
        let mut catalogue = catalogue(6);
        run(&mut catalogue, Some(90 * HOT), false);
        assert_eq!(catalogue.readers[&FIRST].len(), 1);
        assert!(read_at(&catalogue).is_empty());
        run(&mut catalogue, Some(90 * HOT), true);
        assert_eq!(read_at(&catalogue), [4, 5, 6]);
    }

    #[test]
    fn a_copy_for_reads_stands_in_the_way_of_nothing() {
        let hot = Some(90 * HOT);
        let mut catalogue = catalogue(5);
        run(&mut catalogue, hot, true);
        let all = catalogue.clone();
        assert_eq!(read_at(&all), [4, 5]);
        assert!(all.holds_anything(NodeId(5)));
        // Its node goes, or falls silent, or is to hold nothing.
        for state in [MemberState::Leaving, MemberState::Draining, MemberState::Silent] {
            let mut catalogue = all.clone();
            catalogue.members.get_mut(&NodeId(5)).expect("it is there").state = state;
            run(&mut catalogue, hot, true);
            assert_eq!(read_at(&catalogue), [4], "{state:?}");
            assert!(!catalogue.holds_anything(NodeId(5)));
        }
        // It is to be a replica.
        catalogue.partitions[0].moving_to = [1, 2, 5].map(NodeId).to_vec();
        run(&mut catalogue, hot, true);
        assert_eq!(read_at(&catalogue), [4]);
        // The partition is to be divided.
        let mut catalogue = all.clone();
        catalogue.partitions_wanted = 2;
        run(&mut catalogue, hot, true);
        assert!(catalogue.readers.is_empty());
        // Nobody wants any.
        let mut catalogue = all.clone();
        let heat = BTreeMap::from([(FIRST, u32::MAX)]);
        let situation = Situation {
            catalogue: &catalogue,
            silent_for: &|_| Duration::ZERO,
            reports: &[],
            asks: &[],
            heat: Some(&heat),
            hot: 0,
        };
        let change = next(&situation).expect("they go");
        catalogue = change.apply(&catalogue).expect("it makes sense").0;
        assert!(catalogue.readers.is_empty());
    }

    #[test]
    fn nobody_reads_where_a_replica_is_or_nobody_is_known() {
        let catalogue = catalogue(5);
        let at = |nodes: &[u64]| {
            let readers = nodes.iter().map(|node| Reader { node: NodeId(*node), ready: false }).collect();
            Change::Readers(vec![(FIRST, readers)]).apply(&catalogue)
        };
        assert!(at(&[4, 5]).is_ok());
        for wrong in [&[1][..], &[9], &[4, 4]] {
            assert!(at(wrong).is_err(), "{wrong:?}");
        }
        let nowhere = Change::Readers(vec![(PartitionId(7), vec![Reader { node: NodeId(4), ready: true }])]);
        assert!(nowhere.apply(&catalogue).is_err());
    }
}
