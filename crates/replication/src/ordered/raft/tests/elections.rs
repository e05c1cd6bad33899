//! Votes, promises and timeouts.

use super::group::Group;

#[test]
fn a_new_group_elects_at_once_and_commits() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("a leader takes proposals");
    group.propose(1, "b").expect("a leader takes proposals");
    for id in 1..=3 {
        assert_eq!(group.applied(id), ["a", "b"], "replica {id}");
    }
}
