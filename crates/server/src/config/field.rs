//! The table of fields: one row per field of the configuration.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::units::{format_bytes, format_duration, parse_bytes, parse_duration};
use super::{Address, Config, Redirect};
use crate::profile::Profile;

/// One field.
#[derive(Debug)]
pub struct Field {
    /// The name in the file, sections included (`timing.heartbeat`). In the environment it is `CONSORT_TIMING_HEARTBEAT`.
    pub path: &'static str,
    /// What the value means and what follows from it.
    pub about: &'static str,
    /// What is accepted, for messages.
    pub accepts: &'static str,
    /// Reads a value; `None` if it is not accepted.
    pub(super) set: fn(&mut Draft, &str) -> Option<()>,
    /// The value as TOML.
    pub(super) get: fn(&Config) -> String,
    /// May it be shown to an operator?
    pub secret: bool,
}

/// A configuration being put together. What has a default that depends on other fields is optional here.
#[derive(Debug)]
pub struct Draft {
    pub config: Config,
    pub listen_client: Option<Address>,
    pub listen_peer: Option<Address>,
    pub replication_factor: Option<usize>,
    pub node: Option<String>,
}

impl Field {
    /// The name of the environment variable.
    pub fn environment(&self) -> String {
        format!("CONSORT_{}", self.path.replace('.', "_").to_ascii_uppercase())
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn secret(text: &str) -> Option<Option<String>> {
    Some((!text.is_empty()).then(|| text.to_string()))
}

/// Letters, digits, `.`, `_` and `-`: what may stand in a file name, a log line and a `CLUSTER NODES` row.
fn name(text: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    ((1..=64).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_string())
}

fn between<T: PartialOrd>(value: T, low: T, high: T) -> Option<T> {
    (value >= low && value <= high).then_some(value)
}

const NAME: &str = "1 to 64 letters, digits, '.', '_' or '-'";
const ADDRESS: &str = "an address such as 127.0.0.1:7000, [::1]:7000 or host.example:7000";

/// All fields that have one value (`[[nodes]]` is beside them), in the order of printing. Those without a section first.
pub const FIELDS: &[Field] = &[
    Field {
        path: "cluster",
        about: "The name of the cluster. Nodes talk only to nodes of the same name, so that two clusters on one network cannot mix.",
        accepts: NAME,
        set: |draft, text| put(&mut draft.config.cluster, name(text)?),
        get: |config| quoted(&config.cluster),
        secret: false,
    },
    Field {
        path: "name",
        about: "The name of this node: one of the names under [[nodes]]. May be left out if [[nodes]] has one entry.",
        accepts: NAME,
        set: |draft, text| put(&mut draft.node, Some(name(text)?)),
        get: |config| quoted(&config.node),
        secret: false,
    },
    Field {
        path: "data",
        about: "The folder for log, snapshots and identity; relative to the folder that the process was started in. It belongs to one node alone: a node that lost it is a new node.",
        accepts: "a path",
        set: |draft, text| put(&mut draft.config.data, PathBuf::from((!text.is_empty()).then_some(text)?)),
        get: |config| quoted(&config.data.to_string_lossy()),
        secret: false,
    },
    Field {
        path: "partitions",
        about: "Into how many groups the 16384 slots are cut; each elects its own leader. More spread load more evenly and fail over independently, each costs a little memory and a heartbeat while busy. Only the founders' first start looks at it; `NODE SETTING partitions` makes them more later, never fewer.",
        accepts: "a number from 1 to 16384",
        set: |draft, text| put(&mut draft.config.partitions, between(text.parse().ok()?, 1, 16384)?),
        get: |config| config.partitions.to_string(),
        secret: false,
    },
    Field {
        path: "replication_factor",
        about: "On how many nodes each partition lives. A write is answered once a majority holds it on disk: with 3 copies 1 node may fail, with 5 copies 2. Even numbers cost a copy and survive no more. Default: 3, or the number of nodes if that is less. Only the founders' first start looks at it; `NODE SETTING replication-factor` changes it later.",
        accepts: "a number from 1 to 9",
        set: |draft, text| put(&mut draft.replication_factor, Some(between(text.parse().ok()?, 1, 9)?)),
        get: |config| config.replication_factor.to_string(),
        secret: false,
    },
    Field {
        path: "workers",
        about: "Threads that serve clients and partitions. Each owns its share of the partitions, so more than there are partitions or processors gain nothing.",
        accepts: "a number from 1 to 256",
        set: |draft, text| put(&mut draft.config.workers, between(text.parse().ok()?, 1, 256)?),
        get: |config| config.workers.to_string(),
        secret: false,
    },
    Field {
        path: "password",
        about: "What clients must say in AUTH or HELLO before any other command. Empty: no password, so listen where only friends can reach.",
        accepts: "a text, empty for none",
        set: |draft, text| put(&mut draft.config.password, secret(text)?),
        get: |config| quoted(config.password.as_deref().unwrap_or_default()),
        secret: true,
    },
    Field {
        path: "redirect",
        about: "Which connections are told who leads a slot (MOVED) when they ask a node that does not; all others are served through the node that they asked, which costs a hop. aware: those on which CLUSTER SLOTS, CLUSTER SHARDS, READONLY, READWRITE or ASKING came. always: all, as in Redis Cluster, for clients that are cluster clients without exception. never: none. CONFIG SET cluster-redirect changes it.",
        accepts: "never, aware or always",
        set: |draft, text| put(&mut draft.config.redirect, Redirect::parse(text)?),
        get: |config| quoted(config.redirect.name()),
        secret: false,
    },
    Field {
        path: "peer_secret",
        about: "What nodes must prove to one another that they know before they talk. The same on all nodes. Empty: whoever reaches a peer port is trusted.",
        accepts: "a text, empty for none",
        set: |draft, text| put(&mut draft.config.peer_secret, secret(text)?),
        get: |config| quoted(config.peer_secret.as_deref().unwrap_or_default()),
        secret: true,
    },
    Field {
        path: "log",
        about: "What is logged to standard error: off, error, warn, info, debug or trace, or directives such as \"info,server=debug\".",
        accepts: "off, error, warn, info, debug, trace, or directives such as info,server=debug",
        set: |draft, text| put(&mut draft.config.log, log(text)?),
        get: |config| quoted(&config.log),
        secret: false,
    },
    Field {
        path: "listen.client",
        about: "Where clients are listened for, if that is another address than the one under [[nodes]] (0.0.0.0, a container's own address). Clients are told the one under [[nodes]].",
        accepts: ADDRESS,
        set: |draft, text| put(&mut draft.listen_client, Some(Address::parse(text)?)),
        get: |config| quoted(&config.listen_client.to_string()),
        secret: false,
    },
    Field {
        path: "listen.peer",
        about: "Where peers are listened for, if that is another address than the one under [[nodes]].",
        accepts: ADDRESS,
        set: |draft, text| put(&mut draft.listen_peer, Some(Address::parse(text)?)),
        get: |config| quoted(&config.listen_peer.to_string()),
        secret: false,
    },
    Field {
        path: "admin.listen",
        about: "Where HTTP is answered: a page that shows the cluster, /metrics for Prometheus, /health/live and /health/ready. Nothing can be changed through it, and nobody is asked for a password: keep it where only operators get.",
        accepts: "off, or host:port",
        set: |draft, text| {
            let address = if text == "off" { None } else { Some(Address::parse(text)?) };
            put(&mut draft.config.listen_admin, address)
        },
        get: |config| quoted(&config.listen_admin.as_ref().map_or("off".to_owned(), Address::to_string)),
        secret: false,
    },
    Field {
        path: "development.faults",
        about: "Allows CONSORT FAULT, with which whoever may run commands cuts this node off from others or makes what they say come late. For clusters to try out; consort dev says yes.",
        accepts: "no or yes",
        set: |draft, text| {
            put(
                &mut draft.config.development.faults,
                ["no", "yes"].iter().position(|word| *word == text)? == 1,
            )
        },
        get: |config| quoted(if config.development.faults { "yes" } else { "no" }),
        secret: false,
    },
    Field {
        path: "development.control",
        about: "Where the process answers HTTP that started this node and can kill and start nodes: the page shows buttons for what it can do. Set by consort dev.",
        accepts: "off, or host:port",
        set: |draft, text| {
            let address = if text == "off" { None } else { Some(Address::parse(text)?) };
            put(&mut draft.config.development.control, address)
        },
        get: |config| {
            quoted(&config.development.control.as_ref().map_or("off".to_owned(), Address::to_string))
        },
        secret: false,
    },
    Field {
        path: "select.profiles",
        about: "For clients that can send no command of Consort's own: what holds for a connection that selects a database number (`SELECT 1`, `redis://host/1`), in the words of ACL SETUSER, as with CLIENT CONSISTENCY, CLIENT ACK and CLIENT QUORUM. All numbers are the one database; for 0 all is as keyspaces say. Numbers that are not named here are refused.",
        accepts: "none, or numbers from 1 to 1000 with words of a profile, such as 1 consistency=session, 2 consistency=bounded:100 ack=sync, 3 r=1 w=all",
        set: |draft, text| put(&mut draft.config.select_profiles, select_profiles(text)?),
        get: |config| {
            let pairs = config.select_profiles.iter().map(|(number, profile)| {
                let words: Vec<String> = profile.words().collect();
                format!("{number} {}", words.join(" "))
            });
            let pairs: Vec<String> = pairs.collect();
            quoted(&if pairs.is_empty() { "none".to_owned() } else { pairs.join(", ") })
        },
        secret: false,
    },
    Field {
        path: "reads.hot",
        about: "From so many reads a second for each copy of a partition on, other nodes get copies for reads alone, one after the other; they go when half of that would do without them. What counts is what more than one replica may answer: reads at the levels bounded, session and eventual of keyspaces with leaders. 0: never.",
        accepts: "a number from 0 to 1000000000",
        set: |draft, text| put(&mut draft.config.hot_reads, between(text.parse().ok()?, 0, 1_000_000_000)?),
        get: |config| config.hot_reads.to_string(),
        secret: false,
    },
    Field {
        path: "limits.max_clients",
        about: "Client connections at once; one more is told so and closed. Each takes a file descriptor: the process needs about 100 beyond this number (ulimit -n).",
        accepts: "a number from 1 to 1000000",
        set: |draft, text| {
            put(&mut draft.config.limits.max_clients, between(text.parse().ok()?, 1, 1_000_000)?)
        },
        get: |config| config.limits.max_clients.to_string(),
        secret: false,
    },
    Field {
        path: "limits.bulk_bytes",
        about: "The longest key or value. A longer one gets an error and its connection is closed. A write travels to the followers in one piece and heartbeats wait behind it: at 1 Gbit/s 32MiB take as long as the default election timeout, and every partition of the node would elect another leader.",
        accepts: "a size from 1KiB to 512MiB",
        set: |draft, text| put(&mut draft.config.limits.bulk_bytes, size(text, 1 << 10, 512 << 20)? as usize),
        get: |config| quoted(&format_bytes(config.limits.bulk_bytes as u64)),
        secret: false,
    },
    Field {
        path: "limits.request_bytes",
        about: "The longest command, all arguments together (MSET with many values). At least limits.bulk_bytes + 64KiB.",
        accepts: "a size from 65KiB to 1GiB",
        set: |draft, text| {
            put(&mut draft.config.limits.request_bytes, size(text, 65 << 10, 1 << 30)? as usize)
        },
        get: |config| quoted(&format_bytes(config.limits.request_bytes as u64)),
        secret: false,
    },
    Field {
        path: "limits.output_buffer_bytes",
        about: "Replies that wait for a slow client. Beyond this it is cut off, so that it cannot take the memory of others. At least limits.bulk_bytes, or the longest value could not be read.",
        accepts: "a size from 64KiB to 16GiB",
        set: |draft, text| {
            put(&mut draft.config.limits.output_buffer_bytes, size(text, 64 << 10, 16 << 30)? as usize)
        },
        get: |config| quoted(&format_bytes(config.limits.output_buffer_bytes as u64)),
        secret: false,
    },
    Field {
        path: "limits.in_flight",
        about: "Commands of one connection that are under way at once. What a longer pipeline sends beyond that waits unread in the network.",
        accepts: "a number from 1 to 1000000",
        set: |draft, text| {
            put(&mut draft.config.limits.in_flight, between(text.parse().ok()?, 1, 1_000_000)?)
        },
        get: |config| config.limits.in_flight.to_string(),
        secret: false,
    },
    Field {
        path: "limits.idle_timeout",
        about: "A connection that sends no command for this long is closed. 0: never.",
        accepts: "a duration such as 5m, or 0",
        set: |draft, text| put(&mut draft.config.limits.idle_timeout, parse_duration(text)?),
        get: |config| quoted(&format_duration(config.limits.idle_timeout)),
        secret: false,
    },
    Field {
        path: "timing.election_timeout",
        about: "The shortest silence of a leader after which a follower asks for an election; the longest is twice this. So after a crash writes wait up to about 2 x election_timeout. Shorter fails over sooner and takes slow disks and networks for dead. At least 3 x timing.heartbeat.",
        accepts: "a duration from 30ms to 60s",
        set: |draft, text| put(&mut draft.config.timing.election_timeout, duration(text, 30, 60_000)?),
        get: |config| quoted(&format_duration(config.timing.election_timeout)),
        secret: false,
    },
    Field {
        path: "timing.heartbeat",
        about: "How often a leader that has nothing else to say says that it is there. At most a third of timing.election_timeout, so that two lost heartbeats in a row cost nothing.",
        accepts: "a duration from 5ms to 20s",
        set: |draft, text| put(&mut draft.config.timing.heartbeat, duration(text, 5, 20_000)?),
        get: |config| quoted(&format_duration(config.timing.heartbeat)),
        secret: false,
    },
    Field {
        path: "timing.request_timeout",
        about: "How long a command may wait for leader, disk and majority. Then a write that was under way is answered UNKNOWN, anything else is refused. Below 2 x timing.election_timeout commands give up during an election that would have ended in time.",
        accepts: "a duration from 10ms to 10m",
        set: |draft, text| put(&mut draft.config.timing.request_timeout, duration(text, 10, 600_000)?),
        get: |config| quoted(&format_duration(config.timing.request_timeout)),
        secret: false,
    },
    Field {
        path: "storage.snapshot_log_bytes",
        about: "A partition takes a snapshot when its log holds more than this (or than its data, if that is more). Smaller restarts faster and writes snapshots more often. The log takes up to about partitions x this on disk.",
        accepts: "a size from 4KiB to 64GiB",
        set: |draft, text| put(&mut draft.config.storage.snapshot_log_bytes, size(text, 4 << 10, 64 << 30)?),
        get: |config| quoted(&format_bytes(config.storage.snapshot_log_bytes)),
        secret: false,
    },
    Field {
        path: "storage.segment_bytes",
        about: "The size of the files that the log is cut into. They are preallocated and used again, so a few of them are taken from the disk at once.",
        accepts: "a multiple of 4KiB from 64KiB to 4GiB",
        set: |draft, text| {
            let bytes = size(text, 64 << 10, 4 << 30)?;
            put(&mut draft.config.storage.segment_bytes, bytes.is_multiple_of(4 << 10).then_some(bytes)?)
        },
        get: |config| quoted(&format_bytes(config.storage.segment_bytes)),
        secret: false,
    },
    Field {
        path: "tokens.retention",
        about: "How long the token of an IDEMPOTENT write is remembered. A retry after that runs again, so it must be longer than clients go on retrying.",
        accepts: "a duration from 1s to 168h",
        set: |draft, text| put(&mut draft.config.tokens.retention, duration(text, 1_000, 168 * 3_600_000)?),
        get: |config| quoted(&format_duration(config.tokens.retention)),
        secret: false,
    },
    Field {
        path: "tokens.limit",
        about: "How many tokens a partition remembers at the most; then the oldest go before their time. limit / retention is the rate that is covered: 100000 in 10m are 166 a second for each partition.",
        accepts: "a number from 1 to 100000000",
        set: |draft, text| put(&mut draft.config.tokens.limit, between(text.parse().ok()?, 1, 100_000_000)?),
        get: |config| config.tokens.limit.to_string(),
        secret: false,
    },
    Field {
        path: "hints.bytes",
        about: "How much a node holds at the most for replicas that cannot be reached, for each group of a keyspace with SLOPPY yes. It is in memory and on disk. With more, writes that count on it are refused.",
        accepts: "a size from 4KiB to 64GiB",
        set: |draft, text| put(&mut draft.config.hints.bytes, size(text, 4 << 10, 64 << 30)?),
        get: |config| quoted(&format_bytes(config.hints.bytes)),
        secret: false,
    },
    Field {
        path: "hints.window",
        about: "For how long other nodes stand in for a replica that cannot be reached, in keyspaces with SLOPPY yes. What they hold for it then they go on holding until it is back.",
        accepts: "a duration from 1s to 168h",
        set: |draft, text| put(&mut draft.config.hints.window, duration(text, 1_000, 168 * 3_600_000)?),
        get: |config| quoted(&format_duration(config.hints.window)),
        secret: false,
    },
    Field {
        path: "membership.replace_after",
        about: "A node that no one has heard of for this long is given up: its copies are made anew on other nodes, if there are enough others. If it comes back it takes part again. 0 never gives a node up. Only the founders' first start looks at it; `NODE SETTING` changes it later.",
        accepts: "a duration, 0 for never",
        set: |draft, text| put(&mut draft.config.membership.replace_after, parse_duration(text)?),
        get: |config| quoted(&format_duration(config.membership.replace_after)),
        secret: false,
    },
    Field {
        path: "membership.moves_at_once",
        about: "How many partitions are moved to other nodes at a time when the cluster changes its shape. More moves end sooner and cost clients more meanwhile. Only the founders' first start looks at it; `NODE SETTING` changes it later.",
        accepts: "a number from 1 to 1000",
        set: |draft, text| {
            put(&mut draft.config.membership.moves_at_once, between(text.parse().ok()?, 1, 1000)?)
        },
        get: |config| config.membership.moves_at_once.to_string(),
        secret: false,
    },
    Field {
        path: "membership.move_bytes_per_second",
        about: "How fast each partition that is moved is copied at the most, as snapshot or as log, so that clients have the rest of disk and network; twice what they write to it meanwhile comes on top. Times moves_at_once it is what a change of shape may take. 0: as fast as it goes. Only the founders' first start looks at it; `NODE SETTING` changes it later.",
        accepts: "a size, 0 for no limit",
        set: |draft, text| put(&mut draft.config.membership.move_bytes_per_second, parse_bytes(text)?),
        get: |config| quoted(&format_bytes(config.membership.move_bytes_per_second)),
        secret: false,
    },
];

fn put<T>(place: &mut T, value: T) -> Option<()> {
    *place = value;
    Some(())
}

fn size(text: &str, low: u64, high: u64) -> Option<u64> {
    between(parse_bytes(text)?, low, high)
}

fn duration(text: &str, low_ms: u64, high_ms: u64) -> Option<std::time::Duration> {
    let duration = parse_duration(text)?;
    between(duration.as_millis() as u64, low_ms, high_ms)?;
    Some(duration)
}

/// A level, or directives separated by commas, the level of each after `=`.
fn log(text: &str) -> Option<String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let level = |text: &str| LEVELS.contains(&text.to_ascii_lowercase().as_str());
    let directive = |part: &str| match part.trim().rsplit_once('=') {
        Some((target, value)) => !target.is_empty() && level(value),
        None => level(part.trim()),
    };
    text.split(',').all(directive).then(|| text.to_string())
}

fn select_profiles(text: &str) -> Option<BTreeMap<u32, Profile>> {
    if text == "none" {
        return Some(BTreeMap::new());
    }
    let mut profiles = BTreeMap::new();
    for entry in text.split(',') {
        let mut words = entry.split_whitespace();
        let number = words.next()?.parse().ok().filter(|number| (1..=1000).contains(number))?;
        let mut profile = Profile::default();
        for word in words {
            profile.set(word.as_bytes()).ok()?;
        }
        // A number that stands for nothing is a word forgotten.
        if profile == Profile::default() || profiles.insert(number, profile).is_some() {
            return None;
        }
    }
    Some(profiles)
}

/// See [`Config::to_toml`].
pub(super) fn print(config: &Config, explained: bool, secrets: bool) -> String {
    let mut out = String::new();
    let mut section = "";
    for field in FIELDS {
        let (in_section, key) = field.path.split_once('.').unwrap_or(("", field.path));
        if in_section != section {
            section = in_section;
            let _ = writeln!(out, "\n[{section}]");
        }
        if explained {
            let _ = writeln!(out, "{}", wrapped(field.about));
        }
        if field.secret && !secrets {
            let _ = writeln!(out, "# {key} is not shown");
        } else {
            let _ = writeln!(out, "{key} = {}", (field.get)(config));
        }
    }
    for node in &config.nodes {
        let (name, client, peer) = (quoted(&node.name), node.client.to_string(), node.peer.to_string());
        let _ = write!(
            out,
            "\n[[nodes]]\nname = {name}\nclient = {}\npeer = {}\n",
            quoted(&client),
            quoted(&peer)
        );
        if !node.zone.is_empty() {
            let _ = writeln!(out, "zone = {}", quoted(&node.zone));
        }
        if node.weight != 1 {
            let _ = writeln!(out, "weight = {}", node.weight);
        }
    }
    out
}

/// `docs/configuration.md`, whole. A test compares the file with this.
#[cfg(test)]
pub(super) fn reference(defaults: &Config) -> String {
    let mut out = String::from(INTRODUCTION);
    for field in FIELDS {
        let default = match (field.get)(defaults).as_str() {
            "\"\"" => "empty".to_string(),
            _ if DEPENDING.contains(&field.path) => "see above".to_string(),
            value => format!("`{value}`"),
        };
        let (path, about, accepts) = (field.path, field.about, field.accepts);
        let _ = write!(
            out,
            "\n### `{path}`\n\n{about}\n\nAccepted: {accepts}. Default: {default}. Environment: `{}`.\n",
            field.environment()
        );
    }
    out
}

/// Fields whose default follows from other fields.
#[cfg(test)]
const DEPENDING: [&str; 4] = ["name", "replication_factor", "listen.client", "listen.peer"];

#[cfg(test)]
const INTRODUCTION: &str = "\
# Configuration

<!-- Made from the table of fields in crates/server/src/config/field.rs. After a change there run
     CONSORT_WRITE_DOCS=1 cargo test -p server reference -->

A node is told what to do by a TOML file (`--config FILE`), by environment variables over that, and by flags
(`--set FIELD=VALUE`, `--name`, `--data`) over both. `consort config` with the same sources prints what they come to,
`consort config --explain` with the meaning of each field.

A wrong value stops the start with a message that names the field, the value and what is accepted; all problems are told at
once. An unknown field is an error too and the nearest one is named; an unknown `CONSORT_` variable is only a warning, since
container platforms set such variables by themselves.

Durations are written `300ms`, `5s`, `10m`, `1h`; sizes `4KiB`, `64MiB`, `1GiB` or in bytes.

## Nodes

The file of every founder of a cluster lists all founders. A node that joins later lists itself alone.

    [[nodes]]
    name = \"a\"
    client = \"192.0.2.1:6379\"      # told to cluster clients as it stands here: they must be able to reach it
    peer = \"192.0.2.1:7379\"
    zone = \"rack-1\"                # what fails together; copies of a partition go to different zones. May be left out
    weight = 1                       # its share of partitions and leaderships; 0: none. May be left out

In the environment and in flags the list is one line: `CONSORT_NODES=a=192.0.2.1:6379/192.0.2.1:7379,b=...`. Without a list
the node is a cluster of one, on ports 7000 and 17000 of the loopback interface.

## Changing a running node

`CONFIG SET` changes `maxclients`, `timeout`, `proto-max-bulk-len`, `client-output-buffer-limit`, `requirepass` and
`request-timeout` until the node stops. Everything else needs a restart; `cluster`, `name` and `workers` are fixed when the
data folder is made, and `partitions` when the cluster is. `NODE SETTING` changes what holds for the whole cluster.

## Fields
";

/// The text as comment lines of at most 100 characters.
fn wrapped(text: &str) -> String {
    let mut out = String::from("#");
    let mut width = 1;
    for word in text.split(' ') {
        if width + 1 + word.len() > 100 {
            out.push_str("\n#");
            width = 1;
        }
        out.push(' ');
        out.push_str(word);
        width += 1 + word.len();
    }
    out
}
