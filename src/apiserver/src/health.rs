//! `/healthz`, `/livez`, `/readyz`: upstream's `healthz` with its texts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use ::http::Response;
use parking_lot::RwLock;

use crate::http::query::Query;
use crate::http::{Body, output};

type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The named checks. A check is quick and reads memory only.
#[derive(Default, Clone)]
pub struct Health {
    /// For all three.
    checks: Arc<RwLock<BTreeMap<String, Check>>>,
    /// For `/readyz` alone.
    ready: Arc<RwLock<BTreeMap<String, Check>>>,
}

impl Health {
    /// A check of all endpoints.
    pub fn add(&self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.checks.write().insert(name.into(), Arc::new(check));
    }
    /// A check of `/readyz`.
    pub fn add_ready(&self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.ready.write().insert(name.into(), Arc::new(check));
    }

    /// `None`: not a path of health checks.
    pub(crate) fn answer(&self, path: &str, query: &Query) -> Option<Response<Body>> {
        let (endpoint, name) = match path.trim_matches('/').split_once('/') {
            Some((endpoint, name)) => (endpoint, name),
            None => (path.trim_matches('/'), ""),
        };
        if !matches!(endpoint, "healthz" | "livez" | "readyz") {
            return None;
        }
        let mut checks: Vec<(String, Check)> = Vec::new();
        let own = |m: &BTreeMap<String, Check>| m.iter().map(|(n, c)| (n.clone(), c.clone())).collect::<Vec<_>>();
        checks.extend(own(&self.checks.read()));
        if endpoint == "readyz" {
            checks.extend(own(&self.ready.read()));
        }
        if !name.is_empty() {
            checks.retain(|(n, _)| n == name);
            if checks.is_empty() {
                return Some(output::response(404, "text/plain; charset=utf-8", Body::full("404 page not found\n")));
            }
        }
        let mut text = String::new();
        let mut failed = false;
        let known: Vec<&String> = checks.iter().map(|(n, _)| n).collect();
        let unknown: Vec<String> =
            query.all("exclude").filter(|e| !known.iter().any(|k| k == e)).map(|e| format!("{e:?}")).collect();
        for (name, check) in &checks {
            if query.all("exclude").any(|e| e == name) {
                let _ = writeln!(text, "[+]{name} excluded: ok");
                continue;
            }
            match check() {
                Ok(()) => drop(writeln!(text, "[+]{name} ok")),
                Err(_) => {
                    failed = true;
                    let _ = writeln!(text, "[-]{name} failed: reason withheld");
                }
            }
        }
        if !unknown.is_empty() {
            let _ = writeln!(text, "warn: some health checks cannot be excluded: no matches for {}", unknown.join(","));
        }
        let (code, text) = match (failed, query.flag("verbose")) {
            (true, _) => (500, format!("{text}{endpoint} check failed\n")),
            (false, true) => (200, format!("{text}{endpoint} check passed\n")),
            (false, false) => (200, "ok".into()),
        };
        Some(output::response(code, "text/plain; charset=utf-8", Body::full(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_tell_what_fails() {
        let health = Health::default();
        health.add("ping", || Ok(()));
        health.add_ready("bootstrap", || Err("not yet".into()));
        for (path, query, code, text) in [
            ("/livez", "", 200, "ok"),
            ("/livez", "verbose", 200, "[+]ping ok\nlivez check passed\n"),
            ("/readyz", "", 500, "[+]ping ok\n[-]bootstrap failed: reason withheld\nreadyz check failed\n"),
            ("/readyz", "exclude=bootstrap", 200, "ok"),
            ("/readyz/ping", "", 200, "ok"),
            (
                "/livez",
                "verbose&exclude=x",
                200,
                "[+]ping ok\nwarn: some health checks cannot be excluded: no matches for \"x\"\nlivez check passed\n",
            ),
            ("/livez/bootstrap", "", 404, "404 page not found\n"),
        ] {
            let answer = health.answer(path, &Query::parse(Some(query))).unwrap();
            assert_eq!(answer.status(), code, "{path}?{query}");
            let Body::Full(body) = answer.into_body() else { panic!("a text") };
            assert_eq!(body, text, "{path}?{query}");
        }
        assert!(health.answer("/healthzz", &Query::default()).is_none());
    }
}
