//! How an engine behaves: the store's `config.json`, under what its starter says.
//!
//! In: a store directory. Out: a `Config`. Effects: reads one file. Unknown keys are errors: a misspelt limit must not be silent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::error::EngineError;

/// The idle time when nothing says otherwise.
pub const DEFAULT_IDLE: Duration = Duration::from_mins(1);

/// An engine's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long the engine stays without requests and containers; zero: for ever.
    pub idle: Duration,
    /// Name of the snapshot strategy for builds that name none.
    pub snapshotter: String,
    /// How many steps run at the same time, at most.
    pub parallel_steps: usize,
    /// The `silt` binary, started as sandbox helper.
    pub helper: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            idle: DEFAULT_IDLE,
            snapshotter: "fuse".to_owned(),
            parallel_steps: std::thread::available_parallelism().map_or(2, usize::from).max(2),
            helper: PathBuf::from("/proc/self/exe"),
        }
    }
}

/// `config.json` in the store directory.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    /// Seconds; 0 stays.
    idle: Option<u64>,
    snapshotter: Option<String>,
    parallel_steps: Option<usize>,
}

impl Config {
    /// Reads the store's config file, if there is one, over the defaults.
    ///
    /// # Errors
    /// `Config` when the file cannot be read or says what no config says.
    pub fn load(store: &Path) -> Result<Self, EngineError> {
        let path = store.join("config.json");
        let mut config = Self::default();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(config),
            Err(error) => {
                let problem = error.to_string();
                return Err(EngineError::Config { path, problem });
            }
        };
        let file: File = serde_json::from_slice(&bytes).map_err(|error| EngineError::Config {
            path,
            problem: error.to_string(),
        })?;
        if let Some(seconds) = file.idle {
            config.idle = Duration::from_secs(seconds);
        }
        if let Some(name) = file.snapshotter {
            config.snapshotter = name;
        }
        if let Some(count) = file.parallel_steps {
            config.parallel_steps = count.max(1);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_file_overrides_and_a_misspelt_key_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Config::load(dir.path()).unwrap().idle, DEFAULT_IDLE);
        std::fs::write(
            dir.path().join("config.json"),
            r#"{"idle": 0, "parallel_steps": 7}"#,
        )
        .unwrap();
        let config = Config::load(dir.path()).unwrap();
        assert_eq!((config.idle, config.parallel_steps), (Duration::ZERO, 7));
        std::fs::write(dir.path().join("config.json"), r#"{"idel": 0}"#).unwrap();
        let error = Config::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("idel"), "{error}");
    }
}
