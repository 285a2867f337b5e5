//! docs/contract.md lists the commands with their flags and the environment, as the binary's own help tells them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const UPDATE: &str = "UPDATE_GOLDEN=1 cargo test -p hostler-gateway -p hostler";

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn contract() -> String {
    std::fs::read_to_string(project().join("docs/contract.md")).expect("docs/contract.md")
}

/// `document` with another text between a section's markers.
fn with_section(document: &str, name: &str, text: &str) -> String {
    let (start, end) = (format!("<!-- generated: {name} -->\n"), format!("<!-- end: {name} -->"));
    let from = document.find(&start).unwrap_or_else(|| panic!("docs/contract.md has no {start}")) + start.len();
    let to = document.find(&end).unwrap_or_else(|| panic!("docs/contract.md has no {end}"));
    format!("{}\n{text}\n{}", &document[..from], &document[to..])
}

/// What the binary says of one command, in an environment of its own.
fn help(command: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hostler"))
        .args(command)
        .arg("--help")
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("hostler runs");
    assert!(output.status.success(), "hostler {command:?} --help failed");
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

/// One section of a help text: the lines below a heading, to the next empty line before a heading.
struct Help {
    usage: String,
    commands: Vec<String>,
    /// `--flag <VALUE>`, and the environment variable that gives it.
    flags: Vec<(String, Option<String>)>,
}

impl Help {
    fn parse(text: &str) -> Self {
        let mut help = Self { usage: String::new(), commands: Vec::new(), flags: Vec::new() };
        let (mut heading, mut before) = ("", "");
        for line in text.lines() {
            let indent = line.len() - line.trim_start().len();
            let line = line.trim();
            if indent == 0 && line.starts_with("Usage: ") {
                help.usage = line.to_owned();
            } else if indent == 0 && line.ends_with(':') {
                heading = line;
            } else if heading == "Commands:" && indent == 2 {
                help.commands.extend(line.split(' ').next().filter(|name| *name != "help").map(str::to_owned));
            } else if heading != "Commands:" && indent <= 6 && line.starts_with('-') {
                let flag = line.split("  ").next().unwrap_or(line);
                let flag = flag.rsplit(", ").next().unwrap_or(flag).to_owned();
                if flag != "--help" && flag != "--version" {
                    help.flags.push((flag, None));
                }
            }
            // A flag's text is wrapped over the lines below it.
            if let Some((_, variable)) = help.flags.last_mut() {
                for word in line.split(' ') {
                    if before == "[env:" {
                        *variable = Some(word.trim_end_matches(['=', ']']).to_owned());
                    }
                    before = word;
                }
            }
        }
        help
    }
}

/// Every command that does something, with its help.
fn leaves() -> Vec<(Vec<String>, Help)> {
    let mut found = Vec::new();
    let mut waiting = vec![Vec::new()];
    while let Some(command) = waiting.pop() {
        let help = Help::parse(&help(&command));
        waiting
            .extend(help.commands.iter().rev().map(|name| [command.as_slice(), std::slice::from_ref(name)].concat()));
        if help.commands.is_empty() {
            found.push((command, help));
        }
    }
    assert!(found.len() > 10, "only {} commands were found in the help", found.len());
    found
}

fn commands_section(leaves: &[(Vec<String>, Help)]) -> String {
    let mut text = String::from("```\n");
    for (command, help) in leaves {
        let mut line = format!("hostler {}", command.join(" "));
        // Positional arguments are in the usage line only, behind the options.
        for word in help.usage.split(' ').filter(|w| w.starts_with(['<', '[']) && *w != "[OPTIONS]") {
            if !help.flags.iter().any(|(flag, _)| flag.ends_with(word)) {
                line.push_str(&format!(" {word}"));
            }
        }
        for (flag, _) in &help.flags {
            line.push_str(&format!(" {flag}"));
        }
        text.push_str(&line);
        text.push('\n');
    }
    text + "```\n"
}

fn environment_section(leaves: &[(Vec<String>, Help)]) -> String {
    let mut variables: BTreeMap<&str, (&str, Vec<String>)> = BTreeMap::new();
    for (command, help) in leaves {
        for (flag, variable) in &help.flags {
            if let Some(variable) = variable {
                variables.entry(variable).or_insert((flag, Vec::new())).1.push(command.join(" "));
            }
        }
    }
    assert!(variables.len() >= 3, "the help names only {variables:?}");
    let mut text = String::from("| variable | stands for | of |\n|---|---|---|\n");
    for (variable, (flag, commands)) in variables {
        text.push_str(&format!("| `{variable}` | `{flag}` | {} |\n", commands.join(", ")));
    }
    text
}

#[test]
fn the_contract_lists_every_command_flag_and_variable() {
    let leaves = leaves();
    let found = contract();
    let expected = with_section(&found, "commands", &commands_section(&leaves));
    let expected = with_section(&expected, "environment", &environment_section(&leaves));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(project().join("docs/contract.md"), &expected).expect("docs/contract.md can be written");
    }
    let found = contract();
    let differs = found.lines().zip(expected.lines()).find(|(a, b)| a != b);
    assert!(
        found == expected,
        "docs/contract.md is not what `hostler --help` says, first here: {differs:?}. If that is meant: {UPDATE}"
    );
    every_variable_that_the_code_reads_is_in(&found);
}

fn every_variable_that_the_code_reads_is_in(contract: &str) {
    let mut seen = 0;
    let mut waiting = vec![project().join("crates")];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).expect("the crates") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("source is UTF-8");
                for rest in text.split("\"HOSTLER_").skip(1) {
                    let name = format!("HOSTLER_{}", rest.split('"').next().unwrap_or_default());
                    let is_name = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
                    if is_name && name.len() > "HOSTLER_".len() {
                        seen += 1;
                        assert!(contract.contains(&format!("`{name}`")), "{}: {name}", path.display());
                    }
                }
            }
        }
    }
    assert!(seen >= 4, "only {seen} variables were found in the source");
}
