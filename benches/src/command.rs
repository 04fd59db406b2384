//! Programs run and timed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs a command that must succeed, its output kept for the error; returns what it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{}", command.get_program().display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = said.lines().rev().take(15).collect();
        bail!(
            "{command:?}: {}\n{}",
            output.status,
            tail.into_iter().rev().collect::<Vec<_>>().join("\n")
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program with arguments.
pub fn tool<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Result<String> {
    run(Command::new(program).args(arguments))
}

/// How long a command took, its exit included.
pub fn timed(command: &mut Command) -> Result<Duration> {
    let start = Instant::now();
    run(command)?;
    Ok(start.elapsed())
}

/// Bytes of a folder on its disk, after everything written has reached it.
pub fn disk(folder: &Path) -> Result<u64> {
    tool("sync", ["-f".as_ref(), folder.as_os_str()])?;
    // Daemons rename and remove while du looks: what is gone counts as nothing.
    let output = Command::new("du")
        .args(["-s", "-x", "-B1"])
        .arg(folder)
        .stderr(Stdio::null())
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let size = printed
        .split_whitespace()
        .next()
        .with_context(|| format!("du of {}", folder.display()))?;
    Ok(size.parse()?)
}
