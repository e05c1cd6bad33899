//! Names, ports and files of a local cluster.
//!
//! ```text
//! DIR/nodes.json          written once the cluster is ready, for scripts; absent while it is not running
//! DIR/n1/consort.toml     written anew at each start
//! DIR/n1/log              standard output and error of the node, appended
//! DIR/n1/data/            the node's data folder
//! ```

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde::Serialize;
use server::config::{Sources, load};

use super::watch::Watch;
use crate::ask::Login;

/// A node of the local cluster.
#[derive(Clone, Debug)]
pub struct NodeLayout {
    /// `n1`, `n2`, ...
    pub name: String,
    /// Where it takes clients.
    pub client_port: u16,
    /// Where it takes peers.
    pub peer_port: u16,
    /// Where it answers HTTP.
    pub admin_port: u16,
    /// `DIR/n1`
    pub folder: PathBuf,
    /// The command that starts it again, for a shell.
    pub restart: String,
}

/// The local cluster.
#[derive(Debug)]
pub struct Layout {
    /// Its nodes, in order.
    pub nodes: Vec<NodeLayout>,
    /// This binary.
    pub program: PathBuf,
    /// Where the pages find what can be done with the nodes.
    pub control_port: u16,
    /// What clients must say, ourselves among them.
    pub password: Option<String>,
    folder: PathBuf,
}

/// An entry of `nodes.json`.
#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    client: String,
    pid: Option<u64>,
    restart: &'a str,
}

impl NodeLayout {
    /// Where it takes clients.
    pub fn client(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.join("consort.toml")
    }

    /// Its log file.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Layout {
    /// Makes the folders and writes the configuration files.
    ///
    /// # Errors
    /// Ports do not exist, the folder holds another cluster, or it cannot be written.
    pub fn prepare(data: &Path, count: u16, base_port: u16, settings: &[String]) -> Result<Layout, String> {
        if base_port > u16::MAX - 2000 - count {
            return Err(format!(
                "--base-port is {base_port}; accepted: 1 to {}, since pages take ports up to P + 2000 + {count}",
                u16::MAX - 2000 - count
            ));
        }
        let cannot = |what: &Path, error: std::io::Error| format!("cannot write {}: {error}", what.display());
        fs::create_dir_all(data).map_err(|error| cannot(data, error))?;
        let folder = fs::canonicalize(data).map_err(|error| cannot(data, error))?;
        let found = count_nodes(&folder);
        if found != 0 && found != count {
            return Err(format!(
                "{} holds a cluster of {found} nodes; start it with --nodes {found}, or choose another --data",
                data.display()
            ));
        }
        let program =
            std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
        let nodes: Vec<NodeLayout> =
            (1..=count).map(|number| node(number, base_port, &folder, &program)).collect();
        let mut password = None;
        for node in &nodes {
            fs::create_dir_all(&node.folder).map_err(|error| cannot(&node.folder, error))?;
            let text = configuration(node, &nodes, base_port + 2000, settings)?;
            // What is wrong with --set is told here, once, not in the log of every node.
            let loaded = load(Sources { file: Some(("--set", &text)), ..Sources::default() });
            password =
                loaded.map_err(|error| format!("the configuration is wrong\n{error}"))?.config.password;
            fs::write(node.config(), text).map_err(|error| cannot(&node.config(), error))?;
        }
        let layout = Layout { nodes, program, control_port: base_port + 2000, password, folder };
        layout.remove_nodes_json();
        Ok(layout)
    }

    /// Who we are to the nodes.
    pub fn login(&self) -> Login {
        Login { user: None, password: self.password.clone() }
    }

    /// Are all ports free?
    ///
    /// # Errors
    /// Names those that are not.
    pub fn check_ports(&self) -> Result<(), String> {
        let taken: Vec<String> = self
            .nodes
            .iter()
            .flat_map(|node| {
                [
                    (node, node.client_port, "clients"),
                    (node, node.peer_port, "peers"),
                    (node, node.admin_port, "HTTP"),
                ]
            })
            .chain([(&self.nodes[0], self.control_port, "buttons of the page")])
            .filter(|(_, port, _)| TcpListener::bind(("127.0.0.1", *port)).is_err())
            .map(|(node, port, what)| format!("{port} ({what} of {})", node.name))
            .collect();
        if taken.is_empty() {
            return Ok(());
        }
        Err(format!(
            "ports are taken: {}. Is another consort dev running? Stop it, or choose others with --base-port",
            taken.join(", ")
        ))
    }

    /// How to connect and how to start nodes again.
    pub fn introduction(&self) -> Vec<String> {
        let ports: Vec<String> = self.nodes.iter().map(|node| node.client_port.to_string()).collect();
        let first = &self.nodes[0];
        let mut lines = vec![
            format!("{} nodes on this machine, clients at ports {}", ports.len(), ports.join(", ")),
            format!("data in {}", self.folder.display()),
            String::new(),
            format!("  redis-cli -p {}           any node takes any command", first.client_port),
            format!("  redis-cli -c -p {}        a cluster client", first.client_port),
            format!(
                "  http://127.0.0.1:{}      the cluster in a browser: cut links, kill nodes, watch",
                first.admin_port
            ),
            format!("  {} ctl status --addr {}", shell_word(&self.program.to_string_lossy()), first.client()),
            String::new(),
            "kill -9 any node; these start it again:".into(),
        ];
        lines.extend(self.nodes.iter().map(|node| format!("  {}", node.restart)));
        lines.push(String::new());
        lines
    }

    /// The content of `nodes.json`.
    pub fn nodes_json(&self, watch: &Watch) -> String {
        let entries: Vec<Entry<'_>> = self
            .nodes
            .iter()
            .zip(watch.nodes())
            .map(|(node, seen)| Entry {
                name: &node.name,
                client: node.client(),
                pid: seen.pid,
                restart: &node.restart,
            })
            .collect();
        serde_json::to_string_pretty(&entries).unwrap_or_default() + "\n"
    }

    /// Puts `nodes.json` in place at once: a script sees all of it or nothing.
    ///
    /// # Errors
    /// The disk's; the text names the file.
    pub fn write_nodes_json(&self, text: &str) -> Result<(), String> {
        let (path, temporary) = (self.folder.join("nodes.json"), self.folder.join("nodes.json.new"));
        fs::write(&temporary, text)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    /// The cluster is not ready (any more).
    pub fn remove_nodes_json(&self) {
        let _ = fs::remove_file(self.folder.join("nodes.json"));
    }
}

/// How many node folders there are.
fn count_nodes(folder: &Path) -> u16 {
    (1..=99).take_while(|number| folder.join(format!("n{number}")).join("data").exists()).count() as u16
}

fn node(number: u16, base_port: u16, folder: &Path, program: &Path) -> NodeLayout {
    let name = format!("n{number}");
    let folder = folder.join(&name);
    let config = folder.join("consort.toml");
    let restart = format!(
        "{} server --config {}",
        shell_word(&program.to_string_lossy()),
        shell_word(&config.to_string_lossy())
    );
    NodeLayout {
        name,
        client_port: base_port + number,
        peer_port: base_port + 1000 + number,
        admin_port: base_port + 2000 + number,
        folder,
        restart,
    }
}

/// The node's configuration file.
fn configuration(
    node: &NodeLayout,
    nodes: &[NodeLayout],
    control_port: u16,
    settings: &[String],
) -> Result<String, String> {
    let mut text = String::from("# Written by consort dev at each start; to change it use --set.\n");
    let data = node.folder.join("data");
    let top = [("cluster", "dev"), ("name", node.name.as_str()), ("data", &data.to_string_lossy())];
    for (field, value) in top {
        let _ = writeln!(text, "{field} = {}", toml_text(value));
    }
    let _ = writeln!(text, "admin.listen = \"127.0.0.1:{}\"", node.admin_port);
    let _ =
        writeln!(text, "development.faults = \"yes\"\ndevelopment.control = \"127.0.0.1:{control_port}\"");
    for setting in settings {
        let (field, value) = setting
            .split_once('=')
            .ok_or_else(|| format!("--set is \"{setting}\"; accepted: field=value, such as partitions=24"))?;
        let _ = writeln!(text, "{} = {}", field.trim(), toml_text(value));
    }
    for other in nodes {
        let _ = write!(
            text,
            "\n[[nodes]]\nname = {}\nclient = {}\npeer = {}\n",
            toml_text(&other.name),
            toml_text(&other.client()),
            toml_text(&format!("127.0.0.1:{}", other.peer_port)),
        );
    }
    Ok(text)
}

/// A basic string of TOML.
fn toml_text(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(out, "\\u{:04X}", control as u32);
            }
            other => out.push(other),
        }
    }
    out + "\""
}

/// A word that a shell reads as it stands.
fn shell_word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:@%,".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_string()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three(settings: &[String]) -> (Vec<NodeLayout>, String) {
        let nodes: Vec<NodeLayout> = (1..=3)
            .map(|number| node(number, 7000, Path::new("/tmp/a b"), Path::new("/bin/consort")))
            .collect();
        let text = configuration(&nodes[1], &nodes, 9000, settings).expect("settings are pairs");
        (nodes, text)
    }

    #[test]
    fn the_written_configuration_is_valid() {
        let (nodes, text) = three(&["partitions=24".into(), "timing.heartbeat=50ms".into()]);
        let config = load(Sources { file: Some(("f", &text)), ..Sources::default() }).expect("valid").config;
        assert_eq!(config.node, "n2");
        assert_eq!(config.listen_client.port, 7002);
        assert_eq!(config.listen_peer.port, 8002);
        assert_eq!(config.data, Path::new("/tmp/a b/n2/data"));
        assert_eq!((config.nodes.len(), config.partitions), (3, 24));
        assert_eq!(config.timing.heartbeat.as_millis(), 50);
        assert_eq!(nodes[0].restart, "/bin/consort server --config '/tmp/a b/n1/consort.toml'");
    }

    #[test]
    fn words_for_shells_and_toml() {
        assert_eq!(shell_word("/a/b.toml"), "/a/b.toml");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        assert_eq!(toml_text("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000A\"");
    }

    #[test]
    fn ports_must_exist() {
        let error = Layout::prepare(Path::new("/nonexistent"), 3, 65_000, &[]).expect_err("too high");
        assert!(error.starts_with("--base-port is 65000; accepted: 1 to 63532"), "{error}");
    }
}
