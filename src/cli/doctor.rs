//! `silt doctor`: what this machine allows, and the remedy for what it does not.

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::Args;
use serde::Serialize;

use crate::cli::session::Session;
use crate::cli::{CommandResult, printer};

/// Check what this machine allows, and say how to mend what it does not
#[derive(Debug, Args)]
pub(crate) struct Doctor {}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    remedy: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Good,
    /// Works, with less.
    Limited,
    /// Builds with RUN steps will fail.
    Missing,
}

impl Doctor {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let root = nix::unistd::geteuid().is_root();
        let mut checks = vec![fuse_device(), cgroups()];
        if !root {
            checks.extend([user_namespaces(), subordinate_ids(), id_mappers()]);
        }
        let failed = checks.iter().any(|check| check.state == State::Missing);
        if session.json() {
            printer::json(&checks);
            return Ok(u8::from(failed));
        }
        for check in &checks {
            let mark = match check.state {
                State::Good => "ok",
                State::Limited => "limited",
                State::Missing => "MISSING",
            };
            printer::line(&format!("{mark:<8} {}: {}", check.name, check.found));
            if let Some(remedy) = check.remedy.filter(|_| check.state != State::Good) {
                printer::line(&format!("         {remedy}"));
            }
        }
        Ok(u8::from(failed))
    }
}

fn fuse_device() -> Check {
    let opened = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
    Check {
        name: "/dev/fuse",
        state: if opened.is_ok() {
            State::Good
        } else {
            State::Missing
        },
        found: opened.map_or_else(|error| error.to_string(), |_| "can be opened".to_owned()),
        remedy: Some("as root: modprobe fuse && chmod 0666 /dev/fuse"),
    }
}

fn cgroups() -> Check {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let legacy = Path::new("/sys/fs/cgroup/memory").is_dir();
    let (state, found) = match (unified, legacy) {
        (true, _) => (State::Good, "version 2"),
        (false, true) => (State::Good, "version 1"),
        (false, false) => (State::Limited, "none: memory and process limits have no effect"),
    };
    Check {
        name: "cgroups",
        state,
        found: found.to_owned(),
        remedy: Some("mount a cgroup2 filesystem at /sys/fs/cgroup"),
    }
}

fn user_namespaces() -> Check {
    let made = Command::new("unshare")
        .args(["--user", "--map-root-user", "true"])
        .output();
    let (state, found) = match made {
        Ok(output) if output.status.success() => (State::Good, "allowed".to_owned()),
        Ok(output) => (
            State::Missing,
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ),
        Err(error) => (
            State::Limited,
            format!("unknown, the program unshare does not start: {error}"),
        ),
    };
    Check {
        name: "user namespaces",
        state,
        found,
        remedy: Some(
            "as root: sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000 \
             kernel.apparmor_restrict_unprivileged_userns=0 (as far as each exists)",
        ),
    }
}

fn subordinate_ids() -> Check {
    let uid = nix::unistd::getuid();
    let name = nix::unistd::User::from_uid(uid)
        .ok()
        .flatten()
        .map(|user| user.name)
        .unwrap_or_default();
    let has_range = |path: &str| {
        fs::read_to_string(path).is_ok_and(|text| {
            text.lines()
                .filter_map(|line| line.split(':').next())
                .any(|owner| owner == name || owner == uid.to_string())
        })
    };
    let good = has_range("/etc/subuid") && has_range("/etc/subgid");
    Check {
        name: "subordinate ids",
        state: if good { State::Good } else { State::Limited },
        found: if good {
            "in /etc/subuid and /etc/subgid"
        } else {
            "none: only files of root can be made in images"
        }
        .to_owned(),
        remedy: Some("as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"),
    }
}

fn id_mappers() -> Check {
    let found = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"]
        .iter()
        .any(|dir| Path::new(dir).join("newuidmap").exists() && Path::new(dir).join("newgidmap").exists());
    Check {
        name: "newuidmap",
        state: if found { State::Good } else { State::Limited },
        found: if found {
            "installed"
        } else {
            "not installed: subordinate ids have no effect"
        }
        .to_owned(),
        remedy: Some("as root: apt-get install uidmap"),
    }
}
