//! What somebody meant who typed something else.

/// More differences than this are another word.
const FAR: usize = 3;

/// The parser's words, and for an unknown key or value the known one that looks most like it.
pub fn with_nearest(error: &toml::de::Error) -> String {
    let text = error.to_string();
    match nearest(error.message()) {
        Some(known) => format!("{}\ndid you mean `{known}`?", text.trim_end()),
        None => text.trim_end().to_owned(),
    }
}

/// serde says "unknown field `x`, expected one of `a`, `b`" and "unknown variant ..." likewise.
fn nearest(message: &str) -> Option<&str> {
    let mut quoted = message.strip_prefix("unknown ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let (distance, known) = quoted.map(|known| (edit_distance(unknown, known), known)).min()?;
    (distance <= FAR).then_some(known)
}

/// Levenshtein's distance over bytes; of a long `a` the beginning counts.
pub fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let cost = usize::from(x != y);
            let next = (diagonal + cost).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}
