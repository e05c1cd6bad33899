//! The limit: our own bare server (see [`super::super::limit`]) with its two followers.

use std::env;
use std::process::Command;

use super::super::children::{Nursery, free_ports, wait_until};
use super::super::keys::keys_of;
use super::super::wire::resp::Client;
use super::{System, Target, loopback, start_all};

/// Starts a leader and two followers.
pub fn start(nursery: &Nursery, keys: u32) -> Result<System, String> {
    let program = env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let ports = free_ports(3)?;
    let folder = nursery.folder("limit")?;
    let mut commands: Vec<Command> = Vec::new();
    for (index, port) in ports.iter().enumerate().rev() {
        let mut command = Command::new(&program);
        command.args(["bench-limit", "--port", &port.to_string()]);
        command.arg("--log").arg(folder.join(format!("log-{index}")));
        if index == 0 {
            command.args(["--followers", &format!("{},{}", ports[1], ports[2])]);
        }
        commands.push(command);
    }
    let mut servers = start_all(nursery, "limit", &mut commands)?;
    let address = loopback(ports[0]);
    wait_until("limit", &mut servers, || Client::connect(address)?.call(&["SET", "ready", "yes"]))?;
    Ok(System {
        name: "limit",
        promise: "majority of 3 on disk, nothing else",
        servers,
        commands,
        rebuild: None,
        targets: vec![Target { address, keys: keys_of(keys, 1, |_| true) }],
        peer: None,
        etcd: false,
        waits_for: 0,
    })
}
