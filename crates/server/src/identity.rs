//! Who this node is: the file `node.toml` in its data folder.
//!
//! The identity is made when the data folder is formatted and never changes. Formatting needs consent, since a node
//! that comes back empty under its old identity could break promises that the old one made (votes, acknowledged
//! writes): a new cluster is made with `--bootstrap`, a node that lost its disk comes back with `--rebuild` under a *new*
//! identity and is let in as a new member. Every formatting draws a *format id*; peers remember it beside the node id
//! (see [`crate::roster`]) and turn away a node whose disk was wiped behind their back.
//!
//! A new cluster has founders: the nodes that its configuration lists. Who holds which partition at first follows from that
//! list, so all founders must have the same one ([`Layout`]); what follows from it is kept in `founding.toml`. Nodes that
//! come later join through a member and take over the founders' layout, which so names the cluster.
//!
//! Ids of founders follow from the names of cluster and node, so that all agree on the first members without having met.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use replication::NodeId;
use serde::{Deserialize, Serialize};

use crate::config::{Address, Config, NodeConfig};
use crate::random;

/// The consent that a start comes with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The data folder must have been formatted.
    #[default]
    Normal,
    /// An empty data folder may be formatted as part of a new cluster. A formatted one is used as it is, so that the flag
    /// may stay in a start script.
    Bootstrap,
    /// Whatever the data folder holds is thrown away; the node comes back under a new identity and fetches everything
    /// from its peers, the one that takes its peers at this address, if one is given, or one that it knows.
    Rebuild(Option<Address>),
    /// An empty data folder may be formatted for a node that joins the cluster of the one which takes its peers at this
    /// address. A formatted one is used as it is.
    Join(Address),
}

/// What `node.toml` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The version of the data folder's layout: 2.
    pub version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub name: String,
    /// The node's id.
    #[serde(with = "hexadecimal")]
    pub node: u64,
    /// Drawn when the folder was formatted.
    #[serde(with = "hexadecimal")]
    pub format: u64,
    /// The number of partitions.
    pub partitions: u32,
    /// The number of worker threads, each of which has a log of its own.
    pub workers: u32,
    /// Copies of a partition.
    pub replication_factor: u32,
    /// The founders of the cluster, sorted: name, zone and weight of each ([`founder`]).
    pub nodes: Vec<String>,
    /// Wall clock at formatting, milliseconds since the epoch.
    pub created_ms: u64,
    /// The folder is being formatted; a start that finds this must finish it.
    pub rebuilding: bool,
    /// It joined a cluster that was there; else it is one of the founders.
    pub joined: bool,
}

impl Identity {
    /// The node's id.
    pub fn node(&self) -> NodeId {
        NodeId(self.node)
    }

    /// A fresh identity for the node that `config` describes.
    pub fn new(config: &Config, node: NodeId, now_ms: u64) -> Identity {
        Identity {
            version: VERSION,
            cluster: config.cluster.clone(),
            name: config.node.clone(),
            node: node.0,
            format: random::number(),
            partitions: config.partitions,
            workers: config.workers as u32,
            replication_factor: config.replication_factor as u32,
            nodes: names(config),
            created_ms: now_ms,
            rebuilding: false,
            joined: false,
        }
    }

    /// Reads `node.toml` in `folder`; `None` if there is none.
    ///
    /// # Errors
    /// The file cannot be read or understood; the text names it.
    pub fn load(folder: &Path) -> Result<Option<Identity>, String> {
        let path = path(folder);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let identity: Identity = toml::from_str(&text)
            .map_err(|error| format!("{} is damaged or incomplete: {error}", path.display()))?;
        if identity.version != VERSION {
            return Err(format!(
                "{} is of version {}; this program understands version {VERSION}",
                path.display(),
                identity.version
            ));
        }
        Ok(Some(identity))
    }

    /// Makes `node.toml` say this, durably.
    ///
    /// # Errors
    /// The disk's; the text names the file.
    pub fn save(&self, folder: &Path) -> Result<(), String> {
        let text = toml::to_string(self).map_err(|error| format!("cannot encode the identity: {error}"))?;
        replace_file(&path(folder), text.as_bytes())
    }

    /// Compares with the configuration.
    ///
    /// # Errors
    /// They disagree in something that is fixed at formatting; the text names the field and both values.
    pub fn check(&self, config: &Config) -> Result<(), String> {
        let differs = |field: &str, stored: &dyn std::fmt::Display, configured: &dyn std::fmt::Display| {
            Err(format!(
                "{}: the data folder was formatted with {field} = {stored}, the configuration says {configured}. \
                 Correct the configuration, or use another data folder",
                path(&config.data).display()
            ))
        };
        if self.cluster != config.cluster {
            return differs("cluster", &self.cluster, &config.cluster);
        }
        if self.name != config.node {
            return differs("name", &self.name, &config.node);
        }
        if self.workers as usize != config.workers {
            return differs("workers", &self.workers, &config.workers);
        }
        Ok(())
    }

    /// What all nodes of the cluster must have alike.
    pub fn layout(&self) -> Layout {
        Layout {
            cluster: self.cluster.clone(),
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            nodes: self.nodes.clone(),
        }
    }
}

/// What all nodes of a cluster must have alike, since it decides which node holds which partition at first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The cluster's name.
    pub cluster: String,
    /// The number of partitions.
    pub partitions: u32,
    /// Copies of a partition.
    pub replication_factor: u32,
    /// The names of the nodes, sorted.
    pub nodes: Vec<String>,
}

impl Layout {
    /// The layout that `config` describes.
    pub fn of(config: &Config) -> Layout {
        Layout {
            cluster: config.cluster.clone(),
            partitions: config.partitions,
            replication_factor: config.replication_factor as u32,
            nodes: names(config),
        }
    }

    /// Compares two nodes' layouts.
    ///
    /// # Errors
    /// They differ; the text names the first field that does, and both values.
    pub fn same(&self, other: &Layout) -> Result<(), String> {
        let fields = |layout: &Layout| {
            [
                ("cluster", layout.cluster.clone()),
                ("partitions", layout.partitions.to_string()),
                ("replication_factor", layout.replication_factor.to_string()),
                ("nodes", layout.nodes.join(", ")),
            ]
        };
        match fields(self).iter().zip(&fields(other)).find(|(ours, theirs)| ours != theirs) {
            None => Ok(()),
            Some(((field, ours), (_, theirs))) => {
                Err(format!("`{field}` differs: {ours} on one node and {theirs} on the other"))
            }
        }
    }
}

/// The nodes that `config` lists, sorted.
fn names(config: &Config) -> Vec<String> {
    let mut names: Vec<String> = config.nodes.iter().map(founder).collect();
    names.sort();
    names
}

/// A founder as [`Identity::nodes`] has it: what the first placement follows from.
fn founder(node: &NodeConfig) -> String {
    let mut text = node.name.clone();
    if !node.zone.is_empty() {
        text.push_str(&format!(" zone={}", node.zone));
    }
    if node.weight != 1 {
        text.push_str(&format!(" weight={}", node.weight));
    }
    text
}

const VERSION: u32 = 2;

fn path(folder: &Path) -> PathBuf {
    folder.join("node.toml")
}

/// The id that a node of this name has in a new cluster of this name: FNV-1a over both, then a finalizer. Never 0.
pub fn derived_id(cluster: &str, name: &str) -> NodeId {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in cluster.bytes().chain([0xff]).chain(name.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    NodeId((hash ^ (hash >> 31)).max(1))
}

/// Puts `bytes` in the place of the file at `path` so that a crash leaves the old content or the new: writes a
/// neighbour, syncs it, renames it, syncs the folder.
///
/// # Errors
/// The disk's; the text names the file.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let write = || -> io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// The same of a text shorter than `length`, which the file is filled up to: on a full disk there is no room for another file, and then the one that
/// is there is overwritten, which is less than a sector.
///
/// # Errors
/// The disk's; the text names the file.
pub fn replace_in_place(path: &Path, text: &str, length: usize) -> Result<(), String> {
    let text = format!("{text}{}", "#".repeat(length.saturating_sub(text.len())));
    replace_file(path, text.as_bytes()).or_else(|reason| {
        let overwrite = || -> io::Result<()> {
            let mut file = fs::OpenOptions::new().write(true).open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        overwrite().map_err(|_| reason)
    })
}

/// 64-bit numbers as 16 hexadecimal digits: TOML's own integers end at 63 bits.
pub mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes a number.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{number:016x}"))
    }

    /// Reads a number.
    ///
    /// # Errors
    /// Not a hexadecimal number of 64 bits.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_the_disk_and_is_checked() {
        let folder = crate::testing::Folder::new();
        let config = crate::testing::three_nodes();
        assert_eq!(Identity::load(folder.path()), Ok(None));
        let id = derived_id(&config.cluster, &config.node);
        let mut identity = Identity::new(&config, id, 5);
        identity.save(folder.path()).unwrap();
        assert_eq!(Identity::load(folder.path()), Ok(Some(identity.clone())));
        assert_eq!(identity.check(&config), Ok(()));
        let mut grown = config.clone();
        grown.nodes.push(crate::config::NodeConfig { name: "n0".into(), ..config.nodes[0].clone() });
        assert_eq!(identity.check(&grown), Ok(()), "the list is for founders");
        let mut moved = config.clone();
        moved.nodes[1].client.port += 1;
        moved.nodes.reverse();
        assert_eq!(identity.check(&moved), Ok(()), "neither addresses nor their order matter");
        identity.workers += 1;
        assert!(identity.check(&config).unwrap_err().contains("workers"));
        identity.cluster = "another".into();
        assert!(identity.check(&config).unwrap_err().contains("cluster = another"));
    }

    #[test]
    fn damage_and_other_versions_are_named() {
        let folder = crate::testing::Folder::new();
        fs::write(path(folder.path()), "version = 1\ncluster = 7").unwrap();
        assert!(Identity::load(folder.path()).unwrap_err().contains("node.toml is damaged"));
        let config = crate::testing::three_nodes();
        let mut identity = Identity::new(&config, NodeId(1), 5);
        identity.version = 1;
        identity.save(folder.path()).unwrap();
        assert!(Identity::load(folder.path()).unwrap_err().contains("version 1"));
    }

    #[test]
    fn layouts_are_compared_field_by_field() {
        let config = crate::testing::three_nodes();
        let ours = Layout::of(&config);
        assert_eq!(Identity::new(&config, NodeId(1), 5).layout(), ours);
        assert_eq!(ours.same(&ours), Ok(()));
        let mut theirs = ours.clone();
        theirs.nodes.pop();
        let refusal = ours.same(&theirs).unwrap_err();
        assert_eq!(refusal, "`nodes` differs: n1, n2, n3 on one node and n1, n2 on the other");
        theirs.replication_factor = 2;
        assert!(ours.same(&theirs).unwrap_err().contains("`replication_factor` differs: 3"));
    }

    /// Nodes of running clusters depend on these values: they may never change.
    #[test]
    fn derived_ids_are_fixed() {
        assert_eq!(derived_id("consort", "a"), derived_id("consort", "a"));
        let ids = [("consort", "a"), ("consort", "b"), ("other", "a"), ("consorta", "")];
        let ids = ids.map(|(cluster, name)| format!("{:016x}", derived_id(cluster, name).0));
        assert_eq!(ids, ["964fee305577955f", "1600410013b10458", "7b18d14d5bf73d73", "1c9ff8ebb9891675"]);
    }
}
