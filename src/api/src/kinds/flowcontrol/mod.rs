//! `flowcontrol.apiserver.k8s.io`: which requests wait for which. The API server's `fairness` follows these objects.

mod flow_schema;
mod priority_level;

use serde_json::Value;

use super::def::cluster;
use super::tree::same;
use crate::Kind;
use crate::field::{Error, Path};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const OLD: [(&str, &str); 3] = [(GROUP, "v1beta3"), (GROUP, "v1beta2"), (GROUP, "v1beta1")];

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        cluster(GROUP, "v1", "FlowSchema", "flowschemas", flow_schema::FlowSchema).status().also(&OLD),
        cluster(
            GROUP,
            "v1",
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
            priority_level::PriorityLevelConfiguration,
        )
        .status()
        .also(&OLD),
    ]
}

/// The mandatory objects are what they are.
fn fixed(errors: &mut Vec<Error>, object: &Value, specs: [(&str, Value); 2]) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    for (its_name, spec) in specs {
        if name == its_name && !same(&object["spec"], &spec) {
            let detail = format!("spec of '{name}' must equal the fixed value");
            errors.push(Error::invalid(&Path::root("spec"), object["spec"].clone(), detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kinds::workload::{defaulted, problems};

    #[test]
    fn schemas_and_levels_are_checked_in_upstreams_words() {
        let schema = |change: fn(&mut Value)| {
            let mut object = json!({"metadata": {"name": "s"}, "spec": {"priorityLevelConfiguration": {"name": "l"}, "rules": [
                {"subjects": [{"kind": "User", "user": {"name": "u"}}], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}});
            change(&mut object["spec"]);
            problems(&flow_schema::FlowSchema, object)
        };
        assert_eq!(schema(|_| {}), Vec::<String>::new());
        assert_eq!(
            schema(|s| s["matchingPrecedence"] = json!(1)),
            ["spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"]
        );
        assert_eq!(
            schema(|s| s["rules"][0]["subjects"] = json!([])),
            ["spec.rules[0].subjects: Required value: subjects must contain at least one value"]
        );
        assert_eq!(
            schema(|s| s["rules"][0]["subjects"][0] = json!({"kind": "Group", "user": {"name": "x"}})),
            [
                "spec.rules[0].subjects[0].group: Required value: group is required when subject kind is 'Group'",
                "spec.rules[0].subjects[0].user: Forbidden: user is forbidden when subject kind is not 'User'"
            ]
        );
        let level = |spec: Value| {
            problems(&priority_level::PriorityLevelConfiguration, json!({"metadata": {"name": "l"}, "spec": spec}))
        };
        assert_eq!(
            level(json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}})),
            Vec::<String>::new()
        );
        assert_eq!(
            level(json!({"type": "Exempt", "exempt": {}})),
            ["spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'"]
        );
        assert_eq!(
            level(
                json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"handSize": 9, "queues": 4}}}})
            ),
            ["spec.limited.limitResponse.queuing.handSize: Invalid value: 9: should not be greater than queues (4)"]
        );
        let queuing = |hand: i64, queues: i64| {
            let queuing = json!({"handSize": hand, "queues": queues});
            level(json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}}))
                .join("; ")
        };
        let at = "spec.limited.limitResponse.queuing";
        assert_eq!(
            queuing(8, -1),
            format!(
                "{at}.queues: Invalid value: -1: must be positive; {at}.handSize: Invalid value: 8: should not be greater than queues (-1)"
            )
        );
        assert_eq!(queuing(10, 64), "");
        assert_eq!(
            queuing(15, 17),
            format!(
                "{at}.handSize: Invalid value: 15: required entropy bits of deckSize 17 and handSize 15 should not be greater than 60"
            )
        );
    }

    #[test]
    fn defaults_and_fixed_specs() {
        let made = json!({"metadata": {"name": "l"}, "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}});
        assert_eq!(
            defaulted(&priority_level::PriorityLevelConfiguration, made)["spec"]["limited"],
            json!({"nominalConcurrencyShares": 30, "lendablePercent": 0, "limitResponse": {"type": "Queue", "queuing":
                {"handSize": 8, "queues": 64, "queueLengthLimit": 50}}})
        );
        let level = |name: &str, spec: Value| {
            problems(&priority_level::PriorityLevelConfiguration, json!({"metadata": {"name": name}, "spec": spec}))
        };
        assert_eq!(level("exempt", json!({"type": "Exempt", "exempt": {"lendablePercent": 5}})), Vec::<String>::new());
        let problem = level("catch-all", json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}));
        assert!(problem[0].ends_with("spec of 'catch-all' must equal the fixed value"), "{problem:?}");
    }
}
