//! Image names, normalised as Docker does: `redis:4` is `docker.io/library/redis:4`.

use std::fmt;

/// `registry/repository[:tag][@digest]`; a name with neither has the tag `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    pub registry: String,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<String>,
}

impl Reference {
    pub fn parse(name: &str) -> Result<Self, String> {
        let bad = |why: &str| Err(format!("invalid image name \"{name}\": {why}"));
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return bad("invalid digest"),
            None => (name, None),
        };
        let slash = rest.rfind('/').map_or(0, |i| i + 1);
        let (path, tag) = match rest[slash..].rfind(':') {
            Some(colon) => (&rest[..slash + colon], Some(rest[slash + colon + 1..].to_owned())),
            None => (rest, None),
        };
        if let Some(tag) = &tag
            && (tag.is_empty()
                || tag.len() > 128
                || !tag.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)))
        {
            return bad("invalid tag");
        }
        let (registry, repository) = match path.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest.to_owned()),
            _ if path.contains('/') => ("docker.io", path.to_owned()),
            _ => ("docker.io", format!("library/{path}")),
        };
        let (registry, repository) = match registry {
            "index.docker.io" | "docker.io" if !repository.contains('/') => {
                ("docker.io", format!("library/{repository}"))
            }
            "index.docker.io" => ("docker.io", repository),
            other => (other, repository),
        };
        let part = |p: &str| {
            let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            p.chars().all(inner) && edge(p.chars().next()) && edge(p.chars().last())
        };
        if path.is_empty() || !repository.split('/').all(part) {
            let upper = repository.chars().any(|c| c.is_ascii_uppercase());
            return bad(if upper { "repository name must be lowercase" } else { "invalid reference format" });
        }
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }

    /// `docker.io/library/redis`
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// `sha256:` and 64 hex digits.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(is_hex)
}

pub fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalised_as_docker_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (given, want) in [
            ("redis", "docker.io/library/redis:latest"),
            ("redis:4", "docker.io/library/redis:4"),
            ("bitnami/redis:4", "docker.io/bitnami/redis:4"),
            ("index.docker.io/redis", "docker.io/library/redis:latest"),
            ("docker.io/redis", "docker.io/library/redis:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1"),
            ("registry.k8s.io/e2e-test-images/agnhost:2.53", "registry.k8s.io/e2e-test-images/agnhost:2.53"),
            (&format!("redis@{digest}"), &format!("docker.io/library/redis@{digest}")),
            (&format!("gcr.io/x/y:1@{digest}"), &format!("gcr.io/x/y:1@{digest}")),
        ] {
            assert_eq!(Reference::parse(given).unwrap().to_string(), want, "{given}");
        }
        for bad in ["", "UPPER/x", "a:b:c", "a/", "/a", "a@sha256:1", "a:", "-a", "a b"] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }
}
