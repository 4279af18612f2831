//! The registry of requests in flight. Each worker keeps its own, on its own thread, without locks; others ask all of
//! them by message and wait for their answers.

mod ask;
mod entry;
mod slab;

pub use ask::{Flights, InFlight, Rule, Scope, Worker};
pub use entry::{Answer, Broken, Cut, Flight, Launch};

#[cfg(test)]
mod tests;
