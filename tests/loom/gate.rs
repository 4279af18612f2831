//! The gate's core, of loom's parts.

pub(crate) mod sync;

#[path = "../../src/gate/core/mod.rs"]
pub(crate) mod core;
