//! What was compared.

use std::collections::BTreeMap;

/// Counts by what was compared: how often, and how often with the outcome that changes something.
#[derive(Default)]
pub struct Tally {
    counts: BTreeMap<&'static str, (u64, u64)>,
    allowed: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Something was compared; `happened`: an append was taken, a vote given, an entry committed.
    pub fn count(&mut self, what: &'static str, happened: bool) {
        let (all, yes) = self.counts.entry(what).or_default();
        *all += 1;
        *yes += u64::from(happened);
    }

    /// The cores differ here on purpose.
    pub fn allow(&mut self, what: &'static str) {
        *self.allowed.entry(what).or_default() += 1;
    }

    /// What was compared and always ended in one way: then the comparison says little.
    pub fn one_sided(&self) -> Vec<&'static str> {
        let always = ["healed", "joint commit"];
        let sides = self
            .counts
            .iter()
            .filter(|(what, (all, yes))| *yes == 0 || (yes == all && !always.contains(what)));
        sides.map(|(what, _)| *what).collect()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (what, (all, yes)) in &self.counts {
            writeln!(f, "  {what:<24} {all:>9} compared, {yes:>9} with effect")?;
        }
        for (what, times) in &self.allowed {
            writeln!(f, "  allowed to differ: {what}, {times} times")?;
        }
        Ok(())
    }
}
