//! The Dockerfile as stages: global ARGs, one stage for each FROM with its base resolved, names, and who needs whom.

use std::collections::BTreeSet;

use super::error::{PlanError, PlanErrorKind};
use super::instruction::{self, SourceName};
use super::variables::Variables;
use super::{BaseImage, ImageOp, NamedContext, PlanInput};
use crate::dockerfile::expansion::Expander;
use crate::dockerfile::{Dockerfile, Flag, Instruction, Span, Word, parse_trigger};
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;

/// All stages of a Dockerfile.
pub(super) struct Stages {
    pub(super) stages: Vec<Stage>,
    /// ARGs before the first FROM and the automatic platform ARGs.
    pub(super) globals: Variables,
}

/// One FROM and what follows it.
pub(super) struct Stage {
    pub(super) index: usize,
    /// Lower case; `None` without AS.
    pub(super) name: Option<String>,
    pub(super) base: Base,
    pub(super) platform: Platform,
    pub(super) from: Instruction,
    pub(super) instructions: Vec<Instruction>,
}

/// What a stage starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    Scratch,
    Stage(usize),
    Image(ImageOp),
}

/// What a name in `--from` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Stage(usize),
    Image(ImageOp),
    Scratch,
    Context(String),
}

/// An instruction that a stage runs: its own, or a trigger of its base.
pub(super) struct Effective {
    pub(super) instruction: Instruction,
    /// Whose trigger it is, and its text.
    pub(super) trigger: Option<(String, String)>,
}

impl Effective {
    /// Moves an error about a trigger, whose text is not in this Dockerfile, to the FROM that runs it.
    pub(super) fn locate(&self, error: PlanError, from: Span) -> PlanError {
        locate(error, self.trigger.as_ref(), from)
    }
}

fn locate(error: PlanError, trigger: Option<&(String, String)>, from: Span) -> PlanError {
    match trigger {
        None => error,
        Some((base, text)) => {
            let (base, trigger) = (base.clone(), text.lines().next().unwrap_or_default().to_owned());
            PlanErrorKind::BaseTrigger {
                trigger,
                base,
                kind: Box::new(error.kind),
            }
            .at(from)
        }
    }
}

impl Stages {
    /// Splits and checks a Dockerfile; every instruction is checked, those of unused stages too.
    pub(super) fn new(dockerfile: &Dockerfile, input: &PlanInput) -> Result<Self, PlanError> {
        let escape = dockerfile.directives.escape;
        let mut split: Vec<(Instruction, Vec<Instruction>)> = Vec::new();
        for instruction in &dockerfile.instructions {
            let definition = instruction::check(instruction, escape)?;
            match (definition.name, split.last_mut()) {
                ("FROM", _) => split.push((instruction.clone(), Vec::new())),
                (_, Some((_, instructions))) => instructions.push(instruction.clone()),
                ("ARG", None) => {}
                (_, None) => {
                    let kind = PlanErrorKind::BeforeFrom {
                        keyword: instruction.name(),
                    };
                    return Err(kind.at(instruction.keyword_span()));
                }
            }
        }
        let mut globals = Self::globals(dockerfile, input)?;
        let Some((last, _)) = split.last() else {
            return Err(PlanError {
                kind: PlanErrorKind::NoStage,
                span: None,
            });
        };
        let target = input
            .target
            .clone()
            .or(instruction::from::stage_name(last)?)
            .unwrap_or_default();
        globals.set("TARGETSTAGE", target);
        let mut this = Self {
            stages: Vec::new(),
            globals,
        };
        for (from, instructions) in split {
            let stage = this.stage(from, instructions, escape, input)?;
            this.stages.push(stage);
        }
        this.refuse_cycles(input)?;
        Ok(this)
    }

    /// The ARGs before the first FROM, over the automatic ones.
    pub(super) fn globals(dockerfile: &Dockerfile, input: &PlanInput) -> Result<Variables, PlanError> {
        let mut globals = automatic(input);
        let instructions = dockerfile.instructions.iter();
        for instruction in instructions.take_while(|instruction| instruction.name() != "FROM") {
            instruction::arg::declare_global(instruction, dockerfile.directives.escape, input, &mut globals)?;
        }
        Ok(globals)
    }

    fn stage(
        &self,
        from: Instruction,
        instructions: Vec<Instruction>,
        escape: char,
        input: &PlanInput,
    ) -> Result<Stage, PlanError> {
        let expand = |text: &str, span: Span| {
            let lookup = |name: &str| self.globals.get(name).cloned();
            let expanded = Expander {
                escape,
                quotes: true,
                lookup: &lookup,
            }
            .expand(text);
            expanded
                .map(|expanded| expanded.text)
                .map_err(|error| PlanErrorKind::Expansion(error.kind).at(span))
        };
        let words = from.blank_words();
        let Some(word) = words.first() else {
            return Err(PlanErrorKind::NoStage.at(from.keyword_span()));
        };
        let span = from.span_of(word.range.clone());
        let base = expand(&word.text, span)?;
        if base.is_empty() {
            return Err(PlanErrorKind::EmptyBase {
                expression: word.text.clone(),
            }
            .at(span));
        }
        let platform = match instruction::flag(&from, "platform") {
            Some(Flag {
                value: Some(value),
                span,
                ..
            }) => Some(parse_platform(&expand(value, *span)?, *span)?),
            _ => None,
        };
        let base = self.base(&base, word, platform.as_ref(), &from, input)?;
        let platform = match &base {
            Base::Stage(index) => self.stages[*index].platform.clone(),
            _ => platform.unwrap_or_else(|| input.platform.clone()),
        };
        Ok(Stage {
            index: self.stages.len(),
            name: instruction::from::stage_name(&from)?,
            base,
            platform,
            from,
            instructions,
        })
    }

    fn base(
        &self,
        name: &str,
        word: &Word,
        platform: Option<&Platform>,
        from: &Instruction,
        input: &PlanInput,
    ) -> Result<Base, PlanError> {
        let span = from.span_of(word.range.clone());
        match self.source(name, self.stages.len(), false, platform, span, input)? {
            Source::Scratch => Ok(Base::Scratch),
            Source::Stage(index) => Ok(Base::Stage(index)),
            Source::Image(op) => Ok(Base::Image(op)),
            Source::Context(name) => Err(PlanErrorKind::Unsupported {
                what: format!("FROM of the build context {name}"),
            }
            .at(span)),
        }
    }

    /// What `name` means in stage `before`: a named context, an earlier stage, its number, or an image.
    pub(super) fn source(
        &self,
        name: &str,
        before: usize,
        by_number: bool,
        platform: Option<&Platform>,
        span: Span,
        input: &PlanInput,
    ) -> Result<Source, PlanError> {
        let lower = name.to_lowercase();
        let image = |reference: &str| {
            let platform = platform.unwrap_or(&input.platform).clone();
            let parsed = Reference::parse(reference).map_err(|_| {
                let (reference, stages) = (reference.to_owned(), self.names());
                PlanErrorKind::Reference { reference, stages }.at(span)
            });
            parsed.map(|reference| {
                Source::Image(ImageOp {
                    reference: reference.to_string(),
                    platform,
                })
            })
        };
        match input.contexts.get(name).or_else(|| input.contexts.get(&lower)) {
            Some(NamedContext::Image(reference)) => return image(reference),
            Some(NamedContext::Files) => return Ok(Source::Context(name.to_owned())),
            None => {}
        }
        if let Some(stage) = self.stages[..before]
            .iter()
            .rev()
            .find(|stage| stage.name.as_ref() == Some(&lower))
        {
            return Ok(Source::Stage(stage.index));
        }
        if by_number && let Ok(index) = name.parse::<usize>() {
            return if index < before {
                Ok(Source::Stage(index))
            } else {
                Err(PlanErrorKind::StageIndex { index }.at(span))
            };
        }
        if name == "scratch" {
            Ok(Source::Scratch)
        } else {
            image(name)
        }
    }

    /// What a `--from` means in a stage.
    pub(super) fn named_source(
        &self,
        source: &SourceName,
        stage: usize,
        input: &PlanInput,
    ) -> Result<Source, PlanError> {
        let lower = source.name.to_lowercase();
        let is_named = |stage: &&Stage| stage.name.as_ref() == Some(&lower);
        let is_known = self.stages[..stage].iter().any(|earlier| is_named(&earlier))
            || input.contexts.contains_key(&source.name);
        if !is_known && let Some(later) = self.stages[stage..].iter().find(is_named) {
            return Err(PlanErrorKind::LaterStage { name: later.label() }.at(source.span));
        }
        self.source(&source.name, stage, true, None, source.span, input)
    }

    /// Names of the stages that have one.
    pub(super) fn names(&self) -> Vec<String> {
        self.stages
            .iter()
            .filter_map(|stage| stage.name.clone())
            .collect()
    }

    /// The stage to build.
    pub(super) fn target(&self, input: &PlanInput) -> Result<usize, PlanError> {
        let Some(target) = &input.target else {
            return Ok(self.stages.len() - 1);
        };
        let lower = target.to_lowercase();
        let named = self
            .stages
            .iter()
            .rposition(|stage| stage.name.as_ref() == Some(&lower));
        let numbered = target.parse().ok().filter(|index| *index < self.stages.len());
        let kind = PlanErrorKind::Target {
            target: target.clone(),
            stages: self.names(),
        };
        named.or(numbered).ok_or(PlanError { kind, span: None })
    }

    /// The instructions that a stage runs: its base's triggers first. An unresolved base has none.
    pub(super) fn effective(&self, stage: &Stage, input: &PlanInput) -> Result<Vec<Effective>, PlanError> {
        let (base, triggers) = match &stage.base {
            Base::Scratch => (String::new(), Vec::new()),
            Base::Image(op) => {
                let image = input.bases.get(op);
                (
                    op.reference.clone(),
                    image
                        .map(|BaseImage { config }| config.config.on_build.clone())
                        .unwrap_or_default(),
                )
            }
            Base::Stage(index) => {
                let base = &self.stages[*index];
                (format!("stage {}", base.label()), base.triggers())
            }
        };
        let span = stage.from.arguments_span();
        let mut effective = Vec::new();
        for text in triggers {
            let trigger = Some((base.clone(), text.clone()));
            let instruction =
                parse_trigger(&text).map_err(|error| locate(error.into(), trigger.as_ref(), span))?;
            instruction::check_trigger(&instruction, '\\')
                .map_err(|error| locate(error, trigger.as_ref(), span))?;
            effective.push(Effective { instruction, trigger });
        }
        let own = stage.instructions.iter().cloned();
        effective.extend(own.map(|instruction| Effective {
            instruction,
            trigger: None,
        }));
        Ok(effective)
    }

    /// The stages and images that a stage needs directly.
    pub(super) fn needs(&self, stage: &Stage, input: &PlanInput) -> Result<Vec<Source>, PlanError> {
        let mut needs = match &stage.base {
            Base::Scratch => Vec::new(),
            Base::Stage(index) => vec![Source::Stage(*index)],
            Base::Image(op) => vec![Source::Image(op.clone())],
        };
        for effective in self.effective(stage, input)? {
            for source in instruction::sources(&effective.instruction)? {
                let source = self.named_source(&source, stage.index, input);
                needs.push(source.map_err(|error| effective.locate(error, stage.from.arguments_span()))?);
            }
        }
        Ok(needs)
    }

    /// The stages that `target` needs, itself included, in order, and the images that they need.
    pub(super) fn reachable(
        &self,
        target: usize,
        input: &PlanInput,
    ) -> Result<(BTreeSet<usize>, BTreeSet<ImageOp>), PlanError> {
        let mut stages = BTreeSet::new();
        let mut images = BTreeSet::new();
        let mut queue = vec![target];
        while let Some(index) = queue.pop() {
            if !stages.insert(index) {
                continue;
            }
            for need in self.needs(&self.stages[index], input)? {
                match need {
                    Source::Stage(index) => queue.push(index),
                    Source::Image(op) => drop(images.insert(op)),
                    Source::Scratch | Source::Context(_) => {}
                }
            }
        }
        Ok((stages, images))
    }

    /// A stage may only name earlier ones, so a ring shows as a later one; it deserves a better message.
    fn refuse_cycles(&self, input: &PlanInput) -> Result<(), PlanError> {
        let mut edges: Vec<Vec<(usize, Span)>> = vec![Vec::new(); self.stages.len()];
        for stage in &self.stages {
            if let Base::Stage(index) = stage.base {
                edges[stage.index].push((index, stage.from.arguments_span()));
            }
            for source in stage
                .instructions
                .iter()
                .map(instruction::sources)
                .collect::<Result<Vec<_>, _>>()?
                .concat()
            {
                let lower = source.name.to_lowercase();
                let named = |stages: &[Stage]| {
                    stages
                        .iter()
                        .rposition(|stage| stage.name.as_ref() == Some(&lower))
                };
                if input.contexts.contains_key(&source.name) {
                    continue;
                }
                let earlier = named(&self.stages[..stage.index]);
                edges[stage.index].extend(
                    earlier
                        .or_else(|| named(&self.stages))
                        .map(|index| (index, source.span)),
                );
            }
        }
        // Every ring has an edge to a later stage or itself: look for a way back from there.
        for (from, edge) in edges.iter().enumerate() {
            for (to, span) in edge.iter().filter(|(to, _)| *to >= from) {
                if let Some(way) = self.way(&edges, *to, from) {
                    let stages = std::iter::once(from)
                        .chain(way)
                        .map(|index| self.stages[index].label())
                        .collect();
                    return Err(PlanErrorKind::Circular { stages }.at(*span));
                }
            }
        }
        Ok(())
    }

    /// The stages from `from` to `to`, both included, along edges.
    fn way(&self, edges: &[Vec<(usize, Span)>], from: usize, to: usize) -> Option<Vec<usize>> {
        let mut previous = vec![None; self.stages.len()];
        let mut queue = vec![from];
        let mut seen = BTreeSet::from([from]);
        while let Some(index) = queue.pop() {
            if index == to {
                let mut way = vec![to];
                while let Some(index) = way
                    .last()
                    .and_then(|last| if *last == from { None } else { previous[*last] })
                {
                    way.push(index);
                }
                way.reverse();
                return Some(way);
            }
            for (next, _) in &edges[index] {
                if seen.insert(*next) {
                    previous[*next] = Some(index);
                    queue.push(*next);
                }
            }
        }
        None
    }
}

impl Stage {
    /// The name, or `stage-N`.
    pub(super) fn label(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| format!("stage-{}", self.index))
    }

    fn triggers(&self) -> Vec<String> {
        self.instructions
            .iter()
            .filter(|instruction| instruction.name() == "ONBUILD")
            .filter_map(|instruction| Some(instruction.nested().ok()?.trigger()))
            .collect()
    }
}

fn parse_platform(text: &str, span: Span) -> Result<Platform, PlanError> {
    Platform::parse(text).map_err(|error| PlanErrorKind::Platform(error).at(span))
}

/// The ARGs that are there without being declared: reference, "Automatic platform ARGs in the global scope".
pub(super) fn automatic(input: &PlanInput) -> Variables {
    let mut variables = Variables::default();
    for (prefix, platform) in [("BUILD", &input.build_platform), ("TARGET", &input.platform)] {
        variables.set(&format!("{prefix}PLATFORM"), platform.to_string());
        variables.set(&format!("{prefix}OS"), platform.os.clone());
        variables.set(&format!("{prefix}ARCH"), platform.architecture.clone());
        variables.set(&format!("{prefix}VARIANT"), platform.variant.clone());
    }
    let names: Vec<String> = variables.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        if let Some(value) = input.build_arg(&name) {
            variables.set(&name, value.to_owned());
        }
    }
    variables
}
