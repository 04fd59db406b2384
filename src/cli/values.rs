//! Parsers of argument values: pure, and with messages that say what would have been right.

use nix::sys::signal::Signal;

use crate::engine::request::Volume;

/// `KEY=VALUE`, or `KEY` alone, whose value is the environment's (`None` when it has none).
pub(crate) fn key_value(text: &str) -> Result<(String, Option<String>), String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, std::env::var(text).ok()),
    };
    if key.is_empty() {
        return Err("expected KEY=VALUE".to_owned());
    }
    Ok((key.to_owned(), value))
}

/// `KEY=VALUE`; `KEY` alone has the empty value.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err("expected KEY=VALUE".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`, IPv6 in brackets or not.
pub(crate) fn host(text: &str) -> Result<(String, String), String> {
    let parsed = text.split_once('=').or_else(|| text.split_once(':'));
    let Some((name, address)) = parsed.filter(|(name, _)| !name.is_empty()) else {
        return Err("expected NAME:ADDRESS".to_owned());
    };
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let address = if bare == "host-gateway" { "127.0.0.1" } else { bare };
    if address.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("`{address}` is not an IP address"));
    }
    Ok((name.to_owned(), address.to_owned()))
}

/// `HOST:CONTAINER[:ro|rw]`.
pub(crate) fn volume(text: &str) -> Result<Volume, String> {
    let mut parts = text.split(':');
    let (host, guest, mode) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(host), Some(guest), mode, None) => (host, guest, mode.unwrap_or("rw")),
        _ => return Err("expected HOST:CONTAINER or HOST:CONTAINER:ro".to_owned()),
    };
    if !guest.starts_with('/') {
        return Err(format!("`{guest}` is not an absolute path in the container"));
    }
    if guest.split('/').all(|name| name.is_empty() || name == ".") {
        return Err("nothing can be mounted on the container's root".to_owned());
    }
    if !host.starts_with(['/', '.', '~']) {
        return Err(format!(
            "named volumes are not supported: for a directory on the host write ./{host}"
        ));
    }
    let path = std::fs::canonicalize(host).map_err(|error| format!("{host}: {error}"))?;
    let read_only = mode.split(',').any(|option| option == "ro");
    if let Some(unknown) = mode
        .split(',')
        .find(|option| !matches!(*option, "ro" | "rw" | "z" | "Z"))
    {
        return Err(format!("unknown volume option `{unknown}`: expected ro or rw"));
    }
    Ok(Volume {
        host: path.to_string_lossy().into_owned(),
        guest: guest.to_owned(),
        read_only,
    })
}

/// `PATH[:size=BYTES]`.
pub(crate) fn tmpfs(text: &str) -> Result<(String, u64), String> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    if !path.starts_with('/') {
        return Err(format!("`{path}` is not an absolute path in the container"));
    }
    let mut limit = 0;
    for option in options.split(',') {
        if let Some(size) = option.strip_prefix("size=") {
            limit = bytes(size)?;
        }
    }
    Ok((path.to_owned(), limit))
}

/// `512`, `64k`, `10m`, `1g`: powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let (digits, shift) = match lower.as_bytes().last() {
        Some(b'k') => (&lower[..lower.len() - 1], 10),
        Some(b'm') => (&lower[..lower.len() - 1], 20),
        Some(b'g') => (&lower[..lower.len() - 1], 30),
        _ => (lower, 0),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| format!("`{text}` is not a size such as 512m"))
}

/// `SIGTERM`, `TERM`, `15`.
pub(crate) fn signal(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse::<i32>() {
        // Real-time signals have numbers, no names here.
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err(format!("there is no signal {number}"))
        };
    }
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") {
        name
    } else {
        format!("SIG{name}")
    };
    name.parse::<Signal>()
        .map(|signal| signal as i32)
        .map_err(|_| format!("there is no signal `{text}`"))
}

/// A published port as the host's network allows it: `Ok` with the port when both sides are the same.
pub(crate) fn publish(text: &str) -> Result<String, String> {
    let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !matches!(protocol, "tcp" | "udp" | "sctp") {
        return Err(format!("unknown protocol `{protocol}`"));
    }
    let mut parts = rest.rsplitn(3, ':');
    let container = parts.next().unwrap_or_default();
    let Some(host) = parts.next() else {
        return Err(format!(
            "a random host port needs a network of its own, and containers share the host's: write -p {container}:{container}"
        ));
    };
    let valid = |range: &str| {
        range
            .split('-')
            .all(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    if !valid(host) || !valid(container) {
        return Err(format!("`{rest}` names no ports: expected HOST:CONTAINER"));
    }
    if host != container {
        return Err(format!(
            "port {container} cannot become port {host}: containers share the host's network. \
             Let the program listen on {host} itself, or write -p {container}:{container}"
        ));
    }
    Ok(format!("{container}/{protocol}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_must_be_equal_on_both_sides() {
        assert_eq!(publish("80:80"), Ok("80/tcp".to_owned()));
        assert_eq!(publish("127.0.0.1:53:53/udp"), Ok("53/udp".to_owned()));
        for bad in ["80", "8080:80", "x:x", "80:80/quic", "0:0"] {
            assert!(publish(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        assert_eq!(signal("TERM"), Ok(15));
        assert_eq!(signal("sigkill"), Ok(9));
        assert_eq!(signal("34"), Ok(34));
        assert!(signal("NOPE").is_err());
        assert!(signal("0").is_err());
    }

    #[test]
    fn sizes_hosts_and_volumes_parse() {
        assert_eq!(bytes("64k"), Ok(65536));
        assert_eq!(bytes("1gb"), Ok(1 << 30));
        assert!(bytes("lots").is_err());
        for root in ["/tmp:/", "/tmp://./:ro"] {
            assert!(volume(root).is_err(), "{root}");
        }
        assert_eq!(
            host("db:10.0.0.1").unwrap(),
            ("db".to_owned(), "10.0.0.1".to_owned())
        );
        assert_eq!(host("db=[::1]").unwrap().1, "::1");
        assert!(host("db:nowhere").is_err());
        assert!(volume("/:/host:ro").unwrap().read_only);
        for bad in [
            "/tmp",
            "/tmp:relative",
            "name:/data",
            "/tmp:/x:weird",
            "/does/not/exist:/x",
        ] {
            assert!(volume(bad).is_err(), "{bad}");
        }
        assert_eq!(tmpfs("/run:size=1m").unwrap(), ("/run".to_owned(), 1 << 20));
    }
}
