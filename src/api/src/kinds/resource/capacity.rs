//! What may be asked of a capacity that several claims share.

use serde_json::Value;

use super::device::each;
use crate::field::{Error, Path};
use crate::kinds::tree::{has, items, some};
use crate::quantity::Quantity;

/// `CapacityRequestPolicyDiscreteMaxOptions`
const MOST_OPTIONS: usize = 10;

fn amount(v: &Value) -> Quantity {
    Quantity::from_tree(v).unwrap_or_default()
}

/// `validateMultiAllocatableDeviceCapacity`, `validateSingleAllocatableDeviceCapacity`
pub(super) fn validate(errors: &mut Vec<Error>, path: &Path, capacity: &Value, shared: bool) {
    let Some(policy) = some(capacity, "requestPolicy") else { return };
    let path = path.child("requestPolicy");
    if !shared {
        return errors.push(Error::forbidden(&path, "allowMultipleAllocations must be true"));
    }
    let (values, range) = (items(policy, "validValues"), some(policy, "validRange"));
    let default = some(policy, "default").map(amount);
    let of = if values.is_empty() { "validRange" } else { "validValues" };
    match (values.is_empty(), range, default) {
        (false, Some(_), _) => {
            let detail = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            errors.push(Error::forbidden(&path, detail));
        }
        (true, None, _) => {}
        (_, _, None) => {
            errors.push(Error::required(&path.child("default"), &format!("required when {of} is defined")));
        }
        (false, None, Some(default)) => options(errors, &path.child(of), values, default, amount(&capacity["value"])),
        (true, Some(range), Some(default)) => {
            bounds(errors, &path.child(of), range, default, amount(&capacity["value"]));
        }
    }
}

/// `validateRequestPolicyValidValues`
fn options(errors: &mut Vec<Error>, path: &Path, values: &[Value], default: Quantity, whole: Quantity) {
    let all: Vec<Quantity> = values.iter().map(amount).collect();
    for (i, pair) in all.windows(2).enumerate() {
        if pair[0] > pair[1] {
            let detail = "values must be sorted in ascending order";
            errors.push(Error::invalid(&path.index(i + 1), pair[1].to_string(), detail));
        }
    }
    let looked_at = each(errors, path, values, MOST_OPTIONS, |errors, at, option| {
        let option = amount(option);
        if option > whole {
            let detail = format!("option is larger than capacity value: {whole}");
            errors.push(Error::invalid(at, option.to_string(), detail));
        }
    });
    if looked_at {
        for (i, option) in all.iter().enumerate() {
            if all[..i].iter().any(|o| o.value() == option.value()) {
                errors.push(Error::duplicate(&path.index(i), option.value().to_string()));
            }
        }
    }
    if !looked_at || !all.contains(&default) {
        let detail = "default value is not valid according to the requestPolicy";
        errors.push(Error::invalid(path, default.to_string(), detail));
    }
}

/// `validateRequestPolicyRange`
fn bounds(errors: &mut Vec<Error>, path: &Path, range: &Value, default: Quantity, whole: Quantity) {
    let (at_min, at_max, at_step) = (path.child("min"), path.child("max"), path.child("step"));
    let Some(min) = some(range, "min").map(amount) else {
        return errors.push(Error::required(&at_min, "required when validRange is defined"));
    };
    let max = some(range, "max").map(amount);
    let mut wrong = |is: bool, at: &Path, value: Quantity, detail: String| {
        if is {
            errors.push(Error::invalid(at, value.to_string(), detail));
        }
    };
    wrong(min > whole, &at_min, min, format!("min is larger than capacity value: {whole}"));
    wrong(default < min, &at_min, default, format!("default is less than min: {min}"));
    if let Some(max) = max {
        wrong(min > max, &at_max, min, format!("min is larger than max: {max}"));
        wrong(max > whole, &at_max, max, format!("max is larger than capacity value: {whole}"));
        wrong(default > max, &at_max, default, format!("default is more than max: {max}"));
    }
    if has(range, "step") {
        let step = amount(&range["step"]);
        let one = min + step;
        wrong(one > whole, &at_step, step, format!("one step {one} is larger than capacity value: {whole}"));
        for value in std::iter::once(default).chain(max) {
            let off = value.value().wrapping_sub(min.value()).checked_rem(step.value()) != Some(0);
            let detail = format!("value is not a multiple of a given step ({step}) from ({min})");
            wrong(off, &at_step, value, detail);
        }
    }
}
