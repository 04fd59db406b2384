//! Which cgroup hierarchies this host has, and where in them we may be.
//!
//! In: `/proc/self/mountinfo`, `/proc/self/cgroup`. Out: hierarchies with a controller that we use. As root on v2 our directory stands
//! at the top, as Docker's cgroupfs driver has it; elsewhere below the engine's own cgroup.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A hierarchy with a controller that we use, and the directory in it that is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    pub(super) directory: PathBuf,
    pub(super) memory: bool,
    pub(super) pids: bool,
    /// The devices controller of v1, alone.
    pub(super) devices: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Version {
    One,
    Two,
}

/// The usable hierarchies; directories are those in which the helper's will be made.
pub(super) fn detect() -> Vec<Hierarchy> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let mut found = parse(
        &read("/proc/self/mountinfo"),
        &read("/proc/self/cgroup"),
        rustix::process::getuid().is_root(),
    );
    let controllers_elsewhere = found.iter().any(|hierarchy| hierarchy.version == Version::One);
    for hierarchy in found
        .iter_mut()
        .filter(|hierarchy| hierarchy.version == Version::Two)
    {
        let controllers =
            fs::read_to_string(hierarchy.directory.join("cgroup.controllers")).unwrap_or_default();
        hierarchy.memory = controllers.split_whitespace().any(|name| name == "memory");
        hierarchy.pids = controllers.split_whitespace().any(|name| name == "pids");
    }
    found.retain(|hierarchy| {
        hierarchy.memory || hierarchy.pids || hierarchy.devices || !controllers_elsewhere
    });
    found
}

fn parse(mounts: &str, own: &str, root: bool) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let Some((place, kind)) = line.split_once(" - ") else {
            continue;
        };
        let place: Vec<&str> = place.split(' ').collect();
        let kind: Vec<&str> = kind.split(' ').collect();
        let (Some(&mounted), Some(&point), Some(&filesystem)) = (place.get(3), place.get(4), kind.first())
        else {
            continue;
        };
        let options = kind.get(2).copied().unwrap_or_default();
        let has = |name: &str| options.split(',').any(|option| option == name);
        let version = match filesystem {
            "cgroup2" => Version::Two,
            "cgroup" => Version::One,
            _ => continue,
        };
        let controllers = ["memory", "pids", "devices"].map(|name| version == Version::One && has(name));
        let [memory, pids, devices] = controllers;
        // One hierarchy for devices and others at once would want a directory for each container; nobody mounts them so.
        let devices = devices && !memory && !pids;
        if version == Version::One && !memory && !pids && !devices {
            continue;
        }
        let directory = if version == Version::Two && root {
            PathBuf::from(point)
        } else {
            let path = own_path(
                own,
                version,
                ["devices", "pids", "memory"][usize::from(pids) + 2 * usize::from(memory && !pids)],
            );
            let below = path
                .strip_prefix(mounted)
                .unwrap_or_default()
                .trim_start_matches('/');
            Path::new(point).join(below)
        };
        let new = Hierarchy {
            version,
            directory,
            memory,
            pids,
            devices,
        };
        // A hierarchy may be mounted twice; the first serves.
        let same = |known: &Hierarchy| {
            (known.version, known.memory, known.pids, known.devices)
                == (new.version, new.memory, new.pids, new.devices)
        };
        if !found.iter().any(same) {
            found.push(new);
        }
    }
    found
}

/// This process's cgroup in one hierarchy, from lines of `number:controllers:path`.
fn own_path<'text>(text: &'text str, version: Version, controller: &str) -> &'text str {
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let this = match version {
            Version::One => controllers.split(',').any(|name| name == controller),
            Version::Two => controllers.is_empty(),
        };
        if this {
            return path;
        }
    }
    "/"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(version: Version, directory: &str, memory: bool, pids: bool) -> Hierarchy {
        let devices = version == Version::One && !memory && !pids;
        Hierarchy {
            version,
            directory: directory.into(),
            memory,
            pids,
            devices,
        }
    }

    #[test]
    fn a_hybrid_host_is_understood() {
        let mounts = "\
30 29 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
31 29 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 29 0:28 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
34 29 0:30 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
33 29 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let own = "8:pids:/\n5:devices:/d\n4:memory:/api/e\n0::/";
        assert_eq!(
            parse(mounts, own, true),
            [
                hierarchy(Version::One, "/sys/fs/cgroup/memory/api/e", true, false),
                hierarchy(Version::One, "/sys/fs/cgroup/pids", false, true),
                hierarchy(Version::One, "/sys/fs/cgroup/devices/d", false, false),
                hierarchy(Version::Two, "/sys/fs/cgroup/unified", false, false),
            ]
        );
    }

    #[test]
    fn on_v2_root_works_at_the_top_and_a_user_below_its_own() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        let own = "0::/user.slice/user-1000.slice/run-1.scope";
        assert_eq!(
            parse(mounts, own, true),
            [hierarchy(Version::Two, "/sys/fs/cgroup", false, false)]
        );
        let below = "/sys/fs/cgroup/user.slice/user-1000.slice/run-1.scope";
        assert_eq!(
            parse(mounts, own, false),
            [hierarchy(Version::Two, below, false, false)]
        );
    }

    #[test]
    fn a_bound_part_of_a_hierarchy_is_entered_at_its_own_place() {
        let mounts = "30 29 0:26 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        let parsed = parse(mounts, "4:memory:/docker/ab/inner", true);
        assert_eq!(
            parsed,
            [hierarchy(
                Version::One,
                "/sys/fs/cgroup/memory/inner",
                true,
                false
            )]
        );
    }
}
