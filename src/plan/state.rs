//! What a stage has become so far: the tip of its tree, config, variables, history.

use super::stages::Stage;
use super::variables::{Ordered, Variables};
use super::{PlannedHistory, VertexId};
use crate::oci::config::{ImageConfig, RunConfig};

/// A stage's state after some of its instructions. `config.env` lags behind `env` until the end.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) tip: VertexId,
    pub(super) base: Option<VertexId>,
    pub(super) chain: Vec<VertexId>,
    pub(super) config: RunConfig,
    pub(super) author: String,
    pub(super) history: Vec<PlannedHistory>,
    /// ENV, the base's included.
    pub(super) env: Variables,
    /// ARGs in scope, in order of declaration; without a value they are only named.
    pub(super) args: Ordered<Option<String>>,
    /// Whether this stage has a CMD of its own.
    pub(super) has_cmd: bool,
    label: Label,
}

/// How a stage's steps are counted in vertices' names.
#[derive(Debug, Clone, Default)]
struct Label {
    stage: String,
    done: usize,
    total: usize,
}

impl State {
    /// `FROM scratch`.
    pub(super) fn scratch(tip: VertexId) -> Self {
        Self::new(
            tip,
            RunConfig {
                working_dir: "/".to_owned(),
                ..RunConfig::default()
            },
            String::new(),
        )
    }

    /// `FROM` an image; tip and base are set when its vertex exists.
    pub(super) fn image(config: &ImageConfig) -> Self {
        Self::new(VertexId(0), config.config.clone(), config.author.clone())
    }

    fn new(tip: VertexId, config: RunConfig, author: String) -> Self {
        Self {
            tip,
            base: None,
            chain: Vec::new(),
            author,
            history: Vec::new(),
            env: Variables::from_strings(&config.env),
            args: Ordered::default(),
            has_cmd: false,
            label: Label::default(),
            config,
        }
    }

    /// Starts a stage of `total` steps; `alone` when the Dockerfile has no other.
    pub(super) fn begin(&mut self, stage: &Stage, alone: bool, total: usize) {
        let stage = if alone {
            String::new()
        } else {
            format!("{} ", stage.label())
        };
        self.label = Label {
            stage,
            done: 0,
            total,
        };
        self.has_cmd = false;
    }

    /// The name of the next step: `[stage 2/5] RUN make`, on one line whatever its variables hold.
    pub(super) fn label(&mut self, text: &str, on_build: bool) -> String {
        let Label { stage, done, total } = &mut self.label;
        *done += 1;
        let width = total.to_string().len();
        let on_build = if on_build { "ONBUILD " } else { "" };
        let text = text.replace(char::is_control, " ");
        format!("[{stage}{done:>width$}/{total}] {on_build}{text}")
    }

    /// The value of a variable: ENV wins over ARG.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let arg = || self.args.get(name).and_then(Option::as_deref);
        self.env.get(name).map(String::as_str).or_else(arg)
    }

    /// The environment of a RUN: ENV, then ARGs that have a value and aren't ENV too.
    pub(super) fn run_env(&self) -> Vec<String> {
        let mut env = self.env.to_strings();
        let args = self.args.iter().filter(|(name, _)| self.env.get(name).is_none());
        env.extend(args.filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?))));
        env
    }

    /// `|2 A=b C=d ` in RUN's history, empty without ARGs.
    pub(super) fn history_args(&self) -> String {
        let args = self.args.iter();
        if args.len() == 0 {
            return String::new();
        }
        let count = args.len();
        let args: Vec<String> = args
            .map(|(name, _)| format!("{name}={}", self.variable(name).unwrap_or_default()))
            .collect();
        format!("|{count} {} ", args.join(" "))
    }

    /// The shell of shell forms with `command` as its argument.
    pub(super) fn shell(&self, command: &str) -> Vec<String> {
        let mut argv = match &self.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        };
        argv.push(command.to_owned());
        argv
    }

    /// The working directory, absolute.
    pub(super) fn directory(&self) -> String {
        join("/", &self.config.working_dir)
    }

    /// Adds a history entry without a layer.
    pub(super) fn push_history(&mut self, created_by: String) {
        self.history.push(PlannedHistory {
            created_by,
            vertex: None,
        });
    }

    pub(super) fn push_layer(&mut self, vertex: VertexId, created_by: String) {
        self.tip = vertex;
        self.chain.push(vertex);
        self.history.push(PlannedHistory {
            created_by,
            vertex: Some(vertex),
        });
    }
}

/// `path` seen from the absolute `directory`, cleaned.
pub(super) fn join(directory: &str, path: &str) -> String {
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{directory}/{path}")
    };
    crate::dockerfile::ignore::clean(&format!("/{joined}"))
}
