//! Moving a service from one revision to the next, with at most one of them live.

pub mod budget;
pub mod conversation;
pub mod driver;
pub mod follow;
pub mod machine;
