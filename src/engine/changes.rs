//! `--change` of `commit` and `import`: Dockerfile instructions that change a config and nothing else.

use crate::dockerfile;
use crate::engine::error::EngineError;
use crate::oci::config::{ImageConfig, RootFs, RunConfig};
use crate::oci::platform::Platform;
use crate::plan::{self, BaseImage, PlanInput};

/// What Docker lets change a config.
const ALLOWED: [&str; 12] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// `config` as the instructions leave it. They are planned like a Dockerfile on top of an image that has this config.
pub(super) fn apply(config: RunConfig, changes: &[String]) -> Result<RunConfig, EngineError> {
    if changes.is_empty() {
        return Ok(config);
    }
    let text = format!("FROM it\n{}\n", changes.join("\n"));
    let refused = |problem: String| EngineError::Change { problem };
    let rendered = |text: String| refused(text);
    let dockerfile = dockerfile::parse(&text).map_err(|error| rendered(error.render("--change", &text)))?;
    for instruction in dockerfile.instructions.iter().skip(1) {
        let name = instruction.name();
        if !ALLOWED.contains(&name.as_str()) {
            return Err(refused(format!(
                "{name} changes no config: expected one of {}",
                ALLOWED.join(", ")
            )));
        }
    }
    let mut input = PlanInput::new(Platform::host());
    let plan_error = |error: plan::PlanError| rendered(error.render("--change", &text));
    for base in plan::base_images(&dockerfile, &input).map_err(plan_error)? {
        // The triggers are for builds on the image, not for this.
        let run = RunConfig {
            on_build: Vec::new(),
            ..config.clone()
        };
        let platform = base.platform.clone();
        let base_config = ImageConfig {
            created: None,
            author: String::new(),
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            config: run,
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: Vec::new(),
            },
            history: Vec::new(),
        };
        input.bases.insert(base, BaseImage { config: base_config });
    }
    let plan = plan::plan(&dockerfile, &input).map_err(plan_error)?;
    let mut on_build = config.on_build;
    on_build.extend(plan.config.on_build.clone());
    Ok(RunConfig {
        on_build,
        ..plan.config
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn instructions_change_what_they_name() {
        let config = RunConfig {
            env: vec!["A=1".to_owned()],
            cmd: Some(vec!["old".to_owned()]),
            on_build: vec!["RUN true".to_owned()],
            ..RunConfig::default()
        };
        let changed = apply(
            config.clone(),
            &changes(&[
                "CMD [\"x\", \"y\"]",
                "ENV B=2 C=$A",
                "USER daemon",
                "ONBUILD RUN false",
            ]),
        )
        .unwrap();
        assert_eq!(changed.cmd, Some(vec!["x".to_owned(), "y".to_owned()]));
        let own: Vec<_> = changed
            .env
            .iter()
            .filter(|line| !line.starts_with("PATH="))
            .collect();
        assert_eq!(own, ["A=1", "B=2", "C=1"]);
        assert_eq!(changed.user, "daemon");
        assert_eq!(changed.on_build, ["RUN true", "RUN false"]);
        assert_eq!(apply(config.clone(), &[]).unwrap(), config);
    }

    #[test]
    fn what_changes_no_config_is_refused() {
        for (text, expected) in [
            ("RUN true", "RUN changes no config"),
            ("CDM x", "CDM"),
            ("ENV", "ENV"),
        ] {
            let error = apply(RunConfig::default(), &changes(&[text]))
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
