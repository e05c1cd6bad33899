//! Messages of configuration errors, and that a printed configuration is read back to the same.

use crate::config::{Address, Config, ConfigError, Loaded, Sources, field::FIELDS, load};

const THREE: &str = r#"
name = "n2"
#extra
[[nodes]]
name = "n1"
client = "127.0.0.1:7001"
peer = "127.0.0.1:8001"
[[nodes]]
name = "n2"
client = "127.0.0.1:7002"
peer = "127.0.0.1:8002"
[[nodes]]
name = "n3"
client = "127.0.0.1:7003"
peer = "127.0.0.1:8003"
"#;

fn with(extra: &str) -> Result<Loaded, ConfigError> {
    load(Sources { file: Some(("consort.toml", &THREE.replace("#extra", extra))), ..Sources::default() })
}

fn problem(extra: &str) -> String {
    with(extra).expect_err("is wrong").to_string()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[test]
fn defaults_are_valid_and_listen_where_the_node_is_announced() {
    let Loaded { config, warnings } = with("").expect("valid");
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((config.partitions, config.replication_factor, config.workers), (12, 3, 1));
    assert_eq!(config.listen_client, Address::loopback(7002));
    assert_eq!(config.listen_peer, Address::loopback(8002));
}

#[test]
fn without_any_source_a_cluster_of_one() {
    let config = load(Sources::default()).expect("valid").config;
    assert_eq!(config.nodes.len(), 1);
    assert_eq!(config.replication_factor, 1);
    assert_eq!(config.myself().client, Address::loopback(7000));
}

#[test]
fn flags_go_over_environment_goes_over_file() {
    let environment = pairs(&[("CONSORT_PARTITIONS", "5"), ("CONSORT_WORKERS", "4"), ("HOME", "/root")]);
    let flags = pairs(&[("workers", "3")]);
    let text = format!("partitions = 7\nworkers = 2\ncluster = \"file\"\n{THREE}");
    let config = load(Sources { file: Some(("f", &text)), environment: &environment, flags: &flags })
        .expect("valid")
        .config;
    assert_eq!((config.cluster.as_str(), config.partitions, config.workers), ("file", 5, 3));
}

#[test]
fn a_wrong_value_names_field_value_and_what_is_accepted() {
    assert_eq!(
        problem("partitions = 0"),
        "consort.toml: partitions is \"0\"; accepted: a number from 1 to 16384"
    );
    let environment = pairs(&[("CONSORT_TIMING_HEARTBEAT", "60")]);
    let error = load(Sources { file: Some(("f", THREE)), environment: &environment, flags: &[] });
    assert_eq!(
        error.expect_err("has no unit").to_string(),
        "CONSORT_TIMING_HEARTBEAT is \"60\"; accepted: a duration from 5ms to 20s"
    );
    let flags = pairs(&[("limits.bulk_bytes", "1TB")]);
    let error = load(Sources { file: Some(("f", THREE)), environment: &[], flags: &flags });
    assert_eq!(
        error.expect_err("is too much").to_string(),
        "--set limits.bulk_bytes is \"1TB\"; accepted: a size from 1KiB to 512MiB"
    );
    assert_eq!(problem("workers = [1]"), "consort.toml: workers is [1]; accepted: a number from 1 to 256");
    assert_eq!(
        problem("[storage]\nsegment_bytes = 1000001"),
        "consort.toml: storage.segment_bytes is \"1000001\"; accepted: a multiple of 4KiB from 64KiB to 4GiB"
    );
    assert_eq!(problem("timing = 5"), "consort.toml: timing is 5; accepted: a section [timing]");
}

#[test]
fn an_unknown_field_suggests_the_nearest() {
    assert_eq!(problem("partition = 3"), "consort.toml: unknown field partition; did you mean partitions?");
    assert_eq!(
        problem("heartbeat = \"1s\""),
        "consort.toml: unknown field heartbeat; did you mean timing.heartbeat?"
    );
    assert_eq!(
        problem("[limits]\nmax_client = 3"),
        "consort.toml: unknown field limits.max_client; did you mean limits.max_clients?"
    );
    let flags = pairs(&[("worker", "1")]);
    let error = load(Sources { file: None, environment: &[], flags: &flags }).expect_err("unknown");
    assert_eq!(error.to_string(), "unknown field --set worker; did you mean workers?");
}

#[test]
fn an_unknown_environment_variable_is_only_a_warning() {
    let environment = pairs(&[("CONSORT_SERVICE_HOST", "10.0.0.1"), ("CONSORT_CONFIG", "x")]);
    let loaded = load(Sources { file: None, environment: &environment, flags: &[] }).expect("valid");
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("CONSORT_SERVICE_HOST"), "{:?}", loaded.warnings);
}

#[test]
fn all_problems_are_told_at_once() {
    let text = problem("partitions = -1\nworkers = \"many\"\nlog = \"loud\"");
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn fields_that_disagree_come_with_the_arithmetic() {
    assert_eq!(
        problem("[timing]\nelection_timeout = \"100ms\""),
        "timing.election_timeout is 100ms and timing.heartbeat is 60ms; accepted: an election timeout of at least 3 \
         heartbeats, that is 180ms or more, or a heartbeat of 33ms or less"
    );
    assert_eq!(
        problem("replication_factor = 5"),
        "replication_factor is 5, but [[nodes]] has 3 entries; accepted: 1 to 3, or more nodes"
    );
    assert!(problem("workers = 13").contains("accepted: workers from 1 to 12"));
    assert!(problem("[limits]\nbulk_bytes = \"200MiB\"").contains("accepted: request_bytes of at least"));
    let warnings = with("replication_factor = 2").expect("allowed").warnings;
    assert_eq!(
        warnings,
        ["replication_factor is 2: a majority is 2, so 0 nodes may fail, no more than with 1"]
    );
}

#[test]
fn nodes_are_checked() {
    let file = |text: &str| {
        load(Sources { file: Some(("f", text)), ..Sources::default() }).expect_err("is wrong").to_string()
    };
    assert_eq!(
        file(&THREE.replacen("name = \"n2\"", "name = \"n4\"", 1)),
        "name is \"n4\"; accepted: one of the names under [[nodes]]: n1, n2, n3 (the nearest is n1)"
    );
    assert_eq!(
        file(&THREE.replacen("name = \"n2\"", "", 1)),
        "name is not set; accepted: one of the names under [[nodes]]: n1, n2, n3"
    );
    assert!(
        file(&THREE.replace("8003", "7001"))
            .contains("peer of node n3 is 127.0.0.1:7001, which is also client")
    );
    assert!(file(&THREE.replace("\"n3\"", "\"n1\"")).contains("two entries of nodes have the name n1"));
    assert_eq!(
        file(&THREE.replace("127.0.0.1:8003", "8003")),
        "f: peer of entry 3 of nodes is \"8003\"; accepted: an address such as \"10.0.0.1:7000\""
    );
    assert_eq!(
        file(&THREE.replace("peer = \"127.0.0.1:8003\"", "pear = 1")),
        "f: entry 3 of nodes has an unknown field pear; did you mean peer?\n\
         f: entry 3 of nodes has no peer; accepted: an address such as \"10.0.0.1:7000\""
    );
}

#[test]
fn nodes_in_one_line() {
    let flags = pairs(&[("nodes", "a=h1:1/h1:2, b=[::1]:3/h2:4"), ("name", "b")]);
    let config = load(Sources { file: None, environment: &[], flags: &flags }).expect("valid").config;
    assert_eq!(config.nodes[0].peer.to_string(), "h1:2");
    assert_eq!(config.listen_client.to_string(), "[::1]:3");
}

#[test]
fn what_is_printed_is_read_back() {
    let text = "password = 'a\"b'\npeer_secret = \"s\"\nlog = \"info,server=debug\"\n[tokens]\nlimit = 7";
    let config = with(text).expect("valid").config;
    for explained in [false, true] {
        let printed = config.to_toml(explained, true);
        let again = load(Sources { file: Some(("printed", &printed)), ..Sources::default() });
        assert_eq!(again.expect("is valid").config, config, "{printed}");
    }
    assert!(!config.to_toml(true, false).contains("a\\\"b"), "secrets stay hidden");
}

#[test]
fn every_field_says_what_follows_from_it_and_reads_its_own_print() {
    let config: Config = with("").expect("valid").config;
    for field in FIELDS {
        assert!(field.about.ends_with('.') && field.about.len() > 40, "{}", field.path);
        assert!(!(field.get)(&config).is_empty(), "{}", field.path);
    }
}

#[test]
fn the_reference_in_the_docs_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let defaults = load(Sources::default()).expect("valid").config;
    let reference = crate::config::field::reference(&defaults);
    if std::env::var_os("CONSORT_WRITE_DOCS").is_some() {
        std::fs::write(path, &reference).expect("can be written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == reference, "write it again with CONSORT_WRITE_DOCS=1 cargo test -p server reference");
}
