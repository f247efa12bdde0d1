//! Who may import whom: the table, and what manifests and sources say. And why each crate of others
//! is here at all: a page has to say it.
//!
//! An edge in a manifest counts in any kind of dependency, also for tests; an edge in a source is
//! the name of another crate of ours.

use toml::{Table, Value};

use super::{
    Findings, Tree,
    source::{Token, tokens},
};

/// Each crate of ours and the crates of ours that it may import.
const CRATES: [(&str, &[&str]); 8] = [
    ("tickwheel-core", &[]),
    ("tickwheel-wal", &[]),
    ("tickwheel-protocol", &[]),
    ("tickwheel-engine", &["tickwheel-core", "tickwheel-wal"]),
    ("tickwheel", &["tickwheel-engine", "tickwheel-protocol"]),
    ("tickwheel-loadgen", &["tickwheel-engine", "tickwheel-protocol"]),
    (
        "tickwheel-bench",
        &["tickwheel-core", "tickwheel-engine", "tickwheel-wal", "tickwheel-protocol"],
    ),
    (
        "tickwheel-tests",
        &[
            "tickwheel-core",
            "tickwheel-wal",
            "tickwheel-protocol",
            "tickwheel-engine",
            "tickwheel",
            "tickwheel-loadgen",
            "tickwheel-bench",
        ],
    ),
];

/// The page that gives the reason for each dependency, in a table that begins with its name.
const REASONS: &str = "docs/decisions/dependencies.md";

/// A crate of the workspace.
#[derive(Debug)]
pub(super) struct Member {
    /// Name of the package.
    pub(super) name: String,
    /// Its folder from the root, with a `/` behind it.
    pub(super) dir: String,
    manifest: Table,
}

impl Member {
    fn manifest_path(&self) -> String {
        format!("{}Cargo.toml", self.dir)
    }

    fn may_import(&self, name: &str) -> bool {
        let own = CRATES.iter().find(|(own, _)| *own == self.name);
        self.name == name || own.is_some_and(|(_, reach)| reach.contains(&name))
    }
}

/// The crates that the workspace names.
pub(super) fn members(tree: &Tree, findings: &mut Findings) -> Vec<Member> {
    let Some(root) = parse(tree, "Cargo.toml", findings) else {
        return Vec::new();
    };
    let listed = root.get("workspace").and_then(|workspace| workspace.get("members"));
    let listed = listed.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut members = Vec::new();
    for dir in listed.iter().filter_map(Value::as_str) {
        let path = format!("{dir}/Cargo.toml");
        let Some(manifest) = parse(tree, &path, findings) else {
            continue;
        };
        let name = manifest.get("package").and_then(|package| package.get("name"));
        let name = name.and_then(Value::as_str).unwrap_or_default().to_owned();
        if !CRATES.iter().any(|(known, _)| *known == name) {
            let message = format!("crate `{name}` is not in the table of borders: add it there");
            findings.add(&path, 0, message);
        }
        members.push(Member { name, dir: format!("{dir}/"), manifest });
    }
    members
}

/// The crate that a file belongs to: the one with the deepest folder around it.
pub(super) fn owner<'m>(members: &'m [Member], path: &str) -> Option<&'m Member> {
    let around = members.iter().filter(|member| path.starts_with(&member.dir));
    around.max_by_key(|member| member.dir.len())
}

pub(super) fn check(tree: &Tree, members: &[Member], findings: &mut Findings) {
    let shared = tree
        .get("Cargo.toml")
        .and_then(|text| text.parse::<Table>().ok())
        .and_then(|root| root.get("workspace")?.get("dependencies")?.as_table().cloned())
        .unwrap_or_default();
    for member in members {
        let text = tree.get(&member.manifest_path()).unwrap_or_default();
        for (key, value) in dependencies(&member.manifest) {
            let line = 1 + text.lines().position(|line| line.starts_with(key)).unwrap_or(0);
            check_dependency(
                member,
                line,
                key,
                [value, shared.get(key).unwrap_or(value)],
                findings,
            );
        }
    }
    let reasons = tree.get(REASONS).unwrap_or_default();
    for (key, value) in shared.iter().filter(|(_, value)| value.get("path").is_none()) {
        let package = value.get("package").and_then(Value::as_str).unwrap_or(key);
        if !reasons.contains(&format!("\n| `{package}` |")) {
            findings.add(REASONS, 0, format!("the page does not say why `{package}` is needed"));
        }
    }
    for (path, text) in tree.sources() {
        if let Some(member) = owner(members, path) {
            check_source(member, path, &tokens(text), findings);
        }
    }
}

/// Checks one dependency. `stated` is what the manifest and what the workspace say about it.
fn check_dependency(
    member: &Member,
    line: usize,
    key: &str,
    stated: [&Value; 2],
    findings: &mut Findings,
) {
    let field = |name: &str| stated.iter().find_map(|value| value.get(name)?.as_str());
    let package = field("package").unwrap_or(key);
    let is_ours = CRATES.iter().any(|(name, _)| *name == package);
    if is_ours && !member.may_import(package) {
        findings.add(&member.manifest_path(), line, edge(&member.name, package));
    }
    if !is_ours && let Some(folder) = field("path") {
        let message = format!(
            "`{key}` comes from folder {folder}, which is no crate of the table of borders"
        );
        findings.add(&member.manifest_path(), line, message);
    }
}

fn check_source(member: &Member, path: &str, tokens: &[Token<'_>], findings: &mut Findings) {
    for (index, token) in tokens.iter().enumerate() {
        let is_named = |(name, _): &&(&str, &[&str])| {
            name.len() == token.text.len() && name.replace('-', "_") == token.text
        };
        let Some((name, _)) = CRATES.iter().find(is_named) else {
            continue;
        };
        let before = index.checked_sub(1).map_or("", |before| tokens[before].text);
        let is_followed = tokens[index + 1..].iter().take(2).map(|after| after.text).eq([":", ":"]);
        // One crate has the plain name of the project, which a variable may have as well.
        let is_path = token.text.contains('_') || is_followed || matches!(before, "use" | "crate");
        if is_path && !member.may_import(name) {
            findings.add(path, token.line, edge(&member.name, name));
        }
    }
}

fn edge(from: &str, to: &str) -> String {
    format!("`{from}` must not import `{to}`: docs/architecture.md says who may import whom")
}

/// All dependencies of a manifest, of every kind and for every target.
fn dependencies(manifest: &Table) -> Vec<(&String, &Value)> {
    const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let targets = manifest.get("target").and_then(Value::as_table);
    let places = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
    let places = std::iter::once(manifest).chain(places);
    let tables =
        places.flat_map(|place| KINDS.iter().filter_map(|kind| place.get(*kind)?.as_table()));
    tables.flatten().collect()
}

fn parse(tree: &Tree, path: &str, findings: &mut Findings) -> Option<Table> {
    let Some(text) = tree.get(path) else {
        findings.add(path, 0, "the manifest is missing");
        return None;
    };
    match text.parse::<Table>() {
        Ok(table) => Some(table),
        Err(error) => {
            findings.add(path, 0, format!("the manifest is no TOML: {}", error.message()));
            None
        }
    }
}
