//! Priority levels: upstream's `pkg/apis/flowcontrol/validation` and its printer.

use serde_json::{Value, json};

use super::flow_schema::conditions;
use crate::Strategy;
use crate::field::{Error, Path};
use crate::kinds::table::{NONE, name};
use crate::kinds::tree::{child, has, number, or, or_zero, some, text};
use crate::strategy::{AGE, Column, NAME, age, set};

pub(super) struct PriorityLevelConfiguration;

impl Strategy for PriorityLevelConfiguration {
    fn default(&self, level: &mut Value) {
        let Some(spec) = child(level, "spec") else { return };
        if let Some(exempt) = child(spec, "exempt") {
            or(exempt, "nominalConcurrencyShares", 0);
            or(exempt, "lendablePercent", 0);
        }
        let Some(limited) = child(spec, "limited") else { return };
        or(limited, "nominalConcurrencyShares", 30);
        or(limited, "lendablePercent", 0);
        if let Some(queuing) = child(limited, "limitResponse").and_then(|r| child(r, "queuing")) {
            or_zero(queuing, "handSize", 8);
            or_zero(queuing, "queues", 64);
            or_zero(queuing, "queueLengthLimit", 50);
        }
    }
    fn prepare_create(&self, level: &mut Value) {
        set(level, "status", Some(json!({})));
    }
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, level: &Value) -> Vec<Error> {
        let mut errors = Vec::new();
        let (spec, path) = (&level["spec"], Path::root("spec"));
        let (its_name, kind, at) = (text(&level["metadata"], "name"), text(spec, "type"), path.child("type"));
        if (its_name == "exempt") != (kind == "Exempt") {
            errors.push(Error::invalid(&at, kind, "type must be 'Exempt' if and only if name is 'exempt'"));
        }
        let (limited, exempt) = (path.child("limited"), path.child("exempt"));
        match kind {
            "Exempt" => {
                if has(spec, "limited") {
                    errors.push(Error::forbidden(&limited, "must be nil if the type is Exempt"));
                }
                shares(&mut errors, &exempt, &spec["exempt"]);
            }
            "Limited" => {
                if has(spec, "exempt") {
                    errors.push(Error::forbidden(&exempt, "must be nil if the type is Limited"));
                }
                match some(spec, "limited") {
                    None => errors.push(Error::required(&limited, "must not be empty when type is Limited")),
                    Some(of) => limits(&mut errors, &limited, of),
                }
            }
            other => errors.push(Error::not_supported(&at, other, &["Exempt", "Limited"])),
        }
        // how many seats the exempt may lend is the administrator's to say
        let mut plain = level.clone();
        if let (Some(spec), "exempt") = (child(&mut plain, "spec"), its_name) {
            set(spec, "exempt", None);
        }
        let mandatory = [
            ("exempt", json!({"type": "Exempt"})),
            (
                "catch-all",
                json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}}}),
            ),
        ];
        super::fixed(&mut errors, &plain, mandatory);
        errors
    }
    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<Error> {
        conditions(&new["status"])
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                Column::new("Type", "string"),
                Column::new("NominalConcurrencyShares", "string"),
                Column::new("Queues", "string"),
                Column::new("HandSize", "string"),
                Column::new("QueueLengthLimit", "string"),
                AGE,
            ]
        }
    }
    fn cells(&self, level: &Value, now_seconds: i64) -> Vec<Value> {
        let spec = &level["spec"];
        let part = if has(spec, "limited") { &spec["limited"] } else { &spec["exempt"] };
        let queuing = &part["limitResponse"]["queuing"];
        let shown = |v: &Value| if v.is_null() { NONE.into() } else { v.clone() };
        vec![
            name(level),
            text(spec, "type").into(),
            shown(&part["nominalConcurrencyShares"]),
            shown(&queuing["queues"]),
            shown(&queuing["handSize"]),
            shown(&queuing["queueLengthLimit"]),
            age(level, now_seconds),
        ]
    }
}

fn shares(errors: &mut Vec<Error>, path: &Path, part: &Value) {
    let of = |key: &str| number(part, key);
    if of("nominalConcurrencyShares") < 0 {
        let at = path.child("nominalConcurrencyShares");
        errors.push(Error::invalid(&at, of("nominalConcurrencyShares"), "must be a non-negative integer"));
    }
    if !(0..=100).contains(&of("lendablePercent")) {
        let at = path.child("lendablePercent");
        errors.push(Error::invalid(&at, of("lendablePercent"), "must be between 0 and 100, inclusive"));
    }
}

/// `ValidateLimitedPriorityLevelConfiguration`
fn limits(errors: &mut Vec<Error>, path: &Path, limited: &Value) {
    shares(errors, path, limited);
    if number(limited, "borrowingLimitPercent") < 0 {
        let at = path.child("borrowingLimitPercent");
        let detail = "if specified, must be a non-negative integer";
        errors.push(Error::invalid(&at, number(limited, "borrowingLimitPercent"), detail));
    }
    let (response, path) = (&limited["limitResponse"], path.child("limitResponse"));
    let at = path.child("queuing");
    match text(response, "type") {
        "Reject" if has(response, "queuing") => {
            errors.push(Error::forbidden(&at, "must be nil if limited.limitResponse.type is not Limited"));
        }
        "Reject" => {}
        "Queue" => match some(response, "queuing") {
            None => errors.push(Error::required(&at, "must not be empty if limited.limitResponse.type is Limited")),
            Some(queuing) => queues(errors, &at, queuing),
        },
        other => errors.push(Error::not_supported(&path.child("type"), other, &["Queue", "Reject"])),
    }
}

/// `priorityLevelConfigurationQueuingMaxQueues`
const MOST_QUEUES: i64 = 10_000_000;

/// `ValidatePriorityLevelQueuingConfiguration`
fn queues(errors: &mut Vec<Error>, path: &Path, queuing: &Value) {
    let of = |key: &str| number(queuing, key);
    let (queues, hand) = (of("queues"), of("handSize"));
    for (key, most) in [("queueLengthLimit", i64::MAX), ("queues", MOST_QUEUES)] {
        let at = path.child(key);
        if of(key) <= 0 {
            errors.push(Error::invalid(&at, of(key), "must be positive"));
        } else if of(key) > most {
            errors.push(Error::invalid(&at, of(key), format!("must not be greater than {most}")));
        }
    }
    if hand <= 0 {
        errors.push(Error::invalid(&path.child("handSize"), hand, "must be positive"));
    } else if hand > queues {
        let detail = format!("should not be greater than queues ({queues})");
        errors.push(Error::invalid(&path.child("handSize"), hand, detail));
    } else if ((queues as f64).log2() * hand as f64).ceil() > 60.0 {
        let detail =
            format!("required entropy bits of deckSize {queues} and handSize {hand} should not be greater than 60");
        errors.push(Error::invalid(&path.child("handSize"), hand, detail));
    }
}
