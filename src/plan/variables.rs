//! Named values in order of first appearance.

/// An environment: names are unique, a new value takes the old one's place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Variables {
    entries: Vec<(String, String)>,
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

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.entries
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn set(&mut self, name: &str, value: String) {
        match self.entries.iter_mut().find(|(n, _)| n == name) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((name.to_owned(), value)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// `NAME=value` strings.
    pub(super) fn to_strings(&self) -> Vec<String> {
        self.iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}
