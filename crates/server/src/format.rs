//! Opens a node's data folder: as it is, freshly formatted, or emptied for a rebuild.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::clock::wall_clock_ms;
use crate::config::Config;
use crate::identity::{Identity, Start, derived_id};
use crate::node::shard_folder;
use crate::peers;
use crate::random;
use crate::roster::Roster;
use replication::NodeId;

/// How long a rebuild waits between two attempts to reach a peer.
const ASK_PAUSE: Duration = Duration::from_millis(500);

/// The identity and the roster in the data folder, made if `start` allows it.
///
/// # Errors
/// The folder is not what `start` expects; the text says what to do.
pub async fn open(config: &Config, start: Start) -> Result<(Identity, Roster), String> {
    let folder = &config.data;
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let found = Identity::load(folder)?;
    let roster = Roster::load(config)?;
    let identity = match (found, start) {
        (found, Start::Rebuild) => rebuild(config, &roster, found).await?,
        (Some(found), _) if found.rebuilding => {
            return Err(format!(
                "a rebuild of {} was begun and not finished: start this node with --rebuild again",
                folder.display()
            ));
        }
        (Some(found), _) => {
            found.check(config)?;
            found
        }
        (None, Start::Normal) => return Err(unformatted(folder)),
        (None, Start::Bootstrap) => bootstrap(config)?,
    };
    Ok((identity, roster))
}

fn unformatted(folder: &Path) -> String {
    format!(
        "{} holds no node. If this is the first start of a new cluster, start every node of it with --bootstrap. If this \
         node was in a cluster and lost its disk, start it with --rebuild: it comes back under a new identity and fetches \
         its data from the other nodes",
        folder.display()
    )
}

fn bootstrap(config: &Config) -> Result<Identity, String> {
    for index in 0.. {
        let shard = shard_folder(&config.data, index);
        if shard.exists() {
            return Err(format!(
                "{} exists, but there is no node.toml beside it: this is not an empty data folder. Use another one, or \
                 start with --rebuild to throw it away and fetch everything from the other nodes",
                shard.display()
            ));
        }
        if index >= config.workers {
            break;
        }
    }
    let identity = Identity::new(config, derived_id(&config.cluster, &config.node), None, wall_clock_ms());
    identity.save(&config.data)?;
    tracing::info!(node = config.node, id = %format!("{:016x}", identity.node), "data folder formatted for a new cluster");
    Ok(identity)
}

/// Throws everything away and makes a new identity that stands in for the one that the peers know.
async fn rebuild(config: &Config, roster: &Roster, found: Option<Identity>) -> Result<Identity, String> {
    if config.nodes.len() < 2 {
        return Err("--rebuild fetches everything from the other nodes, and there are none".into());
    }
    if let Some(found) = &found {
        found.check(config)?;
    }
    loop {
        match peers::ask_roster(config).await {
            Ok(known) => {
                roster.learn(&known)?;
                break;
            }
            Err(reasons) => tracing::warn!(reasons, "a rebuild needs another node, and none answers yet"),
        }
        tokio::time::sleep(ASK_PAUSE).await;
    }
    let old = roster.id_of(&config.node);
    let mut identity = Identity::new(config, NodeId(random::number()), Some(old), wall_clock_ms());
    identity.rebuilding = true;
    identity.save(&config.data)?;
    destroy(config)?;
    identity.rebuilding = false;
    identity.save(&config.data)?;
    tracing::info!(
        node = config.node,
        id = %format!("{:016x}", identity.node),
        replaces = %format!("{:016x}", old.0),
        "data folder emptied; this node comes back under a new id"
    );
    Ok(identity)
}

fn destroy(config: &Config) -> Result<(), String> {
    for index in 0.. {
        let folder = shard_folder(&config.data, index);
        match fs::remove_dir_all(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && index >= config.workers => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot remove {}: {error}", folder.display())),
        }
    }
    Ok(())
}
