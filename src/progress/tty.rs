//! A live display: running steps with the tails of their output, cached ones folded into a count, bars for other work.
//!
//! indicatif draws; this file decides what is shown. Steps that ended scroll away above the live part.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use super::text::{LineBuffer, amount, seconds};
use super::{Event, Sink};
use crate::plan::VertexId;

/// Lines of a running step's output that are shown.
const TAIL: usize = 5;

/// Lines of a failed step's output that stay.
const KEPT: usize = 30;

/// Time between two turns of a spinner.
const TICK: Duration = Duration::from_millis(120);

/// Pictures a second at most: a step may write thousands of lines a second.
const RATE: u8 = 20;

/// See the module.
pub(super) struct Tty {
    state: Mutex<State>,
}

struct State {
    display: MultiProgress,
    header: ProgressBar,
    colour: bool,
    start: Instant,
    names: Vec<String>,
    done: usize,
    /// Cached since the last line that was printed.
    cached: Vec<usize>,
    running: HashMap<usize, Running>,
    work: HashMap<String, ProgressBar>,
    lines: LineBuffer,
}

struct Running {
    bar: ProgressBar,
    tail: Vec<ProgressBar>,
    kept: VecDeque<String>,
}

#[derive(Clone, Copy)]
enum Style {
    Done,
    Error,
    Warning,
    Dim,
}

impl Tty {
    pub(super) fn new(writer: Box<dyn Write + Send>, colour: bool) -> Self {
        let screen = Screen {
            writer: Arc::new(Mutex::new(writer)),
        };
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen), RATE);
        let display = MultiProgress::with_draw_target(target);
        let header = display.add(ProgressBar::new_spinner());
        header.set_style(template("{spinner} building {elapsed} {msg}"));
        header.enable_steady_tick(TICK);
        Self {
            state: Mutex::new(State {
                display,
                header,
                colour,
                start: Instant::now(),
                names: Vec::new(),
                done: 0,
                cached: Vec::new(),
                running: HashMap::new(),
                work: HashMap::new(),
                lines: LineBuffer::default(),
            }),
        }
    }
}

impl Sink for Tty {
    fn event(&self, event: Event) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .event(event);
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).close();
    }
}

impl State {
    fn event(&mut self, event: Event) {
        match event {
            Event::Planned { vertices } => self.names = vertices,
            Event::Started { vertex } => self.begin(vertex),
            Event::Output { vertex, stream, text } => {
                for line in self.lines.push(vertex, stream, &text) {
                    self.output(vertex, line);
                }
            }
            Event::Cached { vertex } => {
                self.end(vertex);
                self.cached.push(vertex.0);
            }
            Event::Finished { vertex, duration } => {
                self.end(vertex);
                let line = format!("{} {}", self.name(vertex.0), seconds(duration));
                self.print(Style::Done, "✓", &line);
            }
            Event::Failed {
                vertex,
                duration,
                message,
            } => {
                let kept = self.end(vertex);
                let line = format!("{} {} ERROR: {message}", self.name(vertex.0), seconds(duration));
                self.print(Style::Error, "✗", &line);
                for line in kept {
                    self.print(Style::Dim, " ", &line);
                }
            }
            Event::Work {
                what,
                done,
                total,
                unit,
                finished,
            } => self.work(&what, done, total, &unit, finished),
            Event::Warning { message } => self.print(Style::Warning, "!", &message),
        }
        let total = self.names.len();
        if total > 0 {
            self.header
                .set_message(format!("({}/{total})", self.done.min(total)));
        }
    }

    fn name(&self, vertex: usize) -> String {
        self.names
            .get(vertex)
            .cloned()
            .unwrap_or_else(|| format!("step {vertex}"))
    }

    fn begin(&mut self, vertex: VertexId) {
        if self.running.contains_key(&vertex.0) {
            return;
        }
        let bar = self
            .display
            .insert_before(&self.header, ProgressBar::new_spinner());
        bar.set_style(template("{spinner} {wide_msg} {elapsed:>5}"));
        bar.set_message(printable(&self.name(vertex.0)));
        bar.enable_steady_tick(TICK);
        self.running.insert(
            vertex.0,
            Running {
                bar,
                tail: Vec::new(),
                kept: VecDeque::new(),
            },
        );
    }

    fn output(&mut self, vertex: VertexId, line: String) {
        self.begin(vertex);
        let Some(running) = self.running.get_mut(&vertex.0) else {
            return;
        };
        running.kept.push_back(line);
        if running.kept.len() > KEPT {
            running.kept.pop_front();
        }
        if running.tail.len() < TAIL.min(running.kept.len()) {
            let last = running.tail.last().unwrap_or(&running.bar);
            let bar = self.display.insert_after(last, ProgressBar::no_length());
            bar.set_style(template(if self.colour {
                "  {wide_msg:.dim}"
            } else {
                "  {wide_msg}"
            }));
            running.tail.push(bar);
        }
        let first = running.kept.len() - running.tail.len();
        for (bar, line) in running.tail.iter().zip(running.kept.iter().skip(first)) {
            bar.set_message(printable(line));
        }
    }

    /// Takes a vertex off the live part; what it wrote last is returned.
    fn end(&mut self, vertex: VertexId) -> VecDeque<String> {
        for line in self.lines.finish(vertex) {
            self.output(vertex, line);
        }
        self.done += 1;
        let Some(running) = self.running.remove(&vertex.0) else {
            return VecDeque::new();
        };
        for bar in running.tail.iter().chain([&running.bar]) {
            bar.finish_and_clear();
            self.display.remove(bar);
        }
        running.kept
    }

    fn work(&mut self, what: &str, done: u64, total: Option<u64>, unit: &str, finished: bool) {
        let style = template(match (total.is_some(), unit == "bytes") {
            (true, true) => "{spinner} {msg} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec} {elapsed:>5}",
            (true, false) => "{spinner} {msg} [{bar:24}] {human_pos}/{human_len} {per_sec} {elapsed:>5}",
            (false, true) => "{spinner} {msg} {bytes} {bytes_per_sec} {elapsed:>5}",
            (false, false) => "{spinner} {msg} {human_pos} {per_sec} {elapsed:>5}",
        });
        let bar = self.work.entry(what.to_owned()).or_insert_with(|| {
            let bar = ProgressBar::no_length()
                .with_style(style.clone())
                .with_message(printable(what));
            let bar = self.display.insert_before(&self.header, bar);
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_style(style);
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(done);
        if finished && let Some(bar) = self.work.remove(what) {
            let line = format!("{what} {} {}", amount(done, unit), seconds(bar.elapsed()));
            bar.finish_and_clear();
            self.display.remove(&bar);
            self.print(Style::Done, "✓", &line);
        }
    }

    /// Prints a line above the live part, after what was folded before it.
    fn print(&mut self, style: Style, mark: &str, line: &str) {
        let cached = std::mem::take(&mut self.cached);
        if !cached.is_empty() {
            let steps = if cached.len() == 1 { "step" } else { "steps" };
            let last = cached.last().map(|vertex| self.name(*vertex)).unwrap_or_default();
            let folded = format!("{} {steps} cached, the last {last}", cached.len());
            self.line(Style::Dim, "≡", &folded);
        }
        self.line(style, mark, line);
    }

    fn line(&self, style: Style, mark: &str, line: &str) {
        let line = printable(line);
        let text = match (self.colour, style) {
            (false, _) => format!("{mark} {line}"),
            (true, Style::Done) => format!("\u{1b}[32m{mark}\u{1b}[0m {line}"),
            (true, Style::Error) => format!("\u{1b}[31m{mark} {line}\u{1b}[0m"),
            (true, Style::Warning) => format!("\u{1b}[33m{mark}\u{1b}[0m {line}"),
            (true, Style::Dim) => format!("\u{1b}[2m{mark} {line}\u{1b}[0m"),
        };
        // A terminal that went away is no reason to stop a build.
        drop(self.display.println(text));
    }

    fn close(&mut self) {
        if !self.cached.is_empty() {
            let elapsed = seconds(self.start.elapsed());
            self.print(Style::Done, "✓", &format!("{} steps {elapsed}", self.done));
        }
        for running in self.running.values() {
            running
                .tail
                .iter()
                .chain([&running.bar])
                .for_each(ProgressBar::finish_and_clear);
        }
        self.work.values().for_each(ProgressBar::finish_and_clear);
        self.header.finish_and_clear();
        drop(self.display.clear());
    }
}

fn template(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .with_key(
            "elapsed",
            |state: &indicatif::ProgressState, out: &mut dyn fmt::Write| {
                let _ = out.write_str(&seconds(state.elapsed()));
            },
        )
        .progress_chars("=> ")
}

/// A step's output may not move the cursor: control characters and escape sequences are taken out.
fn printable(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                // A control sequence ends with its first byte from @ to ~.
                chars.find(|c| ('@'..='~').contains(c));
            }
            '\t' => out.push_str("    "),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// indicatif's terminal on our writer.
struct Screen {
    writer: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Screen {
    fn put(&self, text: &str) -> io::Result<()> {
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(text.as_bytes())
    }

    fn size() -> (u16, u16) {
        terminal_size::terminal_size_of(io::stderr()).map_or((80, 24), |(width, height)| (width.0, height.0))
    }

    fn step(&self, n: usize, direction: char) -> io::Result<()> {
        if n == 0 {
            Ok(())
        } else {
            self.put(&format!("\u{1b}[{n}{direction}"))
        }
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        Self::size().0.max(20)
    }

    fn height(&self) -> u16 {
        Self::size().1.max(4)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.step(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.step(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.step(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.step(n, 'D')
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.put(&format!("{line}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}
