//! Opens a node's data folder: as it is, freshly formatted, or emptied for a rebuild.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::clock::wall_clock_ms;
use crate::config::Config;
use crate::identity::{Identity, Start, derived_id};
use crate::marker;
use crate::node::shard_folder;
use crate::peers;
use crate::random;
use crate::roster::{Known, Roster};
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
            marker::check(config, &found)?;
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
        if !marker::is_unused(&shard)? {
            return Err(format!(
                "{} is in use, but there is no node.toml beside it: this is not an empty data folder. Use another one, or \
                 start with --rebuild to throw it away and fetch everything from the other nodes",
                shard.display()
            ));
        }
        if index >= config.workers {
            break;
        }
    }
    let identity = Identity::new(config, derived_id(&config.cluster, &config.node), None, wall_clock_ms());
    marker::write(config, &identity)?;
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
    let created_ms = formatted_after(wall_clock_ms(), found.as_ref(), roster.known(&config.node).as_ref());
    let mut identity = Identity::new(config, NodeId(random::number()), Some(old), created_ms);
    identity.rebuilding = true;
    identity.save(&config.data)?;
    destroy(config)?;
    marker::write(config, &identity)?;
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

/// The time of a new formatting: later than any that is known of this node, even if the clock was set back since, or
/// peers would take the new identity for the older one.
fn formatted_after(now_ms: u64, found: Option<&Identity>, known: Option<&Known>) -> u64 {
    let found = found.map_or(0, |identity| identity.created_ms);
    let known = known.map_or(0, |known| known.created_ms);
    now_ms.max(found.max(known).saturating_add(1))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path) -> Config {
        let mut config = crate::testing::three_nodes();
        config.data = folder.to_path_buf();
        config
    }

    #[test]
    fn a_new_formatting_is_later_than_the_known_ones_whatever_the_clock_says() {
        let identity = Identity::new(&crate::testing::three_nodes(), NodeId(1), None, 70);
        let known = |created_ms| Known { node: 1, format: 1, created_ms };
        assert_eq!(formatted_after(5, None, None), 5);
        assert_eq!(formatted_after(50, Some(&identity), Some(&known(60))), 71);
        assert_eq!(formatted_after(50, None, Some(&known(60))), 61);
        assert_eq!(formatted_after(90, Some(&identity), Some(&known(60))), 90);
        assert_eq!(formatted_after(0, None, Some(&known(u64::MAX))), u64::MAX);
    }

    #[tokio::test]
    async fn an_interrupted_formatting_is_repeated_and_a_used_folder_is_not_formatted() {
        let folder = crate::testing::Folder::new();
        let config = config(folder.path());
        let interrupted = Identity::new(&config, NodeId(7), None, 1);
        marker::write(&config, &interrupted).unwrap();
        let (identity, _) = open(&config, Start::Bootstrap).await.unwrap();
        assert_ne!(identity.format, interrupted.format);
        assert_eq!(open(&config, Start::Normal).await.map(|(found, _)| found), Ok(identity));

        fs::write(shard_folder(folder.path(), 0).join("log"), "entries").unwrap();
        fs::remove_file(folder.path().join("node.toml")).unwrap();
        let refusal = open(&config, Start::Bootstrap).await.unwrap_err();
        assert!(refusal.contains("shard-0 is in use"), "{refusal}");
    }

    #[tokio::test]
    async fn a_shard_folder_that_is_gone_stops_every_start_but_a_rebuild() {
        let folder = crate::testing::Folder::new();
        let config = config(folder.path());
        open(&config, Start::Bootstrap).await.unwrap();
        fs::remove_dir_all(shard_folder(folder.path(), 0)).unwrap();
        for start in [Start::Normal, Start::Bootstrap] {
            let refusal = open(&config, start).await.unwrap_err();
            assert!(refusal.contains("shard-0") && refusal.contains("--rebuild"), "{refusal}");
        }
    }
}
