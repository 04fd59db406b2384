//! Debian's docker-registry, filled by skopeo.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use silt::images::ImageStore;
use silt::oci::platform::Platform;
use silt::oci::reference::Reference;
use silt::progress::{Event, Sink};
use silt::registry::{Client, Credentials, RegistryError};
use silt::source::image::{Images, Pull, SourceError};

use crate::export::scene::{Scene, amd64, client, images, in_tree, same};

pub(super) struct NoSink;

impl Sink for NoSink {
    fn event(&self, _: Event) {}
}

/// A registry of its own; ends with the value.
struct Registry {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

/// The password is `secret`.
const HTPASSWD: &str = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

impl Registry {
    fn start(with_password: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address = format!("127.0.0.1:{port}");
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n",
            path("data"),
        );
        if with_password {
            std::fs::write(path("htpasswd"), HTPASSWD).unwrap();
            config.extend(["auth: {htpasswd: {realm: test, path: ", &path("htpasswd"), "}}\n"]);
        }
        std::fs::write(path("config.yml"), config).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let process = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("docker-registry: {error} (this test needs it: apt-get install docker-registry)")
            });
        let begun = Instant::now();
        while TcpStream::connect(&address).is_err() {
            let log = std::fs::read_to_string(path("log")).unwrap();
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "docker-registry does not start: {log}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            process,
            address,
            _folder: folder,
        }
    }

    fn name(&self, text: &str) -> Reference {
        Reference::parse(&format!("{}/{text}", self.address)).unwrap()
    }

    /// Copies an image of a layout or archive into the registry.
    fn fill(&self, from: &str, to: &str, options: &[&str]) {
        let to = format!("docker://{}/{to}", self.address);
        let common = ["copy", "--quiet", "--dest-tls-verify=false"];
        client("skopeo", common.iter().chain(options).chain(&[from, &*to]));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

pub(super) fn fetch(
    images: &ImageStore,
    client: &Arc<Client>,
    name: &Reference,
    pull: Pull,
) -> Result<silt::images::Image, SourceError> {
    let source = Images {
        images,
        client,
        sink: &NoSink,
        cancelled: &|| false,
    };
    source.resolve(name, &amd64(), pull)
}

pub(super) fn registry_error(error: SourceError) -> RegistryError {
    match error {
        SourceError::Registry { source, .. } => *source,
        other => panic!("{other:?}"),
    }
}

fn anonymous() -> Arc<Client> {
    Arc::new(Client::new(Credentials::none()))
}

#[test]
fn docker_registry_and_skopeo_images_of_all_formats_are_pulled() {
    let scene = Scene::new();
    let registry = Registry::start(false);
    let gzip = format!(
        "oci:{}:1",
        scene.export("oci", "gzip", &[("tar", "false")]).display()
    );
    let zstd = [("tar", "false"), ("compression", "zstd")];
    let zstd = format!("oci:{}:1", scene.export("oci", "zstd", &zstd).display());
    registry.fill(&gzip, "app/oci:1", &[]);
    registry.fill(&gzip, "app/docker:1", &["--format=v2s2"]);
    registry.fill(&zstd, "app/zstd:1", &[]);
    for name in ["app/oci:1", "app/docker:1", "app/zstd:1"] {
        let images = images();
        let name = registry.name(name);
        let image = fetch(&images, &anonymous(), &name, Pull::Missing).unwrap();
        same(&in_tree(images.store(), image.root), &scene.expected());
        assert_eq!(image.root, scene.image.root, "{name}");
        if name.path() != "app/docker" {
            // skopeo writes the config anew for Docker's format.
            assert_eq!(image.id, scene.image.id, "{name}");
        }
        assert_eq!(images.find(&name.to_string()).unwrap(), image);
        let listed = &images.list().unwrap()[0];
        let raw = client(
            "skopeo",
            [
                "inspect",
                "--tls-verify=false",
                "--format={{.Digest}}",
                &format!("docker://{name}"),
            ],
        );
        assert_eq!(listed.digests[0].digest().unwrap().as_str(), raw.trim());
        // By digest, and again with nothing to fetch.
        let by_digest = fetch(&images, &anonymous(), &listed.digests[0], Pull::Always).unwrap();
        assert_eq!(by_digest.id, image.id);
        assert_eq!(
            fetch(&images, &anonymous(), &name, Pull::Always).unwrap().id,
            image.id
        );
    }
}

#[test]
fn docker_registry_unknown_images_and_platforms_are_told_apart() {
    let scene = Scene::new();
    let registry = Registry::start(false);
    let layout = scene.export("oci", "layout", &[("tar", "false")]);
    registry.fill(&format!("oci:{}:1", layout.display()), "app:1", &[]);
    // The layout's index as a multi-platform image, pushed as it is.
    let index = layout.join("index.json");
    let text = std::fs::read_to_string(&index).unwrap();
    let nested =
        silt::oci::manifest::Descriptor::of("application/vnd.oci.image.index.v1+json", text.as_bytes());
    std::fs::write(
        layout
            .join("blobs")
            .join(nested.digest.as_str().replace(':', "/")),
        &text,
    )
    .unwrap();
    std::fs::write(
        &index,
        silt::oci::manifest::to_bytes(&silt::oci::manifest::Index::oci(vec![nested])),
    )
    .unwrap();
    registry.fill(&format!("oci:{}", layout.display()), "multi:1", &["--all"]);
    let images = images();
    let anonymous = anonymous();
    let image = fetch(&images, &anonymous, &registry.name("multi:1"), Pull::Missing).unwrap();
    assert_eq!(image.id, scene.image.id);
    let source = Images {
        images: &images,
        client: &anonymous,
        sink: &NoSink,
        cancelled: &|| false,
    };
    let s390x = Platform::parse("linux/s390x").unwrap();
    let error = source
        .resolve(&registry.name("multi:1"), &s390x, Pull::Missing)
        .unwrap_err();
    let RegistryError::Platform { available, .. } = registry_error(error) else {
        panic!()
    };
    assert_eq!(available, ["linux/amd64"]);
    for unknown in ["app:2", "nothing/here:1"] {
        let error = fetch(&images, &anonymous, &registry.name(unknown), Pull::Missing).unwrap_err();
        let RegistryError::NotFound { what, .. } = registry_error(error) else {
            panic!()
        };
        assert_eq!(what, unknown);
    }
    let error = fetch(&images, &anonymous, &registry.name("app:1"), Pull::Never).unwrap_err();
    assert!(matches!(error, SourceError::NotLocal { .. }));
}

#[test]
fn docker_registry_with_a_password_is_asked_with_the_docker_config() {
    let scene = Scene::new();
    let registry = Registry::start(true);
    let archive = scene.export("oci", "layout", &[("tar", "false")]);
    registry.fill(
        &format!("oci:{}:1", archive.display()),
        "app:1",
        &["--dest-creds=user:secret"],
    );
    let name = registry.name("app:1");
    let error = fetch(&images(), &anonymous(), &name, Pull::Missing).unwrap_err();
    assert!(error.hint().unwrap().contains("docker login"), "{error:?}");
    let with = |auth: &str| {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, registry.address);
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        credentials(folder.path())
    };
    // user:secret, user:wrong
    let image = fetch(&images(), &with("dXNlcjpzZWNyZXQ="), &name, Pull::Missing).unwrap();
    assert_eq!(image.id, scene.image.id);
    let error = fetch(&images(), &with("dXNlcjp3cm9uZw=="), &name, Pull::Missing).unwrap_err();
    let RegistryError::Unauthorized { with_credentials, .. } = registry_error(error) else {
        panic!()
    };
    assert!(with_credentials);
}

pub(super) fn credentials(folder: &Path) -> Arc<Client> {
    Arc::new(Client::new(Credentials::in_folder(folder).unwrap()))
}

#[test]
fn an_unreachable_registry_is_told_with_a_hint() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let name = Reference::parse(&format!("127.0.0.1:{port}/app")).unwrap();
    let error = fetch(&images(), &anonymous(), &name, Pull::Missing).unwrap_err();
    assert!(error.hint().is_some());
    let error = registry_error(error);
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error:?}");
}
