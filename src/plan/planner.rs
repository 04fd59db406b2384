//! From stages to vertices: each needed stage in order, its base first, then one instruction after another.

#![expect(
    clippy::similar_names,
    reason = "a stage has a state, and both words are the field's own"
)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::error::{PlanError, PlanErrorKind};
use super::instruction;
use super::stages::{Base, Effective, Source, Stage, Stages};
use super::state::State;
use super::{BaseImage, Edge, ImageOp, Lines, Op, Plan, PlanInput, Vertex, VertexId};
use crate::dockerfile::expansion::{Expanded, Expander, ExpansionError};
use crate::dockerfile::{Dockerfile, Instruction, Span, Word, diagnostic};

/// PATH of containers whose image says nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The images that the target needs and `input.bases` does not have yet: bases, and those that `--from` names.
///
/// A base's triggers may need further images: resolve what this names, add it to `input.bases`, and ask again until it names
/// nothing.
///
/// # Errors
/// [`PlanError`], with the place: whatever is wrong so far.
pub fn base_images(dockerfile: &Dockerfile, input: &PlanInput) -> Result<Vec<ImageOp>, PlanError> {
    let stages = Stages::new(dockerfile, input)?;
    let (_, images) = stages.reachable(stages.target(input)?, input)?;
    Ok(images
        .into_iter()
        .filter(|op| !input.bases.contains_key(op))
        .collect())
}

/// Plans a build: vertices, config and history of the target, and nothing that it doesn't need.
///
/// # Errors
/// [`PlanError`], with the place where there is one.
pub fn plan(dockerfile: &Dockerfile, input: &PlanInput) -> Result<Plan, PlanError> {
    let stages = Stages::new(dockerfile, input)?;
    let target = stages.target(input)?;
    let (reachable, _) = stages.reachable(target, input)?;
    let mut planner = Planner::new(dockerfile, &stages, input);
    for index in reachable {
        let state = planner.run_stage(&stages.stages[index])?;
        planner.done.insert(index, state);
    }
    let result = planner.done.remove(&target).ok_or(PlanError {
        kind: PlanErrorKind::NoStage,
        span: None,
    })?;
    planner.finish(result, &stages.stages[target])
}

/// A variable that was used without being defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Undefined {
    pub(super) name: String,
    /// A variable that is defined and spelled almost so.
    pub(super) near: Option<String>,
    pub(super) span: Span,
    pub(super) lines: Lines,
}

/// The undefined variables of all stages whose base is known and that plan.
pub(super) fn undefined(dockerfile: &Dockerfile, stages: &Stages, input: &PlanInput) -> Vec<Undefined> {
    let mut planner = Planner::new(dockerfile, stages, input);
    planner.undefined = Some(RefCell::default());
    for stage in &stages.stages {
        if let Ok(state) = planner.run_stage(stage) {
            planner.done.insert(stage.index, state);
        }
    }
    planner.undefined.map(RefCell::into_inner).unwrap_or_default()
}

/// What is planned so far.
pub(super) struct Planner<'a> {
    input: &'a PlanInput,
    stages: &'a Stages,
    escape: char,
    vertices: Vec<Vertex>,
    images: HashMap<ImageOp, VertexId>,
    scratch: Option<VertexId>,
    done: BTreeMap<usize, State>,
    /// Kept for the build checks only.
    undefined: Option<RefCell<Vec<Undefined>>>,
}

/// One instruction in its stage: what instructions' `apply` works on.
pub(super) struct Step<'a, 'p> {
    pub(super) planner: &'a mut Planner<'p>,
    pub(super) stage: &'a Stage,
    pub(super) state: &'a mut State,
    /// Whether a base's trigger asks for it.
    pub(super) on_build: bool,
    /// The lines that errors of its vertex name.
    pub(super) lines: Lines,
}

/// The tree that a `--from` names.
pub(super) enum Tree {
    Context(String),
    Edge(Edge),
}

impl<'a> Planner<'a> {
    fn new(dockerfile: &Dockerfile, stages: &'a Stages, input: &'a PlanInput) -> Self {
        Self {
            input,
            stages,
            escape: dockerfile.directives.escape,
            vertices: Vec::new(),
            images: HashMap::new(),
            scratch: None,
            done: BTreeMap::new(),
            undefined: None,
        }
    }

    fn run_stage(&mut self, stage: &Stage) -> Result<State, PlanError> {
        let effective = self.stages.effective(stage, self.input)?;
        let mut state = self.base_state(stage)?;
        let from_image = matches!(stage.base, Base::Image(_));
        let steps = effective
            .iter()
            .filter(|effective| instruction::is_step(&effective.instruction))
            .count();
        state.begin(
            stage,
            self.stages.stages.len() == 1,
            steps + usize::from(from_image),
        );
        if let Base::Image(op) = &stage.base {
            state.tip = self.image(op, Some((&mut state, stage)));
            state.base = Some(state.tip);
        }
        for Effective { instruction, trigger } in &effective {
            let lines = if trigger.is_some() {
                lines(&stage.from)
            } else {
                lines(instruction)
            };
            let mut step = Step {
                planner: self,
                stage,
                state: &mut state,
                on_build: trigger.is_some(),
                lines,
            };
            if let Err(error) = instruction::apply(&mut step, instruction) {
                let effective = Effective {
                    instruction: instruction.clone(),
                    trigger: trigger.clone(),
                };
                return Err(effective.locate(error, stage.from.arguments_span()));
            }
        }
        Ok(state)
    }

    fn base_state(&mut self, stage: &Stage) -> Result<State, PlanError> {
        let mut state = match &stage.base {
            Base::Scratch => State::scratch(self.scratch()),
            Base::Stage(index) => self.done.get(index).cloned().ok_or_else(|| {
                PlanErrorKind::LaterStage {
                    name: self.stages.stages[*index].label(),
                }
                .at(stage.from.arguments_span())
            })?,
            Base::Image(op) => {
                let BaseImage { config } = self.input.bases.get(op).ok_or_else(|| {
                    let (reference, platform) = (op.reference.clone(), op.platform.to_string());
                    PlanErrorKind::Unresolved { reference, platform }.at(stage.from.arguments_span())
                })?;
                State::image(config)
            }
        };
        if state.env.get("PATH").is_none() {
            state.env.set("PATH", DEFAULT_PATH.to_owned());
        }
        state.config.on_build.clear();
        Ok(state)
    }

    fn scratch(&mut self) -> VertexId {
        if let Some(vertex) = self.scratch {
            return vertex;
        }
        let vertex = self.push(Op::Scratch, Vec::new(), "[internal] scratch".to_owned(), None);
        *self.scratch.insert(vertex)
    }

    /// The vertex of an image, made once; a stage that is based on it gives it its name and place.
    fn image(&mut self, op: &ImageOp, based: Option<(&mut State, &Stage)>) -> VertexId {
        let text = format!("FROM {}", op.reference);
        let (name, lines) = match based {
            Some((state, stage)) => (state.label(&text, false), Some(lines(&stage.from))),
            None => (text, None),
        };
        if let Some(vertex) = self.images.get(op) {
            return *vertex;
        }
        let vertex = self.push(Op::Image(op.clone()), Vec::new(), name, lines);
        self.images.insert(op.clone(), vertex);
        vertex
    }

    fn push(&mut self, op: Op, inputs: Vec<Edge>, name: String, lines: Option<Lines>) -> VertexId {
        self.vertices.push(Vertex {
            op,
            inputs,
            name,
            lines,
            created_by: None,
            ignore_cache: false,
        });
        VertexId(self.vertices.len() - 1)
    }

    fn finish(self, mut state: State, stage: &Stage) -> Result<Plan, PlanError> {
        let source_date_epoch = self.source_date_epoch()?;
        state.config.env = state.env.to_strings();
        state.config.labels.extend(self.input.labels.clone());
        let chain: BTreeSet<VertexId> = state.chain.iter().copied().collect();
        let mut vertices = self.vertices;
        for (index, vertex) in vertices.iter_mut().enumerate() {
            if !chain.contains(&VertexId(index)) {
                vertex.created_by = None;
            }
        }
        Ok(Plan {
            result: state.tip,
            base: state.base,
            chain: state.chain,
            config: state.config,
            author: state.author,
            history: state.history,
            platform: stage.platform.clone(),
            proxy: self.input.proxy(),
            hostname: self
                .input
                .build_arg("BUILDKIT_SANDBOX_HOSTNAME")
                .map(str::to_owned),
            source_date_epoch,
            vertices,
        })
    }

    fn source_date_epoch(&self) -> Result<Option<i64>, PlanError> {
        let name = "SOURCE_DATE_EPOCH";
        let value = self
            .input
            .build_arg(name)
            .or_else(|| self.stages.globals.get(name).map(String::as_str))
            .unwrap_or_default();
        if value.is_empty() {
            return Ok(None);
        }
        let kind = || PlanErrorKind::InvalidValue {
            name: name.to_owned(),
            value: value.to_owned(),
            expected: "seconds since 1970",
        };
        value.parse().map(Some).map_err(|_| PlanError {
            kind: kind(),
            span: None,
        })
    }
}

impl Step<'_, '_> {
    pub(super) fn input(&self) -> &PlanInput {
        self.planner.input
    }

    pub(super) fn escape(&self) -> char {
        self.planner.escape
    }

    /// A global ARG's value.
    pub(super) fn global(&self, name: &str) -> Option<&str> {
        self.planner.stages.globals.get(name).map(String::as_str)
    }

    fn expander_result(&self, text: &str, escape: char, quotes: bool) -> Result<Expanded, ExpansionError> {
        let lookup = |name: &str| self.state.variable(name).map(str::to_owned);
        Expander {
            escape,
            quotes,
            lookup: &lookup,
        }
        .expand(text)
    }

    /// Expands a text that stands at `span`.
    pub(super) fn expand(&self, text: &str, span: Span) -> Result<String, PlanError> {
        let expanded = self.expander_result(text, self.escape(), true);
        let expanded = expanded.map_err(|error| PlanErrorKind::Expansion(error.kind).at(span))?;
        self.note(&expanded, span);
        Ok(expanded.text)
    }

    /// Expands a word of an instruction's arguments, into several words perhaps.
    pub(super) fn expand_word(&self, instruction: &Instruction, word: &Word) -> Result<Expanded, PlanError> {
        let expanded = self
            .expander_result(&word.text, self.escape(), true)
            .map_err(|error| {
                let start = word.range.start;
                let span = instruction.span_of(start + error.range.start..start + error.range.end);
                PlanErrorKind::Expansion(error.kind).at(span)
            })?;
        self.note(&expanded, instruction.span_of(word.range.clone()));
        Ok(expanded)
    }

    /// Expands the content of a heredoc: quotes mean nothing in it.
    pub(super) fn expand_content(&self, content: &str, span: Span) -> Result<String, PlanError> {
        let expanded = self.expander_result(content, '\\', false);
        let expanded = expanded.map_err(|error| PlanErrorKind::Expansion(error.kind).at(span))?;
        self.note(&expanded, span);
        Ok(expanded.text)
    }

    /// Notes the variables that were not defined, for the build checks. A trigger's are its author's.
    fn note(&self, expanded: &Expanded, span: Span) {
        let Some(noted) = self.planner.undefined.as_ref().filter(|_| !self.on_build) else {
            return;
        };
        for name in expanded
            .unset
            .iter()
            .filter(|name| self.state.args.get(name).is_none())
        {
            let args = self.state.args.iter().map(|(name, _)| name);
            let names = self.state.env.iter().map(|(name, _)| name).chain(args);
            let near = diagnostic::closest(name, names).map(str::to_owned);
            let (name, lines) = (name.clone(), self.lines);
            noted.borrow_mut().push(Undefined {
                name,
                near,
                span,
                lines,
            });
        }
    }

    /// The name of a vertex: the instruction with its variables expanded, as far as they can be.
    pub(super) fn shown(&self, instruction: &Instruction) -> String {
        let source = instruction.source();
        let text = self
            .expander_result(source, self.escape(), true)
            .map_or_else(|_| source.to_owned(), |e| e.text);
        let (_, rest) = text.split_at(instruction.keyword.len().min(text.len()));
        format!("{}{rest}", instruction.name())
    }

    /// The tree that a `--from` names.
    pub(super) fn tree(&mut self, source: &instruction::SourceName) -> Result<Tree, PlanError> {
        match self
            .planner
            .stages
            .named_source(source, self.stage.index, self.planner.input)?
        {
            Source::Context(name) => Ok(Tree::Context(name)),
            Source::Scratch => {
                let vertex = self.planner.scratch();
                Ok(Tree::Edge(Edge { vertex, output: 0 }))
            }
            Source::Image(op) => {
                let vertex = self.planner.image(&op, None);
                Ok(Tree::Edge(Edge { vertex, output: 0 }))
            }
            Source::Stage(index) => {
                let name = self.planner.stages.stages[index].label();
                let state = self.planner.done.get(&index);
                let state = state.ok_or_else(|| PlanErrorKind::LaterStage { name }.at(source.span))?;
                Ok(Tree::Edge(Edge {
                    vertex: state.tip,
                    output: 0,
                }))
            }
        }
    }

    /// Adds the vertex of a step that makes a layer. Input 0 is put before `further`.
    pub(super) fn layer(&mut self, op: Op, further: Vec<Edge>, shown: &str, created_by: String) {
        let name = self.state.label(shown, self.on_build);
        let mut inputs = vec![Edge {
            vertex: self.state.tip,
            output: 0,
        }];
        inputs.extend(further);
        let vertex = self.planner.push(op, inputs, name, Some(self.lines));
        let input = self.planner.input;
        let filtered = |filter: &String| {
            self.stage
                .name
                .as_ref()
                .is_some_and(|name| name.eq_ignore_ascii_case(filter))
        };
        self.planner.vertices[vertex.0].ignore_cache =
            input.no_cache || input.no_cache_filter.iter().any(filtered);
        self.planner.vertices[vertex.0].created_by = Some(created_by.clone());
        self.state.push_layer(vertex, created_by);
    }
}

fn lines(instruction: &Instruction) -> Lines {
    Lines {
        first: instruction.lines.0,
        last: instruction.lines.1,
    }
}
