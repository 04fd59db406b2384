//! Image names: `debian` means `docker.io/library/debian:latest`, by Docker's rules.
//!
//! In: text. Out: a normalised name, with the short form Docker shows for display. No effects. Spec: distribution-spec,
//! "Pulling manifests" (the grammar), and the rules of the `distribution/reference` package: the part before the first slash
//! is a registry if it has a dot, a colon or an upper-case letter, or is `localhost`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::digest::Digest;

const DEFAULT_DOMAIN: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";

/// Text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid image name `{text}`: {problem}")]
pub struct ReferenceError {
    /// What was given.
    pub text: String,
    /// What is wrong with it, and with which part.
    pub problem: String,
}

/// A normalised image name: registry, repository, and a tag or a digest or both (then the digest decides).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalises a name; without tag and digest the tag is `latest`.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|problem| ReferenceError {
            text: text.into(),
            problem,
        })
    }

    /// The registry: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository in the registry: `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What the manifest is asked for by: the digest, otherwise the tag.
    pub fn identifier(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }

    /// The repository with its registry, without tag and digest: `docker.io/library/debian`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository in the form Docker shows: `debian`, `user/app`, `127.0.0.1:5000/debian`.
    pub fn familiar_repository(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        match self.path.strip_prefix("library/") {
            Some(official) if !official.contains('/') => official.into(),
            _ => self.path.clone(),
        }
    }

    /// The name in the form Docker shows: `debian:latest`.
    pub fn familiar(&self) -> String {
        self.with_identifiers(self.familiar_repository())
    }

    /// The same name with `digest` instead of a tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            tag: None,
            ..self.clone()
        }
    }

    fn with_identifiers(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_identifiers(self.repository()))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    if text.len() == 64 && text.bytes().all(is_lower_hex) {
        return Err("64 hexadecimal digits are an image id, not a name".into());
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (
            name,
            Some(digest.parse::<Digest>().map_err(|error| error.to_string())?),
        ),
        None => (text, None),
    };
    // A colon after the last slash begins a tag; one before it is a registry's port.
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(checked_tag(tag)?)),
        _ => (name, None),
    };
    if name.is_empty() {
        return Err("the name is empty".into());
    }
    let (domain, path) = split_domain(name);
    check_domain(domain)?;
    check_path(&path)?;
    if domain.len() + 1 + path.len() > 255 {
        return Err("the name is longer than 255 characters".into());
    }
    let tag = tag.or_else(|| digest.is_none().then(|| DEFAULT_TAG.into()));
    Ok(Reference {
        domain: domain.into(),
        path,
        tag,
        digest,
    })
}

fn split_domain(name: &str) -> (&str, String) {
    let (domain, rest) = match name.split_once('/') {
        Some((first, rest)) if is_domain(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == "index.docker.io" {
        DEFAULT_DOMAIN
    } else {
        domain
    };
    if domain == DEFAULT_DOMAIN && !rest.contains('/') {
        (domain, format!("library/{rest}"))
    } else {
        (domain, rest.into())
    }
}

fn is_domain(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':', '['])
        || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn checked_tag(tag: &str) -> Result<String, String> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let valid = (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-');
    if valid {
        Ok(tag.into())
    } else {
        Err(format!(
            "the tag `{tag}` must have 1 to 128 letters, digits, `_`, `.`, `-`, and begin with a letter, a digit or `_`"
        ))
    }
}

fn check_domain(domain: &str) -> Result<(), String> {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (domain, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(format!(
            "the registry `{domain}` has a port that is no number up to 65535"
        ));
    }
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let valid = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        }),
    };
    if valid {
        Ok(())
    } else {
        Err(format!("`{domain}` is no registry's name"))
    }
}

fn check_path(path: &str) -> Result<(), String> {
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("repository names are lower case".into());
    }
    match path.split('/').find(|part| !is_path_component(part)) {
        None => Ok(()),
        Some("") => Err("a part of the name is empty".into()),
        Some(part) => Err(format!(
            "`{part}` must be lower-case letters and digits, with `.`, `_`, `__` or dashes only between them"
        )),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !(part.starts_with(alphanumeric) && part.ends_with(alphanumeric)) {
        return false;
    }
    part.split(alphanumeric)
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_normalised_and_shown_as_docker_does() {
        let with_digest = format!("docker.io/library/debian@{SHA}");
        let both = format!("docker.io/library/debian:12@{SHA}");
        for (given, full, familiar) in [
            ("debian", "docker.io/library/debian:latest", "debian:latest"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            (
                "docker.io/debian",
                "docker.io/library/debian:latest",
                "debian:latest",
            ),
            ("index.docker.io/a/b:c", "docker.io/a/b:c", "a/b:c"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            (
                "localhost:5000/app:1",
                "localhost:5000/app:1",
                "localhost:5000/app:1",
            ),
            (
                "127.0.0.1:5000/a/b",
                "127.0.0.1:5000/a/b:latest",
                "127.0.0.1:5000/a/b:latest",
            ),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
            ("Host/app", "Host/app:latest", "Host/app:latest"),
            (
                "ghcr.io/x/y_z__w.v--u",
                "ghcr.io/x/y_z__w.v--u:latest",
                "ghcr.io/x/y_z__w.v--u:latest",
            ),
            (&format!("debian@{SHA}"), &with_digest, &format!("debian@{SHA}")),
            (&format!("debian:12@{SHA}"), &both, &format!("debian:12@{SHA}")),
        ] {
            let reference = Reference::parse(given).unwrap();
            assert_eq!(reference.to_string(), full, "{given}");
            assert_eq!(reference.familiar(), familiar, "{given}");
            assert_eq!(Reference::parse(full).unwrap(), reference, "{full}");
            assert_eq!(Reference::parse(familiar).unwrap(), reference, "{familiar}");
        }
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        for (given, part) in [
            ("", "empty"),
            (":tag", "empty"),
            ("Debian", "lower case"),
            ("a//b", "empty"),
            ("a/", "empty"),
            ("-a", "only between"),
            ("a___b", "only between"),
            ("a:.x", "the tag"),
            ("a:", "the tag"),
            ("a b", "only between"),
            ("host:99999/a", "port"),
            ("ho..st/a", "no registry"),
            ("a@sha256:12", "not a digest"),
            (&SHA[7..], "an image id"),
            (&"x".repeat(256), "255"),
        ] {
            let error = Reference::parse(given).unwrap_err();
            assert!(error.problem.contains(part), "{given}: {error}");
        }
    }
}
