//! Mounts on stored trees, on trees that are not sealed, on chains of them; snapshots of live mounts.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;

use silt_fuse::{Base, Session, open_device};
use silt_store::MemoryStore;

use crate::scene::{Scene, assert_same, sealed_tree, tree};

#[test]
fn root_and_fuse_a_chain_of_unsealed_steps_reads_and_seals() {
    let scene = Scene::new();
    let mut base = scene.scratch();
    let mut chain = Vec::new();
    for step in 0..12 {
        let frozen = scene.step(base, |top| {
            fs::create_dir_all(top.join("shared")).unwrap();
            fs::write(top.join(format!("shared/{step}")), vec![step; 50_000]).unwrap();
            let grown = fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(top.join("grown"))
                .unwrap();
            grown.write_all_at(&[step; 1000], 1000 * u64::from(step)).unwrap();
            if step > 2 {
                fs::remove_file(top.join(format!("shared/{}", step - 3))).unwrap();
            }
        });
        assert!(frozen.sealed().is_none());
        base = Base::Frozen(Arc::clone(&frozen));
        chain.push(frozen);
    }
    let mounted = scene.mount(base);
    let seen = tree(&mounted.target);
    assert_eq!(seen["/grown"].size, 12_000);
    assert_eq!(seen.keys().filter(|path| path.starts_with("/shared/")).count(), 3);
    // Sealing below a live mount changes nothing that it shows.
    let sealed = chain[5].seal().unwrap();
    assert!(chain[0].sealed().is_some() && chain[6].sealed().is_none());
    assert_same(&tree(&mounted.target), &seen, "after sealing the middle");
    let last = chain.last().unwrap().seal().unwrap();
    assert_same(&tree(&mounted.target), &seen, "after sealing all");
    assert_same(&sealed_tree(&scene.store, last), &seen, "sealed");
    assert_eq!(chain[5].seal().unwrap(), sealed, "sealing is idempotent");
    assert_eq!(
        mounted.finish().seal().unwrap(),
        last,
        "nothing changed, the same tree"
    );
}

#[test]
fn root_and_fuse_the_same_writes_give_the_same_tree_whatever_the_base_was() {
    let write = |top: &std::path::Path| {
        fs::create_dir(top.join("dir")).unwrap();
        fs::write(top.join("dir/file"), vec![3; 400_000]).unwrap();
        fs::hard_link(top.join("dir/file"), top.join("link")).unwrap();
    };
    let scene = Scene::new();
    let direct = scene.step(scene.scratch(), write).seal().unwrap();
    let detour = scene.step(scene.scratch(), |top| {
        write(top);
        fs::write(top.join("dir/file2"), "gone soon").unwrap();
    });
    let detour = scene.step(Base::Frozen(detour), |top| {
        fs::remove_file(top.join("dir/file2")).unwrap()
    });
    assert_eq!(detour.seal().unwrap().content, direct.content);
}

#[test]
fn root_and_fuse_renaming_a_large_directory_reads_and_writes_nothing_below() {
    let scene = Scene::new();
    let base = scene.step(scene.scratch(), |top| {
        for dir in 0..20 {
            fs::create_dir_all(top.join(format!("big/{dir}"))).unwrap();
            for file in 0..50 {
                fs::write(top.join(format!("big/{dir}/{file}")), format!("{dir} {file}")).unwrap();
            }
        }
        fs::hard_link(top.join("big/3/7"), top.join("big/4/link")).unwrap();
    });
    let sealed = base.seal().unwrap();
    let mounted = scene.mount(Base::Stored(sealed));
    fs::rename(mounted.target.join("big"), mounted.target.join("moved")).unwrap();
    assert!(mounted.session().inodes() < 5);
    let frozen = mounted.finish();
    assert_eq!((frozen.changes().written, frozen.changes().removed), (1, 1));
    let tree = sealed_tree(&scene.store, frozen.seal().unwrap());
    assert_eq!(tree["/moved/4/link"].first, "/moved/3/7");
    assert_eq!(tree.len(), 1 + 1 + 20 + 1000 + 1);
}

#[test]
fn root_and_fuse_one_linked_file_changed_changes_all_its_names() {
    let scene = Scene::new();
    let base = scene.step(scene.scratch(), |top| {
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::create_dir(top.join("c")).unwrap();
        fs::write(top.join("a/b/one"), "x").unwrap();
        fs::hard_link(top.join("a/b/one"), top.join("c/two")).unwrap();
        fs::hard_link(top.join("a/b/one"), top.join("three")).unwrap();
    });
    let sealed = base.seal().unwrap();
    let frozen = scene.step(Base::Stored(sealed), |top| {
        fs::rename(top.join("a"), top.join("z")).unwrap();
        fs::write(top.join("three"), "changed").unwrap();
        assert_eq!(fs::read(top.join("z/b/one")).unwrap(), b"changed");
        fs::remove_file(top.join("c/two")).unwrap();
        assert_eq!(fs::metadata(top.join("three")).unwrap().nlink(), 2);
    });
    let tree = sealed_tree(&scene.store, frozen.seal().unwrap());
    assert_eq!(tree["/z/b/one"].content, tree["/three"].content);
    assert_eq!(
        (tree["/z/b/one"].first.as_str(), tree["/z/b/one"].nlink),
        ("/three", 2)
    );
}

#[test]
fn root_and_fuse_a_checkpoint_stays_while_the_mount_goes_on() {
    let scene = Scene::new();
    let mounted = scene.mount(scene.scratch());
    let path = mounted.target.join("file");
    fs::write(&path, vec![1; 100_000]).unwrap();
    let first = mounted.session().checkpoint().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[2; 10], 50_000).unwrap();
    drop(file);
    let second = mounted.session().checkpoint().unwrap();
    fs::remove_file(&path).unwrap();
    let last = mounted.finish();
    let at = |sealed| {
        sealed_tree(&scene.store, sealed)
            .get("/file")
            .map(|seen| seen.content.clone())
    };
    let mut expected = vec![1; 100_000];
    assert_eq!(at(first.seal().unwrap()), Some(crate::scene::digest(&expected)));
    expected[50_000..50_010].fill(2);
    assert_eq!(at(second.seal().unwrap()), Some(crate::scene::digest(&expected)));
    assert_eq!(at(last.seal().unwrap()), None);
}

#[test]
fn root_and_fuse_a_session_without_a_mount_ends() {
    let scene = Scene::new();
    let session = Session::start(
        open_device().unwrap(),
        Arc::clone(&scene.store),
        scene.scratch(),
        scene.options(),
    )
    .unwrap();
    assert_eq!(session.finish().unwrap().changes(), silt_fuse::Stats::default());
    drop(
        Session::start(
            open_device().unwrap(),
            Arc::clone(&scene.store),
            scene.scratch(),
            scene.options(),
        )
        .unwrap(),
    );
}

#[test]
fn root_and_fuse_a_missing_base_is_an_error() {
    let scene = Scene::new();
    let elsewhere: Arc<dyn silt_store::Store> = Arc::new(MemoryStore::new());
    let result = Session::start(
        open_device().unwrap(),
        elsewhere,
        scene.scratch(),
        scene.options(),
    );
    assert!(matches!(result, Err(silt_fuse::FsError::Store(_))));
}
