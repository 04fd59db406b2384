//! An image's config and a command line become what a process runs with. Pure.
//!
//! Spec: Docker's rules for ENTRYPOINT and CMD, and the variables that `docker run` sets.

use crate::engine::error::EngineError;
use crate::engine::request::RunRequest;
use crate::oci::config::{Empty, RunConfig};

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `NAME=value` lines in which a name has one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment(Vec<String>);

impl Environment {
    pub(crate) fn new(lines: &[String]) -> Self {
        let mut environment = Self::default();
        for line in lines {
            environment.set(line.clone());
        }
        environment
    }

    /// Sets a variable, in the place that its name has.
    pub(crate) fn set(&mut self, line: String) {
        let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
        match self.0.iter_mut().find(|present| name(present) == name(&line)) {
            Some(present) => *present = line,
            None => self.0.push(line),
        }
    }

    /// Sets a variable unless its name has a place.
    pub(crate) fn set_default(&mut self, line: String) {
        let name = line.split('=').next().unwrap_or_default();
        if !self
            .0
            .iter()
            .any(|present| present.split('=').next() == Some(name))
        {
            self.0.push(line);
        }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.0
    }
}

/// What a process runs with, and the config that says so, for the record and for commits.
pub(crate) fn compose(
    image: &RunConfig,
    request: &RunRequest,
) -> Result<(Vec<String>, RunConfig), EngineError> {
    let mut config = image.clone();
    if let Some(entrypoint) = &request.entrypoint {
        // Docker: a new entrypoint clears the image's command.
        config.entrypoint = Some(entrypoint.clone()).filter(|entrypoint| !entrypoint.is_empty());
        config.cmd = None;
    }
    if !request.command.is_empty() {
        config.cmd = Some(request.command.clone());
    }
    let argv: Vec<String> = config
        .entrypoint
        .iter()
        .chain(&config.cmd)
        .flatten()
        .cloned()
        .collect();
    if argv.is_empty() {
        return Err(EngineError::NoCommand {
            image: request.image.clone(),
        });
    }
    let mut environment = Environment::new(&image.env);
    for line in &request.env {
        environment.set(line.clone());
    }
    environment.set_default(DEFAULT_PATH.to_owned());
    config.env = environment.into_lines();
    if let Some(workdir) = &request.workdir {
        config.working_dir.clone_from(workdir);
    }
    if let Some(user) = &request.user {
        config.user.clone_from(user);
    }
    if let Some(signal) = &request.stop_signal {
        config.stop_signal.clone_from(signal);
    }
    config.labels.extend(request.labels.clone());
    config.volumes.extend(
        request
            .volumes
            .iter()
            .map(|volume| (volume.guest.clone(), Empty {})),
    );
    Ok((argv, config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn entrypoint_and_command_combine_as_dockers() {
        let image = RunConfig {
            entrypoint: Some(words("/entry -a")),
            cmd: Some(words("default")),
            ..RunConfig::default()
        };
        let argv = |command: &str, entrypoint: Option<&str>| {
            let request = RunRequest {
                command: words(command),
                entrypoint: entrypoint.map(words),
                ..RunRequest::default()
            };
            compose(&image, &request)
                .map(|(argv, _)| argv.join(" "))
                .unwrap_or_default()
        };
        assert_eq!(argv("", None), "/entry -a default");
        assert_eq!(argv("other", None), "/entry -a other");
        assert_eq!(argv("", Some("/new")), "/new");
        assert_eq!(argv("other", Some("/new")), "/new other");
        assert_eq!(argv("other", Some("")), "other");
        assert_eq!(argv("", Some("")), "");
    }

    #[test]
    fn variables_are_replaced_in_their_place() {
        let image = RunConfig {
            env: words("A=1 PATH=/bin B=2"),
            ..RunConfig::default()
        };
        let request = RunRequest {
            command: words("true"),
            env: words("B=3 C=4"),
            ..RunRequest::default()
        };
        assert_eq!(
            compose(&image, &request).unwrap().1.env,
            words("A=1 PATH=/bin B=3 C=4")
        );
    }
}
