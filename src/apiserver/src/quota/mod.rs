//! Resource quotas: what a namespace may have in all, and what it has.
//!
//! [`usage`] says what one object costs, [`Quota`] whom a quota counts; both are pure. [`ResourceQuota`] refuses what does not
//! fit, exactly: a charged write holds its namespace until it is stored, and what is used is counted from the store, not from
//! a status that may be behind. [`Controller`] keeps that status.

mod admission;
mod controller;
mod scope;
mod usage;

pub use admission::ResourceQuota;
pub use controller::Controller;
pub use scope::Quota;
pub use usage::{Amounts, resource_of, usage};

const QUOTAS: &str = "resourcequotas";

#[cfg(test)]
mod tests;
