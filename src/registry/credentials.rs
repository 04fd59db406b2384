//! A user's secrets for registries, where `docker login` keeps them.
//!
//! In: `config.json` of `DOCKER_CONFIG` or `~/.docker`. Out: a user name and password, or an identity token. Effects: reads the file
//! once, runs `docker-credential-*` helpers when they are configured. Spec: docker CLI reference, "docker login", "Credential
//! helpers".

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::error::RegistryError;

/// The key of Docker Hub in `config.json`, for reasons long past.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name that helpers give with an identity token.
const TOKEN_USER: &str = "<token>";

/// What proves a user to a registry. Never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A refresh token for the registry's token server.
    Identity(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(..)",
            Self::Identity(_) => "Identity(..)",
        })
    }
}

/// Where secrets are looked up.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    config: DockerConfig,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "lowercase", default)]
struct Auth {
    /// `user:password` in base64.
    #[serde(rename = "auth")]
    pair: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth(..)")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

impl Credentials {
    /// No secrets: everything is asked for anonymously.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those of the user this process runs as.
    ///
    /// # Errors
    /// `DockerConfig` when the file is there and malformed.
    pub fn of_user() -> Result<Self, RegistryError> {
        let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")));
        folder.map_or_else(|| Ok(Self::none()), |folder| Self::in_folder(&folder))
    }

    /// Those in the `config.json` of a folder; none if there is no such file, or it may not be read.
    ///
    /// # Errors
    /// `DockerConfig` when it is malformed.
    pub fn in_folder(folder: &Path) -> Result<Self, RegistryError> {
        let path = folder.join("config.json");
        let Ok(bytes) = std::fs::read(&path) else {
            return Ok(Self::none());
        };
        match serde_json::from_slice(&bytes) {
            Ok(config) => Ok(Self { config }),
            Err(source) => Err(RegistryError::DockerConfig {
                path,
                source: Box::new(source),
            }),
        }
    }

    /// The secret for a registry, by its name in references (`docker.io`, `localhost:5000`).
    ///
    /// # Errors
    /// `Helper` when a configured helper is missing or fails; `DockerConfig` for malformed base64.
    pub fn secret(&self, domain: &str) -> Result<Option<Secret>, RegistryError> {
        let key = if domain == "docker.io" { HUB_KEY } else { domain };
        if let Some(helper) = self
            .config
            .cred_helpers
            .get(key)
            .or_else(|| self.config.cred_helpers.get(domain))
        {
            return ask_helper(helper, key);
        }
        if let Some(helper) = &self.config.creds_store
            && let Some(secret) = ask_helper(helper, key)?
        {
            return Ok(Some(secret));
        }
        let host = |key: &str| {
            let key = key.trim_start_matches("https://").trim_start_matches("http://");
            key.split('/').next().map(str::to_owned)
        };
        let auths = &self.config.auths;
        let found = auths.get(key).or_else(|| {
            let mut others = auths
                .iter()
                .filter(|(known, _)| host(known).as_deref() == Some(domain));
            others.next().map(|(_, auth)| auth)
        });
        found.map_or(Ok(None), secret_of)
    }
}

fn secret_of(auth: &Auth) -> Result<Option<Secret>, RegistryError> {
    if let Some(token) = auth.identitytoken.as_ref().filter(|token| !token.is_empty()) {
        return Ok(Some(Secret::Identity(token.clone())));
    }
    let malformed = |source: Box<dyn std::error::Error + Send + Sync>| RegistryError::DockerConfig {
        path: "config.json".into(),
        source,
    };
    if let Some(encoded) = auth.pair.as_ref().filter(|encoded| !encoded.is_empty()) {
        let bytes = STANDARD
            .decode(encoded.trim())
            .map_err(|error| malformed(error.into()))?;
        let text = String::from_utf8(bytes).map_err(|error| malformed(error.into()))?;
        let (user, password) = text
            .split_once(':')
            .ok_or_else(|| malformed("an auth without a colon".into()))?;
        let password = password.trim_end_matches('\0').into();
        return Ok(Some(Secret::Password {
            user: user.into(),
            password,
        }));
    }
    let pair = auth.username.clone().zip(auth.password.clone());
    Ok(pair.map(|(user, password)| Secret::Password { user, password }))
}

fn ask_helper(helper: &str, key: &str) -> Result<Option<Secret>, RegistryError> {
    let failed = |detail: String| RegistryError::Helper {
        helper: helper.into(),
        detail,
    };
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let asked = child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(key.as_bytes()));
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() {
        // The helpers' protocol has this sentence for "none".
        return if said.contains("credentials not found") {
            Ok(None)
        } else {
            Err(failed(said))
        };
    }
    if let Some(Err(error)) = asked {
        return Err(failed(error.to_string()));
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    Ok(Some(if answer.username == TOKEN_USER {
        Secret::Identity(answer.secret)
    } else {
        Secret::Password {
            user: answer.username,
            password: answer.secret,
        }
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn password(user: &str, password: &str) -> Secret {
        Secret::Password {
            user: user.into(),
            password: password.into(),
        }
    }

    #[test]
    fn secrets_are_found_where_docker_login_puts_them() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            Credentials::in_folder(folder.path())
                .unwrap()
                .secret("docker.io")
                .unwrap(),
            None
        );
        let helper = folder.path().join("helper");
        std::fs::write(&helper, "").unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let text = r#"{
            "auths": {
                "https://index.docker.io/v1/": {"auth": "aHViOnNlY3JldDp3aXRoOmNvbG9ucw=="},
                "localhost:5000": {"auth": "bG9jYWw6cHc="},
                "https://ghcr.io/v2/": {"auth": "Z2g6cHc="},
                "token.example": {"identitytoken": "abc"},
                "bad.example": {"auth": "???"}
            },
            "credHelpers": {"helped.example": "no-such-helper-here"}
        }"#;
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        let credentials = Credentials::in_folder(folder.path()).unwrap();
        assert_eq!(
            credentials.secret("docker.io").unwrap(),
            Some(password("hub", "secret:with:colons"))
        );
        assert_eq!(
            credentials.secret("localhost:5000").unwrap(),
            Some(password("local", "pw"))
        );
        assert_eq!(credentials.secret("ghcr.io").unwrap(), Some(password("gh", "pw")));
        assert_eq!(
            credentials.secret("token.example").unwrap(),
            Some(Secret::Identity("abc".into()))
        );
        assert_eq!(credentials.secret("other.example").unwrap(), None);
        assert!(matches!(
            credentials.secret("bad.example"),
            Err(RegistryError::DockerConfig { .. })
        ));
        assert!(matches!(
            credentials.secret("helped.example"),
            Err(RegistryError::Helper { .. })
        ));
        assert!(!format!("{:?}", credentials.secret("docker.io")).contains("secret:"));
        std::fs::write(folder.path().join("config.json"), "{").unwrap();
        assert!(Credentials::in_folder(folder.path()).is_err());
    }
}
