//! What is shown, all of it (pure).

use std::time::Duration;

use super::feed::Trouble;
use crate::cli::fleet_report::Machine;
use crate::http::admin::told::{Queue, Sessions, Upstream};

/// A running Tandem at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) sessions: Sessions,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) queue: Queue,
    pub(super) machines: Vec<Machine>,
}

/// The last that was seen, and what is wrong since.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) url: String,
    pub(super) snapshot: Option<Snapshot>,
    /// How old that is.
    pub(super) age: Duration,
    pub(super) trouble: Option<String>,
}

impl View {
    /// Nothing was seen yet.
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), snapshot: None, age: Duration::ZERO, trouble: None }
    }

    /// What came of another look. The last that was seen stays where nothing can be.
    pub(super) fn take(&mut self, looked: Result<Snapshot, Trouble>) {
        match looked {
            Ok(snapshot) => (self.snapshot, self.trouble, self.age) = (Some(snapshot), None, Duration::ZERO),
            Err(trouble) => self.trouble = Some(trouble.to_string()),
        }
    }
}
