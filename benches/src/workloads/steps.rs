//! The cost of a step: fifty that do nothing, and the same from the cache.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::{Material, Phase};
use crate::contenders::{BASE, Builder};

const STEPS: usize = 50;

pub fn prepare(context: &Path) -> Result<()> {
    // Each differs from the one before, or builders would be right to run one.
    let steps: Vec<String> = (1..=STEPS).map(|step| format!("RUN true {step}")).collect();
    fs::write(
        context.join("Dockerfile"),
        format!("FROM {BASE}\n{}\n", steps.join("\n")),
    )?;
    Ok(())
}

pub fn run(builder: &mut dyn Builder, material: &Material) -> Result<Vec<Phase>> {
    let context = material.context();
    Ok(vec![
        Phase {
            name: "50 x RUN true",
            time: builder.build(&context, "steps")?,
            disk: None,
        },
        Phase {
            name: "the same, cached",
            time: builder.build(&context, "steps")?,
            disk: None,
        },
    ])
}
