//! One line of a crontab: nothing, a variable or an entry. The lexer knows where the parts are,
//! and nothing of what they mean.

use super::{Format, LineError};

/// One line, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Blank or a comment.
    Nothing,
    /// `NAME=value`, with the quotes taken off.
    Variable { name: &'a str, value: &'a str },
    /// A time and a command.
    Entry(RawEntry<'a>),
}

/// An entry, its time not yet understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawEntry<'a> {
    /// Five fields, or `@nickname`.
    pub(super) time: &'a str,
    /// The user column of a system crontab.
    pub(super) user: Option<&'a str>,
    /// The command as it is written, `%` included.
    pub(super) command: &'a str,
}

/// Takes one line apart; `bytes` come without the line feed.
pub(super) fn line(bytes: &[u8], format: Format) -> Result<Line<'_>, LineError> {
    let trimmed = bytes.trim_ascii();
    if trimmed.is_empty() || trimmed.starts_with(b"#") {
        return Ok(Line::Nothing);
    }
    let text = str::from_utf8(bytes).map_err(|_| LineError::NotUtf8)?;
    if text.contains('\0') {
        return Err(LineError::ZeroByte);
    }
    if text.ends_with('\r') {
        return Err(LineError::CarriageReturn);
    }
    let text = text.trim_start_matches(BLANKS);
    if let Some((name, value)) = variable(text)? {
        return Ok(Line::Variable { name, value });
    }
    if text.starts_with('-') {
        return Err(LineError::Dash);
    }
    entry(text, format).map(Line::Entry)
}

const BLANKS: [char; 2] = [' ', '\t'];

/// `NAME=value`, blanks around the equals sign allowed, either side possibly in quotes. A line is
/// one if its first word is followed by an equals sign; the time of an entry never is.
fn variable(text: &str) -> Result<Option<(&str, &str)>, LineError> {
    let (name, rest) = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let inside = &text[1..];
            let end = inside.find(quote).ok_or(LineError::OpenQuote { quote })?;
            (&inside[..end], &inside[end + 1..])
        }
        _ => text.split_at(text.find(['=', ' ', '\t']).unwrap_or(text.len())),
    };
    let Some(value) = rest.trim_start_matches(BLANKS).strip_prefix('=') else {
        return Ok(None);
    };
    let mut letters = name.bytes();
    let first = letters.next();
    if !first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        || !letters.all(|b| b.is_ascii_alphanumeric() || b == b'_')
    {
        return Err(LineError::VariableName { name: name.to_owned() });
    }
    Ok(Some((name, unquote(value.trim_matches(BLANKS))?)))
}

/// Quotes that enclose the whole value are taken off; quotes inside stay, nothing is escaped.
fn unquote(value: &str) -> Result<&str, LineError> {
    let Some(quote @ ('"' | '\'')) = value.chars().next() else {
        return Ok(value);
    };
    let inside = &value[1..];
    match inside.strip_suffix(quote) {
        Some(text) => Ok(text),
        None if inside.contains(quote) => Ok(value),
        None => Err(LineError::OpenQuote { quote }),
    }
}

fn entry(text: &str, format: Format) -> Result<RawEntry<'_>, LineError> {
    let fields = if text.starts_with('@') { 1 } else { 5 };
    let (time, rest) = split_words(text, fields).ok_or_else(|| too_short(text, format))?;
    let (user, command) = match format {
        Format::User => (None, rest),
        Format::System => {
            let (user, command) = split_words(rest, 1).ok_or_else(|| too_short(text, format))?;
            (Some(user), command)
        }
    };
    if command.is_empty() {
        return Err(too_short(text, format));
    }
    // No program's name begins with a dash: it is an option to cron.
    if command.starts_with('-') {
        let option = command.split(BLANKS).next().unwrap_or(command);
        return Err(LineError::CommandOption { option: option.to_owned() });
    }
    Ok(RawEntry { time, user, command })
}

/// Splits after `count` words; the second part begins with its first word. `None` if there are fewer.
fn split_words(text: &str, count: usize) -> Option<(&str, &str)> {
    let mut rest = text;
    let mut end = 0;
    for _ in 0..count {
        if rest.is_empty() {
            return None;
        }
        let word = rest.find(BLANKS).unwrap_or(rest.len());
        end = text.len() - rest.len() + word;
        rest = rest[word..].trim_start_matches(BLANKS);
    }
    Some((&text[..end], rest))
}

fn too_short(text: &str, format: Format) -> LineError {
    let found = match text.split(BLANKS).filter(|word| !word.is_empty()).count() {
        1 => "one word".to_owned(),
        count => format!("{count} words"),
    };
    let more = match format {
        Format::User => "",
        Format::System => ", the user",
    };
    LineError::TooShort { found, more }
}

/// A command as written, into the shell's line and the text of its standard input.
///
/// The first `%` ends the line; each further one is a line feed of the input. A backslash before
/// `%` makes it an ordinary one and goes away; other backslashes stay. The input ends with a line
/// feed, unless it is empty.
pub(super) fn split_percent(command: &str) -> (String, Option<String>) {
    let mut line = String::with_capacity(command.len());
    let mut input: Option<String> = None;
    let mut escaped = false;
    for c in command.chars() {
        let target = input.as_mut().unwrap_or(&mut line);
        match (c, escaped) {
            ('%', true) => {
                target.pop();
                target.push('%');
            }
            ('%', false) => match &mut input {
                Some(input) => input.push('\n'),
                None => input = Some(String::new()),
            },
            (other, _) => target.push(other),
        }
        escaped = c == '\\' && !escaped;
    }
    if let Some(input) = &mut input
        && !input.is_empty()
        && !input.ends_with('\n')
    {
        input.push('\n');
    }
    (line, input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> Result<Line<'_>, LineError> {
        line(text.as_bytes(), Format::User)
    }

    #[test]
    fn blank_lines_and_comments_are_nothing() {
        for text in ["", "  \t", "# x", "   # 1 2 3 4 5 x", "#", "\r"] {
            assert_eq!(user(text).unwrap(), Line::Nothing, "{text:?}");
        }
        assert_eq!(line(b"# caf\xe9", Format::User).unwrap(), Line::Nothing);
        assert!(matches!(line(b"X=caf\xe9", Format::User), Err(LineError::NotUtf8)));
    }

    #[test]
    fn variables_and_their_quotes() {
        let cases = [
            ("A=b", "A", "b"),
            ("  A = b c  ", "A", "b c"),
            ("A=", "A", ""),
            ("MAILTO=\"\"", "MAILTO", ""),
            ("A=\" b \"", "A", " b "),
            ("A='b'", "A", "b"),
            ("\"A\"=b", "A", "b"),
            ("A=b\"c\"", "A", "b\"c\""),
            ("A=\"b\" \"c\"", "A", "b\" \"c"),
            ("A=b # c", "A", "b # c"),
            ("A=x=y", "A", "x=y"),
        ];
        for (text, name, value) in cases {
            assert_eq!(user(text).unwrap(), Line::Variable { name, value }, "{text:?}");
        }
        assert!(matches!(user("A=\"b"), Err(LineError::OpenQuote { quote: '"' })));
        assert!(matches!(user("1A=b"), Err(LineError::VariableName { .. })));
        assert!(matches!(user("A-B=c"), Err(LineError::VariableName { .. })));
    }

    #[test]
    fn entries_in_both_forms() {
        let entry = |time, user, command| Line::Entry(RawEntry { time, user, command });
        assert_eq!(user("0\t1 * *  *\ta  b ").unwrap(), entry("0\t1 * *  *", None, "a  b "));
        assert_eq!(user("@daily X=1 a").unwrap(), entry("@daily", None, "X=1 a"));
        assert_eq!(user("*/5 * * * * A=b c").unwrap(), entry("*/5 * * * *", None, "A=b c"));
        let system = line(b"0 1 * * *\troot\ta b", Format::System).unwrap();
        assert_eq!(system, entry("0 1 * * *", Some("root"), "a b"));
    }

    #[test]
    fn short_lines_and_foreign_forms_are_named() {
        for text in ["0 1 * * *", "0 1 * * *  ", "@daily", "hello"] {
            assert!(matches!(user(text), Err(LineError::TooShort { .. })), "{text:?}");
        }
        assert!(matches!(line(b"@daily root", Format::System), Err(LineError::TooShort { .. })));
        assert!(matches!(user("-*/15 * * * * a"), Err(LineError::Dash)));
        assert!(matches!(user("0 1 * * * -n a"), Err(LineError::CommandOption { .. })));
        assert!(matches!(
            line(b"@daily root -q a", Format::System),
            Err(LineError::CommandOption { .. })
        ));
        assert!(matches!(user("0 1 * * * a\r"), Err(LineError::CarriageReturn)));
    }

    #[test]
    fn percent_signs() {
        let cases: [(&str, &str, Option<&str>); 8] = [
            ("a b", "a b", None),
            (r"date +\%F", "date +%F", None),
            ("mail x%hello%%bye", "mail x", Some("hello\n\nbye\n")),
            ("cat%", "cat", Some("")),
            (r"cat%50\% off", "cat", Some("50% off\n")),
            (r"printf 'a\nb'", r"printf 'a\nb'", None),
            (r"a \\% b", r"a \\", Some(" b\n")),
            ("cat%a%", "cat", Some("a\n")),
        ];
        for (command, line, input) in cases {
            assert_eq!(
                split_percent(command),
                (line.to_owned(), input.map(str::to_owned)),
                "{command}"
            );
        }
    }
}
