//! What can go wrong for a client, and what it has to do next.

use std::{io, time::Duration};

use crate::{
    handshake::GreetingError,
    reply::{ReplyError, ServerError},
};

/// Why a call of a client failed.
///
/// After all but [`Server`](ClientError::Server), [`Value`](ClientError::Value) and
/// [`NotTickwheel`](ClientError::NotTickwheel) the client is of no use: what was under way may or may
/// not have been taken. Connect anew and push again with the same jids; the server takes each once.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No address could be connected to.
    #[error("no connection to {address}: {source}; check that the server runs and the address")]
    Connect {
        /// What was given.
        address: String,
        /// Of the last address that was tried.
        source: io::Error,
    },
    /// The connection failed.
    #[error("the connection failed: {0}; reconnect and send again what was not answered")]
    Io(#[from] io::Error),
    /// The server said nothing in time.
    #[error("the server has not answered within {limit:?}; reconnect, or allow it more time")]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// The server closed the connection with answers owed.
    #[error("the server closed the connection; reconnect and send again what was not answered")]
    Closed,
    /// An earlier call left the connection in an unknown state.
    #[error("an earlier failure left this connection out of step; reconnect")]
    Broken,
    /// The greeting is that of no server that this client can use.
    #[error(transparent)]
    Greeting(#[from] GreetingError),
    /// The server wants a password.
    #[error("the server wants a password; give it in the options")]
    PasswordNeeded,
    /// The server did not take the client's greeting.
    #[error("the server did not take the greeting: {0}")]
    Rejected(ServerError),
    /// A reply cannot be read.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The server refused the one thing that was asked for.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A reply is of another kind than the command has.
    #[error("the server answered {command} with something else than it should; reconnect")]
    Unexpected {
        /// The command.
        command: &'static str,
    },
    /// The value in a reply is not what the command has.
    #[error("the server answered {command} with a value of another form: {source}")]
    Value {
        /// The command.
        command: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The command is an addition that this server does not announce.
    #[error("the server does not know {command}; use the plain command in its place")]
    NotTickwheel {
        /// The command.
        command: &'static str,
    },
}
