//! `hostler files growth`.

use anyhow::Result;
use hostler_model::{ByteStr, Timestamp, size};

use super::super::paths;
use crate::args;
use crate::client::{Client, Query};
use crate::output;
use crate::views::{Growth, GrowthPoint};

/// Blocks of the line that shows the size over time.
const BLOCKS: usize = 60;

pub async fn run(args: args::Growth) -> Result<()> {
    let mut query = Query::default();
    query.push("path", paths::absolute(args.path.as_deref().unwrap_or(".".as_ref()))?);
    query.maybe("host", args.host.as_ref()).push("since", args.since.as_str());
    let raw = Client::new(&args.connection)?.get_raw("/files/growth", &query).await?;
    if args.connection.json {
        return output::json(&raw);
    }
    let growth: Growth = serde_json::from_str(raw.get())?;
    let change = &growth.change;
    output::line(format!("{} on {}", growth.dir.path, growth.dir.host_name))?;
    if let (Some(first), Some(last)) = (growth.points.first(), growth.points.last()) {
        let (first, last) = (first.at, last.at);
        output::line(format!("{}  {} to {}", sparkline(&growth.points), day(first), day(last)))?;
    }
    output::details(&[
        ("Now", format!("{} in {} files", size::human(growth.dir.size), size::grouped(growth.dir.files.unwrap_or(0)))),
        ("Growth", format!("{}, {} files", signed(change.bytes, size::human), signed(change.files, size::grouped))),
        ("Written", size::human(change.written_bytes)),
        ("Removed", size::human(change.removed_bytes)),
        ("Changes", size::grouped(change.changes)),
    ])?;
    if !growth.children.is_empty() {
        output::line("")?;
        let rows = growth.children.iter().map(|child| {
            vec![
                size::human(child.bytes),
                signed(child.change.bytes, size::human),
                size::human(child.change.written_bytes),
                size::human(child.change.removed_bytes),
                size::grouped(child.change.changes),
                format!("{}/", ByteStr::from(child.path.file_name())),
            ]
        });
        output::table(&[">NOW", ">GROWTH", ">WRITTEN", ">REMOVED", ">CHANGES", "DIRECTORY"], rows)?;
    }
    match growth.known_since {
        Some(known) => eprintln!("Changes are known since {}.", known.exact()),
        None => eprintln!("No changes are known yet: the next scans find them."),
    }
    Ok(())
}

fn day(at: Timestamp) -> String {
    at.exact().chars().take(16).collect()
}

fn signed(change: i64, of: fn(u64) -> String) -> String {
    let sign = match change {
        0 => "",
        1.. => "+",
        _ => "−",
    };
    format!("{sign}{}", of(change.unsigned_abs()))
}

/// The size over time as blocks, from the least to the most; a size holds until the next point.
fn sparkline(points: &[GrowthPoint]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
    let least = points.iter().map(|p| p.bytes).min().unwrap_or(0);
    let most = points.iter().map(|p| p.bytes).max().unwrap_or(0);
    let time = i128::from(last.at.micros()) - i128::from(first.at.micros());
    let blocks = if time == 0 { 1 } else { BLOCKS };
    let mut next = 0;
    let mut size = first.bytes;
    (1..=blocks)
        .map(|block| {
            let until = i128::from(first.at.micros()) + time * block as i128 / blocks as i128;
            while let Some(point) = points.get(next).filter(|p| i128::from(p.at.micros()) <= until) {
                size = point.bytes;
                next += 1;
            }
            let level = match most - least {
                0 => 0,
                range => (u128::from(size - least) * (LEVELS.len() as u128 - 1) / u128::from(range)) as usize,
            };
            LEVELS[level.min(LEVELS.len() - 1)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(i64, u64)]) -> String {
        let point = |&(at, bytes): &(i64, u64)| GrowthPoint { at: Timestamp::from_micros(at), bytes };
        sparkline(&points.iter().map(point).collect::<Vec<_>>())
    }

    #[test]
    fn a_size_holds_until_the_next_scan() {
        let drawn = line(&[(0, 100), (30, 200), (60, 0)]);
        assert_eq!(drawn.chars().count(), BLOCKS);
        assert_eq!(drawn.chars().next(), Some('▄'));
        assert_eq!(drawn.chars().filter(|c| *c == '█').count(), 30);
        assert_eq!(drawn.chars().last(), Some('▁'));
        assert_eq!(line(&[(5, 7)]), "▁");
        assert_eq!(line(&[]), "");
        assert_eq!(line(&[(i64::MIN, 0), (i64::MAX, u64::MAX)]).chars().last(), Some('█'));
    }
}
