//! A kubelet's `/stats/summary`.

use api::Value;
use client::NodeDialer;
use http_body_util::{BodyExt, Limited};

use crate::proxy::stream;

const MOST_BYTES: usize = 16 << 20;

/// What a node said of itself and its pods.
pub(super) struct Summary {
    tree: Value,
    /// Over how long rates were measured.
    pub window_milliseconds: u64,
}

impl Summary {
    pub async fn fetch(dialer: &dyn NodeDialer, node: &str) -> Result<Summary, String> {
        let io = dialer.dial(node).await.map_err(|e| e.to_string())?;
        let request = ::http::Request::get("/stats/summary").header("host", node).body(stream::empty());
        let answer = stream::send(io, request.map_err(|e| e.to_string())?).await.map_err(|e| e.to_string())?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|e| e.to_string())?.to_bytes();
        if head.status != 200 {
            return Err(format!("{}: {}", head.status, String::from_utf8_lossy(&body).trim()));
        }
        let window = head.headers.get("x-window-milliseconds").and_then(|v| v.to_str().ok()?.parse().ok());
        let tree = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
        Ok(Summary { tree, window_milliseconds: window.unwrap_or(10_000) })
    }

    #[cfg(test)]
    pub fn of(tree: Value) -> Summary {
        Summary { tree, window_milliseconds: 15_300 }
    }

    pub fn node(&self) -> &Value {
        &self.tree["node"]
    }
    pub fn pod(&self, uid: &str) -> Option<&Value> {
        self.tree["pods"].as_array()?.iter().find(|p| p["podRef"]["uid"] == uid)
    }
}
