//! The tables of `docs/file-format.md`, to be compared with the constants of the code.

/// The page.
pub(crate) const PAGE: &str = include_str!("../../../docs/file-format.md");

/// The rows of the first table after `heading`, each cut into cells without back-quotes.
pub(crate) fn table(heading: &str) -> Vec<Vec<String>> {
    let (_, rest) = PAGE.split_once(heading).unwrap_or_else(|| panic!("no {heading:?}"));
    rest.lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().replace('`', "")).collect()
        })
        .collect()
}

/// Compares a field table with the offsets in the code; its rows must leave no hole.
#[track_caller]
pub(crate) fn check_fields(heading: &str, len: usize, ours: &[(&str, usize)]) {
    let mut end = 0;
    let mut stated = Vec::new();
    for row in table(heading) {
        let offset: usize = row[0].parse().unwrap();
        assert_eq!(offset, end, "a hole before {row:?}");
        end = offset + row[1].parse::<usize>().unwrap();
        if !row[2].is_empty() {
            stated.push((row[2].clone(), offset));
        }
    }
    assert_eq!(end, len);
    let ours: Vec<_> = ours.iter().map(|&(name, offset)| (name.to_owned(), offset)).collect();
    assert_eq!(stated, ours);
}
