//! `tandem metrics`: the catalogue of series, for people.

use std::process::ExitCode;

use super::terminal;
use crate::metrics::catalogue;

/// Prints the page.
pub(super) fn print() -> Result<ExitCode, String> {
    terminal::say(catalogue().trim_end());
    Ok(ExitCode::SUCCESS)
}
