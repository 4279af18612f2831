//! Wires the proxy together.

use crate::config::Settings;

/// Runs until told to stop.
///
/// # Errors
/// What kept it from starting.
pub fn run(settings: Settings) -> Result<(), String> {
    drop(settings);
    Ok(())
}
