//! `silt run`: a command in a new container, with the caller's terminal, pipes and signals.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, ValueEnum};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::cli::build::NetworkArg;
use crate::cli::session::{Session, checked, unexpected};
use crate::cli::terminal::Relay;
use crate::cli::{CommandResult, printer, values};
use crate::engine::call::{Control, FileSlot, Message};
use crate::engine::outcome::{Failure, Outcome, STATUS_ERROR};
use crate::engine::request::{PullPolicy, Request, RunRequest, Volume};

/// Run a command in a new container
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Image, any of its steps (`NAME@3`), or the failed step of a build (`NAME@failed`)
    image: String,
    /// Command and arguments [default: the image's]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    #[command(flatten)]
    process: ProcessArgs,
    /// Run in the background and print the container's id
    #[arg(short, long, conflicts_with = "interactive")]
    detach: bool,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// Name of the container
    #[arg(long)]
    name: Option<String>,
    /// Replace the image's entrypoint; an empty one clears it
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Directory or file of the host in the container; repeatable
    #[arg(short, long = "volume", value_name = "HOST:CONTAINER[:ro]", value_parser = values::volume)]
    volumes: Vec<Volume>,
    /// Fresh directory in memory; repeatable
    #[arg(long, value_name = "PATH[:size=BYTES]", value_parser = values::tmpfs)]
    tmpfs: Vec<(String, u64)>,
    /// Network of the container
    #[arg(
        long,
        visible_alias = "net",
        value_enum,
        default_value_t,
        value_name = "NETWORK"
    )]
    network: NetworkArg,
    /// Port of the container on the host: the same on both sides, as the host's network is shared; repeatable
    #[arg(short, long = "publish", value_name = "PORT:PORT", value_parser = values::publish)]
    publish: Vec<String>,
    /// Hostname of the container [default: its short id]
    #[arg(long)]
    hostname: Option<String>,
    /// Further line in /etc/hosts; repeatable
    #[arg(long = "add-host", value_name = "NAME:ADDRESS", value_parser = values::host)]
    add_hosts: Vec<(String, String)>,
    /// Label of the container; repeatable
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// Refuse writes to the container's root filesystem
    #[arg(long)]
    read_only: bool,
    /// Lift capability and system call restrictions
    #[arg(long)]
    privileged: bool,
    /// Run a minimal init that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// Signal that `stop` sends first [default: the image's, or SIGTERM]
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// When to ask a registry for the image
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pull: PullArg,
    /// File that gets the container's id
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
}

/// What `run` and `exec` have in common.
#[derive(Debug, Default, Args)]
pub(crate) struct ProcessArgs {
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Environment variable; without a value, this environment's; repeatable
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = values::key_value, action = ArgAction::Append)]
    pub(crate) env: Vec<(String, Option<String>)>,
    /// File of NAME=VALUE lines; repeatable
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<PathBuf>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User, `name|uid[:group|gid]`
    #[arg(short, long)]
    pub(crate) user: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum PullArg {
    /// When it is not in the store
    #[default]
    Missing,
    /// Every time
    Always,
    /// Not at all
    Never,
}

impl Run {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        for port in &self.publish {
            printer::note(&format!(
                "{port} needs no publishing: the container shares the host's network"
            ));
        }
        let streams = Streams::of(&self.process, self.detach)?;
        let cidfile = self.cidfile.clone();
        let (interactive, remove) = (self.process.interactive, self.rm);
        let mut files = Vec::new();
        let request = self.request(&streams, &mut files)?;
        let cidfile = cidfile.as_deref().map(CidFile::create).transpose()?;
        let mut on_start = |id: &str| cidfile.as_ref().map_or(Ok(()), |file| file.write(id));
        let outcome = attach(
            session,
            &Request::Run(Box::new(request)),
            &files,
            interactive,
            &mut on_start,
        );
        match outcome.map_err(container_failure)? {
            Outcome::Exited(status) => Ok(status as u8),
            Outcome::Started { container } => {
                on_start(&container)?;
                if !remove || !session.json() {
                    printer::line(&container);
                }
                Ok(0)
            }
            _ => Err(unexpected()),
        }
    }

    fn request(self, streams: &Streams, files: &mut Vec<OwnedFd>) -> Result<RunRequest, Failure> {
        let (stdin, output) = streams.slots(files)?;
        Ok(RunRequest {
            image: self.image,
            command: self.command,
            entrypoint: self
                .entrypoint
                .map(|text| if text.is_empty() { Vec::new() } else { vec![text] }),
            name: self.name,
            env: environment(&self.process)?,
            workdir: self.process.workdir,
            user: self.process.user,
            volumes: self.volumes,
            tmpfs: self.tmpfs,
            network: self.network.into(),
            hostname: self.hostname,
            add_hosts: self.add_hosts,
            labels: self.labels.into_iter().collect(),
            read_only: self.read_only,
            privileged: self.privileged,
            init: self.init,
            tty: self.process.tty,
            stop_signal: self.stop_signal,
            remove: self.rm,
            detach: self.detach,
            pull: match self.pull {
                PullArg::Missing => PullPolicy::Missing,
                PullArg::Always => PullPolicy::Always,
                PullArg::Never => PullPolicy::Never,
            },
            stdin,
            output,
        })
    }
}

/// The file of `--cidfile`, made before the container; without an id in it, it goes again.
struct CidFile<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> CidFile<'a> {
    fn create(path: &'a Path) -> Result<Self, Failure> {
        let failed = |error| Failure::error(format!("cannot create {}: {error}", path.display()));
        let file = File::create_new(path).map_err(failed)?;
        Ok(Self { path, file })
    }

    fn write(&self, id: &str) -> Result<(), Failure> {
        (&self.file)
            .write_all(id.as_bytes())
            .map_err(|error| Failure::error(format!("cannot write {}: {error}", self.path.display())))
    }
}

impl Drop for CidFile<'_> {
    fn drop(&mut self) {
        if self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            // What remains is an empty file.
            std::fs::remove_file(self.path).ok();
        }
    }
}

/// Failures before a container's process starts have Docker's status for them.
pub(crate) fn container_failure(failure: Failure) -> Failure {
    Failure {
        status: if failure.status == 1 {
            STATUS_ERROR
        } else {
            failure.status
        },
        ..failure
    }
}

/// Which of the caller's streams a container gets.
pub(crate) struct Streams {
    stdin: bool,
    output: bool,
}

impl Streams {
    /// As the flags say; a terminal that was asked for needs one on this side, if it is to be typed into.
    pub(crate) fn of(process: &ProcessArgs, detach: bool) -> Result<Self, Failure> {
        if process.tty && process.interactive && !detach && !io::stdin().is_terminal() {
            return Err(
                Failure::refused("-it: standard input is not a terminal".to_owned()).hint("leave -t out"),
            );
        }
        Ok(Self {
            // Keys reach a terminal through its master.
            stdin: process.interactive && !process.tty && !detach,
            output: !detach,
        })
    }

    /// The descriptors, and their places in the request.
    #[expect(clippy::type_complexity, reason = "the two fields of a request")]
    pub(crate) fn slots(
        &self,
        files: &mut Vec<OwnedFd>,
    ) -> Result<(Option<FileSlot>, Option<(FileSlot, FileSlot)>), Failure> {
        let mut push = |file: io::Result<OwnedFd>| -> Result<FileSlot, Failure> {
            files.push(file.map_err(|error| Failure::error(format!("standard streams: {error}")))?);
            Ok(FileSlot(files.len() - 1))
        };
        let stdin = self.stdin.then(|| push(input())).transpose()?;
        let output = if self.output {
            Some((
                push(io::stdout().as_fd().try_clone_to_owned())?,
                push(io::stderr().as_fd().try_clone_to_owned())?,
            ))
        } else {
            None
        };
        Ok((stdin, output))
    }
}

/// Standard input for a container: itself, or a pipe fed from it when it is a terminal, which no container gets hold of.
fn input() -> io::Result<OwnedFd> {
    if !io::stdin().is_terminal() {
        return io::stdin().as_fd().try_clone_to_owned();
    }
    let (reader, mut writer) = io::pipe()?;
    // Ends with the process: a read of the user's terminal cannot be called back.
    std::thread::spawn(move || io::copy(&mut io::stdin().lock(), &mut writer));
    Ok(reader.into())
}

/// The variables of `-e` and `--env-file` that have a value; flags come last and win.
pub(crate) fn environment(process: &ProcessArgs) -> Result<Vec<String>, Failure> {
    let mut env = Vec::new();
    for path in &process.env_files {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::refused(format!("cannot read {}: {error}", path.display())))?;
        let lines = text
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            let (key, value) = values::key_value(line)
                .map_err(|error| Failure::refused(format!("{}: {error}", path.display())))?;
            env.extend(value.map(|value| format!("{key}={value}")));
        }
    }
    env.extend(
        process
            .env
            .iter()
            .filter_map(|(key, value)| Some(format!("{key}={}", value.as_ref()?))),
    );
    Ok(env)
}

/// Performs a request whose process has the caller's streams and signals.
pub(crate) fn attach(
    session: &Session,
    request: &Request,
    files: &[OwnedFd],
    interactive: bool,
    on_start: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<Outcome, Failure> {
    let client = session.connect()?;
    let controller = client.controller();
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2])
        .map_err(|error| Failure::error(format!("signals: {error}")))?;
    let handle = signals.handle();
    let forwarding = std::thread::spawn(move || {
        let mut asked = 0;
        for signal in signals.forever() {
            asked += u32::from(matches!(signal, SIGINT | SIGTERM));
            // The kernel drops what process 1 does not handle: who asks three times means it.
            let control = if asked < 3 {
                Control::Signal(signal)
            } else {
                Control::Cancel
            };
            controller.say(control);
        }
    });
    let mut relay = None;
    let mut failed = None;
    let progress = crate::progress::render(crate::progress::Kind::Plain, Box::new(io::stderr()));
    let outcome = client.call(request, files, &mut |message, mut received| match message {
        Message::Started { container } => {
            if let Err(failure) = on_start(&container) {
                failed = Some(failure);
            }
            if let Some(master) = received.pop() {
                match Relay::start(master, interactive) {
                    Ok(started) => relay = Some(started),
                    Err(error) => failed = Some(Failure::error(format!("the terminal: {error}"))),
                }
            }
        }
        Message::Event(event) => progress.event(event),
        Message::Changes(_) => {}
    });
    drop(relay);
    handle.close();
    // It only waits for signals, which it now no longer does.
    forwarding.join().ok();
    let outcome = checked(outcome?)?;
    failed.map_or(Ok(outcome), Err)
}
