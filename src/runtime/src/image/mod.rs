//! Images: layers unpacked once each and shared, and an index of what is here.
//!
//! ```text
//! images/index.json        names, configurations, layers of each image
//!        layers/<24 hex>/  one unpacked layer, named by the beginning of its diff id (short, so that many fit into
//!                          an overlay's mount options); complete as soon as it exists: made elsewhere, then renamed
//!        ingest/           what is being made; emptied when the agent opens the store
//! ```

mod archive;
mod index;
mod layer;
mod pull;
pub mod reference;
mod registries;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use parking_lot::Mutex;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use index::Index;
pub use index::{Config, Entry};
pub use registries::Registries;

use crate::{Error, Image, Result};

pub struct Store {
    root: PathBuf,
    index: Index,
    /// One lock per layer that is being unpacked, so that two imports unpack it once.
    unpacking: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

/// The parts of an image configuration that the store needs.
#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    config: Option<Config>,
    rootfs: RootFs,
    #[serde(default)]
    architecture: String,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

impl Store {
    /// `root` is made if need be. An agent passes `clear`: what an interrupted import left is then removed.
    pub fn open(root: &Path, clear: bool) -> io::Result<Self> {
        for directory in ["layers", "ingest"] {
            fs::create_dir_all(root.join(directory))?;
        }
        // images bring set-id programs, which the host's users must not reach
        fs::set_permissions(root, fs::Permissions::from_mode(0o700))?;
        let store =
            Self { root: root.to_owned(), index: Index::new(root.join("index.json")), unpacking: Mutex::default() };
        if clear {
            // an import by a command beside us goes on: its process still is
            for entry in fs::read_dir(root.join("ingest"))?.flatten() {
                let name = entry.file_name();
                let pid = name.to_str().and_then(|n| n.split('-').next()).unwrap_or_default().to_owned();
                if pid == std::process::id().to_string() || !Path::new("/proc").join(&pid).exists() {
                    fs::remove_dir_all(entry.path())?;
                }
            }
        }
        store.index.read()?;
        Ok(store)
    }

    pub fn layers_directory(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// The name of a layer's directory below [`Self::layers_directory`].
    pub fn layer_name(diff_id: &str) -> String {
        diff_id.trim_start_matches("sha256:").chars().take(24).collect()
    }

    pub fn list(&self) -> Result<Vec<Image>> {
        Ok(self.index.read()?.iter().map(|(id, entry)| index::image(id, entry)).collect())
    }

    /// By name, digest or id.
    pub fn find(&self, name: &str) -> Result<Option<(Image, Entry)>> {
        let entries = self.index.read()?;
        Ok(index::find(&entries, name).map(|(id, entry)| (index::image(id, entry), entry.clone())))
    }

    /// Imports an image archive (`docker save` or OCI layout; plain, gzip or zstd). Blocks. Returns what it brought.
    pub fn import(&self, path: &Path) -> Result<Vec<Image>> {
        let file = File::open(path).map_err(|e| named(path, e))?;
        let archive = archive::Archive::open(file, &self.root.join("ingest")).map_err(|e| named(path, e))?;
        self.import_archive(&archive).map_err(|e| Error::Image(format!("{}: {e}", path.display())))
    }

    /// The same from a stream.
    pub fn import_stream(&self, input: impl Read + Send + 'static) -> Result<Vec<Image>> {
        let archive = archive::Archive::read(input, &self.root.join("ingest"))?;
        self.import_archive(&archive)
    }

    fn import_archive(&self, archive: &archive::Archive) -> Result<Vec<Image>> {
        let _importing = self.importing()?;
        let mut images = Vec::new();
        for manifest in archive.manifests()? {
            let bytes = archive.bytes(&manifest.config)?;
            let (id, config) = parse_config(&bytes)?;
            if config.rootfs.diff_ids.len() != manifest.layers.len() {
                return Err(Error::Image(format!("{id}: as many layers as diff ids are needed")));
            }
            let mut size_bytes = bytes.len() as u64;
            let diff_ids = &config.rootfs.diff_ids;
            for (n, member) in manifest.layers.iter().enumerate() {
                size_bytes += self.layer(&diff_ids[n], &diff_ids[..n], || archive.member(member))?;
            }
            let digests = manifest.digest.iter().flat_map(|digest| {
                let names = manifest.tags.iter().filter_map(|t| reference::Reference::parse(t).ok());
                names.map(move |r| format!("{}@{digest}", r.name()))
            });
            let digests = digests.collect();
            images.push(self.record(&id, config, manifest.tags, digests, size_bytes)?);
        }
        Ok(images)
    }

    /// Imports every archive in a directory, for the agent's start: `*.tar`, `.tar.gz`, `.tgz`, `.tar.zst`. One that
    /// fails is logged and left. A directory that is not there has none.
    pub fn import_directory(&self, directory: &Path) -> Result<Vec<Image>> {
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let archive = |p: &PathBuf| {
            let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            [".tar", ".tar.gz", ".tgz", ".tar.zst"].iter().any(|e| name.ends_with(e))
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(archive).collect();
        paths.sort();
        let mut images = Vec::new();
        for path in paths {
            match self.import(&path) {
                Ok(new) => {
                    let names: Vec<_> = new.iter().flat_map(|i| &i.tags).collect();
                    tracing::info!(archive = %path.display(), images = ?names, "imported");
                    images.extend(new);
                }
                Err(error) => tracing::error!(archive = %path.display(), %error, "not imported"),
            }
        }
        Ok(images)
    }

    /// Held by an import or pull, of whatever process: meanwhile no layer is removed, since the index does not name
    /// the new ones yet.
    fn importing(&self) -> io::Result<Flock<File>> {
        let file = File::create(self.root.join("layers.lock"))?;
        Flock::lock(file, FlockArg::LockShared).map_err(|(_, error)| error.into())
    }

    /// `None`: an import is under way. What is not removed now is found by a later [`Self::collect`].
    fn collecting(&self) -> io::Result<Option<Flock<File>>> {
        let file = File::create(self.root.join("layers.lock"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }

    /// Unpacks a layer unless it is here. `below`: the layers under it. Returns its size unpacked.
    fn layer<R: Read + Send>(
        &self,
        diff_id: &str,
        below: &[String],
        open: impl FnOnce() -> io::Result<R>,
    ) -> Result<u64> {
        if !reference::is_digest(diff_id) {
            return Err(Error::Image(format!("invalid diff id {diff_id}")));
        }
        let name = Self::layer_name(diff_id);
        let lock = self.unpacking.lock().entry(name.clone()).or_default().clone();
        let guard = lock.lock();
        let result = self.unpack(&name, diff_id, below, open);
        drop(guard);
        let mut unpacking = self.unpacking.lock();
        if Arc::strong_count(&lock) <= 2 {
            unpacking.remove(&name);
        }
        result
    }

    fn unpack<R: Read + Send>(
        &self,
        name: &str,
        diff_id: &str,
        below: &[String],
        open: impl FnOnce() -> io::Result<R>,
    ) -> Result<u64> {
        let (place, size_file) =
            (self.layers_directory().join(name), self.layers_directory().join(format!("{name}.size")));
        if place.exists() {
            return Ok(fs::read_to_string(size_file).ok().and_then(|s| s.trim().parse().ok()).unwrap_or(0));
        }
        let ingest = self.root.join("ingest").join(format!("{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&ingest);
        fs::create_dir(&ingest)?;
        let unpacked = (|| {
            let mut hashed = Hashed { inner: archive::decompress(open()?)?, hash: Sha256::new() };
            let below: Vec<PathBuf> = below.iter().map(|d| self.layers_directory().join(Self::layer_name(d))).collect();
            let size = layer::unpack(&mut hashed, &ingest, &below)?;
            // a tar may end before its stream does; the digest is over all of it
            io::copy(&mut hashed, &mut io::sink())?;
            let got = format!("sha256:{}", hex(&hashed.hash.finalize()));
            if got != diff_id {
                return Err(Error::Image(format!("layer {diff_id} has the digest {got}")));
            }
            // on disk before it counts as complete
            nix::unistd::syncfs(File::open(&ingest)?).map_err(io::Error::from)?;
            fs::write(&size_file, size.to_string())?;
            match fs::rename(&ingest, &place) {
                // another process was faster
                Err(_) if place.exists() => Ok(size),
                other => other.map(|()| size).map_err(Error::from),
            }
        })();
        if ingest.exists() {
            let _ = fs::remove_dir_all(&ingest);
        }
        unpacked
    }

    fn record(
        &self,
        id: &str,
        config: ConfigFile,
        tags: Vec<String>,
        digests: Vec<String>,
        size_bytes: u64,
    ) -> Result<Image> {
        let layers = config.rootfs.diff_ids;
        let entry = Entry { tags, digests, size_bytes, layers, config: config.config.unwrap_or_default() };
        let image = self.index.update(|entries| {
            index::add(entries, id, entry);
            index::image(id, &entries[id])
        })?;
        Ok(image)
    }

    /// Removes an image: by id all of it, by name that name, and the image with its last name. Layers that neither
    /// another image nor `in_use` (diff ids) needs go too. Not here: done already.
    pub fn remove(&self, name: &str, in_use: &HashSet<String>) -> Result<()> {
        let dropped = self.index.update(|entries| {
            let Some((id, entry)) = index::find(entries, name).map(|(id, e)| (id.clone(), e.clone())) else {
                return Vec::new();
            };
            let named = reference::Reference::parse(name).map(|r| r.to_string()).ok();
            let by_name = named.filter(|n| entry.tags.contains(n) && entry.tags.len() > 1);
            if let (Some(tag), Some(entry)) = (by_name, entries.get_mut(&id)) {
                entry.tags.retain(|t| *t != tag);
                return Vec::new();
            }
            entries.remove(&id);
            let kept: HashSet<&String> = entries.values().flat_map(|e| &e.layers).collect();
            entry.layers.into_iter().filter(|l| !kept.contains(l) && !in_use.contains(l)).collect()
        })?;
        let Some(_collecting) = self.collecting()? else { return Ok(()) };
        for diff_id in dropped {
            self.drop_layer(&Self::layer_name(&diff_id))?;
        }
        Ok(())
    }

    /// Removes layers that no image and no container needs any more.
    pub fn collect(&self, in_use: &HashSet<String>) -> Result<()> {
        let Some(_collecting) = self.collecting()? else { return Ok(()) };
        let entries = self.index.read()?;
        let kept: HashSet<String> =
            entries.values().flat_map(|e| &e.layers).chain(in_use).map(|l| Self::layer_name(l)).collect();
        for entry in fs::read_dir(self.layers_directory())?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.ends_with(".size") && !kept.contains(&name) {
                self.drop_layer(&name)?;
            }
        }
        Ok(())
    }

    fn drop_layer(&self, name: &str) -> Result<()> {
        // out of sight first, so that a half-removed layer is never taken for a whole one
        let doomed = self.root.join("ingest").join(format!("{}-gone-{name}", std::process::id()));
        match fs::rename(self.layers_directory().join(name), &doomed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        let _ = fs::remove_file(self.layers_directory().join(format!("{name}.size")));
        Ok(fs::remove_dir_all(doomed)?)
    }

    /// Bytes of all unpacked layers.
    pub fn used_bytes(&self) -> Result<u64> {
        let sizes = fs::read_dir(self.layers_directory())?.flatten().map(|e| e.path());
        let sizes = sizes.filter(|p| p.extension().is_some_and(|e| e == "size"));
        Ok(sizes.filter_map(|p| fs::read_to_string(p).ok()?.trim().parse::<u64>().ok()).sum())
    }
}

fn parse_config(bytes: &[u8]) -> Result<(String, ConfigFile)> {
    let id = format!("sha256:{}", hex(&Sha256::digest(bytes)));
    let config: ConfigFile = serde_json::from_slice(bytes).map_err(|e| Error::Image(format!("configuration: {e}")))?;
    if !config.architecture.is_empty() && config.architecture != archive::architecture() {
        let text = format!("the image is for {}, this machine is {}", config.architecture, archive::architecture());
        return Err(Error::Image(text));
    }
    Ok((id, config))
}

struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // writing to a String cannot fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn named(path: &Path, error: io::Error) -> Error {
    Error::Image(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
