//! Why a line of a crontab is refused. Nothing is ignored silently: a line that cannot be run as
//! it was meant is named.

use tickwheel_engine::cron::CronError;

/// Why a line is refused. The text completes "file:line: …".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// Bytes that are no text.
    #[error("it is not UTF-8; save the file in that encoding")]
    NotUtf8,
    /// A zero byte cannot be passed to a program.
    #[error("it holds a zero byte")]
    ZeroByte,
    /// Lines end with CR LF.
    #[error(
        "it ends with a carriage return, which the shell would see; save the file with Unix line ends"
    )]
    CarriageReturn,
    /// The fields do not reach the command.
    #[error(
        "it ends before the command: {found} where five time fields{more} and a command are needed"
    )]
    TooShort {
        /// What is there, in words.
        found: String,
        /// The user column, if there must be one.
        more: &'static str,
    },
    /// The time fields or the zone are wrong.
    #[error(transparent)]
    Cron(#[from] CronError),
    /// A `-` before the minute.
    #[error("a - before the minute (do not log, SUSE) is not supported; remove it")]
    Dash,
    /// Options between the time and the command.
    #[error(
        "the option {option} before the command (FreeBSD, OpenBSD) is not supported; remove it"
    )]
    CommandOption {
        /// The option.
        option: String,
    },
    /// A variable that changes how cron itself works.
    #[error("{name} changes how cron itself works and is not supported; remove it{advice}")]
    Directive {
        /// The variable.
        name: String,
        /// What to do instead.
        advice: &'static str,
    },
    /// A name that no variable can have.
    #[error("{name:?} is not a name for a variable: letters, digits and _, no digit first")]
    VariableName {
        /// The text before the equals sign.
        name: String,
    },
    /// A quote that does not end.
    #[error("the quote {quote} does not end")]
    OpenQuote {
        /// The quote.
        quote: char,
    },
    /// `SHELL` must be a path.
    #[error("SHELL: {shell:?} is not a whole path, e.g. SHELL=/bin/sh")]
    Shell {
        /// The text.
        shell: String,
    },
    /// The user column names nobody.
    #[error(
        "user {user:?} is not in /etc/passwd; is a column missing, or is this a user's crontab (then leave out --system)?"
    )]
    UnknownUser {
        /// The text.
        user: String,
    },
    /// Only root may run commands as somebody else.
    #[error(
        "it runs as user {user}, but this server runs as {server}, and only root can run commands as others"
    )]
    OtherUser {
        /// The user of the line.
        user: String,
        /// The user of the server.
        server: String,
    },
    /// A command longer than the log takes.
    #[error(
        "command and variables take {bytes} bytes, at most {max} are possible; put the command in a script"
    )]
    TooLong {
        /// The size as a payload.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}
