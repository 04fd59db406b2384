//! A server of a few lines that answers as a test wants, mostly wrongly.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use silt::oci::digest::Digest;
use silt::oci::manifest::{Descriptor, Manifest, media, to_bytes};
use silt::oci::reference::Reference;
use silt::registry::{Client, Credentials, RegistryError};
use silt::source::image::Pull;

use super::real::{credentials, fetch, registry_error};
use crate::export::scene::{Scene, images};

/// A request as the server saw it: the line without version, and the headers in lower case.
#[derive(Debug, Clone)]
struct Asked {
    path: String,
    headers: Vec<(String, String)>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first byte of a range.
    fn from(&self) -> Option<usize> {
        self.header("range")?
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    }
}

/// What the server sends: a status, headers, a body, and how much of it before it hangs up.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    send: usize,
    hang: Hang,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            status,
            headers: Vec::new(),
            send: body.len(),
            body,
            hang: Hang::Never,
        }
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hang {
    Never,
    BeforeHead,
    InBody,
}

struct Server {
    address: String,
    log: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Serves until the test's process ends; a thread for each connection, one request each.
    fn start(answer: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = log.clone();
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, log) = (answer.clone(), kept.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &*answer, &log));
            }
        });
        Self { address, log }
    }

    fn name(&self, text: &str) -> Reference {
        Reference::parse(&format!("{}/{text}", self.address)).unwrap()
    }

    fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&Asked, usize) -> Answer, log: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut asked = Asked {
        path: line.split(' ').nth(1).unwrap_or_default().into(),
        headers: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        asked.headers.push((name.to_ascii_lowercase(), value.into()));
    }
    let number = {
        let mut log = log.lock().unwrap();
        log.push(asked.clone());
        log.iter().filter(|other| other.path == asked.path).count()
    };
    let answer = answer(&asked, number);
    let mut head = format!(
        "HTTP/1.1 {} X\r\nContent-Length: {}\r\nConnection: close\r\n",
        answer.status,
        answer.body.len()
    );
    for (name, value) in &answer.headers {
        head.extend([name.as_str(), ": ", value, "\r\n"]);
    }
    head += "\r\n";
    // The client may be gone: that is its test's matter.
    if answer.hang == Hang::BeforeHead {
        std::thread::sleep(Duration::from_secs(20));
    }
    drop(stream.write_all(head.as_bytes()));
    drop(stream.write_all(&answer.body[..answer.send]));
    if answer.hang == Hang::InBody {
        std::thread::sleep(Duration::from_secs(20));
    }
}

/// The documents and blobs of the scene's image.
struct Served {
    scene: Scene,
    manifest: Vec<u8>,
    blobs: Vec<(String, Vec<u8>)>,
}

impl Served {
    fn new() -> Arc<Self> {
        let scene = Scene::new();
        let layout = scene.export("oci", "layout", &[("tar", "false")]);
        let mut blobs = Vec::new();
        for entry in std::fs::read_dir(layout.join("blobs/sha256")).unwrap() {
            let entry = entry.unwrap();
            blobs.push((
                entry.file_name().into_string().unwrap(),
                std::fs::read(entry.path()).unwrap(),
            ));
        }
        let manifest = blobs
            .iter()
            .find(|(_, bytes)| bytes.starts_with(b"{\"schemaVersion\""))
            .unwrap()
            .1
            .clone();
        Arc::new(Self {
            scene,
            manifest,
            blobs,
        })
    }

    /// What a good registry answers.
    fn answer(&self, asked: &Asked) -> Answer {
        if asked.path.contains("/manifests/") {
            return Answer::new(200, self.manifest.clone()).header("Content-Type", media::MANIFEST);
        }
        let found = self
            .blobs
            .iter()
            .find(|(hex, _)| asked.path.ends_with(hex.as_str()));
        match (found, asked.from()) {
            (Some((_, bytes)), Some(from)) => Answer::new(206, &bytes[from..]),
            (Some((_, bytes)), None) => Answer::new(200, bytes.clone()),
            (None, _) => Answer::new(
                404,
                r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"no such blob"}]}"#,
            ),
        }
    }

    fn is_largest(&self, asked: &Asked) -> bool {
        let largest = self.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
        asked.path.ends_with(largest.0.as_str())
    }
}

fn anonymous() -> Arc<Client> {
    let short = Duration::from_millis(600);
    Arc::new(Client::with_timeouts(Credentials::none(), short, short, short))
}

fn pull_error(server: &Server) -> RegistryError {
    registry_error(fetch(&images(), &anonymous(), &server.name("app:1"), Pull::Missing).unwrap_err())
}

/// The text of an error with all its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.extend([": ", &inner.to_string()]);
        source = inner.source();
    }
    text
}

#[test]
fn a_transfer_that_breaks_off_goes_on_with_ranges_and_without() {
    for ranges in [true, false] {
        let blobs = Served::new();
        let kept = blobs.clone();
        let server = Server::start(move |asked, number| {
            let mut asked = asked.clone();
            if !ranges {
                asked.headers.clear();
            }
            let mut answer = kept.answer(&asked);
            if kept.is_largest(&asked) && number < 4 {
                answer.send = answer.body.len() * number / 5;
            }
            answer
        });
        let image = fetch(&images(), &anonymous(), &server.name("app:1"), Pull::Missing).unwrap();
        assert_eq!(
            (image.id, image.root),
            (blobs.scene.image.id.clone(), blobs.scene.image.root)
        );
    }
}

#[test]
fn a_transfer_that_never_gets_on_is_given_up() {
    let blobs = Served::new();
    let server = Server::start(move |asked, _| {
        let mut answer = blobs.answer(asked);
        if blobs.is_largest(asked) {
            answer.send = if asked.from().is_some() { 0 } else { 1000 };
        }
        answer
    });
    let error = fetch(&images(), &anonymous(), &server.name("app:1"), Pull::Missing).unwrap_err();
    assert!(
        chain(&error).contains("broke off after 1000 of"),
        "{}",
        chain(&error)
    );
}

#[test]
fn content_that_is_not_what_its_digest_says_is_refused_and_nothing_is_recorded() {
    let blobs = Served::new();
    let server = Server::start(move |asked, _| {
        let mut answer = blobs.answer(asked);
        if blobs.is_largest(asked) {
            answer.body[5000] ^= 1;
        }
        answer
    });
    let images = images();
    let error = fetch(&images, &anonymous(), &server.name("app:1"), Pull::Missing).unwrap_err();
    assert!(chain(&error).contains("layer 1 of 4"), "{}", chain(&error));
    assert!(images.list().unwrap().is_empty());
    // A manifest asked for by digest, and a config.
    let config = Descriptor::of(media::CONFIG, b"the config");
    let manifest = to_bytes(&Manifest::oci(config, vec![]));
    let server = Server::start(move |asked, _| {
        if asked.path.contains("/manifests/") {
            Answer::new(200, manifest.clone())
        } else {
            Answer::new(200, "another config")
        }
    });
    assert!(matches!(pull_error(&server), RegistryError::WrongDigest { .. }));
    let by_digest = server.name(&format!("app@{}", Digest::sha256(b"other")));
    let error = fetch(&images, &anonymous(), &by_digest, Pull::Missing).unwrap_err();
    assert!(
        chain(&error).contains("sent content with digest"),
        "{}",
        chain(&error)
    );
}

#[expect(
    clippy::too_many_lines,
    reason = "one scene: a registry, its token server, its storage"
)]
#[test]
fn a_token_is_fetched_kept_and_never_taken_along_a_redirect() {
    let blobs = Served::new();
    let kept = blobs.clone();
    let storage = Server::start(move |asked, _| kept.answer(asked));
    let storage_address = storage.address.clone();
    let kept = blobs.clone();
    let registry = Server::start(move |asked, _| {
        let host = asked.header("host").unwrap();
        if asked.path.starts_with("/token") {
            assert!(
                asked.path.contains("scope=repository%3Aapp%3Apull") && asked.path.contains("service=test")
            );
            // user:secret
            return match asked.header("authorization") {
                Some("Basic dXNlcjpzZWNyZXQ=") => Answer::new(200, r#"{"access_token":"good"}"#),
                _ => Answer::new(
                    401,
                    r#"{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}"#,
                ),
            };
        }
        if asked.header("authorization") != Some("Bearer good") {
            let challenge =
                format!(r#"Bearer realm="http://{host}/token",service="test",scope="repository:app:pull""#);
            return Answer::new(401, "").header("WWW-Authenticate", challenge);
        }
        if asked.path.contains("/blobs/") {
            return Answer::new(307, "")
                .header("Location", format!("http://{storage_address}{}", asked.path));
        }
        kept.answer(asked)
    });
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        r#"{{"auths": {{"{}": {{"auth": "dXNlcjpzZWNyZXQ="}}}}}}"#,
        registry.address
    );
    std::fs::write(folder.path().join("config.json"), text).unwrap();
    let image = fetch(
        &images(),
        &credentials(folder.path()),
        &registry.name("app"),
        Pull::Missing,
    )
    .unwrap();
    assert_eq!(image.id, blobs.scene.image.id);
    assert_eq!(
        registry
            .asked()
            .iter()
            .filter(|asked| asked.path.starts_with("/token"))
            .count(),
        1
    );
    let redirected = storage.asked();
    assert!(redirected.len() >= 4);
    assert!(
        redirected
            .iter()
            .all(|asked| asked.header("authorization").is_none())
    );
    // Without the secret the refusal is the registry's own.
    let error = pull_error(&registry);
    assert!(error.to_string().contains("UNAUTHORIZED who are you"), "{error}");
    assert!(error.hint().unwrap().contains("docker login"));
}

#[test]
fn a_busy_registry_is_asked_again_and_a_broken_one_is_quoted() {
    let blobs = Served::new();
    let server = Server::start(move |asked, number| match number {
        1 => Answer::new(503, ""),
        2 => Answer::new(429, "").header("Retry-After", "0"),
        _ => blobs.answer(asked),
    });
    fetch(&images(), &anonymous(), &server.name("app:1"), Pull::Missing).unwrap();
    let server = Server::start(|_, _| Answer::new(500, "<html>it is\nbroken</html>"));
    let text = pull_error(&server).to_string();
    assert!(text.ends_with("answered 500: <html>it isbroken</html>"), "{text}");
    assert_eq!(server.asked().len(), 4);
    let server = Server::start(|_, _| {
        Answer::new(
            429,
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#,
        )
    });
    assert!(matches!(pull_error(&server), RegistryError::RateLimited { .. }));
}

#[test]
fn a_silent_registry_is_left() {
    for hang in [Hang::BeforeHead, Hang::InBody] {
        let server = Server::start(move |_, _| {
            let mut answer = Answer::new(200, "{}");
            answer.send = 0;
            answer.hang = hang;
            answer
        });
        let error = pull_error(&server);
        assert!(matches!(error, RegistryError::Timeout { .. }), "{error:?}");
    }
}

#[test]
fn strange_answers_are_refused() {
    let server = Server::start(|_, _| Answer::new(302, "").header("Location", "ftp://example.com/x"));
    assert!(matches!(pull_error(&server), RegistryError::Redirect { .. }));
    let server = Server::start(|_, _| Answer::new(302, "").header("Location", "http://192.0.2.1/x"));
    assert!(matches!(pull_error(&server), RegistryError::Redirect { .. }));
    let server = Server::start(|asked, _| Answer::new(302, "").header("Location", asked.path.clone()));
    assert!(matches!(pull_error(&server), RegistryError::Redirect { .. }));
    let server = Server::start(|_, _| Answer::new(200, vec![b' '; 5 << 20]));
    assert!(matches!(pull_error(&server), RegistryError::TooLong { .. }));
    for body in ["<html>", "{}", r#"{"schemaVersion":1}"#] {
        let server = Server::start(move |_, _| Answer::new(200, body));
        assert!(
            matches!(pull_error(&server), RegistryError::Manifest(_)),
            "{body}"
        );
    }
    let challenge = r#"Bearer realm="http://192.0.2.1/token",service="x""#;
    let server = Server::start(move |_, _| Answer::new(401, "").header("WWW-Authenticate", challenge));
    assert!(matches!(pull_error(&server), RegistryError::Redirect { .. }));
}
