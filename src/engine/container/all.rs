//! The store's containers: made, found by name or id, kept over restarts of the engine.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use silt_store::{Store, TreeRef};

use crate::engine::container::log::Log;
use crate::engine::container::{Container, ContainerRecord, names};
use crate::engine::error::EngineError;

/// All containers of a store.
pub(crate) struct Containers {
    store: Arc<dyn Store>,
    directory: PathBuf,
    /// By id.
    known: Mutex<BTreeMap<String, Arc<Container>>>,
    alive: Arc<AtomicU64>,
}

/// Counts as a container that runs, until dropped.
pub(crate) struct Alive(Arc<AtomicU64>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Containers {
    /// The containers that records tell of; what dead engines left besides is removed.
    pub(crate) fn load(store: Arc<dyn Store>, directory: PathBuf) -> Result<Self, EngineError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(failed)?;
        let mut known = BTreeMap::new();
        for (record, filesystem, base) in ContainerRecord::all(&*store)? {
            let place = directory.join(&record.id);
            let log = Log::open(&place.join("log")).or_else(|_| {
                fs::create_dir_all(&place)?;
                Log::create(&place.join("log"))
            });
            let container = Container::new(record, place, log.map_err(failed)?, base, filesystem);
            container.bury(&*store)?;
            known.insert(container.id().to_owned(), Arc::new(container));
        }
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if !known.contains_key(&*entry.file_name().to_string_lossy()) {
                fs::remove_dir_all(entry.path()).map_err(failed)?;
            }
        }
        Ok(Self {
            store,
            directory,
            known: Mutex::new(known),
            alive: Arc::default(),
        })
    }

    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Container>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are watched: they run, or what they left is being kept.
    pub(crate) fn alive_count(&self) -> u64 {
        self.alive.load(Ordering::SeqCst)
    }

    pub(super) fn alive(&self) -> Alive {
        self.alive.fetch_add(1, Ordering::SeqCst);
        Alive(Arc::clone(&self.alive))
    }

    /// A new container, made from `base`, which starts with `filesystem`; its record is written unless it is to vanish in the end. An empty name is replaced by one of ours.
    pub(crate) fn add(
        &self,
        mut record: ContainerRecord,
        base: TreeRef,
        filesystem: TreeRef,
    ) -> Result<Arc<Container>, EngineError> {
        let mut known = self.known();
        let taken = |name: &str| known.values().any(|container| container.record().name == name);
        if record.name.is_empty() {
            // One name more than there are containers: one of them is free.
            let free = (0..=known.len())
                .map(|attempt| names::name(&record.id, attempt))
                .find(|name| !taken(name));
            record.name = free.unwrap_or_else(|| record.id.clone());
        } else if !names::is_valid(&record.name) {
            return Err(EngineError::ContainerName { name: record.name });
        } else if taken(&record.name) {
            return Err(EngineError::NameTaken { name: record.name });
        }
        let directory = self.directory.join(&record.id);
        let make = |directory: &Path| -> io::Result<Log> {
            DirBuilder::new().mode(0o700).create(directory)?;
            Log::create(&directory.join("log"))
        };
        let log = make(&directory).map_err(failed)?;
        if !record.host.remove {
            record.put(&*self.store, filesystem, base)?;
        }
        let container = Arc::new(Container::new(record, directory, log, base, filesystem));
        known.insert(container.id().to_owned(), Arc::clone(&container));
        Ok(container)
    }

    /// Keeps nothing of a container.
    pub(super) fn forget(&self, container: &Container) -> Result<(), EngineError> {
        self.known().remove(container.id());
        ContainerRecord::delete(&*self.store, container.id())?;
        match fs::remove_dir_all(&container.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        }
    }

    /// All of them, the newest first.
    pub(crate) fn list(&self) -> Vec<Arc<Container>> {
        let mut containers: Vec<_> = self.known().values().map(Arc::clone).collect();
        containers.sort_by_cached_key(|container| std::cmp::Reverse(container.record().created));
        containers
    }

    /// By name, id, or the beginning of an id.
    pub(crate) fn find(&self, text: &str) -> Result<Arc<Container>, EngineError> {
        let containers = self.list();
        if let Some(exact) = containers
            .iter()
            .find(|container| container.id() == text || container.record().name == text)
        {
            return Ok(Arc::clone(exact));
        }
        let mut beginning = containers
            .iter()
            .filter(|container| !text.is_empty() && container.id().starts_with(text));
        match (beginning.next(), beginning.next()) {
            (Some(container), None) => Ok(Arc::clone(container)),
            (Some(_), Some(_)) => Err(EngineError::Ambiguous {
                text: text.to_owned(),
            }),
            (None, _) => Err(EngineError::NoContainer {
                text: text.to_owned(),
            }),
        }
    }
}

fn failed(source: io::Error) -> EngineError {
    EngineError::Io {
        doing: "keeping containers",
        source,
    }
}
