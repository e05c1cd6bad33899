//! The keyspaces of a run and what each of them promises.

use resp::Value;

use crate::ask::{Connection, Login};
use crate::status::{field, list, number, text};

/// What may be lost of what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing.
    None,
    /// What a failover loses is kept and listed (`KEYSPACE LOST`); what goes with a disk is not.
    Listed,
    /// What only one replica had when it lost its disk.
    WithDisk,
}

/// How fresh the reads of a keyspace are that need not see all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// As fresh as what their session has written and seen.
    Session,
    /// The same, and no older than this. Microseconds.
    Bounded(u64),
}

impl Freshness {
    fn parse(level: &str) -> Option<Freshness> {
        match level.split_once(' ') {
            None if level == "session" => Some(Freshness::Session),
            Some(("bounded", bound)) => bound.parse().ok().map(|ms: u64| Freshness::Bounded(ms * 1000)),
            _ => None,
        }
    }
}

/// A keyspace.
#[derive(Clone, Debug)]
pub struct Keyspace {
    /// What its keys begin with.
    pub prefix: String,
    /// Its strategy and how it acknowledges.
    pub kind: String,
    /// What it promises, in its own words.
    pub promise: String,
    /// What may be lost.
    pub loss: Loss,
    /// How far replicas may lag behind, where something may be lost.
    pub max_lag_ms: u64,
    /// Does what was acknowledged lately go if all machines lose power?
    pub relaxed: bool,
    /// Does it have primaries of its own?
    pub has_primaries: bool,
    /// Do all of its replicas take writes, which merge?
    pub merges: bool,
    /// Is it of peers without leaders: so many are asked by a read, and hold a write?
    pub leaderless: bool,
    /// The copies of each key.
    pub replicas: usize,
    /// Has each node of the cluster one?
    pub everywhere: bool,
    /// Are counters never below zero?
    pub bounded: bool,
    /// Its reads are of any replica that is as fresh as this (`READ`); sessions carry what they have seen.
    pub freshness: Option<Freshness>,
    /// Does every read ask a replica that holds what was acknowledged before it? Then each key is a regular register.
    pub regular: bool,
}

impl Keyspace {
    /// What a server promises that is no Consort: what the user says, or what everybody hopes for.
    pub fn foreign() -> Keyspace {
        Keyspace {
            prefix: String::new(),
            kind: "not a Consort".into(),
            promise: "linearizable; nothing acknowledged is lost (as asked for on the command line)".into(),
            loss: Loss::None,
            max_lag_ms: 0,
            relaxed: false,
            has_primaries: false,
            merges: false,
            leaderless: false,
            replicas: 1,
            everywhere: false,
            bounded: false,
            freshness: None,
            regular: false,
        }
    }

    fn parse(value: &Value) -> Option<Keyspace> {
        let of = |name: &str| field(value, name).and_then(text);
        let (prefix, strategy) = (of("prefix")?, of("strategy")?);
        let ack = of("ack");
        let is_leaderless = strategy == "leaderless";
        let merges = strategy == "multi-primary" || is_leaderless;
        // What two hold does not go with one disk.
        // Nor if one that stood in for a replica loses it, before it has handed over what it held; two in a row are two disks.
        let is_sloppy = of("sloppy").is_some_and(|sloppy| sloppy == "yes");
        let held_by_one = !is_leaderless || is_sloppy || of("w").is_some_and(|w| w == "1");
        let relaxed = of("durability").is_some_and(|durability| durability == "relaxed");
        let kind = match &ack {
            Some(ack) => format!("{strategy} {ack}{}", if relaxed { ", relaxed" } else { "" }),
            None => strategy.clone(),
        };
        Some(Keyspace {
            prefix,
            kind,
            promise: of("promise").unwrap_or_default(),
            loss: match (ack.as_deref(), merges) {
                (Some("async"), _) => Loss::Listed,
                (_, true) if held_by_one => Loss::WithDisk,
                _ => Loss::None,
            },
            // What a replica that all others cannot hear has written meanwhile goes with its disk.
            max_lag_ms: match merges {
                true => UNHEARD_MS,
                false => field(value, "max_lag_ms").and_then(number).unwrap_or(0),
            },
            relaxed,
            has_primaries: strategy == "primary-replica",
            merges,
            leaderless: is_leaderless,
            replicas: field(value, "replicas").and_then(number).unwrap_or(1) as usize,
            everywhere: false,
            bounded: of("counters").is_some_and(|counters| counters == "bounded"),
            freshness: of("read").and_then(|level| Freshness::parse(&level)).filter(|_| !merges),
            regular: !is_sloppy && of("r_plus_w_above_n").is_some_and(|is_above| is_above == "yes"),
        })
    }
}

/// For how long a node may have been cut off from all others before it loses its disk.
const UNHEARD_MS: u64 = 20_000;

const LIMIT: std::time::Duration = std::time::Duration::from_secs(8);

/// The keyspaces of a cluster; `None` if the server does not know what that is.
pub async fn ask(address: &str, login: &Login) -> Result<Option<Vec<Keyspace>>, String> {
    let mut connection = Connection::open(address, login, LIMIT).await?;
    match connection.ask(&["KEYSPACE", "LIST"], LIMIT).await? {
        Value::Error(_) => Ok(None),
        value => {
            list(&value, Keyspace::parse).map(Some).ok_or_else(|| "KEYSPACE LIST is not understood".into())
        }
    }
}

/// The keyspaces that a cluster of our own gets, beside the one that is always there.
pub const OWN: &[(&str, &[&str])] = &[
    ("sync:", &["primary-replica", "ACK", "sync"]),
    ("semi:", &["primary-replica", "ACK", "semi-sync", "1"]),
    ("async:", &["primary-replica", "ACK", "async"]),
    ("relaxed:", &["primary-replica", "ACK", "semi-sync", "1", "DURABILITY", "relaxed"]),
    ("near:", &["primary-replica", "ACK", "sync", "READ", "session"]),
    ("within:", &["raft", "READ", "bounded", "100"]),
    ("multi:", &["multi-primary"]),
    ("bounded:", &["multi-primary", "COUNTERS", "bounded"]),
    ("peers:", &["leaderless"]),
    ("any:", &["leaderless", "R", "1", "W", "1"]),
    (SLOPPY, &["leaderless", "REPLICAS", "3", "SLOPPY", "yes"]),
];

/// Needs more nodes than it has replicas.
pub const SLOPPY: &str = "sloppy:";

/// Makes the keyspaces of [`OWN`].
///
/// # Errors
/// The cluster does not.
pub async fn create(address: &str, wanted: &dyn Fn(&str) -> bool) -> Result<(), String> {
    let mut connection = Connection::open(address, &Login::default(), LIMIT).await?;
    for (prefix, settings) in OWN.iter().filter(|(prefix, _)| wanted(prefix)) {
        let mut command = vec!["KEYSPACE", "CREATE", prefix, "STRATEGY"];
        command.extend_from_slice(settings);
        if let Value::Error(text) = connection.ask(&command, LIMIT).await? {
            return Err(format!("{}: {text}", command.join(" ")));
        }
    }
    Ok(())
}

/// A write that a keyspace lists as lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LostWrite {
    /// Its key.
    pub key: String,
    /// Its value; empty where the command is not a plain `SET`.
    pub value: String,
    /// The group that had taken it, and the term of its primary: a group that comes from a split counts terms anew.
    pub reign: String,
}

/// What a keyspace lists as lost.
///
/// # Errors
/// It cannot be asked, or not all nodes could.
pub async fn lost(address: &str, login: &Login, prefix: &str) -> Result<Vec<LostWrite>, String> {
    let mut connection = Connection::open(address, login, LIMIT).await?;
    let value = match connection.ask(&["KEYSPACE", "LOST", prefix], LIMIT).await? {
        Value::Error(text) => return Err(text.to_string()),
        value => value,
    };
    let Value::Array(entries) = value else { return Err("KEYSPACE LOST is not understood".into()) };
    let mut lost = Vec::new();
    for entry in &entries {
        if let Some(node) = field(entry, "unreachable").and_then(text) {
            return Err(format!("{node} could not be asked what it keeps"));
        }
        let words = |value: &Value| list(value, text);
        let keys = field(entry, "keys").and_then(words).unwrap_or_default();
        let (Some(group), Some(Value::Integer(term))) =
            (field(entry, "group").and_then(text), field(entry, "term"))
        else {
            return Err("KEYSPACE LOST names no group and term".into());
        };
        let reign = format!("{group}/{term}");
        let commands =
            field(entry, "commands").and_then(|commands| list(commands, |value| list(value, text)));
        for key in keys {
            let set = commands.iter().flatten().find(|command| {
                command.first().is_some_and(|name| name.eq_ignore_ascii_case("set"))
                    && command.get(1) == Some(&key)
            });
            let value = set.and_then(|command| command.get(2)).cloned().unwrap_or_default();
            lost.push(LostWrite { key, value, reign: reign.clone() });
        }
    }
    Ok(lost)
}
