//! Putting the sources together.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::field::{Draft, FIELDS, Field};
use super::{
    Address, Config, Hints, Limits, Membership, NodeConfig, Storage, Timing, Tokens, nodes, validate,
};

/// Where values come from; each goes over the one before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    /// The name of the file, for messages, and its text.
    pub file: Option<(&'a str, &'a str)>,
    /// All environment variables; those that begin with `CONSORT_` are looked at.
    pub environment: &'a [(String, String)],
    /// `field=value` pairs from the command line.
    pub flags: &'a [(String, String)],
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
}

/// Everything that is wrong with a configuration, each problem with field, value and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Variables that the binary itself reads, which are no fields.
const OTHER_VARIABLES: [&str; 1] = ["CONSORT_CONFIG"];

/// Reads and validates a configuration.
///
/// # Errors
/// All problems found, not only the first.
pub fn load(sources: Sources<'_>) -> Result<Loaded, ConfigError> {
    let mut draft = Draft {
        config: defaults(),
        listen_client: None,
        listen_peer: None,
        replication_factor: None,
        node: None,
    };
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    if let Some((name, text)) = sources.file {
        let mut found = Vec::new();
        read_file(text, &mut draft, &mut found);
        problems.extend(found.into_iter().map(|problem| format!("{name}: {problem}")));
    }
    read_environment(sources.environment, &mut draft, &mut problems, &mut warnings);
    for (path, value) in sources.flags {
        set_named(path, value, &format!("--set {path}"), &mut draft, &mut problems);
    }
    if !problems.is_empty() {
        return Err(ConfigError(problems));
    }
    let config = complete(draft);
    validate::validate(&config, &mut problems, &mut warnings);
    if problems.is_empty() { Ok(Loaded { config, warnings }) } else { Err(ConfigError(problems)) }
}

fn defaults() -> Config {
    Config {
        cluster: "consort".into(),
        node: String::new(),
        nodes: Vec::new(),
        data: PathBuf::from("consort-data"),
        listen_client: Address::loopback(7000),
        listen_peer: Address::loopback(17000),
        listen_admin: None,
        partitions: 12,
        replication_factor: 3,
        workers: 1,
        password: None,
        redirect: super::Redirect::Aware,
        select_profiles: BTreeMap::new(),
        hot_reads: 20_000,
        peer_secret: None,
        limits: Limits {
            max_clients: 10_000,
            bulk_bytes: 16 << 20,
            request_bytes: 32 << 20,
            output_buffer_bytes: 256 << 20,
            in_flight: 1024,
            idle_timeout: Duration::ZERO,
        },
        timing: Timing {
            election_timeout: Duration::from_millis(300),
            heartbeat: Duration::from_millis(60),
            request_timeout: Duration::from_secs(5),
        },
        storage: Storage { snapshot_log_bytes: 64 << 20, segment_bytes: 64 << 20 },
        tokens: Tokens { retention: Duration::from_secs(600), limit: 100_000 },
        hints: Hints { bytes: 64 << 20, window: Duration::from_secs(3 * 3600) },
        membership: Membership {
            replace_after: Duration::from_secs(300),
            moves_at_once: 1,
            move_bytes_per_second: 16 << 20,
        },
        development: super::Development::default(),
        log: "info".into(),
    }
}

/// Fills in what depends on other fields.
fn complete(draft: Draft) -> Config {
    let mut config = draft.config;
    if config.nodes.is_empty() {
        // A cluster of one, for trying out.
        let name = draft.node.clone().unwrap_or_else(|| "n1".into());
        let client = draft.listen_client.clone().unwrap_or_else(|| Address::loopback(7000));
        let peer = draft.listen_peer.clone().unwrap_or_else(|| Address::loopback(17000));
        config.nodes.push(NodeConfig { name, client, peer, zone: String::new(), weight: 1 });
    }
    config.nodes.sort_by(|one, other| one.name.cmp(&other.name));
    config.node = match draft.node {
        Some(name) => name,
        None if config.nodes.len() == 1 => config.nodes[0].name.clone(),
        None => String::new(),
    };
    config.replication_factor = draft.replication_factor.unwrap_or(config.nodes.len().min(3));
    if let Some(myself) = config.nodes.iter().find(|node| node.name == config.node) {
        config.listen_client = draft.listen_client.unwrap_or_else(|| myself.client.clone());
        config.listen_peer = draft.listen_peer.unwrap_or_else(|| myself.peer.clone());
    }
    config
}

fn read_file(text: &str, draft: &mut Draft, problems: &mut Vec<String>) {
    match text.parse::<toml::Table>() {
        Ok(table) => read_table("", &table, draft, problems),
        Err(error) => problems.push(format!("not TOML: {}", error.to_string().trim_end())),
    }
}

fn read_table(prefix: &str, table: &toml::Table, draft: &mut Draft, problems: &mut Vec<String>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let is_section =
            FIELDS.iter().any(|field| field.path.split_once('.').is_some_and(|(s, _)| s == path));
        match value {
            _ if path == "nodes" => draft.config.nodes = nodes::parse_table(value, problems),
            toml::Value::Table(inner) if is_section => read_table(&path, inner, draft, problems),
            _ if is_section => problems.push(format!("{path} is {value}; accepted: a section [{path}]")),
            toml::Value::String(text) => set_named(&path, text, &path, draft, problems),
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
                set_named(&path, &value.to_string(), &path, draft, problems);
            }
            _ => match find(&path) {
                Some(field) => problems.push(format!("{path} is {value}; accepted: {}", field.accepts)),
                None => problems.push(unknown(&path, &path)),
            },
        }
    }
}

fn read_environment(
    environment: &[(String, String)],
    draft: &mut Draft,
    problems: &mut Vec<String>,
    warnings: &mut Vec<String>,
) {
    for (name, value) in environment.iter().filter(|(name, _)| name.starts_with("CONSORT_")) {
        if name == "CONSORT_NODES" {
            set_named("nodes", value, name, draft, problems);
        } else if let Some(field) = FIELDS.iter().find(|field| field.environment() == *name) {
            set(field, value, name, draft, problems);
        } else if !OTHER_VARIABLES.contains(&name.as_str()) {
            // Not an error: container platforms put variables of their own beside ours (CONSORT_SERVICE_HOST).
            let names: Vec<String> = FIELDS.iter().map(Field::environment).collect();
            let near = nearest(name, names.iter().map(String::as_str)).unwrap_or("CONSORT_NAME");
            warnings.push(format!(
                "environment variable {name} is no field and was ignored; the nearest is {near}"
            ));
        }
    }
}

fn set_named(path: &str, value: &str, shown: &str, draft: &mut Draft, problems: &mut Vec<String>) {
    if path == "nodes" {
        match nodes::parse_line(value) {
            Some(nodes) => draft.config.nodes = nodes,
            None => problems.push(format!("{shown} is \"{value}\"; accepted: {}", nodes::ACCEPTS)),
        }
        return;
    }
    match find(path) {
        Some(field) => set(field, value, shown, draft, problems),
        None => problems.push(unknown(path, shown)),
    }
}

fn set(field: &Field, value: &str, shown: &str, draft: &mut Draft, problems: &mut Vec<String>) {
    if (field.set)(draft, value).is_none() {
        problems.push(format!("{shown} is \"{value}\"; accepted: {}", field.accepts));
    }
}

fn find(path: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.path == path)
}

fn unknown(path: &str, shown: &str) -> String {
    let paths = FIELDS.iter().map(|field| field.path).chain(["nodes"]);
    match nearest(path, paths) {
        Some(near) => format!("unknown field {shown}; did you mean {near}?"),
        None => format!("unknown field {shown}"),
    }
}

/// The candidate that needs the fewest edits to become `text`; without its section, if that is nearer.
pub(super) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    candidates.min_by_key(|candidate| {
        let whole = edit_distance(&text.to_ascii_lowercase(), &candidate.to_ascii_lowercase());
        whole.min(1 + edit_distance(&last(text), &last(candidate)))
    })
}

/// Levenshtein distance in bytes.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
