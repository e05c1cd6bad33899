//! What a node says of itself in `CONSORT STATUS`.

use std::collections::BTreeMap;
use std::time::Duration;

use resp::Value;
use serde::Serialize;

use crate::ask::Connection;

/// A node's view of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// Its id, 16 hexadecimal digits.
    pub id: String,
    /// Its process.
    pub pid: u64,
    /// How long it has been up.
    pub uptime_ms: u64,
    /// The nodes that it knows.
    pub nodes: Vec<Node>,
    /// The partitions, by number.
    pub partitions: Vec<Partition>,
    /// Keyspaces with groups of their own: what the node says of those that it leads.
    pub keyspaces: Vec<Keyspace>,
    /// The groups of those keyspaces of which the node holds a replica.
    pub groups: Vec<Group>,
    /// Its counters.
    pub counters: BTreeMap<String, u64>,
}

/// A keyspace with groups of its own, as far as a node leads them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Keyspace {
    /// What its keys begin with.
    pub prefix: String,
    /// When writes are acknowledged.
    pub ack: String,
    /// How many groups the node leads.
    pub groups_led: u64,
    /// The fewest members in sync.
    pub in_sync_at_least: u64,
    /// Writes that not all members in sync hold.
    pub lag_records: u64,
    /// Their bytes.
    pub lag_bytes: u64,
    /// The age of the oldest.
    pub lag_ms: u64,
    /// What a failover now may lose at the worst.
    pub worst_loss_records: u64,
    /// The zones that hold the last acknowledged write of each group.
    pub zones: Vec<String>,
}

/// A node as another sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Where it takes clients.
    pub client: String,
    /// Where it takes peers.
    pub peer: String,
    /// Is there a connection to it?
    pub alive: bool,
}

/// A partition as a node sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Partition {
    /// Its number.
    pub partition: u64,
    /// Its first slot.
    pub first_slot: u64,
    /// Its last slot, included.
    pub last_slot: u64,
    /// The leader's id, as far as the node knows.
    pub leader: Option<String>,
    /// The voters' ids.
    pub voters: Vec<String>,
    /// The node's own replica, if it has one.
    pub replica: Option<Replica>,
}

/// A group of a keyspace of its own, as a node that holds a replica of it sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// Its number, eight hexadecimal digits.
    pub group: String,
    /// The primary's id, as far as the node knows.
    pub leader: Option<String>,
    /// The members' ids.
    pub voters: Vec<String>,
    /// The node's own replica.
    pub replica: Replica,
}

/// A replica.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replica {
    /// The part that it plays.
    pub role: String,
    /// Its term.
    pub term: u64,
    /// Voters of the membership that is being left.
    pub outgoing: Vec<String>,
    /// Members without a vote.
    pub learners: Vec<String>,
    /// Committed up to.
    pub commit: u64,
    /// Applied up to.
    pub applied: u64,
    /// Keys held.
    pub keys: u64,
    /// Bytes held.
    pub bytes: u64,
    /// The digest of the state at `applied`.
    pub digest: String,
    /// Differences that it found.
    pub digest_mismatches: u64,
}

/// Asks a node `CONSORT` and this, and reads the answer.
///
/// # Errors
/// No answer, or one that is not understood.
pub async fn asked<T>(
    connection: &mut Connection,
    what: &str,
    limit: Duration,
    parse: impl Fn(&Value) -> Option<T>,
) -> Result<T, String> {
    let reply = connection.ask(&["CONSORT", what], limit).await?;
    if let Value::Error(text) = &reply {
        return Err(format!("CONSORT {what} is answered with: {text}"));
    }
    parse(&reply).ok_or_else(|| format!("the answer to CONSORT {what} is not understood"))
}

impl Status {
    /// Asks a node.
    ///
    /// # Errors
    /// No answer, or one that is not understood.
    pub async fn ask(connection: &mut Connection, limit: Duration) -> Result<Status, String> {
        asked(connection, "STATUS", limit, Status::parse).await
    }

    /// Reads the reply.
    pub fn parse(reply: &Value) -> Option<Status> {
        let counters = entries(field(reply, "counters")?)?;
        Some(Status {
            version: text(field(reply, "version")?)?,
            cluster: text(field(reply, "cluster")?)?,
            node: text(field(reply, "node")?)?,
            id: text(field(reply, "id")?)?,
            pid: number(field(reply, "pid")?)?,
            uptime_ms: number(field(reply, "uptime_ms")?)?,
            nodes: list(field(reply, "nodes")?, Node::parse)?,
            partitions: list(field(reply, "partitions")?, Partition::parse)?,
            // A node of before has none.
            keyspaces: field(reply, "keyspaces")
                .map_or(Some(Vec::new()), |keyspaces| list(keyspaces, Keyspace::parse))?,
            groups: field(reply, "groups").map_or(Some(Vec::new()), |groups| list(groups, Group::parse))?,
            counters: counters
                .iter()
                .filter_map(|(name, value)| Some((text(name)?, number(value)?)))
                .collect(),
        })
    }

    /// A counter by name; 0 if the node does not have it.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// The name of a node by its id.
    pub fn name_of(&self, id: &str) -> String {
        self.nodes.iter().find(|node| node.id == id).map_or_else(|| id.to_string(), |node| node.name.clone())
    }

    /// The numbers of the partitions that this node leads.
    pub fn led(&self) -> Vec<u64> {
        let leads = |partition: &&Partition| {
            partition.replica.as_ref().is_some_and(|replica| replica.role == "leader")
        };
        self.partitions.iter().filter(leads).map(|partition| partition.partition).collect()
    }
}

impl Keyspace {
    fn parse(value: &Value) -> Option<Keyspace> {
        let of = |name: &str| number(field(value, name)?);
        Some(Keyspace {
            prefix: text(field(value, "prefix")?).unwrap_or_else(|| "(no text)".into()),
            ack: text(field(value, "ack")?)?,
            groups_led: of("groups_led")?,
            in_sync_at_least: of("in_sync_at_least")?,
            lag_records: of("lag_records")?,
            lag_bytes: of("lag_bytes")?,
            lag_ms: of("lag_ms")?,
            worst_loss_records: of("worst_loss_records")?,
            zones: list(field(value, "zones")?, text)?,
        })
    }
}

impl Node {
    fn parse(value: &Value) -> Option<Node> {
        Some(Node {
            name: text(field(value, "name")?)?,
            id: text(field(value, "id")?)?,
            client: text(field(value, "client")?)?,
            peer: text(field(value, "peer")?)?,
            alive: number(field(value, "alive")?)? != 0,
        })
    }
}

impl Partition {
    fn parse(value: &Value) -> Option<Partition> {
        let replica = field(value, "replica")?;
        Some(Partition {
            partition: number(field(value, "partition")?)?,
            first_slot: number(field(value, "first_slot")?)?,
            last_slot: number(field(value, "last_slot")?)?,
            leader: text(field(value, "leader")?),
            voters: list(field(value, "voters")?, text)?,
            replica: if *replica == Value::Null { None } else { Some(Replica::parse(replica)?) },
        })
    }
}

impl Group {
    fn parse(value: &Value) -> Option<Group> {
        Some(Group {
            group: text(field(value, "group")?)?,
            leader: text(field(value, "leader")?),
            voters: list(field(value, "voters")?, text)?,
            replica: Replica::parse(field(value, "replica")?)?,
        })
    }
}

impl Replica {
    fn parse(value: &Value) -> Option<Replica> {
        Some(Replica {
            role: text(field(value, "role")?)?,
            term: number(field(value, "term")?)?,
            outgoing: list(field(value, "outgoing")?, text)?,
            learners: list(field(value, "learners")?, text)?,
            commit: number(field(value, "commit")?)?,
            applied: number(field(value, "applied")?)?,
            keys: number(field(value, "keys")?)?,
            bytes: number(field(value, "bytes")?)?,
            digest: text(field(value, "digest")?)?,
            digest_mismatches: number(field(value, "digest_mismatches")?)?,
        })
    }
}

pub fn entries(value: &Value) -> Option<&[(Value, Value)]> {
    match value {
        Value::Map(entries) => Some(entries),
        _ => None,
    }
}

pub fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let is_it = |key: &Value| text(key).is_some_and(|key| key == name);
    entries(value)?.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value)
}

pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::Bulk(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        Value::Simple(text) => Some(text.to_string()),
        _ => None,
    }
}

pub fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Boolean(set) => Some(u64::from(*set)),
        _ => None,
    }
}

pub fn list<T>(value: &Value, parse: fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    match value {
        Value::Array(elements) => elements.iter().map(parse).collect(),
        _ => None,
    }
}
