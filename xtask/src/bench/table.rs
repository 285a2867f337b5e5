//! Measured values and their medians.

/// Named numbers of several runs.
#[derive(Default)]
pub struct Table {
    rows: Vec<(&'static str, Vec<f64>, &'static str)>,
}

impl Table {
    /// Adds a value to the row of this name.
    pub fn add(&mut self, name: &'static str, value: f64, unit: &'static str) {
        match self.rows.iter_mut().find(|row| row.0 == name) {
            Some(row) => row.1.push(value),
            None => self.rows.push((name, vec![value], unit)),
        }
    }

    /// Prints the medians as a table in Markdown.
    pub fn print(&self) {
        println!("| what | median | lowest to highest |\n|---|---|---|");
        for (name, values, unit) in &self.rows {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let (low, high) = (sorted[0], sorted[sorted.len() - 1]);
            println!("| {name} | {} {unit} | {} to {} |", short(median(&sorted)), short(low), short(high));
        }
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] }
}

/// Three digits, or all of a whole number.
fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Bytes as MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[1.0, 2.0, 30.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0]), 1.5);
    }
}
