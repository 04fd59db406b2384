//! The database's errors as the store's.
//!
//! In: `rocksdb::Error`. Out: `StoreError`. No effects. RocksDB tells causes apart in its text only.

use std::path::Path;

use crate::StoreError;

/// Maps an error met while `doing` something.
pub(super) fn database(doing: &'static str) -> impl Fn(rocksdb::Error) -> StoreError {
    move |error| {
        if is_no_space(&error) {
            StoreError::NoSpace(error.into())
        } else {
            StoreError::Database {
                doing,
                source: error.into(),
            }
        }
    }
}

/// Maps an error met while opening the database in `path`.
pub(super) fn opening(path: &Path, error: rocksdb::Error) -> StoreError {
    let text: &str = error.as_ref();
    if text.contains("lock hold by current process") || text.contains("While lock file") {
        let path = path.to_owned();
        return StoreError::Locked { path };
    }
    database("opening it")(error)
}

fn is_no_space(error: &rocksdb::Error) -> bool {
    let text: &str = error.as_ref();
    text.contains("No space left on device") || text.contains("Disk quota exceeded")
}
