//! The TCP front-end of the real server, spoken to by the protocol's client and by raw sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod front {
    mod clients;
    mod connections;
    mod control;
    mod jobs;
    mod mutate;
    mod pages;
    mod relations;
    mod reload;
    mod restart;
    mod server;
    mod stream;
    mod tls;
}
