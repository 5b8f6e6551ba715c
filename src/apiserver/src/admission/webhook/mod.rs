//! Admission webhooks: who is called for a write, what is said and how the answer counts. Upstream's
//! `admission/plugin/webhook`.
//!
//! ```text
//!   write ── Matching: rules, selectors ── match conditions ──► review ──► WebhookClient ──► verdict
//!     mutating: one after the other, each sees what the one before it made      validating: all at once
//! ```

mod mutating;
mod review;
#[cfg(test)]
mod tests;
mod validating;

use std::time::Duration;

use api::{Object, Status, Value};

pub(super) use mutating::admit as mutate;
pub(super) use validating::admit as validate;

use super::conditions::{Bindings, Named, Trees, hold, named};
use super::counts::Count;
use super::extension::Extensions;
use super::rules::Matching;
use super::scene::{Invocation, Scene, Views};
use super::tree::{items, text};

/// One entry of a configuration's `webhooks`.
#[derive(Debug)]
pub struct Hook {
    pub name: String,
    pub configuration: String,
    /// Unlike a name it is one webhook's only: upstream's `GetUID`.
    id: String,
    client: Value,
    matching: Matching,
    conditions: Vec<Named>,
    /// `failurePolicy: Ignore`
    ignore: bool,
    timeout: Duration,
    /// A dry run may call it.
    harmless: bool,
    /// `reinvocationPolicy: IfNeeded`
    again: bool,
    /// Of `AdmissionReview`; `None`: it speaks none that is known.
    version: Option<&'static str>,
}

impl Hook {
    /// Those of a configuration.
    pub fn parse(configuration: &Object) -> Vec<Hook> {
        let tree = configuration.tree();
        let all = items(&tree, "/webhooks").iter().enumerate();
        all.map(|(i, v)| {
            let versions = items(v, "/admissionReviewVersions").iter();
            let version = versions.filter_map(|v| ["v1", "v1beta1"].into_iter().find(|known| v == known)).next();
            Hook {
                name: text(v, "/name").into(),
                configuration: configuration.name().into(),
                id: format!("{}/{i}/{}", configuration.name(), text(v, "/name")),
                client: v["clientConfig"].clone(),
                matching: Matching::of_webhook(v),
                conditions: named(v, "/matchConditions"),
                ignore: v["failurePolicy"] == "Ignore",
                timeout: Duration::from_secs(v["timeoutSeconds"].as_u64().unwrap_or(10)),
                harmless: matches!(text(v, "/sideEffects"), "None" | "NoneOnDryRun"),
                again: v["reinvocationPolicy"] == "IfNeeded",
                version,
            }
        })
        .collect()
    }

    /// How it is to be called, if it is: upstream's `ShouldCallHook`.
    async fn wanted(
        &self,
        x: &Extensions,
        s: &Scene<'_>,
        object: &Value,
    ) -> Result<Option<(Invocation, Views)>, Status> {
        let Some(invocation) = self.matching.find(s, object, &*x.lookup)? else { return Ok(None) };
        let views = s.views(object, &invocation.kind).await.map_err(Status::internal)?;
        if !self.conditions.is_empty() && !self.conditions_hold(x, s, &invocation, &views)? {
            return Ok(None);
        }
        Ok(Some((invocation, views)))
    }

    fn conditions_hold(&self, x: &Extensions, s: &Scene<'_>, i: &Invocation, views: &Views) -> Result<bool, Status> {
        let (request, namespace) = (Value::Object(s.request(i)), Value::Null);
        let trees = Trees {
            object: &views.object,
            old: &views.old,
            request: &request,
            params: &Value::Null,
            namespace: &namespace,
        };
        let on = Bindings::new(trees, s, &x.authorizer, &[]);
        let a = s.attributes;
        hold(&self.conditions, &on, self.ignore).map_err(|e| Status::forbidden(&a.group, &a.resource, &s.name, &e))
    }
}

/// Why a call came to nothing.
enum Failed {
    /// `ErrCallingWebhook`: what `failurePolicy` is about.
    Call(String),
    /// The webhook said no, or the server cannot go on whatever the policy.
    Refused(Status),
}

impl Hook {
    fn failed(&self, why: impl std::fmt::Display) -> Failed {
        Failed::Call(format!("failed calling webhook {:?}: {why}", self.name))
    }

    /// One call, counted.
    async fn call(
        &self,
        x: &Extensions,
        s: &Scene<'_>,
        wanted: &(Invocation, Views),
        mutating: bool,
    ) -> Result<review::Verdict, Failed> {
        let done = self.ask(x, s, wanted, mutating).await;
        let of = if mutating { "admit" } else { "validating" };
        let (code, rejected, why) = match &done {
            Ok(v) if v.allowed => ("200".to_owned(), false, ""),
            Ok(v) => (review::refusal(&self.name, &v.status).code.to_string(), true, "no_error"),
            Err(Failed::Refused(status)) => (status.code.to_string(), true, "apiserver_internal_error"),
            Err(Failed::Call(_)) => ("500".to_owned(), !self.ignore, "calling_webhook_error"),
        };
        let (name, operation) = (self.name.as_str(), s.operation.as_str());
        let rejected_text = if rejected { "true" } else { "false" };
        let labels = [
            ("code", code.as_str()),
            ("name", name),
            ("operation", operation),
            ("rejected", rejected_text),
            ("type", of),
        ];
        x.counts.add(Count::Request, &labels);
        if rejected {
            // of a call that failed there is none
            let code = if why == "calling_webhook_error" { "0" } else { code.as_str() };
            let labels =
                [("error_type", why), ("name", name), ("operation", operation), ("rejection_code", code), ("type", of)];
            x.counts.add(Count::Rejection, &labels);
        } else if !why.is_empty() {
            x.counts.add(Count::FailOpen, &[("name", name), ("type", of)]);
        }
        done
    }

    /// The verdict of a webhook.
    async fn ask(
        &self,
        x: &Extensions,
        s: &Scene<'_>,
        (invocation, views): &(Invocation, Views),
        mutating: bool,
    ) -> Result<review::Verdict, Failed> {
        if s.dry_run && !self.harmless {
            let why = format!("admission webhook {:?} does not support dry run", self.name);
            return Err(Failed::Refused(Status::bad_request(why)));
        }
        let Some(version) = self.version else {
            let why = "webhook does not accept known AdmissionReview versions (v1, v1beta1)";
            return Err(self.failed(format!("could not create admission objects: {why}")));
        };
        let uid = uuid::Uuid::new_v4().to_string();
        let body = review::body(version, &uid, s.request(invocation), views);
        let answer = x.client.post(&self.client, body, self.timeout).await;
        let answer = answer.map_err(|e| self.failed(format!("failed to call webhook: {e}")))?;
        let verdict = review::read(answer, version, &uid, mutating);
        let verdict = verdict.map_err(|e| self.failed(format!("received invalid webhook response: {e}")))?;
        for (key, value) in &verdict.annotations {
            crate::audit::annotate(&format!("{}/{key}", self.name), value);
        }
        Ok(verdict)
    }
}
