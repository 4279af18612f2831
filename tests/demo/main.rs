//! The demo, and the shop that it deploys, as processes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity, reason = "a test may panic")]

mod shop;
mod whole;
