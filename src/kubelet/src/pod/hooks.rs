//! postStart and preStop handlers.

use std::collections::BTreeMap;
use std::time::Duration;

use api::k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::context::Context;
use crate::probe::{self, exec, http, tcp};

/// Runs one handler to its end. Errors with the text for the event.
pub(crate) async fn run(
    ctx: &Context,
    handler: &LifecycleHandler,
    container: &Container,
    id: &str,
    ip: Option<&str>,
) -> Result<(), String> {
    let no_ip = || "the pod has no address".to_owned();
    if let Some(e) = &handler.exec {
        let command = e.command.clone().unwrap_or_default();
        let (code, output) = exec::run(&*ctx.runtime, id, command.clone()).await.map_err(|e| e.to_string())?;
        return match code {
            0 => Ok(()),
            _ => Err(format!(
                "Exec lifecycle hook ({command:?}) for Container {:?} failed - error: command '{}' exited with {code}: {output}",
                container.name,
                command.join(" ")
            )),
        };
    }
    if let Some(h) = &handler.http_get {
        let target = probe::http_target(h, container, ip.ok_or_else(no_ip)?)?;
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        headers.insert("User-Agent".into(), "kube-lifecycle/1.36".into());
        return http::get(&target, &headers, Duration::from_secs(30)).await.map(|_| ());
    }
    if let Some(t) = &handler.tcp_socket {
        let port = probe::port(&t.port, container)?;
        let host = t.host.as_deref().filter(|h| !h.is_empty()).or(ip).ok_or_else(no_ip)?;
        return tcp::connect(host, port, Duration::from_secs(30)).await.map(|_| ());
    }
    if let Some(s) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(s.seconds.max(0) as u64)).await;
    }
    Ok(())
}
