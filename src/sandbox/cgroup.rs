//! Cgroups: limits, and whether memory ran out.
//!
//! In: the host's hierarchies. Effect: one directory for each helper (`silt-<pid>`) in every hierarchy that has the memory, pids or
//! devices controller, one below it for each container; removed at the end. Works with v1, v2, both at once, and with none: then
//! only limits that were asked for are an error. Nothing is killed through cgroups, the pid namespace does that.
//! Spec: kernel, cgroup-v1/memory, cgroup-v1/devices, cgroup-v2.

mod detect;
mod devices;

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use detect::{Hierarchy, Version};
use rustix::fs::Access;

use super::Spec;
use super::error::{During, Failure, Step};

/// The cgroups of one helper.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    /// Refuses devices on v2; on v1 the hierarchy of its own does.
    guard: Option<OwnedFd>,
}

/// The cgroups of one container. Forgetting it leaves directories behind; [`Cgroup::remove`] doesn't.
#[derive(Debug, Default)]
pub(super) struct Cgroup {
    hierarchies: Vec<Hierarchy>,
    guarded: bool,
}

impl Cgroups {
    /// Makes the helper's directories where that is allowed, after removing what helpers that are gone left behind.
    pub(super) fn create(name: &str) -> Self {
        let mut hierarchies = detect::detect();
        hierarchies.retain_mut(|hierarchy| {
            if rustix::fs::access(hierarchy.directory.join("cgroup.procs"), Access::WRITE_OK).is_err() {
                return false;
            }
            remove_abandoned(&hierarchy.directory);
            delegate(hierarchy);
            hierarchy.directory.push(name);
            let mut made = fs::create_dir(&hierarchy.directory).is_ok();
            if made && hierarchy.devices && devices::restrict(&hierarchy.directory).is_err() {
                remove_directory(&hierarchy.directory);
                made = false;
            }
            delegate(hierarchy);
            made
        });
        Self {
            hierarchies,
            guard: None,
        }
    }

    /// What was made, to be handed to another process in words.
    pub(super) fn to_words(&self) -> io::Result<String> {
        Ok(serde_json::to_string(&self.hierarchies)?)
    }

    /// The same again in the process that makes containers.
    pub(super) fn from_words(words: &str) -> io::Result<Self> {
        let hierarchies: Vec<Hierarchy> = serde_json::from_str(words)?;
        let on_one = hierarchies.iter().any(|hierarchy| hierarchy.devices);
        // Refused to ordinary users; then devices are kept out by mounts alone.
        let guard = if on_one { None } else { devices::program().ok() };
        Ok(Self { hierarchies, guard })
    }

    /// Makes a container's cgroups, with its limits.
    pub(super) fn container(&self, id: u64, spec: &Spec) -> Result<Cgroup, Failure> {
        let mut cgroup = Cgroup::default();
        match self.fill(&mut cgroup, id, spec) {
            Ok(()) => Ok(cgroup),
            Err(failure) => {
                cgroup.remove();
                Err(failure)
            }
        }
    }

    fn fill(&self, cgroup: &mut Cgroup, id: u64, spec: &Spec) -> Result<(), Failure> {
        for hierarchy in &self.hierarchies {
            if hierarchy.devices {
                // The same rules for all: no directory for each container. A privileged one stays outside.
                if !spec.privileged {
                    cgroup.hierarchies.push(hierarchy.clone());
                    cgroup.guarded = true;
                }
                continue;
            }
            let directory = hierarchy.directory.join(id.to_string());
            fs::create_dir(&directory).during(|| Step::Cgroup)?;
            cgroup.hierarchies.push(Hierarchy {
                directory,
                ..hierarchy.clone()
            });
            if let (Version::Two, Some(guard), false) = (hierarchy.version, &self.guard, spec.privileged) {
                devices::attach(guard, &cgroup.hierarchies[cgroup.hierarchies.len() - 1].directory)
                    .during(|| Step::Cgroup)?;
                cgroup.guarded = true;
            }
        }
        cgroup.limit(spec)
    }

    /// Removes the helper's directories and all below. Every process in them has ended.
    pub(super) fn remove(self) {
        for hierarchy in self.hierarchies {
            remove_tree(&hierarchy.directory);
        }
    }
}

impl Cgroup {
    /// Whether it refuses devices but for the usual ones, so that mounts need not.
    pub(super) fn guards_devices(&self) -> bool {
        self.guarded
    }

    fn limit(&self, spec: &Spec) -> Result<(), Failure> {
        let limits = &spec.limits;
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
        for hierarchy in self.hierarchies.iter().filter(|hierarchy| !hierarchy.devices) {
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
