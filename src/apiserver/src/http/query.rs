//! The query of a request, and the options in it.

use api::decode::FieldValidation;
use api::fields::FieldSelector;
use api::labels::Selector;
use std::time::Duration;

use api::{Kind, Status, field};
use jiff::SignedDuration;

use crate::engine::{Initial, ListRequest, VersionMatch};

/// `FieldManagerMaxLength`
const MANAGER_MAX: usize = 128;

/// Go's `unicode.IsPrint`, near enough: no controls, of the spaces the plain one.
fn is_print(c: char) -> bool {
    !c.is_control() && (c == ' ' || !c.is_whitespace())
}

/// The manager where none is said: the user agent up to its first slash, upstream's `prefixFromUserAgent`.
pub(crate) fn manager_of_agent(agent: &str) -> String {
    let mut name = String::new();
    for c in agent.split('/').next().unwrap_or_default().chars().filter(|c| is_print(*c)) {
        if name.len() + c.len_utf8() > MANAGER_MAX {
            break;
        }
        name.push(c);
    }
    name
}

/// Decoded pairs, in order.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: Option<&str>) -> Query {
        let pairs = form_urlencoded::parse(text.unwrap_or_default().as_bytes());
        Query(pairs.map(|(k, v)| (k.into_owned(), v.into_owned())).collect())
    }
    /// The first value; empty if there is none.
    pub fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v)
    }
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }
    /// Go's `Convert_Slice_string_To_bool`: present and not `false` or `0`.
    pub fn flag(&self, key: &str) -> bool {
        self.0.iter().find(|(k, _)| k == key).is_some_and(|(_, v)| !matches!(v.as_str(), "false" | "0"))
    }
    fn number(&self, key: &str) -> Result<Option<i64>, Status> {
        match self.get(key) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                let why =
                    if text.bytes().all(|c| c.is_ascii_digit()) { "value out of range" } else { "invalid syntax" };
                Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
            }),
        }
    }

    /// `dryRun=All`
    pub fn dry_run(&self, options: &str) -> Result<bool, Status> {
        let mut all = self.all("dryRun").peekable();
        let any = all.peek().is_some();
        match all.find(|v| *v != "All") {
            Some(v) => {
                let error = field::Error::not_supported(&field::Path::root("dryRun"), vec![v], &["All"]);
                Err(Status::invalid("meta.k8s.io", options, "", &[error]))
            }
            None => Ok(any),
        }
    }
    pub fn field_validation(&self, options: &str) -> Result<FieldValidation, Status> {
        self.get("fieldValidation").parse().map_err(|e| Status::invalid("meta.k8s.io", options, "", &[e]))
    }
    /// Whether it is said at all.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(k, _)| k == key)
    }
    /// `fieldManager=`, checked (`ValidateFieldManager`); empty: not said.
    pub fn field_manager(&self, options: &str) -> Result<&str, Status> {
        let (manager, path) = (self.get("fieldManager"), field::Path::root("fieldManager"));
        let mut errors = Vec::new();
        if manager.len() > MANAGER_MAX {
            errors.push(field::Error::too_long(&path, MANAGER_MAX));
        }
        errors.extend(manager.char_indices().filter(|(_, c)| !is_print(*c)).map(|(at, c)| {
            let why = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
            field::Error::invalid(&path, manager, why)
        }));
        if errors.is_empty() {
            return Ok(manager);
        }
        Err(Status::invalid("meta.k8s.io", options, "", &errors))
    }
    pub fn timeout_seconds(&self) -> Result<Option<u64>, Status> {
        Ok(self.number("timeoutSeconds")?.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0))
    }
    /// `timeout=`, of a request that ends by itself: Go's duration, at most `most`.
    pub fn timeout(&self, most: Duration) -> Result<Duration, Status> {
        let invalid = |why: &dyn std::fmt::Display| {
            Status::bad_request(format!("invalid timeout specified in the request URL - {why}"))
        };
        match self.get("timeout") {
            "" | "0" => Ok(most),
            text => {
                let asked: SignedDuration = text.parse().map_err(|e: jiff::Error| invalid(&e))?;
                let asked = Duration::try_from(asked).map_err(|_| invalid(&"it is negative"))?;
                Ok(if asked.is_zero() { most } else { asked.min(most) })
            }
        }
    }
    pub fn grace_seconds(&self) -> Result<Option<i64>, Status> {
        self.number("gracePeriodSeconds")
    }
    /// The one object that a list or watch names by its field selector, for authorization.
    pub fn selected_name(&self) -> Option<String> {
        let selector = FieldSelector::parse(self.get("fieldSelector")).ok()?;
        selector.requires("metadata.name").map(str::to_owned)
    }

    pub fn selectors(&self, kind: &Kind) -> Result<(Selector, FieldSelector), Status> {
        let labels = match self.get("labelSelector") {
            "" => Selector::everything(),
            text => Selector::parse(text).map_err(|e| Status::bad_request(e.to_string()))?,
        };
        let fields = match self.get("fieldSelector") {
            "" => FieldSelector::default(),
            text => FieldSelector::for_kind(text, kind)?,
        };
        Ok((labels, fields))
    }

    /// `resourceVersion=`: no older than that. 0: any.
    pub fn version(&self) -> Result<u64, Status> {
        match self.get("resourceVersion") {
            "" => Ok(0),
            text => text.parse().map_err(|_| {
                let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
                let error = field::Error::invalid(&field::Path::root("resourceVersion"), text, why);
                Status::invalid("", "", "", &[error])
            }),
        }
    }

    /// `ValidateListOptions`, for a list.
    pub fn list(&self, kind: &Kind) -> Result<ListRequest, Status> {
        let (labels, fields) = self.selectors(kind)?;
        let (version, next, asked) =
            (self.get("resourceVersion"), self.get("continue"), self.get("resourceVersionMatch"));
        let path = field::Path::root("resourceVersionMatch");
        let mut errors = Vec::new();
        if !asked.is_empty() {
            if version.is_empty() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                errors.push(field::Error::forbidden(&path, why));
            }
            if !next.is_empty() {
                errors.push(field::Error::forbidden(
                    &path,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
            if !matches!(asked, "Exact" | "NotOlderThan") {
                errors.push(field::Error::not_supported(&path, asked, &["Exact", "NotOlderThan"]));
            }
            if asked == "Exact" && version == "0" {
                let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                errors.push(field::Error::forbidden(&path, why));
            }
        }
        if self.flag("sendInitialEvents") {
            let path = field::Path::root("sendInitialEvents");
            errors.push(field::Error::forbidden(&path, "sendInitialEvents is forbidden for list"));
        }
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors));
        }
        if !next.is_empty() && !matches!(version, "" | "0") {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        let version_match = match asked {
            "Exact" => Some(VersionMatch::Exact),
            "NotOlderThan" => Some(VersionMatch::NotOlderThan),
            // a page at a revision is exactly that one
            _ if self.number("limit")?.unwrap_or(0) > 0 && !matches!(version, "" | "0") => Some(VersionMatch::Exact),
            _ => None,
        };
        let limit = match self.number("limit")?.unwrap_or(0).max(0) as usize {
            // "any version" is answered whole, as upstream's watch cache does
            _ if version == "0" && version_match != Some(VersionMatch::Exact) => 0,
            limit => limit,
        };
        Ok(ListRequest { labels, fields, limit, next: next.into(), revision: self.version()?, version_match })
    }

    /// `ValidateListOptions`, for a watch: with what it begins.
    pub fn initial(&self) -> Result<Initial, Status> {
        let (version, asked) = (self.get("resourceVersion"), self.get("resourceVersionMatch"));
        let given = self.0.iter().any(|(k, _)| k == "sendInitialEvents");
        let path = field::Path::root("resourceVersionMatch");
        let mut errors = Vec::new();
        if given {
            if asked != "NotOlderThan" {
                let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                errors.push(field::Error::forbidden(&path, why));
            }
        } else if !asked.is_empty() {
            errors.push(field::Error::forbidden(
                &path,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if !self.get("continue").is_empty() {
            errors.push(field::Error::forbidden(&field::Path::root("continue"), "continue is forbidden for watch"));
        }
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors));
        }
        let revision = self.version()?;
        Ok(match given {
            true if self.flag("sendInitialEvents") => Initial::StateAndBookmark(revision),
            // explicitly none: from now on
            true if revision == 0 => Initial::Now,
            false if matches!(version, "" | "0") => Initial::State,
            _ => Initial::After(revision),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_managers_are_checked() {
        let check = |manager: &str| {
            let text = form_urlencoded::Serializer::new(String::new()).append_pair("fieldManager", manager).finish();
            Query::parse(Some(&text)).field_manager("PatchOptions").map(str::to_owned).map_err(|e| e.message)
        };
        assert_eq!(check("kubectl edit \u{e9}").unwrap(), "kubectl edit \u{e9}");
        assert_eq!(check("").unwrap(), "");
        let head = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: ";
        assert_eq!(
            check("a\tb").unwrap_err(),
            format!("{head}Invalid value: \"a\\tb\": invalid character U+0009 (at position 1)")
        );
        assert!(check(&"x".repeat(129)).unwrap_err().starts_with(&format!("{head}Too long")));
        assert_eq!(manager_of_agent("kube\tctl/v1.32 (linux)"), "kubectl");
        assert_eq!(manager_of_agent(&"\u{e9}".repeat(80)).len(), 128);
    }

    #[test]
    fn list_options_are_checked() {
        let registry = api::kinds::registry();
        let pods = registry.resource("", "v1", "pods").unwrap();
        for (query, want) in [
            ("resourceVersionMatch=Exact", "resourceVersionMatch is forbidden unless resourceVersion is provided"),
            ("resourceVersion=0&resourceVersionMatch=Exact", "is forbidden for resourceVersion \"0\""),
            ("resourceVersion=1&resourceVersionMatch=x", "Unsupported value: \"x\""),
            ("resourceVersion=x", "Invalid value: \"x\""),
            ("continue=a&resourceVersion=5", "specifying resource version is not allowed when using continue"),
            ("labelSelector=a in", "unable to parse requirement"),
            ("fieldSelector=x=1", "field label not supported: x"),
            ("sendInitialEvents=true", "sendInitialEvents is forbidden for list"),
        ] {
            let error = Query::parse(Some(query)).list(pods).unwrap_err();
            assert!(error.message.contains(want), "{query}: {}", error.message);
        }
        let all = Query::parse(Some("limit=5&resourceVersion=0")).list(pods).unwrap();
        assert_eq!((all.limit, all.revision), (0, 0));
        let page = Query::parse(Some("limit=5&labelSelector=a%3Db")).list(pods).unwrap();
        assert_eq!((page.limit, page.labels.is_everything()), (5, false));
    }

    #[test]
    fn a_timeout_is_a_bounded_duration() {
        let most = Duration::from_secs(60);
        for (query, want) in [
            ("", Some(60_000)),
            ("timeout=0", Some(60_000)),
            ("timeout=32s", Some(32_000)),
            ("timeout=1m30s", Some(60_000)),
            ("timeout=250ms", Some(250)),
            ("timeout=nonsense", None),
            ("timeout=-5s", None),
        ] {
            let got = Query::parse(Some(query)).timeout(most);
            assert_eq!(got.ok().map(|d| d.as_millis()), want, "{query}");
        }
    }

    #[test]
    fn a_watch_begins_where_it_is_told() {
        for (query, want) in [
            ("", Initial::State),
            ("resourceVersion=0", Initial::State),
            ("resourceVersion=7", Initial::After(7)),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", Initial::StateAndBookmark(0)),
            ("sendInitialEvents=false&resourceVersionMatch=NotOlderThan", Initial::Now),
        ] {
            assert_eq!(Query::parse(Some(query)).initial().unwrap(), want, "{query}");
        }
        assert_eq!(Query::parse(Some("sendInitialEvents=true")).initial().unwrap_err().code, 422);
        assert_eq!(Query::parse(Some("resourceVersion=5&resourceVersionMatch=Exact")).initial().unwrap_err().code, 422);
    }
}
