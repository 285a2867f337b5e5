//! `cargo xtask tidy`: what a program can check of ARCHITECTURE.md's invariants and of the house rules.
//!
//! Each rule has a name; ARCHITECTURE.md says `(tidy: NAME)` behind an invariant that a rule checks.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};

/// A `.rs` file with more lines is refused.
const MAX_LINES: usize = 900;
/// A `.rs` file with more lines is listed.
const LONG_LINES: usize = 600;

type Rule = fn(&Tree) -> Vec<String>;

/// Every rule by name.
const RULES: [(&str, Rule); 7] = [
    ("layers", layers),
    ("lints", lints),
    ("sizes", sizes),
    ("links", links),
    ("words", words),
    ("paths", paths),
    ("invariants", invariants),
];

/// What tidy found.
pub struct Report {
    /// What must be mended, each with its rule.
    pub problems: Vec<String>,
    /// What is worth a look.
    pub notes: Vec<String>,
    files: usize,
}

impl Report {
    /// Prints it, problems last.
    pub fn print(&self) {
        self.notes.iter().for_each(|note| println!("note: {note}"));
        self.problems.iter().for_each(|problem| println!("tidy: {problem}"));
        println!("tidy: {} files, {} problems", self.files, self.problems.len());
    }
}

/// Checks the project in `root`.
pub fn check(root: &Path) -> Result<Report> {
    let tree = Tree::read(root)?;
    let problems = RULES
        .iter()
        .flat_map(|(name, rule)| rule(&tree).into_iter().map(move |problem| format!("{name}: {problem}")))
        .collect();
    Ok(Report { problems, notes: long_files(&tree), files: tree.texts.len() + tree.others.len() })
}

/// The project's files, by path relative to its root.
#[derive(Default)]
struct Tree {
    texts: Vec<(String, String)>,
    /// Files that are no UTF-8, such as pictures.
    others: BTreeSet<String>,
}

impl Tree {
    fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.add(root, root)?;
        tree.texts.sort();
        Ok(tree)
    }

    fn add(&mut self, root: &Path, dir: &Path) -> Result<()> {
        for entry in std::fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            if kind.is_dir() {
                if !matches!(name.as_str(), "target" | ".git") {
                    self.add(root, &path)?;
                }
            } else if kind.is_file() {
                match String::from_utf8(std::fs::read(&path)?) {
                    Ok(text) => self.texts.push((name, text)),
                    Err(_) => {
                        self.others.insert(name);
                    }
                }
            }
        }
        Ok(())
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.texts.iter().find(|(name, _)| name == path).map(|(_, text)| text.as_str())
    }

    fn ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.texts
            .iter()
            .filter(move |(name, _)| name.ends_with(end))
            .map(|(name, text)| (name.as_str(), text.as_str()))
    }

    fn manifests(&self) -> impl Iterator<Item = Manifest> {
        self.ending("Cargo.toml")
            .filter(|(name, _)| *name != "Cargo.toml")
            .map(|(name, text)| Manifest::parse(name, text))
    }

    /// There is such a file, or a directory with a file in it.
    fn has(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.texts.iter().map(|(name, _)| name).chain(&self.others).any(|name| name == path || name.starts_with(&below))
    }
}

/// What the rules need of a `Cargo.toml`.
struct Manifest {
    path: String,
    name: String,
    /// Not those of tests.
    dependencies: Vec<String>,
    workspace_lints: bool,
}

impl Manifest {
    fn parse(path: &str, text: &str) -> Self {
        let mut manifest =
            Self { path: path.to_owned(), name: String::new(), dependencies: Vec::new(), workspace_lints: false };
        let mut section = String::new();
        for line in text.lines().map(str::trim) {
            if let Some(header) = line.strip_prefix('[') {
                section = header.trim_end_matches(']').to_owned();
                // `[dependencies.tokio]`
                if let Some((before, name)) = section.rsplit_once('.')
                    && is_dependencies(before)
                {
                    manifest.dependencies.push(name.to_owned());
                }
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
            let (key, value) = (key.trim(), value.trim());
            if is_dependencies(&section) {
                manifest.dependencies.push(key.split('.').next().unwrap_or(key).to_owned());
            } else if section == "package" && key == "name" {
                manifest.name = value.trim_matches('"').to_owned();
            } else if section == "lints" && key == "workspace" && value == "true" {
                manifest.workspace_lints = true;
            }
        }
        manifest
    }
}

fn is_dependencies(section: &str) -> bool {
    section.split('.').next_back().is_some_and(|last| matches!(last, "dependencies" | "build-dependencies"))
}

/// What a crate may not depend on, and why.
const FORBIDDEN: [(&str, &[&str], &str); 8] = [
    (
        "hostler-files",
        &["hostler-link", "hostler-agent", "hostler-gateway"],
        "a capability knows neither link nor gateway",
    ),
    (
        "hostler-files",
        &["tokio", "hyper", "axum", "reqwest", "connectrpc"],
        "a capability is synchronous and knows no network",
    ),
    (
        "hostler-identity",
        &["hostler-link", "hostler-agent", "hostler-gateway", "tokio", "hyper", "axum", "rustix"],
        "keys and signatures do no I/O",
    ),
    (
        "hostler-journal",
        &["hostler-model", "hostler-api", "hostler-link", "hostler-agent", "hostler-gateway"],
        "the journal knows bytes only",
    ),
    (
        "hostler-link",
        &["hostler-files", "hostler-agent", "hostler-gateway", "hostler-snapfs"],
        "the link carries any service",
    ),
    ("hostler-gateway", &["hostler-files", "hostler-agent", "hostler-snapfs"], "the gateway asks over the link"),
    ("hostler-agent", &["hostler-gateway", "hostler-snapfs"], "the agent is asked over the link"),
    (
        "hostler-snapfs",
        &["hostler-api", "hostler-identity", "hostler-link", "hostler-agent", "hostler-gateway"],
        "a client of another gateway knows nothing of ours",
    ),
];

/// Dependencies that these crates alone may have.
const ONLY_IN: [(&str, &[&str]); 3] = [
    // The client of another gateway's protocol speaks its sockets, not our link.
    ("tokio-tungstenite", &["hostler-link", "hostler-snapfs"]),
    ("rusqlite", &["hostler-gateway"]),
    ("protox", &["hostler-api"]),
];

/// All that `model` may depend on: none of these does I/O for it.
const MODEL: [&str; 6] = ["jiff", "serde", "serde_json", "thiserror", "utoipa", "uuid"];
/// What `model` may not use of the standard library.
const IO_MODULES: [&str; 5] = ["std::fs", "std::net", "std::process", "std::env", "std::os"];
/// Where SQL may be.
const SQL: [&str; 2] = ["crates/gateway/src/store/sqlite/", "crates/gateway/src/store/mod.rs"];

fn layers(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    for manifest in tree.manifests() {
        let Manifest { path, name, dependencies, .. } = &manifest;
        for (from, to, why) in FORBIDDEN {
            for dependency in dependencies.iter().filter(|d| from == name && to.contains(&d.as_str())) {
                problems.push(format!("{path}: {name} must not depend on {dependency}: {why}"));
            }
        }
        for (library, owners) in ONLY_IN {
            if !owners.contains(&name.as_str()) && dependencies.iter().any(|d| d == library) {
                problems.push(format!("{path}: only {} may depend on {library}", owners.join(" and ")));
            }
        }
        if name == "hostler-model" {
            for dependency in dependencies.iter().filter(|d| !MODEL.contains(&d.as_str())) {
                problems.push(format!(
                    "{path}: the model does no I/O; {dependency} is not among what it may depend on ({})",
                    MODEL.join(", ")
                ));
            }
        }
    }
    for (path, text) in tree.ending(".rs") {
        let code = without_tests(path, text);
        if path.starts_with("crates/model/src/") {
            for module in IO_MODULES.iter().filter(|module| code.contains(*module)) {
                problems.push(format!("{path}: the model does no I/O, and this uses {module}"));
            }
        }
        let is_gateway = path.starts_with("crates/gateway/src/");
        if is_gateway && !SQL.iter().any(|place| path.starts_with(place)) && code.contains("rusqlite") {
            problems.push(format!("{path}: SQL lives in {} only; add a method to the Store trait", SQL[0]));
        }
    }
    problems
}

/// Crates without the workspace's lints, with the reason.
const OWN_LINTS: [(&str, &str); 1] =
    [("hostler-api", "its code is generated; the generator does not write to our lints")];

fn lints(tree: &Tree) -> Vec<String> {
    tree.manifests()
        .filter(|m| !m.workspace_lints && !OWN_LINTS.iter().any(|(name, _)| *name == m.name))
        .map(|m| format!("{}: add `[lints]` with `workspace = true`", m.path))
        .collect()
}

fn lines_over(tree: &Tree, bound: usize) -> impl Iterator<Item = (&str, usize)> {
    tree.ending(".rs").map(|(path, text)| (path, text.lines().count())).filter(move |(_, lines)| *lines > bound)
}

fn sizes(tree: &Tree) -> Vec<String> {
    lines_over(tree, MAX_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines, more than {MAX_LINES}: this is more than one idea"))
        .collect()
}

fn long_files(tree: &Tree) -> Vec<String> {
    lines_over(tree, LONG_LINES)
        .filter(|(_, lines)| *lines <= MAX_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect()
}

fn links(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in tree.ending(".md") {
        for target in relative_links(text) {
            let dir = Path::new(path).parent().unwrap_or(Path::new(""));
            if normal(&dir.join(target)).is_none_or(|file| !tree.has(&file)) {
                problems.push(format!("{path}: the link to {target} leads nowhere"));
            }
        }
    }
    problems
}

/// Targets of `[text](target)` and `![text](target)` outside code blocks that name a file.
fn relative_links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let rest = &line[at + 2..];
            let target = rest.split([')', ' ', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target);
            }
        }
    }
    found
}

/// Without `.` and `..`; `None` when it leaves the project.
fn normal(path: &Path) -> Option<String> {
    let mut parts = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            Component::ParentDir => parts.pop().then_some(())?,
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.to_string_lossy().into_owned())
}

/// Words that may not be in code outside tests. Split, so that this file may stay as it is.
const WORDS: [(&str, &str); 4] = [
    (concat!(".unw", "rap()"), "say what happened with `?`, or why it cannot with `let ... else`"),
    (concat!("to", "do!("), "write it, or leave it out and say so"),
    (concat!("unimple", "mented!("), "write it, or leave it out and say so"),
    (concat!("db", "g!("), "use tracing, or take it out"),
];

fn words(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in tree.ending(".rs") {
        let code = without_tests(path, text);
        for (number, line) in text.lines().enumerate().map(|(i, line)| (i + 1, line.trim_start())) {
            if line.starts_with(concat!("#[ign", "ore]")) {
                problems.push(format!("{path}:{number}: an ignored test says why: #[ignore = \"...\"]"));
            }
        }
        for (number, line) in code.lines().enumerate().map(|(i, line)| (i + 1, line.trim_start())) {
            for (word, instead) in WORDS.iter().filter(|(word, _)| !line.starts_with("//") && line.contains(word)) {
                problems.push(format!("{path}:{number}: {word} outside tests; {instead}"));
            }
        }
    }
    problems
}

/// The code before the file's test module; nothing of a file that is all tests.
fn without_tests<'a>(path: &str, text: &'a str) -> &'a str {
    let all_tests = path.split('/').any(|part| part == "tests" || part == "benches" || part == "testkit")
        || path.ends_with("tests.rs");
    match all_tests {
        true => "",
        // A test module comes last; `#[cfg(test)] use` and the like may come before.
        false => ["mod ", "pub(super) mod "]
            .iter()
            .find_map(|module| text.rfind(&format!("#[cfg(test)]\n{module}")))
            .map_or(text, |at| &text[..at]),
    }
}

/// Beginnings of paths of somebody's machine.
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];
/// Names that stand for anybody in examples.
const ANYBODY: [&str; 8] = ["ada", "ann", "user", "alice", "bob", "me", "you", "x"];

fn paths(tree: &Tree) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in tree.texts.iter().filter(|(path, _)| path != "Cargo.lock") {
        for (number, line) in text.lines().enumerate() {
            problems.extend(
                machine_path(line).map(|found| format!("{path}:{}: a path of one machine: {found}", number + 1)),
            );
        }
    }
    problems
}

fn machine_path(line: &str) -> Option<&str> {
    MACHINE_PATHS.iter().find_map(|start| {
        line.match_indices(start).find_map(|(at, _)| {
            let begins = !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-/}*".contains(c));
            let rest = &line[at + start.len()..];
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let name = &rest[..end];
            let anybody = start.contains("ho") && ANYBODY.contains(&name);
            (begins && !name.is_empty() && !anybody).then(|| &line[at..at + start.len() + end])
        })
    })
}

fn invariants(tree: &Tree) -> Vec<String> {
    let file = "ARCHITECTURE.md";
    let Some(text) = tree.text(file) else { return vec![format!("{file} is missing")] };
    let Some((_, section)) = text.split_once("\n## Invariants\n") else {
        return vec![format!("{file} has no section \"Invariants\"")];
    };
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut problems = Vec::new();
    for item in section.split("\n- ").skip(usize::from(!section.starts_with("- "))) {
        let first = item.lines().next().unwrap_or_default();
        if !item.trim_start_matches("- ").starts_with("**") {
            problems.push(format!("{file}: an invariant begins in bold: {first}"));
        }
        for (at, mark) in item.match_indices("(tidy: ") {
            let named = item[at + mark.len()..].split(')').next().unwrap_or_default();
            for name in named.split(", ").filter(|name| !RULES.iter().any(|(rule, _)| rule == name)) {
                problems.push(format!("{file}: tidy has no rule {name:?}: {first}"));
            }
        }
    }
    if !section.contains("(tidy: layers)") {
        problems.push(format!("{file}: no invariant names the rule `layers`"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let texts = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        Tree { texts, others: BTreeSet::from(["docs/a.png".to_owned()]) }
    }

    fn manifest(name: &str, dependencies: &str) -> String {
        format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n[dependencies]\n{dependencies}\n")
    }

    #[test]
    fn a_layer_that_is_crossed_is_found_in_every_way_to_write_it() {
        for (name, dependencies) in [
            ("hostler-model", "tokio.workspace = true"),
            ("hostler-files", "hostler-link.workspace = true"),
            ("hostler-files", "hyper = { workspace = true, features = [\"client\"] }"),
            ("hostler-link", "[target.'cfg(unix)'.dependencies]\nhostler-agent = \"1\""),
            ("hostler-gateway", "[dependencies.hostler-files]\nworkspace = true"),
            ("hostler-gateway", "[build-dependencies]\nhostler-agent.workspace = true"),
            ("hostler-agent", "hostler-gateway.workspace = true"),
            ("hostler-agent", "tokio-tungstenite.workspace = true"),
            ("hostler-agent", "hostler-snapfs.workspace = true"),
            ("hostler-snapfs", "hostler-link.workspace = true"),
            ("hostler", "rusqlite.workspace = true"),
        ] {
            let found = layers(&tree(&[("crates/x/Cargo.toml", &manifest(name, dependencies))]));
            assert_eq!(found.len(), 1, "{name} {dependencies}: {found:?}");
        }
        for (name, dependencies) in [
            ("hostler-gateway", "rusqlite.workspace = true\n[dev-dependencies]\nhostler-files.workspace = true"),
            ("hostler-agent", "hostler-files.workspace = true\n# hostler-gateway = \"1\""),
            ("hostler-snapfs", "tokio-tungstenite.workspace = true\nhostler-files.workspace = true"),
            ("hostler-model", "serde.workspace = true"),
        ] {
            let found = layers(&tree(&[("crates/x/Cargo.toml", &manifest(name, dependencies))]));
            assert!(found.is_empty(), "{name} {dependencies}: {found:?}");
        }
    }

    #[test]
    fn the_model_uses_no_io_and_sql_stays_in_its_place() {
        let found = layers(&tree(&[
            ("crates/model/src/a.rs", "use std::fs::File;"),
            ("crates/gateway/src/fleet.rs", "use rusqlite::Connection;"),
            ("crates/gateway/src/store/sqlite/a.rs", "use rusqlite::Connection;"),
            ("crates/model/src/b.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}"),
        ]));
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn a_crate_without_the_workspaces_lints_is_found() {
        let bare = "[package]\nname = \"hostler-x\"\n";
        assert_eq!(lints(&tree(&[("crates/x/Cargo.toml", bare)])).len(), 1);
        assert!(lints(&tree(&[("crates/x/Cargo.toml", &manifest("hostler-x", ""))])).is_empty());
        assert!(lints(&tree(&[("crates/api/Cargo.toml", "[package]\nname = \"hostler-api\"\n")])).is_empty());
    }

    #[test]
    fn long_files_are_noted_and_longer_ones_refused() {
        let (long, longer) = ("x\n".repeat(LONG_LINES + 1), "x\n".repeat(MAX_LINES + 1));
        let tree = tree(&[("a.rs", &long), ("b.rs", &longer), ("c.md", &longer), ("d.rs", "x\n")]);
        assert_eq!(long_files(&tree).len(), 1);
        assert_eq!(sizes(&tree).len(), 1);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let text = "[a](b.md) ![p](a.png) [up](../README.md#start) [dir](../docs) [web](https://example.org/x)\n\
                    [gone](gone.md) [out](../../x)\n```\n[code](nothing)\n```\n[here](#part)";
        let found = links(&tree(&[("docs/a.md", text), ("docs/b.md", ""), ("README.md", "")]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("gone.md") && found[1].contains("../../x"), "{found:?}");
    }

    #[test]
    fn forbidden_words_are_found_outside_tests_only() {
        let unwrap = WORDS[0].0;
        let code = format!("fn f() {{ g(){unwrap}; }}\n// g(){unwrap}\n#[cfg(test)]\nmod tests {{ x(){unwrap} }}");
        let found = words(&tree(&[("src/a.rs", &code), ("tests/a.rs", &code), ("src/fault_tests.rs", &code)]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("src/a.rs:1:"), "{found:?}");
        let ignored = format!("#[ign{}\nfn a() {{}}\n#[ignore = \"slow\"]\nfn b() {{}}", "ore]");
        assert_eq!(words(&tree(&[("tests/a.rs", &ignored)])).len(), 1);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for line in [concat!("cd /wo", "rk/main"), concat!("\"/ho", "me/someone/x\""), concat!("(/ro", "ot/.cargo)")] {
            // A name that begins with a dot has no letters; the directory alone says nothing.
            assert_eq!(machine_path(line).is_some(), !line.contains(".cargo"), "{line}");
        }
        for line in ["roots = [\"/srv\", \"/home\"]", concat!("net", "/wo", "rk/x"), concat!("/ho", "me/ann/photos")] {
            assert_eq!(machine_path(line), None);
        }
    }

    #[test]
    fn an_invariant_is_bold_and_names_a_rule_that_exists() {
        let good = "# A\n\n## Invariants\n\n- **One.** (tidy: layers)\n- **Two.**\n\n## Next\n- plain";
        assert!(invariants(&tree(&[("ARCHITECTURE.md", good)])).is_empty());
        let bad = good.replace("- **Two.**", "- Two. (tidy: layer)");
        assert_eq!(invariants(&tree(&[("ARCHITECTURE.md", &bad)])).len(), 2);
        assert_eq!(invariants(&tree(&[])).len(), 1);
    }
}
