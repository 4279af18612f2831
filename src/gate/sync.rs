//! What the core needs to be shared between threads; its test under loom has a file of the same names.

pub(super) use std::sync::Mutex;
