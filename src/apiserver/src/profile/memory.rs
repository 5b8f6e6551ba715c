//! Where the memory is. What a server holds is objects, and how much depends on what is in the cluster: so these are counted,
//! by resource and namespace, and what else the process has comes from the kernel. (Which code allocated what, nobody knows:
//! an allocator that remembers it costs every allocation.)

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::{Duration, SystemTime};

use super::Profile;
use crate::Engine;

/// One place where memory is.
pub(super) struct Held {
    /// The innermost first: namespace, resource, `objects`.
    stack: Vec<String>,
    objects: u64,
    bytes: u64,
}

/// What is held now. Objects count as their encoded forms, which are most of them; what the process has beyond that without a
/// file behind it is `other memory`: decoded views, connections, the database's cache, what the allocator keeps.
pub(super) fn held(engine: &Engine) -> Vec<Held> {
    let (store, routes) = (engine.store(), engine.routes());
    // several kinds may be one in the store
    let resources: BTreeSet<String> = routes.registry.kinds().iter().map(|k| k.store_resource()).collect();
    let mut all = Vec::new();
    for resource in resources {
        let mut namespaces: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for object in store.snapshot(&resource).iter() {
            let namespace = object.namespace();
            if !namespaces.contains_key(namespace) {
                namespaces.insert(namespace.to_owned(), (0, 0));
            }
            if let Some((objects, bytes)) = namespaces.get_mut(namespace) {
                *objects += 1;
                *bytes += object.json().len() as u64;
            }
        }
        for (namespace, (objects, bytes)) in namespaces {
            let namespace = if namespace.is_empty() { "(cluster)".into() } else { namespace };
            all.push(Held { stack: vec![namespace, resource.clone(), "objects".into()], objects, bytes });
        }
    }
    let counted: u64 = all.iter().map(|h| h.bytes).sum();
    let resident = std::fs::read_to_string("/proc/self/status").map(|s| Resident::read(&s)).unwrap_or_default();
    let other = resident.anonymous.saturating_sub(counted);
    for (name, bytes) in [("other memory", other), ("mapped files", resident.files)] {
        all.push(Held { stack: vec![name.into()], objects: 0, bytes });
    }
    all
}

/// What the kernel says that the process has, in bytes.
#[derive(Debug, Default, PartialEq)]
struct Resident {
    anonymous: u64,
    /// The binary, mostly; the kernel can drop it and read it again.
    files: u64,
}

impl Resident {
    /// From `/proc/PID/status`.
    fn read(status: &str) -> Resident {
        let of = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            let kilobytes = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
            kilobytes.unwrap_or_default() * 1024
        };
        Resident { anonymous: of("RssAnon"), files: of("RssFile") + of("RssShmem") }
    }
}

/// As a profile, with the names of Go's.
pub(super) fn profile(held: &[Held]) -> Vec<u8> {
    let mut profile = Profile::new(&[("inuse_objects", "count"), ("inuse_space", "bytes")], 1);
    for Held { stack, objects, bytes } in held {
        let stack: Vec<u64> = stack.iter().map(|name| profile.name(name)).collect();
        profile.sample(&stack, &[*objects, *bytes], &[]);
    }
    profile.finish(SystemTime::now(), Duration::ZERO)
}

/// For reading: the largest first.
pub(super) fn text(held: &[Held]) -> String {
    let mut sorted: Vec<&Held> = held.iter().collect();
    sorted.sort_by_key(|h| std::cmp::Reverse(h.bytes));
    let mut out = format!("{:>12} {:>9}\n", "bytes", "objects");
    for Held { stack, objects, bytes } in sorted {
        let place: Vec<&str> = stack.iter().rev().map(String::as_str).collect();
        let _ = writeln!(out, "{bytes:>12} {objects:>9} {}", place.join(" / "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::read;
    use super::*;

    #[test]
    fn objects_are_a_profile_and_a_table() {
        let stack = |s: &[&str]| s.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let held = [
            Held { stack: stack(&["default", "secrets", "objects"]), objects: 2, bytes: 300 },
            Held { stack: stack(&["default", "configmaps", "objects"]), objects: 1, bytes: 700 },
        ];
        let (types, samples) = read(&profile(&held));
        assert_eq!(types[1], ("inuse_space".into(), "bytes".into()));
        assert_eq!(samples[0], (stack(&["default", "secrets", "objects"]), vec![2, 300]));
        let want = "       bytes   objects\n         700         1 objects / configmaps / default\n         \
                    300         2 objects / secrets / default\n";
        assert_eq!(text(&held), want);
    }

    #[test]
    fn the_kernel_is_asked() {
        let status = "Name:\tskiff\nVmRSS:\t   30 kB\nRssAnon:\t   10 kB\nRssFile:\t   18 kB\nRssShmem:\t    2 kB\n";
        assert_eq!(Resident::read(status), Resident { anonymous: 10 * 1024, files: 20 * 1024 });
        assert_eq!(Resident::read(""), Resident::default());
    }
}
