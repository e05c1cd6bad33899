//! Carries out a plan: each fault begins when it is due, and is undone when its time is over.

use std::collections::BTreeSet;
use std::time::Duration;

use resp::Value;
use serde::Serialize;
use tokio::time::Instant;

use super::cluster::{Begin, Cluster};
use super::faultfile::Wrong;
use super::foretold::{self, Foretold};
use super::keyspaces::LostWrite;
use super::plan::{Fault, Planned};
use super::proxy::LinkFault;
use crate::ask::{Connection, Login};

/// A fault as it was.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Happened {
    /// When it began, in microseconds since the beginning.
    pub from: u64,
    /// When it was undone.
    pub to: u64,
    /// Its kind.
    pub kind: String,
    /// What it was, for people.
    pub what: String,
    /// What else is to be told.
    pub note: Option<String>,
    /// By how much a wall clock was wrong during it.
    pub jumped_us: u64,
    /// By how much clocks have come apart by it. That stays, until the node is started again.
    pub drifted_us: u64,
    /// When it began to be undone.
    pub until: u64,
    /// What had been said of it before it came.
    pub foretold: Vec<Foretold>,
}

/// How long a node may take to come back, a member to be out.
const LIMIT: Duration = Duration::from_secs(60);
/// How long an order may take, and several of them.
const ORDER: Duration = Duration::from_secs(8);
const ORDERS: Duration = Duration::from_secs(3);

/// For how long a node is not heard by another one before it is killed: too short to be missed.
const AHEAD: Duration = Duration::from_millis(200);

/// What is wrong at the moment.
pub struct Director<'a> {
    /// The cluster; `None` if it is not ours.
    pub cluster: Option<&'a mut Cluster>,
    begin: std::time::Instant,
    active: Vec<Active>,
    /// What happened, in the order of the ends.
    pub happened: Vec<Happened>,
    /// Prefixes of keyspaces of primary-replica.
    keyspaces: Vec<String>,
    /// Prefixes of all, and whether sessions are carried from node to node there.
    all: Vec<(String, bool)>,
    /// A keyspace that may be altered, as it is and as it becomes.
    alter: Option<(String, [Vec<String>; 2])>,
    joined: usize,
    /// What was listed as lost before disks were, by keyspace.
    pub listed: BTreeSet<(String, LostWrite)>,
    /// Pieces that were damaged by faults that are over.
    damaged: u64,
}

struct Active {
    /// With the moment at which it really began.
    planned: Planned,
    /// When it was to end.
    due_ms: u64,
    from: u64,
    note: Option<String>,
    foretold: Vec<Foretold>,
}

impl<'a> Director<'a> {
    /// Nothing is wrong yet.
    pub fn new(
        cluster: Option<&'a mut Cluster>,
        begin: std::time::Instant,
        keyspaces: Vec<String>,
        all: Vec<(String, bool)>,
        alter: Option<(String, [Vec<String>; 2])>,
    ) -> Director<'a> {
        Director {
            cluster,
            begin,
            active: Vec::new(),
            happened: Vec::new(),
            keyspaces,
            all,
            alter,
            joined: 0,
            listed: BTreeSet::new(),
            damaged: 0,
        }
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_micros() as u64
    }

    /// What is wrong now, for the screen.
    pub fn wrong(&self) -> String {
        let texts: Vec<String> = self.active.iter().map(|active| active.planned.fault.to_string()).collect();
        texts.join("; ")
    }

    /// Looks whether something is to begin or to end; `tell` hears of it.
    pub async fn step(&mut self, plan: &mut Vec<Planned>, tell: &mut dyn FnMut(String)) {
        let now = self.now() / 1000;
        while let Some(place) = self.active.iter().position(|active| active.planned.end_ms() <= now) {
            let active = self.active.remove(place);
            self.end(active, tell).await;
        }
        // What was not to overlap waits for what took longer to undo, and then has its whole length.
        let may_begin = |active: &[Active], planned: &Planned, now: u64| {
            planned.at_ms <= now && active.iter().all(|active| active.due_ms > planned.at_ms)
        };
        while plan.first().is_some_and(|planned| may_begin(&self.active, planned, self.now() / 1000)) {
            let mut planned = plan.remove(0);
            let due_ms = planned.end_ms();
            planned.at_ms = self.now() / 1000;
            tell(format!("{:>7.1} s  {}", self.now() as f64 / 1e6, planned.fault));
            let foretold = self.foretell(&planned.fault).await;
            let before = self.now();
            let note = self.begin_fault(&planned.fault).await.err();
            // A disk is gone from when its node was killed; the cluster was waited for before that.
            let ends_late = matches!(planned.fault, Fault::Wipe { .. } | Fault::PowerCutAll);
            let from = if ends_late { self.now() } else { before };
            if let Some(note) = &note {
                tell(format!("           {note}"));
            }
            self.active.push(Active { planned, due_ms, from, note, foretold });
        }
        self.stutter().await;
        self.revive(tell).await;
    }

    /// Freezes nodes that stutter, or lets them go on.
    async fn stutter(&mut self) {
        let now = self.now() / 1000;
        let Some(cluster) = &mut self.cluster else { return };
        for active in &self.active {
            let Fault::Stutter { node, frozen_ms, between_ms } = active.planned.fault else { continue };
            let frozen = (now - active.planned.at_ms) % (frozen_ms + between_ms) < frozen_ms;
            match frozen {
                true => cluster.nodes[node].pause().await,
                false => cluster.nodes[node].resume().await,
            }
        }
    }

    /// Undoes everything.
    pub async fn heal(&mut self, tell: &mut dyn FnMut(String)) {
        while let Some(active) = self.active.pop() {
            self.end(active, tell).await;
        }
        if let Some(cluster) = &mut self.cluster {
            cluster.proxies.heal();
            for node in &mut cluster.nodes {
                node.resume().await;
                for wrong in [
                    Wrong::WallClock(0),
                    Wrong::Drift(0),
                    Wrong::SyncFails(false),
                    Wrong::SyncSlow(0),
                    Wrong::Full(false),
                ] {
                    node.set(wrong);
                }
            }
        }
        self.revive(tell).await;
    }

    async fn end(&mut self, active: Active, tell: &mut dyn FnMut(String)) {
        let Active { planned, from, mut note, foretold, .. } = active;
        let until = self.now();
        if let Err(reason) = self.undo(&planned.fault).await {
            tell(format!("           {reason}"));
            note.get_or_insert(reason);
        }
        if let (Fault::Corrupt { .. }, Some(cluster)) = (&planned.fault, &self.cluster) {
            let damaged = cluster.proxies.damaged();
            note = Some(format!("{} pieces were damaged", damaged - self.damaged));
            self.damaged = damaged;
        }
        let (kind, what) = (planned.fault.kind().to_owned(), planned.fault.to_string());
        let to = self.now();
        let jumped_us = match planned.fault {
            Fault::Jump { milliseconds, .. } => milliseconds.unsigned_abs() * 1000,
            _ => 0,
        };
        let drifted_us = match planned.fault {
            Fault::Drift { millionths, .. } => millionths.unsigned_abs() * (to - from) / 1_000_000,
            _ => 0,
        };
        self.happened.push(Happened { from, to, kind, what, note, jumped_us, drifted_us, until, foretold });
    }

    /// What a node says of a fault that is to come, for each keyspace.
    async fn foretell(&self, fault: &Fault) -> Vec<Foretold> {
        let Some(cluster) = &self.cluster else { return Vec::new() };
        let names: Vec<String> = cluster.nodes.iter().map(|node| node.name.clone()).collect();
        let (Some(words), Some(node)) =
            (foretold::question(fault, &names), cluster.nodes.iter().find(|node| node.is_running()))
        else {
            return Vec::new();
        };
        let login = Login::default();
        let Ok(mut connection) = Connection::open(&node.client, &login, foretold::ORDER).await else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (prefix, carries) in &self.all {
            let mut command = vec!["KEYSPACE", "EXPLAIN", prefix];
            command.extend(words.iter().map(String::as_str));
            let Ok(reply) = connection.ask(&command, foretold::ORDER).await else { break };
            all.extend(foretold::parse(prefix, *carries, &reply, &names));
        }
        all
    }

    /// Starts nodes again that ended though no fault that is in force keeps them down: their disk failed, or they have
    /// a bug.
    async fn revive(&mut self, tell: &mut dyn FnMut(String)) {
        let down: BTreeSet<usize> = self
            .active
            .iter()
            .flat_map(|active| match active.planned.fault {
                Fault::Kill { node } | Fault::Stop { node } | Fault::SyncFails { node } => vec![node],
                Fault::PowerCut { node } | Fault::KillAhead { node, .. } => vec![node],
                Fault::Wipe { node } => vec![node],
                Fault::KillAll | Fault::PowerCutAll => (0..64).collect(),
                _ => Vec::new(),
            })
            .collect();
        let now = self.now();
        let Some(cluster) = &mut self.cluster else { return };
        for index in 0..cluster.nodes.len() {
            if down.contains(&index) || cluster.nodes[index].ended().is_none() {
                continue;
            }
            let node = &cluster.nodes[index];
            let last = node.log_tail();
            let last = last.lines().last().unwrap_or_default().to_owned();
            tell(format!("{:>7.1} s  {} ended by itself: {last}", now as f64 / 1e6, node.name));
            let what = format!("{} ended by itself", node.name);
            let _ = cluster.begin(index, Begin::Normal);
            let kind = "ended by itself".to_owned();
            let (from, to, note) = (now, now, Some(last));
            self.happened.push(Happened { from, to, kind, what, note, until: to, ..Happened::default() });
        }
    }

    /// Changes the links of a node, to or from it.
    fn links(&mut self, node: usize, says: bool, hears: bool, change: &dyn Fn(&mut LinkFault)) {
        let Some(cluster) = &mut self.cluster else { return };
        let name = cluster.nodes[node].name.clone();
        for other in cluster.nodes.iter().filter(|other| other.name != name) {
            if says {
                cluster.proxies.change(&name, &other.name, change);
            }
            if hears {
                cluster.proxies.change(&other.name, &name, change);
            }
        }
    }

    fn cut(&mut self, groups: &dyn Fn(usize, usize) -> bool, cut: bool) {
        let Some(cluster) = &mut self.cluster else { return };
        for (a, from) in cluster.nodes.iter().enumerate() {
            for (b, to) in cluster.nodes.iter().enumerate().filter(|(b, _)| *b != a) {
                if groups(a, b) {
                    cluster.proxies.change(&from.name, &to.name, |link| link.cut = cut);
                    // Half of the connections come back as they were, with all that was on its way; the others are new.
                    if !cut && (a + b) % 2 == 0 {
                        cluster.proxies.drop_connections(&from.name, &to.name);
                    }
                }
            }
        }
    }

    fn set(&mut self, node: usize, wrong: Wrong) {
        if let Some(cluster) = &self.cluster {
            cluster.nodes[node].set(wrong);
        }
    }

    fn slow_all(&mut self, microseconds: i64) {
        for node in self.cluster.iter().flat_map(|cluster| &cluster.nodes) {
            node.set(Wrong::SyncSlow(microseconds));
        }
    }

    async fn begin_fault(&mut self, fault: &Fault) -> Result<(), String> {
        match *fault {
            Fault::Kill { node } => {
                if let Some(cluster) = &mut self.cluster {
                    cluster.nodes[node].kill().await;
                }
                Ok(())
            }
            Fault::KillAhead { node, other } => {
                self.kill_ahead(node, other).await;
                Ok(())
            }
            Fault::Wipe { node } => {
                let listed = self.save_lists().await;
                if let Some(cluster) = &mut self.cluster {
                    cluster.nodes[node].kill().await;
                }
                listed
            }
            Fault::PowerCut { node } => match &mut self.cluster {
                Some(cluster) => cluster.nodes[node].lose_power().await,
                None => Ok(()),
            },
            Fault::PowerCutAll => {
                let mut result = Ok(());
                // At once: nobody may sync what another one has lost.
                for node in self.cluster.iter_mut().flat_map(|cluster| &mut cluster.nodes) {
                    node.pause().await;
                }
                for node in self.cluster.iter_mut().flat_map(|cluster| &mut cluster.nodes) {
                    result = result.and(node.lose_power().await);
                }
                result
            }
            Fault::KillAll => {
                for node in self.cluster.iter_mut().flat_map(|cluster| &mut cluster.nodes) {
                    node.kill().await;
                }
                Ok(())
            }
            Fault::Pause { node } => {
                if let Some(cluster) = &mut self.cluster {
                    cluster.nodes[node].pause().await;
                }
                Ok(())
            }
            // From step to step.
            Fault::Stutter { .. } => Ok(()),
            Fault::Stop { node } => {
                if let Some(cluster) = &mut self.cluster {
                    cluster.nodes[node].stop().await;
                }
                Ok(())
            }
            Fault::Drop { node } => {
                self.drop_of(node);
                Ok(())
            }
            Fault::Jump { node, milliseconds } => {
                self.set(node, Wrong::WallClock(milliseconds));
                Ok(())
            }
            Fault::Drift { node, millionths } => {
                self.set(node, Wrong::Drift(millionths));
                Ok(())
            }
            Fault::DiskFull { node } => {
                self.set(node, Wrong::Full(true));
                Ok(())
            }
            Fault::SyncFails { node } => {
                self.set(node, Wrong::SyncFails(true));
                Ok(())
            }
            Fault::SyncSlow { node, milliseconds } => {
                self.set(node, Wrong::SyncSlow(milliseconds as i64 * 1000));
                Ok(())
            }
            Fault::SyncSlowAll { milliseconds } => {
                self.slow_all(milliseconds as i64 * 1000);
                Ok(())
            }
            Fault::Failover { node } => match tokio::time::timeout(ORDERS, self.failover(node)).await {
                Ok(result) => result,
                Err(_) => Err(format!("not all orders were taken within {ORDERS:?}")),
            },
            Fault::Split { partition } => self.order(&["NODE", "SPLIT", &partition.to_string()]).await,
            Fault::Member => self.member_joins().await,
            Fault::Alter => self.alter(0).await,
            Fault::User { ref begin, .. } => shell(begin).await,
            _ => {
                self.change_network(fault, true);
                Ok(())
            }
        }
    }

    async fn undo(&mut self, fault: &Fault) -> Result<(), String> {
        match *fault {
            Fault::Kill { node }
            | Fault::KillAhead { node, .. }
            | Fault::Stop { node }
            | Fault::PowerCut { node } => self.start(node, Begin::Normal).await,
            Fault::Wipe { node } => {
                if let Some(cluster) = &self.cluster {
                    cluster.nodes[node].wipe();
                }
                self.start(node, Begin::Rebuild).await?;
                self.whole().await
            }
            Fault::KillAll | Fault::PowerCutAll => {
                let nodes = self.cluster.as_ref().map_or(0, |cluster| cluster.nodes.len());
                for node in 0..nodes {
                    self.start(node, Begin::Normal).await?;
                }
                Ok(())
            }
            Fault::Pause { node } | Fault::Stutter { node, .. } => {
                if let Some(cluster) = &mut self.cluster {
                    cluster.nodes[node].resume().await;
                }
                Ok(())
            }
            Fault::Drop { node } => {
                self.drop_of(node);
                Ok(())
            }
            Fault::Jump { node, .. } => {
                self.set(node, Wrong::WallClock(0));
                Ok(())
            }
            Fault::Drift { node, .. } => {
                self.set(node, Wrong::Drift(0));
                Ok(())
            }
            Fault::DiskFull { node } => {
                self.set(node, Wrong::Full(false));
                Ok(())
            }
            Fault::SyncFails { node } => {
                self.set(node, Wrong::SyncFails(false));
                let Some(cluster) = &mut self.cluster else { return Ok(()) };
                if cluster.nodes[node].ended().is_some() {
                    return self.start(node, Begin::Normal).await;
                }
                Err("no fsync was tried meanwhile".into())
            }
            Fault::SyncSlow { node, .. } => {
                self.set(node, Wrong::SyncSlow(0));
                Ok(())
            }
            Fault::SyncSlowAll { .. } => {
                self.slow_all(0);
                Ok(())
            }
            Fault::Failover { .. } | Fault::Split { .. } => Ok(()),
            Fault::Member => self.member_leaves().await,
            Fault::Alter => self.alter(1).await,
            Fault::User { ref end, .. } => match end {
                Some(end) => shell(end).await,
                None => Ok(()),
            },
            _ => {
                self.change_network(fault, false);
                Ok(())
            }
        }
    }

    fn change_network(&mut self, fault: &Fault, on: bool) {
        let nodes = self.cluster.as_ref().map_or(0, |cluster| cluster.nodes.len());
        match *fault {
            Fault::Isolate { node } => self.cut(&|a, b| a == node || b == node, on),
            Fault::Mute { node } => self.cut(&|a, _| a == node, on),
            Fault::Deaf { node } => self.cut(&|_, b| b == node, on),
            Fault::CutPair { node, other } => {
                self.cut(&|a, b| (a, b) == (node, other) || (b, a) == (node, other), on);
            }
            Fault::Halves { node, size } => {
                let first = move |which: usize| (which + nodes - node) % nodes.max(1) < size;
                self.cut(&|a, b| first(a) != first(b), on);
            }
            Fault::Ring => {
                let apart = move |a: usize, b: usize| {
                    let distance = a.abs_diff(b);
                    distance.min(nodes - distance) > 1
                };
                self.cut(&apart, on);
            }
            Fault::Delay { node, milliseconds, jitter } => self.links(node, true, true, &|link| {
                (link.delay, link.jitter) = match on {
                    true => (Duration::from_millis(milliseconds), Duration::from_millis(jitter)),
                    false => (Duration::ZERO, Duration::ZERO),
                };
            }),
            Fault::Throttle { node, kilobytes } => self.links(node, true, true, &|link| {
                link.bytes_per_second = if on { kilobytes * 1000 } else { 0 };
            }),
            Fault::Mix { node, one_of } => {
                self.links(node, true, true, &|link| link.mix_one_of = if on { one_of } else { 0 });
            }
            Fault::Corrupt { node, one_of } => {
                self.links(node, true, true, &|link| link.corrupt_one_of = if on { one_of } else { 0 });
            }
            _ => {}
        }
    }

    /// The other one lacks what came last: whatever is on its way to it when the node is killed is lost.
    async fn kill_ahead(&mut self, node: usize, other: usize) {
        let pair = Fault::CutPair { node, other };
        self.change_network(&pair, true);
        tokio::time::sleep(AHEAD).await;
        let Some(cluster) = &mut self.cluster else { return };
        cluster.nodes[node].kill().await;
        let names = [node, other].map(|node| cluster.nodes[node].name.clone());
        cluster.proxies.drop_connections(&names[0], &names[1]);
        cluster.proxies.drop_connections(&names[1], &names[0]);
        self.change_network(&pair, false);
    }

    fn drop_of(&mut self, node: usize) {
        let Some(cluster) = &self.cluster else { return };
        let name = &cluster.nodes[node].name;
        for other in cluster.nodes.iter().filter(|other| other.name != *name) {
            cluster.proxies.drop_connections(name, &other.name);
            cluster.proxies.drop_connections(&other.name, name);
        }
    }

    async fn start(&mut self, node: usize, begin: Begin) -> Result<(), String> {
        let Some(cluster) = &mut self.cluster else { return Ok(()) };
        cluster.nodes[node].kill().await;
        cluster.begin(node, begin)
    }

    /// Gives an order to some node that takes it.
    async fn order(&self, command: &[&str]) -> Result<(), String> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let mut last = "no node is there".to_owned();
        for node in cluster.nodes.iter().filter(|node| node.is_running()) {
            last = match order(&node.client, command).await {
                Ok(_) => return Ok(()),
                Err(reason) => reason,
            };
        }
        Err(format!("{}: {last}", command.join(" ")))
    }

    /// Hands everything that can be handed to a node.
    async fn failover(&self, node: usize) -> Result<(), String> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let name = cluster.nodes[node].name.clone();
        let partitions = match cluster.nodes[node].status().await {
            Some(status) => status.partitions.len(),
            None => return Err(format!("{name} does not answer")),
        };
        let mut result = Ok(());
        for keyspace in &self.keyspaces {
            result = result.and(self.order(&["KEYSPACE", "FAILOVER", keyspace, "TO", &name]).await);
        }
        for partition in 0..partitions {
            // Only the leader takes it: all are asked.
            for other in cluster.nodes.iter().filter(|other| other.is_running()) {
                let _ = order(&other.client, &["CONSORT", "TRANSFER", &partition.to_string(), &name]).await;
            }
        }
        result
    }

    async fn alter(&self, which: usize) -> Result<(), String> {
        let Some((prefix, settings)) = &self.alter else { return Ok(()) };
        let mut command = vec!["KEYSPACE", "ALTER", prefix];
        command.extend(settings[which].iter().map(String::as_str));
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.order(&command).await {
                Err(_) if which == 1 && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                result => return result,
            }
        }
    }

    async fn member_joins(&mut self) -> Result<(), String> {
        let Some(cluster) = &mut self.cluster else { return Ok(()) };
        self.joined += 1;
        cluster.join(format!("x{}", self.joined)).map(|_| ())
    }

    /// Removes the node that joined last; it ends by itself when nobody needs it any more.
    async fn member_leaves(&mut self) -> Result<(), String> {
        let name = format!("x{}", self.joined);
        let deadline = Instant::now() + LIMIT;
        loop {
            match self.order(&["NODE", "REMOVE", &name]).await {
                Ok(()) => break,
                Err(reason) if Instant::now() > deadline => return Err(reason),
                Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
            }
        }
        let Some(cluster) = &mut self.cluster else { return Ok(()) };
        let Some(index) = cluster.index_of(&name) else { return Ok(()) };
        let ended = cluster.nodes[index].wait(LIMIT).await;
        cluster.forget_last().await;
        match ended {
            Some(_) => Ok(()),
            None => Err(format!("{name} was removed, and did not end within {LIMIT:?}")),
        }
    }

    /// What a node keeps as lost goes with its disk, so it is asked for before, as an operator does.
    async fn save_lists(&mut self) -> Result<(), String> {
        self.whole().await?;
        let Some(cluster) = &self.cluster else { return Ok(()) };
        for prefix in &self.keyspaces {
            let lost = super::keyspaces::lost(&cluster.nodes[0].client, &Login::default(), prefix).await?;
            self.listed.extend(lost.into_iter().map(|write| (prefix.clone(), write)));
        }
        Ok(())
    }

    /// Waits until every partition has all its members and they are caught up: a second disk may be lost only then.
    async fn whole(&self) -> Result<(), String> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        super::settled::wait(cluster.nodes.len(), || cluster.statuses()).await.map(|_| ())
    }
}

async fn order(address: &str, command: &[&str]) -> Result<Value, String> {
    let mut connection = Connection::open(address, &Login::default(), Duration::from_secs(1)).await?;
    match connection.ask(command, ORDER).await? {
        Value::Error(text) => Err(text.to_string()),
        value => Ok(value),
    }
}

async fn shell(command: &str) -> Result<(), String> {
    let ran = tokio::process::Command::new("sh").args(["-c", command]).output();
    let output = ran.await.map_err(|error| format!("cannot run it: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())),
    }
}
