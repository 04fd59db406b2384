//! temporary
use silt_store::{GuestPath, TreeRef, walk, blob, Node};
use crate::engine::Engine;
use crate::engine::accounts::{Account, Accounts};
use crate::engine::error::EngineError;
impl Engine {
    pub(super) fn identity(&self, tree: TreeRef, user: &str) -> Result<Account, EngineError> {
        let read = |path: &[u8]| -> Vec<u8> {
            let Ok(Some((_, entry))) = walk::resolve(&self.store, tree, &GuestPath::parse(path).unwrap()) else { return Vec::new() };
            match entry.node { Node::File(content) => blob::read_all(&*self.store, &content).unwrap_or_default(), _ => Vec::new() }
        };
        Ok(Accounts::parse(&read(b"/etc/passwd"), &read(b"/etc/group")).account(user)?)
    }
}
pub(super) fn hosts(_n: crate::plan::Network, hostname: &str, add: &[(String, String)]) -> String {
    let mut text = format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t{hostname}\n");
    for (name, address) in add { text.push_str(&format!("{address}\t{name}\n")); }
    text
}
pub(super) fn resolv_conf(_n: crate::plan::Network) -> String { std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default() }
