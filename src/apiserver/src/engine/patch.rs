//! PATCH: JSON, merge and strategic merge patches, each against the version of the request.

use std::sync::Arc;

use api::decode::{self, FieldValidation};
use api::schema::{Schema, Type};
use api::{Object, Reason, Status, Value, convert, field, patch, schema};

use super::{Call, Engine, Part, SCALE, Served, meta};

/// A patch as it came.
#[derive(Debug, Clone)]
pub enum PatchBody {
    Json(Value),
    Merge(Value),
    Strategic(Value),
}

impl PatchBody {
    /// Errors with `UnsupportedMediaType` where `schema` is missing, as for custom resources.
    pub(super) fn apply(&self, tree: &mut Value, schema: Option<&'static Type>) -> Result<(), Status> {
        match self {
            PatchBody::Json(p) => patch::json(tree, p),
            PatchBody::Merge(p) => patch::merge(tree, p),
            PatchBody::Strategic(p) => match schema {
                Some(schema) => patch::strategic(tree, p, schema),
                None => Err(unsupported()),
            },
        }
    }
    fn text(&self) -> String {
        match self {
            PatchBody::Json(p) | PatchBody::Merge(p) | PatchBody::Strategic(p) => p.to_string(),
        }
    }
}

fn unsupported() -> Status {
    let text = "the body of the request was in an unknown format - accepted media types include: \
                application/json-patch+json, application/merge-patch+json";
    Status::new(Reason::UnsupportedMediaType, text)
}

/// A patch makes no other kind of an object. What it removes comes back, and a strategic patch's word is not looked at.
fn keep_claim(tree: &mut Value, [version, kind]: [Value; 2], body: &PatchBody) -> Result<(), Status> {
    let said = |key: &str| tree[key].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    if !matches!(body, PatchBody::Strategic(_)) {
        let (its_version, its_kind) = (said("apiVersion"), said("kind"));
        let other = |said: &Option<String>, own: &Value| said.as_deref().is_some_and(|s| own != s);
        if other(&its_version, &version) || other(&its_kind, &kind) {
            let text = |said: Option<String>, own: &Value| said.or(own.as_str().map(str::to_owned)).unwrap_or_default();
            let why = format!(
                "no kind {:?} is registered for version {:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
                text(its_kind, &kind),
                text(its_version, &version)
            );
            let error = field::Error::invalid(&field::Path::root("patch"), tree.to_string(), why);
            return Err(Status::invalid("", "", "", &[error]));
        }
    }
    if let Some(root) = tree.as_object_mut() {
        root.insert("apiVersion".into(), version);
        root.insert("kind".into(), kind);
    }
    Ok(())
}

/// The tree behind a patch, in the storage version and clean.
fn patched(
    served: &Served,
    old: &Object,
    body: &PatchBody,
    duplicates: &[String],
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let mut tree = old.tree();
    if !served.as_stored {
        convert::from_storage(&served.kind, &served.group, &served.version, &mut tree);
    }
    let claim = ["apiVersion", "kind"].map(|key| tree[key].clone());
    body.apply(&mut tree, served.own_schema.or(served.built_in))?;
    keep_claim(&mut tree, claim, body)?;
    let mut warnings = Vec::new();
    let mut check = |tree: &mut Value, schema: Option<Schema<'_>>, duplicates: Vec<String>| -> Result<(), Status> {
        if let Some(schema) = schema {
            warnings.extend(decode::patched(tree, schema, &body.text(), duplicates, validation)?);
        }
        Ok(())
    };
    match served.own_schema {
        None if served.as_stored => check(&mut tree, served.schema(), duplicates.to_vec())?,
        own => {
            check(&mut tree, own.map(Schema::Type), Vec::new())?;
            convert::to_storage(&served.kind, &served.group, &served.version, &mut tree);
            check(&mut tree, served.schema(), duplicates.to_vec())?;
        }
    }
    // what is still the object's own revision is no precondition
    let own = old.revision().to_string();
    if meta::text(&tree, "resourceVersion") == own {
        meta::metadata(&mut tree)?.remove("resourceVersion");
    }
    Ok((tree, warnings))
}

impl Engine {
    /// Patches a part of an object. A conflict is tried again against the newest object, unless the patch itself says which
    /// `resourceVersion` it wants.
    pub async fn patch(
        &self,
        call: &mut Call<'_>,
        part: Part,
        name: &str,
        body: &PatchBody,
        duplicates: Vec<String>,
        validation: FieldValidation,
    ) -> Result<Arc<Object>, Status> {
        let (served, namespace) = (call.served.clone(), call.namespace().to_owned());
        let mut warnings = Vec::new();
        let done = self
            .rewrite(call, part, name, |old| {
                let (tree, found) = patched(&served, old, body, &duplicates, validation)?;
                meta::check_name(&tree, &namespace, name)?;
                warnings = found;
                Ok(tree)
            })
            .await;
        call.warnings.extend(warnings);
        done
    }

    /// Patches `…/scale`.
    pub async fn patch_scale(&self, call: &mut Call<'_>, name: &str, body: &PatchBody) -> Result<Arc<Object>, Status> {
        self.rescale(call, name, |mut scale| {
            let before = scale["metadata"]["resourceVersion"].clone();
            let claim = ["apiVersion", "kind"].map(|key| scale[key].clone());
            body.apply(&mut scale, schema::find(SCALE))?;
            keep_claim(&mut scale, claim, body)?;
            if let Some(schema) = schema::find(SCALE) {
                decode::patched(&mut scale, schema, &body.text(), Vec::new(), FieldValidation::Ignore)?;
            }
            if scale["metadata"]["resourceVersion"] == before {
                meta::metadata(&mut scale)?.remove("resourceVersion");
            }
            Ok(scale)
        })
        .await
    }
}
