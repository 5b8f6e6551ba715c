//! CustomResourceDefinition of `apiextensions.k8s.io/v1beta1`: what stood at the top of the spec stands in each version.

use serde_json::{Map, Value, json};

const PER_VERSION: [&str; 2] = ["subresources", "additionalPrinterColumns"];

fn rename(columns: &mut Value, from: &str, to: &str) {
    for column in columns.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(path) = column.remove(from) {
            column.insert(to.into(), path);
        }
    }
}

/// To `v1`. Where nothing is said unknown fields are preserved, as the old version had it.
pub(super) fn to_v1(tree: &mut Value) {
    let Some(spec) = tree.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let single = spec.remove("version");
    if spec.get("versions").is_none_or(|v| v.as_array().is_some_and(Vec::is_empty))
        && let Some(name) = single
    {
        spec.insert("versions".into(), json!([{"name": name, "served": true, "storage": true}]));
    }
    let schema = spec.remove("validation");
    let top: Vec<(&str, Value)> = PER_VERSION.iter().filter_map(|k| Some((*k, spec.remove(*k)?))).collect();
    for version in spec.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(version) = version.as_object_mut() else { continue };
        if let (Some(schema), None) = (&schema, version.get("schema")) {
            version.insert("schema".into(), schema.clone());
        }
        for (key, value) in &top {
            version.entry(*key).or_insert_with(|| value.clone());
        }
        if let Some(columns) = version.get_mut("additionalPrinterColumns") {
            rename(columns, "JSONPath", "jsonPath");
        }
    }
    if let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut) {
        let config = conversion.remove("webhookClientConfig");
        let versions = conversion.remove("conversionReviewVersions");
        if let Some(config) = config {
            let mut webhook = Map::new();
            webhook.insert("clientConfig".into(), config);
            webhook.insert("conversionReviewVersions".into(), versions.unwrap_or_else(|| json!(["v1beta1"])));
            conversion.insert("webhook".into(), webhook.into());
        }
    }
    if spec.get("preserveUnknownFields").is_none_or(Value::is_null) {
        spec.insert("preserveUnknownFields".into(), true.into());
    }
    // optional then
    spec.entry("scope").or_insert_with(|| "Namespaced".into());
}

/// From `v1`.
pub(super) fn from_v1(tree: &mut Value) {
    let Some(spec) = tree.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let mut first = None;
    let mut same = true;
    for version in spec.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(columns) = version.get_mut("additionalPrinterColumns") {
            rename(columns, "jsonPath", "JSONPath");
        }
        let parts =
            [version["schema"].clone(), version["subresources"].clone(), version["additionalPrinterColumns"].clone()];
        same &= first.get_or_insert_with(|| (version["name"].clone(), parts.clone())).1 == parts;
    }
    if let Some((name, parts)) = first {
        spec.insert("version".into(), name);
        if same {
            for version in spec.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten() {
                for key in ["schema", "subresources", "additionalPrinterColumns"] {
                    version.as_object_mut().map(|v| v.remove(key));
                }
            }
            for (key, part) in ["validation", "subresources", "additionalPrinterColumns"].into_iter().zip(parts) {
                if !part.is_null() {
                    spec.insert(key.into(), part);
                }
            }
        }
    }
    if let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut)
        && let Some(Value::Object(mut webhook)) = conversion.remove("webhook")
    {
        conversion.extend(webhook.remove("clientConfig").map(|c| ("webhookClientConfig".to_owned(), c)));
        let versions = webhook.remove("conversionReviewVersions");
        conversion.extend(versions.map(|v| ("conversionReviewVersions".to_owned(), v)));
    }
    spec.entry("preserveUnknownFields").or_insert_with(|| false.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_form_and_back() {
        let old = json!({"spec": {"group": "g.io", "version": "v1", "scope": "Namespaced", "preserveUnknownFields": false,
            "names": {"plural": "ks", "kind": "K"}, "versions": [{"name": "v1", "served": true, "storage": true}],
            "validation": {"openAPIV3Schema": {"type": "object"}}, "subresources": {"status": {}},
            "additionalPrinterColumns": [{"name": "A", "type": "string", "JSONPath": ".a"}],
            "conversion": {"strategy": "Webhook", "webhookClientConfig": {"url": "https://x"}, "conversionReviewVersions": ["v1beta1"]}}});
        let mut tree = old.clone();
        to_v1(&mut tree);
        assert_eq!(
            tree["spec"]["versions"],
            json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}},
                "subresources": {"status": {}}, "additionalPrinterColumns": [{"name": "A", "type": "string", "jsonPath": ".a"}]}])
        );
        assert_eq!(tree["spec"]["conversion"]["webhook"]["clientConfig"]["url"], "https://x");
        from_v1(&mut tree);
        assert_eq!(tree, old);
        let mut short = json!({"spec": {"version": "v2", "names": {}}});
        to_v1(&mut short);
        assert_eq!(short["spec"]["versions"], json!([{"name": "v2", "served": true, "storage": true}]));
        assert_eq!(short["spec"]["preserveUnknownFields"], true);
    }
}
