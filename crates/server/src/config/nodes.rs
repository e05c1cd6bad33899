//! The list of nodes, in its two spellings: `[[nodes]]` in the file, and one line for the environment and flags
//! (`n1=10.0.0.1:7000/10.0.0.1:17000, n2=...`: name, client address, peer address).

use super::{Address, NodeConfig};

/// What is accepted, for messages.
pub const ACCEPTS: &str = "name=client-address/peer-address for each node, separated by commas, such as \
     n1=10.0.0.1:7000/10.0.0.1:17000,n2=10.0.0.2:7000/10.0.0.2:17000";

const KEYS: [&str; 5] = ["name", "client", "peer", "zone", "weight"];

/// Reads the one-line spelling.
pub fn parse_line(text: &str) -> Option<Vec<NodeConfig>> {
    text.split(',').filter(|part| !part.trim().is_empty()).map(parse_one).collect()
}

fn parse_one(text: &str) -> Option<NodeConfig> {
    let (name, addresses) = text.split_once('=')?;
    let (client, peer) = addresses.split_once('/')?;
    Some(NodeConfig {
        name: name.trim().to_string(),
        client: Address::parse(client)?,
        peer: Address::parse(peer)?,
        zone: String::new(),
        weight: 1,
    })
}

/// Reads `[[nodes]]`; each message names the entry, the field, the value and what is accepted.
pub fn parse_table(value: &toml::Value, problems: &mut Vec<String>) -> Vec<NodeConfig> {
    let Some(entries) = value.as_array() else {
        match value.as_str().and_then(parse_line) {
            Some(nodes) => return nodes,
            None => problems.push(format!("nodes is {value}; accepted: [[nodes]] tables, or {ACCEPTS}")),
        }
        return Vec::new();
    };
    entries.iter().enumerate().filter_map(|(index, entry)| parse_entry(index + 1, entry, problems)).collect()
}

fn parse_entry(number: usize, entry: &toml::Value, problems: &mut Vec<String>) -> Option<NodeConfig> {
    let Some(table) = entry.as_table() else {
        problems.push(format!(
            "entry {number} of nodes is {entry}; accepted: a table with name, client and peer"
        ));
        return None;
    };
    for key in table.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        let nearest = super::load::nearest(key, KEYS.into_iter()).unwrap_or("name");
        problems.push(format!("entry {number} of nodes has an unknown field {key}; did you mean {nearest}?"));
    }
    let mut text = |key: &str, accepts: &str| match table.get(key) {
        Some(toml::Value::String(text)) => Some(text.clone()),
        Some(other) => {
            problems.push(format!("{key} of entry {number} of nodes is {other}; accepted: {accepts}"));
            None
        }
        None => {
            problems.push(format!("entry {number} of nodes has no {key}; accepted: {accepts}"));
            None
        }
    };
    let address = "an address such as \"10.0.0.1:7000\"";
    let (name, client, peer) =
        (text("name", "a name such as \"n1\""), text("client", address), text("peer", address));
    let mut parse = |key: &str, text: Option<String>| {
        let text = text?;
        let parsed = Address::parse(&text);
        if parsed.is_none() {
            problems.push(format!("{key} of entry {number} of nodes is \"{text}\"; accepted: {address}"));
        }
        parsed
    };
    let (client, peer) = (parse("client", client), parse("peer", peer));
    let zone = match table.get("zone") {
        None => String::new(),
        Some(toml::Value::String(text)) if is_zone(text) => text.clone(),
        Some(other) => {
            problems.push(format!("zone of entry {number} of nodes is {other}; accepted: up to 64 letters, digits, '.', '_' or '-'"));
            return None;
        }
    };
    let weight = match table.get("weight") {
        None => 1,
        Some(toml::Value::Integer(weight)) if (0..=MOST_WEIGHT).contains(weight) => *weight as u32,
        Some(other) => {
            problems.push(format!(
                "weight of entry {number} of nodes is {other}; accepted: a number from 0 to {MOST_WEIGHT}"
            ));
            return None;
        }
    };
    Some(NodeConfig { name: name?, client: client?, peer: peer?, zone, weight })
}

/// The largest weight of a node.
pub const MOST_WEIGHT: i64 = 1000;

/// What a zone may be called.
pub fn is_zone(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
