//! From text to values: the grammar of the dialect.
//!
//! Owns splitting, nicknames, items, ranges and steps, and the translation into the dialect of the
//! `cron` crate. It must not know the calendar. What is wrong is found here, before that crate sees
//! the text, so that the message can say what to write instead.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use super::TEXT_LEN_BYTES_MAX;
use super::error::{CronError, FieldFault, quote};
use super::field::{Field, Values};

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

/// Reads a whole text.
pub(super) fn read(text: &str, form: Form) -> Result<Rule, CronError> {
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
    let line = if text.starts_with('@') { nickname(text)? } else { text };
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    if let Some(first) = words.first().filter(|word| word.contains('=')) {
        return Err(CronError::ZoneInText { text: quote(first) });
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
    let [second, minute, hour, day, month, weekday, year] = Field::ALL;
    Ok(Rule {
        text: quote(text),
        fields: [
            read_field(second, words[0])?,
            read_field(minute, words[1])?,
            read_field(hour, words[2])?,
            read_field(day, words[3])?,
            read_field(month, words[4])?,
            read_field(weekday, words[5])?,
            read_field(year, words[6])?,
        ],
    })
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

fn read_field(field: Field, word: &str) -> Result<FieldValues, CronError> {
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
        let item = read_item(field, item).map_err(fault)?;
        read.is_every |= item.covers_field(field) && item.form == ItemForm::Every;
        read.spans_field |= item.covers_field(field);
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

/// One item of a list: values from `first` to `last`, every `step`-th. A day of the week may run
/// past Saturday: 7 is then the Sunday after it, 8 the Monday.
#[derive(Clone, Copy, Debug)]
struct Item {
    first: u32,
    last: u32,
    step: u32,
    form: ItemForm,
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

    fn covers_field(&self, field: Field) -> bool {
        self.first == field.min() && self.last >= field.last()
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
        Some((base, step)) => (base, Some(read_step(field, step)?)),
    };
    let step_by = step.unwrap_or(1);
    if base == "*" || base == "?" {
        let form = if step.is_none() { ItemForm::Every } else { ItemForm::Some };
        return Ok(Item { first: field.min(), last: field.last(), step: step_by, form });
    }
    let (first, last) = match base.split_once('-') {
        Some((first, last)) => read_range(field, first, last)?,
        None => {
            // A step after one value goes from there to the end of the field.
            let first = wrapped(field, read_value(field, base)?);
            (first, if step.is_some() { field.last() } else { first })
        }
    };
    Ok(Item { first, last, step: step_by, form: ItemForm::Some })
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
    field.value_of(text).ok_or_else(|| match other_dialect(text) {
        Some(sign) => FieldFault::OtherDialect { sign },
        None => FieldFault::NotAValue,
    })
}

fn read_step(field: Field, text: &str) -> Result<u32, FieldFault> {
    let step_max = field.max();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(FieldFault::Form);
    }
    match text.parse::<u32>() {
        Ok(0) => Err(FieldFault::StepZero),
        Ok(step) if step <= step_max => Ok(step),
        _ => Err(FieldFault::StepTooLarge { step_max }),
    }
}

/// The sign by which another dialect is known: Quartz has `L`, `W` and `#`, Jenkins `H`, some have
/// `+`, `~` or `%`.
fn other_dialect(text: &str) -> Option<char> {
    let upper = text.to_ascii_uppercase();
    if let Some(sign) = upper.chars().find(|sign| "#~+%".contains(*sign)) {
        return Some(sign);
    }
    let letters = upper.trim_start_matches(|sign: char| sign.is_ascii_digit());
    match letters {
        "L" | "LW" | "W" | "H" => letters.chars().next(),
        _ if letters.starts_with("H(") => Some('H'),
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
