//! A step's own mounts: trees laid out on the host for the time of the step, and tmpfs.
//!
//! In: the op's mounts, trees. Out: the sandbox's mounts. Effects: directories under the scratch directory, gone with `Mounts`; so
//! whatever a step writes to a bind mount is dropped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use silt_store::{Entry, GuestPath, Links, Meta, Name, Node, Root, Store, TreeRef, directory, root, walk};
use tempfile::TempDir;

use super::error::ExecError;
use crate::plan::RunMountKind;
use crate::sandbox::Mount;
use crate::snapshot::materialise::{Owners, materialise};

/// What a step's mounts need while it runs.
pub(super) struct Mounts {
    pub(super) mounts: Vec<Mount>,
    kept: Vec<TempDir>,
}

impl Mounts {
    pub(super) fn new() -> Self {
        Self {
            mounts: Vec::new(),
            kept: Vec::new(),
        }
    }

    fn scratch(&mut self, scratch: &Path) -> Result<&Path, ExecError> {
        let made = tempfile::Builder::new().prefix("silt-mount-").tempdir_in(scratch);
        self.kept.push(made.map_err(|source| ExecError::Io {
            doing: "creating a directory in",
            path: scratch.to_owned(),
            source,
        })?);
        Ok(self.kept[self.kept.len() - 1].path())
    }

    /// A bind of `source` in `tree`.
    pub(super) fn bind(
        &mut self,
        store: &Arc<dyn Store>,
        tree: TreeRef,
        source: &str,
        target: &str,
        read_only: bool,
        scratch: &Path,
    ) -> Result<(), ExecError> {
        let missing = || ExecError::MountSource {
            path: source.to_owned(),
        };
        let path = GuestPath::root()
            .join(source.trim_start_matches('/').as_bytes())
            .map_err(|_| missing())?;
        let (path, entry) = walk::resolve(store, tree, &path)?.ok_or_else(missing)?;
        let laid_out = lone(store, tree, &path, &entry)?;
        let owners = if nix::unistd::geteuid().is_root() {
            Owners::Kept
        } else {
            Owners::Mine
        };
        let host = self.scratch(scratch)?;
        materialise(store, laid_out, host, owners)?;
        let source = match entry.node {
            Node::Directory(_) => host.to_owned(),
            _ => host.join("file"),
        };
        self.mounts.push(Mount::Bind {
            source,
            target: target.to_owned(),
            read_only,
        });
        Ok(())
    }

    /// Files that the step reads, such as heredocs: mode 0755, read-only.
    pub(super) fn files(&mut self, files: &[(String, String)], scratch: &Path) -> Result<(), ExecError> {
        if files.is_empty() {
            return Ok(());
        }
        let host = self.scratch(scratch)?.to_owned();
        for (number, (target, content)) in files.iter().enumerate() {
            let source = host.join(number.to_string());
            let written = fs::write(&source, content)
                .and_then(|()| fs::set_permissions(&source, fs::Permissions::from_mode(0o755)));
            written.map_err(|error| ExecError::Io {
                doing: "writing",
                path: source.clone(),
                source: error,
            })?;
            self.mounts.push(Mount::Bind {
                source,
                target: target.clone(),
                read_only: true,
            });
        }
        Ok(())
    }

    /// A mount that needs no tree.
    pub(super) fn other(&mut self, kind: &RunMountKind, target: &str) -> Result<(), ExecError> {
        let kind = match kind {
            RunMountKind::Tmpfs { size } => {
                self.mounts.push(Mount::Tmpfs {
                    target: target.to_owned(),
                    size: *size,
                    mode: 0o1777,
                });
                return Ok(());
            }
            RunMountKind::Bind { .. } => "bind",
            RunMountKind::Cache { .. } => "cache",
            RunMountKind::Secret { .. } => "secret",
            RunMountKind::Ssh { .. } => "ssh",
        };
        Err(ExecError::MountKind { kind })
    }
}

/// A root that is the directory at `path` of `tree`, or holds what stands there as `file`.
fn lone(
    store: &Arc<dyn Store>,
    tree: TreeRef,
    path: &GuestPath,
    entry: &Entry,
) -> Result<TreeRef, ExecError> {
    let depth = path.names().len();
    let lone = if let Node::Directory(node) = entry.node {
        let whole = root::read(&**store, tree.tree)?;
        let groups = whole.links.groups().iter();
        let inside = groups.filter(|group| group.iter().all(|member| member.starts_with(path)));
        let moved = |member: &GuestPath| member.names()[depth..].iter().cloned().collect();
        let links = inside.map(|group| group.iter().map(moved).collect::<Vec<GuestPath>>());
        Root {
            meta: entry.meta.clone(),
            directory: node,
            links: Links::new(links),
        }
    } else {
        let name = Name::new(b"file").map_err(super::CopyError::Name)?;
        Root {
            meta: Meta {
                mode: 0o755,
                ..Meta::default()
            },
            directory: directory::write(&**store, [(name, entry.clone())])?,
            links: Links::default(),
        }
    };
    Ok(root::write(&**store, &lone)?)
}
