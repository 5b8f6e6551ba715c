//! From a [`Target`] and its options to a path and a query.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{ListOptions, Target, WriteOptions};

/// What a path segment may hold as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// `/api/v1/namespaces/default/pods/x/status`
pub fn path(target: &Target) -> String {
    let r = &target.resource;
    let mut path = match r.group.as_str() {
        "" => format!("/api/{}", r.version),
        group => format!("/apis/{group}/{}", r.version),
    };
    let namespace = if target.namespace.is_empty() { "" } else { "namespaces" };
    for segment in [namespace, &target.namespace, &r.resource, &target.name, target.subresource] {
        if !segment.is_empty() {
            path.push('/');
            path.extend(utf8_percent_encode(segment, SEGMENT));
        }
    }
    path
}

pub struct Query(String);

impl Query {
    pub fn new() -> Query {
        Query(String::new())
    }
    pub fn write(options: &WriteOptions) -> Query {
        let mut query = Query::new();
        query.add("fieldManager", &options.field_manager);
        query.add("dryRun", if options.dry_run { "All" } else { "" });
        query
    }
    /// An empty value is left out.
    pub fn add(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            let mut query = form_urlencoded::Serializer::new(std::mem::take(&mut self.0));
            self.0 = query.append_pair(key, value).finish();
        }
    }
    pub fn select(&mut self, options: &ListOptions) {
        self.add("labelSelector", &options.labels);
        self.add("fieldSelector", &options.fields);
    }
    /// `path?query`
    pub fn after(&self, path: String) -> String {
        if self.0.is_empty() { path } else { format!("{path}?{}", self.0) }
    }
}
