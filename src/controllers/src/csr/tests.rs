//! The whole way of a request, on the fake API.

use super::*;
use crate::testing::{Bench, settle};

const BOTH: [&str; 2] = ["client auth", "digital signature"];

fn bench(lifetime: SignedDuration) -> Bench {
    let bench = Bench::with(|config| {
        let sign = |order: &Order<'_>| match order.profile.common_name.contains("cursed") {
            true => Err(pki::Error::Pem("cursed".into())),
            false => Ok(format!("{} {}", order.profile.common_name, order.lifetime.as_secs())),
        };
        config.signing = Some(Signing { sign: Arc::new(sign), lifetime });
    });
    // as the manifests bind: joiners may ask for any node, a node for itself
    bench.fake.review(|review| {
        let spec = &review["spec"];
        match spec["resourceAttributes"]["subresource"].as_str() {
            Some("nodeclient") => spec["groups"] == json!(["joining"]),
            Some("selfnodeclient") => spec["groups"] == json!(["system:nodes"]),
            _ => false,
        }
    });
    bench
}

fn ask(bench: &Bench, name: &str, user: &str, group: &str, node: &str, signer: &str) {
    let request = pki::SigningRequest::new(&pki::Profile::node(node)).unwrap();
    let tree = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {"username": user, "groups": [group], "signerName": signer, "usages": BOTH, "expirationSeconds": 600,
            "request": STANDARD.encode(request.pem)}});
    bench.fake.seed(requests(), tree);
}

#[tokio::test(start_paused = true)]
async fn nodes_get_their_certificates_and_nobody_elses() {
    let bench = bench(SignedDuration::from_secs(30));
    bench.start(run);
    settle().await;
    let (joining, nodes) = ("joining", "system:nodes");
    for (name, user, group, node) in [
        ("join", "system:bootstrap:x", joining, "a"),
        ("renew", "system:node:a", nodes, "a"),
        ("theft", "system:node:b", nodes, "a"),
        ("stranger", "jane", "people", "a"),
        ("bad", "system:bootstrap:x", joining, "cursed"),
    ] {
        ask(&bench, name, user, group, node, sign::KUBELET_CLIENT);
    }
    ask(&bench, "foreign", "system:bootstrap:x", joining, "a", "example.com/x");
    settle().await;
    let status = |name: &str| bench.fake.tree(&requests(), "", name)["status"].clone();
    for (name, message) in [
        ("join", "Auto approving kubelet client certificate after SubjectAccessReview."),
        ("renew", "Auto approving self kubelet client certificate after SubjectAccessReview."),
    ] {
        let status = status(name);
        assert_eq!(text(status["certificate"].as_str()), "system:node:a 30", "{name}");
        let approval = &status["conditions"][0];
        assert_eq!((&approval["type"], &approval["message"]), (&json!("Approved"), &json!(message)));
    }
    for name in ["theft", "stranger", "foreign"] {
        assert_eq!(status(name), Value::Null, "{name}");
    }
    let failed = status("bad");
    assert_eq!(failed["conditions"][1]["type"], "Failed");
    assert!(failed["certificate"].is_null());

    // by hand, as `kubectl certificate approve` does
    bench.fake.edit(&requests(), "", "stranger", |r| condition(r, "Approved", "x", "", "2026-01-01T00:00:00Z"));
    settle().await;
    assert!(is_issued(&bench.fake.tree(&requests(), "", "stranger")));

    tokio::time::sleep(Duration::from_secs(3700)).await;
    let left: Vec<String> = bench.fake.objects(&requests()).iter().map(|o| o.name().to_owned()).collect();
    assert_eq!(left, ["foreign", "theft"]);
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert!(bench.fake.objects(&requests()).is_empty());
}
