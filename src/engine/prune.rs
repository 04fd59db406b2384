//! `prune` and `du`: what nothing names goes, and its space comes back.

use std::fs;
use std::path::Path;

use silt_store::RecordKind;

use crate::engine::Engine;
use crate::engine::error::EngineError;
use crate::engine::outcome::{DiskUsage, Outcome, Pruned};
use crate::engine::request::PruneRequest;

impl Engine {
    /// Removes containers, images and cache records as asked, then sweeps the store.
    pub(super) fn prune(&self, request: PruneRequest) -> Result<Outcome, EngineError> {
        let mut pruned = Pruned::default();
        if request.containers {
            for container in self.containers.list() {
                if !container.is_running() {
                    container.remove(&self.containers, false)?;
                    pruned.containers.push(container.id().to_owned());
                }
            }
        }
        if request.dangling || request.all_images {
            self.prune_images(request.all_images, &mut pruned)?;
        }
        if request.cache {
            for kind in [RecordKind::Cache, RecordKind::Stat] {
                let records = self.store.records(kind, b"")?;
                if kind == RecordKind::Cache {
                    pruned.cache_records = records.len() as u64;
                }
                for (key, _) in records {
                    self.store.delete_record(kind, &key)?;
                }
            }
        }
        let before = disk_usage(self.directory());
        self.rocks.gc()?;
        pruned.bytes = before.saturating_sub(disk_usage(self.directory()));
        Ok(Outcome::Pruned(pruned))
    }

    fn prune_images(&self, all: bool, pruned: &mut Pruned) -> Result<(), EngineError> {
        let used: Vec<_> = self
            .containers
            .list()
            .iter()
            .filter_map(|container| container.record().image_id)
            .collect();
        for listed in self.images.list()? {
            let id = listed.image.id.to_string();
            if (all || listed.names.is_empty()) && !used.contains(&id) {
                self.images.remove(&id, true)?;
                pruned.images.push(id);
            }
        }
        Ok(())
    }

    /// What the store holds.
    pub(super) fn disk_usage(&self) -> Result<Outcome, EngineError> {
        Ok(Outcome::DiskUsage(DiskUsage {
            images: self.images.list()?.len() as u64,
            containers: self.containers.list().len() as u64,
            cache_records: self.store.records(RecordKind::Cache, b"")?.len() as u64,
            disk: disk_usage(self.directory()),
        }))
    }
}

/// Bytes that the files below `path` take on disk; what vanishes meanwhile counts nothing.
fn disk_usage(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_usage(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}
