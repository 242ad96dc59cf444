//! What is kept: for now the record of leases, in one SQLite file.
//!
//! [`embedded`] opens the file, [`ledger`] writes leases down in it.

pub mod embedded;
pub mod ledger;
