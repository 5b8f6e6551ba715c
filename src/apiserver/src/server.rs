//! The server: what it is made of, and how it listens.

use std::sync::Arc;

use api::Registry;

use crate::admission::Plugin;
use crate::special::Specials;
use crate::{Authenticator, Authorizer};

/// What a server is made of.
pub struct Config {
    pub registry: Registry,
    pub authenticator: Arc<dyn Authenticator>,
    pub authorizer: Arc<dyn Authorizer>,
    /// In upstream's order.
    pub plugins: Vec<Arc<dyn Plugin>>,
    pub specials: Specials,
}
