//! Fencing: once its successor has acknowledged a write, a deposed primary acknowledges none.
//!
//! For asynchronous replication, which may lose what a deposed primary had acknowledged, if it says so: that alone would allow a primary that
//! is cut off to go on for as long as it likes. Three acknowledged writes to one log tell. *First* is lost, with the rest of its reign. *Kept* was
//! sent after that had been answered, and is there: so it does not stand behind *first*, it was taken by a successor. *Late* was sent
//! after *kept* had been answered, and is lost with the same reign as *first*: the deposed primary acknowledged it when there was another
//! one. Times are those of whoever recorded the history, before a write was sent and after it was answered, so no delay can feign this.

use std::collections::BTreeMap;

use crate::finding::Finding;

/// An acknowledged write.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// What shares a log with it has the same: a partition, or less.
    pub log: &'a str,
    /// Its key, for people.
    pub key: &'a str,
    /// When it was sent.
    pub from: u64,
    /// When it was answered.
    pub to: u64,
    /// The reign with which it was lost; `None`: it is there.
    pub lost: Option<&'a str>,
}

/// Did every deposed primary stop before its successor acknowledged anything?
pub fn fenced(writes: &[Write<'_>]) -> Finding {
    // Of each log and reign the lost write that was answered first, and the one that was sent last.
    let mut reigns: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    let mut kept: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, write) in writes.iter().enumerate() {
        match write.lost {
            None => kept.entry(write.log).or_default().push(place),
            Some(reign) => {
                let (first, last) = reigns.entry((write.log, reign)).or_insert((place, place));
                if write.to < writes[*first].to {
                    *first = place;
                }
                if write.from > writes[*last].from {
                    *last = place;
                }
            }
        }
    }
    for ((log, reign), (first, late)) in reigns {
        let later = kept.get(log).into_iter().flatten().filter(|kept| writes[**kept].from > writes[first].to);
        let earliest = later.min_by_key(|kept| writes[**kept].to);
        if let Some(&kept) = earliest.filter(|kept| writes[**kept].to < writes[late].from) {
            let [first_key, kept_key, late_key] = [first, kept, late].map(|place| writes[place].key);
            let text = format!(
                "{first_key:?} was acknowledged, and lost with reign {reign} of its log; {kept_key:?} was sent after that, is there, and so was \
                 acknowledged by a successor; {late_key:?} was sent {} us after this was answered, acknowledged, and lost with reign {reign}",
                writes[late].from - writes[kept].to
            );
            return Finding::invalid("acknowledged after fencing", vec![first, kept, late], text);
        }
    }
    Finding::Valid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(log: &'static str, from: u64, to: u64, lost: Option<&'static str>) -> Write<'static> {
        Write { log, key: log, from, to, lost }
    }

    #[test]
    fn a_primary_that_goes_on_beside_its_successor_is_found() {
        let (first, kept, late) =
            (write("a", 1, 2, Some("7")), write("a", 3, 4, None), write("a", 5, 6, Some("7")));
        for writes in [[first, kept, late], [late, first, kept], [kept, late, first]] {
            assert!(fenced(&writes).is_invalid(), "{writes:?}");
        }
        let Finding::Invalid(example) = fenced(&[late, write("a", 0, 9, None), first, kept]) else {
            panic!("it is one still");
        };
        assert_eq!(example.operations, [2, 3, 0]);
    }

    #[test]
    fn what_may_have_been_before_the_failover_is_not() {
        let (first, late) = (write("a", 1, 2, Some("7")), write("a", 5, 6, Some("7")));
        // It may stand before what was lost.
        assert!(fenced(&[first, write("a", 2, 4, None), late]).is_valid());
        // The late one may have been taken before it.
        assert!(fenced(&[first, write("a", 3, 5, None), late]).is_valid());
        // Two reigns, each with a failover of its own.
        assert!(fenced(&[first, write("a", 3, 4, None), write("a", 5, 6, Some("8"))]).is_valid());
        // Another log.
        assert!(fenced(&[first, write("b", 3, 4, None), late]).is_valid());
        // Nothing was lost before, so it may stand before all that was.
        assert!(fenced(&[write("a", 1, 2, None), write("a", 3, 4, None), late]).is_valid());
        assert!(fenced(&[]).is_valid());
    }
}
