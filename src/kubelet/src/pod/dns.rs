//! A pod's names: its hostname, `/etc/resolv.conf` and `/etc/hosts`. Upstream's `network/dns` and `kubelet_pods.go`.

use std::net::IpAddr;

use api::k8s_openapi::api::core::v1::PodSpec;

/// The hostname and, with a subdomain, the domain (`sub.ns.svc.cluster.local`).
pub(crate) fn hostname(spec: &PodSpec, name: &str, namespace: &str, domain: &str) -> (String, String) {
    let given = spec.hostname.as_deref().filter(|h| !h.is_empty());
    let host = given.map(str::to_owned).unwrap_or_else(|| {
        let cut: String = name.chars().take(63).collect();
        cut.trim_end_matches(['-', '.']).to_owned()
    });
    let sub = spec.subdomain.as_deref().filter(|s| !s.is_empty());
    (host, sub.map(|s| format!("{s}.{namespace}.svc.{domain}")).unwrap_or_default())
}

/// What `uname -n` says in the pod.
pub(crate) fn nodename(spec: &PodSpec, name: &str, namespace: &str, domain: &str) -> String {
    if let Some(h) = spec.hostname_override.as_ref().filter(|h| !h.is_empty()) {
        return h.clone();
    }
    let (host, sub) = hostname(spec, name, namespace, domain);
    if spec.set_hostname_as_fqdn == Some(true) && !sub.is_empty() { format!("{host}.{sub}") } else { host }
}

#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Resolver {
    pub nameservers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl Resolver {
    pub fn parse(text: &str) -> Resolver {
        let mut r = Resolver::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => r.nameservers.extend(words.next().map(Into::into)),
                Some("search") => r.searches = words.filter(|w| *w != ".").map(Into::into).collect(),
                Some("options") => r.options = words.map(Into::into).collect(),
                _ => {}
            }
        }
        r
    }

    pub fn render(&self) -> String {
        let mut out = String::new();
        if !self.searches.is_empty() {
            out.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for n in &self.nameservers {
            out.push_str(&format!("nameserver {n}\n"));
        }
        if !self.options.is_empty() {
            out.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        out
    }
}

/// By `dnsPolicy` and `dnsConfig`. `host` is the node's own.
pub(crate) fn resolver(spec: &PodSpec, namespace: &str, dns: &[IpAddr], domain: &str, host: &Resolver) -> Resolver {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let on_host = spec.host_network == Some(true);
    let cluster = policy == "ClusterFirstWithHostNet" || policy == "ClusterFirst" && !on_host;
    let mut r = match policy {
        "None" => Resolver::default(),
        _ if cluster && !dns.is_empty() => {
            let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
            searches.extend(host.searches.iter().cloned());
            Resolver {
                nameservers: dns.iter().map(ToString::to_string).collect(),
                searches,
                options: vec!["ndots:5".into()],
            }
        }
        _ => host.clone(),
    };
    if let Some(c) = &spec.dns_config {
        r.nameservers.extend(c.nameservers.iter().flatten().cloned());
        r.searches.extend(c.searches.iter().flatten().cloned());
        for o in c.options.iter().flatten() {
            let Some(name) = &o.name else { continue };
            r.options.retain(|x| x.split(':').next() != Some(name));
            r.options.push(match o.value.as_deref().filter(|v| !v.is_empty()) {
                Some(v) => format!("{name}:{v}"),
                None => name.clone(),
            });
        }
    }
    for list in [&mut r.nameservers, &mut r.searches] {
        let mut seen = std::collections::HashSet::new();
        list.retain(|x| seen.insert(x.clone()));
    }
    r.nameservers.truncate(3);
    r.searches.truncate(32);
    r
}

/// `/etc/hosts`. `host_file` is the node's, for pods in its network.
pub(crate) fn hosts(spec: &PodSpec, ips: &[String], host: &str, sub: &str, host_file: Option<&str>) -> String {
    let mut out = match host_file {
        Some(text) => format!("# Kubernetes-managed hosts file (host network).\n{text}"),
        None => {
            let mut t = String::from(
                "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                 fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
            );
            for ip in ips {
                match sub {
                    "" => t.push_str(&format!("{ip}\t{host}\n")),
                    _ => t.push_str(&format!("{ip}\t{host}.{sub}\t{host}\n")),
                }
            }
            t
        }
    };
    let aliases: Vec<_> = spec.host_aliases.iter().flatten().collect();
    if !aliases.is_empty() {
        out.push_str("\n# Entries added by HostAliases.\n");
        for a in aliases {
            out.push_str(&format!(
                "{}\t{}\n",
                a.ip,
                a.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t")
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Resource;
    use api::k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    fn spec(v: api::Value) -> PodSpec {
        let mut tree = json!({"metadata": {"name": "x"}, "spec": {"containers": []}});
        for (k, x) in v.as_object().unwrap() {
            tree["spec"][k] = x.clone();
        }
        Pod::from_value(tree).unwrap().spec.unwrap()
    }

    #[test]
    fn resolvers_follow_the_dns_policy() {
        let host = Resolver::parse("nameserver 1.1.1.1\nsearch lan\noptions edns0\n");
        let dns = ["10.43.0.10".parse().unwrap()];
        let render = |v| resolver(&spec(v), "ns", &dns, "cluster.local", &host).render();
        let cluster =
            "search ns.svc.cluster.local svc.cluster.local cluster.local lan\nnameserver 10.43.0.10\noptions ndots:5\n";
        assert_eq!(render(json!({})), cluster);
        assert_eq!(render(json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true})), cluster);
        let own = "search lan\nnameserver 1.1.1.1\noptions edns0\n";
        assert_eq!(render(json!({"dnsPolicy": "Default"})), own);
        assert_eq!(render(json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true})), own);
        let config = json!({"nameservers": ["9.9.9.9"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}]});
        assert_eq!(
            render(json!({"dnsPolicy": "None", "dnsConfig": config})),
            "search a.b\nnameserver 9.9.9.9\noptions ndots:2 rotate\n"
        );
    }

    #[test]
    fn hosts_name_the_pod_and_its_aliases() {
        let s = spec(
            json!({"hostname": "h", "subdomain": "sub", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["foo", "bar"]}]}),
        );
        let (host, sub) = hostname(&s, "pod-1", "ns", "cluster.local");
        let text = hosts(&s, &["10.42.0.2".into()], &host, &sub, None);
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n"));
        assert!(text.contains("10.42.0.2\th.sub.ns.svc.cluster.local\th\n"));
        assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n"));
    }
}
