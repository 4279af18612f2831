//! The demo, and the shop that it deploys, as processes.

mod shop;
mod whole;
