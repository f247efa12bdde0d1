//! The house as it stands keeps its rules: imports, `unsafe`, the shape of files. What the rules
//! are, and that they are enforced, is in `tickwheel_tests::house`.

use std::path::Path;

use tickwheel_tests::house::{Tree, check};

#[test]
fn the_house_is_in_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tree = Tree::read(&root).unwrap();
    // A walk that misses the house would find nothing wrong in it.
    for path in ["engine/core/src/lib.rs", "wal/src/storage/mapping.rs", "server/src/main.rs"] {
        assert!(tree.get(path).is_some(), "{path} was not read");
    }
    assert!(tree.sources().count() > 100);
    let findings = check(&tree);
    let list: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    assert!(findings.is_empty(), "{} findings:\n{list}", findings.len());
}
