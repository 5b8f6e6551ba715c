//! `…/scale`

use std::sync::Arc;

use api::{Status, decode, schema};
use http::Response;

use super::write::{APPLY, applier, unforced};
use crate::Verb;
use crate::engine::{Call, SCALE, Served, scale_of};
use crate::http::front::{Admitted, Front};
use crate::http::negotiate::Format;
use crate::http::output::{self, Wanted};
use crate::http::{Body, input, negotiate};

fn answer(wanted: &Wanted, served: &Served, call: &Call<'_>, object: &api::Object) -> Result<Response<Body>, Status> {
    let mut scale = scale_of(call, object)?;
    if !served.as_stored {
        api::convert::scale_from_v1(&served.group, &served.version, &mut scale);
    }
    let mut answer = output::tree(wanted, 200, &scale);
    output::warn(&mut answer, &call.warnings);
    Ok(answer)
}

pub(super) async fn get(front: &Front, a: Admitted, served: &Arc<Served>) -> Result<Response<Body>, Status> {
    let wanted = a.wanted()?;
    let call = Call::new(&a.attributes, served, false);
    let object = front.engine.get_one(&call, &a.info.name).await?;
    answer(&wanted, served, &call, &object)
}

pub(super) async fn write(front: &Front, a: Admitted, served: &Arc<Served>) -> Result<Response<Body>, Status> {
    let (wanted, name) = (a.wanted()?, a.info.name.clone());
    let options = if a.attributes.verb == Verb::Patch { "PatchOptions" } else { "UpdateOptions" };
    let (dry_run, validation) = (a.query.dry_run(options)?, a.query.field_validation(options)?);
    let media = negotiate::media_type(a.request.headers());
    if a.attributes.verb == Verb::Patch && media != APPLY {
        unforced(&a.query)?;
        let manager = a.manager(options)?;
        let (attributes, body, _) = super::write::take_patch(a, validation).await?;
        let mut call = Call::new(&attributes, served, dry_run).by(manager);
        let object = front.engine.patch_scale(&mut call, &name, &body).await?;
        return answer(&wanted, served, &call, &object);
    }
    let applied = media == APPLY;
    let (manager, force) = match applied {
        true => (applier(&a.query)?, a.query.flag("force")),
        false => (a.manager(options)?, false),
    };
    let Admitted { attributes, request, .. } = a;
    let format = if applied { Format::Yaml } else { negotiate::content(request.headers())? };
    let bytes = input::read(request).await?;
    let decoded = input::document(&bytes, format, "Scale", validation)?;
    let mut tree = decoded.tree;
    if !served.as_stored {
        api::convert::scale_to_v1(&mut tree);
    }
    input::claim(&mut tree, "Scale", "autoscaling/v1", "v1")?;
    let mut call = Call::new(&attributes, served, dry_run).by(manager);
    if let Some(schema) = schema::find(SCALE) {
        call.warnings = decode::object(&mut tree, schema, ("Scale", "v1"), decoded.duplicates, validation)?;
    }
    let object = match applied {
        true => front.engine.apply_scale(&mut call, &name, tree, force).await?,
        false => front.engine.rescale(&mut call, &name, |_| Ok(tree.clone())).await?,
    };
    answer(&wanted, served, &call, &object)
}
