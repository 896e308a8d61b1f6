//! Rows of results, as a table for people and as JSON for programs.

use serde_json::{Value, json};

use crate::row::Row;
use crate::samples::Sample;

pub(crate) fn print(rows: &[Row]) {
    println!("{}", header());
    rows.iter().for_each(|row| println!("{}", line(row)));
    println!("ours and peer in ns an operation, live bytes in B; * is an absolute target");
    println!("allocations and bytes: ours/peer's an operation");
    let mut seen = Vec::new();
    for peer in rows.iter().map(|row| row.case.peer) {
        if !seen.contains(&peer) {
            println!("{}: {}", peer.tag, peer.name);
            seen.push(peer);
        }
    }
}

fn header() -> String {
    let (ours, peer, ratio) = ("ours", "peer", "ratio");
    format!("{:<41} {:<10} {ours:>6} {peer:>6} {ratio:>5}  goal alloc    bytes", "case", "peer")
}

fn line(row: &Row) -> String {
    let (name, tag) = (row.case.name, row.case.peer.tag);
    let (ours, peer) = (figure(row.ours()), figure(row.peer()));
    let ratio = format!("{:.2}", row.ratio().median);
    let target = match row.is_absolute() {
        true => format!("{}*", row.target()),
        false => format!("{:.2}", row.target()),
    };
    let counted = |part| both(row, part);
    let allocations = counted(|sample| sample.allocations);
    let bytes = counted(|sample| sample.bytes);
    let verdict = if row.ok() { "ok" } else { "missed" };
    format!(
        "{name:<41} {tag:<10} {ours:>6} {peer:>6} {ratio:>5} {target:>5} {allocations:>5} \
         {bytes:>8} {verdict}"
    )
}

/// Ours and the peer's, without a fraction.
fn both(row: &Row, part: fn(Sample) -> f64) -> String {
    let side = |sample: Option<Sample>| {
        sample.map_or_else(|| "-".to_owned(), |sample| format!("{:.0}", part(sample)))
    };
    format!("{}/{}", side(row.memory.ours), side(row.memory.peer))
}

/// At most six characters.
fn figure(value: f64) -> String {
    match value {
        ..100.0 => format!("{value:.2}"),
        ..10_000.0 => format!("{value:.1}"),
        ..1e6 => format!("{value:.0}"),
        _ => format!("{:.1}M", value / 1e6),
    }
}

pub(crate) fn json(rows: &[Row]) -> String {
    format!("{:#}\n", json!({ "rows": rows.iter().map(entry).collect::<Vec<_>>() }))
}

fn entry(row: &Row) -> Value {
    let ratio = row.ratio();
    let part = |part: fn(Sample) -> f64| {
        let memory = &row.memory;
        json!({ "ours": memory.ours.map(part), "peer": memory.peer.map(part) })
    };
    json!({
        "area": row.area, "case": row.case.name, "unit": row.unit(),
        "peer_name": row.case.peer.name, "quoted": row.is_quoted(),
        "ours": row.ours(), "peer": row.peer(),
        "ratio": ratio.median, "ratio_low": ratio.low, "ratio_high": ratio.high,
        "target": row.target(), "target_of": if row.is_absolute() { "ours" } else { "ratio" },
        "allocations": part(|sample| sample.allocations),
        "allocations_at_most": row.case.allocations,
        "bytes": part(|sample| sample.bytes), "ok": row.ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Goal;
    use crate::row::tests::row;

    #[test]
    fn a_missed_target_says_so_to_people_and_to_programs() {
        let (met, missed) = (row(Goal::Ratio(0.6)), row(Goal::Ratio(0.5)));
        assert!(line(&met).ends_with(" ok") && line(&missed).ends_with(" missed"));
        let verdict =
            |row| serde_json::from_str::<Value>(&json(&[row])).unwrap()["rows"][0]["ok"].clone();
        assert_eq!((verdict(met), verdict(missed)), (json!(true), json!(false)));
    }

    #[test]
    fn a_line_fits_100_columns() {
        let mut wide = row(Goal::Nanoseconds(1.0));
        wide.case.name = "child of a shared parent, create and drop";
        wide.case.peer = crate::peers::GO;
        wide.times.peer[0].nanoseconds = 14.8e6;
        wide.memory.ours.as_mut().unwrap().bytes = 444.0;
        wide.memory.peer.as_mut().unwrap().bytes = 1068.0;
        assert_eq!(line(&wide).len(), header().len() + " missed".len());
        assert!(line(&wide).len() <= 100, "{}", line(&wide));
    }

    #[test]
    fn a_figure_is_six_characters_at_most() {
        let texts = [0.123, 99.99, 9999.9, 999_999.0, 14.8e6].map(figure);
        assert_eq!(texts, ["0.12", "99.99", "9999.9", "999999", "14.8M"]);
    }
}
