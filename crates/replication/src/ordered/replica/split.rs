//! Splits: one partition becomes two while it serves.
//!
//! The catalogue names the split; the partition's leader puts it into the partition's log ([`Division::Split`]). Where that
//! entry is applied, on every member, the table is divided, and the upper part is the first state of a new group: the
//! child, whose members are those of the parent at that entry, and whose log begins after index 1 ([`Birth`]). Nothing is
//! copied between nodes, and both go on at once.
//!
//! What makes that safe:
//! - **The parent's log stands for the child until the child's own first snapshot is durable here**: the parent takes no
//!   snapshot before that ([`Replica::children_to_come`]), so a restart applies the split again and has the same child. What the
//!   child had logged by then is kept aside and put on top.
//! - **The parent's log is kept on all members until a majority holds the child**: that is so once the child has a leader
//!   that has committed something, which the catalogue shows by having a record of it; then the parent's leader says so in
//!   the log ([`Division::Settled`]). Otherwise a member that had the split in its log and had not applied it could be
//!   brought up by a snapshot from after it, and the child would be short of the copy that the split's majority had counted.
//! - Snapshots on their way begin anew: slices from before the split and from after it make no state.
//!
//! Requests say how many partitions there were when they were routed ([`Work::layout`]). One from before the split is looked
//! at: if what it means is not here any more it is handed back, and waits where it came from until the catalogue there
//! tells where it goes now. From the moment that the split is proposed the leader takes nothing for what will not be its own.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use data::Table;
use data::route::{Gather, Home, Homes, Route};

use super::Replica;
use super::payload::{Division, Payload};
use super::snapshot::Tail;
use crate::contract::{Call, Event, Reply};
use crate::ordered::raft::{Entry, Membership, SnapshotMeta};
use crate::placement::{PartitionPlacement, Split};
use crate::shard::outbox::{Outbox, Requester, Work};
use crate::time::Now;
use crate::{PartitionId, Placement};

/// The index, and the term, that the first state of a partition stands for which came about by a split.
pub const FIRST_OF_CHILD: u64 = 1;

/// What splits have made of a partition: part of the replicated state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The slots that it covers; `None`: no split had to do with it, and the placement says.
    slots: Option<(u16, u16)>,
    /// Requests that were routed when there were fewer partitions than this may mean what is elsewhere now.
    layout: u32,
    /// The entry that split it last.
    pub split_at: u64,
    /// A majority may not yet hold the new partition by itself.
    unsettled: bool,
}

impl Extent {
    pub fn encode(&self, out: &mut BytesMut) {
        let (first, last) = self.slots.unwrap_or((1, 0));
        out.put_u16_le(first);
        out.put_u16_le(last);
        out.put_u32_le(self.layout);
        out.put_u64_le(self.split_at);
        out.put_u8(u8::from(self.unsettled));
    }

    pub fn decode(bytes: &mut Bytes) -> Option<Extent> {
        let (first, last) = (bytes.try_get_u16_le().ok()?, bytes.try_get_u16_le().ok()?);
        Some(Extent {
            slots: (first <= last).then_some((first, last)),
            layout: bytes.try_get_u32_le().ok()?,
            split_at: bytes.try_get_u64_le().ok()?,
            unsettled: bytes.try_get_u8().ok()? != 0,
        })
    }

    /// Rises with every split.
    pub fn layout(&self) -> u32 {
        self.layout
    }

    /// The table covers what the partition does.
    pub fn narrow(&self, table: &mut Table) {
        if let Some((first, last)) = self.slots {
            table.set_slots(first, last);
        }
    }
}

/// A partition that comes about by a split, as a member of the parent makes it.
#[derive(Debug)]
pub(crate) struct Birth {
    pub parent: PartitionId,
    pub child: PartitionId,
    /// What a snapshot's [`SnapshotWrite::Finish`](crate::contract::SnapshotWrite::Finish) would carry.
    pub meta: Bytes,
    pub table: Table,
    /// Where it lives until the catalogue says.
    pub placed: PartitionPlacement,
    /// This node leads the parent, and is to lead the child at first.
    pub leads: bool,
}

/// Where a request belongs, seen from a map of slots that is newer than the one it was routed by.
pub(crate) enum Belongs {
    /// All of it to this group.
    To(u32),
    /// To no group in particular: any will do.
    Anywhere,
    /// To several, or to all of which there are more now: whoever sent it has to begin anew.
    Apart,
}

/// Where `call` belongs.
pub(crate) fn where_belongs(call: &Call, homes: &dyn Homes) -> Belongs {
    let together = |all: &mut dyn Iterator<Item = Home>| {
        let mut groups = all.map(|home| homes.group_of(home));
        let Some(first) = groups.next() else { return Belongs::Anywhere };
        if groups.all(|group| group == first) { Belongs::To(first) } else { Belongs::Apart }
    };
    let one = |command, arguments: &[Bytes]| match data::route(command, arguments, homes, 0) {
        Ok(Route::Home(home)) => Belongs::To(homes.group_of(home)),
        Ok(Route::Scatter { .. }) => Belongs::Apart,
        Ok(Route::Every { gather: Gather::PickOne { .. } }) => Belongs::Anywhere,
        Ok(Route::Every { .. }) => Belongs::Apart,
        // What is wrong with it is said where it is run.
        Ok(Route::Server) | Err(_) => Belongs::Anywhere,
    };
    match call {
        Call::Admin(_) => Belongs::Anywhere,
        Call::Demanding { call, .. }
        | Call::Quorum { call, .. }
        | Call::At { call, .. }
        | Call::After { call, .. } => where_belongs(call, homes),
        Call::Command { command, arguments, .. } => one(command, arguments),
        Call::Fingerprint { keys } => together(&mut keys.iter().map(|key| homes.home_of(key))),
        Call::Transaction { commands, .. } => {
            let mut parts = commands.iter().map(|(command, arguments)| one(command, arguments));
            // They are in one slot; `EXEC` of something else was refused before.
            parts.find(|part| !matches!(part, Belongs::Anywhere)).unwrap_or(Belongs::Anywhere)
        }
    }
}

/// What a request gets that cannot be taken apart anew.
pub(crate) fn refuse_apart(requester: Requester, outbox: &mut Outbox) {
    let text = "TRYAGAIN a partition was split meanwhile, nothing was done in it";
    outbox.answers.push((requester, Reply::Refused(text.into())));
}

/// The child that this entry gives birth to.
pub(crate) fn child_in(entry: &Entry) -> Option<PartitionId> {
    match Payload::division_in(&entry.payload) {
        Some(Division::Split { child, .. }) => Some(child),
        _ => None,
    }
}

impl Replica {
    /// Takes a request only if what it means is here, as it has to be unless a split got in between; else that is seen to.
    pub(super) fn if_here(&self, work: Work, outbox: &mut Outbox) -> Option<Work> {
        if work.layout >= self.extent.layout && self.splitting.is_none() {
            return Some(work);
        }
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.raft.has_bug(crate::ordered::raft::Bug::ServesWhatWasSplitOff) {
            return Some(work);
        }
        let (first, last) = self.extent.slots.unwrap_or((0, u16::MAX));
        let last = self.splitting.map_or(last, |first_slot| last.min(first_slot - 1));
        match where_belongs(&work.call, &|slot| u32::from((first..=last).contains(&slot))) {
            Belongs::To(1) | Belongs::Anywhere => Some(work),
            Belongs::To(_) => {
                outbox.elsewhere.push((self.partition, work, None));
                None
            }
            Belongs::Apart => {
                refuse_apart(work.requester, outbox);
                None
            }
        }
    }

    /// What the catalogue says of splits: this partition is to be split, or the one that it was split into has a record.
    pub fn follow_splits(&mut self, placement: &Placement) {
        self.split_wanted = placement.split.filter(|split| split.parent == self.partition);
        self.child_has_record = placement.layout() >= self.extent.layout;
    }

    /// The leader does what the catalogue wants.
    pub(super) fn take_split_on(&mut self, now: Now) {
        if self.split_wanted.is_none() && !self.extent.unsettled {
            return;
        }
        if !self.is_serving() || self.splitting.is_some() || self.disk_full {
            return;
        }
        if self.extent.unsettled {
            let child = PartitionId(self.extent.layout - 1);
            if self.child_has_record && !self.settling {
                self.settling = self.propose_division(Division::Settled { child }, now);
            }
            return;
        }
        let Some(Split { child, first_slot, .. }) = self.split_wanted else { return };
        let Some(placed) = &self.placed else { return };
        let present = self.raft.membership();
        let moves = !placed.moving_to.is_empty()
            || self.change.is_some()
            || present.is_joint()
            || !present.learners.is_empty();
        if child.0 < self.extent.layout || moves || !self.raft.membership_is_committed() {
            return;
        }
        let (first, last) = self.extent.slots.unwrap_or((placed.first_slot, placed.last_slot));
        if first_slot <= first || first_slot > last {
            return;
        }
        let slots = (first, last);
        if self.propose_division(Division::Split { child, first_slot, slots }, now) {
            self.splitting = Some(first_slot);
        }
    }

    fn propose_division(&mut self, division: Division, now: Now) -> bool {
        let time_ms = self.clock_ms(now);
        self.last_stamp_ms = time_ms;
        let payload = Payload { time_ms, token: None, mutation: None, division: Some(division) };
        self.raft.propose(payload.encode(), now.time).is_ok()
    }

    /// The log says what becomes of the partition.
    pub(super) fn divide(&mut self, division: Division, index: u64, now: Now, outbox: &mut Outbox) {
        match division {
            Division::Settled { child } => {
                if child.0 + 1 == self.extent.layout {
                    self.extent.unsettled = false;
                    self.compact();
                }
            }
            Division::Split { child, first_slot, slots } => {
                self.splitting = None;
                let meta = self.raft.meta_at(index).expect("the entry that is applied is in the log");
                // A second one from a leader that did not know of the first; or one that members which are about to leave
                // would take part in.
                if child.0 >= self.extent.layout && !meta.membership.is_joint() {
                    self.split(child, first_slot, slots, &meta.membership, index, now, outbox);
                }
            }
        }
    }

    fn split(
        &mut self,
        child: PartitionId,
        first_slot: u16,
        (first, last): (u16, u16),
        membership: &Membership,
        index: u64,
        now: Now,
        outbox: &mut Outbox,
    ) {
        assert!(self.applied >= self.exact_at, "a split divides an exact state");
        if self.taking.as_ref().is_some_and(|taking| !taking.is_finishing()) {
            self.abort_snapshot(outbox);
        }
        self.restart_transfers(now);
        let mut table = self.table.split_off(first_slot);
        self.table.set_slots(first, first_slot - 1);
        table.set_slots(first_slot, last);
        let layout = child.0 + 1;
        self.extent =
            Extent { slots: Some((first, first_slot - 1)), layout, split_at: index, unsettled: true };
        self.child_has_record = false;
        self.settling = false;
        outbox.event(Event::Split { partition: self.partition, child, index });
        let leads = self.raft.is_leader();
        if leads {
            // The others learn with it that the split is committed.
            let payload =
                Payload { time_ms: self.last_stamp_ms, token: None, mutation: None, division: None };
            let _ = self.raft.propose(payload.encode(), now.time);
        }
        let node = self.options.node;
        if !membership.voters.contains(&node) {
            return;
        }
        self.children_to_come.push(child);
        let voters = Membership { voters: membership.voters.clone(), ..Membership::default() };
        let meta = SnapshotMeta {
            index: FIRST_OF_CHILD,
            term: FIRST_OF_CHILD,
            membership: voters,
            exact_at: FIRST_OF_CHILD,
            terms: Vec::new(),
        };
        let extent = Extent { slots: Some((first_slot, last)), layout, ..Extent::default() };
        let order = self.placed.as_ref().map_or(&[][..], |placed| &placed.replicas);
        let mut replicas: Vec<_> =
            order.iter().copied().filter(|node| membership.voters.contains(node)).collect();
        replicas.extend(membership.voters.iter().filter(|node| !order.contains(node)));
        outbox.births.push(Birth {
            parent: self.partition,
            child,
            meta: Tail::encode(&meta, &extent, self.last_stamp_ms, &self.tokens),
            table,
            placed: PartitionPlacement {
                first_slot,
                last_slot: last,
                replicas,
                settled_at: 0,
                moving_to: Vec::new(),
            },
            leads,
        });
    }

    /// The child needs this replica's log no more to be here after a restart.
    pub fn child_is_durable(&mut self, child: PartitionId) {
        self.children_to_come.retain(|expected| *expected != child);
    }

    /// Does a partition that came about from this one live on its log alone?
    pub(super) fn is_needed_by_children(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.raft.has_bug(crate::ordered::raft::Bug::SnapshotBeforeChildIsDurable) {
            return false;
        }
        !self.children_to_come.is_empty()
    }

    /// The log after this index is needed for the split.
    pub(super) fn needed_for_split(&self) -> u64 {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.raft.has_bug(crate::ordered::raft::Bug::SplitForgottenTooEarly) {
            return u64::MAX;
        }
        if self.extent.unsettled { self.extent.split_at - 1 } else { u64::MAX }
    }

    /// Has this replica applied the split that made `child`, or come by a state from after it?
    pub fn knows_of(&self, child: PartitionId) -> bool {
        self.extent.layout > child.0
    }

    /// It has just come about: it is to be durable by itself soon, and to have a leader at once.
    pub fn begin_life(&mut self, leads: bool, now: Now) {
        self.wants_snapshot = true;
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.raft.has_bug(crate::ordered::raft::Bug::SnapshotBeforeChildIsDurable) {
            self.wants_snapshot = false;
        }
        if leads {
            self.eager_until = now.time + super::EAGER_FOR;
            self.raft.campaign(now.time);
        }
    }

    /// Is there a snapshot of its own on the disk?
    pub fn has_snapshot(&self) -> bool {
        self.compactable > 0
    }
}
