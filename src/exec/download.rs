//! ADD's URLs: fetched into the store before their key is known, since their content is the key.
//!
//! In: a URL. Out: a `Download`. Effects: network, content. The file's name is the last part of the URL's path, its time is
//! `Last-Modified`. Spec: Dockerfile reference, "Adding files from a URL".

use std::io::Read;
use std::time::Duration;

use silt_store::{Name, Store, Time, blob};

use super::copy::Download;
use super::error::DownloadError;
use crate::layer::Digesting;

/// A server that does not answer within this is none.
const PATIENCE: Duration = Duration::from_mins(1);

/// Fetches `url`; `named` tells whether the destination gives the file its name. `checksum` is `sha256:...`.
pub(super) fn download(
    store: &dyn Store,
    url: &str,
    named: bool,
    checksum: Option<&str>,
) -> Result<Download, DownloadError> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(DownloadError::Scheme { url: url.to_owned() });
    }
    let name = match (file_name(url), named) {
        (Some(name), _) => name,
        (None, true) => Name::new(b"download").map_err(|_| DownloadError::Name { url: url.to_owned() })?,
        (None, false) => return Err(DownloadError::Name { url: url.to_owned() }),
    };
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .user_agent(concat!("silt/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let response = agent.get(url).call().map_err(|source| DownloadError::Request {
        url: url.to_owned(),
        source: Box::new(source),
    })?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let modified = header("last-modified").and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
    let modified = modified.map_or(Time::default(), |time| Time {
        seconds: time.timestamp().as_second(),
        nanos: 0,
    });
    let encoded = header("content-encoding").is_some();
    let announced = header("content-length")
        .and_then(|text| text.parse::<u64>().ok())
        .filter(|_| !encoded);
    let mut reader = Digesting::new(response.into_body().into_reader());
    let content =
        blob::write(store, &mut reader as &mut dyn Read).map_err(|source| DownloadError::Store {
            url: url.to_owned(),
            source,
        })?;
    let (digest, sent) = reader.finish();
    if let Some(announced) = announced.filter(|announced| *announced != sent) {
        let url = url.to_owned();
        return Err(DownloadError::Length { url, announced, sent });
    }
    if let Some(expected) = checksum.filter(|expected| *expected != digest.to_string()) {
        return Err(DownloadError::Checksum {
            url: url.to_owned(),
            expected: expected.to_owned(),
            actual: digest.to_string(),
        });
    }
    Ok(Download {
        name,
        content,
        modified,
    })
}

/// The last part of a URL's path, percent-decoded.
fn file_name(url: &str) -> Option<Name> {
    let (_, rest) = url.split_once("://")?;
    let path = rest.split(['?', '#']).next()?;
    let (_, path) = path.split_once('/')?;
    let last = path.rsplit('/').next()?;
    let mut bytes = Vec::new();
    let mut rest = last.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: u8| (byte as char).to_digit(16);
        let ahead: Vec<u8> = rest.clone().take(2).collect();
        match (byte, &ahead[..]) {
            (b'%', [high, low]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push((hex(*high)? * 16 + hex(*low)?) as u8);
                rest.nth(1);
            }
            _ => bytes.push(byte),
        }
    }
    Name::new(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_path() {
        let name = |url| file_name(url).map(|name| name.to_string());
        assert_eq!(
            name("http://example.com/foo/bar.tar.gz?x=/y#z"),
            Some("bar.tar.gz".into())
        );
        assert_eq!(name("https://example.com/a%20b%2"), Some("a b%2".into()));
        for none in [
            "http://example.com",
            "http://example.com/",
            "http://example.com/a/",
            "http://x/%2e%2e",
            "http://x/a%2fb",
        ] {
            assert_eq!(name(none), None, "{none}");
        }
    }

    /// A server that gives `response` to one request, and the URL of a file there.
    fn serve(response: &'static str) -> String {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(response.as_bytes()).unwrap();
        });
        format!("http://{address}/dir/file.txt")
    }

    const GOOD: &str =
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\nhello";

    #[test]
    fn files_come_with_name_time_and_content() {
        let store = silt_store::MemoryStore::new();
        let sum = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let fetched = download(&store, &serve(GOOD), false, Some(sum)).unwrap();
        assert_eq!(
            (fetched.name.to_string().as_str(), fetched.modified.seconds),
            ("file.txt", 1_445_412_480)
        );
        assert_eq!(blob::read_all(&store, &fetched.content).unwrap(), b"hello");
    }

    #[test]
    fn servers_that_lie_or_refuse_are_errors() {
        let store = silt_store::MemoryStore::new();
        let fetch = |response, checksum| download(&store, &serve(response), false, checksum).unwrap_err();
        assert!(matches!(
            fetch(GOOD, Some("sha256:00")),
            DownloadError::Checksum { .. }
        ));
        let short = fetch("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", None);
        assert!(
            matches!(short, DownloadError::Length { .. } | DownloadError::Store { .. }),
            "{short:?}"
        );
        let missing = fetch("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", None);
        assert!(matches!(missing, DownloadError::Request { .. }), "{missing:?}");
        let scheme = download(&store, "ftp://example.com/x", false, None).unwrap_err();
        assert!(matches!(scheme, DownloadError::Scheme { .. }));
        let name = download(&store, "http://127.0.0.1:1/", false, None).unwrap_err();
        assert!(matches!(name, DownloadError::Name { .. }));
    }
}
