//! From one ruleset to the next in one nftables transaction.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::ruleset::Ruleset;
use crate::Error;

/// The commands that turn `old` into `new` inside `table` (`ip skiff`). Empty when nothing changed.
///
/// The order is nftables': what is referred to is added first and deleted last.
pub fn diff(table: &str, old: &Ruleset, new: &Ruleset) -> String {
    let mut s = String::new();
    for (set, declaration) in &new.sets {
        // a set's name tells its declaration: one that is there is the same
        if !old.sets.contains_key(set) {
            let _ = writeln!(s, "add set {table} {set} {declaration}");
        }
    }
    for chain in new.chains.keys().filter(|c| !old.chains.contains_key(*c)) {
        let _ = writeln!(s, "add chain {table} {chain}");
    }
    for (chain, rules) in &new.chains {
        match old.chains.get(chain) {
            Some(was) if was == rules => continue,
            Some(_) => drop(writeln!(s, "flush chain {table} {chain}")),
            None => {}
        }
        for rule in rules {
            let _ = writeln!(s, "add rule {table} {chain} {rule}");
        }
    }
    let empty = BTreeMap::new();
    let maps: std::collections::BTreeSet<_> = old.elements.keys().chain(new.elements.keys()).collect();
    for map in maps {
        let (was, is) = (old.elements.get(*map).unwrap_or(&empty), new.elements.get(*map).unwrap_or(&empty));
        let changed = |a: &BTreeMap<String, String>, b: &BTreeMap<String, String>| -> Vec<(String, String)> {
            a.iter().filter(|(k, v)| b.get(*k) != Some(v)).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        for (key, _) in changed(was, is) {
            let _ = writeln!(s, "delete element {table} {map} {{ {key} }}");
        }
        for (key, value) in changed(is, was) {
            let value = if value.is_empty() { value } else { format!(" : {value}") };
            let _ = writeln!(s, "add element {table} {map} {{ {key}{value} }}");
        }
    }
    let gone: Vec<_> = old.chains.keys().filter(|c| !new.chains.contains_key(*c)).collect();
    for chain in &gone {
        let _ = writeln!(s, "flush chain {table} {chain}");
    }
    for chain in gone {
        let _ = writeln!(s, "delete chain {table} {chain}");
    }
    for set in old.sets.keys().filter(|x| !new.sets.contains_key(*x)) {
        let _ = writeln!(s, "delete set {table} {set}");
    }
    s
}

/// Runs a script in one transaction: all of it or nothing.
pub async fn apply(script: &str) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::Nft(format!("cannot run nft: {e}"));
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(script.as_bytes()).await.map_err(failed)?;
    drop(stdin);
    let output = child.wait_with_output().await.map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Nft(String::from_utf8_lossy(&output.stderr).lines().take(3).collect::<Vec<_>>().join("; ")))
}

/// Whether the tables are in the kernel.
pub async fn all_there(tables: &[String]) -> bool {
    let output = Command::new("nft").args(["list", "tables"]).stderr(Stdio::null()).kill_on_drop(true).output().await;
    let Ok(output) = output else { return false };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    tables.iter().all(|t| text.lines().any(|line| line.strip_prefix("table ") == Some(t)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(chains: &[(&str, &str)], elements: &[(&str, &str)]) -> Ruleset {
        Ruleset {
            sets: BTreeMap::new(),
            chains: chains.iter().map(|(c, r)| ((*c).into(), vec![(*r).into()])).collect(),
            elements: [("services", elements.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())].into(),
        }
    }

    #[test]
    fn only_the_difference_is_written() {
        let a = rules(&[("x", "drop"), ("y", "drop")], &[("k", "goto x"), ("l", "goto y")]);
        assert_eq!(diff("ip t", &a, &a), "");
        let b = rules(&[("x", "accept"), ("z", "drop")], &[("k", "goto x"), ("l", "goto z")]);
        assert_eq!(
            diff("ip t", &a, &b),
            "add chain ip t z\nflush chain ip t x\nadd rule ip t x accept\nadd rule ip t z drop\n\
             delete element ip t services { l }\nadd element ip t services { l : goto z }\n\
             flush chain ip t y\ndelete chain ip t y\n"
        );
    }
}
