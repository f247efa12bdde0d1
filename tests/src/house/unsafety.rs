//! Where `unsafe` may be: in the files listed here, and nowhere else.

use super::{
    Findings, Tree,
    borders::{Member, owner},
    source::{Token, occurrences, tokens},
};

/// The page that has to name each file of [`LEAVES`], with the reason.
const PAGE: &str = "docs/architecture.md";

/// A file that may hold `unsafe`, and the one that declares its module.
struct Leaf {
    crate_name: &'static str,
    file: &'static str,
    module: &'static str,
    declared_in: &'static str,
}

/// All of them: at most two, by the house style.
const LEAVES: [Leaf; 1] = [Leaf {
    crate_name: "tickwheel-wal",
    file: "wal/src/storage/mapping.rs",
    module: "mapping",
    declared_in: "wal/src/storage/mod.rs",
}];

const _: () = assert!(LEAVES.len() <= 2);

pub(super) fn check(tree: &Tree, members: &[Member], findings: &mut Findings) {
    for (path, text) in tree.sources() {
        let tokens = tokens(text);
        if let Some(member) = owner(members, path).filter(|member| is_root(member, path)) {
            check_root(member, path, &tokens, findings);
        }
        check_file(path, &tokens, findings);
    }
    let page = tree.get(PAGE).unwrap_or_default();
    for leaf in LEAVES.iter().filter(|leaf| tree.get(leaf.file).is_some()) {
        if !page.contains(leaf.file) {
            findings.add(PAGE, 0, format!("the page does not say why {} is unsafe", leaf.file));
        }
    }
}

/// Whether a file is the root of a library or program.
fn is_root(member: &Member, path: &str) -> bool {
    let Some(inside) = path.strip_prefix(&member.dir).and_then(|path| path.strip_prefix("src/"))
    else {
        return false;
    };
    matches!(inside, "lib.rs" | "main.rs")
        || inside
            .strip_prefix("bin/")
            .is_some_and(|file| !file.contains('/') || file.ends_with("/main.rs"))
}

fn check_root(member: &Member, path: &str, tokens: &[Token<'_>], findings: &mut Findings) {
    let has = |lint| {
        !occurrences(tokens, &["#", "!", "[", lint, "(", "unsafe_code", ")", "]"]).is_empty()
    };
    let has_leaf = LEAVES.iter().any(|leaf| leaf.crate_name == member.name);
    if !(has("forbid") || has_leaf && has("deny")) {
        let lint = if has_leaf { "deny" } else { "forbid" };
        findings.add(path, 1, format!("a crate's root needs #![{lint}(unsafe_code)]"));
    }
}

fn check_file(path: &str, tokens: &[Token<'_>], findings: &mut Findings) {
    if !LEAVES.iter().any(|leaf| leaf.file == path) {
        for index in occurrences(tokens, &["unsafe"]) {
            let message = format!("`unsafe` may only be in the files that {PAGE} lists");
            findings.add(path, tokens[index].line, message);
        }
    }
    let leaf = LEAVES.iter().find(|leaf| leaf.declared_in == path);
    for index in occurrences(tokens, &["unsafe_code"]) {
        let strict = index >= 2 && matches!(tokens[index - 2].text, "forbid" | "deny");
        // The end of the attribute, and what it stands on.
        let behind = tokens[index..].iter().skip_while(|token| token.text != "]").skip(1);
        let behind: Vec<&str> = behind.take(3).map(|token| token.text).collect();
        if !strict && leaf.is_none_or(|leaf| behind != ["mod", leaf.module, ";"]) {
            findings.add(
                path,
                tokens[index].line,
                format!("`unsafe_code` is allowed where {PAGE} does not list it"),
            );
        }
    }
}
