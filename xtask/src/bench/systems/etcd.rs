//! etcd: three members, as Debian's package `etcd-server` has it, with default timing.

use std::process::Command;

use super::super::children::{Nursery, free_ports, wait_until};
use super::super::keys::keys_of;
use super::super::wire::etcd::leads;
use super::{Route, System, Target, loopback, start_all};

const MEMBERS: usize = 3;
/// More than any run writes: etcd keeps all versions and stops at its quota.
const QUOTA_BYTES: u64 = 8 << 30;

/// Starts a cluster.
pub fn start(nursery: &Nursery, route: Route, keys: u32) -> Result<System, String> {
    let ports = free_ports(2 * MEMBERS)?;
    let (clients, peers) = ports.split_at(MEMBERS);
    let cluster: Vec<String> =
        peers.iter().enumerate().map(|(index, port)| format!("m{index}=http://127.0.0.1:{port}")).collect();
    let mut commands = Vec::new();
    for (index, (client, peer)) in clients.iter().zip(peers).enumerate() {
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{index}")]);
        command.arg("--data-dir").arg(nursery.folder(&format!("etcd-{index}"))?);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"]);
        command.args(["--quota-backend-bytes", &QUOTA_BYTES.to_string(), "--logger", "zap"]);
        command.args(["--log-level", "error"]);
        commands.push(command);
    }
    let mut servers = start_all(nursery, "etcd", &mut commands)?;
    let addresses: Vec<_> = clients.iter().map(|port| loopback(*port)).collect();
    let leader = wait_until("etcd", &mut servers, || {
        let leading: Result<Vec<bool>, String> = addresses.iter().map(|address| leads(*address)).collect();
        leading?.iter().position(|leads| *leads).ok_or_else(|| "no member leads".to_string())
    })?;
    let places = match route {
        Route::Leader => vec![addresses[leader]],
        Route::Any => addresses,
    };
    let targets = places.into_iter().map(|address| Target { address, keys: keys_of(keys, 1, |_| true) });
    Ok(System {
        name: "etcd",
        promise: "majority of 3 on disk, linearizable",
        servers,
        commands,
        rebuild: None,
        targets: targets.collect(),
        peer: None,
        etcd: true,
        waits_for: 0,
    })
}
