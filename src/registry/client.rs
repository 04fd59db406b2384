//! One request to a registry: authorised when it asks for it, redirected with care, retried with patience.
//!
//! In: a URL below `/v2/`. Out: a response with a status of success. Effects: network. A token is kept for each registry and
//! repository as long as the client lives, and fetched anew when it is refused.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use ureq::http::{HeaderMap, Response};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::challenge::{self, Challenge};
use super::credentials::{Credentials, Secret};
use super::endpoint::{Endpoint, is_loopback, is_safe, join, split_url};
use super::error::RegistryError;

const CONNECT: Duration = Duration::from_secs(15);
const RESPONSE: Duration = Duration::from_mins(1);
const STALL: Duration = Duration::from_secs(30);
const ATTEMPTS: u32 = 4;
const MAX_REDIRECTS: usize = 8;
/// What is read of an error's explanation.
const MAX_DETAIL: u64 = 64 << 10;

/// Speaks to registries. One for each user; threads may share it.
pub struct Client {
    agent: Agent,
    /// Without a proxy: for this machine.
    local: Agent,
    credentials: Credentials,
    /// `Authorization` headers by host and repository.
    tokens: Mutex<HashMap<(String, String), String>>,
    /// The first pause between attempts; it doubles.
    pause: Duration,
}

/// What is asked for.
pub(super) struct Request<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// The registry's name in references, by which secrets are kept.
    pub(super) domain: &'a str,
    pub(super) repository: &'a str,
    /// `manifests/latest`, `blobs/sha256:...`.
    pub(super) what: String,
    pub(super) accept: &'static str,
    /// The first byte wanted.
    pub(super) from: u64,
}

/// A token server's answer.
#[derive(Deserialize)]
struct Granted {
    token: Option<String>,
    access_token: Option<String>,
}

/// Why one attempt failed, and whether another may do better.
enum Attempt {
    Final(RegistryError),
    Again(RegistryError, Option<Duration>),
}

impl From<RegistryError> for Attempt {
    fn from(error: RegistryError) -> Self {
        Self::Final(error)
    }
}

impl Client {
    /// A client with a user's secrets.
    pub fn new(credentials: Credentials) -> Self {
        Self::with_timeouts(credentials, CONNECT, RESPONSE, STALL)
    }

    /// A client with less patience: for a connection, for an answer to begin, between two pieces of it.
    pub fn with_timeouts(
        credentials: Credentials,
        connect: Duration,
        response: Duration,
        stall: Duration,
    ) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let config = || {
            Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .user_agent(concat!("silt/", env!("CARGO_PKG_VERSION")))
                .accept_encoding("identity")
                .timeout_connect(Some(connect))
                .timeout_recv_response(Some(response))
                .timeout_per_read(Some(stall))
                .tls_config(tls.clone())
        };
        Self {
            agent: config().build().new_agent(),
            local: config().proxy(None).build().new_agent(),
            credentials,
            tokens: Mutex::default(),
            pause: (stall / 60).min(Duration::from_millis(500)),
        }
    }

    pub(super) fn get(&self, request: &Request<'_>) -> Result<Response<Body>, RegistryError> {
        let mut pause = self.pause;
        let mut attempt = 1;
        loop {
            match self.attempt(request) {
                Ok(response) => return Ok(response),
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::Again(error, _)) if attempt == ATTEMPTS => return Err(error),
                Err(Attempt::Again(_, wished)) => {
                    std::thread::sleep(wished.unwrap_or(pause).min(self.pause * 20));
                }
            }
            attempt += 1;
            pause *= 2;
        }
    }

    fn attempt(&self, request: &Request<'_>) -> Result<Response<Body>, Attempt> {
        let key = (request.endpoint.host.clone(), request.repository.to_owned());
        let known = self.tokens().get(&key).cloned();
        let (response, own) = self.send(request, known.as_deref())?;
        if response.status() != 401 || !own {
            return checked(request, response, false);
        }
        let secret = self.credentials.secret(request.domain)?;
        let Some(header) = self.authorization(request, response.headers(), secret.as_ref())? else {
            return checked(request, response, secret.is_some());
        };
        let (response, _) = self.send(request, Some(&header))?;
        if response.status().is_success() {
            self.tokens().insert(key, header);
        }
        checked(request, response, secret.is_some())
    }

    /// Sends a request and follows redirects; tells whether the answer is the registry's own.
    fn send(
        &self,
        request: &Request<'_>,
        authorization: Option<&str>,
    ) -> Result<(Response<Body>, bool), Attempt> {
        let start = request
            .endpoint
            .url(&format!("{}/{}", request.repository, request.what));
        let mut url = start.clone();
        for _ in 0..MAX_REDIRECTS {
            let own = split_url(&url) == split_url(&start);
            let mut asked = self.agent_for(&url).get(&url).header("Accept", request.accept);
            if let Some(authorization) = authorization.filter(|_| own) {
                asked = asked.header("Authorization", authorization);
            }
            if request.from > 0 {
                asked = asked.header("Range", format!("bytes={}-", request.from));
            }
            let response = asked
                .call()
                .map_err(|error| failed(&request.endpoint.host, error))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, own));
            }
            url = redirect(request.endpoint, &url, response.headers())?;
        }
        Err(refused(request.endpoint, &url, "there were too many redirects").into())
    }

    /// The header that answers a challenge, or `None` when there is nothing to answer with.
    fn authorization(
        &self,
        request: &Request<'_>,
        headers: &HeaderMap,
        secret: Option<&Secret>,
    ) -> Result<Option<String>, Attempt> {
        let challenges = headers.get_all("www-authenticate").iter();
        let mut known = challenges.filter_map(|header| challenge::parse(header.to_str().ok()?));
        match (known.next(), secret) {
            (Some(Challenge::Basic), Some(Secret::Password { user, password })) => {
                Ok(Some(basic(user, password)))
            }
            (
                Some(Challenge::Bearer {
                    realm,
                    service,
                    scope,
                }),
                secret,
            ) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", request.repository));
                let token = self.token(request, &realm, service.as_deref(), &scope, secret)?;
                Ok(Some(format!("Bearer {token}")))
            }
            _ => Ok(None),
        }
    }

    fn token(
        &self,
        request: &Request<'_>,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        secret: Option<&Secret>,
    ) -> Result<String, Attempt> {
        if !may_ask(request.endpoint, realm) {
            return Err(refused(request.endpoint, realm, "a token server must be asked over https").into());
        }
        let mut query = vec![("scope", scope), ("client_id", "silt")];
        query.extend(service.map(|service| ("service", service)));
        let agent = self.agent_for(realm);
        let host = split_url(realm).map_or(realm, |(_, host)| host);
        let answer = if let Some(Secret::Identity(token)) = secret {
            query.extend([("grant_type", "refresh_token"), ("refresh_token", token)]);
            agent.post(realm).send_form(query)
        } else {
            let mut asked = agent.get(realm).query_pairs(query);
            if let Some(Secret::Password { user, password }) = secret {
                asked = asked.header("Authorization", basic(user, password));
            }
            asked.call()
        };
        let answer = answer.map_err(|error| failed(host, error))?;
        let mut answer = checked(request, answer, secret.is_some())?;
        let granted = read_all(answer.body_mut(), MAX_DETAIL * 16).ok();
        let granted = granted.and_then(|bytes| serde_json::from_slice::<Granted>(&bytes).ok());
        granted
            .and_then(|granted| granted.token.or(granted.access_token))
            .ok_or_else(|| {
                Attempt::Final(RegistryError::Status {
                    registry: host.into(),
                    status: answer.status().as_u16(),
                    detail: "its token server sent no token".into(),
                })
            })
    }

    fn agent_for(&self, url: &str) -> &Agent {
        if split_url(url).is_some_and(|(_, host)| is_loopback(host)) {
            &self.local
        } else {
            &self.agent
        }
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), String>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Whether a registry may send us to `url`: plain http only if it is itself on this machine.
fn may_ask(endpoint: &Endpoint, url: &str) -> bool {
    is_safe(url) && (endpoint.plain || url.starts_with("https://"))
}

fn redirect(endpoint: &Endpoint, from: &str, headers: &HeaderMap) -> Result<String, RegistryError> {
    let location = headers
        .get("location")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match join(from, location) {
        Some(url) if !location.is_empty() && may_ask(endpoint, &url) => Ok(url),
        _ => Err(refused(endpoint, location, "it is not https")),
    }
}

fn refused(endpoint: &Endpoint, location: &str, reason: &'static str) -> RegistryError {
    RegistryError::Redirect {
        registry: endpoint.host.clone(),
        location: location.into(),
        reason,
    }
}

/// A response if it is one of success, otherwise what it means.
fn checked(
    request: &Request<'_>,
    mut response: Response<Body>,
    with_credentials: bool,
) -> Result<Response<Body>, Attempt> {
    let status = response.status().as_u16();
    if response.status().is_success() {
        return Ok(response);
    }
    let registry = request.endpoint.host.clone();
    let repository = request.repository.to_owned();
    let wait = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let wait = wait.map(Duration::from_secs);
    let detail = detail(response.body_mut());
    Err(match status {
        401 | 403 => Attempt::Final(RegistryError::Unauthorized {
            registry,
            repository,
            detail,
            with_credentials,
        }),
        404 => {
            let what = format!(
                "{repository}:{}",
                request.what.split_once('/').map_or("", |(_, name)| name)
            );
            Attempt::Final(RegistryError::NotFound { registry, what })
        }
        429 => Attempt::Again(RegistryError::RateLimited { registry, detail }, wait),
        500.. => Attempt::Again(
            RegistryError::Status {
                registry,
                status,
                detail,
            },
            wait,
        ),
        _ => Attempt::Final(RegistryError::Status {
            registry,
            status,
            detail,
        }),
    })
}

/// The registry's own words: the messages of its error document, or the beginning of whatever it sent.
fn detail(body: &mut Body) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let bytes = read_all(body, MAX_DETAIL).unwrap_or_default();
    if let Ok(errors) = serde_json::from_slice::<Errors>(&bytes)
        && !errors.errors.is_empty()
    {
        let texts: Vec<_> = errors
            .errors
            .iter()
            .map(|item| format!("{} {}", item.code, item.message))
            .collect();
        return texts.join("; ").trim().into();
    }
    let text: String = String::from_utf8_lossy(&bytes)
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    if text.is_empty() {
        "without an explanation".into()
    } else {
        text
    }
}

/// Reads at most `limit` bytes; more is an error.
pub(super) fn read_all(body: &mut Body, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    body.as_reader().take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

fn failed(host: &str, error: ureq::Error) -> Attempt {
    let registry = host.to_owned();
    match error {
        ureq::Error::Timeout(_) => Attempt::Final(RegistryError::Timeout { registry }),
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            Attempt::Final(RegistryError::Timeout { registry })
        }
        ureq::Error::Io(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
            ) =>
        {
            let source = Box::new(error);
            Attempt::Again(RegistryError::Unreachable { registry, source }, None)
        }
        other => Attempt::Final(RegistryError::Unreachable {
            registry,
            source: Box::new(other),
        }),
    }
}
