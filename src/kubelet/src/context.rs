//! What all parts of one kubelet share.

use std::sync::Arc;

use api::Object;
use api::k8s_openapi::api::core::v1::Pod;
use client::{Client, Clock, EventType, Informer, Recorder, Reference};
use runtime::Runtime;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::Config;
use crate::eviction::Pressure;
use crate::eviction::signals::Signals;
use crate::network::PodNetwork;
use crate::node::machine::Machine;
use crate::objects::Objects;
use crate::pod::dns::Resolver;
use crate::pod::fields;
use crate::pod::image::Puller;
use crate::reach::Reach;
use crate::volume::Mounter;

pub(crate) type SignalSource = Arc<dyn Fn(&Config) -> Signals + Send + Sync>;

pub(crate) struct Context {
    pub config: Config,
    pub client: Arc<dyn Client>,
    pub runtime: Arc<dyn Runtime>,
    pub network: Arc<dyn PodNetwork>,
    pub mounter: Arc<dyn Mounter>,
    pub recorder: Recorder,
    pub objects: Objects,
    pub services: Informer,
    /// The node's own object, perhaps among others.
    pub nodes: Informer,
    pub reach: Reach,
    pub pressure: watch::Sender<Pressure>,
    pub signals: SignalSource,
    /// The machine goes down: nothing starts any more.
    pub shutting_down: watch::Sender<bool>,
    pub puller: Puller,
    pub clock: Arc<dyn Clock>,
    pub machine: Machine,
    pub resolver: Resolver,
    /// A pull has brought an image: the node's list has changed.
    pub images_changed: tokio::sync::Notify,
}

impl Context {
    pub fn normal(&self, pod: &Object, container: Option<&str>, reason: &str, message: impl Into<String>) {
        if self.config.hollow {
            return;
        }
        self.recorder.event(reference(pod, container), EventType::Normal, reason, message);
    }
    pub fn warning(&self, pod: &Object, container: Option<&str>, reason: &str, message: impl Into<String>) {
        self.recorder.event(reference(pod, container), EventType::Warning, reason, message);
    }

    pub fn fields(&self, pod_ips: &[String]) -> fields::Facts {
        fields::Facts {
            pod_ips: pod_ips.to_vec(),
            host_ips: self.config.node_ips.iter().map(ToString::to_string).collect(),
            node_milli_cpu: self.machine.cpus * 1000,
            node_memory_bytes: self.machine.memory_bytes,
        }
    }

    /// A wall clock time (Unix, in nanoseconds) of the past as an instant.
    pub fn instant(&self, nanos: i64) -> Instant {
        let now = Instant::now();
        let ago = (self.clock.now().as_nanosecond() - i128::from(nanos)).clamp(0, i128::from(u64::MAX)) as u64;
        now.checked_sub(std::time::Duration::from_nanos(ago)).unwrap_or(now)
    }
}

fn reference(pod: &Object, container: Option<&str>) -> Reference {
    let reference = Reference::of::<Pod>(pod);
    let Some(name) = container else { return reference };
    let spec = pod.view::<Pod>().ok().and_then(|p| p.spec.as_ref());
    let has =
        |list: &Option<Vec<api::k8s_openapi::api::core::v1::Container>>| list.iter().flatten().any(|c| c.name == name);
    let group = match spec {
        Some(s) if s.containers.iter().any(|c| c.name == name) => "containers",
        Some(s) if has(&s.init_containers) => "initContainers",
        _ => "ephemeralContainers",
    };
    reference.field(format!("spec.{group}{{{name}}}"))
}
