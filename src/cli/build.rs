//! `silt build`: reads the Dockerfile and the ignore file, opens the context and the outputs, shows progress.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::cli::output::Destination;
use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer, values};
use crate::engine::call::{FileSlot, Message};
use crate::engine::outcome::{BuiltImage, Failure, Outcome};
use crate::engine::request::{BuildRequest, OutputRequest, Request};
use crate::export::Output;
use crate::plan::Network;

/// Build an image from a Dockerfile
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Directory whose files COPY and ADD can use; `-` reads the Dockerfile from standard input and has no files
    #[arg(default_value = ".", value_name = "CONTEXT")]
    context: PathBuf,
    /// Name of the image, `name:tag`; repeatable
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<String>,
    /// The Dockerfile, or `-` for standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Value of an ARG; without a value, the environment's; repeatable
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]", value_parser = values::key_value)]
    build_args: Vec<(String, Option<String>)>,
    /// Stage to build [default: the last]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Label of the image; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// Run every step anew
    #[arg(long)]
    no_cache: bool,
    /// Ask the registry for newer base images
    #[arg(long)]
    pull: bool,
    /// Platform of the image, `os/arch[/variant]` [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Network of RUN steps
    #[arg(long, value_enum, default_value_t, value_name = "NETWORK")]
    network: NetworkArg,
    /// Further line in the steps' /etc/hosts; repeatable
    #[arg(long = "add-host", value_name = "NAME:ADDRESS", value_parser = values::host)]
    add_hosts: Vec<(String, String)>,
    /// Write the result elsewhere, too: `type=oci|docker|tar,dest=FILE`, `type=local,dest=DIR`, or a directory; repeatable
    #[arg(short, long = "output", value_name = "OUTPUT", value_parser = parse_output)]
    outputs: Vec<(String, Output)>,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    progress: ProgressArg,
    /// Print the image's id and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// File that gets the image's id
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// How steps' filesystems are made and committed [default: the configured one, fuse]
    #[arg(long, value_name = "STRATEGY")]
    snapshotter: Option<String>,
}

/// A network, as `--network` names it.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum NetworkArg {
    /// The host's
    #[default]
    #[value(alias = "default")]
    Host,
    /// Loopback only
    None,
}

impl From<NetworkArg> for Network {
    fn from(network: NetworkArg) -> Self {
        match network {
            NetworkArg::Host => Self::Host,
            NetworkArg::None => Self::None,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum ProgressArg {
    /// `tty` on a terminal, otherwise `plain`
    #[default]
    Auto,
    /// Lines
    Plain,
    /// A live picture
    Tty,
    /// One JSON object a line
    Json,
    /// Nothing
    Quiet,
}

impl Build {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let mut files = Vec::new();
        let sources = self.sources()?;
        let context = sources.context.map(|context| {
            files.push(context);
            FileSlot(files.len() - 1)
        });
        let (outputs, destinations) = self.outputs(&mut files)?;
        let request = BuildRequest {
            dockerfile: sources.dockerfile,
            dockerfile_name: sources.dockerfile_name,
            context,
            ignore: sources.ignore,
            tags: self.tags.clone(),
            build_args: given(&self.build_args),
            labels: self.labels.iter().cloned().collect(),
            target: self.target.clone(),
            platform: self.platform.clone(),
            no_cache: self.no_cache,
            pull: self.pull,
            network: self.network.into(),
            add_hosts: self.add_hosts.clone(),
            outputs,
            snapshotter: self.snapshotter.clone(),
            source_date_epoch: source_date_epoch()?,
        };
        let sink = self.progress();
        let request = Request::Build(Box::new(request));
        let outcome = session.work(&request, &files, &mut |message, _| {
            if let Message::Event(event) = message {
                sink.event(event);
            }
        });
        drop(sink);
        let Outcome::Built(image) = outcome? else {
            return Err(unexpected());
        };
        for destination in destinations {
            destination.keep()?;
        }
        self.report(session, &image)
    }

    fn report(&self, session: &Session, image: &BuiltImage) -> CommandResult {
        if let Some(path) = &self.iidfile {
            fs::write(path, &image.id)
                .map_err(|error| Failure::refused(format!("cannot write {}: {error}", path.display())))?;
        }
        if session.json() {
            printer::json(image);
        } else if self.quiet {
            printer::line(&image.id);
        } else if self.progress != ProgressArg::Json {
            let names = if image.names.is_empty() {
                String::new()
            } else {
                format!(" as {}", image.names.join(", "))
            };
            printer::note(&format!("built {}{names}", printer::short_id(&image.id)));
        }
        Ok(0)
    }

    fn progress(&self) -> Box<dyn crate::progress::Sink> {
        use crate::progress::{Kind, render};
        let kind = match self.progress {
            _ if self.quiet => Kind::Quiet,
            ProgressArg::Auto if io::stderr().is_terminal() => Kind::Tty,
            ProgressArg::Auto | ProgressArg::Plain => Kind::Plain,
            ProgressArg::Tty => Kind::Tty,
            ProgressArg::Json => Kind::Json,
            ProgressArg::Quiet => Kind::Quiet,
        };
        render(kind, Box::new(io::stderr()))
    }

    fn sources(&self) -> Result<Sources, Failure> {
        if self.context == Path::new("-") {
            let dockerfile = match &self.file {
                None => read_stdin()?,
                Some(_) => {
                    return Err(Failure::usage("the context `-` is a Dockerfile on standard input: -f names another".to_owned())
                        .hint("a tar archive on standard input is not a context yet; unpack it and name the directory"));
                }
            };
            return Ok(Sources {
                dockerfile,
                dockerfile_name: "Dockerfile".to_owned(),
                ignore: None,
                context: None,
            });
        }
        let context = open_context(&self.context)?;
        let (dockerfile, path) = match &self.file {
            Some(path) if path == Path::new("-") => (read_stdin()?, None),
            Some(path) => (read_dockerfile(path)?, Some(path.clone())),
            None => {
                let path = self.context.join("Dockerfile");
                (read_dockerfile(&path)?, Some(path))
            }
        };
        Ok(Sources {
            dockerfile,
            dockerfile_name: path
                .as_deref()
                .map_or_else(|| "Dockerfile".to_owned(), |path| path.display().to_string()),
            ignore: read_ignore(&self.context, path.as_deref())?,
            context: Some(context),
        })
    }

    /// The outputs as the engine wants them, their descriptors, and what is to be kept on success.
    fn outputs(&self, files: &mut Vec<OwnedFd>) -> Result<(Vec<OutputRequest>, Vec<Destination>), Failure> {
        let mut outputs = Vec::new();
        let mut destinations = Vec::new();
        for (text, output) in &self.outputs {
            let path = Path::new(output.dest());
            let opened = if output.is_directory() {
                Destination::directory(path)
            } else {
                Destination::file(path)
            };
            let (destination, file) = opened?;
            destinations.push(destination);
            files.push(file);
            outputs.push(OutputRequest {
                output: text.clone(),
                destination: FileSlot(files.len() - 1),
            });
        }
        Ok((outputs, destinations))
    }
}

struct Sources {
    dockerfile: String,
    dockerfile_name: String,
    ignore: Option<String>,
    context: Option<OwnedFd>,
}

/// Build arguments that have a value.
fn given(arguments: &[(String, Option<String>)]) -> BTreeMap<String, String> {
    arguments
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
        .collect()
}

/// An output as written and as understood.
fn parse_output(text: &str) -> Result<(String, Output), String> {
    let output = Output::parse(text).map_err(|error| error.to_string())?;
    Ok((text.to_owned(), output))
}

fn open_context(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|error| {
        let failure = Failure::refused(format!("context {}: {error}", path.display()));
        let remote = path.to_str().is_some_and(|path| {
            path.contains("://") || path.starts_with("git@") || path.starts_with("github.com/")
        });
        if remote {
            failure.hint(
                "a context is a local directory: fetch the repository or archive and name its directory",
            )
        } else if error == nix::Error::ENOTDIR {
            failure.hint("the context is a directory; name the Dockerfile with -f")
        } else {
            failure
        }
    })
}

/// A Dockerfile is shorter; a device or an archive given by mistake is not read whole.
const LONGEST_DOCKERFILE: u64 = 16 << 20;

fn read_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(LONGEST_DOCKERFILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::refused(format!("standard input: {error}")))?;
    text(bytes).map_err(|problem| {
        Failure::refused(format!("standard input is no Dockerfile: {problem}"))
            .hint("a tar archive on standard input is not a context yet; unpack it and name the directory")
    })
}

/// The bytes as text, or why they are no Dockerfile.
fn text(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() as u64 > LONGEST_DOCKERFILE {
        return Err(format!("it is longer than {} MiB", LONGEST_DOCKERFILE >> 20));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|byte| *byte == b'\n').count();
        format!("line {line} is not UTF-8 text")
    })?;
    match text.find('\0') {
        Some(_) => Err("it is not text, it holds NUL bytes".to_owned()),
        None => Ok(text),
    }
}

fn read_dockerfile(path: &Path) -> Result<String, Failure> {
    let read = fs::File::open(path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(LONGEST_DOCKERFILE + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let bytes = read.map_err(|error| {
        let failure = Failure::refused(format!("cannot read the Dockerfile {}: {error}", path.display()));
        if error.kind() == io::ErrorKind::NotFound {
            failure.hint("name it with -f FILE, or name the directory it is in")
        } else {
            failure
        }
    })?;
    text(bytes).map_err(|problem| Failure::refused(format!("{} is no Dockerfile: {problem}", path.display())))
}

/// `<Dockerfile>.dockerignore` beside the Dockerfile, otherwise `.dockerignore` in the context.
fn read_ignore(context: &Path, dockerfile: Option<&Path>) -> Result<Option<String>, Failure> {
    let own = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in own.into_iter().chain([context.join(".dockerignore")]) {
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Failure::refused(format!(
                    "cannot read {}: {error}",
                    path.display()
                )));
            }
        }
    }
    Ok(None)
}

fn source_date_epoch() -> Result<Option<i64>, Failure> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) if !text.is_empty() => text
            .parse()
            .map(Some)
            .map_err(|_| Failure::usage(format!("SOURCE_DATE_EPOCH: `{text}` is not a number of seconds"))),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_no_dockerfile() {
        assert_eq!(text(b"FROM a\n".to_vec()).as_deref(), Ok("FROM a\n"));
        assert_eq!(
            text(b"FROM a\nLABEL a=\xe4\n".to_vec()).unwrap_err(),
            "line 2 is not UTF-8 text"
        );
        assert!(text(b"./\0\0ustar".to_vec()).unwrap_err().contains("NUL"));
    }

    #[test]
    fn a_dockerfiles_own_ignore_file_comes_first() {
        let dir = tempfile::tempdir().unwrap();
        let dockerfile = dir.path().join("special");
        assert_eq!(read_ignore(dir.path(), Some(&dockerfile)).unwrap(), None);
        fs::write(dir.path().join(".dockerignore"), "common").unwrap();
        assert_eq!(
            read_ignore(dir.path(), Some(&dockerfile)).unwrap().as_deref(),
            Some("common")
        );
        fs::write(dir.path().join("special.dockerignore"), "own").unwrap();
        assert_eq!(
            read_ignore(dir.path(), Some(&dockerfile)).unwrap().as_deref(),
            Some("own")
        );
    }
}
