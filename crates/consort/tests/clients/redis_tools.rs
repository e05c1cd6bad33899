//! redis-cli and redis-benchmark.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::cluster::Cluster;
use crate::tools;

fn with_tools(test: &str, run: impl FnOnce(&Cluster)) {
    for program in ["redis-cli", "redis-benchmark"] {
        if let Err(missing) = tools::need(program) {
            return tools::skip(test, &missing);
        }
    }
    run(&Cluster::start(test));
}

/// A tool that talks to the cluster's node of that number.
fn tool(program: &str, cluster: &Cluster, node: usize, arguments: &[&str]) -> Command {
    let address = cluster.nodes()[node].client;
    let mut command = Command::new(program);
    command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]).args(arguments);
    command
}

fn cli(cluster: &Cluster, node: usize, arguments: &[&str]) -> String {
    let printed = tools::run(&mut tool("redis-cli", cluster, node, arguments), cluster);
    printed.trim_end().to_string()
}

/// `redis-cli` with something on its standard input.
fn cli_with_input(cluster: &Cluster, arguments: &[&str], input: &[u8]) -> String {
    let mut command = tool("redis-cli", cluster, 0, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let printed = tools::text(&output);
    assert!(output.status.success(), "{printed}");
    printed
}

#[test]
fn redis_cli() {
    with_tools("redis_cli", |cluster| {
        assert_eq!(cli(cluster, 0, &["ping"]), "PONG");
        for number in 0..30 {
            let (key, node) = (format!("key:{number}"), number % 3);
            assert_eq!(cli(cluster, node, &["set", &key, "value"]), "OK");
            assert_eq!(cli(cluster, (node + 1) % 3, &["-c", "get", &key]), "value");
            assert_eq!(cli(cluster, (node + 2) % 3, &["-3", "get", &key]), "value");
        }
        assert_eq!(cli(cluster, 0, &["get", "none"]), "");
        assert!(cli(cluster, 0, &["nonsense"]).starts_with("ERR unknown command 'nonsense'"));
        assert!(cli(cluster, 0, &["info", "server"]).contains("redis_version:"));
        let transaction = cli_with_input(cluster, &[], b"MULTI\nSET {t}a 1\nINCR {t}a\nEXEC\n");
        assert_eq!(transaction.split_whitespace().collect::<Vec<_>>(), ["OK", "QUEUED", "QUEUED", "OK", "2"]);
    });
}

#[test]
fn redis_cli_on_many_keys() {
    with_tools("redis_cli_on_many_keys", |cluster| {
        const KEYS: usize = 5000;
        let value = |number: usize| format!("value-{number:05}");
        let commands: String = (0..KEYS)
            .map(|number| {
                let (key, value) = (format!("pipe:{number:05}"), value(number));
                format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len())
            })
            .collect();
        let printed = cli_with_input(cluster, &["--pipe"], commands.as_bytes());
        assert!(printed.contains(&format!("errors: 0, replies: {KEYS}")), "{printed}");
        assert_eq!(cli(cluster, 1, &["dbsize"]), KEYS.to_string());
        let scanned = cli(cluster, 2, &["--scan", "--pattern", "pipe:*"]);
        let mut keys: Vec<&str> = scanned.lines().collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), KEYS);
        assert_eq!(cli(cluster, 0, &["set", "pipe:big", &"x".repeat(100_000)]), "OK");
        let printed = cli(cluster, 0, &["--bigkeys"]);
        let biggest = printed.lines().find(|line| line.starts_with("Biggest string found '"));
        assert!(
            biggest.is_some_and(|line| line.contains("pipe:big") && line.contains("100000 bytes")),
            "{printed}"
        );
        assert_eq!(cli(cluster, 1, &["flushall"]), "OK");
        assert_eq!(cli(cluster, 2, &["dbsize"]), "0");
    });
}

/// Runs redis-benchmark and checks that every test gave a figure and nothing was refused.
fn benchmark(cluster: &Cluster, arguments: &[&str]) {
    let tests = ["-t", "set,get,incr,mset", "-n", "20000", "-c", "50", "--csv"];
    let mut command = tool("redis-benchmark", cluster, 0, &tests);
    let printed = tools::run(command.args(arguments), cluster);
    for test in ["\"SET\"", "\"GET\"", "\"INCR\"", "\"MSET (10 keys)\""] {
        let line = printed.lines().find(|line| line.starts_with(test));
        let rate = line.and_then(|line| line.split(',').nth(1)?.trim_matches('"').parse::<f64>().ok());
        assert!(rate.is_some_and(|rate| rate > 0.0), "{test}: {printed}");
    }
    assert!(!printed.to_lowercase().contains("error"), "{printed}");
}

#[test]
fn redis_benchmark() {
    with_tools("redis_benchmark", |cluster| {
        benchmark(cluster, &[]);
        benchmark(cluster, &["-P", "16", "-r", "100000"]);
    });
}

#[test]
fn redis_benchmark_cluster() {
    with_tools("redis_benchmark_cluster", |cluster| {
        benchmark(cluster, &["--cluster"]);
        benchmark(cluster, &["--cluster", "-P", "16", "-r", "100000"]);
    });
}
