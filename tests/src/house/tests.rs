//! Made-up houses: a good one, and what is found once one thing in it is made bad.

use super::*;

/// A small house in order.
fn good() -> Tree {
    let mut tree = Tree::default();
    let root = r#"
[workspace]
members = ["engine", "engine/core", "wal", "server", "tests"]
[workspace.dependencies]
serde = "1"
tickwheel-core = { path = "engine/core" }
hidden = { package = "tickwheel-core", path = "engine/core" }
elsewhere = { path = "../elsewhere" }
"#;
    tree.put("Cargo.toml", root);
    tree.put("docs/architecture.md", "`wal/src/storage/mapping.rs` maps files.");
    tree.put("docs/decisions/dependencies.md", "| crate | why |\n| `serde` | Derives. |\n");
    for (dir, name, needs) in [
        ("engine", "tickwheel-engine", "tickwheel-core.workspace = true"),
        ("engine/core", "tickwheel-core", "serde.workspace = true"),
        ("wal", "tickwheel-wal", ""),
        ("server", "tickwheel", "tickwheel-engine = { path = \"../engine\" }"),
        ("tests", "tickwheel-tests", "tickwheel = { path = \"../server\" }"),
    ] {
        let manifest = format!("[package]\nname = \"{name}\"\n[dependencies]\n{needs}\n");
        tree.put(&format!("{dir}/Cargo.toml"), manifest);
        let root = "//! A crate.\n#![forbid(unsafe_code)]\npub fn f() {}\n";
        tree.put(&format!("{dir}/src/lib.rs"), root);
    }
    tree.put("engine/core/src/lib.rs", "//! Pure.\n#![no_std]\n#![forbid(unsafe_code)]\n");
    tree.put("engine/core/clippy.toml", "disallowed-methods = []\ndisallowed-types = []\n");
    tree.put("engine/src/shard.rs", "//! A shard.\nuse tickwheel_core::Scheduler;\n");
    tree.put("wal/src/lib.rs", "//! A log.\n#![deny(unsafe_code)]\nmod storage;\n");
    let storage = "//! Files.\n#[allow(unsafe_code, reason = \"maps\")]\nmod mapping;\n";
    tree.put("wal/src/storage/mod.rs", storage);
    tree.put("wal/src/storage/mapping.rs", "//! Maps.\nunsafe fn map() {}\n");
    tree.put(
        "server/src/main.rs",
        "//! Runs.\n#![forbid(unsafe_code)]\nfn main() { tickwheel::f() }\n",
    );
    tree.put(
        "tests/tests/all.rs",
        "//! Uses all.\nuse tickwheel::f;\nuse tickwheel_core as core;\n",
    );
    tree
}

/// Puts `text` at `path` of a good house, and expects the findings, as `path:line: … words …`.
#[track_caller]
fn check_with(path: &str, text: &str, expected: &[(&str, &str)]) {
    let mut tree = good();
    tree.put(path, text);
    check_tree(&tree, expected);
}

#[track_caller]
fn check_tree(tree: &Tree, expected: &[(&str, &str)]) {
    let found: Vec<String> = check(tree).iter().map(ToString::to_string).collect();
    let matches = found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(f, (place, words))| f.starts_with(place) && f.contains(words));
    assert!(matches, "expected {expected:#?}, found {found:#?}");
}

#[test]
fn a_house_in_order_has_no_finding() {
    check_tree(&good(), &[]);
}

#[test]
fn a_manifest_with_a_wrong_edge_is_found() {
    let with = |table: &str, line: &str| {
        format!("[package]\nname = \"tickwheel-wal\"\n[{table}]\n{line}\n")
    };
    let edge = "`tickwheel-wal` must not import `tickwheel-core`";
    for (table, line) in [
        ("dependencies", "tickwheel-core.workspace = true"),
        ("dev-dependencies", "tickwheel-core = { path = \"../engine/core\" }"),
        ("build-dependencies", "tickwheel-core = \"0.1\""),
        ("target.'cfg(unix)'.dependencies", "tickwheel-core.workspace = true"),
        ("dependencies", "hidden.workspace = true"),
        ("dependencies", "x = { package = \"tickwheel-core\", version = \"1\" }"),
    ] {
        check_with("wal/Cargo.toml", &with(table, line), &[("wal/Cargo.toml:4: ", edge)]);
    }
    let path = with("dependencies", "elsewhere.workspace = true");
    check_with("wal/Cargo.toml", &path, &[("wal/Cargo.toml:4: ", "../elsewhere")]);
}

#[test]
fn a_source_with_a_wrong_edge_is_found() {
    for (path, text, from, to) in [
        ("wal/src/a.rs", "//! A.\nuse tickwheel_core::X;\n", "tickwheel-wal", "tickwheel-core"),
        ("server/src/a.rs", "//! A.\nfn f() { tickwheel_wal::g() }", "tickwheel", "tickwheel-wal"),
        ("server/src/a.rs", "//! A.\nuse {tickwheel_core as c};", "tickwheel", "tickwheel-core"),
        ("server/tests/a.rs", "//! A.\nuse tickwheel_core::X;", "tickwheel", "tickwheel-core"),
        ("engine/src/a.rs", "//! A.\nuse tickwheel::f;\n", "tickwheel-engine", "tickwheel"),
        ("engine/src/a.rs", "//! A.\nextern crate tickwheel;", "tickwheel-engine", "tickwheel"),
        // A folder of one crate inside that of another belongs to the inner one.
        (
            "engine/core/src/a.rs",
            "//! A.\nuse tickwheel_wal::X;",
            "tickwheel-core",
            "tickwheel-wal",
        ),
        (
            "engine/src/a.rs",
            "//! A.\nuse tickwheel_protocol::X;",
            "tickwheel-engine",
            "tickwheel-protocol",
        ),
    ] {
        let edge = format!("`{from}` must not import `{to}`");
        check_with(path, text, &[(&format!("{path}:2: "), &edge)]);
    }
    let harmless = "//! See tickwheel_core::X.\nfn f(tickwheel: u8) -> &'static str { \"tickwheel_core::X\" }\n";
    check_with("wal/src/a.rs", harmless, &[]);
}

#[test]
fn a_crate_outside_the_table_is_found() {
    let mut tree = good();
    tree.put("Cargo.toml", "[workspace]\nmembers = [\"engine/core\", \"spare\", \"gone\"]\n");
    tree.put("spare/Cargo.toml", "[package]\nname = \"spare\"\n");
    tree.put("wal/Cargo.toml", "[package");
    let spare = ("spare/Cargo.toml:0: ", "`spare` is not in the table");
    check_tree(&tree, &[("gone/Cargo.toml:0: ", "missing"), spare]);
    tree.put("Cargo.toml", "[workspace]\nmembers = [\"engine/core\", \"wal\"]\n");
    check_tree(&tree, &[("wal/Cargo.toml:0: ", "no TOML")]);
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    let page = "docs/decisions/dependencies.md";
    for text in ["", "| crate | why |\n| `serde_json` | `serde` |\n"] {
        check_with(page, text, &[(&format!("{page}:0: "), "`serde`")]);
    }
}

#[test]
fn unsafe_outside_its_leaf_is_found() {
    let root = "a crate's root needs #![forbid(unsafe_code)]";
    check_with("engine/src/lib.rs", "//! A.\n", &[("engine/src/lib.rs:1: ", root)]);
    check_with(
        "engine/src/lib.rs",
        "//! #![forbid(unsafe_code)]\n",
        &[("engine/src/lib.rs:1: ", root)],
    );
    let denied = "//! A.\n#![deny(unsafe_code)]\n";
    check_with("engine/src/lib.rs", denied, &[("engine/src/lib.rs:1: ", root)]);
    check_with("server/src/main.rs", denied, &[("server/src/main.rs:1: ", root)]);
    check_with("server/src/bin/x.rs", "//! A.\n", &[("server/src/bin/x.rs:1: ", root)]);
    check_with("wal/src/lib.rs", "//! A.\n", &[("wal/src/lib.rs:1: ", "#![deny(unsafe_code)]")]);
    let block = "//! A.\nfn f() {\n    unsafe { g() }\n}\n";
    check_with("wal/src/log.rs", block, &[("wal/src/log.rs:3: ", "`unsafe` may only be")]);
    check_with("engine/tests/t.rs", block, &[("engine/tests/t.rs:3: ", "`unsafe` may only be")]);
    let allow = "//! A.\n#[allow(unsafe_code, reason = \"fast\")]\nmod fast;\n";
    let found = "`unsafe_code` is allowed where";
    check_with("engine/src/a.rs", allow, &[("engine/src/a.rs:2: ", found)]);
    check_with("wal/src/storage/mod.rs", allow, &[("wal/src/storage/mod.rs:2: ", found)]);
    let whole = "//! A.\n#![deny(unsafe_code)]\n#![allow(unsafe_code)]\n";
    check_with("wal/src/lib.rs", whole, &[("wal/src/lib.rs:3: ", found)]);
    check_with("docs/architecture.md", "Nothing.", &[("docs/architecture.md:0: ", "mapping.rs")]);
}

#[test]
fn a_core_with_the_standard_library_is_found() {
    let lib = "engine/core/src/lib.rs";
    let at = |line| format!("{lib}:{line}: ");
    check_with(lib, "//! A.\n#![forbid(unsafe_code)]\n", &[(&at(1), "#![no_std]")]);
    let half = "//! A.\n#![cfg_attr(not(test), no_std)]\n#![forbid(unsafe_code)]\n";
    check_with(lib, half, &[(&at(1), "#![no_std]")]);
    let taken = "//! A.\n#![no_std]\n#![forbid(unsafe_code)]\nextern crate std;\n";
    check_with(lib, taken, &[(&at(4), "must not take in")]);
    let tested = "//! A.\n#![no_std]\n#![forbid(unsafe_code)]\n#[cfg(test)]\nextern crate std;\n";
    check_with(lib, tested, &[]);
    let settings = ("engine/core/clippy.toml:0: ", "disallowed-methods");
    check_with("engine/core/clippy.toml", "disallowed-types = []\n", &[settings]);
    let mut tree = good();
    tree.remove("engine/core/clippy.toml");
    check_tree(&tree, &[settings]);
}

#[test]
fn a_source_in_bad_shape_is_found() {
    let opening = "opens with //!";
    check_with("engine/src/a.rs", "use x;\n", &[("engine/src/a.rs:1: ", opening)]);
    check_with("engine/src/a.rs", "", &[("engine/src/a.rs:1: ", opening)]);
    check_with("engine/src/a.rs", "//!\nuse x;\n", &[("engine/src/a.rs:1: ", opening)]);
    check_with("engine/src/a.rs", &format!("//! A.\n{}", "\n".repeat(799)), &[]);
    let long = format!("//! A.\n{}", "\n".repeat(800));
    check_with("engine/src/a.rs", &long, &[("engine/src/a.rs:801: ", "801 lines")]);
    for path in ["engine/src/util/a.rs", "engine/src/helpers.rs", "tests/tests/common/mod.rs"] {
        check_with(path, "//! A.\n", &[(&format!("{path}:0: "), "says nothing")]);
    }
}

#[test]
fn unfinished_work_is_found() {
    for (text, words) in [
        ("//! A.\n#[test]\n#[ignore]\nfn f() {}", "#[ignore"),
        ("//! A.\n#[test]\n#[ignore = \"slow\"]\nfn f() {}", "#[ignore"),
        ("//! A.\nfn f() {\n    todo!()\n}", "todo!"),
        ("//! A.\nfn f() {\n    unimplemented!(\"later\")\n}", "unimplemented!"),
        ("//! A.\n#[test]\n#[should_panic(expected = \"x\")]\nfn f() {}", "should_panic"),
    ] {
        check_with("engine/src/a.rs", text, &[("engine/src/a.rs:3: ", words)]);
    }
    check_with("engine/src/a.rs", "//! A.\nfn f() { g(\"todo!()\") } // #[ignore]\n", &[]);
}

#[test]
fn a_page_that_names_a_source_that_is_gone_is_found() {
    let page = "# Map\n`wal/src/storage/mapping.rs` and `storage/mapping.rs` and `mapping.rs`\n";
    check_with("docs/architecture.md", page, &[]);
    for name in ["wal/src/gone.rs", "apping.rs", "core/src/storage/mapping.rs"] {
        let text = format!("{page}`a` b `{name}` c\n");
        let found = [("docs/architecture.md:3: ", name)];
        check_with("docs/architecture.md", &text, &found);
    }
}
