//! Pulling from Debian's docker-registry on loopback, plain HTTP.

mod common;

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use common::*;
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;
use runtime::{Embedded, Runtime};

struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    async fn start(host: &Host) -> Self {
        let program = "/usr/bin/docker-registry";
        if !std::path::Path::new(program).exists() {
            let installed = Command::new("apt-get").args(["install", "-y", "-q", "docker-registry"]).status().unwrap();
            assert!(installed.success(), "docker-registry is needed");
        }
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let config = host.path("registry.yml");
        let storage = host.path("registry");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n",
            storage.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new(program)
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { child, address };
        until("the registry listens", || TcpStream::connect(&registry.address).is_ok()).await;
        registry
    }

    /// Pushes an image of the archive's layers, gzipped.
    async fn push(&self, name: &str, archive: &[u8]) -> String {
        let member = |wanted: &str| {
            let mut archive = tar::Archive::new(archive);
            let mut entry = archive
                .entries()
                .unwrap()
                .map(Result::unwrap)
                .find(|e| e.path().unwrap().to_str() == Some(wanted))
                .unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            bytes
        };
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gz, &member("layer.tar")).unwrap();
        let layer = ImageLayer::oci_v1_gzip(gz.finish().unwrap(), None);
        let config = Config::oci_v1(member("config.json"), None);
        let client = oci_client::Client::new(ClientConfig { protocol: ClientProtocol::Http, ..Default::default() });
        let reference: oci_client::Reference = format!("{}/{name}", self.address).parse().unwrap();
        let pushed = client.push(&reference, &[layer], config, &RegistryAuth::Anonymous, None).await.unwrap();
        pushed.manifest_url.rsplit('/').next().unwrap().to_owned()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn runs(runtime: &Embedded, host: &Host, pod: &str, image: &str) {
    let pod = runtime.run_sandbox(host.sandbox(pod)).await.unwrap();
    let config = runtime::ContainerConfig { image: image.to_owned(), ..container("c", "echo pulled") };
    let id = run(runtime, &pod, config).await;
    assert!(log(&exited(runtime, &id).await).contains("pulled"));
    runtime.remove_sandbox(&pod).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_come_from_a_registry_and_its_mirrors() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let host = Host::new();
    let registry = Registry::start(&host).await;
    let digest = registry.push("some/busybox:1", &image("x")).await;
    std::fs::write(
        host.path("registries.yaml"),
        format!("mirrors:\n  mirrored.example.com:\n    endpoint: [\"http://{}\"]\n", registry.address),
    )
    .unwrap();
    let runtime = host.open().await;

    let name = format!("{}/some/busybox:1", registry.address);
    let id = runtime.pull_image(&name, None).await.unwrap();
    let pulled = runtime.image(&name).await.unwrap().unwrap();
    assert_eq!(pulled.id, id);
    assert_eq!(pulled.tags, std::slice::from_ref(&name));
    assert!(pulled.size_bytes > 1_000_000, "{}", pulled.size_bytes);
    runs(&runtime, &host, "pulled", &id).await;

    let mirrored = "mirrored.example.com/some/busybox:1";
    assert_eq!(runtime.pull_image(mirrored, None).await.unwrap(), id);
    assert_eq!(runtime.images().await.unwrap().len(), 1);

    if digest.starts_with("sha256:") {
        let by_digest = format!("{}/some/busybox@{digest}", registry.address);
        assert_eq!(runtime.pull_image(&by_digest, None).await.unwrap(), id);
        assert!(runtime.image(&by_digest).await.unwrap().is_some());
    }
    for missing in ["some/busybox:2", "no/such:1"] {
        let error = runtime.pull_image(&format!("{}/{missing}", registry.address), None).await.unwrap_err();
        assert!(error.to_string().contains(missing), "{error}");
    }
    runtime.remove_image(&id).await.unwrap();
    assert!(runtime.images().await.unwrap().is_empty());
    assert_eq!(std::fs::read_dir(runtime.store().layers_directory()).unwrap().count(), 0);
}
