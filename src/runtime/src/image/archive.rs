//! Image archives: `docker save`'s and OCI layouts, in one tar, plain or compressed with gzip or zstd.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::reference::Reference;

/// Where each member is in the (uncompressed) archive.
pub struct Archive {
    file: Arc<File>,
    members: HashMap<String, (u64, u64)>,
}

/// One image in an archive.
#[derive(Debug, PartialEq)]
pub struct Manifest {
    pub tags: Vec<String>,
    /// Members' names.
    pub config: String,
    pub layers: Vec<String>,
    /// Of the OCI manifest.
    pub digest: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct OciIndex {
    manifests: Vec<OciDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OciDescriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    annotations: HashMap<String, String>,
    platform: Option<OciPlatform>,
}

#[derive(Deserialize)]
struct OciPlatform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct OciManifest {
    config: OciDescriptor,
    layers: Vec<OciDescriptor>,
}

impl Archive {
    /// `scratch`: where a compressed archive or a stream is laid down; the file has no name and goes with the archive.
    pub fn open(mut input: File, scratch: &Path) -> io::Result<Self> {
        let mut magic = [0; 4];
        let n = input.read(&mut magic)?;
        input.rewind()?;
        let file = match Compression::of(&magic[..n]) {
            Compression::None => input,
            compression => spool(compression.reader(BufReader::new(input))?, scratch)?,
        };
        Self::scan(file)
    }

    /// From a stream, which is laid down first: what its members are is only known at its end.
    pub fn read(input: impl Read + Send + 'static, scratch: &Path) -> io::Result<Self> {
        let file = spool(decompress(input)?, scratch)?;
        Self::scan(file)
    }

    fn scan(mut file: File) -> io::Result<Self> {
        file.rewind()?;
        let mut members = HashMap::new();
        let mut links = Vec::new();
        let mut tar = tar::Archive::new(&file);
        for entry in tar.entries_with_seek()? {
            let entry = entry?;
            let name = name(&entry.path()?);
            let kind = entry.header().entry_type();
            if kind.is_symlink() || kind.is_hard_link() {
                // older `docker save` links a layer that it has written already
                if let Some(link) = entry.link_name()? {
                    let base = if kind.is_symlink() { Path::new(&name).parent().map(Path::to_owned) } else { None };
                    links.push((name, self::name(&base.unwrap_or_default().join(link))));
                }
            } else if kind.is_file() {
                members.insert(name, (entry.raw_file_position(), entry.size()));
            }
        }
        for (from, to) in links {
            if let Some(place) = members.get(&to).copied() {
                members.insert(from, place);
            }
        }
        Ok(Self { file: Arc::new(file), members })
    }

    /// The images in it, of this machine's kind.
    pub fn manifests(&self) -> io::Result<Vec<Manifest>> {
        if self.members.contains_key("manifest.json") {
            let manifests: Vec<DockerManifest> = self.json("manifest.json")?;
            let one = |m: DockerManifest| {
                let tags = normalise(m.repo_tags.unwrap_or_default())?;
                let layers = m.layers.iter().map(|l| name(Path::new(l))).collect();
                Ok(Manifest { tags, config: name(Path::new(&m.config)), layers, digest: None })
            };
            return manifests.into_iter().map(one).collect();
        }
        if !self.members.contains_key("index.json") {
            return Err(invalid("neither a docker archive nor an OCI layout: no manifest.json, no index.json"));
        }
        let index: OciIndex = self.json("index.json")?;
        let mut manifests = Vec::new();
        for descriptor in index.manifests {
            self.oci(descriptor, None, &mut manifests)?;
        }
        Ok(manifests)
    }

    fn oci(&self, descriptor: OciDescriptor, name: Option<String>, into: &mut Vec<Manifest>) -> io::Result<()> {
        let annotation = |key: &str| descriptor.annotations.get(key).cloned();
        let name = annotation("io.containerd.image.name").or(name).or(annotation("org.opencontainers.image.ref.name"));
        if descriptor.platform.as_ref().is_some_and(|p| p.os != "linux" || p.architecture != architecture()) {
            return Ok(());
        }
        let blob = blob(&descriptor.digest)?;
        if descriptor.media_type.contains("index") || descriptor.media_type.contains("manifest.list") {
            for inner in self.json::<OciIndex>(&blob)?.manifests {
                self.oci(inner, name.clone(), into)?;
            }
            return Ok(());
        }
        let manifest: OciManifest = self.json(&blob)?;
        let layers = manifest.layers.iter().map(|l| self::blob(&l.digest)).collect::<io::Result<_>>()?;
        into.push(Manifest {
            // a bare tag names no image
            tags: normalise(name.into_iter().filter(|n| n.contains(['/', ':'])).collect())?,
            config: self::blob(&manifest.config.digest)?,
            layers,
            digest: Some(descriptor.digest),
        });
        Ok(())
    }

    pub fn bytes(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.member(name)?.take(64 << 20).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A member's contents as they are.
    pub fn member(&self, name: &str) -> io::Result<impl Read + Send + 'static> {
        let (offset, length) = *self.members.get(name).ok_or_else(|| invalid(format!("the archive lacks {name}")))?;
        Ok(Section { file: self.file.clone(), offset, length })
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> io::Result<T> {
        serde_json::from_slice(&self.bytes(name)?).map_err(|e| invalid(format!("{name}: {e}")))
    }
}

/// A part of a file, read without its cursor.
struct Section {
    file: Arc<File>,
    offset: u64,
    length: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.length).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.file.read_at(&mut buffer[..want], self.offset)?;
        if n == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += n as u64;
        self.length -= n as u64;
        Ok(n)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    fn of(magic: &[u8]) -> Self {
        match magic {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    fn reader<'r>(self, input: impl Read + Send + 'r) -> io::Result<Box<dyn Read + Send + 'r>> {
        Ok(match self {
            Self::None => Box::new(input),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::new(input)?),
        })
    }
}

/// Whatever the stream's first bytes say it is compressed with.
pub fn decompress<'r>(mut input: impl Read + Send + 'r) -> io::Result<Box<dyn Read + Send + 'r>> {
    let mut magic = Vec::with_capacity(4);
    input.by_ref().take(4).read_to_end(&mut magic)?;
    let compression = Compression::of(&magic);
    compression.reader(BufReader::with_capacity(64 * 1024, io::Cursor::new(magic).chain(input)))
}

fn spool(mut input: impl Read, scratch: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(scratch)?;
    io::copy(&mut input, &mut file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// The architecture's name in image manifests.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn blob(digest: &str) -> io::Result<String> {
    match digest.split_once(':') {
        Some((algorithm, hex)) if !hex.contains('/') => Ok(format!("blobs/{algorithm}/{hex}")),
        _ => Err(invalid(format!("invalid digest {digest}"))),
    }
}

fn normalise(names: Vec<String>) -> io::Result<Vec<String>> {
    names.iter().map(|n| Reference::parse(n).map(|r| r.to_string()).map_err(invalid)).collect()
}

/// A member's name, however it is written.
fn name(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.to_str().unwrap_or_default().split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}
