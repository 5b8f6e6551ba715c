//! What a kind does of its own, where the generic engine asks: upstream's `rest.RESTCreateUpdateStrategy`.

use serde_json::{Value, json};

use crate::{Object, field};

/// One column of a kind's table, upstream's `TableColumnDefinition`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    pub kind: &'static str,
    /// `name` for the name column, else empty.
    pub format: &'static str,
    /// 0: always shown; 1: only in `-o wide`.
    pub priority: i32,
    pub description: &'static str,
}

impl Column {
    pub const fn new(name: &'static str, kind: &'static str) -> Column {
        Column { name, kind, format: "", priority: 0, description: "" }
    }
    pub const fn wide(name: &'static str, kind: &'static str) -> Column {
        Column { name, kind, format: "", priority: 1, description: "" }
    }
    /// As a table shows it.
    pub fn definition(&self) -> Value {
        let Column { name, kind, format, priority, description } = self;
        json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority})
    }
}

/// The columns of a kind that has none of its own: `Name`, `Created At`.
pub const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    priority: 0,
    description: "Name must be unique within a namespace.",
};
pub const AGE: Column = Column::new("Age", "string");

/// `autoscaling/v1` Scale, as far as a kind knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    pub replicas: i64,
    pub status_replicas: i64,
    /// In the syntax of `labelSelector=`.
    pub selector: String,
}

/// A kind's own rules, on trees in its storage version. Every method has the default of a kind without any.
///
/// The engine calls, on create: `default`, (admission), `prepare_create`, `validate`; on update: `default`, (admission),
/// `prepare_update`, `validate`, `validate_update`. Metadata is the engine's own business.
pub trait Strategy: Send + Sync + 'static {
    /// Fills in upstream's defaults (`zz_generated.defaults.go` and `defaults.go` of the kind).
    fn default(&self, _object: &mut Value) {}

    /// Clears what a client may not set on create, `status` above all. The engine sets `generation` to 1 for kinds
    /// where [`Strategy::has_generation`].
    fn prepare_create(&self, object: &mut Value) {
        if let (true, Some(o)) = (self.has_status(), object.as_object_mut()) {
            o.remove("status");
        }
    }

    /// Carries over from `old` what an update of the main resource may not touch, `status` above all.
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        if self.has_status() {
            copy(new, old, "status");
        }
    }

    /// Carries over from `old` what an update of `…/status` may not touch: all but `status` (and metadata, which the
    /// engine handles).
    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        let status = new.get("status").cloned();
        let metadata = new.get("metadata").cloned();
        *new = old.clone();
        set(new, "status", status);
        set(new, "metadata", metadata);
    }

    /// Checks a whole object, as on create.
    fn validate(&self, _object: &Value) -> Vec<field::Error> {
        Vec::new()
    }
    /// Checks what may not change.
    fn validate_update(&self, _new: &Value, _old: &Value) -> Vec<field::Error> {
        Vec::new()
    }
    /// Everything that holds for the object that an update makes.
    fn check_update(&self, new: &Value, old: &Value) -> Vec<field::Error> {
        let mut errors = self.validate(new);
        errors.extend(self.validate_update(new, old));
        errors
    }
    /// What the group and version of the request ask for beyond that, on create (`old` absent) and update.
    fn validate_version(&self, _version: (&str, &str), _new: &Value, _old: Option<&Value>) -> Vec<field::Error> {
        Vec::new()
    }
    fn validate_status_update(&self, _new: &Value, _old: &Value) -> Vec<field::Error> {
        Vec::new()
    }

    /// Checks a name; the default is `NameIsDNSSubdomain`. `prefix`: it is a `generateName`. Returns what is wrong.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        crate::names::dns_subdomain(name, prefix)
    }

    /// Whether the main resource leaves `status` to `…/status`.
    fn has_status(&self) -> bool {
        true
    }
    /// Whether `metadata.generation` counts changes outside metadata and status.
    fn has_generation(&self) -> bool {
        false
    }
    /// Whether a PUT to a name that does not exist creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }
    /// Whether a PUT without `resourceVersion` overwrites.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// The grace period of a delete in seconds; `None`: the kind is deleted at once. `asked` is what the client said.
    fn grace_period_seconds(&self, _object: &Value, _asked: Option<i64>) -> Option<i64> {
        None
    }

    /// Fields that field selectors may name beside `metadata.name` and `metadata.namespace`, with their values.
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[]
    }
    fn is_selectable(&self, field: &str) -> bool {
        self.selectable_fields().contains(&field)
    }
    /// Why a field is not selectable, in upstream's words.
    fn unselectable(&self, field: &str) -> String {
        if self.selectable_fields().is_empty() {
            format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        } else {
            format!("field label not supported: {field}")
        }
    }
    /// The value of a selectable field; absent fields read as the empty string.
    fn select_field(&self, object: &Value, field: &str) -> String {
        field_text(object, field)
    }
    /// The same of a stored object, where it need not be parsed for it: every watcher of many looks at every change.
    fn stored_field<'a>(&self, _object: &'a Object, _field: &str) -> Option<&'a str> {
        None
    }

    /// What `…/scale` shows, for kinds with that subresource.
    fn scale(&self, _object: &Value) -> Option<Scale> {
        None
    }
    /// Sets what `…/scale` changes.
    fn set_replicas(&self, object: &mut Value, replicas: i64) {
        if let Some(spec) = object.get_mut("spec") {
            set(spec, "replicas", Some(replicas.into()));
        }
    }

    /// The table's columns, name first, age where upstream has it.
    fn columns(&self) -> &'static [Column] {
        &[NAME, AGE]
    }
    /// The columns as a table shows them.
    fn column_definitions(&self) -> Value {
        self.columns().iter().map(Column::definition).collect()
    }
    /// A cell for each column. `now_seconds`: Unix time, for ages.
    fn cells(&self, object: &Value, now_seconds: i64) -> Vec<Value> {
        vec![object["metadata"]["name"].clone(), age(object, now_seconds)]
    }
}

/// A kind without rules of its own.
pub struct NoStrategy;
impl Strategy for NoStrategy {}

/// The text of `spec.nodeName` and its like, empty where it is absent.
pub(crate) fn field_text(object: &Value, field: &str) -> String {
    match field.split('.').try_fold(object, |v, key| v.get(key)) {
        Some(Value::String(s)) => s.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// `new[key] = old[key]`, removing it where `old` has none.
pub fn copy(new: &mut Value, old: &Value, key: &str) {
    set(new, key, old.get(key).cloned());
}

/// Sets or, with `None`, removes a member of an object.
pub fn set(object: &mut Value, key: &str, value: Option<Value>) {
    if let Some(o) = object.as_object_mut() {
        match value {
            Some(v) => drop(o.insert(key.to_owned(), v)),
            None => drop(o.remove(key)),
        }
    }
}

/// The age cell: `translateTimestampSince(creationTimestamp)`.
pub fn age(object: &Value, now_seconds: i64) -> Value {
    let created = object["metadata"]["creationTimestamp"].as_str().and_then(|t| t.parse::<jiff::Timestamp>().ok());
    Value::String(created.map_or("<unknown>".into(), |t| human_duration(now_seconds - t.as_second())))
}

/// Upstream's `duration.HumanDuration`: `5s`, `2m3s`, `4h`, `3d4h`, `2y10d`.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |a: i64, ua: &str, b: i64, ub: &str| if b == 0 { format!("{a}{ua}") } else { format!("{a}{ua}{b}{ub}") };
    match seconds {
        i64::MIN..=-2 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(days, "d", hours % 24, "h"),
        _ if days < 365 * 2 => format!("{days}d"),
        _ if days < 365 * 8 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}
