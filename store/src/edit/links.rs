//! Hard-link groups while a tree is edited.
//!
//! In: paths. Out: `Links`. No effects. Spec: `store/DESIGN.md`, "Hard links".

use std::collections::{BTreeMap, BTreeSet};

use crate::{GuestPath, Links};

#[derive(Default)]
pub(super) struct LinkTable {
    groups: BTreeMap<u64, BTreeSet<GuestPath>>,
    group_of: BTreeMap<GuestPath, u64>,
    next: u64,
}

impl LinkTable {
    pub(super) fn new(links: &Links) -> Self {
        let mut table = Self::default();
        for group in links.groups() {
            table.add(group.iter().cloned());
        }
        table
    }

    /// The members of `path`'s group, if it is in one.
    pub(super) fn group(&self, path: &GuestPath) -> Option<Vec<GuestPath>> {
        let members = self.groups.get(self.group_of.get(path)?)?;
        (members.len() > 1).then(|| members.iter().cloned().collect())
    }

    /// Takes `path` and all below it out of their groups.
    pub(super) fn sever_below(&mut self, path: &GuestPath) {
        for member in self.below(path) {
            self.sever(&member);
        }
    }

    /// Whether anything at or below `path` is in a group.
    pub(super) fn any_below(&self, path: &GuestPath) -> bool {
        self.group_of
            .range(path..)
            .next()
            .is_some_and(|(member, _)| member.starts_with(path))
    }

    /// Makes `other` the same inode as `first`.
    pub(super) fn join(&mut self, first: &GuestPath, other: &GuestPath) {
        self.sever(other);
        match self.group_of.get(first).copied() {
            Some(group) => {
                self.group_of.insert(other.clone(), group);
                self.groups.entry(group).or_default().insert(other.clone());
            }
            None => self.add([first.clone(), other.clone()]),
        }
    }

    /// Takes over the groups of another root that lie wholly at or below `src`, which now also stands at `dst`.
    pub(super) fn adopt(&mut self, links: &Links, src: &GuestPath, dst: &GuestPath) {
        let depth = src.names().len();
        for group in links.groups() {
            if group.iter().all(|path| path.starts_with(src)) {
                let moved = group.iter().map(|path| {
                    dst.names()
                        .iter()
                        .chain(&path.names()[depth..])
                        .cloned()
                        .collect::<GuestPath>()
                });
                self.add(moved);
            }
        }
    }

    pub(super) fn into_links(self) -> Links {
        Links::new(self.groups.into_values().map(|group| group.into_iter().collect()))
    }

    fn below(&self, path: &GuestPath) -> Vec<GuestPath> {
        let from = self.group_of.range(path..);
        from.map(|(member, _)| member)
            .take_while(|member| member.starts_with(path))
            .cloned()
            .collect()
    }

    fn sever(&mut self, path: &GuestPath) {
        if let Some(group) = self.group_of.remove(path)
            && let Some(members) = self.groups.get_mut(&group)
        {
            members.remove(path);
        }
    }

    fn add(&mut self, members: impl IntoIterator<Item = GuestPath>) {
        let group = self.next;
        self.next += 1;
        for member in members {
            self.sever(&member);
            self.group_of.insert(member.clone(), group);
            self.groups.entry(group).or_default().insert(member);
        }
    }
}
