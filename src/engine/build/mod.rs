//! `build`: a Dockerfile becomes an image, tagged and exported.
//!
//! parse -> base images -> plan -> solve -> assemble -> name -> export. An image gets its names only when all of it is in the
//! store; outputs are written after that. A caller that goes away, or says so, cancels.

mod assemble;
mod excerpt;

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam::channel::bounded;
use crossbeam::select;
use silt_store::TreeRef;

use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::{self, Dockerfile};
use crate::engine::Engine;
use crate::engine::call::{Call, Control};
use crate::engine::error::EngineError;
use crate::engine::kept::{self, FailedStep};
use crate::engine::outcome::{BuiltImage, Outcome};
use crate::engine::request::BuildRequest;
use crate::engine::run::resolv_conf;
use crate::exec::{BaseTree, Performer, Surroundings};
use crate::images::Image;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::plan::{self, BaseImage, ImageOp, Op, Plan, PlanInput};
use crate::progress::{Event, Sink};
use crate::sandbox::Limits;
use crate::solve::{self, Built, Cancel, Failure, SolveError, Solver};
use crate::source::context::Context;

impl Engine {
    /// Builds an image.
    pub(super) fn build(&self, request: &BuildRequest, call: &Call) -> Result<Outcome, EngineError> {
        let names = parse_names(&request.tags)?;
        let cancel = Cancel::new();
        let sink = call.sink();
        cancelled_by_caller(call, &cancel, || {
            self.build_inner(request, &names, call, &sink, &cancel)
        })
    }

    fn build_inner(
        &self,
        request: &BuildRequest,
        names: &[Reference],
        call: &Call,
        sink: &Arc<dyn Sink>,
        cancel: &Cancel,
    ) -> Result<Outcome, EngineError> {
        // Nothing that this build puts or finds is collected while it is open.
        let lease = self.rocks.lease();
        let context = open_context(request, call)?;
        let dockerfile = dockerfile::parse(&request.dockerfile).map_err(|error| EngineError::Dockerfile {
            rendered: error.render(&request.dockerfile_name, &request.dockerfile),
        })?;
        let mut input = plan_input(request)?;
        let bases = self.resolve_bases(request, &dockerfile, &mut input, sink, cancel)?;
        let plan = plan::plan(&dockerfile, &input).map_err(|error| plan_error(request, &error))?;
        for name in plan::undeclared_args(&dockerfile, &input) {
            let message = format!("--build-arg {name} has no effect: no ARG declares it");
            sink.event(Event::Warning { message });
        }
        let built = self.solve(request, &plan, context, &bases, sink, cancel)?;
        let image = self.assemble(&plan, &built, &bases)?;
        lease.keep(built.result);
        self.finish(request, names, &plan, &image, call)
    }

    /// Finds every base image that the target needs, and tells the plan of their configs.
    fn resolve_bases(
        &self,
        request: &BuildRequest,
        dockerfile: &Dockerfile,
        input: &mut PlanInput,
        sink: &Arc<dyn Sink>,
        cancel: &Cancel,
    ) -> Result<HashMap<ImageOp, Image>, EngineError> {
        let wanted = plan::base_images(dockerfile, input).map_err(|error| plan_error(request, &error))?;
        let mut bases = HashMap::new();
        for op in wanted {
            let image = self.base_image(&op, request.pull, sink, cancel)?;
            let config = image.config.clone();
            input.bases.insert(op.clone(), BaseImage { config });
            bases.insert(op, image);
        }
        Ok(bases)
    }

    fn solve(
        &self,
        request: &BuildRequest,
        plan: &Plan,
        context: Option<Context>,
        bases: &HashMap<ImageOp, Image>,
        sink: &Arc<dyn Sink>,
        cancel: &Cancel,
    ) -> Result<Built, EngineError> {
        let snapshotter = request.snapshotter.as_ref().unwrap_or(&self.config.snapshotter);
        let bases = bases.iter().map(|(op, image)| {
            let id = image.id.to_string();
            (op.clone(), BaseTree { id, tree: image.root })
        });
        let performer = Performer::new(Surroundings {
            store: Arc::clone(&self.store),
            strategy: Arc::from(self.strategy(snapshotter)?),
            helper: self.helper()?,
            scratch: self.setup.scratch.clone(),
            contexts: context
                .map(|context| (String::new(), context))
                .into_iter()
                .collect(),
            bases: bases.collect(),
            proxy: plan.proxy.clone(),
            hostname: plan.hostname.clone(),
            limits: Limits::default(),
            resolv_conf: resolv_conf(),
        });
        let solver = Solver {
            store: &self.store,
            executor: &performer,
            sink: &**sink,
            cancel,
            flights: &self.flights,
            parallelism: NonZeroUsize::new(self.config.parallel_steps).unwrap_or(NonZeroUsize::MIN),
        };
        let outcome = solve::solve(plan, &solver);
        outcome.map_err(|error| self.build_error(request, plan, error))
    }

    /// The image, on the base image if there is one.
    fn assemble(
        &self,
        plan: &Plan,
        built: &Built,
        bases: &HashMap<ImageOp, Image>,
    ) -> Result<Image, EngineError> {
        let base = match plan.base.map(|vertex| &plan.vertices[vertex.0].op) {
            Some(Op::Image(op)) => bases.get(op),
            _ => None,
        };
        Ok(assemble::image(&self.store, plan, built, base)?)
    }

    fn finish(
        &self,
        request: &BuildRequest,
        names: &[Reference],
        plan: &Plan,
        image: &Image,
        call: &Call,
    ) -> Result<Outcome, EngineError> {
        let base = plan.base.map(|_| image.config.config.clone()).unwrap_or_default();
        kept::put_settings(&*self.store, &image.id.to_string(), &kept::settings(plan, &base))?;
        self.images.put(image, names)?;
        let familiar: Vec<_> = names.iter().map(Reference::familiar).collect();
        kept::forget_failed(&*self.store, &familiar)?;
        for output in &request.outputs {
            self.export(output, image, names, call)?;
        }
        Ok(Outcome::Built(BuiltImage {
            id: image.id.to_string(),
            names: familiar,
        }))
    }

    /// A failed solve as the user is told of it; the failed step's filesystem gets its names.
    fn build_error(&self, request: &BuildRequest, plan: &Plan, error: SolveError) -> EngineError {
        let (vertex, name, lines, failure) = match error {
            SolveError::Cancelled => return EngineError::Interrupted,
            SolveError::Vertex {
                vertex,
                name,
                lines,
                failure,
            } => (vertex, name, lines, failure),
            error => return EngineError::Solve(error),
        };
        let shown = excerpt::short(&name);
        let excerpt = lines.map_or_else(String::new, |lines| {
            excerpt::excerpt(&request.dockerfile_name, &request.dockerfile, lines)
        });
        let Failure::Command {
            reason, output, kept, ..
        } = failure
        else {
            return EngineError::Step {
                name: shown,
                excerpt,
                failure,
            };
        };
        let address =
            kept.and_then(|filesystem| self.keep_failed(request, plan, (vertex, &name), filesystem));
        EngineError::Command {
            name: shown,
            reason,
            detail: format!("{excerpt}{}", excerpt::tail(&output)),
            address,
        }
    }

    /// The address of a failed step's filesystem; `None` when it could not be kept, which the log tells.
    fn keep_failed(
        &self,
        request: &BuildRequest,
        plan: &Plan,
        (vertex, name): (plan::VertexId, &str),
        left: TreeRef,
    ) -> Option<String> {
        let names: Vec<_> = parse_names(&request.tags)
            .ok()?
            .iter()
            .map(Reference::familiar)
            .collect();
        let shown = request.tags.first().map_or("", String::as_str);
        let step = FailedStep {
            name: name.to_owned(),
            setting: kept::setting(plan, vertex).unwrap_or_default(),
            argv: match &plan.vertices[vertex.0].op {
                Op::Run(run) => run.argv.clone(),
                _ => Vec::new(),
            },
        };
        match kept::put_failed(&*self.store, &names, &step, left) {
            Ok(()) => Some(format!("{shown}@failed")),
            Err(error) => {
                tracing::warn!(%error, "a failed step's filesystem was not kept");
                None
            }
        }
    }
}

/// Runs `work`; meanwhile the caller's Ctrl-C, signals and disappearance cancel it.
pub(super) fn cancelled_by_caller<T>(call: &Call, cancel: &Cancel, work: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        let (done, over) = bounded::<()>(0);
        scope.spawn(move || {
            loop {
                select! {
                    recv(over) -> _ => return,
                    recv(call.controls()) -> control => match control {
                        Ok(Control::Cancel | Control::Signal(_) | Control::Gone) => {
                            call.cancel();
                            cancel.cancel();
                        }
                        Err(_) => {
                            // Nobody can say anything any more: wait for the work.
                            over.recv().ok();
                            return;
                        }
                    },
                }
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Names as the user gave them, checked before anything is done.
pub(super) fn parse_names(tags: &[String]) -> Result<Vec<Reference>, EngineError> {
    tags.iter().map(|tag| parse_name(tag)).collect()
}

/// One name for an image: a digest names content, so nothing can be called so.
pub(super) fn parse_name(text: &str) -> Result<Reference, EngineError> {
    let reference = Reference::parse(text)?;
    match reference.digest() {
        None => Ok(reference),
        Some(_) => Err(EngineError::DigestAsName {
            name: text.to_owned(),
        }),
    }
}

/// The platform asked for, or this machine's.
pub(super) fn platform(text: Option<&str>) -> Result<Platform, EngineError> {
    Ok(text.map_or_else(|| Ok(Platform::host()), str::parse)?)
}

fn plan_input(request: &BuildRequest) -> Result<PlanInput, EngineError> {
    let mut input = PlanInput::new(platform(request.platform.as_deref())?);
    input.build_args = request
        .build_args
        .iter()
        .map(|(key, value)| (key.clone(), Some(value.clone())))
        .collect();
    if let Some(seconds) = request.source_date_epoch {
        let value = Some(seconds.to_string());
        input
            .build_args
            .entry("SOURCE_DATE_EPOCH".to_owned())
            .or_insert(value);
    }
    input.target.clone_from(&request.target);
    input.no_cache = request.no_cache;
    input.labels.clone_from(&request.labels);
    input.network = request.network;
    input.add_hosts.clone_from(&request.add_hosts);
    Ok(input)
}

fn plan_error(request: &BuildRequest, error: &plan::PlanError) -> EngineError {
    EngineError::Dockerfile {
        rendered: error.render(&request.dockerfile_name, &request.dockerfile),
    }
}

fn open_context(request: &BuildRequest, call: &Call) -> Result<Option<Context>, EngineError> {
    let Some(slot) = request.context else {
        return Ok(None);
    };
    let directory: OwnedFd = call.take_file(slot)?;
    if !File::from(directory.try_clone().map_err(failed)?)
        .metadata()
        .map_err(failed)?
        .is_dir()
    {
        return Err(EngineError::Protocol {
            problem: "the context is no directory",
        });
    }
    let ignore = Ignore::parse(request.ignore.as_deref().unwrap_or_default())?;
    Ok(Some(Context::new(directory, ignore)))
}

fn failed(source: std::io::Error) -> EngineError {
    EngineError::Io {
        doing: "opening the context",
        source,
    }
}
