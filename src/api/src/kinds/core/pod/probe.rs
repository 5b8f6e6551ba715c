//! `validateProbe` and `validateLifecycle`.

use serde_json::Value;

use super::validation::check;
use crate::field::{Error, Path};
use crate::kinds::net;
use crate::kinds::tree::{has, items, number, some, text};
use crate::names;

const HANDLERS: [&str; 5] = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];

pub(super) fn validate_all(errors: &mut Vec<Error>, path: &Path, c: &Value, grace: i64) {
    if let Some(lifecycle) = some(c, "lifecycle") {
        let path = &path.child("lifecycle");
        for hook in ["postStart", "preStop"] {
            if let Some(h) = some(lifecycle, hook) {
                handler(errors, &path.child(hook), h, &["exec", "httpGet", "tcpSocket", "sleep"], grace);
            }
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = some(c, name) else { continue };
        let path = &path.child(name);
        handler(errors, path, probe, &HANDLERS[..4], grace);
        for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
            let n = number(probe, key);
            if n < 0 {
                errors.push(Error::invalid(&path.child(key), n, "must be greater than or equal to 0"));
            }
        }
        if let Some(n) = some(probe, "terminationGracePeriodSeconds").and_then(Value::as_i64) {
            let at = path.child("terminationGracePeriodSeconds");
            if n <= 0 {
                errors.push(Error::invalid(&at, n, "must be greater than 0"));
            }
            if name == "readinessProbe" {
                errors.push(Error::invalid(&at, n, "must not be set for readinessProbes"));
            }
        }
        let successes = number(probe, "successThreshold");
        if name != "readinessProbe" && successes != 1 {
            errors.push(Error::invalid(&path.child("successThreshold"), successes, "must be 1"));
        }
    }
}

fn handler(errors: &mut Vec<Error>, path: &Path, h: &Value, allowed: &[&str], grace: i64) {
    let given: Vec<&str> = allowed.iter().copied().filter(|k| has(h, k)).collect();
    let [first, rest @ ..] = given.as_slice() else {
        return errors.push(Error::required(path, "must specify a handler type"));
    };
    action(errors, &path.child(first), &h[*first], first, grace);
    let detail = "may not specify more than 1 handler type";
    errors.extend(rest.iter().map(|k| Error::forbidden(&path.child(k), detail)));
}

fn action(errors: &mut Vec<Error>, path: &Path, h: &Value, kind: &str, grace: i64) {
    match kind {
        "exec" if items(h, "command").is_empty() => errors.push(Error::required(&path.child("command"), "")),
        "httpGet" => {
            if text(h, "path").is_empty() {
                errors.push(Error::required(&path.child("path"), ""));
            }
            port(errors, &path.child("port"), &h["port"]);
            let scheme = text(h, "scheme");
            if !matches!(scheme, "HTTP" | "HTTPS") {
                errors.push(Error::not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]));
            }
            for name in items(h, "httpHeaders").iter().map(|header| text(header, "name")) {
                check(errors, &path.child("httpHeaders"), name, names::http_header_name(name));
            }
        }
        "tcpSocket" => port(errors, &path.child("port"), &h["port"]),
        "grpc" => net::port_number(errors, &path.child("port"), number(h, "port")),
        "sleep" => {
            let seconds = number(h, "seconds");
            if seconds < 0 || seconds > grace {
                let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                errors.push(Error::invalid(path, seconds, detail));
            }
        }
        _ => {}
    }
}

/// `ValidatePortNumOrName`
fn port(errors: &mut Vec<Error>, path: &Path, port: &Value) {
    match port {
        Value::String(name) => check(errors, path, name, names::port_name(name)),
        other => net::port_number(errors, path, other.as_i64().unwrap_or_default()),
    }
}
