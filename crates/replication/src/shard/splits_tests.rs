//! One node alone splits a partition, with a disk that is as slow as a test wants.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use data::Command;
use data::slot::key_slot;
use resp::Value;

use super::*;
use crate::NodeId;
use crate::contract::{Call, Input, Output, Reply, Request, RequestId, SnapshotWrite, Write};
use crate::placement::Split;
use crate::shard::Options;
use crate::time::Time;

const NODE: NodeId = NodeId(1);
const PARENT: PartitionId = PartitionId(0);
const CHILD: PartitionId = PartitionId(1);
const MIDDLE: u16 = 8192;

/// Of one partition, which is to be split or has been.
fn placement(epoch: u64, partitions: u32, splits: bool) -> Arc<Placement> {
    let mut placement = Placement::round_robin(&[NODE], partitions, 1);
    placement.epoch = epoch;
    placement.catalogue = vec![NODE];
    placement.members = vec![NODE];
    placement.split = splits.then_some(Split { parent: PARENT, child: CHILD, first_slot: MIDDLE });
    placement.parents = if partitions == 2 { vec![PARENT] } else { Vec::new() };
    Arc::new(placement)
}

/// A key of the lower half and one of the upper.
fn keys() -> [String; 2] {
    let key = |upper: bool| {
        (0..).map(|n| format!("k{n}")).find(|key| (key_slot(key.as_bytes()) >= MIDDLE) == upper)
    };
    [key(false), key(true)].map(|key| key.expect("there is one"))
}

struct Node {
    shard: Shard,
    now: Time,
    /// What the log on disk says.
    disk: BTreeMap<PartitionId, Recovered>,
    /// Snapshot files are written only if so.
    writes_snapshots: bool,
    held_back: Vec<SnapshotWrite>,
    replies: BTreeMap<u64, Reply>,
    next: u64,
}

impl Node {
    fn start(disk: BTreeMap<PartitionId, Recovered>) -> Node {
        let options = Options { snapshot_log_bytes: 1, ..Options::new(NODE, 7, 7) };
        for found in disk.values() {
            assert!(found.snapshot.is_none(), "tables are not copied: restart before there is a snapshot");
        }
        let recovered = disk.values().map(copy_of).collect();
        let held = if disk.is_empty() { vec![PARENT] } else { disk.keys().copied().collect() };
        let now = Now { time: Time(1_000_000_000), wall_ms: 1000 };
        let shard = Shard::new(options, placement(1, 1, false), held, recovered, now);
        let (held_back, replies) = (Vec::new(), BTreeMap::new());
        let mut node =
            Node { shard, now: now.time, disk, writes_snapshots: false, held_back, replies, next: 0 };
        node.run();
        node
    }

    fn time(&self) -> Now {
        Now { time: self.now, wall_ms: self.now.0 / 1_000_000 }
    }

    fn step(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.shard.step(self.time(), input, &mut outputs);
        self.shard.finish(self.time(), &mut outputs);
        let mut inputs = Vec::new();
        for output in outputs {
            match output {
                Output::Persist(batch) => {
                    for write in batch.writes {
                        self.write(write);
                    }
                    inputs.push(Input::Persisted { number: batch.number });
                }
                Output::Snapshot(write) => self.held_back.push(write),
                Output::Reply { id, reply, .. } => {
                    self.replies.insert(id.0, reply);
                }
                Output::Send { .. } | Output::Fetch { .. } | Output::Event(_) => {}
            }
        }
        if self.writes_snapshots {
            for write in std::mem::take(&mut self.held_back) {
                if let SnapshotWrite::Chunk { partition, snapshot, sequence, .. }
                | SnapshotWrite::Finish { partition, snapshot, sequence, .. } = write
                {
                    inputs.push(Input::SnapshotWritten { partition, snapshot, sequence });
                }
            }
        }
        inputs.into_iter().for_each(|input| self.step(input));
    }

    fn write(&mut self, write: Write) {
        let (Write::Append { partition, .. }
        | Write::State { partition, .. }
        | Write::Reset { partition, .. }
        | Write::Trim { partition, .. }
        | Write::Lost { partition, .. }
        | Write::Forget { partition }) = write;
        let found = self.disk.entry(partition).or_insert_with(|| Recovered::nothing(partition));
        match write {
            Write::Append { entry, .. } => found.entries.push(entry),
            Write::State { state, .. } => found.state = Some(state),
            Write::Reset { index, .. } => (found.log_start, found.entries) = (index, Vec::new()),
            Write::Trim { index, .. } => {
                found.log_start = index;
                found.entries.retain(|entry| entry.index > index);
            }
            Write::Forget { .. } | Write::Lost { .. } => {}
        }
    }

    /// Lets a second pass.
    fn run(&mut self) {
        for _ in 0..200 {
            self.now = self.now + std::time::Duration::from_millis(5);
            self.step(Input::Wake);
        }
    }

    /// Asks as somebody does who knows of so many partitions.
    fn ask(&mut self, partition: PartitionId, layout: u32, text: &str) -> u64 {
        self.ask_knowing(partition, layout, 0, text)
    }

    /// Also of so many keyspaces with groups of their own.
    fn ask_knowing(&mut self, partition: PartitionId, layout: u32, keyspaces: u16, text: &str) -> u64 {
        self.next += 1;
        let arguments: Vec<Bytes> = text.split(' ').map(|word| Bytes::from(word.to_owned())).collect();
        let command = Command::lookup(&arguments[0]).expect("a command");
        let call = Call::Command { command, arguments, token: None };
        let deadline = self.now + std::time::Duration::from_secs(60);
        let id = RequestId(self.next);
        self.step(Input::Request(Request {
            id,
            origin: 1,
            partition,
            layout,
            keyspaces,
            call,
            deadline,
            ordered: true,
        }));
        self.next
    }

    fn answer(&mut self, partition: PartitionId, layout: u32, text: &str) -> Value {
        let id = self.ask(partition, layout, text);
        self.run();
        match self.replies.remove(&id) {
            Some(Reply::Done(value)) => value,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn log_start(&self, partition: PartitionId) -> u64 {
        let status = self.shard.status().into_iter().find(|status| status.partition == partition);
        status.expect("it is here").log_start
    }

    /// The entry that splits the parent, as its log on disk has it.
    fn split_at(&self) -> u64 {
        self.disk[&PARENT].gives_birth_to(CHILD).expect("it is in the log")
    }
}

fn copy_of(found: &Recovered) -> Recovered {
    Recovered {
        partition: found.partition,
        state: found.state.clone(),
        snapshot: None,
        newest_snapshot: found.newest_snapshot,
        log_start: found.log_start,
        entries: found.entries.clone(),
        lost: Vec::new(),
    }
}

/// Both keys written, and the split applied; the catalogue has no record of the child yet.
fn split() -> Node {
    split_with(false)
}

/// With all snapshots on the disk that were begun before the split, or none.
fn split_with(snapshots: bool) -> Node {
    let mut node = Node::start(BTreeMap::new());
    node.writes_snapshots = snapshots;
    for key in keys() {
        assert_eq!(node.answer(PARENT, 1, &format!("SET {key} before")), Value::OK);
    }
    node.run();
    node.writes_snapshots = false;
    node.step(Input::Placement(placement(2, 1, true)));
    node.run();
    node
}

#[test]
fn what_is_elsewhere_now_waits_until_it_is_known_where() {
    let mut node = split();
    let [lower, upper] = keys();
    assert_eq!(node.answer(PARENT, 1, &format!("GET {lower}")), Value::bulk("before"));
    let append = node.ask(PARENT, 1, &format!("APPEND {upper} -after"));
    let get = node.ask(PARENT, 1, &format!("GET {upper}"));
    node.run();
    assert!(node.replies.is_empty(), "{:?}", node.replies);

    node.step(Input::Placement(placement(3, 2, false)));
    node.run();
    assert_eq!(node.replies.remove(&append), Some(Reply::Done(Value::Integer(12))));
    assert_eq!(node.replies.remove(&get), Some(Reply::Done(Value::bulk("before-after"))), "in their order");
    assert_eq!(node.answer(CHILD, 2, &format!("GET {upper}")), Value::bulk("before-after"));
    assert_eq!(node.answer(PARENT, 2, "DBSIZE"), Value::Integer(1));
    assert_eq!(node.answer(CHILD, 2, "DBSIZE"), Value::Integer(1));
}

/// Whoever does not know of the child would leave its keys out.
#[test]
fn what_is_meant_for_all_partitions_is_refused_to_those_who_do_not_know_all() {
    let mut node = split();
    let [lower, upper] = keys();
    for text in ["FLUSHALL", "DBSIZE", "KEYS *", &format!("MSET {lower} 1 {upper} 2")] {
        let id = node.ask(PARENT, 1, text);
        let Some(Reply::Refused(reason)) = node.replies.remove(&id) else { panic!("{text}") };
        assert!(reason.starts_with("TRYAGAIN"), "{text}: {reason}");
    }
    let Value::Array(scanned) = node.answer(PARENT, 1, "SCAN 0") else { panic!("a cursor and keys") };
    assert_ne!(scanned[0], Value::bulk("0"), "there is more behind it");
}

#[test]
fn the_log_stays_until_the_child_has_a_snapshot_and_the_catalogue_a_record_of_it() {
    let mut node = split_with(true);
    let [lower, _] = keys();
    node.answer(PARENT, 1, &format!("SET {lower} again"));
    let files: Vec<PartitionId> = node.held_back.iter().map(|write| write.file().0).collect();
    assert!(files.contains(&CHILD) && !files.contains(&PARENT), "the child has none yet: {files:?}");

    node.writes_snapshots = true;
    node.answer(PARENT, 1, &format!("SET {lower} again"));
    node.run();
    let split_at = node.split_at();
    assert_eq!(node.log_start(PARENT), split_at - 1, "there may be no majority that holds the child");

    node.step(Input::Placement(placement(3, 2, false)));
    node.answer(PARENT, 2, &format!("SET {lower} again"));
    node.run();
    assert!(node.log_start(PARENT) > split_at, "{} is before {split_at}", node.log_start(PARENT));
}

#[test]
fn a_child_that_leaves_before_it_has_a_snapshot_is_no_burden_to_its_parent() {
    let mut node = split_with(true);
    let [lower, _] = keys();
    let mut elsewhere = Placement::clone(&placement(3, 2, false));
    elsewhere.partitions[1].replicas = vec![NodeId(2)];
    elsewhere.partitions[1].settled_at = 1;
    node.step(Input::Placement(Arc::new(elsewhere)));
    node.run();
    assert!(node.shard.table(CHILD).is_none(), "it was given up");
    node.answer(PARENT, 2, &format!("SET {lower} again"));
    assert!(node.held_back.iter().any(|write| write.file().0 == PARENT), "{:?}", node.held_back);
}

#[test]
fn a_child_without_a_snapshot_is_born_again_with_what_it_had_logged() {
    let mut node = split();
    let [lower, upper] = keys();
    node.step(Input::Placement(placement(3, 2, false)));
    assert_eq!(node.answer(CHILD, 2, &format!("APPEND {upper} -after")), Value::Integer(12));
    assert_eq!(node.answer(PARENT, 2, &format!("APPEND {lower} -after")), Value::Integer(12));

    let mut disk = std::mem::take(&mut node.disk);
    let first = |found: &Recovered| (found.log_start, found.snapshot.is_none());
    assert_eq!(first(&disk[&CHILD]), (crate::FIRST_OF_CHILD, true));
    // What a restart knows to be committed may lag far behind.
    disk.get_mut(&PARENT).expect("it is there").state = None;
    let mut node = Node::start(disk);
    node.step(Input::Placement(placement(3, 2, false)));
    node.run();
    for (partition, key) in [(PARENT, lower), (CHILD, upper)] {
        assert_eq!(node.answer(partition, 2, &format!("GET {key}")), Value::bulk("before-after"));
        assert_eq!(node.answer(partition, 2, "DBSIZE"), Value::Integer(1));
    }
}

#[test]
#[should_panic(expected = "the first state of partition 1 is missing")]
fn a_child_whose_parent_knows_nothing_of_it_is_damage() {
    let mut node = split();
    let mut disk = std::mem::take(&mut node.disk);
    disk.remove(&PARENT);
    Node::start(disk);
}

/// A node that has not heard of a keyspace takes its keys for those of a partition: what it wrote there nobody would find.
#[test]
fn keys_of_a_keyspace_are_refused_by_the_partition_that_had_them() {
    let mut node = Node::start(BTreeMap::new());
    assert_eq!(node.answer(PARENT, 1, "SET p:key before"), Value::OK);
    let mut made = placement(2, 1, false).as_ref().clone();
    made.prefixes.insert(Bytes::from_static(b"p:"), 1);
    made.keyspaces_numbered = 1;
    node.step(Input::Placement(Arc::new(made)));
    for text in ["SET p:key after", "GET p:key", "MGET q:key p:key"] {
        let id = node.ask_knowing(PARENT, 1, 0, text);
        node.run();
        match node.replies.remove(&id) {
            Some(Reply::Refused(reason)) => assert!(reason.starts_with("TRYAGAIN a keyspace was made")),
            other => panic!("{text}: {other:?}"),
        }
    }
    for (text, reply) in [("SET q:key x", Value::OK), ("GET q:key", Value::bulk("x"))] {
        assert_eq!(node.answer(PARENT, 1, text), reply, "of the partition as ever");
    }
    let id = node.ask_knowing(PARENT, 1, 1, "GET p:key");
    node.run();
    assert_eq!(
        node.replies.remove(&id),
        Some(Reply::Done(Value::bulk("before"))),
        "whoever knows of it has a reason"
    );
}
