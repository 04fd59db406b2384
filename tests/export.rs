//! What is exported, judged by the schemas, by real clients, and by loading it again. These tests unpack owners and devices and
//! so need root; each says in its name which client it needs.

pub(crate) mod scene;

use scene::{Scene, amd64, client, images, in_tree, on_disk, same};
use silt::export::{Item, Output, Target, export};
use silt::images::{ImageError, Input, load};

fn loaded(archive: &std::path::Path) -> (silt::images::ImageStore, silt::images::Loaded) {
    let images = images();
    let input = if archive.is_dir() {
        Input::Directory(archive.into())
    } else {
        Input::File(std::fs::File::open(archive).unwrap(), archive.into())
    };
    let mut all = load(&images, input, &amd64()).unwrap();
    assert_eq!(all.len(), 1);
    let first = all.remove(0);
    (images, first)
}

#[test]
fn every_archive_loads_as_the_same_image_and_is_written_the_same_again() {
    let scene = Scene::new();
    let gzip = [("compression", "gzip")];
    let zstd = [("compression", "zstd")];
    let plain = [("compression", "uncompressed")];
    let directory = [("tar", "false")];
    let forms: [(&str, &[(&str, &str)]); 5] = [
        ("docker", &[]),
        ("oci", &gzip),
        ("oci", &zstd),
        ("oci", &plain),
        ("oci", &directory),
    ];
    for (number, (kind, options)) in forms.into_iter().enumerate() {
        let first = scene.export(kind, &format!("{number}.first"), options);
        let (images, loaded) = loaded(&first);
        assert_eq!(loaded.image.id, scene.image.id, "{kind} {options:?}");
        assert_eq!(loaded.image.root, scene.image.root, "{kind} {options:?}");
        assert_eq!(loaded.names, std::slice::from_ref(&scene.name));
        same(&in_tree(images.store(), loaded.image.root), &scene.expected());
        if options != directory {
            let again = Scene {
                images,
                image: loaded.image,
                name: scene.name.clone(),
                dir: tempfile::tempdir().unwrap(),
            };
            let second = again.export(kind, "second", options);
            assert!(
                std::fs::read(&first).unwrap() == std::fs::read(second).unwrap(),
                "{kind} {options:?}"
            );
        }
    }
}

#[test]
fn documents_are_valid_against_the_image_spec_schemas() {
    let scene = Scene::new();
    let layout = scene.export("oci", "layout", &[("tar", "false")]);
    let read = |path: &std::path::Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let blob = |descriptor: &serde_json::Value| {
        let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
        read(&layout.join("blobs").join(digest))
    };
    valid("image-layout-schema.json", &read(&layout.join("oci-layout")));
    let index = read(&layout.join("index.json"));
    valid("image-index-schema.json", &index);
    valid("content-descriptor.json", &index["manifests"][0]);
    let manifest = blob(&index["manifests"][0]);
    valid("image-manifest-schema.json", &manifest);
    let config = blob(&manifest["config"]);
    valid("config-schema.json", &config);
    let layers = config["rootfs"]["diff_ids"].as_array().unwrap().len();
    let history = config["history"].as_array().unwrap();
    assert_eq!(
        history
            .iter()
            .filter(|entry| entry["empty_layer"] != true)
            .count(),
        layers
    );
    assert_eq!(manifest["layers"].as_array().unwrap().len(), layers);
}

/// Finds the schemas that schemas refer to among the fixtures, by file name.
struct Fixtures;

fn fixture(name: &str) -> serde_json::Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/oci")
        .join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

impl jsonschema::Retrieve for Fixtures {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<serde_json::Value, Box<dyn std::error::Error + Send + Sync>> {
        let text = uri.as_str();
        Ok(fixture(text.rsplit('/').next().unwrap_or(text)))
    }
}

fn valid(schema: &str, document: &serde_json::Value) {
    let validator = jsonschema::options()
        .with_retriever(Fixtures)
        .build(&fixture(schema))
        .unwrap();
    let errors: Vec<_> = validator
        .iter_errors(document)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{schema}: {errors:?} in {document:#}");
}

#[test]
fn skopeo_reads_and_converts_both_archives() {
    let scene = Scene::new();
    let id = scene.image.id.0.hex();
    let docker = scene.export("docker", "docker.tar", &[]);
    let oci = scene.export("oci", "oci.tar", &[]);
    for (number, from) in [
        format!("docker-archive:{}", docker.display()),
        format!("oci-archive:{}:1", oci.display()),
    ]
    .iter()
    .enumerate()
    {
        let inspected = client("skopeo", ["inspect", "--config", from]);
        let config: serde_json::Value = serde_json::from_str(&inspected).unwrap();
        assert_eq!(config["config"]["Entrypoint"][0], "/bin/su");
        let converted = scene.path(&format!("converted{number}.tar"));
        client(
            "skopeo",
            [
                "copy",
                "--quiet",
                from,
                &format!("docker-archive:{}:x/y:2", converted.display()),
            ],
        );
        let (_, loaded) = loaded(&converted);
        assert_eq!(loaded.image.id.0.hex(), id);
        assert_eq!(loaded.names[0].familiar(), "x/y:2");
        let converted = scene.path(&format!("layout{number}"));
        client(
            "skopeo",
            [
                "copy",
                "--quiet",
                from,
                &format!("oci:{}:latest", converted.display()),
            ],
        );
    }
    // Converted to OCI from a docker archive, the config stays as it was.
    let (images, image) = loaded(&scene.path("layout0"));
    assert_eq!(image.image.id.0.hex(), id);
    same(&in_tree(images.store(), image.image.root), &scene.expected());
}

#[test]
fn umoci_unpacks_the_tree_that_was_built() {
    let scene = Scene::new();
    let layout = scene.export("oci", "layout", &[("tar", "false")]);
    let bundle = scene.path("bundle");
    let image = format!("{}:1", layout.display());
    client("umoci", ["unpack", "--image", &image, bundle.to_str().unwrap()]);
    same(&on_disk(&bundle.join("rootfs")), &scene.expected());
}

#[test]
fn podman_loads_both_archives_and_mounts_the_tree_that_was_built() {
    let scene = Scene::new();
    let home = scene.path("podman");
    let podman = |arguments: &[&str]| {
        let home = home.to_str().unwrap();
        let root = format!("--root={home}/root");
        let run = format!("--runroot={home}/run");
        let tmp = format!("--tmpdir={home}/tmp");
        let common = [&*root, &*run, &*tmp, "--storage-driver=vfs"];
        client("podman", common.iter().chain(arguments))
    };
    for (kind, file) in [("docker", "docker.tar"), ("oci", "oci.tar")] {
        let archive = scene.export(kind, file, &[("name", "localhost/demo:1")]);
        podman(&["load", "--quiet", "--input", archive.to_str().unwrap()]);
        let id = podman(&["image", "inspect", "--format", "{{.Id}}", "localhost/demo:1"]);
        assert_eq!(id.trim(), scene.image.id.0.hex(), "{kind}");
        let mounted = podman(&["image", "mount", "localhost/demo:1"]);
        // podman gives the root directory a time of its own.
        same(
            &below_root(on_disk(std::path::Path::new(mounted.trim()))),
            &below_root(scene.expected()),
        );
        podman(&["image", "unmount", "localhost/demo:1"]);
        podman(&["rmi", "--force", "localhost/demo:1"]);
    }
}

#[test]
fn gnu_tar_extracts_the_tar_export_and_its_own_tar_is_imported_back() {
    let scene = Scene::new();
    let archive = scene.export("tar", "root.tar", &[]);
    let out = scene.path("out");
    std::fs::create_dir(&out).unwrap();
    let (archive, directory) = (archive.to_str().unwrap(), out.to_str().unwrap());
    client(
        "tar",
        [
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-xpf",
            archive,
            "-C",
            directory,
        ],
    );
    same(&on_disk(&out), &scene.expected());
    for (number, format) in [&["--format=posix"][..], &["--format=posix", "--sparse"]]
        .iter()
        .enumerate()
    {
        let again = scene.path(&format!("again{number}.tar"));
        let options = [
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-C",
            directory,
            "-cf",
        ];
        let again_text = again.to_str().unwrap();
        client("tar", format.iter().chain(&options).chain(&[again_text, "."]));
        let images = images();
        let name = silt::oci::reference::Reference::parse("again").unwrap();
        let file = std::fs::File::open(&again).unwrap();
        let image = silt::images::import(
            &images,
            file,
            &name,
            silt::oci::config::RunConfig::default(),
            &amd64(),
            "test",
        )
        .unwrap();
        assert_eq!(image.root, scene.image.root, "{format:?}");
    }
}

#[test]
fn gnu_tar_sparse_files_are_imported_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sparse");
    let handle = std::fs::File::create(&file).unwrap();
    handle.set_len(3_000_000).unwrap();
    for offset in [5u64, 1_000_000, 2_000_000, 2_999_990] {
        std::os::unix::fs::FileExt::write_all_at(&handle, b"data here", offset).unwrap();
    }
    let content = std::fs::read(&file).unwrap();
    let forms: [&[&str]; 4] = [
        &["--format=gnu"],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ];
    for form in forms {
        let archive = dir.path().join("archive.tar");
        let common = [
            "--sparse",
            "-C",
            dir.path().to_str().unwrap(),
            "-cf",
            archive.to_str().unwrap(),
            "sparse",
        ];
        client("tar", form.iter().chain(&common));
        assert!(
            std::fs::metadata(&archive).unwrap().len() < 200_000,
            "{form:?} is sparse"
        );
        let images = images();
        let store = images.store();
        let scratch = silt_store::root::scratch(store.as_ref()).unwrap();
        let mut input = std::fs::File::open(&archive).unwrap();
        let unpacked = silt::layer::unpack_recorded(store, scratch, &mut input).unwrap();
        let entry = silt_store::walk::lookup(store, unpacked.tree, &scene::path("/sparse"))
            .unwrap()
            .unwrap();
        let silt_store::Node::File(found) = entry.node else {
            panic!("{form:?}: no file")
        };
        assert!(
            silt_store::blob::read_all(store.as_ref(), &found).unwrap() == content,
            "{form:?}"
        );
        let bytes = std::fs::read(&archive).unwrap();
        let diff_id = silt::oci::digest::DiffId(silt::oci::digest::Digest::sha256(&bytes));
        let size = bytes.len() as u64;
        let layer = silt::layer::packed::remember_foreign(store, scratch, unpacked, diff_id, size).unwrap();
        let mut again = Vec::new();
        silt::layer::packed::write_tar(store, &layer, &mut again).unwrap();
        assert!(again == bytes, "{form:?}");
    }
}

#[test]
fn the_local_exporter_writes_the_tree_and_keeps_what_was_there() {
    let scene = Scene::new();
    let fresh = scene.export("local", "fresh", &[]);
    same(&on_disk(&fresh), &scene.expected());
    let there = scene.path("there");
    std::fs::create_dir_all(there.join("d")).unwrap();
    std::fs::write(there.join("kept"), "kept").unwrap();
    // A link in the destination is replaced, not followed.
    std::os::unix::fs::symlink("/nowhere", there.join("usr")).unwrap();
    scene.export("local", "there", &[]);
    assert_eq!(std::fs::read(there.join("kept")).unwrap(), b"kept");
    std::fs::remove_file(there.join("kept")).unwrap();
    same(&below_root(on_disk(&there)), &below_root(scene.expected()));
}

#[test]
fn a_stream_gets_the_same_bytes_as_a_file_and_a_failed_export_leaves_no_file() {
    let scene = Scene::new();
    let file = scene.export("docker", "file.tar", &[]);
    let output = Output::parse("type=docker,dest=-").unwrap();
    let item = Item {
        image: scene.image.clone(),
        names: vec![scene.name.clone()],
    };
    let mut stream = Vec::new();
    let items = [item.clone()];
    export(scene.images.store(), &items, &output, Target::Stream(&mut stream)).unwrap();
    assert!(stream == std::fs::read(file).unwrap());
    let mut broken = item;
    broken.image.layers[0].size += 1;
    let target = scene.path("broken.tar");
    export(
        scene.images.store(),
        &[broken],
        &output,
        Target::Path(target.clone()),
    )
    .unwrap_err();
    assert!(!target.exists());
    let left: Vec<_> = std::fs::read_dir(scene.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["file.tar"]);
}

#[test]
fn bad_archives_are_refused_and_nothing_is_recorded() {
    let scene = Scene::new();
    let archive = scene.export("docker", "good.tar", &[]);
    let bytes = std::fs::read(&archive).unwrap();
    let images = images();
    let attempt = |bytes: Vec<u8>| {
        load(
            &images,
            Input::Stream(Box::new(std::io::Cursor::new(bytes))),
            &amd64(),
        )
    };
    let mut damaged = bytes.clone();
    // In the content of `/big`, in the first layer.
    damaged[1_000_000] ^= 1;
    let error = attempt(damaged).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::Layer {
                number: 1,
                count: 4,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(attempt(bytes[..bytes.len() / 2].to_vec()).is_err());
    let error = attempt(std::fs::read(scene.export("tar", "root.tar", &[])).unwrap()).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::NoArchive {
                root_filesystem: true
            }
        ),
        "{error:?}"
    );
    let layout = scene.export("oci", "layout", &[("tar", "false")]);
    let largest = std::fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let largest = largest.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut blob = std::fs::read(&largest).unwrap();
    blob[1000] ^= 1;
    std::fs::write(&largest, blob).unwrap();
    let error = load(&images, Input::Directory(layout.clone()), &amd64()).unwrap_err();
    assert!(matches!(error, ImageError::Layer { .. }), "{error:?}");
    std::fs::remove_file(&largest).unwrap();
    let error = load(&images, Input::Directory(layout), &amd64()).unwrap_err();
    assert!(matches!(error, ImageError::NoMember { .. }), "{error:?}");
    assert!(images.list().unwrap().is_empty());
}

fn below_root(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().filter(|line| !line.starts_with("/ ")).collect()
}
