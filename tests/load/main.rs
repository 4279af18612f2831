//! Many requests at once, with the proxy in a process of its own.

mod held;
mod pauses;
mod place;
