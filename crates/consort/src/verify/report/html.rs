//! The page.

use std::fmt::Write;

use check::Finding;
use check::picture::escape;

use super::Run;
use super::figures::{Availability, Latency, STEP};
use crate::verify::faults::Happened;
use crate::verify::judge::{Judged, Verdict};
use crate::verify::staleness::picture;

const STYLE: &str = "\
:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;margin:0;color:#1d2733;background:#f6f7f9}\
main{max-width:1160px;margin:0 auto;padding:24px}h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:32px 0 8px}\
.card{background:#fff;border:1px solid #dfe3e8;border-radius:8px;padding:16px;margin:12px 0;overflow-x:auto}\
table{border-collapse:collapse;width:100%;font-size:13.5px}td,th{text-align:left;padding:5px 10px 5px 0;border-bottom:1px solid #eceff2;vertical-align:top}\
th{color:#5b6875;font-weight:600}.n{text-align:right;font-variant-numeric:tabular-nums}td.n{white-space:nowrap}\
.valid{color:#1a7f4b}.invalid{color:#c62828;font-weight:700}.unknown{color:#a65f00;font-weight:700}\
pre{background:#f3f5f7;padding:12px;border-radius:6px;white-space:pre-wrap;overflow-wrap:anywhere;font-size:12.5px;line-height:1.45}\
.big{font-size:20px;font-weight:700}.muted{color:#5b6875}code{background:#eef1f4;padding:1px 5px;border-radius:4px}\
svg{max-width:100%;height:auto}.key span{display:inline-block;width:11px;height:11px;border-radius:2px;margin:0 4px 0 14px}";

/// The whole page.
pub fn page(run: &Run) -> String {
    let (valid, invalid, unknown) = run.count();
    let (class, says) = match (invalid, unknown) {
        (0, 0) => ("valid", "every promise held".to_owned()),
        (0, unknown) => ("unknown", format!("no promise was broken, {unknown} could not be decided")),
        (broken, _) => (
            "invalid",
            format!("{broken} of {} checks say that a promise was broken", valid + broken + unknown),
        ),
    };
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>consort verify: {says}</title><style>{STYLE}</style></head><body><main>\
         <h1>consort verify</h1><p class=\"big {class}\">{says}</p>\n"
    );
    summary(&mut page, run);
    verdicts(&mut page, run);
    counterexamples(&mut page, run);
    availability(&mut page, run);
    stale(&mut page, run);
    numbers(&mut page, run);
    faults(&mut page, run);
    page.push_str("</main></body></html>\n");
    page
}

fn summary(page: &mut String, run: &Run) {
    let kinds = run.kinds();
    let _ = write!(
        page,
        "<div class=\"card\"><b>{}</b> operations in {:.0} s, <b>{}</b> faults of <b>{}</b> kinds, checked in {:.1} s; \
         healed, the cluster was whole again after {:.1} s. Seed <b>{}</b>, version {}.<br>\
         <span class=\"muted\">Again: <code>{}</code> (the same plan; how operations interleave is the machine's)</span>",
        grouped(run.operations() as u64),
        run.length as f64 / 1e6,
        run.happened.len(),
        kinds.len(),
        run.judged_in as f64 / 1e3,
        run.healed_in as f64 / 1e3,
        run.seed,
        escape(&run.version),
        escape(&run.command),
    );
    for text in &run.left_out {
        let _ = write!(page, "<br><span class=\"unknown\">Left out:</span> {}", escape(text));
    }
    page.push_str("</div>");
}

fn verdicts(page: &mut String, run: &Run) {
    page.push_str("<h2>Promises</h2>");
    for judged in &run.keyspaces {
        let _ = write!(
            page,
            "<div class=\"card\"><b>{}</b> <span class=\"muted\">{}</span><br>Promise: {}<table>{HEAD}",
            escape(judged.name()),
            escape(&judged.keyspace.kind),
            escape(&judged.keyspace.promise)
        );
        judged.verdicts.iter().for_each(|verdict| row(page, verdict));
        page.push_str("</table></div>");
    }
    let _ = write!(page, "<div class=\"card\"><b>The cluster as a whole</b><table>{HEAD}");
    run.cluster.iter().for_each(|verdict| row(page, verdict));
    page.push_str("</table></div>");
}

const HEAD: &str = "<tr><th>workload<th>check<th>verdict<th class=\"n\">operations<th class=\"n\">took</tr>";

fn row(page: &mut String, verdict: &Verdict) {
    let name = verdict.finding.name();
    let mut more = verdict.note.clone().unwrap_or_default();
    if verdict.exempt > 0 {
        let text = format!("{} left out: on keys of which writes were lost", grouped(verdict.exempt as u64));
        more = if more.is_empty() { text } else { format!("{more}; {text}") };
    }
    let more =
        if more.is_empty() { more } else { format!(" <span class=\"muted\">({})</span>", escape(&more)) };
    let _ = write!(
        page,
        "<tr><td>{}<td>{}<td class=\"{name}\">{name}{more}<td class=\"n\">{}<td class=\"n\">{} ms</tr>",
        escape(verdict.workload),
        escape(&verdict.check),
        grouped(verdict.operations as u64),
        verdict.milliseconds
    );
}

fn counterexamples(page: &mut String, run: &Run) {
    let wrong: Vec<_> = run.verdicts().filter(|(_, verdict)| !verdict.finding.is_valid()).collect();
    if wrong.is_empty() {
        return;
    }
    page.push_str("<h2>What was broken</h2>");
    for (keyspace, verdict) in wrong {
        let (pattern, text) = match &verdict.finding {
            Finding::Invalid(example) => (example.pattern, example.text.as_str()),
            Finding::Unknown(reason) => ("not decided", reason.as_str()),
            Finding::Valid => continue,
        };
        let _ = write!(
            page,
            "<div class=\"card\"><b>{}</b>, {}: {} <span class=\"{}\">{}</span>",
            escape(keyspace),
            verdict.workload,
            escape(&verdict.check),
            verdict.finding.name(),
            escape(pattern)
        );
        if let Some(picture) = &verdict.picture {
            let _ = write!(page, "<div>{picture}</div>");
        }
        let _ = write!(
            page,
            "<pre>{}</pre><span class=\"muted\">Times are microseconds since the load began.</span></div>",
            escape(text)
        );
    }
}

fn availability(page: &mut String, run: &Run) {
    page.push_str(
        "<h2>Availability</h2><p class=\"key muted\">Operations in each half second:\
         <span style=\"background:#2a9d8f\"></span>answered<span style=\"background:#e9c46a\"></span>refused\
         <span style=\"background:#d62828\"></span>unknown<span style=\"background:#f4a261;opacity:.4\"></span>a fault is in force</p>",
    );
    for judged in &run.keyspaces {
        let samples = judged.recorder.lock();
        let availability = Availability::new(&samples.all, run.length);
        let _ = write!(
            page,
            "<div class=\"card\"><b>{}</b> <span class=\"muted\">{}; {:.2} % answered</span>{}</div>",
            escape(judged.name()),
            escape(&judged.keyspace.kind),
            100.0 * availability.share(),
            chart(&availability, &run.happened, run.length)
        );
    }
}

/// Bars over time, faults shaded.
fn chart(availability: &Availability, happened: &[Happened], length: u64) -> String {
    let (width, height, bottom) = (1100.0, 120.0, 18.0);
    let steps = &availability.steps;
    let most = steps.iter().map(|step| step.iter().sum::<u32>()).max().unwrap_or(1).max(1);
    let x = |time: u64| time as f64 / length.max(1) as f64 * width;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {}\" font-size=\"10\" font-family=\"system-ui,sans-serif\" role=\"img\">",
        height + bottom
    );
    for fault in happened {
        let wide = (x(fault.to) - x(fault.from)).max(2.0);
        let _ = write!(
            svg,
            "<rect x=\"{:.1}\" y=\"0\" width=\"{wide:.1}\" height=\"{height}\" fill=\"#f4a261\" fill-opacity=\".3\"><title>{}</title></rect>",
            x(fault.from),
            escape(&fault.what)
        );
    }
    let wide = (x(STEP) - 0.4).max(0.6);
    for (number, step) in steps.iter().enumerate() {
        let mut base = height;
        for (count, colour) in step.iter().zip(["#2a9d8f", "#e9c46a", "#d62828"]) {
            let tall = f64::from(*count) / f64::from(most) * (height - 6.0);
            base -= tall;
            if *count > 0 {
                let _ = write!(
                    svg,
                    "<rect x=\"{:.1}\" y=\"{base:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\" fill=\"{colour}\"/>",
                    x(number as u64 * STEP)
                );
            }
        }
    }
    for tick in 0..=10 {
        let time = length * tick / 10;
        let anchor = if tick == 0 {
            "start"
        } else if tick == 10 {
            "end"
        } else {
            "middle"
        };
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" fill=\"#5b6875\" text-anchor=\"{anchor}\">{:.0} s</text>",
            x(time),
            height + 13.0,
            time as f64 / 1e6
        );
    }
    svg.push_str("</svg>");
    svg
}

/// The curves, where reads may be stale by chance.
fn stale(page: &mut String, run: &Run) {
    let curves: Vec<&Judged> = run.keyspaces.iter().filter(|judged| !judged.curve.is_empty()).collect();
    if curves.is_empty() {
        return;
    }
    page.push_str(
        "<h2>How stale</h2><p class=\"key muted\">Share of reads with R = 1 at one node that miss a write acknowledged with W = 1 at another, while nothing was broken:\
         <span style=\"background:#d62828\"></span>measured, with the bounds of 95 %<span style=\"background:#1d5fa8\"></span>predicted from latencies of R and W alone \
         (Bailis et al., probabilistically bounded staleness, 2012)</p>",
    );
    for judged in curves {
        let _ = write!(
            page,
            "<div class=\"card\"><b>{}</b> <span class=\"muted\">{}; {} reads</span><br>{}</div>",
            escape(judged.name()),
            escape(&judged.keyspace.kind),
            grouped(judged.curve.iter().map(|point| point.reads as u64).sum()),
            picture(&judged.curve)
        );
    }
}

fn numbers(page: &mut String, run: &Run) {
    page.push_str(
        "<h2>Numbers</h2><div class=\"card\"><table><tr><th>keyspace<th class=\"n\">reads<th class=\"n\">p50<th class=\"n\">p99\
         <th class=\"n\">writes<th class=\"n\">p50<th class=\"n\">p99<th class=\"n\">stale reads<th class=\"n\">oldest value read\
         <th class=\"n\">lost, listed<th>refused for</tr>",
    );
    for judged in &run.keyspaces {
        let samples = judged.recorder.lock();
        let (reads, writes) = (Latency::new(&samples.all, false), Latency::new(&samples.all, true));
        let refusals: Vec<String> =
            samples.refusals.iter().map(|(reason, count)| format!("{reason} {}", grouped(*count))).collect();
        let _ = write!(
            page,
            "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}\
             <td class=\"n\">{} of {}<td class=\"n\">{}<td class=\"n\">{}<td>{}</tr>",
            escape(judged.name()),
            grouped(reads.count as u64),
            spell(reads.p50),
            spell(reads.p99),
            grouped(writes.count as u64),
            spell(writes.p50),
            spell(writes.p99),
            judged.staleness.stale(),
            grouped(judged.staleness.ages.len() as u64),
            spell(judged.staleness.quantile(1.0)),
            judged.listed,
            escape(&refusals.join(", "))
        );
    }
    page.push_str("</table></div>");
}

fn faults(page: &mut String, run: &Run) {
    page.push_str(
        "<h2>Faults</h2><div class=\"card\"><table><tr><th class=\"n\">at<th class=\"n\">for<th>what",
    );
    let figures: Vec<(&Judged, Availability)> = run
        .keyspaces
        .iter()
        .map(|judged| (judged, Availability::new(&judged.recorder.lock().all, run.length)))
        .collect();
    for (judged, _) in &figures {
        let _ =
            write!(page, "<th class=\"n\">{}<br>answered, longest<br>without a write", escape(judged.name()));
    }
    page.push_str("</tr>");
    for fault in &run.happened {
        let note =
            fault.note.as_ref().map(|note| format!("<br><span class=\"muted\">{}</span>", escape(note)));
        let _ = write!(
            page,
            "<tr><td class=\"n\">{:.1} s<td class=\"n\">{:.1} s<td>{}{}",
            fault.from as f64 / 1e6,
            (fault.to - fault.from) as f64 / 1e6,
            escape(&fault.what),
            note.unwrap_or_default()
        );
        for (_, availability) in &figures {
            let (share, longest) = availability.during(fault.from, fault.to);
            let _ = write!(page, "<td class=\"n\">{:.0} %, {}", 100.0 * share, spell(longest));
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
}

/// A time in microseconds, for people.
fn spell(microseconds: u64) -> String {
    match microseconds {
        0 => "0".into(),
        1..10_000 => format!("{:.1} ms", microseconds as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", microseconds / 1000),
        _ => format!("{:.1} s", microseconds as f64 / 1e6),
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
