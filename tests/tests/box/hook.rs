//! A webhook that a test serves, and what tests of webhooks and policies share.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tests::Cx;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Where webhooks and policies are configured.
pub const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

/// A webhook in this process: what it says is told by the path, what it was asked is kept.
#[derive(Clone)]
pub struct Hook {
    pub address: std::net::SocketAddr,
    pub ca: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Hook {
    pub async fn serve() -> Hook {
        let now = jiff::Timestamp::now();
        let ca = pki::Authority::generate("webhook", now).expect("a CA");
        let profile = pki::Profile::server("webhook", ["127.0.0.1".to_owned()]);
        let identity = pki::Identity::issue(&ca, &profile, now).expect("a certificate");
        let mut tls = pki::server_config(&identity, &ca).expect("TLS");
        Arc::make_mut(&mut tls).alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let hook = Hook { address, ca: STANDARD.encode(ca.pem().as_bytes()), asked: Arc::default() };
        let (acceptor, this) = (TlsAcceptor::from(tls), hook.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, this) = (acceptor.clone(), this.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else { return };
                    let mut bytes = Vec::new();
                    let (path, body) = loop {
                        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(request) = request(&bytes) {
                            break request;
                        }
                    };
                    if path == "/slow" {
                        // says nothing for as long as it is listened to
                        while stream.read_buf(&mut bytes).await.is_ok_and(|n| n > 0) {}
                        return;
                    }
                    let answer = this.answer(&path, body).to_string();
                    let head =
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length:";
                    let _ = stream.write_all(format!("{head} {}\r\n\r\n{answer}", answer.len()).as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        hook
    }

    /// Paints have their colour in `spec.colour`, in v2 in `spec.shade.name`.
    fn convert(&self, review: &Value) -> Value {
        let request = &review["request"];
        let version = &request["desiredAPIVersion"];
        let mut objects = request["objects"].clone();
        for object in objects.as_array_mut().into_iter().flatten() {
            let colour =
                [&object["spec"]["colour"], &object["spec"]["shade"]["name"]].into_iter().find(|c| c.is_string());
            let colour = colour.cloned().unwrap_or_default();
            let two = version.as_str().is_some_and(|v| v.ends_with("/v2"));
            object["spec"] = if two { json!({"shade": {"name": colour}}) } else { json!({"colour": colour}) };
            object["apiVersion"] = version.clone();
        }
        let response = json!({"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects});
        json!({"kind": "ConversionReview", "apiVersion": review["apiVersion"], "response": response})
    }

    fn answer(&self, path: &str, review: Value) -> Value {
        if review["kind"] == "ConversionReview" {
            return self.convert(&review);
        }
        let request = review["request"].clone();
        let patch = |operations: Value| json!({"patch": STANDARD.encode(operations.to_string().as_bytes()), "patchType": "JSONPatch"});
        let label = |key: &str| patch(json!([{"op": "add", "path": "/metadata/labels", "value": {key: "yes"}}]));
        let mut response = match path {
            "/deny" => json!({"allowed": false, "status": {"message": "not here", "code": 403}}),
            "/label" => label("hooked"),
            "/data" => patch(json!([{"op": "add", "path": "/data/added", "value": "1"}])),
            "/replicas" => patch(json!([{"op": "replace", "path": "/spec/replicas", "value": 3}])),
            // once the label is there
            "/late" if request["object"]["data"]["first"].is_null() => json!({}),
            "/late" => patch(json!([{"op": "add", "path": "/data/late", "value": "1"}])),
            "/first" if request["object"]["data"]["first"].is_string() => json!({}),
            "/first" => patch(json!([{"op": "add", "path": "/data/first", "value": "1"}])),
            "/widget" => patch(
                json!([{"op": "replace", "path": "/spec/size", "value": 7}, {"op": "add", "path": "/spec/nope", "value": 1}]),
            ),
            "/user" => patch(json!([{"op": "replace", "path": "/spec/user", "value": "nobody"}])),
            "/container" => patch(json!([{"op": "replace", "path": "/container", "value": "other"}])),
            "/wrong" => json!({"uid": "another"}),
            "/warn" => json!({"warnings": ["mind the gap"]}),
            _ => json!({}),
        };
        for (key, value) in [("uid", request["uid"].clone()), ("allowed", json!(true))] {
            if response[key].is_null() {
                response[key] = value;
            }
        }
        self.asked.lock().push((path.to_owned(), request));
        json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response})
    }

    pub fn asked(&self, path: &str) -> Vec<Value> {
        self.asked.lock().iter().filter(|(p, _)| p == path).map(|(_, r)| r.clone()).collect()
    }

    /// A webhook at `path` for writes of `resources` in the test's namespace.
    pub fn entry(&self, cx: &Cx, path: &str, resources: &[&str], change: Value) -> Value {
        let mut entry = json!({
            "name": format!("{}.hooks.test", path.trim_start_matches('/')), "sideEffects": "None",
            "admissionReviewVersions": ["v1", "v1beta1"],
            "clientConfig": {"url": format!("https://{}{path}", self.address), "caBundle": self.ca},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": cx.ns}},
            "rules": [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources}],
        });
        for (k, v) in change.as_object().into_iter().flatten() {
            entry[k] = v.clone();
        }
        entry
    }
}

fn request(bytes: &[u8]) -> Option<(String, Value)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let path = head.split(' ').nth(1)?.split('?').next()?.to_owned();
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let body = bytes.get(end..end + length.unwrap_or(0_usize))?;
    Some((path, serde_json::from_slice(body).ok()?))
}

/// Makes a configuration of the test's own name; it goes with the server.
pub async fn configure(cx: &Cx, kind: &str, webhooks: Value) {
    let plural = format!("{}webhookconfigurations", kind.to_lowercase());
    let tree = json!({"metadata": {"name": format!("{}-{}", cx.ns, kind.to_lowercase())}, "webhooks": webhooks});
    cx.api.post(&format!("{GROUP}/{plural}"), tree).await;
}

/// What they are mostly asked about.
pub fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}
