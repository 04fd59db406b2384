//! COPY of a big context: cold, unchanged, and with one file changed; with the disk that each used.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::{Material, Phase};
use crate::command::{disk, run as perform, timed};
use crate::contenders::{BASE, Builder};

/// Read by the compiler of every kernel; 100 KB.
const CHANGED: &str = "kernel/fork.c";

const COLD: &str = "COPY of 60k files";
const UNCHANGED: &str = "unchanged";

pub fn prepare(context: &Path) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("context");
    let source = perform(&mut Command::new(script))?;
    perform(
        Command::new("cp")
            .arg("-a")
            .arg(format!("{}/.", source.trim_end()))
            .arg(context),
    )?;
    fs::write(context.join("Dockerfile"), format!("FROM {BASE}\nCOPY . /src\n"))?;
    // A stat cache may not trust files that changed while or just before it looked.
    std::thread::sleep(Duration::from_secs(3));
    Ok(())
}

/// `cp -a` of it to the same disk, synced; a warm walk that stats each file.
pub fn floor(material: &Material, folder: &Path) -> Result<Vec<Phase>> {
    let context = material.context();
    let target = folder.join("copy");
    let mut copy = Command::new("sh");
    copy.args(["-c", "cp -a \"$1\" \"$2\" && sync -f \"$2\"", "sh"])
        .arg(&context)
        .arg(target);
    let mut walk = Command::new("find");
    walk.arg(&context).args(["-printf", "%s %T@ %C@\\n"]);
    Ok(vec![
        Phase {
            name: COLD,
            time: timed(&mut copy)?,
            disk: None,
        },
        Phase {
            name: UNCHANGED,
            time: timed(&mut walk)?,
            disk: None,
        },
    ])
}

pub fn run(builder: &mut dyn Builder, material: &Material) -> Result<Vec<Phase>> {
    let context = material.context();
    let file = context.join(CHANGED);
    let original = fs::read(&file)?;
    let mut phase = |name| -> Result<Phase> {
        let before = disk(builder.root())?;
        let time = builder.build(&context, "context")?;
        let grown = i64::try_from(disk(builder.root())?)? - i64::try_from(before)?;
        Ok(Phase {
            name,
            time,
            disk: Some(grown),
        })
    };
    let cold = phase(COLD)?;
    let unchanged = phase(UNCHANGED)?;
    fs::write(&file, [&original[..], b"/* changed */\n"].concat())?;
    let changed = phase("one file changed");
    fs::write(&file, original)?;
    Ok(vec![cold, unchanged, changed?])
}
