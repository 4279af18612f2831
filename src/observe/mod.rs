//! What the proxy says about itself: lines of JSON on standard output, in the style of Go's slog (contract, chapter 13).

pub mod access;
mod clock_text;
mod json;
pub mod log;
mod output;

pub use clock_text::push_time;
pub use json::push_text;
pub use output::{Channel, Output};
