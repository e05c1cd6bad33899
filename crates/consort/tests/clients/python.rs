//! redis-py: plain connections, the cluster client, users, and leaders that are killed under load; and the page in a browser.

use std::fs;
use std::process::Command;

use check::format::file::judge;
use check::linearizable::Budget;

use crate::cluster::Cluster;
use crate::tools;

fn with_python(test: &str, script: &str, prepare: impl FnOnce(&mut Command, &Cluster)) -> Option<Cluster> {
    let python = match tools::python() {
        Ok(python) => python,
        Err(missing) => {
            tools::skip(test, &missing);
            return None;
        }
    };
    let cluster = Cluster::start(test);
    let mut command = Command::new(python);
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(tools::scripts("python").join(script));
    prepare(&mut command, &cluster);
    tools::run(&mut command, &cluster);
    Some(cluster)
}

#[test]
fn redis_py() {
    with_python("redis_py", "plain.py", |_, _| {});
}

#[test]
fn redis_py_cluster() {
    with_python("redis_py_cluster", "cluster.py", |_, _| {});
}

#[test]
fn redis_py_where_all_replicas_take_writes() {
    with_python("redis_py_where_all_replicas_take_writes", "strategies.py", |_, _| {});
}

#[test]
fn redis_py_users_and_levels() {
    with_python("redis_py_users_and_levels", "users.py", |_, _| {});
}

#[test]
fn the_page_in_a_browser() {
    let test = "the_page_in_a_browser";
    let browser = match tools::browser() {
        Ok(browser) => browser,
        Err(missing) => return tools::skip(test, &missing),
    };
    with_python(test, "page.py", |command, cluster| {
        command.env("CLIENT_TEST_BROWSER", browser).env("CLIENT_TEST_PAGES", cluster.pages());
    });
}

#[test]
fn leaders_killed_under_load_lose_nothing() {
    let history = |cluster: &Cluster| cluster.folder().join("history.jsonl");
    let cluster = with_python("leaders_killed_under_load_lose_nothing", "failover.py", |command, cluster| {
        command.env("CLIENT_TEST_HISTORY", history(cluster));
    });
    let Some(cluster) = cluster else { return };
    let text = fs::read_to_string(history(&cluster)).unwrap();
    for (check, finding) in judge(&text, Budget::default()).unwrap() {
        assert!(finding.is_valid(), "{check}: {finding}");
    }
}
