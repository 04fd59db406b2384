//! Contexts on a real directory and a store in memory.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use silt_store::{GuestPath, MemoryStore, RecordKind, walk};
use tempfile::TempDir;

use super::*;

struct Bed {
    store: Arc<dyn Store>,
    directory: TempDir,
}

/// Files in a fresh directory, old enough for the stat cache to believe them.
fn bed(files: &[(&str, &str)]) -> Bed {
    let bed = Bed {
        store: Arc::new(MemoryStore::new()),
        directory: TempDir::new().unwrap(),
    };
    for (path, content) in files {
        bed.write(path, content);
    }
    settle();
    bed
}

fn settle() {
    std::thread::sleep(Duration::from_millis(40));
}

impl Bed {
    fn path(&self, path: &str) -> std::path::PathBuf {
        self.directory.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn select_with(&self, patterns: &[&str], ignore: &str, trust: Trust) -> Selection {
        let directory = fs::File::open(self.directory.path()).unwrap();
        let context = Context::new(directory.into(), Ignore::parse(ignore).unwrap());
        let patterns: Vec<_> = patterns
            .iter()
            .map(|pattern| Pattern::parse(pattern).unwrap())
            .collect();
        let wanted = Wanted {
            patterns: &patterns,
            exclude: &Ignore::default(),
            parents: false,
        };
        context
            .select(&self.store, &wanted, trust, &Cancel::new(), &|_| {})
            .unwrap()
    }

    fn select(&self, patterns: &[&str]) -> Selection {
        self.select_with(patterns, "", Trust::Stat)
    }

    fn paths(&self, selection: &Selection) -> Vec<String> {
        let paths = walk::walk(&self.store, selection.tree).map(|found| found.unwrap().0.to_string());
        paths.filter(|path| path != "/").collect()
    }
}

#[test]
fn the_key_is_type_mode_content_and_target() {
    let bed = bed(&[("a", "1"), ("d/b", "2")]);
    symlink("a", bed.path("l")).unwrap();
    let first = bed.select(&["."]).tree;
    let later = SystemTime::now() + Duration::from_secs(100);
    fs::File::open(bed.path("a"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    let touched = bed.select(&["."]).tree;
    assert_eq!(first.content, touched.content);
    assert_ne!(first.tree, touched.tree, "the time is kept in the tree");
    let mut keys = vec![first.content];
    fs::set_permissions(bed.path("a"), fs::Permissions::from_mode(0o600)).unwrap();
    keys.push(bed.select(&["."]).tree.content);
    bed.write("a", "3");
    keys.push(bed.select(&["."]).tree.content);
    fs::remove_file(bed.path("l")).unwrap();
    symlink("d", bed.path("l")).unwrap();
    keys.push(bed.select(&["."]).tree.content);
    fs::remove_file(bed.path("d/b")).unwrap();
    keys.push(bed.select(&["."]).tree.content);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 5);
}

#[test]
fn a_directorys_own_metadata_counts_only_below_the_selected() {
    let bed = bed(&[("d/e/f", "1")]);
    let key = || bed.select(&["d"]).tree.content;
    let first = key();
    fs::set_permissions(bed.path("d"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(key(), first);
    fs::set_permissions(bed.path("d/e"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_ne!(key(), first);
}

#[test]
fn only_what_patterns_reach_is_selected() {
    let bed = bed(&[
        ("a/x.c", ""),
        ("a/x.h", ""),
        ("a/b/y.c", ""),
        ("c/z.c", ""),
        ("top.c", ""),
    ]);
    assert_eq!(bed.paths(&bed.select(&["a/*.c"])), ["/a", "/a/x.c"]);
    assert_eq!(
        bed.paths(&bed.select(&["**/*.c"])),
        ["/a", "/a/b", "/a/b/y.c", "/a/x.c", "/c", "/c/z.c", "/top.c"]
    );
    assert_eq!(
        bed.paths(&bed.select(&["a/b", "top.c"])),
        ["/a", "/a/b", "/a/b/y.c", "/top.c"]
    );
    assert!(bed.paths(&bed.select(&["none", "a/none"])).is_empty());
}

#[test]
fn ignored_files_are_not_there_unless_brought_back() {
    let bed = bed(&[
        ("keep", ""),
        ("log/a", ""),
        ("log/b/c", ""),
        ("log/b/d", ""),
        ("tmp/x", ""),
    ]);
    let selection = bed.select_with(&["."], "log\n!log/b/c\ntmp\n", Trust::Stat);
    assert_eq!(bed.paths(&selection), ["/keep", "/log", "/log/b", "/log/b/c"]);
    assert!(
        bed.paths(&bed.select_with(&["tmp/x"], "tmp", Trust::Stat))
            .is_empty()
    );
}

#[test]
fn links_lead_to_what_is_beneath_the_context_only() {
    let bed = bed(&[("real/file", "1"), ("other", "2")]);
    symlink("real", bed.path("link")).unwrap();
    symlink("/real/file", bed.path("absolute")).unwrap();
    symlink("../../../../etc/passwd", bed.path("outside")).unwrap();
    symlink("loop", bed.path("loop")).unwrap();
    assert_eq!(
        bed.paths(&bed.select(&["link/file"])),
        ["/link", "/real", "/real/file"]
    );
    assert_eq!(
        bed.paths(&bed.select(&["absolute"])),
        ["/absolute", "/real", "/real/file"]
    );
    assert_eq!(bed.paths(&bed.select(&["outside"])), ["/outside"]);
    assert_eq!(bed.paths(&bed.select(&["loop"])), ["/loop"]);
}

#[test]
fn unchanged_files_are_not_read_again_and_changed_ones_are() {
    let bed = bed(&[("a", "1"), ("b", "2"), ("d/c", "3")]);
    let first = bed.select(&["."]);
    assert_eq!((first.files, first.read), (3, 3));
    let again = bed.select(&["."]);
    assert_eq!((again.files, again.read, again.tree), (3, 0, first.tree));
    assert!(again.is_present(&*bed.store).unwrap());
    // The same length, and the time put back.
    let time = fs::metadata(bed.path("b")).unwrap().modified().unwrap();
    bed.write("b", "9");
    fs::File::options()
        .write(true)
        .open(bed.path("b"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    let changed = bed.select(&["."]);
    assert_eq!(changed.read, 1);
    assert_ne!(changed.tree.content, first.tree.content);
    // It was changed just now: a change within the same tick would not show, so it is not believed yet.
    assert_eq!(bed.select(&["."]).read, 1);
    settle();
    bed.select(&["."]);
    assert_eq!(bed.select(&["."]).read, 0);
}

#[test]
fn what_was_collected_since_is_read_again() {
    let long = "x".repeat(5000);
    let bed = bed(&[("a", &long)]);
    let first = bed.select(&["."]);
    let emptied = Bed {
        store: Arc::new(MemoryStore::new()),
        directory: bed.directory,
    };
    emptied
        .store
        .put_records_lazily(
            RecordKind::Stat,
            bed.store.records(RecordKind::Stat, b"").unwrap(),
        )
        .unwrap();
    let second = emptied.select(&["."]);
    assert_eq!((second.read, second.tree), (0, first.tree));
    assert!(!second.is_present(&*emptied.store).unwrap());
    let third = emptied.select_with(&["."], "", Trust::Nothing);
    assert_eq!((third.read, third.tree), (1, first.tree));
    assert!(third.is_present(&*emptied.store).unwrap());
}

#[test]
fn entries_belong_to_root_and_pipes_are_kept() {
    let bed = bed(&[("a", "1")]);
    nix::unistd::mkfifo(&bed.path("pipe"), nix::sys::stat::Mode::from_bits_truncate(0o640)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bed.path("socket")).unwrap();
    let selection = bed.select(&["."]);
    assert_eq!(bed.paths(&selection), ["/a", "/pipe"]);
    let path = GuestPath::parse(b"/a").unwrap();
    let entry = walk::lookup(&bed.store, selection.tree, &path).unwrap().unwrap();
    assert_eq!((entry.meta.uid, entry.meta.gid), (0, 0));
}

#[test]
fn large_directories_and_files_are_whole() {
    let bed = bed(&[]);
    for number in 0..300 {
        bed.write(&format!("many/{number}"), &number.to_string());
    }
    bed.write("large", &"0123456789".repeat(100_000));
    let selection = bed.select(&["."]);
    assert_eq!((selection.files, selection.read), (301, 301));
    assert_eq!(bed.paths(&selection).len(), 302);
    let entry = walk::lookup(&bed.store, selection.tree, &GuestPath::parse(b"/large").unwrap())
        .unwrap()
        .unwrap();
    assert!(matches!(&entry.node, silt_store::Node::File(content) if content.len == 1_000_000));
}

#[test]
fn unreadable_is_an_error_with_the_path() {
    let bed = bed(&[("a", "1")]);
    let missing = fs::File::open(bed.directory.path()).unwrap();
    fs::remove_dir_all(bed.directory.path()).unwrap();
    fs::create_dir(bed.directory.path()).unwrap();
    let context = Context::new(missing.into(), Ignore::default());
    let patterns = [Pattern::parse(".").unwrap()];
    let wanted = Wanted {
        patterns: &patterns,
        exclude: &Ignore::default(),
        parents: false,
    };
    // A directory that was removed is empty; it is no reason to fail.
    let selected = context.select(&bed.store, &wanted, Trust::Stat, &Cancel::new(), &|_| {});
    assert!(selected.is_ok_and(|selection| selection.files == 0));
    let file = fs::File::open(Path::new("/proc/self/status")).unwrap();
    let context = Context::new(file.into(), Ignore::default());
    let error = context
        .select(&bed.store, &wanted, Trust::Stat, &Cancel::new(), &|_| {})
        .unwrap_err();
    assert!(error.to_string().contains("opening ."), "{error}");
}
