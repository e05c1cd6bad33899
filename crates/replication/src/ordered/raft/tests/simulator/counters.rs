//! What a run exercised, so that an idle one is noticed.

macro_rules! counters {
    ($($name:ident,)*) => {
        #[derive(Clone, Debug, Default)]
        pub struct Counters { $(pub $name: u64,)* }

        impl Counters {
            pub fn add(&mut self, other: &Counters) {
                $(self.$name += other.$name;)*
            }

            /// Everything was met at least once.
            pub fn require_not_idle(&self) {
                $(assert!(self.$name > 0, "{} never happened", stringify!($name));)*
            }
        }
    };
}

counters! {
    runs,
    steps,
    leaders,
    proposals,
    proposals_refused,
    entries_committed,
    truncations,
    reads,
    reads_answered,
    reads_refused,
    reads_answered_by_followers,
    times_with_lease,
    messages_delivered,
    messages_lost,
    messages_duplicated,
    messages_cut_off,
    crashes,
    pauses,
    records_lost_in_crashes,
    partitions,
    one_way_partitions,
    transfers,
    leaders_by_transfer,
    membership_changes,
    joint_memberships_committed,
    memberships_reverted,
    members_told_removed,
    compactions,
    snapshots_sent,
    snapshots_replacing_the_log,
    snapshots_beside_the_log,
    snapshots_too_old,
    entries_read_back,
    read_backs_in_vain,
    disks_full,
    rejected_as_disk_full,
    slow_disks,
    times_quiet,
    suspicions,
    starts_with_log_behind_snapshot,
}
