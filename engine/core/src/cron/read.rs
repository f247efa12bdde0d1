//! From text to values: the grammar of the dialect.
//!
//! Owns splitting, nicknames, items, ranges, steps and draws, and the translation into the dialect
//! of the `cron` crate. It must not know the calendar. What is wrong is found here, before that crate sees
//! the text, so that the message can say what to write instead.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use super::TEXT_LEN_BYTES_MAX;
use super::error::{CronError, FieldFault, quote};
use super::field::{Field, Values};
use super::policy::{Options, is_zone};
use super::special::Special;
use super::spread::{Stream, draw};

/// Which numbers of fields are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Five, six or seven.
    Any,
    /// Five, as in a crontab.
    Crontab,
}

/// A text that was read: what each field selects.
#[derive(Debug)]
pub(super) struct Rule {
    /// The text, for messages.
    pub(super) text: String,
    /// In the order of [`Field::ALL`].
    pub(super) fields: [FieldValues; 7],
    /// Days that no list of values can name.
    pub(super) special: Special,
    pub(super) options: Options,
    /// Whether a value was drawn from the name.
    pub(super) is_spread: bool,
}

/// What one field selects.
#[derive(Debug)]
pub(super) struct FieldValues {
    pub(super) values: Values,
    /// The field in the dialect of the `cron` crate.
    pub(super) translated: String,
    /// It begins with `*` or `?`: for the rule that joins the two day fields it restricts nothing.
    pub(super) begins_open: bool,
    /// An item is `*` or `?` without a step: every value is selected.
    pub(super) is_every: bool,
    /// An item ranges over the whole field, with or without a step.
    pub(super) spans_field: bool,
}

/// Reads a whole text. A name is needed only where something is drawn from it.
pub(super) fn read(text: &str, form: Form, name: Option<&str>) -> Result<Rule, CronError> {
    let text = text.trim_ascii();
    if text.len() > TEXT_LEN_BYTES_MAX {
        return Err(CronError::TooLong {
            len_bytes: text.len(),
            len_bytes_max: TEXT_LEN_BYTES_MAX,
        });
    }
    if text.is_empty() {
        return Err(CronError::Empty);
    }
    let (fields, options) = match form {
        Form::Any => Options::split(text)?,
        // What follows the fields of a crontab line is its command.
        Form::Crontab => (text, Options::default()),
    };
    let line = if fields.starts_with('@') { nickname(fields)? } else { fields };
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    if let Some(first) = words.first().filter(|word| word.contains('=')) {
        let text = quote(first);
        return Err(match is_zone(first) {
            true => CronError::ZoneInText { text },
            false => CronError::Option { text },
        });
    }
    let count = words.len();
    let words: [&str; 7] = match (form, words.as_slice()) {
        (_, &[minute, hour, day, month, weekday]) => ["0", minute, hour, day, month, weekday, "*"],
        (Form::Crontab, _) => {
            return Err(CronError::CrontabFieldCount { text: quote(text), count });
        }
        (Form::Any, &[second, minute, hour, day, month, weekday]) => {
            [second, minute, hour, day, month, weekday, "*"]
        }
        (Form::Any, &[second, minute, hour, day, month, weekday, year]) => {
            [second, minute, hour, day, month, weekday, year]
        }
        (Form::Any, _) => {
            return Err(CronError::FieldCount { text: quote(text), count });
        }
    };
    let mut reader = Reader { name, special: Special::default(), is_spread: false };
    let [second, minute, hour, day, month, weekday, year] = Field::ALL;
    let fields = [
        reader.field(second, words[0])?,
        reader.field(minute, words[1])?,
        reader.field(hour, words[2])?,
        reader.field(day, words[3])?,
        reader.field(month, words[4])?,
        reader.field(weekday, words[5])?,
        reader.field(year, words[6])?,
    ];
    let Reader { special, is_spread, .. } = reader;
    Ok(Rule { text: quote(text), fields, special, options, is_spread })
}

impl Rule {
    pub(super) fn of(&self, field: Field) -> &FieldValues {
        &self.fields[field as usize]
    }

    /// Whether hour or minute recurs over its whole field, so that the rule follows the clock.
    pub(super) fn recurs_within_day(&self) -> bool {
        self.of(Field::Hour).spans_field || self.of(Field::Minute).spans_field
    }

    /// Whether a day matches when either day field does, rather than both. It is so when both
    /// restrict something, as in every crontab since Vixie's.
    pub(super) fn joins_days_by_or(&self) -> bool {
        !self.of(Field::DayOfMonth).begins_open && !self.of(Field::DayOfWeek).begins_open
    }
}

/// The five fields that a nickname stands for.
fn nickname(text: &str) -> Result<&'static str, CronError> {
    const NICKNAMES: [(&str, &str); 7] = [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
    ];
    if let Some((_, line)) = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Ok(line);
    }
    let first = text.split_ascii_whitespace().next().unwrap_or(text);
    Err(if first.eq_ignore_ascii_case("@reboot") {
        CronError::Reboot
    } else if first.eq_ignore_ascii_case("@every") {
        CronError::Every { text: quote(text) }
    } else {
        CronError::UnknownNickname { text: quote(text) }
    })
}

/// What the fields of one text have in common.
struct Reader<'a> {
    name: Option<&'a str>,
    special: Special,
    is_spread: bool,
}

impl Reader<'_> {
    fn field(&mut self, field: Field, word: &str) -> Result<FieldValues, CronError> {
        let mut read = FieldValues {
            values: Values::default(),
            translated: String::new(),
            begins_open: word.starts_with(['*', '?']),
            is_every: false,
            spans_field: false,
        };
        if word.contains('?') && !(word == "?" && field.is_day()) {
            return Err(error(field, word, FieldFault::Question));
        }
        for item in word.split(',') {
            let fault = |fault| error(field, if item.is_empty() { word } else { item }, fault);
            if read_special(field, item, &mut self.special).map_err(fault)? {
                continue;
            }
            let item = match spread_part(item) {
                Some((range, step)) => self.spread(field, range, step),
                None => read_item(field, item),
            };
            let item = item.map_err(fault)?;
            read.is_every |= item.spans_field && item.form == ItemForm::Every;
            read.spans_field |= item.spans_field;
            for value in item.values() {
                read.values.insert(index_of(field, value));
            }
            if !read.translated.is_empty() {
                read.translated.push(',');
            }
            item.translate(field, &mut read.translated);
        }
        Ok(read)
    }

    /// An `H`: one value of a range, or with a step all values that lie so far apart, beginning
    /// with one that is drawn. Every item of a field uses the same draw.
    fn spread(
        &mut self,
        field: Field,
        range: Option<&str>,
        step: Option<&str>,
    ) -> Result<Item, FieldFault> {
        let (least, greatest) = field.spread().ok_or(FieldFault::SpreadYear)?;
        let (first, last) = match range {
            None => (least, greatest),
            Some(range) => {
                let (first, last) = range.split_once('-').ok_or(FieldFault::Form)?;
                read_range(field, first, last)?
            }
        };
        let size = last - first + 1;
        let step = step.map(|step| read_step(step, size)).transpose()?;
        let name = self.name.ok_or(FieldFault::NeedsName)?;
        self.is_spread = true;
        let stream = Stream(field as u64 + 1);
        // The draw is below the size of the field, at most 60.
        let first_drawn = first + draw(name, stream, step.unwrap_or(size).into()) as u32;
        Ok(Item {
            first: first_drawn,
            last: if step.is_some() { last } else { first_drawn },
            step: step.unwrap_or(1),
            form: ItemForm::Some,
            spans_field: step.is_some() && first == field.min() && last >= field.last(),
        })
    }
}

/// Takes an `H` apart: `H`, `H/n`, `H(a-b)` and `H(a-b)/n`.
fn spread_part(item: &str) -> Option<(Option<&str>, Option<&str>)> {
    let rest = item.strip_prefix(['H', 'h'])?;
    let (base, step) = match rest.split_once('/') {
        Some((base, step)) => (base, Some(step)),
        None => (rest, None),
    };
    if base.is_empty() {
        return Some((None, step));
    }
    let range = base.strip_prefix('(')?.strip_suffix(')')?;
    Some((Some(range), step))
}

/// Takes in an item with `L`, `W` or `#`, or says that it is none.
fn read_special(field: Field, item: &str, special: &mut Special) -> Result<bool, FieldFault> {
    match field {
        Field::DayOfMonth => read_special_month_day(item, special),
        Field::DayOfWeek => read_special_week_day(item, special),
        _ => Ok(false),
    }
}

fn read_special_month_day(item: &str, special: &mut Special) -> Result<bool, FieldFault> {
    let (base, is_nearest) = match item.strip_suffix(['W', 'w']) {
        Some(base) => (base, true),
        None => (item, false),
    };
    let Some(rest) = base.strip_prefix(['L', 'l']) else {
        if is_nearest {
            let day = read_number(Field::DayOfMonth, base, FieldFault::Special { sign: 'W' })?;
            special.nearest |= 1 << day;
        }
        return Ok(is_nearest);
    };
    let back = match rest.strip_prefix('-') {
        Some(back) => match read_number(Field::DayOfMonth, back, FieldFault::Form)? {
            // A month has at most 30 days before its last one.
            31 => return Err(FieldFault::OutOfRange),
            back => back,
        },
        None if rest.is_empty() => 0,
        None => return Err(FieldFault::Special { sign: 'L' }),
    };
    if is_nearest {
        special.nearest_before_last |= 1 << back;
    } else {
        special.before_last |= 1 << back;
    }
    Ok(true)
}

fn read_special_week_day(item: &str, special: &mut Special) -> Result<bool, FieldFault> {
    if let Some((weekday, nth)) = item.split_once('#') {
        let fault = || FieldFault::Special { sign: '#' };
        let weekday = read_value(Field::DayOfWeek, weekday).map_err(|_| fault())?;
        let weeks = nth.parse::<usize>().ok().and_then(|nth| nth.checked_sub(1));
        let weekdays = weeks.and_then(|weeks| special.nth.get_mut(weeks)).ok_or_else(fault)?;
        *weekdays |= 1 << wrapped(Field::DayOfWeek, weekday);
        return Ok(true);
    }
    // No name of a day ends with this letter.
    let Some(weekday) = item.strip_suffix(['L', 'l']) else {
        return Ok(false);
    };
    let weekday =
        read_value(Field::DayOfWeek, weekday).map_err(|_| FieldFault::Special { sign: 'L' })?;
    special.last |= 1 << wrapped(Field::DayOfWeek, weekday);
    Ok(true)
}

/// A number of a field and nothing else.
fn read_number(field: Field, text: &str, otherwise: FieldFault) -> Result<u32, FieldFault> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(otherwise);
    }
    read_value(field, text)
}

/// One item of a list: values from `first` to `last`, every `step`-th. A day of the week may run
/// past Saturday: 7 is then the Sunday after it, 8 the Monday.
#[derive(Clone, Copy, Debug)]
struct Item {
    first: u32,
    last: u32,
    step: u32,
    form: ItemForm,
    /// It ranges over the whole field, with or without a step.
    spans_field: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ItemForm {
    /// `*` or `?`
    Every,
    /// `*/n`, a value, a range, a range with a step, a value with a step
    Some,
}

impl Item {
    fn values(&self) -> impl Iterator<Item = u32> + use<> {
        (self.first..=self.last).step_by(self.step as usize)
    }

    /// Writes the item as the `cron` crate takes it. Its week begins with Sunday as 1 and does not
    /// wrap, so days of the week are listed one by one.
    fn translate(&self, field: Field, out: &mut String) {
        let written = if self.form == ItemForm::Every {
            out.write_str("*")
        } else if field == Field::DayOfWeek {
            let mut between = "";
            self.values().try_for_each(|value| {
                write!(out, "{between}{}", value % 7 + 1)?;
                between = ",";
                Ok(())
            })
        } else if self.first == self.last {
            write!(out, "{}", self.first)
        } else {
            write!(out, "{}-{}/{}", self.first, self.last, self.step)
        };
        written.expect("writing into a string cannot fail");
    }
}

fn read_item(field: Field, text: &str) -> Result<Item, FieldFault> {
    if text.is_empty() {
        return Err(FieldFault::Empty);
    }
    let (base, step) = match text.split_once('/') {
        None => (text, None),
        Some((base, step)) => (base, Some(read_step(step, field.max())?)),
    };
    let step_by = step.unwrap_or(1);
    if base == "*" || base == "?" {
        let form = if step.is_none() { ItemForm::Every } else { ItemForm::Some };
        let (first, last) = (field.min(), field.last());
        return Ok(Item { first, last, step: step_by, form, spans_field: true });
    }
    let (first, last) = match base.split_once('-') {
        Some((first, last)) => read_range(field, first, last)?,
        None => {
            // A step after one value goes from there to the end of the field.
            let first = wrapped(field, read_value(field, base)?);
            (first, if step.is_some() { field.last() } else { first })
        }
    };
    let spans_field = first == field.min() && last >= field.last();
    Ok(Item { first, last, step: step_by, form: ItemForm::Some, spans_field })
}

fn read_range(field: Field, first: &str, last: &str) -> Result<(u32, u32), FieldFault> {
    let (first, last) = (read_value(field, first)?, read_value(field, last)?);
    if field == Field::DayOfWeek {
        // A range that begins with Sunday as 7 begins with it as 0, and `7-7` is that one day.
        let (first, last) = if first == 7 { (0, last % 7) } else { (first, last) };
        return Ok((first, if last < first { last + 7 } else { last }));
    }
    if last < first {
        let part = |from: u32, to: u32| {
            if from == to { from.to_string() } else { format!("{from}-{to}") }
        };
        let instead = format!("{},{}", part(first, field.max()), part(field.min(), last));
        return Err(FieldFault::Backwards { instead });
    }
    Ok((first, last))
}

fn read_value(field: Field, text: &str) -> Result<u32, FieldFault> {
    if text.is_empty() || text.contains(['*', '/', '-', '?']) {
        return Err(FieldFault::Form);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only a number too large for the type fails to parse here.
        let value = text.parse().map_err(|_| FieldFault::OutOfRange)?;
        return if (field.min()..=field.max()).contains(&value) {
            Ok(value)
        } else {
            Err(FieldFault::OutOfRange)
        };
    }
    field.value_of(text).ok_or_else(|| foreign(text).unwrap_or(FieldFault::NotAValue))
}

fn read_step(text: &str, step_max: u32) -> Result<u32, FieldFault> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(FieldFault::Form);
    }
    match text.parse::<u32>() {
        Ok(0) => Err(FieldFault::StepZero),
        Ok(step) if step <= step_max => Ok(step),
        _ => Err(FieldFault::StepTooLarge { step_max }),
    }
}

/// A word with a sign that another dialect has, or that has its place in another field.
fn foreign(text: &str) -> Option<FieldFault> {
    let upper = text.to_ascii_uppercase();
    if let Some(sign) = upper.chars().find(|sign| "~+%".contains(*sign)) {
        return Some(FieldFault::OtherDialect { sign });
    }
    if upper.contains('#') {
        return Some(FieldFault::Special { sign: '#' });
    }
    match upper.trim_start_matches(|sign: char| sign.is_ascii_digit()) {
        "L" | "LW" => Some(FieldFault::Special { sign: 'L' }),
        "W" => Some(FieldFault::Special { sign: 'W' }),
        _ => None,
    }
}

/// Sunday written as 7 is the day 0.
const fn wrapped(field: Field, value: u32) -> u32 {
    match field {
        Field::DayOfWeek => value % 7,
        _ => value,
    }
}

/// The bit of a value in [`Values`].
pub(super) const fn index_of(field: Field, value: u32) -> u32 {
    match field {
        Field::Year => value - field.min(),
        _ => wrapped(field, value),
    }
}

fn error(field: Field, text: &str, fault: FieldFault) -> CronError {
    CronError::Field { field, text: quote(text), fault }
}
