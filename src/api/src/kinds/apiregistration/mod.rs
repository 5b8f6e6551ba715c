//! `apiregistration.k8s.io`.

mod api_service;

use super::def::cluster;
use crate::Kind;

pub(super) fn kinds() -> Vec<Kind> {
    let service = cluster("apiregistration.k8s.io", "v1", "APIService", "apiservices", api_service::ApiService)
        .category("api-extensions")
        .status()
        .old(&["v1beta1"]);
    vec![Kind { schema: "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService".into(), ..service }]
}
