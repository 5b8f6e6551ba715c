//! What a test gets, and the servers that tests share.

use std::future::Future;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::Trial;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::machine::skiff;
use crate::{Api, SOON, Server};

/// A test's world: a server, a client of its admin, a namespace of its own.
pub struct Cx {
    pub server: Arc<Server>,
    pub api: Api,
    pub ns: String,
}

/// The servers that most tests share, made by the first that needs them.
#[derive(Clone, Copy)]
pub enum Shared {
    ControlPlane,
    Node,
}

static SHARED: [Mutex<Option<Arc<Server>>>; 2] = [const { Mutex::new(None) }; 2];

impl Shared {
    fn server(self) -> Arc<Server> {
        let mut slot = SHARED[self as usize].lock();
        let make = || {
            let server = match self {
                Shared::ControlPlane => Server::control_plane(&[]),
                Shared::Node => Server::node(&["--node-label", "disk=ssd,zone=a"]),
            };
            server.start();
            Arc::new(server)
        };
        slot.get_or_insert_with(make).clone()
    }
}

/// Stops the shared servers: at the end of all tests.
pub fn down() {
    for slot in &SHARED {
        slot.lock().take();
    }
}

/// A test on a shared server.
pub fn trial<F, T>(on: Shared, name: &'static str, test: F) -> Trial
where
    F: FnOnce(Cx) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    Trial::test(name.trim_start_matches("r#box::"), move || {
        let server = on.server();
        server.clone().run(async move {
            let cx = Cx::new(server, name).await;
            let (api, ns) = (cx.api.clone(), cx.ns.clone());
            let failed = tokio::spawn(test(cx)).await.err();
            if failed.is_some() {
                tell(&api, &ns).await;
            }
            // not waited for: the next test has another one
            api.try_delete(&format!("/api/v1/namespaces/{ns}"), None).await;
            if let Some(panic) = failed {
                std::panic::resume_unwind(panic.into_panic());
            }
        });
        Ok(())
    })
}

/// What a reader of a failure wants to see.
async fn tell(api: &Api, ns: &str) {
    for what in ["pods", "events"] {
        let list = api.try_get(&format!("/api/v1/namespaces/{ns}/{what}")).await.body;
        for item in list["items"].as_array().into_iter().flatten() {
            eprintln!("{what} {}: {} {} {}", item["metadata"]["name"], item["status"], item["reason"], item["message"]);
        }
    }
}

impl Cx {
    /// A namespace of its own for the test of this name.
    pub async fn new(server: Arc<Server>, name: &str) -> Cx {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let last = name.rsplit("::").next().unwrap_or_default().replace('_', "-");
        let ns = format!("{last:.40}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let api = server.api().await;
        let cx = Cx { server, api, ns };
        cx.api.post("/api/v1/namespaces", json!({"metadata": {"name": cx.ns}})).await;
        // a pod needs them, and what comes by itself has come
        for made in ["serviceaccounts/default", "configmaps/kube-root-ca.crt"] {
            cx.api.wait("is made", &cx.core(made), SOON, |_| true).await;
        }
        cx
    }

    /// The same after the server was started again: the old connections are broken.
    pub async fn again(&self) -> Cx {
        Cx { server: self.server.clone(), api: self.server.api().await, ns: self.ns.clone() }
    }

    /// A path in this test's namespace: `pods/x` of the core group.
    pub fn core(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.ns)
    }
    /// Of another group: `apps/v1`, `deployments/x`.
    pub fn of(&self, group: &str, rest: &str) -> String {
        format!("/apis/{group}/namespaces/{}/{rest}", self.ns)
    }

    pub async fn config_map(&self, name: &str, data: Value) -> Value {
        self.api.post(&self.core("configmaps"), json!({"metadata": {"name": name}, "data": data})).await
    }

    /// `kubectl -n NAMESPACE ARGS`: whether it succeeded, and what it said; `None` where there is none.
    pub fn kubectl(&self, args: &[&str]) -> Option<(bool, String)> {
        let mut all = vec!["-n", &self.ns];
        all.extend(args);
        self.server.kubectl(&all).map(said)
    }

    /// The same with `skiff ctl`.
    pub fn ctl(&self, args: &[&str]) -> (bool, String) {
        said(self.server.command(skiff()).args(["ctl", "-n", &self.ns]).args(args).output().expect("skiff runs"))
    }
}

fn said(out: Output) -> (bool, String) {
    (out.status.success(), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
}
