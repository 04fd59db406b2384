//! Images over a store in memory: names, records, assembly; archives are judged with real clients in `tests/export.rs`.

use std::sync::Arc;

use silt_store::{Edit, Entry, GuestPath, MemoryStore, Meta, Node, Store, TreeRef, blob};

use super::*;
use crate::oci::config::{History, RunConfig};
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;

fn images() -> ImageStore {
    ImageStore::new(Arc::new(MemoryStore::new()))
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn platform() -> Platform {
    Platform {
        os: "linux".into(),
        architecture: "amd64".into(),
        variant: String::new(),
    }
}

fn with_file(store: &Arc<dyn Store>, base: TreeRef, path: &str, text: &str) -> TreeRef {
    let mut edit = Edit::new(store.clone(), base).unwrap();
    let node = Node::File(blob::from_bytes(store.as_ref(), text.as_bytes()).unwrap());
    edit.insert(
        &GuestPath::parse(path.as_bytes()).unwrap(),
        Entry {
            meta: Meta::default(),
            node,
        },
    )
    .unwrap();
    edit.finish().unwrap()
}

fn step(created_by: &str, empty_layer: bool) -> History {
    History {
        created: Some("2024-01-01T00:00:00Z".into()),
        created_by: created_by.into(),
        empty_layer,
        ..History::default()
    }
}

fn build(images: &ImageStore, base: Option<&Image>, files: &[&str]) -> Image {
    let store = images.store();
    let mut tree = base.map_or_else(|| images.scratch().unwrap(), |base| base.root);
    let mut steps = Vec::new();
    for file in files {
        let upper = with_file(store, tree, file, file);
        steps.push((tree, upper));
        tree = upper;
    }
    let platform = platform();
    let mut history: Vec<_> = files.iter().map(|file| step(file, false)).collect();
    history.push(step("CMD", true));
    let assembly = Assembly {
        base,
        steps,
        config: RunConfig::default(),
        history,
        platform: &platform,
        author: String::new(),
        created: None,
    };
    assemble(store, assembly).unwrap()
}

#[test]
fn images_are_found_by_name_id_and_prefix() {
    let images = images();
    let first = build(&images, None, &["/a"]);
    let second = build(&images, Some(&first), &["/b", "/c"]);
    images
        .put(&first, &[name("first"), name("user/first:1")])
        .unwrap();
    images.put(&second, &[name("second")]).unwrap();
    assert_eq!(images.find("first").unwrap(), first);
    assert_eq!(images.find("docker.io/library/second:latest").unwrap(), second);
    assert_eq!(images.find(second.id.0.as_str()).unwrap(), second);
    assert_eq!(images.find(&second.id.0.hex()[..6]).unwrap(), second);
    assert!(matches!(images.find("third"), Err(ImageError::NotFound { .. })));
    assert!(matches!(images.find("zzz"), Err(ImageError::NotFound { .. })));
    assert_eq!(images.list().unwrap().len(), 2);
    assert_eq!(second.layers.len(), 3);
    assert_eq!(second.config.history.len(), 5);
    assert_eq!(second.created(), Some("2024-01-01T00:00:00Z"));
}

#[test]
fn a_name_moves_and_an_image_goes_with_its_last() {
    let images = images();
    let first = build(&images, None, &["/a"]);
    let second = build(&images, Some(&first), &["/b"]);
    images.put(&first, &[name("app")]).unwrap();
    images.put(&second, &[name("app")]).unwrap();
    assert_eq!(images.find("app").unwrap(), second);
    assert!(images.names_of(&first.id).unwrap().is_empty());
    images.tag("app", &name("other:2")).unwrap();
    let by_id = images.remove(second.id.0.as_str(), false);
    assert!(matches!(by_id, Err(ImageError::SeveralNames { .. })));
    let removed = images.remove("app", false).unwrap();
    assert_eq!((removed.untagged, removed.deleted), (vec![name("app")], None));
    let removed = images.remove("other:2", false).unwrap();
    assert_eq!(removed.deleted, Some(second.id.clone()));
    assert!(images.by_id(&second.id).unwrap().is_none());
    assert_eq!(
        images.remove(first.id.0.short(), false).unwrap().deleted,
        Some(first.id)
    );
    assert!(images.list().unwrap().is_empty());
}

#[test]
fn a_manifest_digest_is_a_name_that_goes_with_the_tag() {
    let images = images();
    let image = build(&images, None, &["/a"]);
    let digest = name(&format!("app@{}", image.id));
    images
        .put(&image, &[name("app:1"), name("app:2"), digest.clone()])
        .unwrap();
    let listed = &images.list().unwrap()[0];
    assert_eq!(
        (listed.names.len(), &*listed.digests),
        (2, std::slice::from_ref(&digest))
    );
    assert_eq!(images.get(&digest).unwrap().unwrap(), image);
    assert_eq!(images.remove("app:1", false).unwrap().deleted, None);
    let removed = images.remove("app:2", false).unwrap();
    assert_eq!((removed.untagged.len(), removed.deleted), (2, Some(image.id)));
}

#[test]
fn a_record_keeps_every_root_of_the_image() {
    let images = images();
    let image = build(&images, None, &["/a", "/b"]);
    images.put(&image, &[]).unwrap();
    let records = images
        .store()
        .records(silt_store::RecordKind::Image, b"id/")
        .unwrap();
    for layer in &image.layers {
        assert!(records[0].1.roots.contains(&layer.lower) && records[0].1.roots.contains(&layer.root));
    }
}

#[test]
fn history_and_layers_stay_one_to_one() {
    let images = images();
    let mut base = build(&images, None, &["/a", "/b"]);
    let scratch = images.scratch().unwrap();
    // A base without history, and one with too much of it.
    for history in [vec![], vec![step("1", false), step("2", false), step("3", false)]] {
        base.config.history = history;
        let bytes = crate::oci::manifest::to_bytes(&base.config);
        let base = Image::new(bytes, base.layers.clone(), scratch).unwrap();
        let image = build(&images, Some(&base), &["/c"]);
        let with_layer = image
            .config
            .history
            .iter()
            .filter(|entry| !entry.empty_layer)
            .count();
        assert_eq!(with_layer, image.layers.len());
    }
    let platform = platform();
    let wrong = Assembly {
        base: None,
        steps: vec![],
        config: RunConfig::default(),
        history: vec![step("RUN", false)],
        platform: &platform,
        author: String::new(),
        created: None,
    };
    assert!(matches!(
        assemble(images.store(), wrong),
        Err(ImageError::History { .. })
    ));
}

#[test]
fn an_import_repeated_is_the_same_image_and_a_bad_one_records_nothing() {
    let images = images();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(2);
    header.set_cksum();
    builder
        .append_data(&mut header, "etc/hostname", &b"x\n"[..])
        .unwrap();
    let tar = builder.into_inner().unwrap();
    let import = |bytes: &[u8]| {
        let bytes = bytes.to_vec();
        super::import(
            &images,
            std::io::Cursor::new(bytes),
            &name("base"),
            RunConfig::default(),
            &platform(),
            "test",
        )
    };
    let image = import(&tar).unwrap();
    assert_eq!(import(&zstd::encode_all(&*tar, 1).unwrap()).unwrap().id, image.id);
    assert_eq!(images.find("base").unwrap(), image);
    for bad in [&tar[..700], b"no tar at all", &tar[..tar.len() - 1024]] {
        assert!(matches!(import(bad), Err(ImageError::RootFilesystem(_))));
    }
    assert_eq!(images.list().unwrap().len(), 1);
}

#[test]
fn layers_that_an_image_has_are_found_for_others() {
    let images = images();
    let image = build(&images, None, &["/a", "/b", "/c"]);
    images.put(&image, &[]).unwrap();
    let mut wanted: Vec<_> = image.layers[..2]
        .iter()
        .map(|layer| layer.diff_id.clone())
        .collect();
    wanted.push(crate::oci::digest::DiffId(crate::oci::digest::Digest::sha256(
        b"another",
    )));
    assert_eq!(images.common_layers(&wanted).unwrap(), image.layers[..2]);
    assert!(images.common_layers(&wanted[1..]).unwrap().is_empty());
}
