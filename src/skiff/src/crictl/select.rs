//! Which ones are meant: by the beginning of an id, by labels, the newest.

use anyhow::{Result, bail};
use runtime::{ContainerStatus, Embedded, Runtime, SandboxStatus};
use std::collections::BTreeMap;

/// What has an id.
pub trait Known {
    const WHAT: &'static str;
    fn id(&self) -> &str;
    fn created_nanos(&self) -> i64;
}

impl Known for ContainerStatus {
    const WHAT: &'static str = "container";
    fn id(&self) -> &str {
        &self.id
    }
    fn created_nanos(&self) -> i64 {
        self.created_nanos
    }
}

impl Known for SandboxStatus {
    const WHAT: &'static str = "pod sandbox";
    fn id(&self) -> &str {
        &self.id
    }
    fn created_nanos(&self) -> i64 {
        self.created_nanos
    }
}

/// The one whose id begins so.
pub fn one<'k, K: Known>(all: &'k [K], prefix: &str) -> Result<&'k K> {
    if let Some(exact) = all.iter().find(|k| k.id() == prefix) {
        return Ok(exact);
    }
    let mut found = all.iter().filter(|k| !prefix.is_empty() && k.id().starts_with(prefix));
    let what = K::WHAT;
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => bail!(
            "rpc error: code = NotFound desc = could not find {what} \"{prefix}\": {what} with ID starting with {prefix} not found: ID does not exist"
        ),
        _ => bail!(
            "rpc error: code = InvalidArgument desc = could not find {what} \"{prefix}\": multiple IDs found with provided prefix: {prefix}"
        ),
    }
}

/// The newest first, at most `last`.
pub fn newest<K: Known>(mut all: Vec<K>, last: Option<usize>) -> Vec<K> {
    all.sort_by(|a, b| b.created_nanos().cmp(&a.created_nanos()).then_with(|| a.id().cmp(b.id())));
    all.truncate(last.unwrap_or(usize::MAX));
    all
}

/// Whether all `key=value` are there.
pub fn labelled(labels: &BTreeMap<String, String>, wanted: &[String]) -> Result<bool> {
    for wanted in wanted {
        let Some((key, value)) = wanted.split_once('=') else { bail!("incorrectly formatted label \"{wanted}\"") };
        if labels.get(key).is_none_or(|v| v != value) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Does `work` for each of `names`, telling what fails; an error if any did.
pub async fn each<K: Known>(
    all: &[K],
    names: &[String],
    doing: &str,
    mut work: impl AsyncFnMut(&K) -> Result<()>,
) -> Result<()> {
    let mut failed = false;
    for name in names {
        let done = match one(all, name) {
            Ok(found) => work(found).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            eprintln!("ERRO[0000] {doing} the {} \"{name}\": {error:#}", K::WHAT);
            failed = true;
        }
    }
    if failed {
        bail!("{doing}: not all {}s could be done", K::WHAT);
    }
    Ok(())
}

/// All pods by their sandboxes' ids.
pub async fn sandboxes(node: &Embedded) -> Result<BTreeMap<String, SandboxStatus>> {
    Ok(node.sandboxes().await?.into_iter().map(|s| (s.id.clone(), s)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(id: &str, created_nanos: i64) -> SandboxStatus {
        SandboxStatus {
            id: id.into(),
            config: Default::default(),
            ready: true,
            created_nanos,
            netns: None,
            ips: Vec::new(),
        }
    }

    #[test]
    fn by_the_beginning_of_an_id() {
        let all = [pod("abc1", 1), pod("abd2", 2), pod("ab", 3)];
        assert_eq!(one(&all, "abc").unwrap().id, "abc1");
        assert_eq!(one(&all, "ab").unwrap().id, "ab", "a whole id is no prefix");
        let refused = |prefix| one(&all, prefix).unwrap_err().to_string();
        assert!(refused("a").contains("multiple IDs found"));
        assert!(refused("x").contains("pod sandbox with ID starting with x not found"));
        assert!(refused("").contains("not found"));
    }

    #[test]
    fn the_newest_come_first() {
        let ids = |last| newest(vec![pod("a", 1), pod("b", 3), pod("c", 2)], last).into_iter().map(|p| p.id);
        assert_eq!(ids(None).collect::<Vec<_>>(), ["b", "c", "a"]);
        assert_eq!(ids(Some(1)).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn labels_are_all_wanted() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        let has = |wanted: &[&str]| labelled(&labels, &wanted.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert!(has(&[]).unwrap() && has(&["a=1", "b=2"]).unwrap() && !has(&["a=1", "b=1"]).unwrap());
        assert!(has(&["a"]).is_err());
    }
}
