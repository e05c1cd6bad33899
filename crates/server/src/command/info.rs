//! `INFO`: sections of `name:value` lines, with the fields that clients and dashboards read from Redis, and a section
//! `consort` with what Redis does not have.

use std::fmt::{Display, Write as _};

use replication::PartitionId;
use replication::merged::hints::HintsStatus;
use replication::shard::{MergedStatus, PartitionStatus};

use super::cluster_texts::hexadecimal_id;
use super::connection::uptime_ms;
use super::process::{operating_system, process, total_memory};
use super::{Action, Call, Context, REDIS_VERSION, text};
use crate::cluster::ClusterState;
use crate::keyspaces::Report;

/// A section: its name in lower case, its title, and what writes its lines.
type Section = (&'static str, &'static str, fn(&mut Lines, &Context, &ClusterState));

const SECTIONS: &[Section] = &[
    ("server", "Server", server),
    ("clients", "Clients", clients),
    ("memory", "Memory", memory),
    ("persistence", "Persistence", persistence),
    ("stats", "Stats", stats),
    ("replication", "Replication", replication),
    ("cpu", "CPU", cpu),
    ("modules", "Modules", |_, _, _| {}),
    ("errorstats", "Errorstats", errorstats),
    ("cluster", "Cluster", cluster),
    ("keyspace", "Keyspace", keyspace),
    ("consort", "Consort", consort),
];

/// Lines being written.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.0, "{name}:{value}\r\n");
    }

    /// A number of bytes, and the same for people.
    fn add_bytes(&mut self, name: &str, bytes: u64) {
        self.add(name, bytes);
        self.add(&format!("{name}_human"), human_bytes(bytes));
    }
}

/// `1.50M`, as Redis writes it.
fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.2}{}", UNITS[unit])
}

pub(super) fn info(call: &mut Call<'_>) -> Action {
    let everything = |word: &str| matches!(word, "all" | "everything" | "default");
    let asked: Vec<String> =
        (1..call.arguments.len()).map(|index| call.text(index).to_ascii_lowercase()).collect();
    let wanted = |name: &str| {
        asked.is_empty() || asked.iter().any(|section| section == name || everything(section.as_str()))
    };
    let state = call.context.cluster.state();
    let mut lines = Lines(String::new());
    for (_, title, write) in SECTIONS.iter().filter(|(name, _, _)| wanted(name)) {
        if !lines.0.is_empty() {
            lines.0.push_str("\r\n");
        }
        let _ = write!(lines.0, "# {title}\r\n");
        write(&mut lines, call.context, &state);
    }
    text(lines.0).into()
}

/// The lines of one section, without its title.
pub(crate) fn section(name: &str, context: &Context, state: &ClusterState) -> String {
    let mut lines = Lines(String::new());
    for (_, _, write) in SECTIONS.iter().filter(|(known, ..)| *known == name) {
        write(&mut lines, context, state);
    }
    lines.0
}

fn server(lines: &mut Lines, context: &Context, state: &ClusterState) {
    let seconds = uptime_ms(context) / 1000;
    lines.add("redis_version", REDIS_VERSION);
    lines.add("redis_git_sha1", "00000000");
    lines.add("redis_git_dirty", 0);
    lines.add("redis_build_id", "0");
    lines.add("redis_mode", "cluster");
    lines.add("os", operating_system());
    lines.add("arch_bits", usize::BITS);
    lines.add("process_id", std::process::id());
    lines.add("process_supervised", "no");
    lines.add("run_id", format!("{:016x}{:024x}", context.incarnation, state.myself.0));
    lines.add("tcp_port", context.config.listen_client.port);
    lines.add("server_time_usec", crate::clock::wall_clock_ms() * 1000);
    lines.add("uptime_in_seconds", seconds);
    lines.add("uptime_in_days", seconds / 86_400);
    lines.add("hz", 10);
    lines.add("configured_hz", 10);
    lines.add("executable", std::env::current_exe().unwrap_or_default().display());
    lines.add("config_file", "");
    lines.add("io_threads_active", 0);
    lines.add("consort_version", env!("CARGO_PKG_VERSION"));
}

fn clients(lines: &mut Lines, context: &Context, state: &ClusterState) {
    let all = context.clients.all();
    let most = |bytes: &dyn Fn(&crate::clients::Client) -> usize| {
        all.iter().map(|client| bytes(client)).max().unwrap_or(0)
    };
    lines.add("connected_clients", all.len());
    lines.add("cluster_connections", state.nodes.iter().filter(|node| node.alive).count().saturating_sub(1));
    lines.add("maxclients", context.settings.max_clients.get());
    lines.add("client_recent_max_input_buffer", most(&|client| client.waiting_bytes().0));
    lines.add("client_recent_max_output_buffer", most(&|client| client.waiting_bytes().1));
    lines.add("blocked_clients", context.clients.blocked());
    lines.add("tracking_clients", 0);
    lines.add("clients_in_timeout_table", 0);
}

/// The allocator is not asked: `used_memory` is what the process has in memory.
fn memory(lines: &mut Lines, _: &Context, state: &ClusterState) {
    let process = process();
    let dataset: u64 = state.statuses().map(|status| status.bytes).sum();
    lines.add_bytes("used_memory", process.resident_bytes);
    lines.add_bytes("used_memory_rss", process.resident_bytes);
    lines.add_bytes("used_memory_peak", process.peak_bytes);
    lines.add("used_memory_overhead", process.resident_bytes.saturating_sub(dataset));
    lines.add("used_memory_dataset", dataset);
    lines.add_bytes("total_system_memory", total_memory());
    lines.add_bytes("maxmemory", 0);
    lines.add("maxmemory_policy", "noeviction");
    lines.add("mem_fragmentation_ratio", "1.00");
    lines.add("mem_allocator", "mimalloc");
}

/// Every acknowledged write is on disk: in Redis' words an append-only file with `appendfsync always`.
fn persistence(lines: &mut Lines, context: &Context, _: &ClusterState) {
    let full = context.stats.full_logs.get() != 0;
    lines.add("loading", 0);
    lines.add("async_loading", 0);
    lines.add("rdb_changes_since_last_save", 0);
    lines.add("rdb_bgsave_in_progress", 0);
    lines.add("rdb_last_save_time", context.started_ms / 1000);
    lines.add("rdb_last_bgsave_status", "ok");
    lines.add("aof_enabled", 1);
    lines.add("aof_rewrite_in_progress", 0);
    lines.add("aof_rewrite_scheduled", 0);
    lines.add("aof_last_bgrewrite_status", "ok");
    lines.add("aof_last_write_status", if full { "err" } else { "ok" });
}

fn stats(lines: &mut Lines, context: &Context, _: &ClusterState) {
    let stats = &context.stats;
    let rates = stats.rates();
    lines.add("total_connections_received", stats.connections_received.get());
    lines.add("total_commands_processed", stats.commands.get());
    lines.add("instantaneous_ops_per_sec", rates.commands);
    lines.add("total_net_input_bytes", stats.client_bytes_in.get());
    lines.add("total_net_output_bytes", stats.client_bytes_out.get());
    lines.add("instantaneous_input_kbps", format!("{:.2}", rates.bytes_in as f64 / 1024.0));
    lines.add("instantaneous_output_kbps", format!("{:.2}", rates.bytes_out as f64 / 1024.0));
    lines.add("rejected_connections", stats.connections_rejected.get());
    lines.add("client_output_buffer_limit_disconnections", stats.output_buffer_disconnections.get());
    lines.add("total_error_replies", stats.errors().values().sum::<u64>());
    lines.add("evicted_keys", 0);
    lines.add("pubsub_channels", 0);
    lines.add("pubsub_patterns", 0);
    lines.add("latest_fork_usec", 0);
}

/// Each node leads some partitions and so calls itself a master; the other nodes are its replicas.
fn replication(lines: &mut Lines, _: &Context, state: &ClusterState) {
    let offset: u64 = state.statuses().map(|status| status.applied).sum();
    let peers: Vec<_> = state.nodes.iter().filter(|node| node.alive && node.id != state.myself).collect();
    lines.add("role", "master");
    lines.add("connected_slaves", peers.len());
    for (number, node) in peers.iter().enumerate() {
        let (ip, port) = (&node.client.host, node.client.port);
        let row = format!("ip={ip},port={port},state=online,offset={offset},lag=0");
        lines.add(&format!("slave{number}"), row);
    }
    lines.add("master_failover_state", "no-failover");
    lines.add("master_replid", hexadecimal_id(state.myself));
    lines.add("master_replid2", "0".repeat(40));
    lines.add("master_repl_offset", offset);
    lines.add("second_repl_offset", -1);
    lines.add("repl_backlog_active", 0);
}

fn cpu(lines: &mut Lines, _: &Context, _: &ClusterState) {
    let process = process();
    lines.add("used_cpu_sys", format!("{:.6}", process.system_seconds));
    lines.add("used_cpu_user", format!("{:.6}", process.user_seconds));
    lines.add("used_cpu_sys_children", "0.000000");
    lines.add("used_cpu_user_children", "0.000000");
}

fn errorstats(lines: &mut Lines, context: &Context, _: &ClusterState) {
    for (prefix, count) in context.stats.errors() {
        lines.add(&format!("errorstat_{prefix}"), format!("count={count}"));
    }
}

fn cluster(lines: &mut Lines, _: &Context, _: &ClusterState) {
    lines.add("cluster_enabled", 1);
}

/// What this node holds, as leader or follower.
fn keyspace(lines: &mut Lines, _: &Context, state: &ClusterState) {
    let (keys, expires) = state
        .statuses()
        .fold((0, 0), |(keys, expires), status| (keys + status.keys, expires + status.expiring));
    if keys > 0 {
        lines.add("db0", format!("keys={keys},expires={expires},avg_ttl=0"));
    }
}

fn consort(lines: &mut Lines, context: &Context, state: &ClusterState) {
    let (config, stats) = (&context.config, &context.stats);
    lines.add("version", env!("CARGO_PKG_VERSION"));
    lines.add("cluster_name", &config.cluster);
    lines.add("node_name", &config.node);
    lines.add("node_id", format!("{:016x}", state.myself.0));
    lines.add("partitions", state.placement.partitions.len());
    lines.add("partitions_held", state.statuses().count());
    lines.add("partitions_led", state.led().count());
    lines.add("partitions_without_leader", state.statuses().filter(|status| status.leader.is_none()).count());
    lines.add("digest_mismatches", state.statuses().map(|status| status.digest_mismatches).sum::<u64>());
    lines.add("tokens_remembered", state.statuses().map(|status| status.tokens).sum::<u64>());
    lines.add("tokens_retention_ms", config.tokens.retention.as_millis());
    lines.add("tokens_limit_per_partition", config.tokens.limit);
    lines.add("replies_unknown", stats.replies_unknown.get());
    lines.add("replies_refused", stats.replies_refused.get());
    lines.add("protocol_errors", stats.protocol_errors.get());
    lines.add("fsyncs", stats.fsyncs.get());
    lines.add("fsync_batches", stats.batches.get());
    lines.add("fsync_max_us", stats.fsync_max_us.get());
    lines.add("log_bytes_written", stats.log_bytes.get());
    lines.add("disk_full", u64::from(stats.full_logs.get() != 0));
    lines.add("goes_by_last_known", stats.goes_by_last_known.get());
    lines.add("snapshots_taken", stats.snapshots_taken.get());
    lines.add("partitions_split", stats.splits.get());
    lines.add("writes_lost", stats.lost_writes.get());
    lines.add("snapshots_sent", stats.snapshots_sent.get());
    lines.add("snapshots_installed", stats.snapshots_installed.get());
    lines.add("leader_changes", stats.leader_changes.get());
    lines.add("hedged_reads", stats.hedged_reads.get());
    lines.add("reads_taken_elsewhere", stats.reads_taken_elsewhere.get());
    lines
        .add("read_copies", state.placement.readers.values().flatten().filter(|reader| reader.ready).count());
    for (name, is_write) in [("read", false), ("write", true)] {
        let times = stats.live_times(is_write);
        for (quantile, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            lines.add(&format!("{name}_{quantile}_us"), times.quantile(share).as_micros());
        }
    }
    lines.add("peer_connects", stats.peer_connects.get());
    lines.add("peer_drops", stats.peer_drops.get());
    lines.add("peer_bytes_in", stats.peer_bytes_in.get());
    lines.add("peer_bytes_out", stats.peer_bytes_out.get());
    let hints = || state.hints.values().flatten();
    lines.add("hints", hints().map(|held| held.hints).sum::<u64>());
    lines.add("hints_bytes", hints().map(|held| held.bytes).sum::<u64>());
    let faring = super::explain::faring(state);
    lines.add("unreachable_nodes", state.unreachable().count());
    lines.add("keyspaces_unaffected", faring.unaffected);
    lines.add("keyspaces_possibly_stale", faring.stale);
    lines.add("keyspaces_refusing", faring.refusing);
    for node in state.nodes.iter().filter(|node| node.id != state.myself) {
        let alive = u8::from(node.alive);
        let row = format!("id={:016x},address={},alive={alive}", node.id.0, node.peer);
        lines.add(&format!("peer_{}", node.name), row);
    }
    for number in 0..state.placement.partitions.len() {
        partition(lines, state, PartitionId(number as u32));
    }
    for report in crate::keyspaces::reports(state) {
        own_groups(lines, &report);
    }
    for status in state.groups.values() {
        if let Some(merged) = &status.merged {
            primaries(lines, state, status, merged);
        }
    }
    for held in state.hints.values().flatten() {
        hints_held(lines, state, held);
    }
}

/// What this node holds for replicas of a group that cannot be reached.
fn hints_held(lines: &mut Lines, state: &ClusterState, held: &HintsStatus) {
    let number = held.group.keyspace();
    let row = format!(
        "prefix={},hints={},bytes={},limit={},oldest_ms={},handed_over={},refused={}",
        prefix_of(state, number),
        held.hints,
        held.bytes,
        held.limit,
        held.oldest_ms,
        held.handed_over,
        held.refused,
    );
    lines.add(&format!("hints_keyspace{number}_group{}", held.group.0 & 0xffff), row);
}

/// The prefix of the keyspace with that number.
fn prefix_of(state: &ClusterState, number: u16) -> String {
    let prefix = state.placement.prefixes.iter().find(|(_, of)| **of == number).map(|(prefix, _)| prefix);
    String::from_utf8_lossy(prefix.map_or(&[][..], |prefix| &prefix[..])).escape_debug().to_string()
}

/// A keyspace whose replicas all take writes, as the replica here sees it.
fn primaries(lines: &mut Lines, state: &ClusterState, status: &PartitionStatus, merged: &MergedStatus) {
    let number = status.partition.keyspace();
    let row = format!(
        "prefix={},strategy={},serves={},origin={},others={},away={},keys={},bytes={},applied={},not_everywhere={},\
         kept={},kept_bytes={},held={},repairs={},conflicts={},mismatches={},rounds={},read_repairs={},stand_ins={}",
        prefix_of(state, number),
        if merged.leaderless { "leaderless" } else { "multi-primary" },
        u8::from(status.leader.is_some()),
        merged.origin,
        merged.others,
        merged.away,
        status.keys,
        status.bytes,
        status.applied,
        merged.not_everywhere,
        merged.kept,
        merged.kept_bytes,
        merged.held,
        merged.repairs,
        merged.conflicts,
        status.digest_mismatches,
        merged.rounds,
        merged.read_repairs,
        merged.stand_ins,
    );
    // A leaderless keyspace has a group for each range of slots.
    match merged.leaderless {
        true => lines.add(&format!("keyspace{number}_group{}", status.partition.0 & 0xffff), row),
        false => lines.add(&format!("keyspace{number}"), row),
    }
}

fn own_groups(lines: &mut Lines, report: &Report) {
    let (records, bytes, ms) = report.worst_loss();
    let row = format!(
        "prefix={},ack={},groups_led={},in_sync_at_least={},lag_records={},lag_bytes={},lag_ms={},\
         worst_loss_records={records},worst_loss_bytes={bytes},worst_loss_ms={ms},zones={}",
        String::from_utf8_lossy(&report.prefix).escape_debug(),
        super::keyspace::spelled(report.acknowledgement).replace(' ', "-"),
        report.groups_led,
        report.in_sync_at_least,
        report.lag_records,
        report.lag_bytes,
        report.lag_ms,
        report.zones.join("+"),
    );
    lines.add(&format!("keyspace{}", report.number), row);
}

fn partition(lines: &mut Lines, state: &ClusterState, partition: PartitionId) {
    let Some(status) = state.status(partition) else { return };
    let leader = status.leader.map(|id| match state.node(id) {
        Some(node) => node.name.clone(),
        None => format!("{:016x}", id.0),
    });
    let row = format!(
        "role={},leader={},term={},commit={},applied={},last={},log_start={},keys={},bytes={},tokens={},\
         mismatches={},quiet={}",
        super::consort::role_name(status.role),
        leader.as_deref().unwrap_or("none"),
        status.term,
        status.commit,
        status.applied,
        status.last_index,
        status.log_start,
        status.keys,
        status.bytes,
        status.tokens,
        status.digest_mismatches,
        u8::from(status.quiet),
    );
    lines.add(&format!("partition{}", partition.0), row);
}
