//! Opens a node's data folder: as it is, or freshly formatted - as one of the founders of a new cluster, as a new member of
//! one that is there, or emptied, for a node that lost its disk.
//!
//! Formatting writes, in this order: an identity that says it is not finished; the answer of the cluster, for a node that
//! joins; the shards' folders with their markers and with the states of the replicas that the node begins with; the finished
//! identity. So a start that finds a finished identity finds, in the log, every replica that this node ever had a part in:
//! what is not there was never there, and may begin empty.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use replication::catalogue::{CATALOGUE, Catalogue, Member, MemberState, Settings};
use replication::contract::{Batch, Write};
use replication::ordered::raft::HardState;
use replication::{NodeId, PartitionId, Placement};
use storage::RealDisk;
use storage::journal::{Journal, Options};

use crate::boot;
use crate::clock::wall_clock_ms;
use crate::config::{Address, Config};
use crate::handshake::{JoinRequest, Joined};
use crate::identity::{Identity, Start, derived_id, replace_file};
use crate::known::Known;
use crate::marker;
use crate::node::shard_folder;
use crate::peers;
use crate::random;
use crate::roster::{Content, Roster};

/// How long a node that wants to become a member waits between two attempts.
const ASK_PAUSE: Duration = Duration::from_millis(500);

/// An open data folder.
#[derive(Debug)]
pub struct Opened {
    /// Who the node is.
    pub identity: Identity,
    /// Who the others are.
    pub roster: Roster,
    /// The placement that the cluster began with, if the node is one of its founders.
    pub founding: Option<Placement>,
    /// How often the node has lost what was not on its disk ([`crate::boot`]).
    pub losses: u64,
    /// Which keyspaces it has gone by.
    pub known: Known,
}

/// The data folder of the node that `config` describes, formatted if `start` allows it.
///
/// # Errors
/// The folder is not what `start` expects; the text says what to do.
pub async fn open(config: &Config, start: Start) -> Result<Opened, String> {
    let folder = &config.data;
    fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let found = Identity::load(folder)?;
    let roster = Roster::load(folder)?;
    let finished = found.as_ref().is_some_and(|found| !found.rebuilding);
    let identity = match (found, start) {
        (found, Start::Rebuild(seed)) => become_member(config, &roster, found, seed, true).await?,
        (Some(found), _) if finished => {
            found.check(config)?;
            marker::check(config, &found)?;
            found
        }
        (found, Start::Join(seed)) => become_member(config, &roster, found, Some(seed), false).await?,
        (found, Start::Bootstrap) => bootstrap(config, &roster, found)?,
        (Some(_), Start::Normal) => {
            return Err(format!(
                "formatting {} was begun and not finished: start this node again with the flag that it was started with \
                 (--bootstrap, --join or --rebuild)",
                folder.display()
            ));
        }
        (None, Start::Normal) => return Err(unformatted(folder)),
    };
    let founding = if identity.joined { None } else { Some(read_founding(config)?) };
    let losses = boot::begin(folder)?;
    let known = Known::open(folder)?;
    Ok(Opened { identity, roster, founding, losses, known })
}

fn unformatted(folder: &Path) -> String {
    format!(
        "{} holds no node. If this is the first start of a new cluster, start every node of it with --bootstrap. If this \
         node is to join a cluster, start it with --join and the peer address of any member. If it was in a cluster and \
         lost its disk, start it with --rebuild: it comes back under a new identity and fetches its data from the other \
         nodes",
        folder.display()
    )
}

/// The catalogue that the founders begin with, as `config` lists them.
pub fn founding_catalogue(config: &Config) -> Catalogue {
    let member = |node: &crate::config::NodeConfig| {
        let member = Member {
            name: node.name.clone(),
            client: node.client.to_string(),
            peer: node.peer.to_string(),
            zone: node.zone.clone(),
            weight: node.weight,
            state: MemberState::Active,
            format: 0,
        };
        (derived_id(&config.cluster, &node.name), member)
    };
    let settings = Settings {
        replication_factor: config.replication_factor as u32,
        replace_after_ms: config.membership.replace_after.as_millis() as u64,
        moves_at_once: config.membership.moves_at_once,
        move_bytes_per_second: config.membership.move_bytes_per_second,
    };
    Catalogue::genesis(config.nodes.iter().map(member).collect(), config.partitions, settings)
}

fn founding_path(config: &Config) -> std::path::PathBuf {
    config.data.join("founding.toml")
}

fn read_founding(config: &Config) -> Result<Placement, String> {
    let path = founding_path(config);
    let text =
        fs::read_to_string(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let read: Result<Placement, _> = toml::from_str(&text);
    read.map(Placement::indexed).map_err(|error| format!("{} is damaged: {error}", path.display()))
}

fn bootstrap(config: &Config, roster: &Roster, found: Option<Identity>) -> Result<Identity, String> {
    for index in 0.. {
        let shard = shard_folder(&config.data, index);
        if found.is_none() && !marker::is_unused(&shard)? {
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
    let id = derived_id(&config.cluster, &config.node);
    let mut identity = Identity::new(config, id, wall_clock_ms());
    let founding = founding_catalogue(config).placement();
    let text = toml::to_string(&founding).map_err(|error| format!("cannot encode the placement: {error}"))?;
    identity.rebuilding = true;
    identity.save(&config.data)?;
    replace_file(&founding_path(config), text.as_bytes())?;
    roster.replace(Content::founders(config))?;
    let held = (0..).map(PartitionId).zip(&founding.partitions);
    let held = held.filter(|(_, placed)| placed.places(id)).map(|(partition, _)| partition);
    let held = held.chain([CATALOGUE]).map(|partition| (partition, HardState::default())).collect();
    finish(config, identity, held)
}

/// Makes a new identity and has it let in, for a node that is new or (`rebuilds`) lost its disk.
async fn become_member(
    config: &Config,
    roster: &Roster,
    found: Option<Identity>,
    seed: Option<Address>,
    rebuilds: bool,
) -> Result<Identity, String> {
    let others = || config.nodes.iter().filter(|node| node.name != config.node).map(|node| node.peer.clone());
    let known = roster.content().nodes.into_iter().filter(|(name, _)| *name != config.node);
    let known: Vec<Address> = known.filter_map(|(_, known)| Address::parse(&known.peer)).collect();
    let seeds: Vec<Address> = seed.into_iter().chain(known).chain(others()).collect();
    if seeds.is_empty() {
        let text =
            "--rebuild fetches everything from the other nodes, and none is known: name one with --join";
        return Err(text.into());
    }
    if let Some(found) = &found {
        found.check(config)?;
    }
    // One that was begun is gone on with: it may have been let in already.
    let begun = found.clone().filter(|found| found.rebuilding && found.joined);
    let mut identity = begun.unwrap_or_else(|| {
        let created_ms = wall_clock_ms().max(found.map_or(0, |found| found.created_ms + 1));
        let id = NodeId(random::number().max(1));
        Identity { joined: true, rebuilding: true, ..Identity::new(config, id, created_ms) }
    });
    identity.save(&config.data)?;
    let myself = config.myself();
    let request = JoinRequest {
        cluster: config.cluster.clone(),
        name: config.node.clone(),
        node: identity.node,
        format: identity.format,
        client: myself.client.to_string(),
        peer: myself.peer.to_string(),
        zone: myself.zone.clone(),
        weight: myself.weight,
        rebuilds,
    };
    let Joined { layout, members } = ask(config, &seeds, &request).await?;
    identity.partitions = layout.partitions;
    identity.replication_factor = layout.replication_factor;
    identity.nodes = layout.nodes;
    roster.replace(members)?;
    let id = format!("{:016x}", identity.node);
    tracing::info!(node = config.node, id, rebuilds, "this node is a member of the cluster now");
    finish(config, identity, vec![(CATALOGUE, HardState::default().forgotten())])
}

/// Asks the seeds in turn until one lets this node in, or refuses with a reason that will not go away by waiting.
async fn ask(config: &Config, seeds: &[Address], request: &JoinRequest) -> Result<Joined, String> {
    loop {
        let mut reasons = Vec::new();
        for seed in seeds {
            match peers::ask_to_join(seed, request.clone(), config.peer_secret.as_deref()).await {
                Ok(joined) => return Ok(joined),
                Err(handshake) => match handshake {
                    crate::handshake::Rejection::TheyRefused(reason) if !is_passing(&reason) => {
                        return Err(format!("the member at {seed} does not let this node in: {reason}"));
                    }
                    other => reasons.push(format!("{seed}: {other}")),
                },
            }
        }
        tracing::warn!(reasons = reasons.join("; "), "no member lets this node in yet");
        tokio::time::sleep(ASK_PAUSE).await;
    }
}

/// Does the cluster only need time?
fn is_passing(reason: &str) -> bool {
    ["TRYAGAIN", "CLUSTERDOWN", "TIMEOUT", "UNKNOWN", "DISKFULL"]
        .iter()
        .any(|prefix| reason.starts_with(prefix))
}

/// Empties the shards' folders, makes them anew with the states that the node begins with, and says that it is done.
fn finish(
    config: &Config,
    mut identity: Identity,
    states: Vec<(PartitionId, HardState)>,
) -> Result<Identity, String> {
    destroy(config)?;
    marker::write(config, &identity)?;
    for index in 0..config.workers {
        let mine = |(partition, _): &&(PartitionId, HardState)| {
            usize::from(Placement::default().lane_of(*partition, config.workers as u8)) == index
        };
        let write = |(partition, state): &(PartitionId, HardState)| Write::State {
            partition: *partition,
            state: state.encode(),
        };
        let writes: Vec<Write> = states.iter().filter(mine).map(write).collect();
        write_states(config, index, writes)?;
    }
    identity.rebuilding = false;
    identity.save(&config.data)?;
    tracing::info!(node = config.node, id = %format!("{:016x}", identity.node), "data folder formatted");
    Ok(identity)
}

fn write_states(config: &Config, index: usize, writes: Vec<Write>) -> Result<(), String> {
    let folder = shard_folder(&config.data, index);
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
    let disk = RealDisk::open(&folder).map_err(|error| failed(&error))?;
    let options = Options { segment_bytes: config.storage.segment_bytes, ..Options::default() };
    let (mut journal, _) =
        Journal::open(disk, options, |_| data::Table::new()).map_err(|error| failed(&error))?;
    journal.append(&Batch { number: 1, writes, ..Batch::default() }).map_err(|error| failed(&error))?;
    journal.sync().map_err(|error| failed(&error))?;
    Ok(())
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

    #[tokio::test]
    async fn an_interrupted_formatting_is_repeated_and_a_used_folder_is_not_formatted() {
        let folder = crate::testing::Folder::new();
        let config = config(folder.path());
        let mut interrupted = Identity::new(&config, NodeId(7), 1);
        interrupted.rebuilding = true;
        interrupted.save(folder.path()).unwrap();
        marker::write(&config, &interrupted).unwrap();
        fs::write(shard_folder(folder.path(), 0).join("wal-00000001"), "half").unwrap();
        let refusal = open(&config, Start::Normal).await.unwrap_err();
        assert!(refusal.contains("was begun and not finished"), "{refusal}");
        let opened = open(&config, Start::Bootstrap).await.unwrap();
        assert_ne!(opened.identity.format, interrupted.format);
        let founding = opened.founding.clone();
        // Zones and states of members are known when the catalogue itself is read.
        let mut expected = founding_catalogue(&config).placement();
        expected.zones.clear();
        expected.active.clear();
        assert_eq!(founding, Some(expected));
        for start in [Start::Normal, Start::Bootstrap, Start::Join(Address::loopback(1))] {
            let again = open(&config, start).await.unwrap();
            assert_eq!((again.identity, again.founding), (opened.identity.clone(), founding.clone()));
        }

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
