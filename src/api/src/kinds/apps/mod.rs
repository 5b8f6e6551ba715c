//! `apps`, with its old homes.

mod controller_revision;
mod daemon_set;
mod deployment;
mod replica_set;
mod stateful_set;

use controller_revision::ControllerRevision;
use daemon_set::DaemonSet;
use deployment::Deployment;
use replica_set::ReplicaSet;
use stateful_set::StatefulSet;

pub(super) use replica_set::{REPLICA_COLUMNS, replica_cells, replicas_status_update};

use super::def::namespaced;
use crate::Kind;

const BETA2: (&str, &str) = ("apps", "v1beta2");
const BETA1: (&str, &str) = ("apps", "v1beta1");
const EXTENSIONS: (&str, &str) = ("extensions", "v1beta1");

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        namespaced("apps", "v1", "ControllerRevision", "controllerrevisions", ControllerRevision).also(&[BETA2, BETA1]),
        namespaced("apps", "v1", "DaemonSet", "daemonsets", DaemonSet)
            .short("ds")
            .all()
            .status()
            .also(&[BETA2, EXTENSIONS]),
        namespaced("apps", "v1", "Deployment", "deployments", Deployment)
            .short("deploy")
            .all()
            .status()
            .scale()
            .also(&[BETA2, BETA1, EXTENSIONS]),
        namespaced("apps", "v1", "ReplicaSet", "replicasets", ReplicaSet)
            .short("rs")
            .all()
            .status()
            .scale()
            .also(&[BETA2, EXTENSIONS]),
        namespaced("apps", "v1", "StatefulSet", "statefulsets", StatefulSet)
            .short("sts")
            .all()
            .status()
            .scale()
            .also(&[BETA2, BETA1]),
    ]
}
