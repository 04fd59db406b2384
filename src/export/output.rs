//! `--output` as it is written: `type=oci,dest=app.tar`, a bare directory (`local`), or `-` (`tar` to standard output).
//!
//! Text in, checked options out. Pure. Spec: docker CLI reference, `docker buildx build --output`.

use std::collections::BTreeMap;

use super::error::{ExportError, OutputError};
use super::{EXPORTERS, Exporter};
use crate::oci::manifest::Compression;
use crate::oci::reference::Reference;

/// One `--output`, checked against its exporter's keys.
#[derive(Debug, Clone)]
pub struct Output {
    exporter: &'static Exporter,
    options: BTreeMap<String, String>,
}

impl Output {
    /// Parses an option's value.
    ///
    /// # Errors
    /// Each `OutputError`.
    pub fn parse(text: &str) -> Result<Self, OutputError> {
        if text == "-" {
            return Self::new("tar", &[("dest", "-")]);
        }
        if !text.contains('=') && !text.is_empty() {
            return Self::new("local", &[("dest", text)]);
        }
        let mut pairs = Vec::new();
        for part in split(text)? {
            let Some((key, value)) = part.split_once('=') else {
                return Err(OutputError::Pair { part });
            };
            pairs.push((key.trim().to_ascii_lowercase(), value.to_owned()));
        }
        let kind = pairs
            .iter()
            .find(|(key, _)| key == "type")
            .map(|(_, value)| value.clone());
        let kind = kind.ok_or_else(|| OutputError::NoType { text: text.into() })?;
        let options: Vec<_> = pairs
            .iter()
            .filter(|(key, _)| key != "type")
            .map(|(key, value)| (&**key, &**value))
            .collect();
        Self::new(&kind, &options)
    }

    /// The same from parts, for callers that have no text.
    ///
    /// # Errors
    /// Each `OutputError`.
    pub fn new(kind: &str, options: &[(&str, &str)]) -> Result<Self, OutputError> {
        let exporter = *EXPORTERS
            .iter()
            .find(|exporter| exporter.name == kind)
            .ok_or_else(|| OutputError::Type { name: kind.into() })?;
        let mut known = BTreeMap::new();
        for (key, value) in options {
            // BuildKit's older name for the same.
            let key = if *key == "output" { "dest" } else { key };
            let Some(found) = exporter.keys.iter().find(|known| known.name == key) else {
                return Err(OutputError::Key {
                    exporter: exporter.name,
                    key: key.into(),
                });
            };
            if !found.choices.is_empty() && !found.choices.contains(value) {
                return Err(OutputError::Value {
                    key: found.name,
                    value: (*value).into(),
                    choices: found.choices,
                });
            }
            if known.insert(key.to_owned(), (*value).to_owned()).is_some() {
                return Err(OutputError::Twice { key: key.into() });
            }
        }
        let output = Self {
            exporter,
            options: known,
        };
        let to_stream = output.option("dest") == Some("-");
        if output.dest().is_empty() || (exporter.directory && to_stream) {
            return Err(OutputError::NoDestination {
                exporter: exporter.name,
                stream: !exporter.directory,
            });
        }
        Ok(output)
    }

    /// The exporter.
    pub fn exporter(&self) -> &'static Exporter {
        self.exporter
    }

    /// Where to write, as given: a path, or `-`.
    pub fn dest(&self) -> &str {
        self.option("dest").unwrap_or_default()
    }

    /// Whether a directory is written, not a file or a stream.
    pub fn is_directory(&self) -> bool {
        self.exporter.directory || self.option("tar") == Some("false")
    }

    pub(super) fn option(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }

    pub(super) fn names(&self) -> Result<Option<Vec<Reference>>, ExportError> {
        let Some(names) = self.option("name") else {
            return Ok(None);
        };
        let names = names.split(',').map(|name| Reference::parse(name.trim()));
        Ok(Some(names.collect::<Result<_, _>>()?))
    }

    pub(super) fn compression(&self) -> Compression {
        let name = self.option("compression");
        Compression::ALL
            .into_iter()
            .find(|known| Some(known.name()) == name)
            .unwrap_or_default()
    }
}

/// Splits at commas outside of double quotes; quotes vanish, a doubled quote is one.
fn split(text: &str) -> Result<Vec<String>, OutputError> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let Some(part) = parts.last_mut() else { break };
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                part.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => parts.push(String::new()),
            c => part.push(c),
        }
    }
    if quoted {
        Err(OutputError::Quote)
    } else {
        Ok(parts)
    }
}
