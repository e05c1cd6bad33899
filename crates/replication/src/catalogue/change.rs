//! Changes of the catalogue: what they need, what they do, and the transaction that makes one so.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use data::{Command, MutationBuilder, Operation, Table, View, Watch};

use super::{Catalogue, Keyspace, Member, MemberState, Policy, Record, Report, Settings, readers};
use crate::configuration::{Acknowledgement, Configuration, PrimaryReplica};
use crate::consistency::Consistency;
use crate::contract::Call;
use crate::placement::{PartitionPlacement, Reader, Split};
use crate::primaries::{Leaderless, Level, MultiPrimary, Primaries, Replicas};
use crate::{NodeId, PartitionId};

/// A change of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The first catalogue of a new cluster.
    Found(Box<Catalogue>),
    /// A node becomes a member, in the place of `replaces` if that is given (a node that lost its disk and comes back).
    Join {
        /// Its id.
        node: NodeId,
        /// What is known of it.
        member: Member,
        /// The id that it had before.
        replaces: Option<NodeId>,
    },
    /// A member says who it is: it has other addresses now, or is in another zone, or was not heard of yet.
    Introduce {
        /// Its id.
        node: NodeId,
        /// Where it takes clients.
        client: String,
        /// Where it takes its peers.
        peer: String,
        /// Its zone.
        zone: String,
        /// What its data folder was formatted with.
        format: u64,
    },
    /// Something else is to become of a member.
    State {
        /// Its id.
        node: NodeId,
        /// What.
        state: MemberState,
    },
    /// A member's share.
    Weight {
        /// Its id.
        node: NodeId,
        /// Relative to the others.
        weight: u32,
    },
    /// A member that holds nothing any more is gone for good.
    Remove {
        /// Its id.
        node: NodeId,
    },
    /// These vote on the catalogue.
    Voters(Vec<NodeId>),
    /// Each of these partitions is to be held by these nodes, the first as preferred leader.
    Place(Vec<(PartitionId, Vec<NodeId>)>),
    /// A partition has these members; or the new partition of the split under way is there, with these.
    Settle(Report),
    /// There are to be so many partitions.
    Partitions(u32),
    /// A partition is to be divided: its slots from `first_slot` on become a partition of their own.
    Split {
        /// The partition.
        partition: PartitionId,
        /// The first slot of the new one.
        first_slot: u16,
    },
    /// What holds for the whole cluster.
    Settings(Settings),
    /// A new keyspace.
    CreateKeyspace {
        /// What its keys begin with.
        prefix: Bytes,
        /// How it is replicated.
        policy: Policy,
        /// How fresh its reads are to be; `None`: as its strategy makes them.
        read: Option<Consistency>,
    },
    /// Another policy for a keyspace.
    AlterKeyspace {
        /// What its keys begin with.
        prefix: Bytes,
        /// How it is replicated from now on.
        policy: Policy,
        /// How fresh its reads are to be from now on; `None`: as its strategy makes them.
        read: Option<Consistency>,
    },
    /// The groups of a keyspace are to have other primaries.
    Failover {
        /// What its keys begin with.
        prefix: Bytes,
        /// To whom.
        target: Target,
    },
    /// What was decided of groups; each is of the next version.
    Configure(Vec<(PartitionId, Configuration)>),
    /// What was decided of the replicas of keyspaces that take writes on all of them; each is of the next version.
    Seat(Vec<(PartitionId, Primaries)>),
    /// These hold copies for reads alone from now on, by partition or group; none: nobody.
    Readers(Vec<(PartitionId, Vec<Reader>)>),
    /// These users have these rules from now on; `None`: they are gone.
    Users(BTreeMap<Bytes, Option<Bytes>>),
    /// The keyspace is gone; its keys belong to the one with the next shorter prefix.
    DropKeyspace {
        /// What its keys begin with.
        prefix: Bytes,
    },
}

/// Who is to be primary of the groups of a keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Of each group another of those in sync.
    Another,
    /// This node, as soon as it is in sync.
    Node(NodeId),
    /// The first in the order of preference, as if nothing had been said.
    Back,
    /// This node, whatever it lacks: what it has not is lost, and listed if whoever has it comes back.
    Forced(NodeId),
}

/// Why a change makes no sense for the catalogue as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

pub(super) fn refuse<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(text.into()))
}

/// The longest prefix of a keyspace, in bytes.
const LONGEST_PREFIX: usize = 512;
/// The most keyspaces.
const MOST_KEYSPACES: usize = 10_000;
/// The most keyspaces with groups of their own that are ever made: their numbers are not used again.
const MOST_NUMBERED: u16 = (1 << 15) - 2;
/// The most R and W of before that replicas of a group may still go by.
const MOST_FORMER_QUORUMS: usize = 16;
/// The most users.
const MOST_USERS: usize = 10_000;
/// The longest rules of a user, in bytes.
const LONGEST_RULES: usize = 64 << 10;
/// The longest name of a user, in bytes.
const LONGEST_NAME: usize = 256;
/// The most members.
const MOST_MEMBERS: usize = 10_000;
/// The most partitions: one for each slot.
const MOST_PARTITIONS: u32 = data::slot::SLOTS as u32;

impl Change {
    /// The catalogue that `before` becomes, and which of its records differ. Nothing differs: it is so already.
    ///
    /// # Errors
    /// Why it cannot be, in words for whoever asked for it.
    pub fn apply(&self, before: &Catalogue) -> Result<(Catalogue, BTreeSet<Record>), Refusal> {
        if let Change::Found(first) = self {
            if before.epoch > 0 {
                return refuse("there is a catalogue already");
            }
            return Ok(((**first).clone(), Record::all(first).into_iter().collect()));
        }
        if before.epoch == 0 {
            return refuse("there is no catalogue yet");
        }
        let mut after = before.clone();
        let mut touched = BTreeSet::new();
        self.edit(&mut after, &mut touched)?;
        touched.retain(|record| record.value(&after) != record.value(before));
        if !touched.is_empty() {
            after.epoch += 1;
            touched.insert(Record::Epoch);
        }
        Ok((after, touched))
    }

    /// The transaction that makes this change of `before`, if that still is the catalogue; `None` if it is so already. The
    /// reply is a null array if the catalogue is another by now, and an array otherwise.
    ///
    /// # Errors
    /// See [`Change::apply`].
    pub fn call(&self, before: &Catalogue) -> Result<Option<Call>, Refusal> {
        let (after, touched) = self.apply(before)?;
        if touched.is_empty() {
            return Ok(None);
        }
        let command = |arguments: Vec<Bytes>| {
            let command = Command::lookup(&arguments[0]).expect("SET and DEL are commands");
            (command, arguments)
        };
        let write = |record: &Record| match record.value(&after) {
            Some(value) => command(vec![Bytes::from_static(b"SET"), record.key(), value]),
            None => command(vec![Bytes::from_static(b"DEL"), record.key()]),
        };
        let watch = Watch { key: Record::Epoch.key(), fingerprint: fingerprint_of_epoch(before) };
        Ok(Some(Call::Transaction { commands: touched.iter().map(write).collect(), watches: vec![watch] }))
    }

    fn edit(&self, catalogue: &mut Catalogue, touched: &mut BTreeSet<Record>) -> Result<(), Refusal> {
        match self {
            Change::Found(_) => unreachable!("handled before"),
            Change::Join { node, member, replaces } => join(catalogue, touched, *node, member, *replaces),
            Change::Introduce { node, client, peer, zone, format } => {
                let member = edit_member(catalogue, touched, *node)?;
                if member.format != 0 && member.format != *format {
                    return refuse(format!(
                        "node {:016x} was formatted as {:016x}, not {format:016x}",
                        node.0, member.format
                    ));
                }
                member.format = *format;
                member.client.clone_from(client);
                member.peer.clone_from(peer);
                member.zone.clone_from(zone);
                Ok(())
            }
            Change::State { node, state } => {
                let member = edit_member(catalogue, touched, *node)?;
                member.state = *state;
                if *state == MemberState::Active || *state == MemberState::Silent {
                    Ok(())
                } else {
                    enough(catalogue)
                }
            }
            Change::Weight { node, weight } => {
                edit_member(catalogue, touched, *node)?.weight = *weight;
                enough(catalogue)
            }
            Change::Remove { node } => remove(catalogue, touched, *node),
            Change::Voters(voters) => {
                if voters.is_empty() || voters.iter().any(|voter| !catalogue.members.contains_key(voter)) {
                    return refuse("who votes on the catalogue has to be a member");
                }
                catalogue.voters.clone_from(voters);
                catalogue.voters.sort_unstable();
                touched.insert(Record::Voters);
                Ok(())
            }
            Change::Place(places) => {
                places.iter().try_for_each(|(partition, to)| place(catalogue, touched, *partition, to))
            }
            Change::Settle(report) => settle(catalogue, touched, report),
            Change::Partitions(wanted) => {
                let present = catalogue.partitions.len() as u32 + u32::from(catalogue.split.is_some());
                if *wanted < present || *wanted > MOST_PARTITIONS {
                    return refuse(format!(
                        "there are {present} partitions; they can be made more, up to {MOST_PARTITIONS}, but not fewer"
                    ));
                }
                catalogue.partitions_wanted = *wanted;
                touched.insert(Record::PartitionsWanted);
                Ok(())
            }
            Change::Split { partition, first_slot } => split(catalogue, touched, *partition, *first_slot),
            Change::Settings(settings) => {
                if settings.replication_factor == 0 || settings.moves_at_once == 0 {
                    return refuse("replication factor and moves at once are at least 1");
                }
                catalogue.settings = settings.clone();
                touched.insert(Record::Settings);
                enough(catalogue)
            }
            Change::Failover { prefix, target } => failover(catalogue, touched, prefix, *target),
            Change::Configure(configurations) => {
                for (partition, configuration) in configurations {
                    configure(catalogue, touched, *partition, configuration)?;
                }
                Ok(())
            }
            Change::Seat(decided) => {
                decided.iter().try_for_each(|(partition, next)| seat(catalogue, touched, *partition, next))
            }
            Change::Users(changed) => users(catalogue, touched, changed),
            Change::Readers(decided) => readers::set(catalogue, touched, decided),
            Change::CreateKeyspace { prefix, policy, read } => {
                create_keyspace(catalogue, touched, prefix, policy)?;
                set_read(catalogue, touched, prefix, policy, *read)
            }
            Change::AlterKeyspace { prefix, policy, read } => {
                set_read(catalogue, touched, prefix, policy, *read)?;
                let Some(keyspace) = catalogue.keyspaces.get_mut(prefix) else { return no_keyspace(prefix) };
                if keyspace.policy.strategy() != policy.strategy() {
                    return refuse(format!(
                        "the keyspace is replicated by {}, and that cannot be changed: make another keyspace, copy, and drop this one",
                        keyspace.policy.strategy().name()
                    ));
                }
                let mut policy = policy.clone();
                if let (Policy::PrimaryReplica { number, options }, former) = (&mut policy, &keyspace.policy)
                {
                    *number = former.number();
                    let (number, options) = (*number, *options);
                    keyspace.policy = policy;
                    touched.insert(Record::Keyspace(prefix.clone()));
                    return alter_groups(catalogue, touched, number, &options);
                }
                if let (Policy::MultiPrimary { number, options }, former) = (&mut policy, &keyspace.policy) {
                    if matches!(former, Policy::MultiPrimary { options: had, .. } if had.counters != options.counters)
                    {
                        return refuse(
                            "COUNTERS cannot be changed: what counters may be taken from is decided with each of their writes; make another keyspace, copy, and drop this one",
                        );
                    }
                    *number = former.number();
                    check_replicas(catalogue.members.len(), options)?;
                }
                if let (Policy::Leaderless { number, options }, former) = (&mut policy, &keyspace.policy) {
                    *number = former.number();
                    let (number, options) = (*number, *options);
                    keyspace.policy = policy;
                    touched.insert(Record::Keyspace(prefix.clone()));
                    return alter_peers(catalogue, touched, number, &options);
                }
                keyspace.policy = policy;
                touched.insert(Record::Keyspace(prefix.clone()));
                Ok(())
            }
            Change::DropKeyspace { prefix } => {
                if prefix.is_empty() {
                    return refuse("the keyspace of all other keys cannot be dropped");
                }
                let Some(dropped) = catalogue.keyspaces.remove(prefix) else { return no_keyspace(prefix) };
                let groups: Vec<PartitionId> =
                    catalogue.groups_of(dropped.policy.number()).map(|(partition, _)| partition).collect();
                for partition in groups {
                    catalogue.groups.remove(&partition);
                    catalogue.readers.remove(&partition);
                    touched.extend([Record::Group(partition), Record::Readers(partition)]);
                }
                let peers: Vec<PartitionId> =
                    catalogue.primaries_of(dropped.policy.number()).map(|(partition, _)| partition).collect();
                for partition in peers {
                    catalogue.primaries.remove(&partition);
                    touched.insert(Record::Primaries(partition));
                }
                touched.insert(Record::Keyspace(prefix.clone()));
                if catalogue.reads.remove(prefix).is_some() {
                    touched.insert(Record::Read(prefix.clone()));
                }
                Ok(())
            }
        }
    }
}

/// What `WATCH epoch` gives for the table that holds `catalogue`.
fn fingerprint_of_epoch(catalogue: &Catalogue) -> u128 {
    let key = Record::Epoch.key();
    let mut table = Table::new();
    if let Some(value) = Record::Epoch.value(catalogue) {
        let mut mutation = MutationBuilder::new();
        mutation.push(&Operation::Set { key: &key, value: &value, expire_at_ms: None });
        if let Some(mutation) = mutation.finish() {
            table.apply(&mutation).expect("an own mutation is well formed");
        }
    }
    data::fingerprint(&key, &View::new(&table, None, 0))
}

fn edit_member<'a>(
    catalogue: &'a mut Catalogue,
    touched: &mut BTreeSet<Record>,
    node: NodeId,
) -> Result<&'a mut Member, Refusal> {
    let Some(member) = catalogue.members.get_mut(&node) else {
        return refuse(format!("node {:016x} is no member", node.0));
    };
    touched.insert(Record::Member(node));
    Ok(member)
}

fn users(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    changed: &BTreeMap<Bytes, Option<Bytes>>,
) -> Result<(), Refusal> {
    for (name, rules) in changed {
        touched.insert(Record::User(name.clone()));
        let Some(rules) = rules else {
            catalogue.users.remove(name);
            continue;
        };
        if name.is_empty() || name.len() > LONGEST_NAME {
            return refuse(format!("the name of a user has 1 to {LONGEST_NAME} bytes"));
        }
        if rules.len() > LONGEST_RULES {
            return refuse(format!("the rules of a user have at most {LONGEST_RULES} bytes"));
        }
        catalogue.users.insert(name.clone(), rules.clone());
    }
    if catalogue.users.len() > MOST_USERS {
        return refuse(format!("{MOST_USERS} users are the most"));
    }
    Ok(())
}

/// Are there enough nodes for the copies that there are to be?
fn enough(catalogue: &Catalogue) -> Result<(), Refusal> {
    let able = |member: &&Member| {
        member.weight > 0 && matches!(member.state, MemberState::Active | MemberState::Silent)
    };
    let able = catalogue.members.values().filter(able).count();
    let copies = catalogue.settings.replication_factor as usize;
    if able < copies {
        return refuse(format!(
            "{able} nodes would be left to hold partitions, and each partition lives on {copies}: add a node first"
        ));
    }
    Ok(())
}

fn join(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    node: NodeId,
    member: &Member,
    replaces: Option<NodeId>,
) -> Result<(), Refusal> {
    if let Some(name) = catalogue.removed.get(&node) {
        return refuse(format!("node {:016x} ('{name}') was removed or replaced, and stays so", node.0));
    }
    if let Some(known) = catalogue.members.get(&node) {
        if known.format == member.format {
            return Ok(());
        }
        return refuse(format!(
            "node {:016x} was formatted as {:016x} and comes as {:016x}: its disk was replaced or emptied",
            node.0, known.format, member.format
        ));
    }
    if catalogue.members.len() >= MOST_MEMBERS {
        return refuse(format!("{MOST_MEMBERS} members are the most"));
    }
    if let Some(old) = replaces {
        let Some(former) = catalogue.members.remove(&old) else {
            return refuse(format!("node {:016x}, which is to be replaced, is no member", old.0));
        };
        touched.insert(Record::Member(old));
        catalogue.removed.insert(old, former.name);
        touched.insert(Record::Removed(old));
        for (record, number) in catalogue.partitions.iter_mut().zip(0..) {
            if record.wanted().contains(&old) {
                let replaced = record.wanted().iter().map(|&id| if id == old { node } else { id });
                record.moving_to = replaced.collect();
                touched.insert(Record::Partition(number));
            }
        }
        if catalogue.voters.contains(&old) {
            catalogue.voters.iter_mut().filter(|voter| **voter == old).for_each(|voter| *voter = node);
            catalogue.voters.sort_unstable();
            touched.insert(Record::Voters);
        }
    }
    if let Some((other, _)) = catalogue.member_named(&member.name) {
        return refuse(format!("the name '{}' is that of node {:016x}", member.name, other.0));
    }
    catalogue.members.insert(node, member.clone());
    touched.insert(Record::Member(node));
    Ok(())
}

fn remove(catalogue: &mut Catalogue, touched: &mut BTreeSet<Record>, node: NodeId) -> Result<(), Refusal> {
    if catalogue.voters.contains(&node) {
        return refuse(format!("node {:016x} votes on the catalogue", node.0));
    }
    if catalogue.holds_anything(node) {
        return refuse(format!("node {:016x} holds partitions", node.0));
    }
    let Some(member) = catalogue.members.remove(&node) else {
        return refuse(format!("node {:016x} is no member", node.0));
    };
    touched.insert(Record::Member(node));
    catalogue.removed.insert(node, member.name);
    touched.insert(Record::Removed(node));
    Ok(())
}

fn place(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    partition: PartitionId,
    to: &[NodeId],
) -> Result<(), Refusal> {
    let distinct: BTreeSet<NodeId> = to.iter().copied().collect();
    if to.is_empty() || distinct.len() != to.len() {
        return refuse("a partition lives on at least one node, and on each once");
    }
    if let Some(stranger) = to.iter().find(|node| !catalogue.members.contains_key(node)) {
        return refuse(format!("node {:016x} is no member", stranger.0));
    }
    let Some(record) = catalogue.partitions.get_mut(partition.0 as usize) else {
        return refuse(format!("there is no partition {}", partition.0));
    };
    let held: BTreeSet<NodeId> = record.replicas.iter().copied().collect();
    if held == distinct {
        // The same nodes, perhaps in another order: nothing has to be moved.
        record.replicas = to.to_vec();
        record.moving_to.clear();
    } else {
        record.moving_to = to.to_vec();
    }
    touched.insert(Record::Partition(partition.0));
    Ok(())
}

fn split(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    parent: PartitionId,
    first_slot: u16,
) -> Result<(), Refusal> {
    if let Some(Split { parent, .. }) = catalogue.split {
        return refuse(format!("partition {} is being split, and one is at a time", parent.0));
    }
    let Some(record) = catalogue.partitions.get(parent.0 as usize) else {
        return refuse(format!("there is no partition {}", parent.0));
    };
    let (first, last) = (record.first_slot, record.last_slot);
    if first == last {
        return refuse(format!("partition {} has a single slot", parent.0));
    }
    if first_slot <= first || first_slot > last {
        return refuse(format!("partition {} can be split at slots {} to {last}", parent.0, first + 1));
    }
    let child = PartitionId(catalogue.partitions.len() as u32);
    catalogue.split = Some(Split { parent, child, first_slot });
    touched.insert(Record::Split);
    Ok(())
}

/// The leader of the new partition speaks up: it is there, on a majority, and has a record from now on.
fn end_split(catalogue: &mut Catalogue, touched: &mut BTreeSet<Record>, split: Split) {
    catalogue.parents.push(split.parent);
    let parent = &mut catalogue.partitions[split.parent.0 as usize];
    let child = PartitionPlacement {
        first_slot: split.first_slot,
        last_slot: parent.last_slot,
        replicas: parent.replicas.clone(),
        settled_at: 0,
        moving_to: Vec::new(),
    };
    parent.last_slot = split.first_slot - 1;
    catalogue.partitions.push(child);
    catalogue.split = None;
    touched.extend([Record::Split, Record::Parents]);
    touched.extend([split.parent.0, split.child.0].map(Record::Partition));
}

fn settle(catalogue: &mut Catalogue, touched: &mut BTreeSet<Record>, report: &Report) -> Result<(), Refusal> {
    if let Some(split) = catalogue.split.filter(|split| split.child == report.partition)
        && !report.voters.is_empty()
    {
        end_split(catalogue, touched, split);
    }
    let Some(record) = catalogue.partitions.get_mut(report.partition.0 as usize) else {
        return refuse(format!("there is no partition {}", report.partition.0));
    };
    if report.index <= record.settled_at || report.voters.is_empty() {
        return Ok(());
    }
    let voters: BTreeSet<NodeId> = report.voters.iter().copied().collect();
    let in_order =
        |order: &[NodeId]| order.len() == voters.len() && order.iter().all(|node| voters.contains(node));
    if in_order(&record.moving_to) {
        record.replicas = std::mem::take(&mut record.moving_to);
    } else if !in_order(&record.replicas) {
        // Somebody else's doing, or that of a move which was given up: it is so nevertheless.
        record.replicas.retain(|node| voters.contains(node));
        let others = voters.iter().filter(|node| !record.replicas.contains(node)).copied();
        let others: Vec<NodeId> = others.collect();
        record.replicas.extend(others);
    }
    record.settled_at = report.index;
    touched.insert(Record::Partition(report.partition.0));
    Ok(())
}

fn create_keyspace(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    prefix: &Bytes,
    policy: &Policy,
) -> Result<(), Refusal> {
    if prefix.len() > LONGEST_PREFIX {
        return refuse(format!("a prefix has at most {LONGEST_PREFIX} bytes"));
    }
    if catalogue.keyspaces.contains_key(prefix) {
        return refuse("there is a keyspace of this prefix already");
    }
    if catalogue.keyspaces.len() >= MOST_KEYSPACES {
        return refuse(format!("{MOST_KEYSPACES} keyspaces are the most"));
    }
    let mut policy = policy.clone();
    match &mut policy {
        Policy::Raft => {}
        Policy::PrimaryReplica { number, options } => *number = make_groups(catalogue, touched, options)?,
        Policy::MultiPrimary { number, options } => *number = make_primaries(catalogue, touched, options)?,
        Policy::Leaderless { number, options } => *number = make_peers(catalogue, touched, options)?,
    }
    let keyspace = Keyspace { policy, since: catalogue.epoch + 1 };
    catalogue.keyspaces.insert(prefix.clone(), keyspace);
    touched.insert(Record::Keyspace(prefix.clone()));
    Ok(())
}

/// How fresh the reads of a keyspace of that policy are to be.
fn set_read(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    prefix: &Bytes,
    policy: &Policy,
    read: Option<Consistency>,
) -> Result<(), Refusal> {
    let is_sloppy = matches!(policy, Policy::Leaderless { options, .. } if options.sloppy);
    if let Some(text) = read.and_then(|level| level.refusal(policy.strategy(), is_sloppy)) {
        return refuse(text.trim_start_matches("ERR "));
    }
    let former = match read {
        Some(level) => catalogue.reads.insert(prefix.clone(), level),
        None => catalogue.reads.remove(prefix),
    };
    if former != read {
        touched.insert(Record::Read(prefix.clone()));
    }
    Ok(())
}

/// The slots of the partitions, in order: over each lies a group of a keyspace that has its own.
fn ranges(catalogue: &Catalogue) -> Vec<(u16, u16)> {
    let records = catalogue.partitions.iter();
    let mut ranges: Vec<(u16, u16)> = records.map(|record| (record.first_slot, record.last_slot)).collect();
    ranges.sort_unstable();
    ranges
}

/// The number of a new keyspace, and a group over each partition.
fn make_groups(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    options: &PrimaryReplica,
) -> Result<u16, Refusal> {
    check_options(catalogue, options)?;
    let number = next_number(catalogue, touched)?;
    for (position, slots) in (0..).zip(ranges(catalogue)) {
        let replicas = catalogue.home_of_group(slots.0, options.replicas);
        let partition = PartitionId::of_keyspace(number, position);
        let founding = Configuration::founding(slots, replicas, options.acknowledgement);
        catalogue.groups.insert(partition, founding);
        touched.insert(Record::Group(partition));
    }
    Ok(number)
}

/// The number of a new keyspace that has a group of its own.
fn next_number(catalogue: &mut Catalogue, touched: &mut BTreeSet<Record>) -> Result<u16, Refusal> {
    if catalogue.keyspaces_numbered >= MOST_NUMBERED {
        return refuse(format!(
            "{MOST_NUMBERED} keyspaces with groups of their own were made, which are the most"
        ));
    }
    catalogue.keyspaces_numbered += 1;
    touched.insert(Record::KeyspacesNumbered);
    Ok(catalogue.keyspaces_numbered)
}

/// The number of a new keyspace that takes writes on all of its replicas, and these.
fn make_primaries(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    options: &MultiPrimary,
) -> Result<u16, Refusal> {
    check_replicas(catalogue.members.len(), options)?;
    let number = next_number(catalogue, touched)?;
    let partition = PartitionId::of_keyspace(number, 0);
    let nodes = super::plan::primaries(catalogue, options.replicas, &[]);
    catalogue.primaries.insert(partition, Primaries::founding(&nodes, options.counters));
    touched.insert(Record::Primaries(partition));
    Ok(number)
}

/// The number of a new keyspace without leaders, and a group over each partition.
fn make_peers(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    options: &Leaderless,
) -> Result<u16, Refusal> {
    check_quorums(catalogue, options)?;
    let number = next_number(catalogue, touched)?;
    for (position, slots) in (0..).zip(ranges(catalogue)) {
        let nodes = super::plan::peers(catalogue, slots.0, options.replicas);
        let partition = PartitionId::of_keyspace(number, position);
        catalogue.primaries.insert(partition, Primaries::founding_peers(&nodes, slots, *options));
        touched.insert(Record::Primaries(partition));
    }
    Ok(number)
}

/// Other numbers for the groups of a keyspace without leaders.
fn alter_peers(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    number: u16,
    options: &Leaderless,
) -> Result<(), Refusal> {
    check_quorums(catalogue, options)?;
    let had = catalogue.primaries_of(number).find_map(|(_, group)| group.leaderless);
    if had.is_some_and(|had| had.replicas != options.replicas) {
        return refuse(
            "REPLICAS of a leaderless keyspace cannot be changed: reads and writes under way would miss one another; make another keyspace, copy, and drop this one",
        );
    }
    for (partition, group) in catalogue.primaries.range_mut(PartitionId::all_of_keyspace(number)) {
        if group.former.len() >= MOST_FORMER_QUORUMS {
            return refuse(
                "R and W were changed often while a replica was away, and not all replicas are known to go by what holds now: wait until it is back",
            );
        }
        group.alter(*options);
        touched.insert(Record::Primaries(*partition));
    }
    Ok(())
}

/// Are there so many replicas as are to be asked?
fn check_quorums(catalogue: &Catalogue, options: &Leaderless) -> Result<(), Refusal> {
    let members = catalogue.members.len();
    if options.replicas as usize > members {
        return refuse(format!(
            "REPLICAS {} is more than the {members} nodes that there are",
            options.replicas
        ));
    }
    let copies = options.copies(catalogue.settings.replication_factor);
    for (name, level) in [("R", options.read), ("W", options.write)] {
        if let Level::Count(count) = level
            && (count == 0 || count as usize > copies)
        {
            return refuse(format!(
                "{name} {count} is out of range: there are {copies} replicas; {name} is from 1 to {copies}, or ONE, QUORUM, ALL, LOCAL-QUORUM"
            ));
        }
    }
    Ok(())
}

fn check_replicas(members: usize, options: &MultiPrimary) -> Result<(), Refusal> {
    match options.replicas {
        Replicas::Count(count) if count as usize > members => {
            refuse(format!("REPLICAS {count} is more than the {members} nodes that there are"))
        }
        _ => Ok(()),
    }
}

fn seat(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    partition: PartitionId,
    next: &Primaries,
) -> Result<(), Refusal> {
    let Some(record) = catalogue.primaries.get_mut(&partition) else {
        return refuse(format!(
            "there is no group {:08x} that takes writes on all its replicas",
            partition.0
        ));
    };
    if next.version != record.version + 1 {
        return refuse("the group's replicas are others by now");
    }
    record.clone_from(next);
    touched.insert(Record::Primaries(partition));
    Ok(())
}

/// Can these options be kept by as many copies as there are?
fn check_options(catalogue: &Catalogue, options: &PrimaryReplica) -> Result<(), Refusal> {
    let copies = catalogue.settings.replication_factor;
    if options.replicas > copies {
        return refuse(format!(
            "REPLICAS {} is more than the {copies} copies that each partition has; NODE SETTING replication-factor changes that",
            options.replicas
        ));
    }
    let copies = if options.replicas == 0 { copies } else { options.replicas };
    if let Acknowledgement::SemiSync(needed) = options.acknowledgement
        && (needed == 0 || needed >= copies)
    {
        return refuse(format!(
            "ACK semi-sync {needed} makes no sense with {copies} copies: from 1 to {} beside the primary",
            copies.saturating_sub(1)
        ));
    }
    if options.min_in_sync == 0 || options.min_in_sync > copies {
        return refuse(format!("MIN-IN-SYNC is from 1 to the number of copies, which is {copies}"));
    }
    if options.max_lag_bytes == 0 || options.max_lag_ms == 0 {
        return refuse("a bound of lag is at least 1");
    }
    Ok(())
}

/// Writes may be acknowledged by less from now on, if the new options ask for less.
fn alter_groups(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    number: u16,
    options: &PrimaryReplica,
) -> Result<(), Refusal> {
    check_options(catalogue, options)?;
    for (partition, configuration) in catalogue.groups.range_mut(PartitionId::all_of_keyspace(number)) {
        if options.acknowledgement.rank() < configuration.guaranteed.rank() {
            configuration.guaranteed = options.acknowledgement;
            configuration.version += 1;
            touched.insert(Record::Group(*partition));
        }
    }
    Ok(())
}

fn failover(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    prefix: &Bytes,
    target: Target,
) -> Result<(), Refusal> {
    let Some(keyspace) = catalogue.keyspaces.get(prefix) else { return no_keyspace(prefix) };
    let number = keyspace.policy.number();
    if catalogue.groups_of(number).next().is_none() {
        return refuse(format!(
            "a keyspace of {} has no primaries that could be others; CONSORT TRANSFER hands the leadership of a partition over",
            keyspace.policy.strategy().name()
        ));
    }
    for (partition, group) in catalogue.groups.range_mut(PartitionId::all_of_keyspace(number)) {
        let before = group.clone();
        match target {
            Target::Back => group.pinned = None,
            Target::Another => {
                let others = group.replicas.iter().copied();
                let mut others = others.filter(|node| *node != group.primary && group.in_sync.contains(node));
                let Some(other) = others.next() else {
                    return refuse(format!("group {:08x} has nobody else in sync", partition.0));
                };
                group.pinned = Some(other);
            }
            Target::Node(node) | Target::Forced(node) if !group.replicas.contains(&node) => {
                return refuse(format!("node {:016x} holds no copy of group {:08x}", node.0, partition.0));
            }
            Target::Node(node) => group.pinned = Some(node),
            Target::Forced(node) if node != group.primary => {
                group.appoint(node, false);
                group.in_sync = vec![node];
                group.witnesses.clear();
                group.dismissed.clear();
                group.consult = 0;
                group.pinned = Some(node);
            }
            Target::Forced(_) => {}
        }
        if *group != before {
            group.version += 1;
            touched.insert(Record::Group(*partition));
        }
    }
    Ok(())
}

fn configure(
    catalogue: &mut Catalogue,
    touched: &mut BTreeSet<Record>,
    partition: PartitionId,
    configuration: &Configuration,
) -> Result<(), Refusal> {
    let Some(record) = catalogue.groups.get_mut(&partition) else {
        return refuse(format!("there is no group {:08x}", partition.0));
    };
    if configuration.version != record.version + 1 {
        return refuse("the group's configuration is another by now");
    }
    record.clone_from(configuration);
    touched.insert(Record::Group(partition));
    Ok(())
}

fn no_keyspace(prefix: &Bytes) -> Result<(), Refusal> {
    refuse(format!("there is no keyspace of the prefix '{}'", String::from_utf8_lossy(prefix)))
}
