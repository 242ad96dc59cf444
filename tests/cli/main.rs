//! The program as people run it: its arguments, its words, its exit status and its files.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::f32::consts::TAU;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

mod calls;
mod checks;
mod desk;
mod machines;
mod prompts;
mod reload;
mod serving;
mod sound;
#[cfg(feature = "sentencepiece")]
#[path = "../context/tokens.rs"]
mod tokens;
mod users;

use tandem::sim::voice::MadeVoice;
use tandem::sim::wav;

use desk::*;
use sound::*;
