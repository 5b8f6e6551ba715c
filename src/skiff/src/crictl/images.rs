//! Images: list, show, pull, remove.

use std::collections::HashSet;

use anyhow::{Result, bail};
use runtime::{Credentials, Embedded, Image, Runtime};
use serde_json::{Value, json};

use super::containers::show_each;
use super::flags::{Images, Inspect, Pull, Rmi};
use super::show::{self, Format};

pub async fn list(node: &Embedded, flags: &Images) -> Result<()> {
    let all = node.images().await?;
    let chosen: Vec<Image> = match &flags.repository {
        Some(wanted) => all.into_iter().filter(|i| named(i, wanted)).collect(),
        None => all,
    };
    if flags.list.quiet {
        chosen.iter().for_each(|i| println!("{}", i.id));
    } else if flags.list.output == Format::Table {
        print!("{}", table(&chosen, flags.digests, flags.list.no_trunc));
    } else {
        let images: Vec<Value> = chosen.iter().map(brief).collect();
        show::print(flags.list.output, &json!({"images": images}))?;
    }
    Ok(())
}

/// Whether one of its names is `wanted`, with a tag or without.
fn named(image: &Image, wanted: &str) -> bool {
    let whole = runtime::image::reference::Reference::parse(wanted).map(|r| (r.to_string(), r.name()));
    let Ok((with_tag, name)) = whole else { return false };
    let has_tag = wanted.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    image.tags.iter().chain(&image.digests).any(|t| {
        *t == with_tag || (!has_tag && t.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with([':', '@'])))
    })
}

/// A line a tag.
pub fn table(images: &[Image], digests: bool, whole: bool) -> String {
    let none = || "<none>".to_owned();
    let mut rows = Vec::new();
    for image in images {
        let split = |name: &String, by: char| {
            name.rsplit_once(by).map_or_else(|| (name.clone(), none()), |(a, b)| (a.to_owned(), b.to_owned()))
        };
        let digest = image.digests.first().map(|d| split(d, '@'));
        let mut names: Vec<(String, String)> = image.tags.iter().map(|t| split(t, ':')).collect();
        if names.is_empty() {
            names.push((digest.as_ref().map_or_else(none, |(name, _)| name.clone()), none()));
        }
        let digest = digest.map_or_else(none, |(_, digest)| show::id(&digest, whole));
        for (name, tag) in names {
            rows.push([name, tag, digest.clone(), show::id(&image.id, whole), show::size(image.size_bytes, 3)]);
        }
    }
    rows.sort();
    if digests {
        return show::table(["IMAGE", "TAG", "DIGEST", "IMAGE ID", "SIZE"], rows);
    }
    let rows = rows.into_iter().map(|[name, tag, _, id, size]| [name, tag, id, size]);
    show::table(["IMAGE", "TAG", "IMAGE ID", "SIZE"], rows)
}

/// CRI's `Image`.
fn brief(image: &Image) -> Value {
    let uid: Option<i64> = image.user.split(':').next().and_then(|u| u.parse().ok());
    json!({
        "id": image.id, "repoTags": image.tags, "repoDigests": image.digests, "size": image.size_bytes.to_string(),
        "uid": uid.map(|u| json!({"value": u.to_string()})), "username": if uid.is_some() { "" } else { image.user.as_str() },
        "spec": null, "pinned": false,
    })
}

pub fn inspect(node: &Embedded, flags: &Inspect) -> Result<()> {
    let mut shown = Vec::new();
    for name in &flags.ids {
        let Some((image, entry)) = node.store().find(name)? else { bail!("no such image \"{name}\" present") };
        let rootfs = json!({"type": "layers", "diff_ids": entry.layers});
        shown.push(json!({"status": brief(&image), "info": {"imageSpec": {"config": entry.config, "rootfs": rootfs}}}));
    }
    show_each(flags.output, shown)
}

pub async fn pull(node: &Embedded, flags: &Pull) -> Result<()> {
    let credentials = flags.creds.as_ref().map(|creds| {
        let (username, password) = creds.split_once(':').unwrap_or((creds, ""));
        Credentials { username: username.to_owned(), password: password.to_owned() }
    });
    let id = node.pull_image(&flags.image, credentials).await?;
    println!("Image is up to date for {id}");
    Ok(())
}

pub async fn remove(node: &Embedded, flags: &Rmi) -> Result<()> {
    let all = node.images().await?;
    let names: Vec<String> = if flags.all || flags.prune {
        let kept: HashSet<String> = match flags.all {
            true => HashSet::new(),
            false => node.containers(None).await?.into_iter().map(|c| c.image_id).collect(),
        };
        all.into_iter().map(|i| i.id).filter(|id| !kept.contains(id)).collect()
    } else {
        flags.images.clone()
    };
    let mut failed = false;
    for name in &names {
        let Some((image, _)) = node.store().find(name)? else {
            eprintln!("ERRO[0000] no such image \"{name}\"");
            failed = true;
            continue;
        };
        node.remove_image(name).await?;
        let left = node.store().find(&image.id)?.map(|(i, _)| i.tags).unwrap_or_default();
        let gone: Vec<&String> = image.tags.iter().filter(|t| !left.contains(t)).collect();
        match gone.is_empty() {
            true => println!("Deleted: {}", image.id),
            false => gone.iter().for_each(|t| println!("Deleted: {t}")),
        }
    }
    if failed {
        bail!("unable to remove the image(s)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_tag() {
        let digest = format!("docker.io/library/b@sha256:{}", "d".repeat(64));
        let image = |id: &str, tags: &[&str], digests: &[&str]| Image {
            id: format!("sha256:{}", id.repeat(64)),
            tags: tags.iter().map(|t| (*t).to_owned()).collect(),
            digests: digests.iter().map(|d| (*d).to_owned()).collect(),
            size_bytes: 1_234_567,
            user: String::new(),
        };
        let all = [
            image("a", &["localhost:5000/a:2", "localhost:5000/a:1"], &[]),
            image("b", &[], &[&digest]),
            image("c", &[], &[]),
        ];
        let lines = |digests| -> Vec<Vec<String>> {
            let shown = table(&all, digests, false);
            shown.lines().skip(1).map(|l| l.split_whitespace().map(str::to_owned).collect()).collect()
        };
        assert_eq!(
            lines(false),
            [
                ["<none>", "<none>", "ccccccccccccc", "1.23MB"],
                ["docker.io/library/b", "<none>", "bbbbbbbbbbbbb", "1.23MB"],
                ["localhost:5000/a", "1", "aaaaaaaaaaaaa", "1.23MB"],
                ["localhost:5000/a", "2", "aaaaaaaaaaaaa", "1.23MB"],
            ]
        );
        assert_eq!(lines(true)[1][2], "ddddddddddddd");
        assert!(named(&all[0], "localhost:5000/a") && named(&all[0], "localhost:5000/a:1"));
        assert!(!named(&all[0], "localhost:5000/a:3") && named(&all[1], "b") && !named(&all[1], "bb"));
    }
}
