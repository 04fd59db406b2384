//! Requests become outcomes: the composition root, which names the concrete types of every room.
//!
//! In: a store directory, then requests with descriptors, from any thread. Out: outcomes, messages on the way. Effects: all of
//! them. The engine is a library: the local socket, tests and benches call the same `perform`.
//!
//! | file        | does                                                                  |
//! |-------------|-----------------------------------------------------------------------|
//! | `request`, `outcome`, `call` | what is asked, answered, said meanwhile              |
//! | `config`    | how an engine behaves                                                 |
//! | `error`     | every failure -> text, hints, exit status                             |
//! | `lock`      | one engine for each store                                             |
//! | `kept`      | records of how steps ran, and of failed ones                          |
//! | `container` | containers, from start to what they left                              |
//! | `address`   | `NAME`, `NAME@3`, `NAME@failed`, a container -> a filesystem          |
//! | `changes`   | instructions that change a config                                     |
//! | `build`, `run`, `ps`, `commit`, `images`, `archive`, `pull`, `diff`, `prune` | the requests |
//!
//! In a store directory the engine has `db/` (the database), `containers/` (logs), `scratch/` (written data on its way; what a
//! dead engine left there is removed at start), `engine.lock`, and whatever the server puts beside.
#![allow(
    clippy::result_large_err,
    reason = "an error ends its request: it is made once, and its size costs nothing"
)]

mod address;
mod archive;
mod build;
pub mod call;
mod changes;
mod commit;
pub mod config;
mod container;
mod diff;
pub mod error;
mod images;
mod kept;
mod lock;
pub mod outcome;
mod prune;
mod ps;
mod pull;
pub mod request;
mod run;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use silt_store::{Options, RocksStore, Store};

pub use lock::{EngineLock, Wait};

use crate::engine::call::Call;
use crate::engine::config::Config;
use crate::engine::container::Containers;
use crate::engine::error::EngineError;
use crate::engine::outcome::{Outcome, Status};
use crate::engine::request::Request;
use crate::images::ImageStore;
use crate::sandbox::Helper;
use crate::snapshot::{STRATEGIES, Sealer, Setup, Snapshot, SnapshotStrategy};
use crate::solve::{self, Flights};

/// Threads that serve one mount.
const MOUNT_THREADS: usize = 2;
/// Bytes of written data that one mount keeps in memory.
const MAX_DIRTY_MEMORY: u64 = 64 << 20;

/// One engine: the only process that has its store open.
pub struct Engine {
    lock: EngineLock,
    config: Config,
    started: Instant,
    rocks: Arc<RocksStore>,
    /// The same as `rocks`.
    store: Arc<dyn Store>,
    images: ImageStore,
    containers: Arc<Containers>,
    setup: Setup,
    flights: Flights<solve::Outcome<Snapshot>>,
    /// Started by the first that needs it.
    helper: Mutex<Option<Arc<Helper>>>,
}

impl Engine {
    /// Opens the store, and removes what a dead engine left.
    ///
    /// # Errors
    /// `Io`, `Store`.
    pub fn open(lock: EngineLock, config: Config) -> Result<Self, EngineError> {
        let directory = lock.store();
        let rocks = Arc::new(RocksStore::open(&directory.join("db"), Options::default())?);
        let store: Arc<dyn Store> = rocks.clone();
        let scratch = directory.join("scratch");
        let io = |source| EngineError::Io {
            doing: "preparing the store's directory",
            source,
        };
        match fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => fs::create_dir(&scratch).map_err(io)?,
        }
        let containers = Containers::load(Arc::clone(&store), directory.join("containers"))?;
        let setup = Setup {
            store: Arc::clone(&store),
            scratch,
            sealer: Arc::new(Sealer::start(config.parallel_steps).map_err(io)?),
            threads: MOUNT_THREADS,
            max_dirty_memory: MAX_DIRTY_MEMORY,
        };
        Ok(Self {
            lock,
            config,
            started: Instant::now(),
            images: ImageStore::new(Arc::clone(&store)),
            rocks,
            store,
            containers: Arc::new(containers),
            setup,
            flights: Flights::default(),
            helper: Mutex::new(None),
        })
    }

    /// How this engine behaves.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The store's directory.
    fn directory(&self) -> &Path {
        self.lock.store()
    }

    /// Whether something runs without a caller: a detached container.
    pub fn is_busy(&self) -> bool {
        self.running_containers() > 0
    }

    /// How many containers run, or ended just now.
    pub fn running_containers(&self) -> u64 {
        self.containers.alive_count()
    }

    /// What it is doing, as far as the engine knows: requests and version are the server's to fill in.
    pub fn status(&self) -> Status {
        Status {
            pid: std::process::id(),
            version: String::new(),
            store: self.directory().display().to_string(),
            uptime: self.started.elapsed().as_secs(),
            idle: self.config.idle.as_secs(),
            requests: std::collections::BTreeMap::new(),
            containers: self.running_containers(),
            memory: resident_memory(),
        }
    }

    /// Performs a request to its end.
    pub fn perform(&self, request: Request, call: &Call) -> Outcome {
        self.dispatch(request, call).unwrap_or_else(|error| {
            let error = if call.is_cancelled() {
                EngineError::Interrupted
            } else {
                error
            };
            Outcome::Failed(error.failure())
        })
    }

    fn dispatch(&self, request: Request, call: &Call) -> Result<Outcome, EngineError> {
        match request {
            Request::Build(request) => self.build(&request, call),
            Request::Run(request) => self.run(&request, call),
            Request::Exec(request) => self.exec(&request, call),
            Request::Containers { all } => Ok(self.list_containers(all)),
            Request::Logs(request) => self.logs(&request, call),
            Request::Stop { containers, timeout } => self.stop(containers, timeout),
            Request::Kill { containers, signal } => self.kill(containers, signal),
            Request::Wait { containers } => self.wait(&containers, call),
            Request::RemoveContainers { containers, force } => self.remove_containers(containers, force),
            Request::Commit(request) => self.commit(&request),
            Request::Images { name } => self.list_images(name.as_deref()),
            Request::History { image } => self.history(&image),
            Request::Inspect { names } => self.inspect(&names),
            Request::Tag { image, name } => self.tag(&image, &name),
            Request::RemoveImages { images, force } => self.remove_images(&images, force),
            Request::Save {
                images,
                output,
                format,
            } => self.save(&images, output, &format, call),
            Request::Load { input } => self.load(input, call),
            Request::Import(request) => self.import(&request, call),
            Request::Pull { image, platform } => self.pull(&image, platform.as_deref(), call),
            Request::Diff { old, new } => self.diff(&old, new.as_deref(), call),
            Request::Prune(request) => self.prune(request),
            Request::DiskUsage => self.disk_usage(),
            Request::Status => Ok(Outcome::Status(self.status())),
            Request::Shutdown => {
                self.stop_containers();
                Ok(Outcome::Done)
            }
        }
    }

    /// Makes everything durable and ends the helper. Nothing may be under way.
    pub fn close(&self) {
        if let Err(error) = self.store.sync() {
            tracing::error!(%error, "the store could not be synced");
        }
        self.helper.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The sandbox's helper, started when there is none.
    fn helper(&self) -> Result<Arc<Helper>, EngineError> {
        let mut helper = self.helper.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(helper) = &*helper {
            return Ok(Arc::clone(helper));
        }
        let started = Arc::new(Helper::start(&self.config.helper)?);
        *helper = Some(Arc::clone(&started));
        Ok(started)
    }

    /// The snapshot strategy of this name.
    fn strategy(&self, name: &str) -> Result<Box<dyn SnapshotStrategy>, EngineError> {
        crate::snapshot::strategy(name, self.setup.clone()).ok_or_else(|| EngineError::NoStrategy {
            name: name.to_owned(),
            known: STRATEGIES.iter().map(|strategy| strategy.name).collect(),
        })
    }
}

/// Bytes of this process in memory; 0 where the kernel does not tell.
fn resident_memory() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
