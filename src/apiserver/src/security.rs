//! All that guards the API, put together for one server.

use std::ops::RangeInclusive;
use std::sync::Arc;

use client::{NodeDialer, SystemClock};
use ipnet::IpNet;
use pki::Pki;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::admission::{Extensions, Mutating, Plugin, TokenSecret, Validating, certificates, plugins};
use crate::authn::{Authentication, BootstrapTokens, OwnSecrets, ServiceAccounts};
use crate::authz::{Authorization, Escalation};
use crate::quota::ResourceQuota;
use crate::service_ip::{Addresses, Ports, ServiceAllocation};
use crate::special::Specials;
use crate::webhook::WebhookClient;
use crate::{Authorizer, Lookup, proxy, subresource};

/// What the guard of a server must know.
pub struct Options<'a> {
    pub store: &'a Arc<Store>,
    pub pki: &'a Pki,
    /// `cluster.local`
    pub cluster_domain: &'a str,
    /// `--service-cidr`, the primary family first.
    pub service_cidrs: &'a [IpNet],
    /// `--service-node-port-range`
    pub node_ports: RangeInclusive<u16>,
    pub dialer: Arc<dyn NodeDialer>,
    pub stop: &'a CancellationToken,
}

/// The fields of [`crate::Config`] that guard.
pub struct Security {
    pub authentication: Arc<Authentication>,
    pub authorization: Arc<Authorization>,
    pub plugins: Vec<Arc<dyn Plugin>>,
    pub specials: Specials,
}

impl Security {
    /// Reads the store and follows it until `stop`. Must be called within a runtime.
    pub fn new(o: &Options<'_>) -> Security {
        let lookup: Arc<dyn Lookup> = o.store.clone();
        let service_accounts = Arc::new(ServiceAccounts::new(
            &o.pki.service_account_key,
            &o.pki.service_account_public_key,
            o.cluster_domain,
            lookup.clone(),
            Arc::new(SystemClock),
        ));
        let authorization = Arc::new(Authorization::new());
        authorization.follow(o.store, o.stop);
        let authorizer: Arc<dyn Authorizer> = authorization.clone();
        let rbac = authorization.rbac.clone();

        let mut plugins = plugins(&lookup);
        let client = WebhookClient::new(o.dialer.clone(), lookup.clone());
        let extensions = Extensions::new(client, lookup.clone(), authorizer.clone());
        extensions.follow(o.store, o.stop);
        plugins.push(Arc::new(Mutating(extensions.clone())));
        let addresses = o.service_cidrs.iter().copied().map(Addresses::new).collect();
        let ports = Ports { first: *o.node_ports.start(), last: *o.node_ports.end() };
        plugins.push(Arc::new(TokenSecret::new(service_accounts.clone(), o.pki.server_ca.pem(), lookup.clone())));
        plugins.push(Arc::new(ServiceAllocation::new(addresses, ports, lookup.clone())));
        plugins.push(Arc::new(Escalation::new(rbac.clone(), authorizer.clone())));
        plugins.extend(certificates::plugins(&authorizer));
        plugins.push(Arc::new(Validating(extensions)));
        // the last: what it counts is what will be stored
        plugins.push(Arc::new(ResourceQuota::new(lookup.clone())));

        let mut specials = Specials::default();
        let own = OwnSecrets { server: o.pki.token.clone(), agent: o.pki.agent_token.clone() };
        let bootstrap = Arc::new(BootstrapTokens::new(own, lookup.clone(), Arc::new(SystemClock)));
        let authentication = Arc::new(Authentication::new(service_accounts.clone(), bootstrap, lookup));
        let parts = subresource::Parts {
            service_accounts: service_accounts.clone(),
            authentication: authentication.clone(),
            authorizer,
            rbac,
        };
        subresource::register(&mut specials, &parts);
        let (discovery, keys) = (service_accounts.discovery().to_string(), service_accounts.key_set().to_string());
        specials.document("/.well-known/openid-configuration", "application/json", discovery).document(
            "/openid/v1/jwks",
            "application/jwk-set+json",
            keys,
        );
        proxy::register(&mut specials, &o.dialer);
        Security { authentication, authorization, plugins, specials }
    }
}
