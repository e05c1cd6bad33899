//! What people and monitoring look at, over HTTP, where `admin.listen` says: a page (`/`), what it shows (`/api/state`), metrics for
//! Prometheus (`/metrics`), and whether the node lives (`/health/live`) and serves (`/health/ready`).
//!
//! It has a thread of its own and looks at what `INFO` looks at, so that whoever asks too often slows nobody but himself. Nothing can be changed
//! through it.

use std::fmt::Write as _;
use std::net::TcpListener;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use replication::catalogue::{Answer, Answers, Catalogue, Fault, Side, explain};
use replication::histogram::Histogram;
use serde_json::{Value, json};

use crate::cluster::ClusterState;
use crate::command::Context;
use crate::command::explain::{here, present};
use crate::command::info::section;

/// The page: markup, style and script in one file, so that a browser asks once and nothing has to be built.
const PAGE: &str = include_str!("admin/page.html");

/// Listens, if the configuration says where; answers from a thread of its own until the process ends.
///
/// # Errors
/// The address cannot be listened on.
pub fn start(context: &Context) -> Result<(), String> {
    let Some(address) = context.config.listen_admin.clone() else { return Ok(()) };
    let fail = |error: std::io::Error| format!("admin.listen: cannot listen on {address}: {error}");
    let listener = TcpListener::bind((address.host.as_str(), address.port)).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    let context = context.clone();
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, router(context)).await
        })
    };
    let run = move || {
        if let Err(error) = serve() {
            tracing::error!(%error, "the admin port is closed");
        }
    };
    std::thread::Builder::new().name("admin".into()).spawn(run).map_err(fail)?;
    tracing::info!(address = %address, "admin page");
    Ok(())
}

fn router(context: Context) -> Router {
    Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/api/state", get(async |State(context): State<Context>| Json(state(&context))))
        .route("/metrics", get(async |State(context): State<Context>| metrics(&context)))
        .route("/health/live", get(async || "alive\n"))
        .route("/health/ready", get(async |State(context): State<Context>| ready(&context)))
        .with_state(context)
}

/// Does the node serve what it holds? Not before it has read the catalogue, and not while it sees no leader of something that it holds.
fn ready(context: &Context) -> Response {
    let state = context.cluster.state();
    if state.catalogue.is_none() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the catalogue is not known yet\n").into_response();
    }
    let without: Vec<u32> = state
        .partitions
        .iter()
        .flatten()
        .filter(|status| state.known_leader(status.partition).is_none())
        .map(|status| status.partition.0)
        .collect();
    match without.is_empty() {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, format!("partitions without a leader: {without:?}\n"))
            .into_response(),
    }
}

/// The numbers of `INFO`, and those of partitions and keyspaces with labels, as Prometheus reads them.
fn metrics(context: &Context) -> Response {
    let state = context.cluster.state();
    let mut out = String::new();
    for name in ["clients", "memory", "stats", "consort"] {
        let text = section(name, context, &state);
        for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if is_name && value.trim().parse::<f64>().is_ok_and(f64::is_finite) {
                let _ = writeln!(out, "# TYPE consort_{name} untyped\nconsort_{name} {}", value.trim());
            }
        }
    }
    let mut labels_of_times = Vec::new();
    let mut labelled = |name: &str, rows: Vec<(String, f64)>| {
        let _ = writeln!(out, "# TYPE consort_{name} gauge");
        for (labels, value) in rows {
            let _ = writeln!(out, "consort_{name}{{{labels}}} {value}");
        }
    };
    for (kind, is_write) in [("read", false), ("write", true)] {
        let taken = context.stats.live_times(is_write);
        for (quantile, share) in QUANTILES.into_iter().filter(|_| taken.count() > 0) {
            let seconds = taken.quantile(share).as_secs_f64();
            labels_of_times.push((format!("kind=\"{kind}\",quantile=\"{quantile}\""), seconds));
        }
    }
    labelled("command_seconds", labels_of_times);
    let statuses = || state.partitions.iter().flatten().chain(state.groups.values());
    type Number = fn(&replication::shard::PartitionStatus) -> f64;
    let numbers: [(&str, Number); 6] = [
        ("group_keys", |status| status.keys as f64),
        ("group_bytes", |status| status.bytes as f64),
        ("group_applied", |status| status.applied as f64),
        ("group_lag_entries", |status| status.lag.entries as f64),
        ("group_conflicts", |status| status.merged.map_or(0, |merged| merged.conflicts) as f64),
        ("group_leads", |status| f64::from(status.role == replication::contract::Role::Leader)),
    ];
    for (name, number) in numbers {
        let row = |status: &replication::shard::PartitionStatus| {
            let partition = status.partition;
            let (keyspace, group) = (partition.keyspace(), partition.0 & 0xffff);
            (format!("keyspace=\"{keyspace}\",group=\"{group}\""), number(status))
        };
        labelled(name, statuses().map(row).collect());
    }
    if let Some(catalogue) = &state.catalogue {
        let rows = |kind: &str| -> Vec<(String, f64)> {
            let faring = fares(catalogue, &state);
            let row = |(prefix, strategy, writes, reads): (String, &str, Answer, Answer)| {
                let answer = if kind == "writes" { writes } else { reads };
                let prefix = label(&prefix);
                (format!("prefix=\"{prefix}\",strategy=\"{strategy}\""), f64::from(answer as u8))
            };
            faring.into_iter().map(row).collect()
        };
        let mut staleness = Vec::new();
        for (prefix, keyspace) in &catalogue.keyspaces {
            let measured = state.staleness(keyspace.policy.number());
            let prefix = label(&String::from_utf8_lossy(prefix));
            for (quantile, share) in QUANTILES.into_iter().filter(|_| measured.count() > 0) {
                let labels = format!("prefix=\"{prefix}\",quantile=\"{quantile}\"");
                staleness.push((labels, measured.quantile(share).as_secs_f64()));
            }
        }
        labelled("keyspace_staleness_seconds", staleness);
        // 0 accepted, 1 after a failover, 2 possibly stale, 3 refused.
        labelled("keyspace_writes", rows("writes"));
        labelled("keyspace_reads", rows("reads"));
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], out).into_response()
}

/// The quantiles that are told, with their names.
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.99", 0.99), ("1", 1.0)];

/// As the value of a label is written.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Of each keyspace its prefix, its strategy, and what is said on this side to writes and reads at the worst.
fn fares<'a>(catalogue: &'a Catalogue, state: &ClusterState) -> Vec<(String, &'a str, Answer, Answer)> {
    let of = |(prefix, side): (&bytes::Bytes, Side)| {
        let strategy = catalogue.keyspaces[prefix].policy.strategy().name();
        let prefix = String::from_utf8_lossy(prefix).into_owned();
        Some((prefix, strategy, side.writes.worst()?, side.reads.worst()?))
    };
    here(catalogue, state).filter_map(of).collect()
}

/// What the page shows.
fn state(context: &Context) -> Value {
    let state = context.cluster.state();
    let (rates, stats) = (context.stats.rates(), &context.stats);
    let silent: std::collections::BTreeMap<_, _> = state.unreachable().collect();
    let control = context.config.development.control.as_ref().map(ToString::to_string);
    let Some(catalogue) = &state.catalogue else {
        return json!({ "node": context.config.node, "cluster": context.config.cluster, "ready": false, "control": control });
    };
    let mut members: Vec<_> = catalogue.members.iter().collect();
    members.sort_by_key(|(_, member)| &member.name);
    let nodes: Vec<Value> = members
        .into_iter()
        .map(|(id, member)| {
            let led = (0..state.partitions.len() as u32)
                .filter(|number| state.leader(replication::PartitionId(*number)) == Some(*id));
            json!({
                "name": member.name, "client": member.client, "zone": member.zone,
                "state": format!("{:?}", member.state).to_lowercase(),
                "here": *id == state.myself,
                "silent_ms": silent.get(id).map(|silent| silent.as_millis() as u64),
                "votes_on_catalogue": catalogue.voters.contains(id),
                "leads": led.count(),
            })
        })
        .collect();
    let name =
        |id: &replication::NodeId| catalogue.members.get(id).map_or("?", |member| member.name.as_str());
    let partitions: Vec<Value> = state
        .placement
        .in_order()
        .map(|(number, placed)| {
            json!({
                "number": number.0, "first": placed.first_slot, "last": placed.last_slot,
                "leader": state.known_leader(number).or_else(|| state.leader(number)).as_ref().map(name),
                "replicas": placed.replicas.iter().map(name).collect::<Vec<_>>(),
                "moving": !placed.moving_to.is_empty(),
                "readers": state.readers(number).collect::<Vec<_>>().iter().map(name).collect::<Vec<_>>(),
                "lag": state.status(number).map(|status| status.commit.saturating_sub(status.applied)),
            })
        })
        .collect();
    let (fault, fault_text) = present(catalogue, &state);
    let keyspaces: Vec<Value> = catalogue
        .keyspaces
        .iter()
        .filter_map(|(prefix, keyspace)| keyspace_of(&state, catalogue, &fault, prefix, keyspace))
        .collect();
    let events: Vec<Value> = context
        .happened
        .events()
        .into_iter()
        .take(12)
        .map(|event| json!({ "at_ms": event.at_ms, "what": event.text }))
        .collect();
    let hints: u64 = state.hints.values().flatten().map(|held| held.hints).sum();
    json!({
        "node": context.config.node, "cluster": context.config.cluster, "ready": true, "control": control,
        "epoch": catalogue.epoch, "fault": fault_text,
        "times": { "read": times(&stats.live_times(false)), "write": times(&stats.live_times(true)) },
        "rates": { "commands": rates.commands, "in": rates.bytes_in, "out": rates.bytes_out },
        "counters": {
            "clients": context.clients.len(), "commands": stats.commands.get(),
            "refused": stats.replies_refused.get(), "unknown": stats.replies_unknown.get(),
            "lost_writes": stats.lost_writes.get(), "leader_changes": stats.leader_changes.get(), "hints": hints,
        },
        "events": events, "nodes": nodes, "partitions": partitions, "keyspaces": keyspaces,
    })
}

/// A few numbers of many times, in milliseconds; null where none was taken.
fn times(taken: &Histogram) -> Value {
    let ms = |share: f64| taken.quantile(share).as_secs_f64() * 1000.0;
    match taken.count() {
        0 => Value::Null,
        count => json!({ "count": count, "p50": ms(0.5), "p99": ms(0.99), "max": ms(1.0) }),
    }
}

/// A failover that is to be may be over by now: what the page shows is what there is.
fn briefly(answers: &Answers) -> String {
    match answers.worst() {
        Some(Answer::Accepted | Answer::AcceptedAfterFailover) => Answer::Accepted.name().into(),
        _ => answers.text(),
    }
}

fn keyspace_of(
    state: &ClusterState,
    catalogue: &Catalogue,
    fault: &Fault,
    prefix: &bytes::Bytes,
    keyspace: &replication::catalogue::Keyspace,
) -> Option<Value> {
    let explained = explain(catalogue, prefix, fault)?;
    let side = explained.sides.first()?;
    let number = keyspace.policy.number();
    let groups =
        || state.groups.values().filter(|status| number != 0 && status.partition.keyspace() == number);
    let lag: u64 = groups().map(|status| status.lag.entries).sum();
    let conflicts: u64 = groups().filter_map(|status| status.merged).map(|merged| merged.conflicts).sum();
    Some(json!({
        "prefix": String::from_utf8_lossy(prefix), "strategy": keyspace.policy.strategy().name(),
        "pacelc": explained.pacelc, "writes": briefly(&side.writes), "reads": briefly(&side.reads),
        "levels": side.levels.iter().map(|(level, answers)| json!([level, answers.text()])).collect::<Vec<_>>(),
        "staleness": times(&state.staleness(number)),
        "why": side.why, "could_be_lost": explained.lost,
        "keys": groups().map(|status| status.keys).sum::<u64>(), "lag": lag, "conflicts": conflicts,
    }))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::Arc;

    use replication::catalogue::{Member, MemberState, Settings};
    use replication::{NodeId, Placement};

    use super::*;
    use crate::cluster::ClusterView;
    use crate::config::Address;
    use crate::testing::three_nodes;

    fn ask(address: &Address, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect((address.host.as_str(), address.port)).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("it takes requests");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let body = text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned());
        (status, body)
    }

    /// A cluster of three of which n3 has not been heard for a while, seen from n1.
    fn context(address: &Address) -> Context {
        let config = crate::config::Config { listen_admin: Some(address.clone()), ..three_nodes() };
        let placement = Arc::new(Placement::of_slots(2));
        let view = ClusterView::new(NodeId(1), Vec::new(), placement);
        Context::new(Arc::new(config), Arc::new(view), 7)
    }

    fn tell(context: &Context) {
        let member = |number: u64| Member {
            name: format!("n{number}"),
            client: String::new(),
            peer: String::new(),
            zone: String::new(),
            weight: 1,
            state: MemberState::Active,
            format: number,
        };
        let members = (1..=3).map(|number| (NodeId(number), member(number))).collect();
        let settings = Settings {
            replication_factor: 3,
            replace_after_ms: 0,
            moves_at_once: 1,
            move_bytes_per_second: 0,
        };
        let catalogue = Arc::new(Catalogue::genesis(members, 2, settings));
        let placement = Arc::new(catalogue.placement());
        context.cluster.set_catalogue(catalogue, placement, Vec::new());
        let silent = [2, 3].map(|number| (NodeId(number), std::time::Duration::from_millis(1234)));
        context.cluster.set_silent(0, silent.into());
    }

    #[test]
    fn the_page_metrics_and_health_are_answered() {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let address = Address::loopback(port);
        let context = context(&address);
        start(&context).expect("the port is free");
        assert!(start(&context).expect_err("it is taken now").starts_with("admin.listen: cannot listen on"));
        assert_eq!(ask(&address, "/health/live"), (200, "alive\n".into()));
        assert_eq!(ask(&address, "/health/ready").0, 503, "it does not know the catalogue");
        let (status, page) = ask(&address, "/");
        assert!(status == 200 && page.contains("<title>Consort</title>"));
        assert_eq!(ask(&address, "/nothing").0, 404);

        tell(&context);
        context.stats.took(true, std::time::Duration::from_micros(2100));
        assert_eq!(ask(&address, "/health/ready"), (200, "ready\n".into()));
        let (_, state) = ask(&address, "/api/state");
        let state: Value = serde_json::from_str(state.trim()).expect("it is JSON");
        assert_eq!(state["nodes"][2]["silent_ms"], 1234);
        assert_eq!(state["keyspaces"][0]["writes"], "refused");
        let (status, metrics) = ask(&address, "/metrics");
        assert_eq!(status, 200);
        for line in [
            "consort_command_seconds{kind=\"write\",quantile=\"0.99\"} 0.003071",
            "consort_write_p99_us 3071",
            "consort_unreachable_nodes 2",
            "consort_keyspace_writes{prefix=\"\",strategy=\"raft\"} 3",
        ] {
            assert!(metrics.contains(line), "{line} in {metrics}");
        }
        // The board shows nothing that is not there.
        let board: Value =
            serde_json::from_str(include_str!("../../../deploy/grafana/consort.json")).expect("it is JSON");
        let panels = board["panels"].as_array().expect("panels");
        let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
        for target in targets {
            let expression = target["expr"].as_str().expect("an expression");
            let from = &expression[expression.find("consort_").expect("it names a metric")..];
            let name: String =
                from.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
            assert!(metrics.contains(&format!("# TYPE {name} ")), "{expression}: no metric {name}");
        }
        let is_metric = |line: &str| {
            line.starts_with("consort_")
                && line.rsplit(' ').next().is_some_and(|value| value.parse::<f64>().is_ok())
        };
        assert!(metrics.lines().all(|line| line.starts_with("# TYPE ") || is_metric(line)), "{metrics}");
    }
}
