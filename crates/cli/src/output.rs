//! Tables, JSON and colours. Names from hosts never reach a terminal unescaped: tables show `ByteStr`'s display form.

use std::io::{IsTerminal, Write};

use anyhow::Result;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use hostler_model::{Timestamp, time};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Prints a JSON array, an item a line.
pub fn json_array(items: &[Box<RawValue>]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "[")?;
    for (i, item) in items.iter().enumerate() {
        writeln!(out, "{item}{}", if i + 1 < items.len() { "," } else { "" })?;
    }
    writeln!(out, "]")?;
    Ok(())
}

/// Prints one JSON value.
pub fn json(value: &RawValue) -> Result<()> {
    writeln!(std::io::stdout(), "{value}")?;
    Ok(())
}

/// Prints one line. Unlike `println!` it does not panic when the reader has gone.
pub fn line(text: impl std::fmt::Display) -> Result<()> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// Items as views.
pub fn parse<T: DeserializeOwned>(items: &[Box<RawValue>]) -> Result<Vec<T>> {
    Ok(items.iter().map(|item| serde_json::from_str(item.get())).collect::<Result<_, _>>()?)
}

/// Prints a table without lines; columns whose header starts with `>` are aligned right.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Result<()> {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|h| h.trim_start_matches('>')));
    table.add_rows(rows);
    if table.is_empty() {
        eprintln!("Nothing found.");
        return Ok(());
    }
    for (i, name) in header.iter().enumerate() {
        if let Some(column) = table.column_mut(i) {
            column.set_padding((0, 2));
            if name.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    writeln!(std::io::stdout(), "{}", table.trim_fmt())?;
    Ok(())
}

/// Prints names and values below each other.
pub fn details(rows: &[(&str, String)]) -> Result<()> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = std::io::stdout().lock();
    for (name, value) in rows {
        writeln!(out, "{name:width$}  {value}")?;
    }
    Ok(())
}

/// `4 s ago`, or a dash.
pub fn ago(at: Option<Timestamp>) -> String {
    match at {
        Some(at) => format!("{} ago", time::age(hostler_gateway::clock::now().seconds_since(at))),
        None => "—".into(),
    }
}

/// Asks a yes-or-no question on the terminal; without one the answer must be given by `--yes`.
pub fn confirm(question: &str) -> Result<bool> {
    anyhow::ensure!(std::io::stdin().is_terminal(), "this asks before it acts, and there is no terminal; give --yes");
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// A word in red, on a terminal.
pub fn paint_error(word: &str) -> String {
    paint(word, "1;31")
}

/// A word in blue, on a terminal.
pub fn paint_hint(word: &str) -> String {
    paint(word, "1;34")
}

/// Is standard error a terminal whose user has nothing against colours?
pub fn is_coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

fn paint(word: &str, code: &str) -> String {
    if is_coloured() { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
}
