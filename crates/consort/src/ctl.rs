//! `consort ctl`: what a cluster says of itself, and orders to it. Everything goes over the client port.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use resp::Value;
use serde::Serialize;

use crate::ask::{Connection, Login};
use crate::catalogue::Catalogue;
use crate::status::{Keyspace, Partition, Replica, Status};
use crate::table;

#[derive(Args, Debug)]
pub struct Options {
    /// Any node of the cluster. Default: the first of consort dev, else port 7000 of this machine
    #[arg(long, global = true, env = "CONSORT_ADDR", value_name = "HOST:PORT")]
    addr: Option<String>,
    #[command(flatten)]
    login: Login,
    #[command(subcommand)]
    order: Order,
}

#[derive(Subcommand, Debug)]
enum Order {
    /// Partitions, leaders, terms, logs, digests; nodes. Exits with 1 on an alarm
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Hand the leadership of a partition to a node
    Transfer {
        /// The partition's number
        partition: u64,
        /// The node's name or id
        node: String,
    },
    /// Members, keyspaces, and where partitions live, as the node that is asked knows it
    Catalogue,
    /// The partitions that are on their way to other nodes; with --wait until there are none
    Moves {
        /// Look again until nothing is under way
        #[arg(long)]
        wait: bool,
    },
}

/// Where a cluster is looked for if nobody says.
const DEFAULT_ADDRESSES: [&str; 2] = ["127.0.0.1:7001", "127.0.0.1:7000"];
/// How long a node may take to answer.
const LIMIT: Duration = Duration::from_secs(3);
/// Orders wait for the partition's leader, which has its own time limit (5 s by default).
const ORDER_LIMIT: Duration = Duration::from_secs(30);

/// `consort ctl`
pub async fn run(options: Options) -> Result<ExitCode, String> {
    let login = &options.login;
    let (address, mut connection) = connect(options.addr.as_deref(), login).await?;
    match options.order {
        Order::Status { json } => {
            let report = Report::gather(&address, connection, login).await?;
            match json {
                true => {
                    println!("{}", serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?)
                }
                false => report.lines().iter().for_each(|line| println!("{line}")),
            }
            Ok(if report.alarms.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Order::Transfer { partition, node } => transfer(&mut connection, partition, &node).await,
        Order::Catalogue => {
            Catalogue::ask(&mut connection, LIMIT).await?.lines().iter().for_each(|line| println!("{line}"));
            Ok(ExitCode::SUCCESS)
        }
        Order::Moves { wait } => moves(&mut connection, wait).await,
    }
}

/// What is under way, once or until nothing is.
async fn moves(connection: &mut Connection, wait: bool) -> Result<ExitCode, String> {
    let mut said = Vec::new();
    loop {
        let catalogue = Catalogue::ask(connection, LIMIT).await?;
        let lines = catalogue.moves();
        if lines != said {
            lines.iter().for_each(|line| println!("{line}"));
        }
        if lines.is_empty() {
            println!("nothing is under way (epoch {})", catalogue.epoch);
        }
        if lines.is_empty() || !wait {
            return Ok(ExitCode::SUCCESS);
        }
        said = lines;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn connect(asked: Option<&str>, login: &Login) -> Result<(String, Connection), String> {
    let addresses: Vec<&str> = asked.map_or(DEFAULT_ADDRESSES.to_vec(), |address| vec![address]);
    let mut failures = Vec::new();
    for address in addresses {
        match Connection::open(address, login, LIMIT).await {
            Ok(connection) => return Ok((address.to_string(), connection)),
            Err(failure) => failures.push(failure),
        }
    }
    let hint = if asked.is_none() { "\nsay where the cluster is with --addr HOST:PORT" } else { "" };
    Err(failures.join("\n") + hint)
}

/// What all nodes say, put side by side.
#[derive(Debug, Serialize)]
struct Report {
    cluster: String,
    asked: String,
    /// By name; `None` where the node did not answer.
    nodes: BTreeMap<String, NodeReport>,
    partitions: Vec<PartitionReport>,
    /// What somebody should look at.
    alarms: Vec<String>,
}

#[derive(Debug, Serialize)]
struct NodeReport {
    id: String,
    client: String,
    /// What it says of itself; `None`: it did not answer.
    status: Option<Status>,
}

#[derive(Debug, Serialize)]
struct PartitionReport {
    partition: u64,
    slots: (u64, u64),
    leader: Option<String>,
    term: u64,
    voters: Vec<String>,
    learners: Vec<String>,
    applied: BTreeMap<String, u64>,
    digests: Digests,
}

/// How the digests of a partition's replicas compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Digests {
    /// All replicas that answered stand at the same entry and hold the same state.
    Equal,
    /// No two replicas that stand at the same entry differ; some stand elsewhere.
    Moving,
    /// Two replicas at the same entry differ, or one of them has noticed a difference.
    Alarm,
    /// Nobody answered for it.
    Unknown,
}

impl Report {
    /// Asks every node. Digests are compared at equal entries, so the nodes are asked again while entries move.
    async fn gather(asked: &str, mut first: Connection, login: &Login) -> Result<Report, String> {
        let seed = Status::ask(&mut first, LIMIT).await?;
        let mut connections = BTreeMap::new();
        for node in seed.nodes.iter().filter(|node| node.id != seed.id) {
            if let Ok(connection) = Connection::open(&node.client, login, LIMIT).await {
                connections.insert(node.name.clone(), connection);
            }
        }
        connections.insert(seed.node.clone(), first);
        let mut report = None;
        for _ in 0..5 {
            let mut answers = BTreeMap::new();
            for (name, connection) in &mut connections {
                if let Ok(status) = Status::ask(connection, LIMIT).await {
                    answers.insert(name.clone(), status);
                }
            }
            let latest = Report::put_together(asked, &seed, answers);
            let settled = latest.partitions.iter().all(|partition| partition.digests != Digests::Moving);
            report = Some(latest);
            if settled {
                break;
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        report.ok_or_else(|| "nobody answered".into())
    }

    fn put_together(asked: &str, seed: &Status, mut answers: BTreeMap<String, Status>) -> Report {
        let partitions: Vec<PartitionReport> =
            (0..seed.partitions.len()).map(|number| PartitionReport::of(number, seed, &answers)).collect();
        let mut alarms = Vec::new();
        for partition in &partitions {
            let number = partition.partition;
            if partition.digests == Digests::Alarm {
                alarms.push(format!(
                    "partition {number}: replicas hold different states; save the data folders"
                ));
            }
            if partition.leader.is_none() {
                alarms.push(format!("partition {number} has no leader that answers"));
            }
        }
        let node = |node: &crate::status::Node| {
            let status = answers.remove(&node.name);
            (node.name.clone(), NodeReport { id: node.id.clone(), client: node.client.clone(), status })
        };
        let nodes: BTreeMap<String, NodeReport> = seed.nodes.iter().map(node).collect();
        for (name, node) in &nodes {
            match &node.status {
                None => alarms.push(format!("node {name} does not answer at {}", node.client)),
                Some(status) if status.counter("disk_full") != 0 => {
                    alarms.push(format!("node {name}: the disk is full"));
                }
                Some(_) => {}
            }
        }
        Report { cluster: seed.cluster.clone(), asked: asked.to_string(), nodes, partitions, alarms }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("cluster {}, asked {}", self.cluster, self.asked), String::new()];
        let headings =
            ["NODE", "ID", "CLIENTS AT", "STATE", "LEADS", "KEYS", "MEMORY", "FSYNCS", "OPS/S", "UP FOR"];
        let rows: Vec<_> = self.nodes.iter().map(|(name, node)| node.row(name)).collect();
        lines.extend(table::table(&headings, &rows));
        lines.push(String::new());
        let headings = ["PARTITION", "SLOTS", "LEADER", "TERM", "MEMBERS", "APPLIED", "DIGESTS"];
        let rows: Vec<_> = self.partitions.iter().map(PartitionReport::row).collect();
        lines.extend(table::table(&headings, &rows));
        let rows = self.keyspaces();
        if !rows.is_empty() {
            let headings = [
                "KEYSPACE",
                "ACK",
                "GROUPS LED",
                "IN SYNC",
                "LAG",
                "LAG BYTES",
                "LAG MS",
                "WORST LOSS",
                "ZONES",
            ];
            lines.push(String::new());
            lines.extend(table::table(&headings, &rows));
        }
        lines.push(String::new());
        match self.alarms.as_slice() {
            [] => lines.push("no alarm".into()),
            alarms => lines.extend(alarms.iter().map(|alarm| format!("ALARM: {alarm}"))),
        }
        lines
    }
}

impl Report {
    /// Keyspaces with groups of their own: what all nodes say of those that they lead, added up.
    fn keyspaces(&self) -> Vec<Vec<String>> {
        let mut all: BTreeMap<String, Keyspace> = BTreeMap::new();
        let said = self.nodes.values().filter_map(|node| node.status.as_ref());
        for keyspace in said.flat_map(|status| &status.keyspaces).filter(|of| of.groups_led > 0) {
            match all.get_mut(&keyspace.prefix) {
                None => drop(all.insert(keyspace.prefix.clone(), keyspace.clone())),
                Some(sum) => {
                    sum.groups_led += keyspace.groups_led;
                    sum.in_sync_at_least = sum.in_sync_at_least.min(keyspace.in_sync_at_least);
                    sum.lag_records += keyspace.lag_records;
                    sum.lag_bytes += keyspace.lag_bytes;
                    sum.lag_ms = sum.lag_ms.max(keyspace.lag_ms);
                    sum.worst_loss_records += keyspace.worst_loss_records;
                    sum.zones.retain(|zone| keyspace.zones.contains(zone));
                }
            }
        }
        let row = |of: Keyspace| {
            vec![
                of.prefix,
                of.ack,
                of.groups_led.to_string(),
                of.in_sync_at_least.to_string(),
                of.lag_records.to_string(),
                table::bytes(of.lag_bytes),
                of.lag_ms.to_string(),
                of.worst_loss_records.to_string(),
                of.zones.join(" "),
            ]
        };
        all.into_values().map(row).collect()
    }
}

impl NodeReport {
    fn row(&self, name: &str) -> Vec<String> {
        let head = [name.to_string(), self.id.clone(), self.client.clone()];
        let rest = match &self.status {
            Some(status) => [
                "up".to_string(),
                status.led().len().to_string(),
                status.counter("keys").to_string(),
                table::bytes(status.counter("memory_bytes")),
                status.counter("fsyncs").to_string(),
                status.counter("commands_per_second").to_string(),
                table::duration(status.uptime_ms),
            ],
            None => ["no answer", "-", "-", "-", "-", "-", "-"].map(str::to_string),
        };
        head.into_iter().chain(rest).collect()
    }
}

impl PartitionReport {
    fn of(number: usize, seed: &Status, answers: &BTreeMap<String, Status>) -> PartitionReport {
        let replicas: BTreeMap<&String, (&Partition, &Replica)> = answers
            .iter()
            .filter_map(|(name, status)| {
                let partition = status.partitions.get(number)?;
                Some((name, (partition, partition.replica.as_ref()?)))
            })
            .collect();
        // The replica of the highest term knows best who leads and who is a member.
        let best = replicas.values().max_by_key(|(_, replica)| (replica.term, replica.role == "leader"));
        let shown = best.map_or(&seed.partitions[number], |(partition, _)| partition);
        let names = |ids: &[String]| ids.iter().map(|id| seed.name_of(id)).collect::<Vec<_>>();
        let leader = shown.leader.as_ref().map(|leader| seed.name_of(leader));
        PartitionReport {
            partition: shown.partition,
            slots: (shown.first_slot, shown.last_slot),
            leader: leader.filter(|name| answers.contains_key(name)),
            term: best.map_or(0, |(_, replica)| replica.term),
            voters: names(&shown.voters),
            learners: best.map_or(Vec::new(), |(_, replica)| names(&replica.learners)),
            applied: replicas
                .iter()
                .map(|(name, (_, replica))| (name.to_string(), replica.applied))
                .collect(),
            digests: Digests::compare(replicas.values().map(|(_, replica)| *replica)),
        }
    }

    fn row(&self) -> Vec<String> {
        let applied: Vec<String> =
            self.applied.iter().map(|(name, index)| format!("{name}:{index}")).collect();
        let mut members = self.voters.join(" ");
        if !self.learners.is_empty() {
            members += &format!(" (learners {})", self.learners.join(" "));
        }
        vec![
            self.partition.to_string(),
            format!("{}-{}", self.slots.0, self.slots.1),
            self.leader.clone().unwrap_or_else(|| "none".into()),
            self.term.to_string(),
            members,
            applied.join(" "),
            match self.digests {
                Digests::Equal => "equal",
                Digests::Moving => "moving",
                Digests::Alarm => "ALARM",
                Digests::Unknown => "unknown",
            }
            .into(),
        ]
    }
}

impl Digests {
    fn compare<'a>(replicas: impl Iterator<Item = &'a Replica>) -> Digests {
        let mut at: BTreeMap<u64, &str> = BTreeMap::new();
        for replica in replicas {
            let digest = *at.entry(replica.applied).or_insert(&replica.digest);
            if digest != replica.digest || replica.digest_mismatches > 0 {
                return Digests::Alarm;
            }
        }
        match at.len() {
            0 => Digests::Unknown,
            1 => Digests::Equal,
            _ => Digests::Moving,
        }
    }
}

async fn transfer(connection: &mut Connection, partition: u64, node: &str) -> Result<ExitCode, String> {
    let number = partition.to_string();
    match connection.ask(&["CONSORT", "TRANSFER", &number, node], ORDER_LIMIT).await? {
        Value::Error(text) => return Err(text.into_owned()),
        _ => println!("partition {partition}: asked the leader to hand over to {node}"),
    }
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        let status = Status::ask(connection, LIMIT).await?;
        let leader = status.partitions.get(partition as usize).and_then(|partition| partition.leader.clone());
        if leader.is_some_and(|leader| leader == node || status.name_of(&leader) == node) {
            println!("partition {partition}: {node} leads");
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("partition {partition}: {node} does not lead yet; see consort ctl status"))
}

#[cfg(test)]
mod tests;
