//! The algebra of majorities, for single and joint memberships. Pure functions over "what has this node answered?".
//!
//! Invariant: two sets that each satisfy the same membership share a node. For a joint membership (outgoing not empty)
//! a set has to satisfy both halves. An empty half is always satisfied, so a single membership is a joint one without
//! outgoing voters.
//!
//! | voters | values | reached by a majority |
//! |---|---|---|
//! | 1 | 7 | 7 |
//! | 2 | 7 9 | 7 |
//! | 3 | 7 9 4 | 7 |
//! | 4 | 7 9 4 2 | 4 |
//! | 5 | 7 9 4 2 8 | 7 |

use crate::NodeId;

/// How many of `count` are a majority.
pub const fn majority(count: usize) -> usize {
    count / 2 + 1
}

/// The largest value that a majority of `voters` has reached; `u64::MAX` if there are none. Looks at all pairs: groups
/// are small, and nothing has to be allocated.
pub fn majority_reached(voters: &[NodeId], value_of: impl Fn(NodeId) -> u64) -> u64 {
    if voters.is_empty() {
        return u64::MAX;
    }
    let needed = majority(voters.len());
    let reached_by = |value: u64| voters.iter().filter(|&&voter| value_of(voter) >= value).count();
    voters
        .iter()
        .map(|&voter| value_of(voter))
        .filter(|&value| reached_by(value) >= needed)
        .max()
        .unwrap_or(0)
}

/// The largest value that majorities of both halves have reached.
pub fn joint_reached(incoming: &[NodeId], outgoing: &[NodeId], value_of: impl Fn(NodeId) -> u64) -> u64 {
    majority_reached(incoming, &value_of).min(majority_reached(outgoing, &value_of))
}

/// Have majorities of both halves said yes?
pub fn joint_agrees(incoming: &[NodeId], outgoing: &[NodeId], said_yes: impl Fn(NodeId) -> bool) -> bool {
    joint_reached(incoming, outgoing, |node| u64::from(said_yes(node))) >= 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// The plain twin: sort, take the one in the middle.
    fn by_sorting(voters: &[NodeId], values: &[u64]) -> u64 {
        let mut values: Vec<u64> = voters.iter().map(|voter| values[voter.0 as usize]).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.get(values.len() / 2).copied().unwrap_or(u64::MAX)
    }

    #[test]
    fn table_of_examples() {
        // (incoming, outgoing, values by node, reached)
        let table: &[(&[u64], &[u64], &[u64], u64)] = &[
            (&[], &[], &[], u64::MAX),
            (&[0], &[], &[7], 7),
            (&[0, 1], &[], &[7, 9], 7),
            (&[0, 1, 2], &[], &[7, 9, 4], 7),
            (&[0, 1, 2], &[], &[0, 9, 0], 0),
            (&[0, 1, 2, 3], &[], &[7, 9, 4, 2], 4),
            (&[0, 1, 2, 3, 4], &[], &[7, 9, 4, 2, 8], 7),
            (&[0, 1, 2], &[2, 3, 4], &[9, 9, 3, 3, 0], 3),
            (&[0, 1, 2], &[2, 3, 4], &[9, 9, 9, 0, 0], 0),
            (&[0], &[1, 2, 3], &[5, 9, 9, 0], 5),
            (&[0, 1, 2], &[0], &[1, 9, 9], 1),
        ];
        for &(incoming, outgoing, values, reached) in table {
            let got = joint_reached(&nodes(incoming), &nodes(outgoing), |node| values[node.0 as usize]);
            assert_eq!(got, reached, "{incoming:?} and {outgoing:?} with {values:?}");
        }
    }

    #[test]
    fn votes() {
        // (incoming, outgoing, who said yes, enough?)
        let table: &[(&[u64], &[u64], &[u64], bool)] = &[
            (&[0, 1, 2], &[], &[0], false),
            (&[0, 1, 2], &[], &[0, 2], true),
            (&[0, 1, 2, 3], &[], &[0, 2], false),
            (&[0, 1, 2], &[], &[0, 7, 8], false),
            (&[0, 1, 2], &[3, 4, 5], &[0, 1, 3], false),
            (&[0, 1, 2], &[3, 4, 5], &[0, 1, 3, 5], true),
            (&[0], &[], &[], false),
        ];
        for &(incoming, outgoing, yes, enough) in table {
            let got = joint_agrees(&nodes(incoming), &nodes(outgoing), |node| yes.contains(&node.0));
            assert_eq!(got, enough, "{incoming:?} and {outgoing:?} with {yes:?}");
        }
    }

    proptest! {
        #[test]
        fn as_by_sorting(values in prop::collection::vec(0u64..6, 9), incoming in 0usize..9, outgoing in 0usize..5) {
            let incoming = nodes(&(0..incoming as u64).collect::<Vec<_>>());
            let outgoing = nodes(&(4..4 + outgoing as u64).collect::<Vec<_>>());
            let plain = by_sorting(&incoming, &values).min(by_sorting(&outgoing, &values));
            prop_assert_eq!(joint_reached(&incoming, &outgoing, |node| values[node.0 as usize]), plain);
        }

        /// Two sets that both agree share a node, even when one counts as the membership before and the other as the joint.
        #[test]
        fn agreeing_sets_meet(yes in 0u16..512, also in 0u16..512, incoming in 1usize..9, outgoing in 0usize..5) {
            let incoming = nodes(&(0..incoming as u64).collect::<Vec<_>>());
            let outgoing = nodes(&(4..4 + outgoing as u64).collect::<Vec<_>>());
            let said = |set: u16| move |node: NodeId| set >> node.0 & 1 == 1;
            let joint = joint_agrees(&incoming, &outgoing, said(yes));
            if joint && joint_agrees(&incoming, &[], said(also)) {
                prop_assert!(yes & also != 0);
            }
            if joint && !outgoing.is_empty() && joint_agrees(&outgoing, &[], said(also)) {
                prop_assert!(yes & also != 0);
            }
        }
    }
}
