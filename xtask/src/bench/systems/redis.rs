//! Redis with its append-only file, synced before it answers or each second, with or without replicas.

use std::process::Command;

use super::super::children::{Nursery, free_ports, wait_until};
use super::super::keys::keys_of;
use super::super::wire::resp::Client;
use super::{System, Target, loopback, start_all};

/// Starts a primary with that many replicas, all of which sync their files so (`appendfsync`).
pub fn start(
    nursery: &Nursery,
    name: &'static str,
    keys: u32,
    replicas: usize,
    sync: &str,
) -> Result<System, String> {
    let ports = free_ports(replicas + 1)?;
    let mut commands = Vec::new();
    for port in &ports {
        let folder = nursery.folder(&format!("{name}-{port}"))?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", sync, "--auto-aof-rewrite-percentage", "0"]);
        command.arg("--dir").arg(folder);
        if *port != ports[0] {
            command.args(["--replicaof", "127.0.0.1", &ports[0].to_string()]);
        }
        commands.push(command);
    }
    let mut servers = start_all(nursery, name, &mut commands)?;
    let primary = loopback(ports[0]);
    wait_until(name, &mut servers, || {
        let reply = Client::connect(primary)?.call(&["WAIT", &replicas.to_string(), "100"])?;
        let following = resp::Value::Integer(replicas as i64);
        if reply == following { Ok(()) } else { Err(format!("{reply:?} replicas of {replicas}")) }
    })?;
    Ok(System {
        name,
        promise: "one copy on disk",
        servers,
        commands,
        rebuild: None,
        targets: vec![Target { address: primary, keys: keys_of(keys, 1, |_| true) }],
        peer: None,
        etcd: false,
        waits_for: 0,
    })
}
