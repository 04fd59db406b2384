//! What the store keeps of a container: a `Snapshot` record under `container/<id>` whose roots are its filesystem and what
//! that was made from.
//!
//! While it runs the two are the same; when it ended, the first is what it left. The value is JSON of `ContainerRecord`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use silt_store::{Record, RecordKind, Store, StoreError, StoreResult, TreeRef};

use crate::engine::request::Volume;
use crate::oci::config::RunConfig;
use crate::plan::Network;

const PREFIX: &[u8] = b"container/";

/// A container, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    pub(crate) name: String,
    /// The image as the user named it.
    pub(crate) image: String,
    /// Its id, if it is an image and no step.
    pub(crate) image_id: Option<String>,
    /// RFC 3339.
    pub(crate) created: String,
    /// Arguments of the first process.
    pub(crate) argv: Vec<String>,
    /// The image's config with the command line's changes: environment, user, directory, ports, labels, stop signal.
    pub(crate) config: RunConfig,
    pub(crate) host: HostConfig,
    pub(crate) state: ContainerState,
}

/// What a container has of its host.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct HostConfig {
    pub(crate) hostname: String,
    pub(crate) network: Network,
    pub(crate) add_hosts: Vec<(String, String)>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) tmpfs: BTreeMap<String, u64>,
    pub(crate) tty: bool,
    pub(crate) read_only: bool,
    pub(crate) privileged: bool,
    pub(crate) init: bool,
    pub(crate) remove: bool,
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ContainerState {
    /// Its process runs.
    Running {
        /// RFC 3339.
        since: String,
    },
    /// Its process ended.
    Exited {
        /// Exit status, 128 + signal when killed.
        status: i32,
        /// RFC 3339.
        since: String,
        /// Whether it was killed for memory.
        out_of_memory: bool,
        /// Why, if it was none of its own doing.
        error: Option<String>,
    },
}

impl ContainerRecord {
    /// Whether its process runs.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    /// Writes the record of a container with this filesystem, made from `base`.
    pub(crate) fn put(&self, store: &dyn Store, filesystem: TreeRef, base: TreeRef) -> StoreResult<()> {
        let record = Record {
            roots: vec![filesystem, base],
            contents: Vec::new(),
            value: serde_json::to_vec(self).map_err(|_| StoreError::Malformed {
                what: "container record",
                detail: "it has no JSON form",
            })?,
        };
        store.put_record(RecordKind::Snapshot, &key(&self.id), &record)
    }

    /// Removes the record of container `id`.
    pub(crate) fn delete(store: &dyn Store, id: &str) -> StoreResult<()> {
        store.delete_record(RecordKind::Snapshot, &key(id))
    }

    /// All records, each with its filesystem and what that was made from.
    pub(crate) fn all(store: &dyn Store) -> StoreResult<Vec<(Self, TreeRef, TreeRef)>> {
        let records = store.records(RecordKind::Snapshot, PREFIX)?;
        records
            .into_iter()
            .map(|(_, record)| {
                let malformed = |detail| StoreError::Malformed {
                    what: "container record",
                    detail,
                };
                let container = serde_json::from_slice(&record.value)
                    .map_err(|_| malformed("its value is not as expected"))?;
                let [filesystem, base] = record.roots[..] else {
                    return Err(malformed("it has not two roots"));
                };
                Ok((container, filesystem, base))
            })
            .collect()
    }
}

fn key(id: &str) -> Vec<u8> {
    [PREFIX, id.as_bytes()].concat()
}
