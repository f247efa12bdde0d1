//! Jobs: what is taken, what is refused, and what is given back.
