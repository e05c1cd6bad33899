//! Who the peers are: the file `peers.toml` in the data folder, from a node's name to the id and the format id that it
//! was last met with.
//!
//! Written (durably) before a peer is first trusted, so that a peer which comes back with another disk under its old id is
//! noticed, and a node that was replaced by a rebuilt one stays replaced.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use replication::NodeId;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::identity::{Identity, derived_id, hexadecimal, replace_file};

/// A node as it was met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its id.
    #[serde(with = "hexadecimal")]
    pub node: u64,
    /// Its format id; 0: not met yet.
    #[serde(with = "hexadecimal")]
    pub format: u64,
    /// When its data folder was formatted, by its own wall clock in milliseconds. Decides between two reports.
    pub created_ms: u64,
}

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// By name.
    #[serde(default)]
    pub nodes: BTreeMap<String, Known>,
    /// Ids (16 hexadecimal digits) of nodes that were replaced: they are never let in again.
    #[serde(default)]
    pub replaced: Vec<String>,
}

/// The roster of a running node. Shared; locked for moments only (it is written when a peer is met for the first time).
#[derive(Debug)]
pub struct Roster {
    path: PathBuf,
    names: Vec<String>,
    cluster: String,
    content: Mutex<Content>,
}

/// What became of an introduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// As known.
    Known,
    /// First met, or met under a new id that replaces the old.
    New,
}

/// Why a peer is not who it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// Its name is not in our configuration.
    Unnamed(String),
    /// Its disk was wiped: it must not go on under this identity.
    Wiped(String),
    /// Another node has its place.
    Replaced(String),
    /// Our own disk is at fault.
    Disk(String),
}

impl Roster {
    /// Reads the roster in the data folder, or begins an empty one.
    ///
    /// # Errors
    /// The file cannot be read or understood; the text names it.
    pub fn load(config: &Config) -> Result<Roster, String> {
        let path = path(&config.data);
        let content = match fs::read_to_string(&path) {
            Ok(text) => {
                toml::from_str(&text).map_err(|error| format!("{} is damaged: {error}", path.display()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let names = config.nodes.iter().map(|node| node.name.clone()).collect();
        Ok(Roster { path, names, cluster: config.cluster.clone(), content: Mutex::new(content) })
    }

    /// The id that the node of this name has, as far as known here: the one it was last met with, else the one it has in a
    /// new cluster.
    pub fn id_of(&self, name: &str) -> NodeId {
        match self.lock().nodes.get(name) {
            Some(known) => NodeId(known.node),
            None => derived_id(&self.cluster, name),
        }
    }

    /// What is known of the node of this name.
    pub fn known(&self, name: &str) -> Option<Known> {
        self.lock().nodes.get(name).cloned()
    }

    /// What is known of every node, to be told to a peer that asks.
    pub fn content(&self) -> Content {
        self.lock().clone()
    }

    /// A peer says who it is. What is new is durable when this returns.
    ///
    /// # Errors
    /// It cannot be who it says.
    pub fn meet(&self, peer: &Identity) -> Result<Met, Stranger> {
        if !self.names.contains(&peer.name) {
            return Err(Stranger::Unnamed(format!(
                "no node named '{}' is in the configuration's list of nodes",
                peer.name
            )));
        }
        let mut content = self.lock();
        let id = format!("{:016x}", peer.node);
        if content.replaced.contains(&id) {
            return Err(Stranger::Replaced(format!(
                "node '{}' with id {id} was replaced by a rebuilt one; start it with --rebuild",
                peer.name
            )));
        }
        let mut next = content.clone();
        let known = Known { node: peer.node, format: peer.format, created_ms: peer.created_ms };
        if let Some(before) = content.nodes.get(&peer.name) {
            if *before == known {
                return Ok(Met::Known);
            }
            if before.node == peer.node && before.format != 0 {
                return Err(Stranger::Wiped(format!(
                    "node '{}' (id {id}) was known with format {:016x} and comes with format {:016x}: its data folder \
                     was replaced or emptied. Start it with --rebuild",
                    peer.name, before.format, peer.format
                )));
            }
            if before.node != peer.node {
                // Whoever was made to replace the node that is known is newer, whatever the clocks say.
                if peer.replaces != before.node && peer.created_ms < before.created_ms {
                    return Err(Stranger::Replaced(format!(
                        "the name '{}' belongs to node {:016x}, which was formatted later than node {id}",
                        peer.name, before.node
                    )));
                }
                next.replaced.push(format!("{:016x}", before.node));
            }
        }
        if peer.replaces != 0 {
            let old = format!("{:016x}", peer.replaces);
            if !next.replaced.contains(&old) {
                next.replaced.push(old);
            }
        }
        next.nodes.insert(peer.name.clone(), known);
        self.save(&next).map_err(Stranger::Disk)?;
        *content = next;
        Ok(Met::New)
    }

    /// Takes over what a peer knows (before a rebuild): later formattings win.
    ///
    /// # Errors
    /// The disk's.
    pub fn learn(&self, from: &Content) -> Result<(), String> {
        let mut content = self.lock();
        for (name, known) in &from.nodes {
            let later = content.nodes.get(name).is_none_or(|before| before.created_ms < known.created_ms);
            if later && self.names.contains(name) {
                content.nodes.insert(name.clone(), known.clone());
            }
        }
        for id in &from.replaced {
            if !content.replaced.contains(id) {
                content.replaced.push(id.clone());
            }
        }
        self.save(&content)
    }

    fn save(&self, content: &Content) -> Result<(), String> {
        let text = toml::to_string(content).map_err(|error| format!("cannot encode the roster: {error}"))?;
        replace_file(&self.path, text.as_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("peers.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path) -> Config {
        let mut config = crate::testing::three_nodes();
        config.data = folder.to_path_buf();
        config
    }

    fn identity(config: &Config, name: &str, node: u64, format: u64, created_ms: u64) -> Identity {
        let mut identity = Identity::new(config, NodeId(node), None, created_ms);
        identity.name = name.into();
        identity.format = format;
        identity
    }

    #[test]
    fn a_wiped_peer_is_noticed_even_after_a_restart() {
        let folder = crate::testing::Folder::new();
        let config = config(folder.path());
        let roster = Roster::load(&config).unwrap();
        let peer = config.nodes[1].name.clone();
        let id = derived_id(&config.cluster, &peer).0;
        assert_eq!(roster.id_of(&peer).0, id);
        assert_eq!(roster.meet(&identity(&config, &peer, id, 5, 1)), Ok(Met::New));
        assert_eq!(roster.meet(&identity(&config, &peer, id, 5, 1)), Ok(Met::Known));
        let roster = Roster::load(&config).unwrap();
        assert_eq!(roster.meet(&identity(&config, &peer, id, 5, 1)), Ok(Met::Known));
        let wiped = roster.meet(&identity(&config, &peer, id, 6, 9));
        assert!(matches!(wiped, Err(Stranger::Wiped(_))), "{wiped:?}");
        assert_eq!(
            roster.meet(&identity(&config, &peer, id, 5, 1)),
            Ok(Met::Known),
            "nothing was remembered of it"
        );
        let stranger = roster.meet(&identity(&config, "nobody", 1, 1, 1));
        assert!(matches!(stranger, Err(Stranger::Unnamed(_))), "{stranger:?}");
    }

    #[test]
    fn a_rebuilt_peer_takes_the_place_of_the_old_for_good() {
        let folder = crate::testing::Folder::new();
        let config = config(folder.path());
        let roster = Roster::load(&config).unwrap();
        let peer = config.nodes[1].name.clone();
        let old = identity(&config, &peer, 11, 5, 1);
        let mut new = identity(&config, &peer, 22, 6, 2);
        new.replaces = 11;
        assert_eq!(roster.meet(&old), Ok(Met::New));
        assert_eq!(roster.meet(&new), Ok(Met::New));
        assert_eq!(roster.id_of(&peer), NodeId(22));
        assert!(matches!(roster.meet(&old), Err(Stranger::Replaced(_))));
        let roster = Roster::load(&config).unwrap();
        assert_eq!(roster.id_of(&peer), NodeId(22));
        assert!(matches!(roster.meet(&old), Err(Stranger::Replaced(_))), "also after a restart");
        // A node that never met the old one must not let it in either.
        let other = crate::testing::Folder::new();
        let mut elsewhere = config.clone();
        elsewhere.data = other.path().to_path_buf();
        let other = Roster::load(&elsewhere).unwrap();
        assert_eq!(other.meet(&new), Ok(Met::New));
        assert!(matches!(other.meet(&old), Err(Stranger::Replaced(_))));
    }

    #[test]
    fn a_rebuilt_peer_may_have_a_slower_clock() {
        let folder = crate::testing::Folder::new();
        let config = config(folder.path());
        let roster = Roster::load(&config).unwrap();
        let peer = config.nodes[1].name.clone();
        let old = identity(&config, &peer, 11, 5, 100);
        let mut new = identity(&config, &peer, 22, 6, 40);
        assert_eq!(roster.meet(&old), Ok(Met::New));
        assert!(matches!(roster.meet(&new), Err(Stranger::Replaced(_))), "it does not say whom it replaces");
        new.replaces = 11;
        assert_eq!(roster.meet(&new), Ok(Met::New));
        assert_eq!(roster.known(&peer).map(|known| known.created_ms), Some(40));
        assert!(matches!(roster.meet(&old), Err(Stranger::Replaced(_))));
    }

    #[test]
    fn what_a_peer_knows_later_wins() {
        let folder = crate::testing::Folder::new();
        let config = config(folder.path());
        let roster = Roster::load(&config).unwrap();
        let peer = config.nodes[2].name.clone();
        roster.meet(&identity(&config, &peer, 11, 5, 10)).unwrap();
        let told = |node, created_ms| {
            let known = Known { node, format: 1, created_ms };
            Content { nodes: [(peer.clone(), known)].into(), replaced: Vec::new() }
        };
        roster.learn(&told(33, 9)).unwrap();
        assert_eq!(roster.id_of(&peer), NodeId(11));
        roster.learn(&told(33, 11)).unwrap();
        assert_eq!(roster.id_of(&peer), NodeId(33));
    }
}
