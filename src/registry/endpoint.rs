//! Where a registry is: the URL behind its name. Pure.

use std::net::IpAddr;

/// Docker Hub's registry has another name than its images.
const HUB: &str = "registry-1.docker.io";

/// A registry's host and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Endpoint {
    /// Host and port.
    pub(super) host: String,
    /// Whether plain http is right: on this machine only.
    pub(super) plain: bool,
}

impl Endpoint {
    /// The endpoint of a `Reference::domain`.
    pub(super) fn of(domain: &str) -> Self {
        let host = if domain == "docker.io" { HUB } else { domain };
        Self {
            host: host.into(),
            plain: is_loopback(host),
        }
    }

    /// The URL of something below `/v2/`.
    pub(super) fn url(&self, path: &str) -> String {
        let scheme = if self.plain { "http" } else { "https" };
        format!("{scheme}://{}/v2/{path}", self.host)
    }
}

/// Whether `host`, with a port or without, can only be this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A URL's scheme and its host with port.
pub(super) fn split_url(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some((scheme, host))
}

/// Whether a URL may be asked at all: https, or http on this machine.
pub(super) fn is_safe(url: &str) -> bool {
    match split_url(url) {
        Some(("https", host)) => !host.is_empty(),
        Some(("http", host)) => is_loopback(host),
        _ => false,
    }
}

/// Resolves a `Location` against the URL that sent it.
pub(super) fn join(base: &str, location: &str) -> Option<String> {
    if location.contains("://") {
        return Some(location.into());
    }
    let (scheme, rest) = base.split_once("://")?;
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    if location.starts_with('/') {
        return Some(format!("{scheme}://{authority}{location}"));
    }
    let path = rest[authority.len()..].split(['?', '#']).next()?;
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    Some(format!("{scheme}://{authority}{directory}/{location}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for (domain, url) in [
            ("docker.io", "https://registry-1.docker.io/v2/x"),
            ("ghcr.io", "https://ghcr.io/v2/x"),
            ("localhost", "http://localhost/v2/x"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000/v2/x"),
            ("[::1]:5000", "http://[::1]:5000/v2/x"),
            ("127.0.0.1.example.com", "https://127.0.0.1.example.com/v2/x"),
            ("10.0.0.1:5000", "https://10.0.0.1:5000/v2/x"),
        ] {
            assert_eq!(Endpoint::of(domain).url("x"), url);
        }
        assert!(!is_safe("http://example.com/") && !is_safe("file:///etc/passwd") && !is_safe("https:///x"));
        assert!(!is_safe("http://127.0.0.1@example.com/"));
        assert!(is_safe("http://localhost:1/x") && is_safe("https://example.com/x"));
    }

    #[test]
    fn locations_are_resolved() {
        let base = "https://a.b:1/v2/x/blobs/y?z=/";
        assert_eq!(join(base, "https://c/d").unwrap(), "https://c/d");
        assert_eq!(join(base, "//c/d").unwrap(), "https://c/d");
        assert_eq!(join(base, "/d?e").unwrap(), "https://a.b:1/d?e");
        assert_eq!(join(base, "d").unwrap(), "https://a.b:1/v2/x/blobs/d");
    }
}
