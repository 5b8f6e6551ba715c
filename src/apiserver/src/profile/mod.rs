//! `/debug/pprof`: where this process spends its time and its memory, in the form that `go tool pprof` reads. Upstream's
//! `routes.Profiling`; authorization lets in whom a role allows the path, which is `system:masters` alone by default.
//!
//! Nothing here costs anything while nobody asks.

mod format;
mod memory;

use std::time::Duration;

use ::http::header::{CONTENT_DISPOSITION, LOCATION};
use ::http::{HeaderValue, Response, StatusCode};
use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::Engine;
use crate::http::query::Query;
use crate::http::{Body, output};

pub use format::{Mapping, Profile};

const ROOT: &str = "/debug/pprof";
/// Go's default.
const SECONDS: u64 = 30;
/// The longest profile: the samples of one are all in memory.
const LONGEST: u64 = 3600;

const INDEX: &str = "<html>\n<head><title>/debug/pprof/</title></head>\n<body>\n/debug/pprof/<br>\n<ul>\n\
    <li><a href=\"heap\">heap</a>: the objects that are held, by resource and namespace, and the rest of the memory; \
    debug=1 for text</li>\n\
    <li><a href=\"profile\">profile</a>: where the processor's time goes; seconds=N, 30 by default</li>\n\
    </ul>\n</body>\n</html>\n";

/// Who watches this process at work.
#[async_trait]
pub trait CpuProfiler: Send + Sync + 'static {
    /// A gzipped [`Profile`] of the next `duration`; one at a time. Dropped, it ends. Errors in words for the operator.
    async fn profile(&self, duration: Duration) -> Result<Vec<u8>, String>;
}

/// Upstream's `BasicLongRunningRequestCheck`: these are no request that a time limit or fairness holds.
pub(crate) fn is_long_running(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.starts_with('/'))
}

/// What `--profiling` opens.
pub(crate) struct Profiling {
    cpu: Box<dyn CpuProfiler>,
    busy: Mutex<()>,
}

impl Profiling {
    pub fn new(cpu: Box<dyn CpuProfiler>) -> Profiling {
        Profiling { cpu, busy: Mutex::default() }
    }

    /// `None`: not a path of profiles.
    pub async fn answer(&self, engine: &Engine, path: &str, query: &Query) -> Option<Response<Body>> {
        let answer = match path.strip_prefix(ROOT)? {
            "" => {
                let mut answer = output::response(301, "text/html; charset=utf-8", Body::empty());
                answer.headers_mut().insert(LOCATION, HeaderValue::from_static("/debug/pprof/"));
                answer
            }
            "/" => output::response(200, "text/html; charset=utf-8", Body::full(INDEX)),
            "/profile" => self.cpu(query).await,
            "/heap" => heap(engine, query),
            rest if rest.starts_with('/') => failure(StatusCode::NOT_FOUND, "Unknown profile"),
            _ => return None,
        };
        Some(answer)
    }

    async fn cpu(&self, query: &Query) -> Response<Body> {
        let seconds = query.get("seconds").parse().ok().filter(|s| *s > 0).unwrap_or(SECONDS);
        if seconds > LONGEST {
            return failure(StatusCode::BAD_REQUEST, "profile duration exceeds server's WriteTimeout");
        }
        let refused =
            |why: &str| failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("Could not enable CPU profiling: {why}"));
        let Ok(_turn) = self.busy.try_lock() else { return refused("cpu profiling already in use") };
        match self.cpu.profile(Duration::from_secs(seconds)).await {
            Ok(profile) => attachment("attachment; filename=\"profile\"", profile),
            Err(error) => refused(&error),
        }
    }
}

fn heap(engine: &Engine, query: &Query) -> Response<Body> {
    let held = memory::held(engine);
    match query.get("debug") {
        "" | "0" => attachment("attachment; filename=\"heap\"", memory::profile(&held)),
        _ => output::response(200, "text/plain; charset=utf-8", Body::full(memory::text(&held))),
    }
}

fn attachment(disposition: &'static str, profile: Vec<u8>) -> Response<Body> {
    let mut answer = output::response(200, "application/octet-stream", Body::full(profile));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static(disposition));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

/// Go's `serveError`.
fn failure(code: StatusCode, text: &str) -> Response<Body> {
    let mut answer = output::response(code.as_u16(), "text/plain; charset=utf-8", Body::full(format!("{text}\n")));
    answer.headers_mut().insert("x-go-pprof", HeaderValue::from_static("1"));
    answer
}
