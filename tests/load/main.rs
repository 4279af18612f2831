//! Many requests at once, with the proxy in a process of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity, reason = "a test may panic")]

mod held;
mod pauses;
mod place;
