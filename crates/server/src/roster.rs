//! Who the members are, as this node last knew: the file `peers.toml` in the data folder.
//!
//! It is what a node needs before it has the catalogue: at a first start, to find the others at all, and at every start to
//! know whom it may talk to. It follows the catalogue ([`Roster::follow`]), and is written (durably) before a peer is first
//! trusted, so that one which comes back with another disk under its old id is noticed, and one that was removed or replaced
//! stays so.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use replication::NodeId;
use replication::catalogue::Catalogue;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::identity::{Identity, derived_id, hexadecimal, replace_file};

/// A member as it was last known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its id.
    #[serde(with = "hexadecimal")]
    pub node: u64,
    /// Its format id; 0: not met yet.
    #[serde(with = "hexadecimal")]
    pub format: u64,
    /// Where it takes clients.
    pub client: String,
    /// Where it takes its peers.
    pub peer: String,
}

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The epoch of the catalogue that this is of; 0: of none yet.
    pub epoch: u64,
    /// Ids (16 hexadecimal digits) of nodes that were removed or replaced: they are never let in again.
    #[serde(default)]
    pub removed: Vec<String>,
    /// By name.
    #[serde(default)]
    pub nodes: BTreeMap<String, Known>,
}

impl Content {
    /// What a catalogue says.
    pub fn of(catalogue: &Catalogue) -> Content {
        let known = |(id, member): (&NodeId, &replication::catalogue::Member)| {
            let (client, peer) = (member.client.clone(), member.peer.clone());
            (member.name.clone(), Known { node: id.0, format: member.format, client, peer })
        };
        Content {
            epoch: catalogue.epoch,
            removed: catalogue.removed.keys().map(|id| hexadecimal_text(id.0)).collect(),
            nodes: catalogue.members.iter().map(known).collect(),
        }
    }

    /// The founders that a configuration lists.
    pub fn founders(config: &Config) -> Content {
        let known = |node: &crate::config::NodeConfig| {
            let id = derived_id(&config.cluster, &node.name).0;
            let (client, peer) = (node.client.to_string(), node.peer.to_string());
            (node.name.clone(), Known { node: id, format: 0, client, peer })
        };
        Content { nodes: config.nodes.iter().map(known).collect(), ..Content::default() }
    }
}

fn hexadecimal_text(id: u64) -> String {
    format!("{id:016x}")
}

/// The roster of a running node. Shared; locked for moments only.
#[derive(Debug)]
pub struct Roster {
    path: PathBuf,
    content: Mutex<Content>,
}

/// What became of an introduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// As known.
    Known,
    /// First met.
    New,
}

/// Why a peer is not who it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It is no member, as far as is known here.
    Unknown(String),
    /// Its disk was wiped: it must not go on under this identity.
    Wiped(String),
    /// It was removed, or another node has its place.
    Removed(String),
    /// Our own disk is at fault.
    Disk(String),
}

impl Roster {
    /// Reads the roster in the data folder, or begins an empty one.
    ///
    /// # Errors
    /// The file cannot be read or understood; the text names it.
    pub fn load(folder: &Path) -> Result<Roster, String> {
        let path = folder.join("peers.toml");
        let content = match fs::read_to_string(&path) {
            Ok(text) => {
                toml::from_str(&text).map_err(|error| format!("{} is damaged: {error}", path.display()))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        Ok(Roster { path, content: Mutex::new(content) })
    }

    /// Everything that is known.
    pub fn content(&self) -> Content {
        self.lock().clone()
    }

    /// Begins anew with this.
    ///
    /// # Errors
    /// The disk's.
    pub fn replace(&self, next: Content) -> Result<(), String> {
        let mut content = self.lock();
        self.save(&next)?;
        *content = next;
        Ok(())
    }

    /// A peer says who it is. What is new is durable when this returns.
    ///
    /// # Errors
    /// It cannot be who it says.
    pub fn meet(&self, peer: &Identity) -> Result<Met, Stranger> {
        let mut content = self.lock();
        let (name, id) = (&peer.name, hexadecimal_text(peer.node));
        if content.removed.contains(&id) {
            return Err(Stranger::Removed(format!(
                "node '{name}' with id {id} was removed from the cluster or replaced by a rebuilt node; to come back it \
                 has to join again with an empty data folder"
            )));
        }
        let Some(known) = content.nodes.get(name).filter(|known| known.node == peer.node) else {
            return Err(Stranger::Unknown(format!(
                "node '{name}' with id {id} is no member of the cluster, as far as is known here"
            )));
        };
        if known.format == peer.format {
            return Ok(Met::Known);
        }
        if known.format != 0 {
            return Err(Stranger::Wiped(format!(
                "node '{name}' (id {id}) was known with format {:016x} and comes with format {:016x}: its data folder was \
                 replaced or emptied. Start it with --rebuild",
                known.format, peer.format
            )));
        }
        let mut next = content.clone();
        if let Some(known) = next.nodes.get_mut(name) {
            known.format = peer.format;
        }
        self.save(&next).map_err(Stranger::Disk)?;
        *content = next;
        Ok(Met::New)
    }

    /// The catalogue has changed: takes over what it says, unless what is known is newer.
    ///
    /// # Errors
    /// The disk's.
    pub fn follow(&self, catalogue: &Catalogue) -> Result<(), String> {
        let mut content = self.lock();
        if catalogue.epoch <= content.epoch {
            return Ok(());
        }
        let mut next = Content::of(catalogue);
        for (name, known) in &mut next.nodes {
            let met = content.nodes.get(name).filter(|met| met.node == known.node);
            if let Some(met) = met.filter(|_| known.format == 0) {
                known.format = met.format;
            }
        }
        let same = Content { epoch: content.epoch, ..next.clone() } == *content;
        // Most changes are not about members: they are not worth a write.
        if !same {
            self.save(&next)?;
        }
        *content = next;
        Ok(())
    }

    fn save(&self, content: &Content) -> Result<(), String> {
        let text = toml::to_string(content).map_err(|error| format!("cannot encode the roster: {error}"))?;
        replace_file(&self.path, text.as_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str, node: u64, format: u64) -> Identity {
        let config = crate::testing::three_nodes();
        let mut identity = Identity::new(&config, NodeId(node), 1);
        identity.name = name.into();
        identity.format = format;
        identity
    }

    fn roster(folder: &Path) -> Roster {
        let roster = Roster::load(folder).unwrap();
        roster.replace(Content::founders(&crate::testing::three_nodes())).unwrap();
        roster
    }

    #[test]
    fn a_wiped_peer_is_noticed_even_after_a_restart() {
        let folder = crate::testing::Folder::new();
        let met = roster(folder.path());
        let id = derived_id("consort", "n2").0;
        assert_eq!(met.meet(&identity("n2", id, 5)), Ok(Met::New));
        assert_eq!(met.meet(&identity("n2", id, 5)), Ok(Met::Known));
        let roster = Roster::load(folder.path()).unwrap();
        assert_eq!(roster.meet(&identity("n2", id, 5)), Ok(Met::Known));
        assert!(matches!(roster.meet(&identity("n2", id, 6)), Err(Stranger::Wiped(_))));
        assert_eq!(roster.meet(&identity("n2", id, 5)), Ok(Met::Known), "nothing was remembered of it");
        for (name, node) in [("nobody", 1), ("n2", 1), ("n3", id)] {
            assert!(
                matches!(roster.meet(&identity(name, node, 5)), Err(Stranger::Unknown(_))),
                "{name} {node}"
            );
        }
    }

    #[test]
    fn it_follows_the_catalogue_and_never_goes_back() {
        let folder = crate::testing::Folder::new();
        let roster = roster(folder.path());
        let id = derived_id("consort", "n2").0;
        assert_eq!(roster.meet(&identity("n2", id, 5)), Ok(Met::New));
        let mut catalogue = Catalogue { epoch: 4, ..Catalogue::default() };
        let member = |name: &str| replication::catalogue::Member {
            name: name.into(),
            client: "a:1".into(),
            peer: "a:2".into(),
            zone: String::new(),
            weight: 1,
            state: replication::catalogue::MemberState::Active,
            format: 0,
        };
        catalogue.members = [(NodeId(id), member("n2")), (NodeId(9), member("n9"))].into();
        catalogue.removed = [(NodeId(7), "n3".to_string())].into();
        roster.follow(&catalogue).unwrap();
        let roster = Roster::load(folder.path()).unwrap();
        assert_eq!(roster.meet(&identity("n2", id, 5)), Ok(Met::Known), "who was met stays known");
        assert_eq!(roster.meet(&identity("n9", 9, 3)), Ok(Met::New));
        assert!(matches!(roster.meet(&identity("n3", 7, 1)), Err(Stranger::Removed(_))));
        let known = roster.content();
        roster.follow(&Catalogue { epoch: 3, ..Catalogue::default() }).unwrap();
        assert_eq!(roster.content(), known);
    }
}
