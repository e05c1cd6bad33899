//! The view: coverage of all slots, whom it names, and when its version rises.

use super::*;
use replication::contract::Role;
use replication::ordered::raft::Membership;

/// Three nodes n1, n2, n3 with identities 1, 2, 3, seen from n1; all alive.
pub(crate) fn three_nodes(partitions: u32) -> ClusterView {
    let ids = [NodeId(1), NodeId(2), NodeId(3)];
    let node = |id: NodeId| NodeView {
        id,
        name: format!("n{}", id.0),
        client: Address::loopback(7000 + id.0 as u16),
        peer: Address::loopback(8000 + id.0 as u16),
        alive: true,
    };
    let placement = Arc::new(Placement::round_robin(&ids, partitions, 3));
    ClusterView::new(NodeId(1), ids.map(node).to_vec(), placement)
}

/// The catalogue of these three nodes.
pub(crate) fn catalogue(partitions: u32) -> Arc<Catalogue> {
    use replication::catalogue::{Member, MemberState, Settings};
    let member = |number: u64| Member {
        name: format!("n{number}"),
        client: Address::loopback(7000 + number as u16).to_string(),
        peer: Address::loopback(8000 + number as u16).to_string(),
        zone: format!("z{number}"),
        weight: 1,
        state: MemberState::Active,
        format: number,
    };
    let members = (1..=3).map(|number| (NodeId(number), member(number))).collect();
    let settings =
        Settings { replication_factor: 3, replace_after_ms: 0, moves_at_once: 2, move_bytes_per_second: 0 };
    Arc::new(Catalogue::genesis(members, partitions, settings))
}

/// The view after a catalogue with these nodes was read.
pub(crate) fn read(view: &ClusterView, nodes: Vec<NodeView>) {
    let catalogue = catalogue(view.state().placement.partitions.len() as u32);
    let placement = Arc::new(catalogue.placement());
    view.set_catalogue(catalogue, placement, nodes);
}

/// The status of a replica at node 1.
pub(crate) fn status(partition: u32, leader: Option<u64>) -> PartitionStatus {
    PartitionStatus {
        partition: PartitionId(partition),
        role: if leader == Some(1) { Role::Leader } else { Role::Follower },
        term: 3,
        leader: leader.map(NodeId),
        membership: Membership { voters: vec![NodeId(1), NodeId(2), NodeId(3)], ..Membership::default() },
        commit: 10,
        applied: 9,
        last_index: 11,
        log_start: 0,
        keys: 5,
        expiring: 1,
        bytes: 500,
        digest: 77,
        digest_mismatches: 0,
        tokens: 2,
        quiet: false,
        group: None,
        stable: 0,
        lag: Default::default(),
        merged: None,
        staleness: None,
    }
}

fn assert_covers_everything(ranges: &[SlotRange]) {
    let mut next = 0;
    for range in ranges {
        assert_eq!(u32::from(range.first), next);
        assert!(range.first <= range.last);
        assert!(!range.replicas.contains(&range.owner));
        next = u32::from(range.last) + 1;
    }
    assert_eq!(next, u32::from(SLOTS));
}

#[test]
fn without_any_status_the_preferred_leaders_own_the_slots() {
    let state = three_nodes(12).state();
    let ranges = state.ranges();
    assert_covers_everything(&ranges);
    assert_eq!(ranges.len(), 12);
    assert_eq!(ranges.iter().map(|range| range.owner.0).collect::<Vec<_>>(), [1, 2, 3].repeat(4));
}

#[test]
fn every_number_of_partitions_covers_every_slot() {
    for partitions in [1, 2, 3, 5, 12, 100, 1000, 16384] {
        assert_covers_everything(&three_nodes(partitions).state().ranges());
    }
    assert_covers_everything(&ClusterView::default().state().ranges());
}

#[test]
fn the_known_leader_owns_its_slots_and_neighbours_merge() {
    let view = three_nodes(6);
    view.set_status(
        (0..6).map(|partition| status(partition, Some(2))).collect(),
        replication::Time::default(),
    );
    let ranges = view.state().ranges();
    assert_covers_everything(&ranges);
    let all = SlotRange { first: 0, last: 16383, owner: NodeId(2), replicas: vec![NodeId(1), NodeId(3)] };
    assert_eq!(ranges, [all]);
}

#[test]
fn a_dead_leader_gives_way_to_a_member_that_lives() {
    let view = three_nodes(3);
    view.set_status(vec![status(1, Some(2))], replication::Time::default());
    assert_eq!(view.leader(PartitionId(1)), Some(NodeId(2)));
    view.set_alive(NodeId(2), false);
    assert_eq!(view.leader(PartitionId(1)), Some(NodeId(3)), "the next in preference");
    view.set_alive(NodeId(3), false);
    assert_eq!(view.leader(PartitionId(1)), Some(NodeId(1)));
    assert_covers_everything(&view.state().ranges());
}

#[test]
fn the_version_rises_with_what_clients_see_and_only_then() {
    let view = three_nodes(3);
    let version = || view.state().version;
    view.set_status(vec![status(0, Some(1))], replication::Time::default());
    let before = version();
    view.set_status(
        vec![PartitionStatus { applied: 99, keys: 7, ..status(0, Some(1)) }],
        replication::Time::default(),
    );
    view.set_alive(NodeId(2), true);
    assert_eq!(version(), before, "progress is not news");
    assert_eq!(view.state().status(PartitionId(0)).map(|status| status.applied), Some(99));
    view.set_status(vec![status(0, Some(3))], replication::Time::default());
    assert_eq!(version(), before + 1);
    view.set_alive(NodeId(2), false);
    assert_eq!(version(), before + 2);
}

#[test]
fn a_replaced_node_leaves_the_view() {
    let view = three_nodes(3);
    let mut nodes = view.state().nodes.clone();
    nodes.iter_mut().filter(|node| node.id == NodeId(2)).for_each(|node| node.id = NodeId(9));
    read(&view, nodes);
    let state = view.state();
    assert!(state.node(NodeId(2)).is_none());
    assert_eq!(state.node(NodeId(9)).map(|node| node.name.as_str()), Some("n2"));
    assert_eq!(state.nodes.len(), 3);
}
