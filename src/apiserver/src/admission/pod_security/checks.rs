//! The checks of the Pod Security Standards, baseline and restricted: upstream's `pod-security-admission/policy`, each with the
//! version of the standards that brought it.

use std::collections::BTreeSet;

use api::Value;

use super::policy::{Level, Policy, Version};
use crate::admission::tree::{items, text};

/// What a check has found.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    pub reason: String,
    pub detail: String,
}

type Found = Option<Violation>;

fn found(reason: impl Into<String>, detail: String) -> Found {
    Some(Violation { reason: reason.into(), detail })
}

/// What of a pod (or template) `policy` forbids, in upstream's order.
pub fn violations(policy: Policy, pod: &Value) -> Vec<Violation> {
    if policy.level == Level::Privileged {
        return Vec::new();
    }
    let (p, v) = (&Pod::of(pod), policy.version);
    let restricted = policy.level == Level::Restricted;
    // a strict check that says more stands for the loose one
    let baseline = [
        p.app_armor(),
        if restricted && v.since(22) { None } else { p.capabilities() },
        p.host_namespaces(),
        if restricted { None } else { p.host_paths() },
        p.host_ports(),
        if v.since(34) { p.host_probes() } else { None },
        p.privileged(),
        p.proc_mount(v),
        p.selinux(v),
        if restricted && v.since(19) { None } else { p.seccomp() },
        p.sysctls(v),
        p.windows_host_process(),
    ];
    let strict = || {
        [
            if v.since(8) { p.escalation(v) } else { None },
            if v.since(22) { p.dropped_capabilities(v) } else { None },
            p.volumes(),
            p.non_root(v),
            if v.since(23) { p.root_user(v) } else { None },
            if v.since(19) { p.seccomp_set(v) } else { None },
        ]
    };
    let strict = if restricted { Vec::from(strict()) } else { Vec::new() };
    baseline.into_iter().chain(strict).flatten().collect()
}

/// `"a", "b"`
fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ")
}

fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names.iter().copied()))
}

/// `pod and container "c"`
fn setters(pod: bool, names: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    all.extend(pod.then(|| "pod".to_owned()));
    all.extend((!names.is_empty()).then(|| containers(names)));
    all
}

struct Pod<'a> {
    tree: &'a Value,
    spec: &'a Value,
    context: &'a Value,
    /// Init and ephemeral ones too.
    containers: Vec<&'a Value>,
}

impl<'a> Pod<'a> {
    fn of(tree: &'a Value) -> Pod<'a> {
        let spec = &tree["spec"];
        let lists = ["/initContainers", "/containers", "/ephemeralContainers"];
        let containers = lists.iter().flat_map(|l| items(spec, l)).collect();
        Pod { tree, spec, context: &spec["securityContext"], containers }
    }
    /// The names of the containers of which something holds.
    fn those(&self, is: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        self.containers.iter().filter(|c| is(c)).map(|c| text(c, "/name")).collect()
    }
    fn is_windows(&self, v: Version) -> bool {
        v.since(25) && text(self.spec, "/os/name") == "windows"
    }
    /// `relaxPolicyForUserNamespacePod`: root there is nobody outside.
    fn has_user_namespace(&self, v: Version) -> bool {
        v.since(35) && self.spec["hostUsers"] == false
    }

    fn app_armor(&self) -> Found {
        let mut values = BTreeSet::new();
        let mut bad = |context: &'a Value| {
            let kind = text(context, "/appArmorProfile/type");
            let is = !matches!(kind, "" | "RuntimeDefault" | "Localhost");
            if is {
                values.insert(kind);
            }
            is
        };
        let pod = bad(self.context);
        let names: Vec<_> =
            self.containers.iter().filter(|c| bad(&c["securityContext"])).map(|c| text(c, "/name")).collect();
        let mut all = setters(pod, &names);
        let annotations = self.tree["metadata"]["annotations"].as_object().into_iter().flatten();
        let notes = annotations.filter(|(k, v)| {
            let v = v.as_str().unwrap_or_default();
            k.starts_with("container.apparmor.security.beta.kubernetes.io/")
                && !(v.is_empty() || v == "runtime/default" || v.starts_with("localhost/"))
        });
        let notes: Vec<(&str, &str)> = notes.map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default())).collect();
        if !notes.is_empty() {
            values.extend(notes.iter().map(|(_, v)| *v));
            let keys = quoted(notes.iter().map(|(k, _)| *k));
            all.push(format!("{} {keys}", plural("annotation", "annotations", notes.len())));
        }
        if all.is_empty() {
            return None;
        }
        let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
        found(reason, format!("{} must not set AppArmor profile type to {}", all.join(" and "), quoted(values)))
    }

    fn capabilities(&self) -> Found {
        const ALLOWED: [&str; 13] = [
            "AUDIT_WRITE",
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "FSETID",
            "KILL",
            "MKNOD",
            "NET_BIND_SERVICE",
            "SETFCAP",
            "SETGID",
            "SETPCAP",
            "SETUID",
            "SYS_CHROOT",
        ];
        let (names, added) = self.adding(&ALLOWED);
        if names.is_empty() {
            return None;
        }
        let who = containers(&names);
        found(
            "non-default capabilities",
            format!("{who} must not include {} in securityContext.capabilities.add", quoted(added)),
        )
    }
    /// Who adds capabilities that are not allowed, and which.
    fn adding(&self, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
        let (mut names, mut all) = (Vec::new(), BTreeSet::new());
        for c in &self.containers {
            let added = items(c, "/securityContext/capabilities/add").iter().filter_map(Value::as_str);
            let bad: Vec<&str> = added.filter(|a| !allowed.contains(a)).collect();
            if !bad.is_empty() {
                names.push(text(c, "/name"));
                all.extend(bad);
            }
        }
        (names, all)
    }

    fn host_namespaces(&self) -> Found {
        let set = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|f| self.spec[*f] == true);
        let set: Vec<String> = set.map(|f| format!("{f}=true")).collect();
        if set.is_empty() { None } else { found("host namespaces", set.join(", ")) }
    }

    fn host_paths(&self) -> Found {
        let all = items(self.spec, "/volumes").iter().filter(|v| v["hostPath"].is_object());
        let names: Vec<&str> = all.map(|v| text(v, "/name")).collect();
        if names.is_empty() {
            return None;
        }
        found("hostPath volumes", format!("{} {}", plural("volume", "volumes", names.len()), quoted(names)))
    }

    fn host_ports(&self) -> Found {
        let mut ports = BTreeSet::new();
        let mut names = Vec::new();
        for c in &self.containers {
            let used: Vec<i64> =
                items(c, "/ports").iter().filter_map(|p| p["hostPort"].as_i64()).filter(|p| *p != 0).collect();
            if !used.is_empty() {
                names.push(text(c, "/name"));
                // as texts, which is how upstream orders them
                ports.extend(used.iter().map(i64::to_string));
            }
        }
        if names.is_empty() {
            return None;
        }
        let (who, verb) = (containers(&names), plural("uses", "use", names.len()));
        let what = plural("hostPort", "hostPorts", ports.len());
        found("hostPort", format!("{who} {verb} {what} {}", ports.into_iter().collect::<Vec<_>>().join(", ")))
    }

    fn host_probes(&self) -> Found {
        const HANDLERS: [&str; 5] =
            ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
        let (mut names, mut hosts) = (BTreeSet::new(), BTreeSet::new());
        for c in &self.containers {
            let handlers = HANDLERS.iter().filter_map(|h| c.pointer(h));
            let all = handlers.flat_map(|h| [text(h, "/httpGet/host"), text(h, "/tcpSocket/host")]);
            let bad: Vec<&str> = all.filter(|h| !h.is_empty()).collect();
            if !bad.is_empty() {
                names.insert(text(c, "/name"));
                hosts.extend(bad);
            }
        }
        if names.is_empty() {
            return None;
        }
        let names: Vec<&str> = names.into_iter().collect();
        let (who, verb) = (containers(&names), plural("uses", "use", names.len()));
        let what = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
        found("probe or lifecycle host", format!("{who} {verb} {what} {}", quoted(hosts)))
    }

    fn privileged(&self) -> Found {
        let names = self.those(|c| c["securityContext"]["privileged"] == true);
        if names.is_empty() {
            return None;
        }
        found("privileged", format!("{} must not set securityContext.privileged=true", containers(&names)))
    }

    fn proc_mount(&self, v: Version) -> Found {
        let kind = |c: &'a Value| text(c, "/securityContext/procMount");
        let bad = self.containers.iter().filter(|c| !matches!(kind(c), "" | "Default"));
        let (names, kinds): (Vec<&str>, BTreeSet<&str>) = bad.map(|c| (text(c, "/name"), kind(c))).unzip();
        if names.is_empty() || self.has_user_namespace(v) {
            return None;
        }
        let who = containers(&names);
        found("procMount", format!("{who} must not set securityContext.procMount to {}", quoted(kinds)))
    }

    fn selinux(&self, v: Version) -> Found {
        let (mut kinds, mut user, mut role) = (BTreeSet::new(), false, false);
        let mut bad = |context: &'a Value| {
            let options = &context["seLinuxOptions"];
            let kind = text(options, "/type");
            let known = matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t");
            let wrong = !(known || kind == "container_engine_t" && v.since(31));
            if wrong {
                kinds.insert(kind);
            }
            let (sets_user, sets_role) = (!text(options, "/user").is_empty(), !text(options, "/role").is_empty());
            (user, role) = (user || sets_user, role || sets_role);
            wrong || sets_user || sets_role
        };
        let pod = bad(self.context);
        let names: Vec<_> =
            self.containers.iter().filter(|c| bad(&c["securityContext"])).map(|c| text(c, "/name")).collect();
        let all = setters(pod, &names);
        if all.is_empty() {
            return None;
        }
        let mut what = Vec::new();
        if !kinds.is_empty() {
            what.push(format!("{} {}", plural("type", "types", kinds.len()), quoted(kinds)));
        }
        what.extend(user.then(|| "user may not be set".to_owned()));
        what.extend(role.then(|| "role may not be set".to_owned()));
        let detail = format!("{} set forbidden securityContext.seLinuxOptions: {}", all.join(" and "), what.join("; "));
        found("seLinuxOptions", detail)
    }

    /// Those that say a profile that is none of the good ones.
    fn seccomp(&self) -> Found {
        let mut kinds = BTreeSet::new();
        let mut bad = |context: &'a Value| {
            let kind = text(context, "/seccompProfile/type");
            let is = context["seccompProfile"].is_object() && !matches!(kind, "RuntimeDefault" | "Localhost");
            if is {
                kinds.insert(kind);
            }
            is
        };
        let pod = bad(self.context);
        let names: Vec<_> =
            self.containers.iter().filter(|c| bad(&c["securityContext"])).map(|c| text(c, "/name")).collect();
        let all = setters(pod, &names);
        if all.is_empty() {
            return None;
        }
        let detail =
            format!("{} must not set securityContext.seccompProfile.type to {}", all.join(" and "), quoted(kinds));
        found("seccompProfile", detail)
    }
    fn seccomp_set(&self, v: Version) -> Found {
        if self.is_windows(v) {
            return None;
        }
        if let Some(bad) = self.seccomp() {
            return Some(bad);
        }
        let names = self.those(|c| !c["securityContext"]["seccompProfile"].is_object());
        if names.is_empty() || self.context["seccompProfile"].is_object() {
            return None;
        }
        let who = containers(&names);
        found(
            "seccompProfile",
            format!("pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""),
        )
    }

    fn sysctls(&self, v: Version) -> Found {
        let allowed = |name: &str| match name {
            "kernel.shm_rmid_forced"
            | "net.ipv4.ip_local_port_range"
            | "net.ipv4.tcp_syncookies"
            | "net.ipv4.ping_group_range"
            | "net.ipv4.ip_unprivileged_port_start" => true,
            "net.ipv4.ip_local_reserved_ports" => v.since(27),
            "net.ipv4.tcp_keepalive_time"
            | "net.ipv4.tcp_fin_timeout"
            | "net.ipv4.tcp_keepalive_intvl"
            | "net.ipv4.tcp_keepalive_probes" => v.since(29),
            "net.ipv4.tcp_rmem" | "net.ipv4.tcp_wmem" => v.since(32),
            _ => false,
        };
        let names: Vec<&str> =
            items(self.context, "/sysctls").iter().map(|s| text(s, "/name")).filter(|n| !allowed(n)).collect();
        if names.is_empty() { None } else { found("forbidden sysctls", names.join(", ")) }
    }

    fn windows_host_process(&self) -> Found {
        let bad = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
        let all = setters(bad(self.context), &self.those(|c| bad(&c["securityContext"])));
        if all.is_empty() {
            return None;
        }
        let detail = format!("{} must not set securityContext.windowsOptions.hostProcess=true", all.join(" and "));
        found("hostProcess", detail)
    }

    fn escalation(&self, v: Version) -> Found {
        let names = self.those(|c| c["securityContext"]["allowPrivilegeEscalation"] != false);
        if names.is_empty() || self.is_windows(v) {
            return None;
        }
        let who = containers(&names);
        let detail = format!("{who} must set securityContext.allowPrivilegeEscalation=false");
        found("allowPrivilegeEscalation != false", detail)
    }

    fn dropped_capabilities(&self, v: Version) -> Found {
        if self.is_windows(v) {
            return None;
        }
        let mut what = Vec::new();
        let keep = self.those(|c| !items(c, "/securityContext/capabilities/drop").iter().any(|d| d == "ALL"));
        if !keep.is_empty() {
            what.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keep)));
        }
        let (names, added) = self.adding(&["NET_BIND_SERVICE"]);
        if !names.is_empty() {
            let who = containers(&names);
            what.push(format!("{who} must not include {} in securityContext.capabilities.add", quoted(added)));
        }
        if what.is_empty() { None } else { found("unrestricted capabilities", what.join("; ")) }
    }

    fn volumes(&self) -> Found {
        const ALLOWED: [&str; 8] = [
            "configMap",
            "csi",
            "downwardAPI",
            "emptyDir",
            "ephemeral",
            "persistentVolumeClaim",
            "projected",
            "secret",
        ];
        let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
        for volume in items(self.spec, "/volumes") {
            let mut sources = volume.as_object().into_iter().flatten().filter(|(k, v)| *k != "name" && !v.is_null());
            let kind = sources.next().map_or("unknown", |(k, _)| k.as_str());
            if !ALLOWED.contains(&kind) {
                names.push(text(volume, "/name"));
                kinds.insert(kind);
            }
        }
        if names.is_empty() {
            return None;
        }
        let (who, verb) = (plural("volume", "volumes", names.len()), plural("uses", "use", names.len()));
        let what = plural("restricted volume type", "restricted volume types", kinds.len());
        found("restricted volume types", format!("{who} {} {verb} {what} {}", quoted(names), quoted(kinds)))
    }

    fn non_root(&self, v: Version) -> Found {
        const REASON: &str = "runAsNonRoot != true";
        if self.has_user_namespace(v) {
            return None;
        }
        let says = |context: &Value| context["runAsNonRoot"].as_bool();
        let refusing = self.those(|c| says(&c["securityContext"]) == Some(false));
        let all = setters(says(self.context) == Some(false), &refusing);
        if !all.is_empty() {
            return found(REASON, format!("{} must not set securityContext.runAsNonRoot=false", all.join(" and ")));
        }
        let silent = self.those(|c| says(&c["securityContext"]).is_none());
        if silent.is_empty() || says(self.context) == Some(true) {
            return None;
        }
        found(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent)))
    }

    fn root_user(&self, v: Version) -> Found {
        let bad = |context: &Value| context["runAsUser"] == 0;
        let all = setters(bad(self.context), &self.those(|c| bad(&c["securityContext"])));
        if all.is_empty() || self.has_user_namespace(v) {
            return None;
        }
        found("runAsUser=0", format!("{} must not set runAsUser=0", all.join(" and ")))
    }
}
