//! Importing archives that the tests make, in each of the formats.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use super::*;

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *data).unwrap();
    }
    tar.into_inner().unwrap()
}

fn sha(data: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(data)))
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|l| sha(l)).collect();
    serde_json::json!({
        "architecture": archive::architecture(), "os": "linux",
        "config": {"Env": ["A=b"], "Cmd": ["sh"], "User": "web"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
    .into_bytes()
}

fn docker(tag: &str, layers: &[&[u8]]) -> Vec<u8> {
    let config = config(layers);
    let names: Vec<String> = (0..layers.len()).map(|i| format!("{i}/layer.tar")).collect();
    let manifest = serde_json::json!([{"Config": "c.json", "RepoTags": [tag], "Layers": names}]).to_string();
    let mut files: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(layers.iter().copied()).collect();
    files.push(("c.json", &config));
    files.push(("manifest.json", manifest.as_bytes()));
    tar_of(&files)
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(data).unwrap();
    gz.finish().unwrap()
}

fn oci(name: &str, layer: &[u8]) -> Vec<u8> {
    let (config, packed) = (config(&[layer]), gzip(layer));
    let blob = |d: &[u8]| sha(d).replace("sha256:", "blobs/sha256/");
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha(&config), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": sha(&packed), "size": packed.len()}],
    })
    .to_string();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": sha(manifest.as_bytes()), "size": 1,
         "platform": {"os": "linux", "architecture": "s390x"}},
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": sha(manifest.as_bytes()), "size": manifest.len(),
         "platform": {"os": "linux", "architecture": archive::architecture()},
         "annotations": {"io.containerd.image.name": name}},
    ]})
    .to_string();
    tar_of(&[
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", index.as_bytes()),
        (&blob(manifest.as_bytes()), manifest.as_bytes()),
        (&blob(&config), &config),
        (&blob(&packed), &packed),
    ])
}

fn import(store: &Store, dir: &Path, archive: &[u8]) -> Result<Vec<Image>> {
    let path = dir.join("archive");
    fs::write(&path, archive).unwrap();
    store.import(&path)
}

fn layers(store: &Store) -> usize {
    let names = fs::read_dir(store.layers_directory()).unwrap().flatten();
    names.filter(|e| e.file_type().unwrap().is_dir()).count()
}

#[test]
fn every_format_gives_the_same_image() {
    let layer = tar_of(&[("etc/motd", b"hello")]);
    let zst = zstd::encode_all(&docker("x:1", &[&layer])[..], 1).unwrap();
    for (what, archive) in [
        ("plain", docker("x:1", &[&layer])),
        ("gzip", gzip(&docker("x:1", &[&layer]))),
        ("zstd", zst),
        ("oci", oci("docker.io/library/x:1", &layer)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("images"), true).unwrap();
        let images = import(&store, dir.path(), &archive).unwrap();
        assert_eq!(images.len(), 1, "{what}");
        assert_eq!(images[0].tags, ["docker.io/library/x:1"], "{what}");
        assert_eq!(images[0].id, sha(&config(&[&layer])), "{what}");
        assert_eq!(images[0].user, "web", "{what}");
        let (_, entry) = store.find("x:1").unwrap().unwrap();
        assert_eq!(entry.config.cmd, ["sh"]);
        let file = store.layers_directory().join(Store::layer_name(&entry.layers[0])).join("etc/motd");
        assert_eq!(fs::read(file).unwrap(), b"hello", "{what}");
        let streamed = store.import_stream(io::Cursor::new(archive)).unwrap();
        assert_eq!(streamed, images, "{what}");
        assert_eq!(fs::read_dir(dir.path().join("images/ingest")).unwrap().count(), 0, "{what}");
    }
}

#[test]
fn layers_are_shared_and_collected() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("images"), true).unwrap();
    let (base, one, two) = (tar_of(&[("base", b"b")]), tar_of(&[("one", b"1")]), tar_of(&[("two", b"2")]));
    import(&store, dir.path(), &docker("one", &[&base, &one])).unwrap();
    import(&store, dir.path(), &docker("two", &[&base, &two])).unwrap();
    assert_eq!(layers(&store), 3);
    store.remove("one", &HashSet::new()).unwrap();
    assert_eq!(layers(&store), 2);
    assert!(store.find("one").unwrap().is_none());
    store.remove("one", &HashSet::new()).unwrap();
    store.remove("two", &HashSet::from([sha(&two)])).unwrap();
    assert_eq!(layers(&store), 1, "a container still has it");
    store.collect(&HashSet::new()).unwrap();
    assert_eq!(layers(&store), 0);
    assert_eq!(store.used_bytes().unwrap(), 0);
}

#[test]
fn damaged_archives_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("images"), true).unwrap();
    let layer = tar_of(&[("a", b"a")]);
    let mut wrong = docker("x", &[&layer]);
    let at = wrong.windows(4).position(|w| w == b"a\0\0\0").unwrap();
    wrong[at + 512] = b'b';
    let cut = &docker("x", &[&layer])[..700];
    for (what, archive) in [("wrong digest", &wrong[..]), ("cut", cut), ("empty", b""), ("text", b"no archive at all")]
    {
        assert!(import(&store, dir.path(), archive).is_err(), "{what}");
        assert_eq!((layers(&store), store.list().unwrap().len()), (0, 0), "{what}");
        let left = fs::read_dir(dir.path().join("images/ingest")).unwrap().count();
        assert_eq!(left, 0, "{what}");
    }
}

#[test]
fn concurrent_imports_unpack_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("images"), true).unwrap();
    let layer = tar_of(&[("data", &vec![7; 1 << 20])]);
    let archive = docker("x", &[&layer]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| store.import_stream(io::Cursor::new(archive.clone())).unwrap());
        }
    });
    assert_eq!((layers(&store), store.list().unwrap().len()), (1, 1));
}
