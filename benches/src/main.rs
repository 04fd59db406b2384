//! Builds the same Dockerfiles with Silt and with its rivals, in turns, on one machine.
//!
//! | module       | turns what into what                                             |
//! |--------------|------------------------------------------------------------------|
//! | `command`    | a program and arguments -> how long it ran                       |
//! | `machine`    | this machine -> what a reader must know of it                    |
//! | `contenders` | a builder's name -> a fresh builder with a Debian base           |
//! | `workloads`  | a fresh builder -> timed phases                                  |
//! | `report`     | samples -> medians, ratios, a table, JSON                        |
//!
//! Each round gives each contender a fresh root on the same disk, in turns (A B C, A B C), so that drift of the machine hits all
//! alike. A contender that is not installed is left out with a line.

mod command;
mod contenders;
mod machine;
mod report;
mod workloads;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::contenders::{Base, CONTENDERS, Contender};
use crate::report::{NATIVE, Report, Sample};
use crate::workloads::{Material, Phase, WORKLOADS, Workload};

/// Compares Silt with other builders on this machine
#[derive(Debug, Parser)]
struct Arguments {
    /// The silt binary
    #[arg(long, value_name = "FILE")]
    silt: PathBuf,
    /// Times that each contender does each workload
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only these workloads; repeatable
    #[arg(long = "workload", value_name = "NAME")]
    workloads: Vec<String>,
    /// Only these contenders; repeatable
    #[arg(long = "contender", value_name = "NAME")]
    contenders: Vec<String>,
    /// Directory for the builders' roots, on the disk to measure
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    scratch: PathBuf,
    /// Directory for the results, as DATE-COMMIT.md and .json
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let silt = arguments
        .silt
        .canonicalize()
        .with_context(|| arguments.silt.display().to_string())?;
    let names = CONTENDERS
        .iter()
        .map(|contender| contender.name)
        .collect::<Vec<_>>();
    check(&arguments.contenders, &names)?;
    check(
        &arguments.workloads,
        &WORKLOADS.iter().map(|workload| workload.name).collect::<Vec<_>>(),
    )?;

    let base = Base::find(silt)?;
    let mut entrants = Vec::new();
    for contender in CONTENDERS
        .iter()
        .filter(|contender| chosen(&arguments.contenders, contender.name))
    {
        match (contender.version)(&base) {
            Ok(version) => entrants.push((contender, version)),
            Err(error) => eprintln!("{}: left out: {error:#}", contender.name),
        }
    }
    if entrants.is_empty() {
        bail!("no contender is installed");
    }

    let versions: Vec<_> = entrants
        .iter()
        .map(|(contender, version)| (contender.name, version.clone()))
        .collect();
    let mut report = Report::new(&versions, &arguments.scratch)?;
    for workload in WORKLOADS
        .iter()
        .filter(|workload| chosen(&arguments.workloads, workload.name))
    {
        compare(workload, &entrants, &base, &arguments, &mut report)?;
    }
    println!("{}", report.table());
    if let Some(folder) = &arguments.out {
        report.write(folder)?;
    }
    Ok(())
}

/// All rounds of one workload.
fn compare(
    workload: &Workload,
    entrants: &[(&Contender, String)],
    base: &Base,
    arguments: &Arguments,
    report: &mut Report,
) -> Result<()> {
    let material = Material::prepare(workload, &arguments.scratch)?;
    let folder = || {
        tempfile::Builder::new()
            .prefix("silt-bench-")
            .tempdir_in(&arguments.scratch)
    };
    for round in 0..arguments.rounds {
        let mut add = |contender, phases: Vec<Phase>| {
            for phase in phases {
                eprintln!("{} round {} {contender}: {phase}", workload.name, round + 1);
                report.add(Sample::new(workload.name, contender, round, phase));
            }
        };
        for (contender, _) in entrants {
            let folder = folder()?;
            let mut builder = (contender.start)(base, folder.path()).context(contender.name)?;
            add(
                contender.name,
                (workload.run)(builder.as_mut(), &material).context(contender.name)?,
            );
            builder.stop()?;
        }
        add(NATIVE, (workload.floor)(&material, folder()?.path())?);
    }
    Ok(())
}

fn chosen(wanted: &[String], name: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| wanted == name)
}

fn check(wanted: &[String], known: &[&str]) -> Result<()> {
    match wanted.iter().find(|wanted| !known.contains(&wanted.as_str())) {
        Some(unknown) => bail!("there is no `{unknown}`: one of {}", known.join(", ")),
        None => Ok(()),
    }
}
