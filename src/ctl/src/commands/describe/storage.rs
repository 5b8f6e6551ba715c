//! Persistent volumes, their claims, storage classes.

use api::Value;

use super::volumes;
use super::writer::{Out, joined, plain, selector, since};
use crate::error::Result;
use crate::objects::{list, text};
use crate::session::Session;

fn modes(v: &Value) -> String {
    let short = |m: &Value| match m.as_str().unwrap_or_default() {
        "ReadWriteOnce" => "RWO".to_owned(),
        "ReadOnlyMany" => "ROX".to_owned(),
        "ReadWriteMany" => "RWX".to_owned(),
        "ReadWriteOncePod" => "RWOP".to_owned(),
        other => other.to_owned(),
    };
    v.as_array().into_iter().flatten().map(short).collect::<Vec<_>>().join(",")
}

pub fn volume(w: &mut Out, o: &Value) {
    let spec = &o["spec"];
    w.name(o);
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    w.field(0, "Finalizers", format!("[{}]", joined(&o["metadata"]["finalizers"], " ").replace("<none>", "")));
    w.field(0, "StorageClass", text(spec, "/storageClassName"));
    match text(o, "/metadata/deletionTimestamp") {
        "" => w.field(0, "Status", text(o, "/status/phase")),
        deleted => w.field(0, "Status", format!("Terminating (lasts {})", since(deleted))),
    }
    match spec.get("claimRef") {
        Some(c) => w.field(0, "Claim", format!("{}/{}", text(c, "/namespace"), text(c, "/name"))),
        None => w.field(0, "Claim", ""),
    }
    w.field(0, "Reclaim Policy", text(spec, "/persistentVolumeReclaimPolicy"));
    w.field(0, "Access Modes", modes(&spec["accessModes"]));
    w.some(0, "VolumeMode", text(spec, "/volumeMode"));
    w.field(0, "Capacity", plain(&spec["capacity"]["storage"]));
    match spec["nodeAffinity"]["required"].get("nodeSelectorTerms") {
        None => w.field(0, "Node Affinity", "<none>"),
        Some(terms) => {
            w.put(0, "Node Affinity:");
            w.put(1, "Required Terms:");
            for (i, term) in terms.as_array().into_iter().flatten().enumerate() {
                let all: Vec<String> = list(term, "/matchExpressions")
                    .iter()
                    .map(|e| {
                        let operator = text(e, "/operator").to_lowercase();
                        let values = joined(&e["values"], ", ");
                        if values == "<none>" {
                            format!("{} {operator}", text(e, "/key"))
                        } else {
                            format!("{} {operator} [{values}]", text(e, "/key"))
                        }
                    })
                    .collect();
                w.put(2, format!("Term {i}:\t{}", all.join("\n    \t\t")));
            }
        }
    }
    w.field(0, "Message", text(o, "/status/message"));
    w.put(0, "Source:");
    volumes::source(w, 2, spec);
}

pub async fn claim(w: &mut Out, s: &Session, o: &Value) -> Result<()> {
    let spec = &o["spec"];
    w.name(o);
    w.namespace(o);
    w.field(0, "StorageClass", text(spec, "/storageClassName"));
    match text(o, "/metadata/deletionTimestamp") {
        "" => w.field(0, "Status", text(o, "/status/phase")),
        deleted => w.field(0, "Status", format!("Terminating (lasts {})", since(deleted))),
    }
    w.field(0, "Volume", text(spec, "/volumeName"));
    w.labels(0, "Labels", &o["metadata"]["labels"]);
    w.annotations(0, &o["metadata"]["annotations"]);
    w.field(0, "Finalizers", format!("[{}]", joined(&o["metadata"]["finalizers"], " ").replace("<none>", "")));
    let bound = !text(spec, "/volumeName").is_empty();
    w.field(0, "Capacity", if bound { plain(&o["status"]["capacity"]["storage"]) } else { String::new() });
    w.field(0, "Access Modes", if bound { modes(&o["status"]["accessModes"]) } else { String::new() });
    w.some(0, "VolumeMode", text(spec, "/volumeMode"));
    let pods = s.list(&s.mapping("pods").await?, text(o, "/metadata/namespace"), &[("limit", "500")]).await?;
    let name = text(o, "/metadata/name");
    let uses =
        |p: &&Value| list(p, "/spec/volumes").iter().any(|v| text(v, "/persistentVolumeClaim/claimName") == name);
    let users: Vec<&str> = list(&pods, "/items").iter().filter(uses).map(|p| text(p, "/metadata/name")).collect();
    w.field(0, "Used By", users.first().copied().unwrap_or("<none>"));
    users.iter().skip(1).for_each(|u| w.put(0, format!("\t{u}")));
    if let Some(chosen) = spec.get("selector") {
        w.field(0, "Selector", selector(chosen));
    }
    Ok(())
}

pub fn class(w: &mut Out, o: &Value) {
    w.name(o);
    let default = o["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true";
    w.field(0, "IsDefaultClass", if default { "Yes" } else { "No" });
    let annotations: Vec<String> = o["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    w.field(0, "Annotations", if annotations.is_empty() { "<none>".into() } else { annotations.join(",") });
    w.field(0, "Provisioner", text(o, "/provisioner"));
    let parameters: Vec<String> =
        o["parameters"].as_object().into_iter().flatten().map(|(k, v)| format!("{k}={}", plain(v))).collect();
    w.field(0, "Parameters", if parameters.is_empty() { "<none>".into() } else { parameters.join(",") });
    w.field(
        0,
        "AllowVolumeExpansion",
        o["allowVolumeExpansion"]
            .as_bool()
            .map_or("<unset>".into(), |b| if b { "True".into() } else { "False".to_owned() }),
    );
    let options = joined(&o["mountOptions"], "\n  ");
    if options == "<none>" {
        w.field(0, "MountOptions", "<none>");
    } else {
        w.put(0, format!("MountOptions:\n  {options}"));
    }
    w.some(0, "ReclaimPolicy", text(o, "/reclaimPolicy"));
    w.some(0, "VolumeBindingMode", text(o, "/volumeBindingMode"));
}
