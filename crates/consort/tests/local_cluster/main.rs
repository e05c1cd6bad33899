//! `consort dev` as a user meets it: real processes, real sockets, kill -9.
#![allow(clippy::disallowed_methods)]

mod harness;

use harness::{Dev, Folder, Listed, ask, eventually, free_base_port, signal};

/// The reply to a write or read that must succeed in the end, elections included.
fn insist(port: u16, command: &[&str], expected: &str) {
    eventually(&format!("{command:?} at {port} is answered with {expected}"), || {
        ask(port, command).is_some_and(|reply| reply == expected)
    });
}

#[test]
fn kill_a_node_restart_it_stop_all_and_go_on_with_the_data() {
    let folder = Folder::new("dev");
    let base = free_base_port(3);
    let ports = [base + 1, base + 2, base + 3];

    let dev = Dev::start(&folder, base, 3);
    let nodes = dev.wait_until_ready();
    assert_eq!(nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["n1", "n2", "n3"]);
    for (node, port) in nodes.iter().zip(ports) {
        assert_eq!(node.client, format!("127.0.0.1:{port}"));
        insist(port, &["SET", &format!("from-{port}"), "1"], "+OK");
    }
    for port in ports {
        for writer in ports {
            insist(port, &["GET", &format!("from-{writer}")], "$1");
        }
        assert!(ask(port, &["INFO", "cluster"]).is_some_and(|info| info.contains("cluster_enabled:1")));
    }

    signal("-KILL", nodes[1].pid.expect("it runs"));
    eventually("the killed node is gone", || ask(ports[1], &["PING"]).is_none());
    for number in 0..20 {
        insist(ports[0], &["SET", &format!("while-down-{number}"), "2"], "+OK");
    }

    let restarted = Listed::restart(&nodes[1]);
    eventually("nodes.json names the new process", || {
        dev.nodes().is_some_and(|nodes| nodes[1].pid == Some(restarted.id()))
    });
    for number in 0..20 {
        insist(ports[1], &["GET", &format!("while-down-{number}")], "$2");
    }

    assert_eq!(dev.stop(), Some(0), "Ctrl-C ends with 0");
    for port in [ports[0], ports[2]] {
        assert_eq!(ask(port, &["PING"]), None, "children are gone");
    }
    assert_eq!(ask(ports[1], &["PING"]).as_deref(), Some("+PONG"), "what is no child goes on");
    assert_eq!(restarted.stop(), Some(0));

    let dev = Dev::start(&folder, base, 3);
    dev.wait_until_ready();
    insist(ports[2], &["GET", "while-down-0"], "$2");
    dev.kill();
    eventually("no child survives its parent", || ports.iter().all(|port| ask(*port, &["PING"]).is_none()));
}

#[test]
fn a_cluster_of_one_and_ctl() {
    let folder = Folder::new("one");
    let base = free_base_port(1);
    let dev = Dev::start(&folder, base, 1);
    let nodes = dev.wait_until_ready();
    insist(base + 1, &["SET", "a", "1", "EX", "1000"], "+OK");
    let keyspace = ask(base + 1, &["INFO", "keyspace"]).expect("answers");
    assert!(keyspace.contains("db0:keys=1,expires=1,"), "INFO is no older than the last write: {keyspace}");

    let ctl = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_consort"));
        command.args(["ctl", "--addr", &nodes[0].client]).args(arguments).output().expect("starts")
    };
    let output = ctl(&["status", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("is JSON");
    assert!(output.status.success(), "{report}");
    assert_eq!(report["partitions"].as_array().map(Vec::len), Some(12));
    assert_eq!(report["partitions"][0]["leader"], "n1");
    assert_eq!(report["partitions"][0]["digests"], "equal");
    assert_eq!(report["nodes"]["n1"]["status"]["counters"]["keys"], 1);
    let output = ctl(&["transfer", "0", "n9"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("no node 'n9'; accepted: "), "{text}");
    assert_eq!(dev.stop(), Some(0));
}

#[test]
fn taken_ports_are_named() {
    let folder = Folder::new("ports");
    let base = free_base_port(3);
    let _taken = std::net::TcpListener::bind(("127.0.0.1", base + 1002)).expect("was free");
    let output = Dev::command(&folder, base, 3).output().expect("starts");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&format!("ports are taken: {} (peers of n2)", base + 1002)), "{text}");
}

#[test]
fn another_number_of_nodes_is_refused() {
    let folder = Folder::new("count");
    for name in ["n1", "n2", "n3"] {
        std::fs::create_dir_all(folder.path().join(name).join("data")).expect("can be made");
    }
    let output = Dev::command(&folder, free_base_port(5), 5).output().expect("starts");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("holds a cluster of 3 nodes; start it with --nodes 3"), "{text}");
}

#[test]
fn wrong_settings_are_told_before_anything_starts() {
    let folder = Folder::new("settings");
    let output = Dev::command(&folder, free_base_port(3), 3).args(["--set", "timing.heartbeat=1s"]).output();
    let output = output.expect("starts");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("an election timeout of at least 3 heartbeats, that is 3s or more"), "{text}");
}

#[test]
fn the_effective_configuration_is_printed_and_wrong_ones_are_told_apart() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_consort"))
        .args(["config", "--set", "timing.heartbeat=20ms"])
        .env_clear()
        .env("CONSORT_WORKERS", "2")
        .output()
        .expect("starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("heartbeat = \"20ms\"") && text.contains("workers = 2"),
        "{text}"
    );
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_consort"))
        .args(["server", "--set", "wrokers=2"])
        .env_clear()
        .output()
        .expect("starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("unknown field --set wrokers; did you mean workers?"), "{text}");
}
