//! Named values in order of first appearance.

use std::collections::HashMap;

/// A map that keeps the order of insertion: a new value takes the old one's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ordered<V> {
    entries: Vec<(String, V)>,
    index: HashMap<String, usize>,
}

/// An environment.
pub(super) type Variables = Ordered<String>;

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            index: HashMap::new(),
        }
    }
}

impl<V> Ordered<V> {
    pub(super) fn get(&self, name: &str) -> Option<&V> {
        self.index.get(name).map(|index| &self.entries[*index].1)
    }

    pub(super) fn set(&mut self, name: &str, value: V) {
        if let Some(index) = self.index.get(name) {
            self.entries[*index].1 = value;
        } else {
            self.index.insert(name.to_owned(), self.entries.len());
            self.entries.push((name.to_owned(), value));
        }
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &V)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl Variables {
    /// From `NAME=value` strings; without `=` the value is empty.
    pub(super) fn from_strings(strings: &[String]) -> Self {
        let mut variables = Self::default();
        for string in strings {
            let (name, value) = string.split_once('=').unwrap_or((string, ""));
            variables.set(name, value.to_owned());
        }
        variables
    }

    /// `NAME=value` strings.
    pub(super) fn to_strings(&self) -> Vec<String> {
        self.iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}
