//! Samples become medians, ratios to the first contender, a table and JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::command::tool;
use crate::machine::Machine;
use crate::workloads::Phase;

/// The column of what the machine itself needs: no builder.
pub const NATIVE: &str = "native";

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    workload: &'static str,
    contender: &'static str,
    phase: &'static str,
    round: usize,
    seconds: f64,
    disk: Option<i64>,
}

impl Sample {
    /// Of a phase.
    pub fn new(workload: &'static str, contender: &'static str, round: usize, phase: Phase) -> Self {
        let Phase { name, time, disk } = phase;
        Self {
            workload,
            contender,
            phase: name,
            round,
            seconds: time.as_secs_f64(),
            disk,
        }
    }
}

/// All that one run measured.
#[derive(Debug, Serialize)]
pub struct Report {
    date: String,
    commit: String,
    machine: Machine,
    versions: BTreeMap<&'static str, String>,
    #[serde(skip)]
    contenders: Vec<&'static str>,
    samples: Vec<Sample>,
}

impl Report {
    /// An empty one, of this machine and this commit.
    pub fn new(contenders: &[(&'static str, String)], scratch: &Path) -> Result<Self> {
        let commit = tool(
            "git",
            [
                "-C",
                env!("CARGO_MANIFEST_DIR"),
                "describe",
                "--always",
                "--dirty",
                "--abbrev=10",
            ],
        )?;
        Ok(Self {
            date: jiff::Zoned::now().date().to_string(),
            commit: commit.trim().to_owned(),
            machine: Machine::read(scratch)?,
            versions: contenders.iter().cloned().collect(),
            contenders: contenders.iter().map(|(name, _)| *name).collect(),
            samples: Vec::new(),
        })
    }

    /// Adds a measurement.
    pub fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// A row for each phase, a column for each contender and the machine itself: seconds, the ratio to the first, disk.
    pub fn table(&self) -> String {
        let columns: Vec<&str> = self.contenders.iter().copied().chain([NATIVE]).collect();
        let mut lines = vec![
            format!("| median of {} | {} |", self.rounds(), columns.join(" | ")),
            format!("|---|{}", "---|".repeat(columns.len())),
        ];
        for (workload, phase) in self.phases() {
            let first = self
                .median(workload, phase, columns[0])
                .map(|(seconds, _)| seconds);
            let cells = columns
                .iter()
                .map(|name| match self.median(workload, phase, name) {
                    Some((seconds, disk)) => cell(seconds, disk, first.filter(|_| *name != columns[0])),
                    None => "-".to_owned(),
                });
            lines.push(format!(
                "| {workload}: {phase} | {} |",
                cells.collect::<Vec<_>>().join(" | ")
            ));
        }
        lines.join("\n")
    }

    /// Writes DATE-COMMIT.md and DATE-COMMIT.json.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let stem = folder.join(format!("{}-{}", self.date, self.commit));
        let Machine {
            processor,
            cores,
            memory_gib,
            kernel,
            system,
            disk,
        } = &self.machine;
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(name, version)| format!("- {name}: {version}"))
            .collect();
        let text = format!(
            "# {}, commit {}\n\n{processor}, {cores} cores, {memory_gib} GiB, {system}, Linux {kernel}, {disk}.\n\n{}\n\nSeconds; \
             in brackets the ratio to {}; after the + the disk that the builder's root grew by.\n\n{}\n",
            self.date,
            self.commit,
            versions.join("\n"),
            self.contenders[0],
            self.table()
        );
        fs::write(stem.with_extension("md"), text)?;
        fs::write(
            stem.with_extension("json"),
            serde_json::to_string_pretty(self)? + "\n",
        )?;
        Ok(())
    }

    fn rounds(&self) -> usize {
        self.samples
            .iter()
            .map(|sample| sample.round + 1)
            .max()
            .unwrap_or(0)
    }

    fn phases(&self) -> Vec<(&'static str, &'static str)> {
        let mut phases = Vec::new();
        for sample in &self.samples {
            if !phases.contains(&(sample.workload, sample.phase)) {
                phases.push((sample.workload, sample.phase));
            }
        }
        phases
    }

    fn median(&self, workload: &str, phase: &str, contender: &str) -> Option<(f64, Option<i64>)> {
        let of_it = |sample: &&Sample| {
            (sample.workload, sample.phase, sample.contender) == (workload, phase, contender)
        };
        let samples: Vec<&Sample> = self.samples.iter().filter(of_it).collect();
        let mut seconds: Vec<f64> = samples.iter().map(|sample| sample.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let mut disks: Vec<i64> = samples.iter().filter_map(|sample| sample.disk).collect();
        disks.sort_unstable();
        Some((
            *seconds.get(seconds.len() / 2)?,
            disks.get(disks.len() / 2).copied(),
        ))
    }
}

fn cell(seconds: f64, disk: Option<i64>, first: Option<f64>) -> String {
    let ratio = first.map_or(String::new(), |first| format!(" ({:.1}x)", seconds / first));
    let disk = disk.map_or(String::new(), |disk| format!(" + {}", size(disk)));
    format!("{seconds:.3}{ratio}{disk}")
}

/// `12 kB`, `1.5 GB`.
fn size(bytes: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let number = bytes as f64;
    match bytes.abs() {
        0..1_000_000 => format!("{:.0} kB", number / 1e3),
        1_000_000..1_000_000_000 => format!("{:.0} MB", number / 1e6),
        _ => format!("{:.2} GB", number / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_say_seconds_ratio_and_disk() {
        assert_eq!(cell(1.5, None, None), "1.500");
        assert_eq!(
            cell(3.0, Some(1_500_000_000), Some(1.5)),
            "3.000 (2.0x) + 1.50 GB"
        );
        assert_eq!(size(-4096), "-4 kB");
    }
}
