//! Rules drawn at random: all of the dialect that one text can hold, but no draws from a name.
//!
//! It owns the mixture. A rule that never fires may come up.

/// Reproducible numbers: the SplitMix64 generator of Steele, Lea and Flood.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// For whom a rule is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// The whole dialect, more often in the small hours, where clocks are changed.
    Search,
    /// What `croner` reads alike. It differs in a step after one value, in ranges of days of the
    /// week that wrap, in what a step over `*` in one day field means for the other, and it knows
    /// neither `L-n` nor options.
    Croner,
}

pub(crate) fn rule(random: &mut Random, reader: For) -> String {
    let second = if random.one_in(3) { list(random, 0, 59, reader) } else { "0".into() };
    let minute = field(random, 0, 59, reader);
    let hour = match reader {
        For::Search if random.one_in(2) => list(random, 0, 3, reader),
        _ => field(random, 0, 23, reader),
    };
    let month = if random.one_in(2) { "*".into() } else { field(random, 1, 12, reader) };
    let (day, weekday) = match random.below(6) {
        0 | 1 => ("*".into(), "*".into()),
        2 => (month_days(random, reader), "?".into()),
        3 => ("*".into(), week_days(random, reader)),
        4 if reader == For::Search => (field(random, 1, 31, reader), field(random, 0, 7, reader)),
        _ => (month_days(random, reader), week_days(random, reader)),
    };
    let mut text = if random.one_in(2) {
        format!("{minute} {hour} {day} {month} {weekday}")
    } else {
        format!("{second} {minute} {hour} {day} {month} {weekday}")
    };
    if reader == For::Search {
        text += ["", "", " skipped=end", " skipped=never"][random.below(4) as usize];
        text += ["", "", " repeated=once", " repeated=twice"][random.below(4) as usize];
    }
    text
}

fn field(random: &mut Random, min: u64, max: u64, reader: For) -> String {
    match random.below(4) {
        0 => "*".into(),
        1 => format!("*/{}", 1 + random.below(max.min(20))),
        _ => list(random, min, max, reader),
    }
}

fn list(random: &mut Random, min: u64, max: u64, reader: For) -> String {
    items(random, |random| {
        let first = min + random.below(max - min + 1);
        let last = first + random.below(max - first + 1);
        match random.below(5) {
            0 => format!("{first}-{last}"),
            1 => format!("{first}-{last}/{}", 1 + random.below(max.min(9))),
            2 if reader == For::Search => format!("{first}/{}", 1 + random.below(max.min(9))),
            _ => first.to_string(),
        }
    })
}

fn month_days(random: &mut Random, reader: For) -> String {
    if random.one_in(2) {
        return list(random, 1, 31, reader);
    }
    if reader == For::Croner {
        // There the signs of a field are kept in one place, so that they do not mix.
        return match random.below(3) {
            0 => "L".into(),
            1 => "LW".into(),
            _ => format!("{}W", 1 + random.below(31)),
        };
    }
    items(random, |random| match random.below(6) {
        0 => "L".into(),
        1 => format!("L-{}", 1 + random.below(30)),
        2 => "LW".into(),
        3 => format!("L-{}W", 1 + random.below(30)),
        4 => format!("{}W", 1 + random.below(31)),
        _ => (1 + random.below(31)).to_string(),
    })
}

fn week_days(random: &mut Random, reader: For) -> String {
    match random.below(4) {
        0 => items(random, |random| {
            let weekday = random.below(7);
            match random.below(3) {
                0 => format!("{weekday}L"),
                1 => weekday.to_string(),
                _ => format!("{weekday}#{}", 1 + random.below(5)),
            }
        }),
        1 if reader == For::Search => format!("{}-{}", random.below(7), random.below(7)),
        _ => list(random, 0, if reader == For::Search { 6 } else { 7 }, reader),
    }
}

fn items(random: &mut Random, mut item: impl FnMut(&mut Random) -> String) -> String {
    let count = 1 + random.below(3);
    (0..count).map(|_| item(random)).collect::<Vec<_>>().join(",")
}
