//! The documents that are made from the routes: changed without them, a test fails.

use std::path::{Path, PathBuf};

const UPDATE: &str = "UPDATE_GOLDEN=1 cargo test -p hostler-gateway -p hostler";

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares a file with what it should be, or writes it.
fn golden(path: &str, expected: &str) {
    let file = project().join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, expected).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
    let line = differs.unwrap_or_else(|| found.lines().count().min(expected.lines().count())) + 1;
    assert!(found == expected, "{path} is not what the code says, from line {line} on. If that is meant: {UPDATE}");
}

/// `document` with another text between a section's markers.
fn with_section(document: &str, name: &str, text: &str) -> String {
    let (start, end) = (format!("<!-- generated: {name} -->\n"), format!("<!-- end: {name} -->"));
    let from = document.find(&start).unwrap_or_else(|| panic!("docs/contract.md has no {start}")) + start.len();
    let to = document.find(&end).unwrap_or_else(|| panic!("docs/contract.md has no {end}"));
    format!("{}\n{text}\n{}", &document[..from], &document[to..])
}

#[test]
fn the_openapi_document_is_what_the_routes_say() {
    golden("docs/openapi.json", &format!("{}\n", hostler_gateway::rest::openapi().trim_end()));
}

#[test]
fn the_contract_lists_every_route() {
    let contract = read(&project().join("docs/contract.md"));
    let contract = with_section(&contract, "rest", &rest_table());
    golden("docs/contract.md", &with_section(&contract, "pages", &pages_table()));
}

fn rest_table() -> String {
    let document: serde_json::Value = serde_json::from_str(&hostler_gateway::rest::openapi()).unwrap();
    let mut table = String::from("| method | path | what |\n|---|---|---|\n");
    let mut rows = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let summary = operation["summary"].as_str().unwrap_or_default().replace('|', "\\|");
            table.push_str(&format!("| {} | `{path}` | {summary} |\n", method.to_uppercase()));
            rows += 1;
        }
    }
    assert!(rows > 10, "the OpenAPI document lists only {rows} operations");
    table
}

/// Routes that are no part of the OpenAPI document, from the lines that make them.
fn pages_table() -> String {
    let mut table = String::from("| path | methods |\n|---|---|\n");
    let mut rows = 0;
    for source in ["pages/mod.rs", "operations.rs", "dist/mod.rs", "rest/mod.rs", "snapfs/router.rs"] {
        let text = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(source));
        for route in text.split(".route(\"").skip(1) {
            let (path, handlers) = route.split_once('"').unwrap();
            let handlers = handlers.split(".route(").next().unwrap().lines().next().unwrap();
            let methods: Vec<&str> = [("get(", "GET"), ("post(", "POST")]
                .into_iter()
                .filter(|(call, _)| handlers.contains(call))
                .map(|(_, method)| method)
                .collect();
            assert!(!methods.is_empty(), "no method is known of the route {path}");
            table.push_str(&format!("| `{path}` | {} |\n", methods.join(", ")));
            rows += 1;
        }
    }
    assert!(rows > 20, "only {rows} routes were found in the source");
    table
}
