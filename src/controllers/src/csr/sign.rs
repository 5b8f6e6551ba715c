//! What each signer signs: upstream's `signer.go` and `certificates/helpers.go`.

use api::Value;
use jiff::SignedDuration;
use pki::Profile;

pub const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const API_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

const SHORTEST: SignedDuration = SignedDuration::from_mins(10);

/// What of an approved request is signed, or why it is not; `None` if it is another's to sign.
pub fn check(request: &Value, asked: Result<Profile, pki::Error>) -> Option<Result<Profile, String>> {
    let usages = super::usages(request);
    let signer = request["spec"]["signerName"].as_str().unwrap_or_default();
    if ![KUBELET_CLIENT, API_CLIENT, KUBELET_SERVING, LEGACY].contains(&signer) {
        return None;
    }
    let mut profile = match asked {
        Ok(profile) => profile,
        Err(error) => return Some(Err(format!("unable to parse csr: {error}"))),
    };
    let right = match signer {
        KUBELET_CLIENT => kubelet_client(&profile, &usages),
        KUBELET_SERVING => kubelet_serving(&profile, &usages),
        API_CLIENT => api_client(&usages),
        _ => Ok(()),
    };
    if !usages.contains(&"server auth") {
        // hosts are a server's
        profile.hosts.clear();
    }
    Some(right.map(|()| profile).map_err(str::to_owned))
}

/// `ValidateKubeletClientCSR`
pub fn kubelet_client(profile: &Profile, usages: &[&str]) -> Result<(), &'static str> {
    is_node(profile)?;
    if profile.hosts.iter().any(|h| h.parse::<std::net::IpAddr>().is_err()) {
        return Err("DNS subjectAltNames are not allowed");
    }
    if !profile.hosts.is_empty() {
        return Err("IP subjectAltNames are not allowed");
    }
    exactly(usages, "client auth")
}

/// `ValidateKubeletServingCSR`
fn kubelet_serving(profile: &Profile, usages: &[&str]) -> Result<(), &'static str> {
    is_node(profile)?;
    if profile.hosts.is_empty() {
        return Err("DNS or IP subjectAltName is required");
    }
    exactly(usages, "server auth")
}

fn is_node(profile: &Profile) -> Result<(), &'static str> {
    if profile.organizations != ["system:nodes"] {
        return Err("subject organization is not system:nodes");
    }
    if profile.common_name.strip_prefix("system:node:").is_none_or(str::is_empty) {
        return Err("subject common name does not begin with system:node: ");
    }
    Ok(())
}

const MISMATCH: &str = "usages did not match";

fn exactly(usages: &[&str], purpose: &str) -> Result<(), &'static str> {
    let mut fit = vec![purpose, "digital signature"];
    fit.sort_unstable();
    let rest: Vec<&str> = usages.iter().copied().filter(|u| *u != "key encipherment").collect();
    if rest == fit { Ok(()) } else { Err(MISMATCH) }
}

/// `validAPIServerClientUsages`
fn api_client(usages: &[&str]) -> Result<(), &'static str> {
    let known = ["client auth", "digital signature", "key encipherment"];
    if usages.contains(&"client auth") && usages.iter().all(|u| known.contains(u)) { Ok(()) } else { Err(MISMATCH) }
}

/// What is asked for, if it is neither too short nor longer than the authority gives.
pub fn lifetime(asked_seconds: Option<i64>, longest: SignedDuration) -> SignedDuration {
    asked_seconds.map_or(longest, |s| SignedDuration::from_secs(s).max(SHORTEST).min(longest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CLIENT: &[&str] = &["client auth", "digital signature"];

    #[test]
    fn signers_sign_what_is_theirs() {
        let node = || Profile::node("a");
        let hosts = |p: Profile, h: &str| Profile { hosts: [h.to_owned()].into(), ..p };
        let (encipher, serving) =
            (["client auth", "digital signature", "key encipherment"], ["digital signature", "server auth"]);
        for (signer, profile, usages, want) in [
            (KUBELET_CLIENT, node(), CLIENT, Some(Ok(()))),
            (KUBELET_CLIENT, node(), &encipher[..], Some(Ok(()))),
            (KUBELET_CLIENT, node(), &serving[..], Some(Err(MISMATCH))),
            (KUBELET_CLIENT, node(), &["client auth"][..], Some(Err(MISMATCH))),
            (KUBELET_CLIENT, hosts(node(), "x.y"), CLIENT, Some(Err("DNS subjectAltNames are not allowed"))),
            (KUBELET_CLIENT, hosts(node(), "1.2.3.4"), CLIENT, Some(Err("IP subjectAltNames are not allowed"))),
            (
                KUBELET_CLIENT,
                Profile::client("system:node:a", &[]),
                CLIENT,
                Some(Err("subject organization is not system:nodes")),
            ),
            (
                KUBELET_CLIENT,
                Profile::client("a", &["system:nodes"]),
                CLIENT,
                Some(Err("subject common name does not begin with system:node: ")),
            ),
            (KUBELET_SERVING, hosts(node(), "1.2.3.4"), &serving[..], Some(Ok(()))),
            (KUBELET_SERVING, node(), &serving[..], Some(Err("DNS or IP subjectAltName is required"))),
            (API_CLIENT, Profile::client("jane", &["people"]), CLIENT, Some(Ok(()))),
            (API_CLIENT, Profile::client("jane", &[]), &serving[..], Some(Err(MISMATCH))),
            (LEGACY, Profile::client("jane", &[]), &serving[..], Some(Ok(()))),
            ("example.com/x", node(), CLIENT, None),
        ] {
            let request = json!({"spec": {"signerName": signer, "usages": usages}});
            let got = check(&request, Ok(profile.clone()));
            let got = got.map(|r| r.map(drop));
            assert_eq!(
                got,
                want.map(|r: Result<(), &str>| r.map_err(str::to_owned)),
                "{signer} {profile:?} {usages:?}"
            );
        }
    }

    #[test]
    fn lifetimes_are_bounded() {
        let hours = SignedDuration::from_hours;
        for (asked, longest, want) in [
            (None, hours(24), hours(24)),
            (Some(3600), hours(24), hours(1)),
            (Some(60), hours(24), SHORTEST),
            (Some(i64::from(i32::MAX)), hours(24), hours(24)),
            (Some(600), SignedDuration::from_secs(30), SignedDuration::from_secs(30)),
        ] {
            assert_eq!(lifetime(asked, longest), want);
        }
    }
}
