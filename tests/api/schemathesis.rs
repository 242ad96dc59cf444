//! A gateway that is asked everything that its document allows, and much that it does not, by schemathesis.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

/// Where the program is: the environment names it.
const PROGRAM: &str = "SCHEMATHESIS_TEST_PROGRAM";
/// How long one run may take.
const LONGEST: Duration = Duration::from_secs(120);
