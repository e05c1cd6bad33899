//! Takes connections in and hands them out evenly.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::clock::monotonic_ms;
use crate::config::Address;
use crate::node::{Node, Workers};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long accepting pauses when the system has no more file descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the counters are sampled.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
/// Samples between two looks for idle connections.
const SAMPLES_PER_SWEEP: u32 = 10;

/// Listens at an address.
///
/// # Errors
/// The address cannot be had; the text names it and the setting that it comes from.
pub async fn listen(address: &Address, setting: &str) -> Result<TcpListener, String> {
    let problem = |error: io::Error| format!("cannot listen at {address} ({setting}): {error}");
    let resolved = tokio::net::lookup_host((address.host.as_str(), address.port)).await.map_err(problem)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in resolved {
        match listen_at(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(problem(last))
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts clients and peers for as long as it is awaited.
pub async fn accept(node: &Arc<Node>, workers: &mut Workers, clients: &TcpListener, peers: &TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = clients.accept() => accepted.map(|(stream, peer)| take_client(node, workers, stream, peer)),
            accepted = peers.accept() => accepted.map(|(stream, _)| {
                match stream.into_std() {
                    Ok(stream) => workers.give_peer(stream),
                    Err(error) => tracing::warn!(%error, "a peer's connection was lost"),
                }
            }),
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "cannot accept");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn take_client(node: &Node, workers: &mut Workers, stream: TcpStream, peer: SocketAddr) {
    let context = &node.context;
    context.stats.connections_received.add(1);
    if context.clients.len() as u64 >= context.settings.max_clients.get() {
        context.stats.connections_rejected.add(1);
        let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
        return;
    }
    let prepared = stream.set_nodelay(true).and_then(|()| stream.local_addr());
    match prepared.and_then(|local| stream.into_std().map(|stream| (local, stream))) {
        Ok((local, stream)) => {
            let session = context.clients.register(peer, local, &context.users);
            workers.give_client(stream, session);
        }
        Err(error) => tracing::debug!(%error, "a client was gone before it was served"),
    }
}

/// How many samples are taken before it is looked again how keyspaces fare.
const SAMPLES_PER_LOOK: u32 = 5;

/// Samples the counters and closes idle connections, for as long as it is awaited.
pub async fn keep_house(node: &Arc<Node>) {
    let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for count in 0u32.. {
        ticks.tick().await;
        let now_ms = monotonic_ms();
        node.context.stats.sample(now_ms);
        if count % SAMPLES_PER_LOOK == 0 {
            node.context.happened.look(&node.context.cluster.state(), crate::clock::wall_clock_ms());
        }
        let timeout_ms = node.context.settings.idle_timeout_ms.get();
        if timeout_ms > 0 && count % SAMPLES_PER_SWEEP == 0 {
            for client in node.context.clients.all() {
                if now_ms.saturating_sub(client.last_ms()) > timeout_ms {
                    client.kill();
                }
            }
        }
    }
}
