//! `apps`, with its old homes.

use super::def::namespaced;
use crate::{Kind, NoStrategy};

const BETA2: (&str, &str) = ("apps", "v1beta2");
const BETA1: (&str, &str) = ("apps", "v1beta1");
const EXTENSIONS: (&str, &str) = ("extensions", "v1beta1");

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        namespaced("apps", "v1", "ControllerRevision", "controllerrevisions", NoStrategy).also(&[BETA2, BETA1]),
        namespaced("apps", "v1", "DaemonSet", "daemonsets", NoStrategy)
            .short("ds")
            .all()
            .status()
            .also(&[BETA2, EXTENSIONS]),
        namespaced("apps", "v1", "Deployment", "deployments", NoStrategy)
            .short("deploy")
            .all()
            .status()
            .scale()
            .also(&[BETA2, BETA1, EXTENSIONS]),
        namespaced("apps", "v1", "ReplicaSet", "replicasets", NoStrategy)
            .short("rs")
            .all()
            .status()
            .scale()
            .also(&[BETA2, EXTENSIONS]),
        namespaced("apps", "v1", "StatefulSet", "statefulsets", NoStrategy)
            .short("sts")
            .all()
            .status()
            .scale()
            .also(&[BETA2, BETA1]),
    ]
}
