//! Docker's default system call profile, compiled to BPF.
//!
//! In: `profile.json` (Docker's, unchanged) and `syscalls.tsv` (names to numbers). Out: one program for this machine's
//! architecture and its 32-bit companion, so that 32-bit binaries run. Pure; compiled once when the helper starts. Numbers that
//! no table knew when the profile was written give ENOSYS, so that libraries fall back; what the profile knows and refuses gives
//! EPERM; another architecture's calls kill. Calls of the x32 ABI give ENOSYS: no distribution enables it.

mod bpf;

use std::collections::BTreeMap;
use std::io;

use serde::Deserialize;

use super::capability::capability;
use super::sys::Instruction;

const PROFILE: &str = include_str!("profile.json");
const SYSCALLS: &str = include_str!("syscalls.tsv");
/// ARM numbers its private calls from here; they are no upper end of the known ones.
const ARM_PRIVATE: u32 = 0xf_0000;

/// What happens to one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Allow,
    Errno(u16),
    /// Allowed when any of these holds, otherwise EPERM.
    If(Vec<Condition>),
}

/// A comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct Condition {
    index: u8,
    value: u64,
    op: Comparison,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Comparison {
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    /// None of the bits in `value` is set.
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    NoBits,
}

/// An architecture whose calls a process here may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Architecture {
    /// `AUDIT_ARCH_*`.
    audit: u32,
    /// Column of `syscalls.tsv`.
    column: usize,
}

const X86_64: [Architecture; 2] = [
    Architecture {
        audit: 0xc000_003e,
        column: 1,
    },
    Architecture {
        audit: 0x4000_0003,
        column: 2,
    },
];
const AARCH64: [Architecture; 2] = [
    Architecture {
        audit: 0xc000_00b7,
        column: 3,
    },
    Architecture {
        audit: 0x4000_0028,
        column: 4,
    },
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_errno_ret: u16,
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: Action,
    #[serde(default)]
    errno_ret: Option<u16>,
    #[serde(default)]
    args: Vec<Condition>,
    #[serde(default)]
    includes: Filter,
    #[serde(default)]
    excludes: Filter,
}

#[derive(Deserialize, PartialEq, Eq, Clone, Copy)]
enum Action {
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
}

#[derive(Deserialize, Default)]
struct Filter {
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    arches: Vec<String>,
}

impl Rule {
    /// Whether it counts for a process with these capabilities on this native architecture. (`minKernel` always holds here.)
    fn applies(&self, capabilities: u64, native: &str) -> io::Result<bool> {
        let has = |name: &String| capability(name).map(|bit| capabilities & bit != 0);
        let included = self
            .includes
            .caps
            .iter()
            .map(has)
            .collect::<io::Result<Vec<_>>>()?;
        let excluded = self
            .excludes
            .caps
            .iter()
            .map(has)
            .collect::<io::Result<Vec<_>>>()?;
        let arches = &self.includes.arches;
        Ok(included.into_iter().all(|has| has)
            && !excluded.into_iter().any(|has| has)
            && (arches.is_empty() || arches.iter().any(|arch| arch == native))
            && !self.excludes.arches.iter().any(|arch| arch == native))
    }

    fn verdict(&self, default: u16) -> io::Result<Verdict> {
        match (self.action, self.args.as_slice()) {
            (Action::Allow, []) => Ok(Verdict::Allow),
            (Action::Allow, [condition]) => Ok(Verdict::If(vec![*condition])),
            (Action::Errno, []) => Ok(Verdict::Errno(self.errno_ret.unwrap_or(default))),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Compiles the profile for a process with these capabilities (bits by number).
///
/// # Errors
/// `InvalidData` when the profile says something that this compiler doesn't know; a test of the profile in the tree excludes it.
pub(super) fn compile(capabilities: u64) -> io::Result<Vec<Instruction>> {
    let (native, architectures) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", X86_64),
        "aarch64" => ("arm64", AARCH64),
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let profile: Profile = serde_json::from_str(PROFILE)?;
    let verdicts = verdicts(&profile, capabilities, native)?;
    let mut sections = Vec::new();
    for architecture in architectures {
        let table = ranges(
            &numbered(&verdicts, architecture.column)?,
            profile.default_errno_ret,
        );
        sections.push((architecture.audit, table));
    }
    bpf::assemble(&sections, profile.default_errno_ret)
}

/// By name; what isn't there is refused. An unconditional rule outweighs conditional ones.
fn verdicts<'p>(
    profile: &'p Profile,
    capabilities: u64,
    native: &str,
) -> io::Result<BTreeMap<&'p str, Verdict>> {
    let mut verdicts: BTreeMap<&str, Verdict> = BTreeMap::new();
    for rule in &profile.syscalls {
        if !rule.applies(capabilities, native)? {
            continue;
        }
        for name in &rule.names {
            let new = rule.verdict(profile.default_errno_ret)?;
            match (verdicts.get_mut(name.as_str()), new) {
                (Some(Verdict::If(known)), Verdict::If(more)) => known.extend(more),
                (Some(Verdict::Allow | Verdict::Errno(_)), Verdict::If(_)) => {}
                (_, new) => {
                    verdicts.insert(name, new);
                }
            }
        }
    }
    Ok(verdicts)
}

/// By number, for one architecture.
fn numbered(verdicts: &BTreeMap<&str, Verdict>, column: usize) -> io::Result<BTreeMap<u32, Verdict>> {
    let mut numbered = BTreeMap::new();
    for line in SYSCALLS.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let (Some(name), Some(number)) = (fields.first(), fields.get(column)) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        if *number == "-" {
            continue;
        }
        let number = number.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        // Every number of the table counts as known, whether it is allowed or not.
        numbered.insert(
            number,
            verdicts
                .get(name)
                .cloned()
                .unwrap_or(Verdict::Errno(libc::EPERM as u16)),
        );
    }
    Ok(numbered)
}

/// The whole space of numbers as ranges (first number, verdict), ascending from 0, neighbours different.
fn ranges(numbered: &BTreeMap<u32, Verdict>, default: u16) -> Vec<(u32, Verdict)> {
    let last = numbered
        .keys()
        .copied()
        .filter(|&number| number < ARM_PRIVATE)
        .max()
        .unwrap_or(0);
    let gap = |number: u32| {
        Verdict::Errno(if number <= last {
            default
        } else {
            libc::ENOSYS as u16
        })
    };
    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    let mut push = |first: u32, verdict: Verdict| {
        if ranges.last().is_none_or(|(_, before)| *before != verdict) {
            ranges.push((first, verdict));
        }
    };
    let mut next = 0;
    for (&number, verdict) in numbered {
        if number > next {
            push(next, gap(next));
        }
        push(number, verdict.clone());
        next = number + 1;
        if number == last {
            push(next, gap(next));
        }
    }
    push(next, gap(next));
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::capability::DEFAULT_CAPABILITIES;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    fn number(name: &str, column: usize) -> u32 {
        let line = SYSCALLS
            .lines()
            .find(|line| line.split('\t').next() == Some(name))
            .unwrap();
        line.split('\t').nth(column).unwrap().parse().unwrap()
    }

    fn judge(capabilities: u64, architecture: Architecture, name: &str, argument: u64) -> u32 {
        let program = compile(capabilities).unwrap();
        bpf::run(
            &program,
            architecture.audit,
            number(name, architecture.column),
            [argument, 0, 0, 0, 0, 0],
        )
    }

    fn here() -> [Architecture; 2] {
        if cfg!(target_arch = "aarch64") {
            AARCH64
        } else {
            X86_64
        }
    }

    #[test]
    fn calls_are_judged_as_the_profile_says_on_both_architectures() {
        for architecture in here() {
            let judge = |name, argument| judge(DEFAULT_CAPABILITIES, architecture, name, argument);
            for allowed in [
                "read",
                "execve",
                "mknod",
                "ptrace",
                "chroot",
                "setuid",
                "removexattrat",
                "io_setup",
            ] {
                if allowed != "mknod" || architecture.column != 3 {
                    assert_eq!(judge(allowed, 0), ALLOW, "{allowed}");
                }
            }
            for refused in [
                "mount",
                "unshare",
                "setns",
                "bpf",
                "reboot",
                "move_mount",
                "syslog",
                "kcmp",
            ] {
                assert_eq!(judge(refused, 0), EPERM, "{refused}");
            }
            assert_eq!(judge("clone3", 0), ENOSYS);
            assert_eq!(judge("clone", 0x11), ALLOW);
            assert_eq!(judge("clone", libc::CLONE_NEWUSER as u64), EPERM);
            assert_eq!(judge("personality", 0xffff_ffff), ALLOW);
            assert_eq!(judge("personality", 1), EPERM);
            assert_eq!(judge("personality", 1 << 32), EPERM);
            assert_eq!(judge("socket", 2), ALLOW);
            assert_eq!(judge("socket", 38), EPERM);
            assert_eq!(judge("socket", 39), ALLOW);
            assert_eq!(judge("socket", 40), EPERM);
            assert_eq!(judge("socket", 41), ALLOW);
            assert_eq!(judge("socket", (1 << 32) + 38), ALLOW);
        }
    }

    #[test]
    fn capabilities_lift_their_rules() {
        let admin = DEFAULT_CAPABILITIES | capability("CAP_SYS_ADMIN").unwrap();
        for architecture in here() {
            for name in ["mount", "clone3", "unshare"] {
                assert_eq!(judge(admin, architecture, name, u64::MAX), ALLOW, "{name}");
            }
            assert_eq!(judge(admin, architecture, "clone", u64::MAX), ALLOW);
            assert_eq!(
                judge(
                    DEFAULT_CAPABILITIES & !capability("CAP_SYS_CHROOT").unwrap(),
                    architecture,
                    "chroot",
                    0
                ),
                EPERM
            );
        }
    }

    #[test]
    fn unknown_calls_and_architectures_are_told_apart() {
        let program = compile(DEFAULT_CAPABILITIES).unwrap();
        let native = here()[0].audit;
        assert_eq!(bpf::run(&program, native, 5000, [0; 6]), ENOSYS);
        assert_eq!(bpf::run(&program, native, u32::MAX, [0; 6]), ENOSYS);
        assert_eq!(bpf::run(&program, native, 0x4000_0000, [0; 6]), ENOSYS);
        assert_eq!(
            bpf::run(&program, 0x1234, 0, [0; 6]),
            libc::SECCOMP_RET_KILL_PROCESS
        );
    }

    #[test]
    fn the_program_is_what_the_table_says_for_every_number() {
        let profile: Profile = serde_json::from_str(PROFILE).unwrap();
        let program = compile(DEFAULT_CAPABILITIES).unwrap();
        assert!(program.len() < 1200, "{}", program.len());
        let native = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        let verdicts = verdicts(&profile, DEFAULT_CAPABILITIES, native).unwrap();
        for architecture in here() {
            let numbered = numbered(&verdicts, architecture.column).unwrap();
            for number in 0..600 {
                let expected = match numbered.get(&number) {
                    Some(Verdict::Allow) => ALLOW,
                    Some(Verdict::Errno(errno)) => libc::SECCOMP_RET_ERRNO | u32::from(*errno),
                    Some(Verdict::If(_)) => continue,
                    None if number <= 466 => EPERM,
                    None => ENOSYS,
                };
                assert_eq!(
                    bpf::run(&program, architecture.audit, number, [0; 6]),
                    expected,
                    "{number}"
                );
            }
        }
    }
}
