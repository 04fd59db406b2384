//! Subordinate ids: which host ids stand behind a container's ids for an ordinary user.
//!
//! In: /etc/subuid, /etc/subgid. Effect: newuidmap and newgidmap write the maps of a process. Id 0 is the user, 1 to 65535 are the
//! user's subordinate ids. A user without 65535 of them gets an error: with one id alone the first chown of a package manager
//! would fail far from its cause, and trees would hold wrong owners. Spec: subuid(5), newuidmap(1).

use std::io;
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User};

use super::error::{During, Failure, Step};

/// Ids of a container besides 0.
const COUNT: u64 = 65_535;

/// Maps ids 0 to 65535 of process `pid`'s user namespace.
pub(super) fn map(pid: i32) -> Result<(), Failure> {
    let (uid, gid) = (Uid::current(), Gid::current());
    let user = match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    };
    map_with("newuidmap", "/etc/subuid", &user, uid.as_raw(), uid.as_raw(), pid)?;
    map_with("newgidmap", "/etc/subgid", &user, uid.as_raw(), gid.as_raw(), pid)
}

fn map_with(program: &str, file: &str, user: &str, uid: u32, own: u32, pid: i32) -> Result<(), Failure> {
    let missing = || Step::SubordinateIds {
        user: user.to_owned(),
        file: file.to_owned(),
    };
    let text = std::fs::read_to_string(file).during(missing)?;
    let ranges = ranges(&text, user, uid)
        .ok_or_else(|| Failure::new(missing(), &io::Error::from_raw_os_error(libc::ENOENT)))?;
    let mut command = Command::new(program);
    command
        .arg(pid.to_string())
        .args(["0", &own.to_string(), "1"])
        .stdin(Stdio::null());
    for (inside, outside, count) in ranges {
        command.args([inside.to_string(), outside.to_string(), count.to_string()]);
    }
    let failed = |message: String| Step::MapIds {
        program: program.to_owned(),
        message,
    };
    let output = command.output().during(|| failed(String::new()))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::new(
        failed(message),
        &io::Error::from_raw_os_error(libc::EPERM),
    ))
}

/// Ranges (inside, outside, count) that cover ids 1 to 65535, from as many lines as that takes; `None` when there are too few.
fn ranges(text: &str, user: &str, uid: u32) -> Option<Vec<(u64, u64, u64)>> {
    let uid = uid.to_string();
    let mut found = Vec::new();
    let mut next = 1;
    for line in text.lines() {
        let mut fields = line.trim().split(':');
        let (Some(name), Some(start), Some(count)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if name != user && name != uid {
            continue;
        }
        let (Ok(start), Ok(count)) = (start.parse::<u64>(), count.parse::<u64>()) else {
            continue;
        };
        let count = count.min(COUNT + 1 - next);
        if count > 0 {
            found.push((next, start, count));
            next += count;
        }
    }
    (next > COUNT).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn a_usual_line_gives_all_ids() {
        assert_eq!(
            ranges("root:1:9\njo:100000:65536\n", "jo", 1000),
            Some(vec![(1, 100_000, 65_535)])
        );
        assert_eq!(
            ranges("1000:100000:65536", "jo", 1000),
            Some(vec![(1, 100_000, 65_535)])
        );
    }

    #[test]
    fn several_lines_are_joined() {
        let text = "jo:5000:30000\nann:1:65536\njo:200000:65536";
        assert_eq!(
            ranges(text, "jo", 1000),
            Some(vec![(1, 5000, 30_000), (30_001, 200_000, 35_535)])
        );
    }

    #[test]
    fn too_few_ids_are_none() {
        for text in ["", "jo:1:100", "jo:x:65536", "jo", "ann:100000:65536"] {
            assert_eq!(ranges(text, "jo", 1000), None, "{text}");
        }
    }
}
