//! The rules of the house, as far as a program can tell: who imports whom, where `unsafe` may be,
//! and the shape of files.
//!
//! It looks at text only: manifests and tokens of source files. It must not know what the code
//! does. [`check`] takes any [`Tree`], so that made-up bad ones prove that it can refuse.

mod borders;
mod shape;
mod source;
mod tree;
mod unsafety;

use std::fmt;

pub use tree::Tree;

/// A place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the root of the workspace.
    pub path: String,
    /// The line, from 1; 0 stands for the whole file.
    pub line: usize,
    /// What is wrong, and what to do instead.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// All places of `tree` where a rule is broken, in the order of its files.
#[must_use]
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Findings::default();
    let members = borders::members(tree, &mut findings);
    borders::check(tree, &members, &mut findings);
    unsafety::check(tree, &members, &mut findings);
    shape::check(tree, &members, &mut findings);
    findings.0.sort();
    findings.0
}

/// Findings as they come.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, path: &str, line: usize, message: impl Into<String>) {
        self.0.push(Finding { path: path.to_owned(), line, message: message.into() });
    }
}

#[cfg(test)]
mod tests;
