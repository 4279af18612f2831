//! The admission point of a service: a request is dispatched only with a [`Permit`].
//!
//! While a gate is closed, arriving requests wait in a bounded queue, in order, and nothing of them has been sent
//! upstream. Generic over `R`, the payload of a revision (what a permit leads to).
//!
//! ```text
//! enter() -> Permit                     open, nobody waits: no lock
//!   None -> join() -> Held -> Permit    closed, or others wait: in the queue
//!                          -> Refusal   too many, too long, stopped, removed
//! ```
//!
//! Hold, flip and drain are one act: closing an opening (`core.rs`), the counter of the requests that entered between
//! two closings.

mod core;
mod held;
mod sync;
#[cfg(test)]
mod tests;

pub use self::core::terms::{HoldStats, Limits, Operator, Reason, Reasons, Refusal, Scope, View};
pub use self::core::{Drain, Entrance, Gate, Permit};
pub use self::held::Held;
