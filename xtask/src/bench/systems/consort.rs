//! Consort: three nodes with default settings, started as an operator would: a configuration file each, `--bootstrap`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use data::slot::SLOTS;
use resp::Value;

use super::super::children::{Nursery, Server, free_ports, wait_until};
use super::super::keys::keys_of;
use super::super::wire::resp::Client;
use super::{Route, System, Target, loopback, start_all};

const NODES: usize = 3;

/// Starts a cluster from the binary at `program`, with these lines in the configuration of each node.
pub fn start(
    nursery: &Nursery,
    name: &'static str,
    program: &Path,
    route: Route,
    keys: u32,
    settings: &str,
) -> Result<System, String> {
    let ports = free_ports(2 * NODES)?;
    let (clients, peers) = ports.split_at(NODES);
    let nodes: String = (0..NODES)
        .map(|index| {
            let (client, peer) = (clients[index], peers[index]);
            format!(
                "\n[[nodes]]\nname = \"n{index}\"\nclient = \"127.0.0.1:{client}\"\npeer = \"127.0.0.1:{peer}\"\n"
            )
        })
        .collect();
    let (mut commands, mut rebuild) = (Vec::new(), None);
    for index in 0..NODES {
        let folder = nursery.folder(&format!("{name}-{index}"))?;
        let file = folder.join("consort.toml");
        let data = folder.join("data");
        let text = format!(
            "cluster = \"bench\"\nname = \"n{index}\"\ndata = {data:?}\nlog = \"warn\"\n{settings}{nodes}"
        );
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        commands.push(server(program, &file, "--bootstrap"));
        rebuild = Some(server(program, &file, "--rebuild"));
    }
    let mut servers = start_all(nursery, name, &mut commands)?;
    let addresses: Vec<_> = clients.iter().map(|port| loopback(*port)).collect();
    let mut known = (owners(&addresses).unwrap_or_default(), Instant::now());
    let owners = wait_until(name, &mut servers, || settled(&addresses, &mut known))?;
    Ok(System {
        name,
        promise: "majority of 3 on disk, linearizable",
        servers,
        commands,
        rebuild,
        targets: targets(&addresses, &owners, route, keys),
        peer: Some(loopback(peers[0])),
        etcd: false,
        waits_for: 0,
    })
}

/// Puts all keys of the loads into a `primary-replica` keyspace, and waits until every group of it takes writes.
pub fn make_keyspace(addresses: &[SocketAddr], options: &[&str]) -> Result<(), String> {
    let mut client = Client::connect(addresses[0])?;
    let mut command = vec!["KEYSPACE", "CREATE", "bench:", "STRATEGY"];
    command.extend_from_slice(options);
    client.call(&command)?;
    let begun = Instant::now();
    loop {
        let keys = (0..300).map(|number| format!("bench:probe{number}"));
        let commands: Vec<Vec<String>> =
            keys.map(|key| vec!["SET".to_owned(), key, "1".to_owned()]).collect();
        if client.pipeline(&commands)?.iter().all(|reply| *reply == Value::OK) {
            // The nodes that are meant to lead have taken over by then.
            std::thread::sleep(Duration::from_secs(3));
            return Ok(());
        }
        if begun.elapsed() > Duration::from_secs(30) {
            return Err("the keyspace takes no writes".into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Starts a node that joins through the one at `peer`.
pub fn join(
    nursery: &Nursery,
    name: &str,
    program: &Path,
    index: usize,
    peer: SocketAddr,
) -> Result<Server, String> {
    let name = format!("{name}-new-{index}");
    let (ports, folder) = (free_ports(2)?, nursery.folder(&name)?);
    let (client, own_peer, data) = (ports[0], ports[1], folder.join("data"));
    let file = folder.join("consort.toml");
    let text = format!(
        "cluster = \"bench\"\nname = \"new{index}\"\ndata = {data:?}\nlog = \"warn\"\n\
         [listen]\nclient = \"127.0.0.1:{client}\"\npeer = \"127.0.0.1:{own_peer}\"\n"
    );
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut command = server(program, &file, "--join");
    command.arg(peer.to_string());
    nursery.start(&name, &mut command)
}

fn server(program: &Path, file: &Path, start: &str) -> Command {
    let mut command = Command::new(program);
    // What is measured is the default: settings of the shell that runs the measurement stay out of it.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CONSORT_")) {
        command.env_remove(name);
    }
    command.arg("server").arg("--config").arg(file).arg(start);
    command
}

fn targets(
    addresses: &[SocketAddr],
    owners: &BTreeMap<u16, SocketAddr>,
    route: Route,
    keys: u32,
) -> Vec<Target> {
    let owned = |address: SocketAddr| move |slot: u16| owners.get(&slot) == Some(&address);
    addresses
        .iter()
        .zip(1..)
        .map(|(address, seed)| match route {
            Route::Leader => Target { address: *address, keys: keys_of(keys, seed, owned(*address)) },
            Route::Any => Target { address: *address, keys: keys_of(keys, seed, |_| true) },
        })
        .filter(|target| !target.keys.is_empty())
        .collect()
}

/// Who leads each slot, once that has not changed for a while. Whoever was up first leads at the beginning; the nodes that
/// are meant to lead get their partitions some seconds later, and until then half of all requests would be forwarded.
fn settled(
    addresses: &[SocketAddr],
    known: &mut (BTreeMap<u16, SocketAddr>, Instant),
) -> Result<BTreeMap<u16, SocketAddr>, String> {
    const STILL: Duration = Duration::from_secs(6);
    let now = owners(addresses)?;
    if now != known.0 {
        *known = (now, Instant::now());
    }
    if known.1.elapsed() < STILL {
        return Err("leadership is still moving to where it belongs".into());
    }
    Ok(known.0.clone())
}

/// Who leads each slot, once all nodes say the same and every slot takes a write.
fn owners(addresses: &[SocketAddr]) -> Result<BTreeMap<u16, SocketAddr>, String> {
    let mut views = Vec::new();
    for address in addresses {
        let mut client = Client::connect(*address)?;
        let info = client.call(&["CLUSTER", "INFO"])?;
        if !format!("{info:?}").contains("cluster_state:ok") {
            return Err(format!("{address}: {info:?}"));
        }
        views.push(slots(&client.call(&["CLUSTER", "SLOTS"])?)?);
    }
    let view = views.swap_remove(0);
    if view.len() != usize::from(SLOTS) || views.iter().any(|other| *other != view) {
        return Err("the nodes do not agree yet on who leads what".into());
    }
    Ok(view)
}

/// `CLUSTER SLOTS`: a list of first slot, last slot, the leader's host and port and id, then the replicas.
fn slots(reply: &Value) -> Result<BTreeMap<u16, SocketAddr>, String> {
    let range = |value: &Value| {
        let Value::Array(fields) = value else { return None };
        let (Value::Integer(first), Value::Integer(last)) = (fields.first()?, fields.get(1)?) else {
            return None;
        };
        let Value::Array(leader) = fields.get(2)? else { return None };
        let Value::Integer(port) = leader.get(1)? else { return None };
        Some((u16::try_from(*first).ok()?..=u16::try_from(*last).ok()?, loopback(u16::try_from(*port).ok()?)))
    };
    let Value::Array(entries) = reply else { return Err(format!("CLUSTER SLOTS: {reply:?}")) };
    let ranges: Option<Vec<_>> = entries.iter().map(range).collect();
    let ranges = ranges.ok_or_else(|| format!("CLUSTER SLOTS: {reply:?}"))?;
    Ok(ranges.into_iter().flat_map(|(slots, leader)| slots.map(move |slot| (slot, leader))).collect())
}
