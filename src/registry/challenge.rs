//! What a registry asks for when it says 401. Pure.
//!
//! Spec: RFC 9110, "WWW-Authenticate"; Docker's "Token Authentication Specification".

/// A way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token from `realm`.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
    /// User name and password.
    Basic,
}

/// Parses one header; the first scheme that is known counts.
pub(super) fn parse(header: &str) -> Option<Challenge> {
    let (scheme, parameters) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let value = |wanted: &str| {
        pairs(parameters)
            .find(|(key, _)| key.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value)
    };
    Some(Challenge::Bearer {
        realm: value("realm")?,
        service: value("service"),
        scope: value("scope"),
    })
}

/// `key="value"` pairs; commas inside quotes belong to the value.
fn pairs(mut text: &str) -> impl Iterator<Item = (String, String)> {
    std::iter::from_fn(move || {
        let (key, rest) = text.trim_start_matches([' ', ',']).split_once('=')?;
        let key = key.trim().to_owned();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut value = String::new();
            let mut chars = quoted.char_indices();
            while let Some((at, c)) = chars.next() {
                match c {
                    '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
                    '"' => {
                        text = &quoted[at + 1..];
                        return Some((key, value));
                    }
                    c => value.push(c),
                }
            }
            return None;
        }
        let (value, rest) = rest.split_once(',').unwrap_or((rest, ""));
        text = rest;
        Some((key, value.trim().to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = parse(
            r#"Bearer realm="https://auth.example/token",service="reg", scope="repository:a/b:pull,push""#,
        );
        let expected = Challenge::Bearer {
            realm: "https://auth.example/token".into(),
            service: Some("reg".into()),
            scope: Some("repository:a/b:pull,push".into()),
        };
        assert_eq!(bearer, Some(expected));
        assert_eq!(parse("basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(parse("Basic"), Some(Challenge::Basic));
        assert_eq!(parse("Negotiate abc"), None);
        assert_eq!(parse("Bearer service=\"no realm\""), None);
        assert_eq!(parse("Bearer realm=\"unterminated"), None);
    }
}
