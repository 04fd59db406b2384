//! The base's hard-link table, by directory: which group a name belongs to.
//!
//! In: the table. Out: a tree of the directories that hold members, so that a directory carries its own part wherever it moves.
//! No effects.

use std::collections::HashMap;
use std::sync::Arc;

use silt_store::{Links, Name};

/// The hard-linked names of one directory of the base, and of those below it.
#[derive(Debug, Default)]
pub(crate) struct LinkDir {
    pub(crate) groups: HashMap<Name, usize>,
    pub(crate) directories: HashMap<Name, Arc<LinkDir>>,
}

#[derive(Default)]
struct Building {
    groups: HashMap<Name, usize>,
    directories: HashMap<Name, Building>,
}

impl Building {
    fn finish(self) -> LinkDir {
        LinkDir {
            groups: self.groups,
            directories: self
                .directories
                .into_iter()
                .map(|(name, directory)| (name, Arc::new(directory.finish())))
                .collect(),
        }
    }
}

/// The root's part; `None` when nothing is linked.
pub(crate) fn index(links: &Links) -> Option<Arc<LinkDir>> {
    if links.is_empty() {
        return None;
    }
    let mut root = Building::default();
    for (group, paths) in links.groups().iter().enumerate() {
        for path in paths {
            let Some((last, directories)) = path.names().split_last() else {
                continue;
            };
            let mut directory = &mut root;
            for name in directories {
                directory = directory.directories.entry(name.clone()).or_default();
            }
            directory.groups.insert(last.clone(), group);
        }
    }
    Some(Arc::new(root.finish()))
}
