//! Rust source as tokens: names and signs with their lines. Comments and literals are left out, so
//! that no rule trips over a word in a text. It must not know a rule.

/// One token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// A name or keyword, or a single sign.
    pub(super) text: &'a str,
    /// Its line, from 1.
    pub(super) line: usize,
}

/// The tokens of a source. Text that is no Rust gives some tokens or other; it never fails.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { source, at: 0, line: 1 };
    let mut tokens = Vec::new();
    while lexer.at < source.len() {
        if let Some(token) = lexer.step() {
            tokens.push(token);
        }
    }
    tokens
}

/// Where `pattern` occurs as consecutive tokens: the index of each occurrence's first token.
pub(super) fn occurrences(tokens: &[Token<'_>], pattern: &[&str]) -> Vec<usize> {
    let matches = |window: &[Token<'_>]| window.iter().zip(pattern).all(|(t, p)| t.text == *p);
    let windows = tokens.windows(pattern.len()).enumerate();
    windows.filter(|(_, window)| matches(window)).map(|(index, _)| index).collect()
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    /// Passes over what comes next; the token, if it is one.
    fn step(&mut self) -> Option<Token<'a>> {
        let rest = self.rest();
        let first = rest.chars().next()?;
        if first.is_whitespace() {
            self.pass(rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len()));
        } else if rest.starts_with("//") {
            self.pass(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.pass(block_comment_len(rest));
        } else if let 'b' | 'c' | 'r' | '"' | '\'' = first
            && let Some(len) = literal_len(rest)
        {
            self.pass(len);
        } else if is_name_start(first) {
            let len = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            // A raw name is the name behind its prefix.
            if &rest[..len] == "r" && rest[len..].starts_with('#') {
                self.pass(2);
                return None;
            }
            return Some(self.take(len));
        } else if first.is_ascii_digit() {
            self.pass(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
        } else {
            return Some(self.take(first.len_utf8()));
        }
        None
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn take(&mut self, len: usize) -> Token<'a> {
        let token = Token { text: &self.rest()[..len], line: self.line };
        self.pass(len);
        token
    }

    fn pass(&mut self, len: usize) {
        self.line += self.rest().as_bytes()[..len].iter().filter(|byte| **byte == b'\n').count();
        self.at += len;
    }
}

fn is_name_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Length of the block comment that `text` begins with; such comments nest.
fn block_comment_len(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Length of the string, character or raw string that `text` begins with, if it does.
fn literal_len(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(['"', '#', '\'']))
    })?;
    let rest = &text[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        let body = rest[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let len = body.find(&end).map_or(body.len(), |found| found + end.len());
        return Some(prefix.len() + hashes + 1 + len);
    }
    let body_len = match rest.chars().next()? {
        '"' => quoted_len(&rest[1..], b'"'),
        '\'' if matches!(prefix, "" | "b") => character_len(&rest[1..])?,
        _ => return None,
    };
    Some(prefix.len() + 1 + body_len)
}

/// Length up to and with the closing quote.
fn quoted_len(body: &str, quote: u8) -> usize {
    let bytes = body.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    body.len()
}

/// Length of a character's body with its closing quote; `None` when the quote began a lifetime.
fn character_len(body: &str) -> Option<usize> {
    let first = body.chars().next()?;
    if first == '\\' {
        return Some(quoted_len(body, b'\''));
    }
    body[first.len_utf8()..].starts_with('\'').then_some(first.len_utf8() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_are_left_out() {
        assert_eq!(texts("a // todo!\nb /* c /* d */ e */ f"), ["a", "b", "f"]);
        assert_eq!(texts(r#"a "b \" c" d b"e" c"f" g"#), ["a", "d", "g"]);
        assert_eq!(texts(r###"a r#"b " c"# d br"e\" f"###), ["a", "d", "f"]);
        assert_eq!(texts(r"a 'b' '\'' b'\\' 'é' c"), ["a", "c"]);
        assert_eq!(texts("1_000u64 0xff x1"), ["x1"]);
    }

    #[test]
    fn names_and_signs_stay() {
        assert_eq!(
            texts("f<'a>(r#type: &'a T)"),
            ["f", "<", "'", "a", ">", "(", "type", ":", "&", "'", "a", "T", ")"]
        );
        assert_eq!(texts("brand crate b r c"), ["brand", "crate", "b", "r", "c"]);
        let lines: Vec<usize> = tokens("a\n\"b\nc\"\n/*\n*/ d").iter().map(|t| t.line).collect();
        assert_eq!(lines, [1, 5]);
    }

    #[test]
    fn what_never_ends_ends_with_the_text() {
        for text in ["\"a", "/* a", "r#\"a", "'\\", "'", "b'", "\"\\", "r#", "é\"", "/*é"] {
            tokens(text);
        }
    }

    #[test]
    fn patterns_are_found_across_lines() {
        let tokens = tokens("#\n[ignore]\n#[ignore = \"x\"] #[ignored]");
        assert_eq!(occurrences(&tokens, &["#", "[", "ignore"]), [0, 4]);
        assert!(occurrences(&tokens[..2], &["#", "[", "ignore"]).is_empty());
    }
}
