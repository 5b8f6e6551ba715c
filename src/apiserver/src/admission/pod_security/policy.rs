//! What the labels of a namespace ask for: upstream's `pod-security-admission/api`.

use std::fmt;

use api::field::{Error, Path};
use api::{Object, Value};

use super::PREFIX;

/// From the loosest to the strictest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// `v1.x`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Latest,
    Minor(u32),
}

impl Version {
    /// Whether what came with `v1.minor` holds.
    pub fn since(self, minor: u32) -> bool {
        matches!(self, Version::Latest) || matches!(self, Version::Minor(m) if m >= minor)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub level: Level,
    pub version: Version,
}

impl Policy {
    const FREE: Policy = Policy { level: Level::Privileged, version: Version::Latest };

    /// It forbids nothing.
    pub fn is_free(self) -> bool {
        self.level == Level::Privileged
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })?;
        match self.version {
            Version::Latest => f.write_str(":latest"),
            Version::Minor(m) => write!(f, ":v1.{m}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policies {
    pub enforce: Policy,
    pub audit: Policy,
    pub warn: Policy,
}

fn level(text: &str) -> Result<Level, &'static str> {
    match text {
        "privileged" => Ok(Level::Privileged),
        "baseline" => Ok(Level::Baseline),
        "restricted" => Ok(Level::Restricted),
        _ => Err("must be one of privileged, baseline, restricted"),
    }
}

fn version(text: &str) -> Result<Version, &'static str> {
    if text == "latest" {
        return Ok(Version::Latest);
    }
    let minor = text.strip_prefix("v1.").filter(|m| *m == "0" || !m.starts_with(['0', '+']));
    minor.and_then(|m| m.parse().ok()).map(Version::Minor).ok_or("must be \"latest\" or \"v1.x\"")
}

impl Policies {
    pub fn of(namespace: &Object) -> (Policies, Vec<Error>) {
        let labels = &namespace.meta().labels;
        if !labels.iter().any(|(k, _)| k.starts_with(PREFIX)) {
            return (Policies { enforce: Policy::FREE, audit: Policy::FREE, warn: Policy::FREE }, Vec::new());
        }
        Policies::of_labels(|key| labels.iter().find(|(k, _)| ***k == *key).map(|(_, v)| v.to_string()))
    }

    /// `PolicyToEvaluate`. What cannot be read is enforced strictly, and neither audited nor warned of.
    pub fn of_labels(label: impl Fn(&str) -> Option<String>) -> (Policies, Vec<Error>) {
        let mut errors = Vec::new();
        let (metadata, mut said) = (Path::root("metadata"), [(false, false); 3]);
        let path = metadata.child("labels");
        let mut policies = [Policy::FREE; 3];
        for (i, mode) in ["enforce", "audit", "warn"].iter().enumerate() {
            let key = format!("{PREFIX}{mode}");
            let mut wrong = |key: &str, text: &str, why: &str| {
                errors.push(Error::invalid(&path.key(key), Value::from(text), why));
            };
            if let Some(text) = label(&key) {
                said[i].0 = true;
                policies[i].level = level(&text).unwrap_or_else(|why| {
                    wrong(&key, &text, why);
                    if *mode == "enforce" { Level::Restricted } else { Level::Privileged }
                });
            }
            let key = format!("{key}-version");
            if let Some(text) = label(&key) {
                said[i].1 = true;
                policies[i].version = version(&text).unwrap_or_else(|why| {
                    wrong(&key, &text, why);
                    Version::Latest
                });
            }
        }
        let [enforce, audit, mut warn] = policies;
        // who is held to something is warned of it where it is not yet
        if said[0].0 && !said[2].0 {
            warn.level = enforce.level;
            if said[0].1 && !said[2].1 {
                warn.version = enforce.version;
            }
        }
        (Policies { enforce, audit, warn }, errors)
    }
}
