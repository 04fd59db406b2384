//! What the engine remembers of builds besides images: how each step ran, and the filesystem of a step that failed.
//!
//! Records: `Build`, key `steps/<image id>`: JSON of `Vec<StepSetting>`, one for each step that the build made; `Snapshot`, key
//! `failure/<name>` for each name that the build would have given, and `failure/` for the newest: JSON of `FailedStep`, its
//! roots the filesystem as the step left it and as it found it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use silt_store::{Record, RecordKind, Store, StoreError, StoreResult, TreeRef};

use crate::exec::FAILED;
use crate::oci::config::RunConfig;
use crate::plan::{Op, Plan, VertexId};

/// What a step's process ran with; what a shell in its snapshot gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepSetting {
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) user: String,
}

impl StepSetting {
    /// The config of a container in this step's snapshot.
    pub(crate) fn apply(self, config: &RunConfig) -> RunConfig {
        RunConfig {
            env: self.env,
            working_dir: self.cwd,
            user: self.user,
            ..config.clone()
        }
    }
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailedStep {
    /// `[build 2/5] RUN make`
    pub(crate) name: String,
    pub(crate) setting: StepSetting,
    /// What it ran on.
    pub(crate) argv: Vec<String>,
}

/// How the steps of the plan's chain ran; a step that ran nothing is as the one before it.
pub(crate) fn settings(plan: &Plan, base: &RunConfig) -> Vec<StepSetting> {
    let mut current = StepSetting {
        env: base.env.clone(),
        cwd: base.working_dir.clone(),
        user: base.user.clone(),
    };
    let mut settings = Vec::new();
    for vertex in &plan.chain {
        current = setting(plan, *vertex).unwrap_or(current);
        settings.push(current.clone());
    }
    settings
}

/// How one vertex runs, if it runs anything.
pub(crate) fn setting(plan: &Plan, vertex: VertexId) -> Option<StepSetting> {
    match &plan.vertices[vertex.0].op {
        Op::Run(run) => Some(StepSetting {
            env: run.env.clone(),
            cwd: run.cwd.clone(),
            user: run.user.clone(),
        }),
        _ => None,
    }
}

/// Remembers how an image's own steps ran.
pub(crate) fn put_settings(store: &dyn Store, image: &str, settings: &Vec<StepSetting>) -> StoreResult<()> {
    let record = Record {
        value: encode(settings)?,
        ..Record::default()
    };
    store.put_records_lazily(RecordKind::Build, vec![(steps_key(image), record)])
}

/// How an image's own steps ran, lowest first; `None` when it was not built here.
pub(crate) fn settings_of(store: &dyn Store, image: &str) -> StoreResult<Option<Vec<StepSetting>>> {
    let record = store.record(RecordKind::Build, &steps_key(image))?;
    record.map(|record| decode(&record)).transpose()
}

/// Remembers a failed step, which left `left`, under each of `names` and as the newest, in place of the step's own records.
pub(crate) fn put_failed(
    store: &dyn Store,
    names: &[String],
    step: &FailedStep,
    left: TreeRef,
) -> StoreResult<()> {
    let own = store.records(RecordKind::Snapshot, FAILED.as_bytes())?;
    let own: Vec<_> = own
        .iter()
        .filter(|(_, record)| record.roots.first() == Some(&left))
        .collect();
    let found = own
        .first()
        .and_then(|(_, record)| record.roots.get(1))
        .copied()
        .unwrap_or(left);
    let record = Record {
        roots: vec![left, found],
        contents: Vec::new(),
        value: encode(step)?,
    };
    for name in names.iter().map(String::as_str).chain([""]) {
        store.put_record(RecordKind::Snapshot, &failed_key(name), &record)?;
    }
    own.iter()
        .try_for_each(|(key, _)| store.delete_record(RecordKind::Snapshot, key))
}

/// The failed step of `name`, the newest for the empty name: itself, what it left, what it found.
pub(crate) fn failed(store: &dyn Store, name: &str) -> StoreResult<Option<(FailedStep, TreeRef, TreeRef)>> {
    let Some(record) = store.record(RecordKind::Snapshot, &failed_key(name))? else {
        return Ok(None);
    };
    let [left, found] = record.roots[..] else {
        return Err(malformed("it has not two roots"));
    };
    Ok(Some((decode(&record)?, left, found)))
}

/// Forgets the failed step of each of `names`: the build has succeeded since.
pub(crate) fn forget_failed(store: &dyn Store, names: &[String]) -> StoreResult<()> {
    for name in names {
        let key = failed_key(name);
        if store.record(RecordKind::Snapshot, &key)?.is_some() {
            store.delete_record(RecordKind::Snapshot, &key)?;
        }
    }
    Ok(())
}

fn steps_key(image: &str) -> Vec<u8> {
    format!("steps/{image}").into_bytes()
}

fn failed_key(name: &str) -> Vec<u8> {
    format!("failure/{name}").into_bytes()
}

fn malformed(detail: &'static str) -> StoreError {
    StoreError::Malformed {
        what: "step record",
        detail,
    }
}

fn encode<T: Serialize>(value: &T) -> StoreResult<Vec<u8>> {
    serde_json::to_vec(value).map_err(|_| malformed("it has no JSON form"))
}

fn decode<T: DeserializeOwned>(record: &Record) -> StoreResult<T> {
    serde_json::from_slice(&record.value).map_err(|_| malformed("its value is not as expected"))
}
