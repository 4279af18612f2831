//! The registry of requests in flight. Each worker keeps its own, on its own thread, without locks; others ask all of
//! them by message and wait for their answers.

mod answer;
mod ask;
mod entry;
mod handle;
mod registry;
mod slab;

pub use answer::{Answer, Broken};
pub use ask::{Flights, InFlight, Rule, Scope, Worker};
pub use entry::{Cut, Launch};
pub use handle::Flight;

#[cfg(test)]
mod tests;
