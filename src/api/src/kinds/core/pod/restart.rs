//! When a container is to be started anew: `validateContainerRestartPolicy`.

use serde_json::Value;

use crate::field::{Error, Path};
use crate::kinds::tree::{has, items, text};

const MOST_RULES: usize = 20;
const MOST_CODES: usize = 255;

pub(super) fn validate(errors: &mut Vec<Error>, path: &Path, c: &Value) {
    const POLICIES: &[&str] = &["Always", "Never", "OnFailure"];
    const ACTIONS: &[&str] = &["Restart", "RestartAllContainers"];
    const OPERATORS: &[&str] = &["In", "NotIn"];
    let (policy, rules) = (text(c, "restartPolicy"), items(c, "restartPolicyRules"));
    let at = path.child("restartPolicy");
    if !has(c, "restartPolicy") {
        if !rules.is_empty() {
            errors.push(Error::required(&at, "must specify restartPolicy when restart rules are used"));
        }
    } else if !POLICIES.contains(&policy) {
        errors.push(Error::not_supported(&at, policy, POLICIES));
    }
    let list = path.child("restartPolicyRules");
    if rules.len() > MOST_RULES {
        errors.push(Error::too_many(&list, rules.len(), MOST_RULES));
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = list.index(i);
        let action = text(rule, "action");
        if !ACTIONS.contains(&action) {
            errors.push(Error::not_supported(&path.child("action"), action, ACTIONS));
        }
        let (codes, at) = (&rule["exitCodes"], path.child("exitCodes"));
        if codes.is_null() {
            errors.push(Error::required(&at, "must be specified"));
            continue;
        }
        let operator = text(codes, "operator");
        if !OPERATORS.contains(&operator) {
            errors.push(Error::not_supported(&at.child("operator"), operator, OPERATORS));
        }
        let count = items(codes, "values").len();
        if count > MOST_CODES {
            errors.push(Error::too_many(&at.child("values"), count, MOST_CODES));
        }
    }
}
