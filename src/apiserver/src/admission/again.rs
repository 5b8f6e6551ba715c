//! Reinvocation: when a webhook or policy has changed an object, the plugins before it run once more, and with them those
//! webhooks and policies that ask for it. Upstream's `reinvocationContext`.

use std::collections::BTreeSet;

use api::Value;

/// Of one write.
#[derive(Debug, Default)]
pub struct Again {
    /// Something was changed in the first round.
    pub wanted: bool,
    /// This is the second round, the last.
    pub second: bool,
    pub policies: Invoked,
    pub webhooks: Invoked,
}

/// Those that ran and may run again: upstream's `webhookReinvokeContext`.
#[derive(Debug, Default)]
pub struct Invoked {
    may: BTreeSet<String>,
    must: BTreeSet<String>,
    /// What they left behind.
    output: Option<Value>,
}

impl Invoked {
    /// Begins a round: in the second, what changed since the first is a reason to run all that may.
    pub fn begin(&mut self, second: bool, object: &Value) {
        if second && self.output.as_ref().is_some_and(|o| o != object) {
            self.require();
        }
    }
    pub fn end(&mut self, object: &Value) {
        self.output = (!self.may.is_empty()).then(|| object.clone());
    }
    /// `RequireReinvokingPreviouslyInvokedPlugins`
    pub fn require(&mut self) {
        self.must.append(&mut self.may);
    }
    pub fn remember(&mut self, id: &str) {
        self.may.insert(id.to_owned());
    }
    /// Whether the second round has it.
    pub fn is_due(&self, id: &str) -> bool {
        self.must.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_ran_before_a_change_runs_again() {
        let mut i = Invoked::default();
        i.remember("a");
        // `b` changes the object
        i.require();
        i.remember("b");
        i.end(&json!(1));
        assert!(i.is_due("a") && !i.is_due("b"));
        i.begin(true, &json!(1));
        assert!(!i.is_due("b"), "nothing came between");
        i.begin(true, &json!(2));
        assert!(i.is_due("b"), "a plugin came between");
    }
}
