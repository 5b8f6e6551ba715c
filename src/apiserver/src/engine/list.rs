//! List: a snapshot, what a selector leaves of it, and how the next page goes on. Upstream's `storage.GetList`.

use std::sync::Arc;

use api::fields::FieldSelector;
use api::labels::Selector;
use api::{Cause, Object, Reason, Status};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use store::Snapshot;

use super::{Engine, Served};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionMatch {
    Exact,
    NotOlderThan,
}

/// `metav1.ListOptions`, parsed and checked.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    pub labels: Selector,
    pub fields: FieldSelector,
    /// 0: unlimited.
    pub limit: usize,
    /// `continue=`
    pub next: String,
    /// `resourceVersion=`; 0 stands for `""` and `"0"` alike: a list always shows the present at least.
    pub revision: u64,
    pub version_match: Option<VersionMatch>,
}

pub struct Listing {
    pub items: Vec<Arc<Object>>,
    /// Of the snapshot, from which a watch continues.
    pub revision: u64,
    pub next: String,
    /// `remainingItemCount`, where it is known.
    pub remaining: Option<usize>,
}

/// Why there is no list.
#[derive(Debug)]
pub enum ListFailure {
    Status(Status),
    /// The page's snapshot is gone. `next` goes on with the present instead.
    Expired {
        status: Status,
        next: String,
    },
}

impl ListFailure {
    pub fn into_status(self) -> Status {
        match self {
            ListFailure::Status(status) | ListFailure::Expired { status, .. } => status,
        }
    }
}
impl From<Status> for ListFailure {
    fn from(status: Status) -> Self {
        ListFailure::Status(status)
    }
}

/// Upstream's `continueToken`.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    v: String,
    /// -1: the present.
    rv: i64,
    /// `namespace/name` after which it goes on; without a namespace, `name`.
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";
const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new \
    list without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
    results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
    deleted between the time the first chunk was returned and now may show up in the list.";

impl Token {
    fn encode(revision: i64, start: &str) -> String {
        let token = Token { v: TOKEN_VERSION.into(), rv: revision, start: start.into() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token encodes"))
    }
    fn decode(text: &str) -> Result<Token, Status> {
        let bad = |why: &str| Status::bad_request(format!("continue key is not valid: {why}"));
        let raw = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|e| bad(&e.to_string()))?;
        let token: Token = serde_json::from_slice(&raw).map_err(|e| bad(&e.to_string()))?;
        match token.v.as_str() {
            TOKEN_VERSION if token.rv == 0 => {
                Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"))
            }
            TOKEN_VERSION => Ok(token),
            v => Err(bad(&format!("server does not recognize this encoded version {v:?}"))),
        }
    }
    fn start(&self) -> (&str, &str) {
        self.start.split_once('/').unwrap_or(("", &self.start))
    }
}

/// `NewTimeoutError` for a revision that is yet to come.
pub(super) fn too_large(asked: u64, current: u64) -> Status {
    let text = format!("Timeout: Too large resource version: {asked}, current: {current}");
    let mut status = Status::new(Reason::Timeout, text);
    status.retry_after_seconds = 1;
    let (reason, message) = ("ResourceVersionTooLarge".into(), "Too large resource version".into());
    status.causes = vec![Cause { reason, message, field: String::new() }];
    status
}

/// So many custom resources go to a conversion webhook at a time, where a selector must see what it makes of them.
const TOGETHER: usize = 500;

impl Engine {
    /// Errors with upstream's timeout where `revision` is yet to come.
    pub fn reached(&self, revision: u64) -> Result<(), Status> {
        let current = self.store.revision();
        if revision > current { Err(too_large(revision, current)) } else { Ok(()) }
    }

    /// `namespace` empty: all of them.
    pub async fn list(&self, served: &Served, namespace: &str, request: &ListRequest) -> Result<Listing, ListFailure> {
        let token = match request.next.as_str() {
            "" => None,
            text => Some(Token::decode(text)?),
        };
        let snapshot = self.snapshot(served, request, token.as_ref()).await?;
        let within = Some(namespace).filter(|n| !n.is_empty());
        let after = token.as_ref().map(Token::start);
        let mut rest = snapshot.range(within, after);
        let (labels, fields, strategy) = (&request.labels, &request.fields, served.kind.strategy.as_ref());
        let everything = labels.is_everything() && fields.is_everything();
        let selected = |o: &Object| everything || labels.matches(&o.meta().labels) && fields.matches(strategy, o);

        let within_labels = |o: &Object| labels.matches(&o.meta().labels);
        let mut items = Vec::new();
        if let (Some(name), Some(ns), None) = (fields.requires("metadata.name"), one_place(served, within), &token) {
            let there = snapshot.get(ns, name).filter(|o| within_labels(o)).cloned();
            let mut items = self.present_all(served, there.into_iter().collect()).await?;
            items.retain(|o| fields.matches(strategy, o));
            return Ok(Listing { items, revision: snapshot.revision(), next: String::new(), remaining: None });
        }
        let limit = if request.limit == 0 { usize::MAX } else { request.limit };
        if everything && within.is_none() && token.is_none() {
            items.reserve(snapshot.len().min(limit));
        }
        let mut more = false;
        if Engine::selects_presented(served, fields) {
            let labelled = rest.by_ref().filter(|o| within_labels(o));
            (items, more) = self.select_presented(served, labelled, fields, limit).await?;
        } else {
            for object in rest.by_ref().filter(|o| selected(o)) {
                if items.len() == limit {
                    more = true;
                    break;
                }
                items.push(object.clone());
            }
            items = self.present_all(served, items).await?;
        }
        let remaining = (more && everything).then(|| rest.count() + 1);
        let next = match items.last() {
            Some(last) if more => {
                let start = match last.namespace() {
                    "" => last.name().to_owned(),
                    ns => format!("{ns}/{}", last.name()),
                };
                Token::encode(snapshot.revision() as i64, &start)
            }
            _ => String::new(),
        };
        Ok(Listing { items, revision: snapshot.revision(), next, remaining })
    }

    /// What a selector leaves of custom resources in the version that is asked for, and whether there is more than `limit`.
    async fn select_presented(
        &self,
        served: &Served,
        mut stored: impl Iterator<Item = &Arc<Object>> + Send,
        fields: &FieldSelector,
        limit: usize,
    ) -> Result<(Vec<Arc<Object>>, bool), Status> {
        let mut items = Vec::new();
        loop {
            let together: Vec<_> = stored.by_ref().take(TOGETHER).cloned().collect();
            if together.is_empty() {
                return Ok((items, false));
            }
            let shown = self.present_all(served, together).await?;
            for object in shown.into_iter().filter(|o| fields.matches(served.kind.strategy.as_ref(), o)) {
                if items.len() == limit {
                    return Ok((items, true));
                }
                items.push(object);
            }
        }
    }

    async fn snapshot(
        &self,
        served: &Served,
        request: &ListRequest,
        token: Option<&Token>,
    ) -> Result<Snapshot, ListFailure> {
        let resource = &served.resource;
        if let Some(token) = token.filter(|t| t.rv > 0) {
            return self.store.snapshot_at(resource, token.rv as u64).await.map_err(|_| ListFailure::Expired {
                status: Status::expired(EXPIRED),
                next: Token::encode(-1, &token.start),
            });
        }
        self.reached(request.revision)?;
        if request.version_match == Some(VersionMatch::Exact) && request.revision > 0 {
            let old = "The resourceVersion for the provided list is too old.";
            return Ok(self.store.snapshot_at(resource, request.revision).await.map_err(|_| Status::expired(old))?);
        }
        Ok(self.store.snapshot(resource))
    }
}

/// The one namespace in which a name is unique.
fn one_place<'a>(served: &Served, namespace: Option<&'a str>) -> Option<&'a str> {
    if served.namespaced() { namespace } else { Some("") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_say_where_to_go_on() {
        let token = Token::decode(&Token::encode(7, "ns/a")).unwrap();
        assert_eq!((token.rv, token.start()), (7, ("ns", "a")));
        assert_eq!(Token::decode(&Token::encode(-1, "a")).unwrap().start(), ("", "a"));
        for bad in ["%", "e30", &Token::encode(0, "a")] {
            assert!(Token::decode(bad).unwrap_err().message.starts_with("continue key is not valid: "), "{bad}");
        }
    }
}
