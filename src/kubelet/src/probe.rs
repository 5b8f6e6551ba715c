//! Probes: one task for each container that has any, one timer for each probe. Their results go to the pod's mailbox.
//! Upstream's `prober`.

pub(crate) mod exec;
mod grpc;
pub(crate) mod http;
pub(crate) mod tcp;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::Object;
use api::k8s_openapi::api::core::v1::{Container, HTTPGetAction, PodSpec, Probe};
use api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::context::Context;
use crate::pod::actions::{Health, Unhealthy};
use crate::pod::mailbox::Mailbox;
use crate::pod::observe::{Observed, State};
use crate::pod::spec::Class;
use crate::pod::status::ID_PREFIX;

struct Task {
    id: String,
    _cancel: DropGuard,
    /// Stops liveness and startup probes alone.
    liveness: CancellationToken,
}

/// The probes of one pod.
pub(crate) struct Probes {
    ctx: Arc<Context>,
    mailbox: Arc<Mailbox>,
    tasks: HashMap<String, Task>,
}

impl Probes {
    pub fn new(ctx: Arc<Context>, mailbox: Arc<Mailbox>) -> Probes {
        Probes { ctx, mailbox, tasks: HashMap::new() }
    }

    /// Starts probes of containers that run, ends those of others.
    pub fn follow(&mut self, object: &Arc<Object>, spec: &PodSpec, observed: &[Observed<'_>], ips: &[String]) {
        for o in observed {
            let c = &o.spec.container;
            let any = c.liveness_probe.is_some() || c.readiness_probe.is_some() || c.startup_probe.is_some();
            let State::Running(run) = o.state else {
                if self.tasks.remove(&c.name).is_some() {
                    self.mailbox.with(|i| i.health.remove(&c.name));
                }
                continue;
            };
            let probed = any && !matches!(o.spec.class, Class::Init | Class::Ephemeral);
            if !probed || self.tasks.get(&c.name).is_some_and(|t| t.id == run.id) {
                continue;
            }
            // an adopted container is as it was last told to be
            let known = o
                .reported
                .filter(|r| r.container_id.as_deref().and_then(|i| i.strip_prefix(ID_PREFIX)) == Some(run.id.as_str()));
            let health = Health {
                id: run.id.clone(),
                started: c.startup_probe.is_none() || known.is_some_and(|r| r.started == Some(true)),
                ready: c.readiness_probe.is_none() || known.is_some_and(|r| r.ready),
                unhealthy: None,
            };
            let cancel = CancellationToken::new();
            let liveness = cancel.child_token();
            let prober = Prober {
                ctx: self.ctx.clone(),
                mailbox: self.mailbox.clone(),
                object: object.clone(),
                container: c.clone().into_owned(),
                id: run.id.clone(),
                ip: ips.first().cloned(),
                begun: self.ctx.instant(run.started_nanos),
                grace: spec.termination_grace_period_seconds,
            };
            let started = health.started;
            self.mailbox.with(|i| i.health.insert(c.name.clone(), health));
            let (all, live) = (cancel.clone(), liveness.clone());
            tokio::spawn(async move { all.run_until_cancelled(prober.run(started, live)).await });
            let task = Task { id: run.id.clone(), _cancel: cancel.drop_guard(), liveness };
            self.tasks.insert(c.name.clone(), task);
        }
    }

    /// An ending pod is no longer restarted, but its readiness still counts.
    pub fn end_liveness(&self) {
        self.tasks.values().for_each(|t| t.liveness.cancel());
    }
    pub fn end(&mut self) {
        self.tasks.clear();
    }
}

struct Prober {
    ctx: Arc<Context>,
    mailbox: Arc<Mailbox>,
    object: Arc<Object>,
    container: Container,
    id: String,
    ip: Option<String>,
    begun: Instant,
    grace: Option<i64>,
}

impl Prober {
    async fn run(self, started: bool, liveness: CancellationToken) {
        let c = &self.container;
        if let Some(p) = c.startup_probe.as_ref().filter(|_| !started) {
            let decided = liveness.run_until_cancelled(self.until(p, "Startup", false, |_| true)).await;
            match decided {
                Some(true) => self.tell(|h| h.started = true),
                Some(false) => return self.unhealthy("startup", p),
                None => return,
            }
        }
        let live = async {
            let Some(p) = &c.liveness_probe else { return };
            if liveness.run_until_cancelled(self.until(p, "Liveness", true, |ok| !ok)).await == Some(false) {
                self.unhealthy("liveness", p);
            }
        };
        let ready = async {
            let Some(p) = &c.readiness_probe else { return };
            let known = self.mailbox.with(|i| i.health.get(&c.name).is_some_and(|h| h.ready));
            self.until(p, "Readiness", known, |ok| {
                self.tell(|h| h.ready = ok);
                false
            })
            .await;
        };
        tokio::join!(live, ready);
    }

    fn tell(&self, change: impl FnOnce(&mut Health)) {
        self.mailbox.update(|i| {
            if let Some(h) = i.health.get_mut(&self.container.name).filter(|h| h.id == self.id) {
                change(h);
            }
        });
    }

    fn unhealthy(&self, probe: &'static str, p: &Probe) {
        let grace_seconds = p.termination_grace_period_seconds.or(self.grace);
        self.tell(|h| h.unhealthy = Some(Unhealthy { probe, grace_seconds }));
    }

    /// Probes until a verdict (a result that reached its threshold and differs from the last) is one that `stop` wants.
    async fn until(&self, p: &Probe, kind: &str, mut verdict: bool, mut stop: impl FnMut(bool) -> bool) -> bool {
        let seconds =
            |v: Option<i32>, default: i32| Duration::from_secs(v.filter(|v| *v > 0).unwrap_or(default) as u64);
        let period = seconds(p.period_seconds, 10);
        tokio::time::sleep_until(self.begun + seconds(p.initial_delay_seconds, 0)).await;
        let threshold = |ok: bool| {
            let (value, default) = if ok { (p.success_threshold, 1) } else { (p.failure_threshold, 3) };
            value.filter(|v| *v > 0).unwrap_or(default)
        };
        let (mut last, mut run) = (None, 0);
        loop {
            let next = Instant::now() + period;
            let result = self.once(p, seconds(p.timeout_seconds, 1)).await;
            let ok = result.is_ok();
            if let Err(text) = &result {
                let text = format!("{kind} probe failed: {text}");
                self.ctx.warning(&self.object, Some(&self.container.name), "Unhealthy", text);
            }
            run = if last == Some(ok) { run + 1 } else { 1 };
            last = Some(ok);
            let news = verdict != ok || !ok && kind == "Startup";
            if run >= threshold(ok) && news {
                verdict = ok;
                if stop(ok) {
                    return ok;
                }
            }
            tokio::time::sleep_until(next).await;
        }
    }

    async fn once(&self, p: &Probe, timeout: Duration) -> Result<(), String> {
        let no_ip = || "the pod has no address".to_owned();
        if let Some(e) = &p.exec {
            let command = e.command.clone().unwrap_or_default();
            let run = exec::run(&*self.ctx.runtime, &self.id, command.clone());
            return match tokio::time::timeout(timeout, run).await {
                Err(_) => {
                    Err(format!("command timed out: {:?} timed out after {}s", command.join(" "), timeout.as_secs()))
                }
                Ok(Ok((0, _))) => Ok(()),
                Ok(Ok((_, output))) => Err(output),
                Ok(Err(e)) => Err(e.to_string()),
            };
        }
        if let Some(h) = &p.http_get {
            let target = http_target(h, &self.container, self.ip.as_deref().ok_or_else(no_ip)?)?;
            let mut headers = BTreeMap::new();
            headers.insert("User-Agent".to_owned(), "kube-probe/1.36".to_owned());
            return http::get(&target, &headers, timeout).await.map(|_| ());
        }
        if let Some(t) = &p.tcp_socket {
            let port = port(&t.port, &self.container)?;
            let host = t.host.as_deref().filter(|h| !h.is_empty()).or(self.ip.as_deref()).ok_or_else(no_ip)?;
            return tcp::connect(host, port, timeout).await.map(|_| ());
        }
        if let Some(g) = &p.grpc {
            let host = self.ip.as_deref().ok_or_else(no_ip)?;
            let port = u16::try_from(g.port).map_err(|_| format!("invalid port {}", g.port))?;
            return grpc::check(host, port, g.service.as_deref().unwrap_or(""), timeout).await;
        }
        Err("missing probe handler".into())
    }
}

/// A port by number or by name.
pub(crate) fn port(p: &IntOrString, c: &Container) -> Result<u16, String> {
    let number = match p {
        IntOrString::Int(n) => Some(*n),
        IntOrString::String(s) => s.parse().ok().or_else(|| {
            let named = c.ports.iter().flatten().find(|x| x.name.as_deref() == Some(s));
            named.map(|x| x.container_port)
        }),
    };
    number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0).ok_or_else(|| format!("invalid port number: {p:?}"))
}

pub(crate) fn http_target(h: &HTTPGetAction, c: &Container, ip: &str) -> Result<http::Target, String> {
    let path = h.path.as_deref().unwrap_or("");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let headers = h.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect();
    Ok(http::Target {
        https: h.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https")),
        host: h.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(ip).to_owned(),
        port: port(&h.port, c)?,
        path,
        headers,
    })
}
