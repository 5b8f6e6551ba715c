//! The node's own object: registered at the start, its status told on change and every five minutes, its Lease renewed.

pub(crate) mod lease;
pub(crate) mod machine;
mod register;
mod status;

pub(crate) use register::run;
