//! Namespaces, config maps, secrets, service accounts, roles and bindings.

use api::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::writer::Out;
use crate::error::Result;
use crate::objects::{list, text};
use crate::session::Session;

fn head(w: &mut Out, o: &Value) {
    w.name(o);
    if !text(o, "/metadata/namespace").is_empty() {
        w.namespace(o);
    }
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
}

pub async fn namespace(w: &mut Out, s: &Session, o: &Value) -> Result<()> {
    head(w, o);
    w.field(0, "Status", text(o, "/status/phase"));
    let conditions = list(o, "/status/conditions");
    if !conditions.is_empty() {
        w.put(0, "Conditions:");
        let row = |c: &Value| {
            let time = super::writer::time(text(c, "/lastTransitionTime"));
            vec![
                text(c, "/type").into(),
                text(c, "/status").into(),
                time,
                text(c, "/reason").into(),
                text(c, "/message").into(),
            ]
        };
        let rows: Vec<Vec<String>> = conditions.iter().map(row).collect();
        w.table(1, &["Type", "Status", "LastTransitionTime", "Reason", "Message"], &rows);
    }
    let name = text(o, "/metadata/name");
    let of = async |plural: &str| match s.mapping(plural).await {
        Ok(m) => s.list(&m, name, &[]).await.map(|l| list(&l, "/items").to_vec()).unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let quotas = of("resourcequotas").await;
    if quotas.is_empty() {
        w.put(0, "\nNo resource quota.");
    } else {
        w.put(0, "\nResource Quotas");
        for q in quotas {
            w.put(1, format!("Name:\t{}", text(&q, "/metadata/name")));
            w.put(1, "Resource\tUsed\tHard");
            w.put(1, "--------\t---\t---");
            for (k, hard) in q["status"]["hard"].as_object().into_iter().flatten() {
                let plain = super::writer::plain;
                w.put(1, format!("{k}\t{}\t{}", plain(&q["status"]["used"][k]), plain(hard)));
            }
        }
    }
    let limits = of("limitranges").await;
    if limits.is_empty() {
        w.put(0, "\nNo LimitRange resource.");
    } else {
        w.put(0, "\nResource Limits");
        w.put(0, " Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio");
        w.put(0, " ----\t--------\t---\t---\t---------------\t-------------\t-----------------------");
        for item in limits.iter().flat_map(|l| list(l, "/spec/limits")) {
            limit(w, item);
        }
    }
    Ok(())
}

fn limit(w: &mut Out, item: &Value) {
    const COLUMNS: [&str; 5] = ["min", "max", "defaultRequest", "default", "maxLimitRequestRatio"];
    let mut names: Vec<&String> = COLUMNS.iter().filter_map(|c| item[*c].as_object()).flat_map(|o| o.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let cells = COLUMNS.map(|c| item[c].get(name).map_or_else(|| "-".to_owned(), super::writer::plain));
        w.put(0, format!(" {}\t{name}\t{}", text(item, "/type"), cells.join("\t")));
    }
}

pub fn config_map(w: &mut Out, o: &Value) {
    head(w, o);
    w.put(0, "\nData\n====");
    for (key, value) in o["data"].as_object().into_iter().flatten() {
        w.put(0, format!("{key}:\n----\n{}\n", value.as_str().unwrap_or_default()));
    }
    w.put(0, "\nBinaryData\n====");
    for (key, value) in o["binaryData"].as_object().into_iter().flatten() {
        w.put(0, format!("{key}: {} bytes", decoded(value)));
    }
    w.put(0, "");
}

fn decoded(v: &Value) -> usize {
    BASE64.decode(v.as_str().unwrap_or_default()).map_or(0, |b| b.len())
}

pub fn secret(w: &mut Out, o: &Value) {
    head(w, o);
    w.put(0, format!("\nType:\t{}", text(o, "/type")));
    w.put(0, "\nData\n====");
    for (key, value) in o["data"].as_object().into_iter().flatten() {
        if key == "token" && text(o, "/type") == "kubernetes.io/service-account-token" {
            let token = BASE64.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
            w.put(0, format!("{key}:\t{}", String::from_utf8_lossy(&token)));
        } else {
            w.put(0, format!("{key}:\t{} bytes", decoded(value)));
        }
    }
}

pub async fn service_account(w: &mut Out, s: &Session, o: &Value) -> Result<()> {
    head(w, o);
    let (namespace, name) = (text(o, "/metadata/namespace"), text(o, "/metadata/name"));
    let secrets = s
        .list(&s.mapping("secrets").await?, namespace, &[("fieldSelector", "type=kubernetes.io/service-account-token")])
        .await;
    let secrets = secrets.map(|l| list(&l, "/items").to_vec()).unwrap_or_default();
    let existing: Vec<&str> = secrets.iter().map(|s| text(s, "/metadata/name")).collect();
    let tokens: Vec<&str> = secrets
        .iter()
        .filter(|s| s["metadata"]["annotations"]["kubernetes.io/service-account.name"] == name)
        .map(|s| text(s, "/metadata/name"))
        .collect();
    let names = |pointer: &str| list(o, pointer).iter().map(|r| text(r, "/name")).collect::<Vec<_>>();
    let mountable = names("/secrets");
    for (label, all) in
        [("Image pull secrets", names("/imagePullSecrets")), ("Mountable secrets", mountable), ("Tokens", tokens)]
    {
        if all.is_empty() {
            w.field(0, label, "<none>");
        }
        for (i, name) in all.iter().enumerate() {
            let gone = if label == "Mountable secrets" && !existing.contains(name) { " (not found)" } else { "" };
            let head = if i == 0 { format!("{label}:") } else { String::new() };
            w.put(0, format!("{head}\t{name}{gone}"));
        }
    }
    Ok(())
}

pub fn priority_class(w: &mut Out, o: &Value) {
    w.name(o);
    w.field(0, "Value", o["value"].to_string());
    w.field(0, "GlobalDefault", (o["globalDefault"] == true).to_string());
    w.field(0, "PreemptionPolicy", text(o, "/preemptionPolicy"));
    w.field(0, "Description", text(o, "/description"));
    let annotations = o["metadata"]["annotations"].as_object().into_iter().flatten();
    let all: Vec<String> = annotations.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    w.field(0, "Annotations", if all.is_empty() { "<none>".into() } else { all.join(",") });
}

/// A rule for one resource or path.
#[derive(PartialEq)]
struct Rule {
    group: String,
    resource: String,
    url: String,
    names: String,
    verbs: Vec<String>,
}

impl Rule {
    /// As upstream's rules are compared: by their text.
    fn text(&self) -> String {
        let list = |s: &str| if s.is_empty() { "[]".to_owned() } else { format!("[{s}]") };
        format!(
            "Verbs:[{}],APIGroups:[{}],Resources:{},ResourceNames:{},NonResourceURLs:{}",
            self.verbs.join(" "),
            self.group,
            list(&self.resource),
            self.names,
            list(&self.url)
        )
    }
}

/// Rules by resource, those of the same resource joined: `BreakdownRule`, `CompactRules`.
fn compact(o: &Value) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let texts =
        |v: &Value| v.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    for rule in list(o, "/rules") {
        let (names, verbs) = (texts(&rule["resourceNames"]), texts(&rule["verbs"]));
        let names =
            if names.is_empty() { vec!["[]".to_owned()] } else { names.iter().map(|n| format!("[{n}]")).collect() };
        let mut add = |group: &str, resource: &str, url: &str, names: &str| {
            let same = rules.iter_mut().find(|r| {
                r.group == group && r.resource == resource && r.names == names && url.is_empty() && r.url.is_empty()
            });
            match same {
                Some(r) => r.verbs.extend(verbs.clone()),
                None => rules.push(Rule {
                    group: group.into(),
                    resource: resource.into(),
                    url: url.into(),
                    names: names.into(),
                    verbs: verbs.clone(),
                }),
            }
        };
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                names.iter().for_each(|n| add(&group, &resource, "", n));
            }
        }
        texts(&rule["nonResourceURLs"]).iter().for_each(|url| add("", "", url, "[]"));
    }
    rules.sort_by_cached_key(Rule::text);
    rules
}

pub fn role(w: &mut Out, o: &Value) {
    w.name(o);
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    w.put(0, "PolicyRule:");
    w.put(1, "Resources\tNon-Resource URLs\tResource Names\tVerbs");
    w.put(1, "---------\t-----------------\t--------------\t-----");
    rule_rows(o).iter().for_each(|r| w.put(1, r));
}

/// The rules of a role, compact and in order, as lines with tabs: resources, URLs, names, verbs.
pub fn rule_rows(o: &Value) -> Vec<String> {
    let row = |r: Rule| {
        let full = match (r.group.as_str(), r.resource.split_once('/')) {
            ("", _) => r.resource.clone(),
            (group, Some((r, sub))) => format!("{r}.{group}/{sub}"),
            (group, None) => format!("{}.{group}", r.resource),
        };
        format!("{full}\t[{}]\t{}\t[{}]", r.url, r.names, r.verbs.join(" "))
    };
    compact(o).into_iter().map(row).collect()
}

pub fn binding(w: &mut Out, o: &Value) {
    w.name(o);
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    w.put(0, "Role:");
    w.field(1, "Kind", text(o, "/roleRef/kind"));
    w.field(1, "Name", text(o, "/roleRef/name"));
    w.put(0, "Subjects:");
    w.put(1, "Kind\tName\tNamespace");
    w.put(1, "----\t----\t---------");
    for s in list(o, "/subjects") {
        w.put(1, format!("{}\t{}\t{}", text(s, "/kind"), text(s, "/name"), text(s, "/namespace")));
    }
}
