//! Rows of results, as a table for people and as JSON for programs.

use serde_json::json;

use crate::compare::Comparison;

/// One case of one area.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) area: &'static str,
    pub(crate) case: &'static str,
    pub(crate) peer: &'static str,
    pub(crate) measured: Comparison,
    /// The ratio of ours to the peer's that we want; less is better.
    pub(crate) target: f64,
}

impl Row {
    pub(crate) fn ok(&self) -> bool {
        self.measured.ratio <= self.target
    }
}

pub(crate) fn print(rows: &[Row]) {
    let (case, ours, peer) = ("case", "ours ns", "peer ns");
    println!("{case:<52} {ours:>9} {peer:>9} {:>6} {:>6}", "ratio", "target");
    for row in rows {
        let Comparison { ours, peer, ratio } = row.measured;
        let name = format!("{}: {}", row.area, row.case);
        let verdict = if row.ok() { "ok" } else { "missed" };
        let target = row.target;
        println!("{name:<52} {ours:>9.1} {peer:>9.1} {ratio:>6.2} {target:>6.2} {verdict}");
    }
    let mut peers: Vec<_> = rows.iter().map(|row| format!("{}: {}", row.area, row.peer)).collect();
    peers.dedup();
    println!("peers: {}", peers.join(", "));
}

pub(crate) fn json(rows: &[Row]) -> String {
    let row = |row: &Row| {
        json!({
            "area": row.area, "case": row.case, "unit": "ns", "peer_name": row.peer,
            "ours": row.measured.ours, "peer": row.measured.peer, "ratio": row.measured.ratio,
            "target": row.target, "ok": row.ok(),
        })
    };
    format!("{:#}\n", json!({ "rows": rows.iter().map(row).collect::<Vec<_>>() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_is_a_row_that_is_not_ok() {
        let measured = Comparison { ours: 60.0, peer: 100.0, ratio: 0.6 };
        let row = |target| Row { area: "a", case: "c", peer: "p", measured, target };
        assert!(row(0.6).ok() && !row(0.5).ok());
        assert!(json(&[row(0.5)]).contains("\"ok\": false"));
    }
}
