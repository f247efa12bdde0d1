//! The shape of files: how they open, how long they are, what they are called, what must not be left
//! in them, and that pages name only sources that are there.

use super::{
    Findings, Tree,
    borders::Member,
    source::{Token, occurrences, tokens},
};

/// Lines of a source at the most.
const LINES_MAX: usize = 800;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "misc"];

/// What must not be left in a source, as tokens, and what to do instead.
const LEFTOVERS: [(&[&str], &str); 4] = [
    (&["#", "[", "ignore"], "a test is fixed or removed, never left out"),
    (&["todo", "!"], "finish it"),
    (&["unimplemented", "!"], "finish it"),
    (&["should_panic", "("], "check the error's value: a test on its text breaks with the wording"),
];

/// The crate that must stay without the standard library.
const PURE: &str = "tickwheel-core";

pub(super) fn check(tree: &Tree, members: &[Member], findings: &mut Findings) {
    for (path, text) in tree.sources() {
        check_opening(path, text, findings);
        check_name(path, findings);
        let tokens = tokens(text);
        for (pattern, advice) in LEFTOVERS {
            for index in occurrences(&tokens, pattern) {
                let message = format!("`{}` must not be here: {advice}", pattern.concat());
                findings.add(path, tokens[index].line, message);
            }
        }
    }
    for (path, text) in tree.files().filter(|(path, _)| path.ends_with(".md")) {
        check_page(tree, path, text, findings);
    }
    for member in members.iter().filter(|member| member.name == PURE) {
        check_pure(tree, member, findings);
    }
}

fn check_opening(path: &str, text: &str, findings: &mut Findings) {
    let first = text.lines().next().unwrap_or_default();
    if first.strip_prefix("//!").is_none_or(|words| words.trim().is_empty()) {
        findings.add(path, 1, "a source opens with //! and what it owns");
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        let message =
            format!("{lines} lines are too many: split it at {LINES_MAX} by responsibility");
        findings.add(path, lines, message);
    }
}

fn check_name(path: &str, findings: &mut Findings) {
    let parts = path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
    for part in parts.filter(|part| EMPTY_NAMES.contains(part)) {
        findings.add(path, 0, format!("`{part}` says nothing: name what is inside"));
    }
}

/// A page names a source by the end of its path, in backquotes.
fn check_page(tree: &Tree, path: &str, text: &str, findings: &mut Findings) {
    for (index, line) in text.lines().enumerate() {
        for name in line.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs")) {
            let is_there = |(source, _): (&str, &str)| {
                source == name || source.strip_suffix(name).is_some_and(|rest| rest.ends_with('/'))
            };
            if !tree.sources().any(is_there) {
                findings.add(path, index + 1, format!("`{name}` is not there: correct the page"));
            }
        }
    }
}

/// The core has neither the standard library nor the ways around it that its dependencies offer.
fn check_pure(tree: &Tree, member: &Member, findings: &mut Findings) {
    let root = format!("{}src/lib.rs", member.dir);
    let tokens = tokens(tree.get(&root).unwrap_or_default());
    if occurrences(&tokens, &["#", "!", "[", "no_std", "]"]).is_empty() {
        findings.add(&root, 1, "the core needs #![no_std]");
    }
    for index in occurrences(&tokens, &["extern", "crate", "std"]) {
        if !is_for_tests(&tokens[..index]) {
            findings.add(
                &root,
                tokens[index].line,
                "the core must not take in the standard library",
            );
        }
    }
    let settings = format!("{}clippy.toml", member.dir);
    let text = tree.get(&settings).unwrap_or_default();
    if !["disallowed-methods", "disallowed-types"].iter().all(|key| text.contains(key)) {
        let message =
            "the core needs its own clippy.toml with disallowed-methods and disallowed-types";
        findings.add(&settings, 0, message);
    }
}

fn is_for_tests(before: &[Token<'_>]) -> bool {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    let tail = &before[before.len().saturating_sub(attribute.len())..];
    tail.iter().map(|token| token.text).eq(attribute)
}
