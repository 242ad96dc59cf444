//! One way through all that waits (pure).
//!
//! It may take several tries: a store that refuses everything for a while is left alone, and then asked for what comes
//! next. So what it would never take is not in front of the rest for ever.

use super::{AT_ONCE, Given};
use crate::store::{StoreError, error::Fault, record::Written};

/// How far it has come, and what was seen on the way.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// The last record that was offered.
    pub(super) after: i64,
    /// Why not all were taken.
    pub(super) trouble: Option<String>,
    taken: u64,
    ends_taken: u64,
    /// What the store did not take, and whether it is an end.
    refused: Vec<(i64, bool)>,
}

/// What became of records that were offered together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// To be removed: the store has them, or will never have them.
    pub(super) settled: Vec<i64>,
    /// Of those, the ones that the store took.
    pub(super) taken: u64,
    /// Those that can never be written, and why.
    pub(super) unfit: Vec<(i64, StoreError)>,
    /// Those whose key is missing.
    pub(super) locked: Vec<i64>,
    /// Whether the store cannot be reached.
    pub(super) is_down: bool,
    /// Whether nothing says that the store takes anything at all.
    pub(super) is_vain: bool,
}

impl Course {
    /// Takes what became of records that were offered together.
    pub(super) fn pass(&mut self, given: Vec<Given>) -> Batch {
        let (mut batch, mut late, mut refused, offered) = (Batch::default(), Vec::new(), Vec::new(), given.len());
        for Given { number, ended, outcome } in given {
            let error = match outcome {
                Ok(written) => {
                    batch.taken += u64::from(written == Written::Kept);
                    self.ends_taken += u64::from(written == Written::Kept && ended);
                    batch.settled.push(number);
                    continue;
                }
                Err(error) => error,
            };
            let fault = error.fault();
            if fault != Fault::Record {
                self.trouble = Some(error.to_string());
            }
            match fault {
                Fault::Record => batch.unfit.push((number, error)),
                Fault::Outage => batch.is_down = true,
                Fault::Refusal => refused.push((number, ended)),
                Fault::Late => late.push((number, ended)),
                Fault::Key => batch.locked.push(number),
            }
        }
        self.taken += batch.taken;
        // A store that takes others meanwhile is not down: one that is late is too long for the way there.
        let all_refused = refused.len() == offered && offered == AT_ONCE as usize;
        batch.is_vain = batch.settled.is_empty() && (!late.is_empty() || all_refused);
        self.refused.append(&mut refused);
        self.refused.append(&mut late);
        batch
    }

    /// The records that are at fault themselves: they were refused while others of their kind were taken. If none was
    /// taken the store may be, or what we may do in it: ends are written where beginnings are not.
    pub(super) fn at_fault(&self) -> Vec<i64> {
        let is_it = |(_, ended): &&(i64, bool)| if *ended { self.ends_taken > 0 } else { self.taken > 0 };
        self.refused.iter().filter(is_it).map(|(number, _)| *number).collect()
    }
}
