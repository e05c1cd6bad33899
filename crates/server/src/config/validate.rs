//! Fields that must agree: each message names the fields that do not, with the arithmetic and with what would.

use super::units::{format_bytes, format_duration};
use super::{Config, load};

/// Collects what is wrong and what is probably not meant.
pub fn validate(config: &Config, problems: &mut Vec<String>, warnings: &mut Vec<String>) {
    nodes(config, problems);
    copies(config, problems, warnings);
    timing(config, problems, warnings);
    limits(config, problems);
}

fn nodes(config: &Config, problems: &mut Vec<String>) {
    let names: Vec<&str> = config.nodes.iter().map(|node| node.name.as_str()).collect();
    if config.node.is_empty() {
        problems.push(format!(
            "name is not set; accepted: one of the names under [[nodes]]: {}",
            names.join(", ")
        ));
    } else if !names.contains(&config.node.as_str()) {
        let near = load::nearest(&config.node, names.iter().copied()).unwrap_or_default();
        problems.push(format!(
            "name is \"{}\"; accepted: one of the names under [[nodes]]: {} (the nearest is {near})",
            config.node,
            names.join(", ")
        ));
    }
    for (index, name) in names.iter().enumerate() {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(allowed) {
            problems.push(format!(
                "name of a node is \"{name}\"; accepted: 1 to 64 letters, digits, '.', '_' or '-'"
            ));
        }
        if names[..index].contains(name) {
            problems.push(format!("two entries of nodes have the name {name}; each needs its own"));
        }
    }
    let mut addresses = Vec::new();
    for node in &config.nodes {
        for (what, address) in [("client", &node.client), ("peer", &node.peer)] {
            if let Some((other, _)) = addresses.iter().find(|(_, seen)| *seen == address) {
                problems.push(format!(
                    "{what} of node {} is {address}, which is also {other}; each needs its own",
                    node.name
                ));
            }
            addresses.push((format!("{what} of node {}", node.name), address));
        }
    }
    if config.listen_client == config.listen_peer {
        problems.push(format!(
            "listen.client and listen.peer are both {}; each needs its own",
            config.listen_client
        ));
    }
}

fn copies(config: &Config, problems: &mut Vec<String>, warnings: &mut Vec<String>) {
    let (factor, nodes) = (config.replication_factor, config.nodes.len());
    if factor > nodes {
        problems.push(format!(
            "replication_factor is {factor}, but [[nodes]] has {nodes} entries; accepted: 1 to {nodes}, or more nodes"
        ));
    } else if factor % 2 == 0 {
        warnings.push(format!(
            "replication_factor is {factor}: a majority is {}, so {} nodes may fail, no more than with {}",
            factor / 2 + 1,
            factor - (factor / 2 + 1),
            factor - 1
        ));
    }
    if config.workers > config.partitions as usize {
        problems.push(format!(
            "workers is {}, but partitions is {}; accepted: workers from 1 to {}, since each needs a partition to own",
            config.workers, config.partitions, config.partitions
        ));
    }
}

fn timing(config: &Config, problems: &mut Vec<String>, warnings: &mut Vec<String>) {
    let (election, heartbeat) = (config.timing.election_timeout, config.timing.heartbeat);
    if election < heartbeat * 3 {
        problems.push(format!(
            "timing.election_timeout is {} and timing.heartbeat is {}; accepted: an election timeout of at least 3 \
             heartbeats, that is {} or more, or a heartbeat of {} or less",
            format_duration(election),
            format_duration(heartbeat),
            format_duration(heartbeat * 3),
            format_duration(election / 3),
        ));
    }
    if config.timing.request_timeout < election * 2 {
        warnings.push(format!(
            "timing.request_timeout is {}, less than 2 x timing.election_timeout = {}: commands give up during an \
             election that would have ended in time",
            format_duration(config.timing.request_timeout),
            format_duration(election * 2),
        ));
    }
}

fn limits(config: &Config, problems: &mut Vec<String>) {
    let limits = &config.limits;
    let least = limits.bulk_bytes + (64 << 10);
    if limits.request_bytes < least {
        problems.push(format!(
            "limits.request_bytes is {} and limits.bulk_bytes is {}; accepted: request_bytes of at least bulk_bytes + \
             64KiB, that is {}",
            format_bytes(limits.request_bytes as u64),
            format_bytes(limits.bulk_bytes as u64),
            format_bytes(least as u64),
        ));
    }
    if limits.output_buffer_bytes < limits.bulk_bytes {
        problems.push(format!(
            "limits.output_buffer_bytes is {} and limits.bulk_bytes is {}; accepted: output_buffer_bytes of at least \
             bulk_bytes, or the longest value could not be read",
            format_bytes(limits.output_buffer_bytes as u64),
            format_bytes(limits.bulk_bytes as u64),
        ));
    }
}
