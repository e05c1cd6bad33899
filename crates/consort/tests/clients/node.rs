//! ioredis: a plain connection and the cluster client.

use std::process::Command;

use crate::cluster::Cluster;
use crate::tools;

fn with_node(test: &str, script: &str) {
    let modules = match tools::node_modules() {
        Ok(modules) => modules,
        Err(missing) => return tools::skip(test, &missing),
    };
    let cluster = Cluster::start(test);
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules).arg(tools::scripts("node").join(script));
    tools::run(&mut command, &cluster);
}

#[test]
fn ioredis() {
    with_node("ioredis", "plain.js");
}

#[test]
fn ioredis_cluster() {
    with_node("ioredis_cluster", "cluster.js");
}

#[test]
fn ioredis_where_all_replicas_take_writes() {
    with_node("ioredis_where_all_replicas_take_writes", "strategies.js");
}

#[test]
fn ioredis_users_and_levels() {
    with_node("ioredis_users_and_levels", "users.js");
}
