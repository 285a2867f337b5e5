//! Sizes for people: binary units and three figures; and sizes as people type them.

/// `1.98 TiB`, `204 MiB`, `17 B`.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // 999.5 would print as 1000, four figures.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match (unit, value) {
        (0, _) => 0,
        (_, v) if v < 9.995 => 2,
        (_, v) if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `412,880`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Parses `4096`, `10k`, `1.5MiB`, `2 GB`: letters k, m, g, t, p are binary, with or without `iB`; with a plain `B` after
/// them (`2GB`) they are decimal.
pub fn parse(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let wrong = || format!("{text:?} is not a size: use bytes or a unit, such as 4096, 10K or 1.5GiB");
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = unit.trim().to_ascii_lowercase();
    let (letter, suffix) = unit.split_at(unit.len().min(1));
    let power = match letter {
        "" | "b" if suffix.is_empty() => return exact(number, 1.0).ok_or_else(wrong),
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(wrong()),
    };
    let base: f64 = match suffix {
        "" | "i" | "ib" => 1024.0,
        "b" => 1000.0,
        _ => return Err(wrong()),
    };
    exact(number, base.powi(power)).ok_or_else(wrong)
}

fn exact(number: f64, factor: f64) -> Option<u64> {
    let bytes = (number * factor).round();
    // 2^63: above it the store's signed integers end.
    (0.0..9_223_372_036_854_775_808.0).contains(&bytes).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_figures_in_binary_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "0.98 KiB"),
            (1536, "1.50 KiB"),
            (10 << 20, "10.0 MiB"),
            (204 << 20, "204 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(999), "999");
    }

    #[test]
    fn sizes_as_people_type_them() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("10k", 10240), ("1.5MiB", 1_572_864), ("2 GB", 2_000_000_000), ("7B", 7)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in ["", "-1", "k", "1x", "1kibb", "99999999P", "1e9", "1.2.3"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
