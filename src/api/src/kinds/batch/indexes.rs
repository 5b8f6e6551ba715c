//! Index lists of indexed jobs, `1,3-5`: `validateIndexesFormat` and its parts.

/// How many indexes a list names, all of them below `completions`.
pub(super) fn total(list: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    for part in list.split(',').filter(|_| !list.is_empty()) {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|l| *l >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

/// `validateFailedIndexesNotOverlapCompleted`: the first index that is in both. What cannot be read is passed over.
pub(super) fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let read = |list: &str| -> Vec<(i64, i64)> {
        list.split(',').filter(|_| !list.is_empty()).filter_map(|p| interval(p, completions).ok()).collect()
    };
    let (completed, failed) = (read(completed), read(failed));
    let (mut c, mut f) = (0, 0);
    while let (Some((a, b)), Some((x, y))) = (completed.get(c), failed.get(f)) {
        if a <= y && x <= b {
            return Some(*a.max(x));
        }
        if a <= x { c += 1 } else { f += 1 }
    }
    None
}

fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let limits: Vec<&str> = part.split('-').collect();
    if limits.len() > 2 {
        return Err(format!(
            "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let one = |text: &str| match text.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {text:?}")),
        Ok(n) if n >= completions => Err(format!("too large index: {text:?}")),
        Ok(n) => Ok(n),
    };
    let first = one(limits[0])?;
    let Some(end) = limits.get(1).map(|t| one(t)).transpose()? else { return Ok((first, first)) };
    if first >= end {
        return Err(format!("non-increasing order, previous: {first}, current: {end}"));
    }
    Ok((first, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_upstreams() {
        for (list, want) in [
            ("", Ok(0)),
            ("0,2-4", Ok(4)),
            ("3,1", Err("non-increasing order, previous: 3, current: 1")),
            ("2-2", Err("non-increasing order, previous: 2, current: 2")),
            (
                "1-2-3",
                Err(
                    "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
                ),
            ),
            ("x", Err("cannot convert string to integer for index: \"x\"")),
            ("1-", Err("cannot convert string to integer for index: \"\"")),
            ("1-5", Err("too large index: \"5\"")),
        ] {
            assert_eq!(total(list, 5), want.map_err(str::to_owned), "{list}");
        }
        assert_eq!(overlap("0-2,4", "3", 5), None);
        assert_eq!(overlap("0-2,4", "3-4", 5), Some(4));
        assert_eq!(overlap("", "3-4", 5), None);
    }
}
