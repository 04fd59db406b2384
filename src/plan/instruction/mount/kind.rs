//! The types of `RUN --mount` and the options that each has.

/// The types of mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum MountKind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl MountKind {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Bind, "bind"),
        (Self::Cache, "cache"),
        (Self::Tmpfs, "tmpfs"),
        (Self::Secret, "secret"),
        (Self::Ssh, "ssh"),
    ];

    /// Reads a `type=`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|(_, name)| *name == lower)
            .map(|(kind, _)| kind)
    }

    /// Whether executors perform it. The others are refused with their line, rather than in the middle of a build.
    pub(super) fn is_performed(self) -> bool {
        matches!(self, Self::Bind | Self::Tmpfs)
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, name)| name)
    }

    /// The options that it has, by their main names. Reference, the tables of "RUN --mount=type=...".
    pub(super) fn options(self) -> &'static [&'static str] {
        match self {
            Self::Bind => &["type", "target", "source", "from", "readwrite", "readonly"],
            Self::Cache => &[
                "type",
                "id",
                "target",
                "readonly",
                "readwrite",
                "sharing",
                "from",
                "source",
                "mode",
                "uid",
                "gid",
            ],
            Self::Tmpfs => &["type", "target", "size"],
            Self::Secret => &[
                "type", "id", "target", "source", "env", "required", "mode", "uid", "gid",
            ],
            Self::Ssh => &["type", "id", "target", "required", "mode", "uid", "gid"],
        }
    }
}

/// All options of all types.
pub(super) const MAIN_NAMES: &[&str] = &[
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "readwrite",
    "id",
    "sharing",
    "required",
    "mode",
    "uid",
    "gid",
    "size",
    "env",
];

/// The main name of an option: `dst` is `target`.
pub(super) fn main_name(key: &str) -> Option<&'static str> {
    let key = match key {
        "src" => "source",
        "dst" | "destination" => "target",
        "ro" => "readonly",
        "rw" => "readwrite",
        key => key,
    };
    MAIN_NAMES.iter().copied().find(|name| *name == key)
}
