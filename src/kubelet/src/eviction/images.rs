//! Images that no container uses go, the longest unused first. Upstream's `realImageGCManager`.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use runtime::Image;
use tokio::time::Instant;

use crate::context::Context;

#[derive(Debug, Clone, Copy)]
struct Known {
    /// `None`: it was there before this process.
    first_seen: Option<Instant>,
    last_used: Option<Instant>,
}

/// What is remembered of images between two looks.
#[derive(Default)]
pub(crate) struct Images {
    known: HashMap<String, Known>,
    looked: bool,
}

impl Images {
    /// Looks which images there are and which are in use.
    pub async fn detect(&mut self, ctx: &Context) -> Option<(Vec<Image>, BTreeSet<String>)> {
        let images = ctx.runtime.images().await.ok()?;
        let containers = ctx.runtime.containers(None).await.ok()?;
        let used: BTreeSet<String> = containers.into_iter().map(|c| c.image_id).collect();
        self.note(&images, &used, Instant::now());
        Some((images, used))
    }

    fn note(&mut self, images: &[Image], used: &BTreeSet<String>, now: Instant) {
        let fresh = self.looked.then_some(now);
        self.looked = true;
        self.known.retain(|id, _| images.iter().any(|i| i.id == *id));
        for image in images {
            let known = self.known.entry(image.id.clone()).or_insert(Known { first_seen: fresh, last_used: None });
            if used.contains(&image.id) {
                known.last_used = Some(now);
            }
        }
    }

    /// Unused ones that are old enough, the longest unused first.
    fn removable<'a>(
        &self,
        images: &'a [Image],
        used: &BTreeSet<String>,
        now: Instant,
        age: Duration,
        idle: Duration,
    ) -> Vec<&'a Image> {
        let since = |i: &Image| self.known.get(&i.id).map(|k| (k.last_used, k.first_seen)).unwrap_or_default();
        let old = |at: Option<Instant>, least: Duration| at.is_none_or(|t| now.duration_since(t) >= least);
        let may = |i: &&Image| {
            let (last, first) = since(i);
            !used.contains(&i.id) && old(first, age) && old(last.or(first), idle)
        };
        let mut all: Vec<&Image> = images.iter().filter(may).collect();
        all.sort_by_key(|i| since(i));
        all
    }

    /// Removes until `bytes` are free again; answers how many it were.
    pub async fn free(&mut self, ctx: &Context, bytes: u64) -> u64 {
        let age = ctx.config.image_gc.minimum_age;
        let freed = self.remove(ctx, age, Duration::ZERO, bytes).await;
        if freed < bytes && bytes < u64::MAX {
            tracing::debug!(wanted = bytes, freed, "images could not free enough");
        }
        freed
    }

    /// Removes what has been unused for longer than `maximum_age`. What was there before this process counts from its start.
    pub async fn expire(&mut self, ctx: &Context) {
        let Some(most) = ctx.config.image_gc.maximum_age else { return };
        let now = Instant::now();
        for known in self.known.values_mut() {
            known.first_seen.get_or_insert(now);
        }
        self.remove(ctx, ctx.config.image_gc.minimum_age, most, u64::MAX).await;
    }

    async fn remove(&mut self, ctx: &Context, age: Duration, idle: Duration, bytes: u64) -> u64 {
        let Some((images, used)) = self.detect(ctx).await else { return 0 };
        let mut freed = 0;
        for image in self.removable(&images, &used, Instant::now(), age, idle) {
            if freed >= bytes {
                break;
            }
            match ctx.runtime.remove_image(&image.id).await {
                Ok(()) => {
                    freed += image.size_bytes;
                    tracing::info!(image = image.tags.first().unwrap_or(&image.id), "unused image removed");
                }
                Err(error) => tracing::warn!(image = image.id, %error, "an unused image was not removed"),
            }
        }
        if freed > 0 {
            ctx.images_changed.notify_one();
        }
        freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_unused_goes_first_and_fresh_ones_stay() {
        let image =
            |id: &str| Image { id: id.into(), tags: vec![], digests: vec![], size_bytes: 1, user: String::new() };
        let all = ["never", "once", "now"].map(image).to_vec();
        let using = |ids: &[&str]| ids.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<_>>();
        let mut images = Images::default();
        images.note(&all, &using(&["once", "now"]), Instant::now());
        tokio::time::advance(Duration::from_secs(200)).await;
        let mut more = all.clone();
        more.push(image("fresh"));
        images.note(&more, &using(&["now"]), Instant::now());
        tokio::time::advance(Duration::from_secs(60)).await;
        let ids = |idle| {
            let age = Duration::from_secs(120);
            let found = images.removable(&more, &using(&["now"]), Instant::now(), age, Duration::from_secs(idle));
            found.iter().map(|i| i.id.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids(0), ["never", "once"]);
        assert_eq!(ids(300), ["never"]);
    }
}
