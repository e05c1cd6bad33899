//! Disks that were damaged, and power that goes everywhere at once: nothing wrong is ever answered, damage is found and told,
//! the node is rebuilt from its peers, and everything acknowledged is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use resp::Value;
use server::Start;

use crate::support::client::bulk;
use crate::support::{Client, Cluster, eventually};

/// Logs and snapshots of several files each with little data.
const SMALL: &str = "partitions = 2\n[storage]\nsnapshot_log_bytes = \"256KiB\"\nsegment_bytes = \"64KiB\"";

/// Where the records of a log file begin, at the most.
const HEADER_BYTES: usize = 512;

/// The node whose disk is damaged.
const VICTIM: usize = 2;

/// Keys with values that tell the round in which they were written.
fn write_round(cluster: &Cluster, node: usize, round: usize) {
    let filler = "x".repeat(300);
    let commands: Vec<String> = (0..600).map(|key| format!("SET k{key} {round}.{key}.{filler}")).collect();
    let mut client = cluster.client(node);
    eventually("a round of writes", || {
        client.pipeline(&commands).iter().all(|reply| *reply == Value::OK).then_some(())
    });
}

fn assert_round(cluster: &Cluster, node: usize, round: usize) {
    let filler = "x".repeat(300);
    let commands: Vec<String> = (0..600).map(|key| format!("GET k{key}")).collect();
    let expected: Vec<Value> = (0..600).map(|key| bulk(&format!("{round}.{key}.{filler}"))).collect();
    let mut client = cluster.client(node);
    eventually("the keys of the last round", || {
        let replies = client.pipeline(&commands);
        let wrong =
            replies.iter().zip(&expected).find(|(reply, expected)| !reply.is_error() && reply != expected);
        assert!(wrong.is_none(), "a wrong answer from node {node}: {wrong:?}");
        (replies == expected).then_some(())
    });
}

/// The files of a node whose names begin so, in their order.
fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the shard's folder is there")
        .map(|file| file.expect("a file").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .filter(|path| path.extension().is_none())
        .collect();
    files.sort();
    files
}

/// The log's files that hold records. The newest may have been begun and hold none yet: without it nothing is missing.
fn logs_with_records(folder: &Path) -> Vec<PathBuf> {
    let holds_records = |log: &PathBuf| {
        // Of a node that runs, one may be gone again.
        let bytes = fs::read(log).unwrap_or_default();
        bytes.iter().skip(HEADER_BYTES).any(|byte| *byte != 0)
    };
    files(folder, "wal-").into_iter().filter(holds_records).collect()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("the file is there");
    change(&mut bytes);
    fs::write(path, bytes).expect("it can be written");
}

type Damage = fn(&Path);

/// Each is to be found at start.
const DAMAGES: [(&str, Damage); 6] = [
    ("a flipped bit in the log", |folder| {
        // In the first record of one that others follow: what stands behind a file's last record is nothing.
        let logs = logs_with_records(folder);
        change(&logs[logs.len() - 2], |bytes| bytes[HEADER_BYTES + 100] ^= 4);
    }),
    ("a log file that is cut", |folder| {
        let logs = files(folder, "wal-");
        change(&logs[0], |bytes| bytes.truncate(30_000));
    }),
    ("a log file that is missing", |folder| {
        let logs = logs_with_records(folder);
        fs::remove_file(logs.last().expect("a log")).expect("it can be removed");
    }),
    ("a log file in the place of another", |folder| {
        let logs = files(folder, "wal-");
        let other = fs::read(&logs[0]).expect("the file is there");
        fs::write(&logs[1], other).expect("it can be written");
    }),
    ("pieces of a snapshot that are swapped", |folder| {
        change(&files(folder, "snap-")[0], |bytes| {
            let middle = bytes.len() / 2;
            let (one, other) = bytes.split_at_mut(middle);
            one[1000..1512].swap_with_slice(&mut other[..512]);
        });
    }),
    ("a snapshot that is missing", |folder| {
        fs::remove_file(&files(folder, "snap-")[0]).expect("it can be removed");
    }),
];

#[test]
fn damage_is_found_at_start_and_the_node_is_rebuilt_from_its_peers() {
    let mut cluster = Cluster::start(3, SMALL);
    write_round(&cluster, 0, 0);
    write_round(&cluster, 0, 1);
    for (round, (what, damage)) in (2..).zip(DAMAGES) {
        let folder = cluster.nodes[VICTIM].data().join("shard-0");
        eventually("several files of the log, and a snapshot", || {
            write_round(&cluster, 0, round);
            (logs_with_records(&folder).len() > 2 && !files(&folder, "snap-").is_empty()).then_some(())
        });
        cluster.nodes[VICTIM].kill();
        damage(&folder);
        let before = cluster.nodes[VICTIM].log().len();
        cluster.nodes[VICTIM].start(Start::Normal);
        assert_eq!(cluster.nodes[VICTIM].wait().code(), Some(1), "{what}");
        let told = cluster.nodes[VICTIM].log()[before..].to_owned();
        assert!(told.contains("damaged at offset"), "{what}: {told}");
        assert!(told.contains("wal-") || told.contains("snap-"), "{what}: which file? {told}");
        // The others go on meanwhile.
        assert_round(&cluster, 1, round);
        cluster.nodes[VICTIM].start(Start::Rebuild(None));
        cluster.wait_until_serving(VICTIM);
        cluster.wait_until_member(VICTIM);
        // Now it is one of the two that are left.
        cluster.nodes[1].kill();
        assert_round(&cluster, VICTIM, round);
        cluster.nodes[1].start(Start::Normal);
        cluster.wait_until_serving(1);
    }
}

/// Counts up in keys of its own and keeps what was acknowledged last, until the power goes.
fn count_until(stop: &AtomicBool, port: u16, writer: usize, acknowledged: &mut u64) {
    let Ok(mut client) = Client::connect(port) else { return };
    while !stop.load(Ordering::Relaxed) {
        let next = *acknowledged + 1;
        match client.try_call(&format!("SET count{writer} {next}")) {
            Ok(reply) if reply == Value::OK => *acknowledged = next,
            Ok(reply) => assert!(reply.is_error(), "{reply:?}"),
            Err(_) => return,
        }
    }
}

#[test]
fn all_nodes_that_die_at_once_under_load_come_back_with_everything_acknowledged() {
    const WRITERS: usize = 6;
    let mut cluster = Cluster::start(3, SMALL);
    let mut acknowledged = [0u64; WRITERS];
    for _ in 0..4 {
        let before = acknowledged;
        let stop = AtomicBool::new(false);
        let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
        std::thread::scope(|scope| {
            for (writer, acknowledged) in acknowledged.iter_mut().enumerate() {
                let (stop, port) = (&stop, ports[writer % ports.len()]);
                scope.spawn(move || count_until(stop, port, writer, acknowledged));
            }
            std::thread::sleep(std::time::Duration::from_millis(700));
            cluster.nodes.iter_mut().for_each(|node| node.kill());
            stop.store(true, Ordering::Relaxed);
        });
        assert_ne!(before, acknowledged, "something was written");
        cluster.nodes.iter_mut().for_each(|node| node.start(Start::Normal));
        (0..3).for_each(|node| cluster.wait_until_serving(node));
        for (writer, acknowledged) in acknowledged.iter_mut().enumerate() {
            let reply = cluster.client(writer % 3).call(&format!("GET count{writer}"));
            // The write that was under way may have happened, too.
            let one_of = [*acknowledged, *acknowledged + 1].map(|number| bulk(&number.to_string()));
            let expected = if *acknowledged == 0 { reply == Value::Null } else { false };
            assert!(expected || one_of.contains(&reply), "{reply:?} after {acknowledged}");
            if reply == one_of[1] {
                *acknowledged += 1;
            }
        }
    }
}
