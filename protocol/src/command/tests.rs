//! Every verb, and what is refused of it.
