//! How stale reads are where R + W <= N: measured, and predicted from latencies alone (probabilistically bounded staleness: Bailis et al.,
//! VLDB 2012).
//!
//! *Measured*: a value is written at one node; at another one it is read so long after the write was acknowledged. Nobody else writes the key, so an older value is
//! stale.
//!
//! *Predicted*: a read misses a write if the write comes to its replica later than the read does (WARS, section 4 there). With W = 1 the write is
//! acknowledged when it is durable at one replica; that it is at all of them is known later by what an acknowledgement by `ALL` takes longer than one by `ONE`. Of
//! N - 1 others that is the slowest; any of them is as fast with a chance that is the (N - 1)th root. In it are, besides the way there, the disk of the other replica, which
//! a read there does not miss the write for (it waits for it), and the way back: that is about what a write of `ONE` takes longer than a read of `ONE`, and half
//! of what a read of `ALL` takes longer. A read comes later than the acknowledgement by what is
//! chosen, and by the way of both through the client, which takes about as long as a read of `ONE`. All four latencies are measured in the same run, when nothing is broken.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::faults::Happened;

/// A write and a read of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// When the read was sent, in microseconds since the beginning.
    pub at: u64,
    /// How long after the write was acknowledged.
    pub after: u64,
    /// It saw an older value.
    pub stale: bool,
}

/// What four operations took one after the other, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Took {
    /// When they began.
    pub at: u64,
    /// A write with W = 1, and with W = ALL.
    pub writes: [u64; 2],
    /// A read with R = 1, and with R = ALL.
    pub reads: [u64; 2],
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Reads of what was written.
    pub trials: Vec<Trial>,
    /// Latencies.
    pub took: Vec<Took>,
    /// The keys that were used.
    pub keys: BTreeSet<String>,
}

/// The pauses between a write and its read, in microseconds.
pub const PAUSES: [u64; 10] = [0, 250, 500, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 20_000];
/// For so long after a fault its end is felt.
const FELT: u64 = 3_000_000;

/// Of how many reads so long after the write how many were stale.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Microseconds after the acknowledgement, on average.
    pub after: f64,
    /// Reads.
    pub reads: usize,
    /// Stale ones among them.
    pub stale: usize,
    /// The share that is predicted, if latencies were measured.
    pub predicted: Option<f64>,
}

impl Point {
    /// The share that was stale.
    pub fn share(&self) -> f64 {
        self.stale as f64 / self.reads.max(1) as f64
    }

    /// The bounds between which the share is with a chance of 95 % (Wilson 1927).
    fn bounds(&self) -> (f64, f64) {
        let (n, p, z) = (self.reads.max(1) as f64, self.share(), 1.96);
        let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt() / (1.0 + z * z / n);
        ((middle - half).max(0.0), (middle + half).min(1.0))
    }
}

impl Measured {
    /// What was measured while nothing was broken.
    pub fn while_quiet(&self, happened: &[Happened]) -> Measured {
        let is_quiet = |at: u64| !happened.iter().any(|fault| (fault.from..fault.to + FELT).contains(&at));
        Measured {
            trials: self.trials.iter().copied().filter(|trial| is_quiet(trial.at)).collect(),
            took: self.took.iter().copied().filter(|took| is_quiet(took.at)).collect(),
            keys: BTreeSet::new(),
        }
    }

    /// The curve, where each key has so many replicas.
    pub fn curve(&self, replicas: usize) -> Vec<Point> {
        // A read goes with the pause that it was meant to have, which it cannot fall short of.
        let place = |trial: &&Trial| PAUSES.iter().rposition(|pause| *pause <= trial.after).unwrap_or(0);
        let of_pause = |number: usize| self.trials.iter().filter(move |trial| place(trial) == number);
        (0..PAUSES.len())
            .filter_map(|number| {
                let reads = of_pause(number).count();
                let after = of_pause(number).map(|trial| trial.after as f64).sum::<f64>() / reads as f64;
                let stale = of_pause(number).filter(|trial| trial.stale).count();
                let predicted = self.predicted(after, replicas);
                (reads > 0).then_some(Point { after, reads, stale, predicted })
            })
            .collect()
    }

    /// The chance that a read is stale so long after the write, by latencies alone.
    fn predicted(&self, after: f64, replicas: usize) -> Option<f64> {
        if self.took.is_empty() || replicas < 2 {
            return None;
        }
        let mut later: Vec<f64> =
            self.took.iter().map(|took| took.writes[1] as f64 - took.writes[0] as f64).collect();
        later.sort_unstable_by(f64::total_cmp);
        let chance = |took: &Took| {
            let way_back = (took.reads[1] as f64 - took.reads[0] as f64).max(0.0) / 2.0;
            let disk = took.writes[0] as f64 - took.reads[0] as f64;
            let comes = after + took.reads[0] as f64 + disk.max(0.0) + way_back;
            let in_time = later.partition_point(|later| *later <= comes) as f64 / later.len() as f64;
            1.0 - in_time.powf(1.0 / (replicas - 1) as f64)
        };
        Some(self.took.iter().map(chance).sum::<f64>() / self.took.len() as f64)
    }
}

/// The curve for programs.
pub fn as_json(curve: &[Point]) -> Json {
    let of = |point: &Point| {
        json!({
            "after_ms": point.after / 1e3,
            "reads": point.reads,
            "stale": point.stale,
            "predicted": point.predicted,
        })
    };
    curve.iter().map(of).collect()
}

/// The curve for people: measured shares with their bounds, and the predicted line.
pub fn picture(curve: &[Point]) -> String {
    use std::fmt::Write;
    let (width, height, left, bottom) = (560.0, 240.0, 52.0, 36.0);
    // The pauses are closer together at the beginning.
    let most = PAUSES[PAUSES.len() - 1] as f64 * 1.05;
    let x = |after: f64| left + (after.min(most) / most).sqrt() * (width - left - 8.0);
    let highest = curve.iter().map(|point| point.bounds().1.max(point.predicted.unwrap_or(0.0)));
    let top = (highest.fold(0.01_f64, f64::max) * 1.08).min(1.0);
    let y = |share: f64| height - bottom - share / top * (height - bottom - 8.0);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" font-size=\"11\" font-family=\"system-ui,sans-serif\" role=\"img\">\
         <title>share of stale reads by time since the write was acknowledged</title>"
    );
    for step in 0..=4 {
        let share = top * f64::from(step) / 4.0;
        let _ = write!(
            svg,
            "<line x1=\"{left}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#eceff2\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#5b6875\" text-anchor=\"end\">{:.1} %</text>",
            width - 8.0,
            y(share),
            y(share),
            left - 6.0,
            y(share) + 4.0,
            share * 100.0
        );
    }
    for pause in [0, 500, 1_000, 2_000, 5_000, 10_000, 20_000] {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#5b6875\" text-anchor=\"middle\">{}</text>",
            x(f64::from(pause)),
            height - bottom + 15.0,
            f64::from(pause) / 1e3
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#5b6875\" text-anchor=\"middle\">ms after the write was acknowledged</text>",
        (left + width) / 2.0,
        height - 4.0
    );
    let line: Vec<String> = curve
        .iter()
        .filter_map(|point| Some(format!("{:.1},{:.1}", x(point.after), y(point.predicted?))))
        .collect();
    let _ = write!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#1d5fa8\" stroke-width=\"2\" stroke-dasharray=\"6 4\"/>",
        line.join(" ")
    );
    for point in curve {
        let (low, high) = point.bounds();
        let at = x(point.after);
        let _ = write!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#d62828\" stroke-opacity=\".5\" stroke-width=\"2\"/>\
             <circle cx=\"{at:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"#d62828\"><title>{:.2} ms: {} of {} stale</title></circle>",
            y(low),
            y(high),
            y(point.share()),
            point.after / 1e3,
            point.stale,
            point.reads
        );
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        // Writes come to the slowest of two others after 1 to 4 ms, with the same chance.
        let took =
            (0..4).map(|number| Took { at: 0, writes: [1_000, 2_000 + 1_000 * number], reads: [500, 500] });
        let trial = |after: u64, stale: bool| Trial { at: 0, after, stale };
        let trials = vec![trial(0, true), trial(100, false), trial(2_100, false), trial(2_300, false)];
        Measured { trials, took: took.collect(), ..Measured::default() }
    }

    #[test]
    fn what_is_predicted_follows_from_latencies() {
        let measured = measured();
        let near = |share: Option<f64>, wanted: f64| {
            let share = share.expect("latencies were measured");
            assert!((share - wanted).abs() < 1e-9, "{share}, not {wanted}");
        };
        // The disk takes half a millisecond, and so does the way of a client.
        near(measured.predicted(0.0, 3), 1.0 - 0.25_f64.sqrt());
        near(measured.predicted(2_000.0, 3), 1.0 - 0.75_f64.sqrt());
        near(measured.predicted(3_000.0, 3), 0.0);
        near(measured.predicted(2_000.0, 2), 0.25);
        assert_eq!(measured.predicted(0.0, 1), None, "nobody else has it");
        assert_eq!(Measured::default().predicted(0.0, 3), None);
    }

    #[test]
    fn the_curve_has_a_point_for_each_pause_and_leaves_faults_out() {
        let measured = measured();
        let curve = measured.curve(3);
        let seen: Vec<_> = curve.iter().map(|point| (point.after, point.reads, point.stale)).collect();
        assert_eq!(seen, [(50.0, 2, 1), (2_200.0, 2, 0)]);
        let (low, high) = curve[0].bounds();
        assert!(low > 0.05 && low < 0.5 && high > 0.5 && high < 0.95, "{low} to {high}");
        assert!(picture(&curve).contains("1 of 2 stale"));
        let fault = Happened { from: 0, to: 10, ..Happened::default() };
        assert!(measured.while_quiet(&[fault]).trials.is_empty());
    }
}
