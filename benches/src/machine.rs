//! What a reader must know of this machine to judge figures measured on it.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::command::tool;

/// This machine.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_gib: u64,
    pub kernel: String,
    pub system: String,
    pub disk: String,
}

impl Machine {
    /// Reads it; the disk is that of the given folder.
    pub fn read(scratch: &Path) -> Result<Self> {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap_or_default();
            line.split_once([':', '='])
                .map_or("", |(_, value)| value)
                .trim()
                .trim_matches('"')
                .to_owned()
        };
        let kilobytes: u64 = field("/proc/meminfo", "MemTotal")
            .trim_end_matches(" kB")
            .parse()
            .unwrap_or(0);
        let disk = tool(
            "findmnt",
            [
                "-n".as_ref(),
                "-o".as_ref(),
                "FSTYPE".as_ref(),
                "-T".as_ref(),
                scratch.as_os_str(),
            ],
        )?;
        Ok(Self {
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: kilobytes.div_ceil(1 << 20),
            kernel: tool("uname", ["-r"])?.trim().to_owned(),
            system: field("/etc/os-release", "PRETTY_NAME"),
            disk: disk.trim().to_owned(),
        })
    }
}
