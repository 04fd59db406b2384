//! Cgroups: limits, and whether memory ran out.
//!
//! In: `/proc/self/mountinfo`, `/proc/self/cgroup`. Effect: one directory for each helper (`silt-<pid>`) in every hierarchy that has
//! the memory or pids controller, one below it for each container; removed at the end. Works with v1, v2, both at once, and with
//! none: then only limits that were asked for are an error. Nothing is killed through cgroups, the pid namespace does that.
//! As root on v2 the directory stands at the top, as Docker's cgroupfs driver has it; elsewhere below the engine's own cgroup.
//! Spec: kernel, cgroup-v1/memory, cgroup-v2.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Access;

use super::Limits;
use super::error::{During, Failure, Step};

/// A hierarchy with a controller that we use, and the directory in it that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    version: Version,
    directory: PathBuf,
    memory: bool,
    pids: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The cgroups of one helper.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

/// The cgroups of one container. Forgetting it leaves directories behind; [`Cgroup::remove`] doesn't.
#[derive(Debug, Default)]
pub(super) struct Cgroup {
    hierarchies: Vec<Hierarchy>,
}

impl Cgroups {
    /// Makes the helper's directories where that is allowed, after removing what helpers that are gone left behind.
    pub(super) fn create(name: &str) -> Self {
        let mut hierarchies = detect();
        hierarchies.retain_mut(|hierarchy| {
            if rustix::fs::access(hierarchy.directory.join("cgroup.procs"), Access::WRITE_OK).is_err() {
                return false;
            }
            remove_abandoned(&hierarchy.directory);
            delegate(hierarchy);
            hierarchy.directory.push(name);
            let made = fs::create_dir(&hierarchy.directory).is_ok();
            delegate(hierarchy);
            made
        });
        Self { hierarchies }
    }

    /// Finds what [`Cgroups::create`] made.
    pub(super) fn open(name: &str) -> Self {
        let mut hierarchies = detect();
        hierarchies.retain_mut(|hierarchy| {
            hierarchy.directory.push(name);
            hierarchy.directory.is_dir()
        });
        Self { hierarchies }
    }

    /// Makes a container's cgroups, with its limits.
    pub(super) fn container(&self, id: u64, limits: &Limits) -> Result<Cgroup, Failure> {
        let mut cgroup = Cgroup::default();
        for hierarchy in &self.hierarchies {
            let directory = hierarchy.directory.join(id.to_string());
            let made = fs::create_dir(&directory).during(|| Step::Cgroup);
            if let Err(failure) = made {
                cgroup.remove();
                return Err(failure);
            }
            cgroup.hierarchies.push(Hierarchy {
                directory,
                ..hierarchy.clone()
            });
        }
        match cgroup.limit(limits) {
            Ok(()) => Ok(cgroup),
            Err(failure) => {
                cgroup.remove();
                Err(failure)
            }
        }
    }

    /// Removes the helper's directories and all below. Every process in them has ended.
    pub(super) fn remove(self) {
        for hierarchy in self.hierarchies {
            remove_tree(&hierarchy.directory);
        }
    }
}

impl Cgroup {
    fn limit(&self, limits: &Limits) -> Result<(), Failure> {
        if let Some(bytes) = limits.memory {
            self.set(
                "memory",
                |h| h.memory,
                "memory.limit_in_bytes",
                "memory.max",
                bytes,
            )?;
        }
        if let Some(count) = limits.pids {
            self.set("pids", |h| h.pids, "pids.max", "pids.max", count)?;
        }
        Ok(())
    }

    fn set(
        &self,
        name: &str,
        has: impl Fn(&Hierarchy) -> bool,
        one: &str,
        two: &str,
        value: u64,
    ) -> Result<(), Failure> {
        let step = || Step::Limit {
            name: name.to_owned(),
        };
        let hierarchy = self.hierarchies.iter().find(|h| has(h));
        let hierarchy = hierarchy.ok_or(rustix::io::Errno::NOENT).during(step)?;
        let file = if hierarchy.version == Version::One {
            one
        } else {
            two
        };
        write(&hierarchy.directory.join(file), &value.to_string()).during(step)
    }

    /// Moves this process in.
    pub(super) fn join(&self) -> io::Result<()> {
        self.hierarchies
            .iter()
            .try_for_each(|hierarchy| write(&hierarchy.directory.join("cgroup.procs"), "0"))
    }

    /// How many processes were killed in it for memory.
    pub(super) fn oom_kills(&self) -> u64 {
        let Some(hierarchy) = self.hierarchies.iter().find(|hierarchy| hierarchy.memory) else {
            return 0;
        };
        let file = match hierarchy.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(hierarchy.directory.join(file)).unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Removes it. Every process in it has ended; the kernel may take a moment to see that.
    pub(super) fn remove(self) {
        for hierarchy in self.hierarchies {
            remove_directory(&hierarchy.directory);
        }
    }
}

/// Writes to a control file in one call, as the kernel wants it.
fn write(path: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(value.as_bytes())
}

/// On v2: lets children of this directory use memory and pids. Refused where processes are in it; then a limit is refused later.
fn delegate(hierarchy: &mut Hierarchy) {
    if hierarchy.version == Version::Two {
        for (name, has) in [("memory", &mut hierarchy.memory), ("pids", &mut hierarchy.pids)] {
            *has = *has
                && write(
                    &hierarchy.directory.join("cgroup.subtree_control"),
                    &format!("+{name}"),
                )
                .is_ok();
        }
    }
}

fn remove_directory(directory: &Path) {
    for _ in 0..50 {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(1));
            }
            // Gone, or not to be removed by us: the next helper tries again.
            _ => return,
        }
    }
}

fn remove_tree(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_directory(&entry.path());
        }
    }
    remove_directory(directory);
}

/// Removes the directories of helpers whose process is gone, say by a power cut of the whole session.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix("silt-"))
            .and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove_tree(&entry.path());
        }
    }
}

/// The usable hierarchies; directories are those in which the helper's will be made.
fn detect() -> Vec<Hierarchy> {
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
    found.retain(|hierarchy| hierarchy.memory || hierarchy.pids || !controllers_elsewhere);
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
        let (version, memory, pids) = match filesystem {
            "cgroup2" => (Version::Two, false, false),
            "cgroup" if has("memory") || has("pids") => (Version::One, has("memory"), has("pids")),
            _ => continue,
        };
        let directory = if version == Version::Two && root {
            PathBuf::from(point)
        } else {
            let path = own_path(own, version, if memory { "memory" } else { "pids" });
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
        };
        // A hierarchy may be mounted twice; the first serves.
        if !found
            .iter()
            .any(|known| (known.version, known.memory, known.pids) == (new.version, new.memory, new.pids))
        {
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
        Hierarchy {
            version,
            directory: directory.into(),
            memory,
            pids,
        }
    }

    #[test]
    fn a_hybrid_host_is_understood() {
        let mounts = "\
30 29 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
31 29 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 29 0:28 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
33 29 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let own = "8:pids:/\n4:memory:/api/e\n0::/";
        assert_eq!(
            parse(mounts, own, true),
            [
                hierarchy(Version::One, "/sys/fs/cgroup/memory/api/e", true, false),
                hierarchy(Version::One, "/sys/fs/cgroup/pids", false, true),
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
