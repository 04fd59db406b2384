//! Images in and out: `import`, `load`, `save`, the outputs of a build.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use crate::engine::Engine;
use crate::engine::build::{parse_name, platform};
use crate::engine::call::{Call, FileSlot};
use crate::engine::changes;
use crate::engine::error::EngineError;
use crate::engine::outcome::{BuiltImage, Outcome};
use crate::engine::request::{ImportRequest, OutputRequest};
use crate::export::{self, Item, Output, Target};
use crate::images::{self, Image, Input};
use crate::oci::config::RunConfig;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;

impl Engine {
    /// Makes an image of a root filesystem's tar.
    pub(super) fn import(&self, request: &ImportRequest, call: &Call) -> Result<Outcome, EngineError> {
        let name = parse_name(&request.name)?;
        let platform = platform(request.platform.as_deref())?;
        let config = changes::apply(RunConfig::default(), &request.changes)?;
        let input = File::from(call.take_file(request.input)?);
        let _lease = self.rocks.lease();
        let image = images::import(
            &self.images,
            Interruptible::new(input, call),
            &name,
            config,
            &platform,
            &request.source,
        )?;
        Ok(Outcome::Built(BuiltImage {
            id: image.id.to_string(),
            names: vec![name.familiar()],
        }))
    }

    /// Reads images from an archive or a layout; their names, or the ids of those without.
    pub(super) fn load(&self, slot: FileSlot, call: &Call) -> Result<Outcome, EngineError> {
        let file = File::from(call.take_file(slot)?);
        let kind = file.metadata().map_err(failed)?.file_type();
        let _lease = self.rocks.lease();
        let loaded = if kind.is_dir() {
            // `file` lives on while the path through its descriptor is used.
            let input = Input::Directory(through(&file));
            images::load(&self.images, input, &Platform::host())?
        } else if kind.is_file() {
            images::load(
                &self.images,
                Input::File(file, PathBuf::from("the archive")),
                &Platform::host(),
            )?
        } else {
            images::load(&self.images, Input::Stream(Box::new(file)), &Platform::host())?
        };
        let names = loaded.iter().flat_map(|loaded| match &loaded.names[..] {
            [] => vec![loaded.image.id.to_string()],
            names => names.iter().map(Reference::familiar).collect(),
        });
        Ok(Outcome::Names(names.collect()))
    }

    /// Writes images to an archive, each with the names it was asked for by.
    pub(super) fn save(
        &self,
        names: &[String],
        slot: FileSlot,
        format: &str,
        call: &Call,
    ) -> Result<Outcome, EngineError> {
        let mut items: Vec<Item> = Vec::new();
        for name in names {
            let image = self.images.find(name)?;
            let by_name = Reference::parse(name)
                .ok()
                .filter(|name| self.images.get(name).is_ok_and(|found| found.is_some()));
            match items.iter_mut().find(|item| item.image.id == image.id) {
                Some(item) => item.names.extend(by_name),
                None => items.push(Item {
                    image,
                    names: by_name.into_iter().collect(),
                }),
            }
        }
        let output = Output::new(format, &[("dest", "-")])?;
        let mut file = File::from(call.take_file(slot)?);
        export::export(
            &self.store,
            &items,
            &output,
            Target::Stream(&mut Interruptible::new(&mut file, call)),
        )?;
        Ok(Outcome::Done)
    }

    /// Writes one output of a build.
    pub(super) fn export(
        &self,
        request: &OutputRequest,
        image: &Image,
        names: &[Reference],
        call: &Call,
    ) -> Result<(), EngineError> {
        let output = Output::parse(&request.output)?;
        let items = [Item {
            image: image.clone(),
            names: names.to_vec(),
        }];
        let mut file = File::from(call.take_file(request.destination)?);
        let directory = file.metadata().map_err(failed)?.is_dir();
        if directory {
            export::export(&self.store, &items, &output, Target::Path(through(&file)))?;
        } else {
            export::export(
                &self.store,
                &items,
                &output,
                Target::Stream(&mut Interruptible::new(&mut file, call)),
            )?;
        }
        Ok(())
    }
}

/// A path to what a descriptor is open on.
fn through(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn failed(source: io::Error) -> EngineError {
    EngineError::Io {
        doing: "looking at the caller's file",
        source,
    }
}

/// A stream that fails once its caller cancelled or went away.
struct Interruptible<'a, F> {
    file: F,
    call: &'a Call,
}

impl<'a, F> Interruptible<'a, F> {
    fn new(file: F, call: &'a Call) -> Self {
        Self { file, call }
    }

    fn check(&self) -> io::Result<()> {
        if self.call.is_cancelled() {
            Err(io::Error::other("interrupted"))
        } else {
            Ok(())
        }
    }
}

impl<F: io::Read> io::Read for Interruptible<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.file.read(buffer)
    }
}

impl<F: io::Write> io::Write for Interruptible<'_, F> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.file.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
