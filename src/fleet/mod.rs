//! The machines that model servers run on, and who starts and stops them.

pub mod provider;
