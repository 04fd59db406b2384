//! A real Debian 12 as a base image: the tar is made once per machine, the store that holds it once per build of `silt`.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{checkout, run, scratch, silt, tool};

/// The root filesystem's tar.
pub(crate) fn tar() -> &'static Path {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        let printed = run(&mut Command::new(checkout().join(".ci/debian-base")))
            .ok()
            .stdout;
        PathBuf::from(printed.trim_end())
    })
}

/// Copies a store with the image `debian:12`, also tagged `debian:latest`, to a path that does not exist.
pub(crate) fn copy_store(to: &Path) {
    let template = template();
    tool(
        "cp",
        [
            "-a".as_ref(),
            "--reflink=auto".as_ref(),
            template.as_os_str(),
            to.as_os_str(),
        ],
    );
}

/// The store to copy, of this very binary; test processes that run at the same time make one.
fn template() -> PathBuf {
    let binary = fs::metadata(silt()).unwrap();
    let base = fs::metadata(tar()).unwrap();
    let key = format!(
        "debian-{}-{}.{:09}-{}",
        binary.ino(),
        binary.mtime(),
        binary.mtime_nsec(),
        base.mtime()
    );
    let folder = scratch().join("templates");
    fs::create_dir_all(&folder).unwrap();
    let template = folder.join(&key);
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    if !template.is_dir() {
        for older in fs::read_dir(&folder)
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().is_dir())
        {
            fs::remove_dir_all(older.path()).unwrap();
        }
        let making = folder.join("making");
        let silt =
            |arguments: &[&str]| run(Command::new(silt()).env("SILT_STORE", &making).args(arguments)).ok();
        silt(&["import", tar().to_str().unwrap(), "debian:12"]);
        silt(&["tag", "debian:12", "debian:latest"]);
        silt(&["engine", "stop"]);
        fs::rename(&making, &template).unwrap();
    }
    template
}
