//! Platforms: `os/architecture[/variant]`, normalised as containerd does.
//!
//! In: what users, configs and indexes write. Out: one spelling for each platform, so that equality is `==`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A platform, normalised (`x86_64` is `amd64`, `aarch64` is `arm64` without variant `v8`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// GOOS.
    pub os: String,
    /// GOARCH.
    pub architecture: String,
    /// Variant; empty if none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Why a text is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// Not `os`, `architecture`, `os/architecture` or `os/architecture/variant`.
    #[error(
        "invalid platform {text:?}: expected os/architecture[/variant], such as linux/amd64 or linux/arm/v7"
    )]
    Malformed {
        /// As written.
        text: String,
    },
    /// A single word that is no known operating system or architecture.
    #[error(
        "unknown operating system or architecture {text:?}: expected os/architecture[/variant], such as linux/amd64"
    )]
    Unknown {
        /// As written.
        text: String,
    },
}

const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
];

const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
    "riscv64", "s390x", "wasm",
];

impl Platform {
    /// The platform of three parts in any spelling, normalised.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let os = match os.to_ascii_lowercase() {
            os if os == "macos" => "darwin".to_owned(),
            os => os,
        };
        let (architecture, variant) =
            normalise(&architecture.to_ascii_lowercase(), &variant.to_ascii_lowercase());
        Self {
            os,
            architecture,
            variant,
        }
    }

    /// The platform of this machine.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new(std::env::consts::OS, architecture, "")
    }

    /// Reads `os`, `architecture`, `os/architecture` or `os/architecture/variant`; what is not said is the host's.
    ///
    /// # Errors
    /// `Malformed` for any other shape, `Unknown` for a single word that is neither system nor architecture.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        let valid = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        if !parts.iter().all(valid) {
            return Err(PlatformError::Malformed {
                text: text.to_owned(),
            });
        }
        match parts[..] {
            [word] => {
                let host = Self::host();
                let as_system = Self::new(word, &host.architecture, &host.variant);
                let as_architecture = Self::new(&host.os, word, "");
                if SYSTEMS.contains(&as_system.os.as_str()) {
                    Ok(as_system)
                } else if ARCHITECTURES.contains(&as_architecture.architecture.as_str()) {
                    Ok(as_architecture)
                } else {
                    Err(PlatformError::Unknown {
                        text: text.to_owned(),
                    })
                }
            }
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(PlatformError::Malformed {
                text: text.to_owned(),
            }),
        }
    }
}

fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        Self::parse(text)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.variant)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_one_spelling() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/X86-64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("windows/amd64", "windows/amd64"),
        ] {
            assert_eq!(Platform::parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn single_words_are_completed_by_the_host() {
        let host = Platform::host();
        assert_eq!(Platform::parse("linux").unwrap().architecture, host.architecture);
        assert_eq!(
            Platform::parse("arm64").unwrap(),
            Platform::new(&host.os, "arm64", "")
        );
    }

    #[test]
    fn nonsense_is_no_platform() {
        for text in [
            "",
            "/",
            "linux/",
            "linux/amd64/v1/x",
            "linux amd64",
            "linux/$ARCH",
        ] {
            assert!(
                matches!(Platform::parse(text), Err(PlatformError::Malformed { .. })),
                "{text}"
            );
        }
        assert!(matches!(
            Platform::parse("pdp11"),
            Err(PlatformError::Unknown { .. })
        ));
    }
}
