//! Pieces of text that renderers share: amounts, times, and output cut into lines.

use std::collections::HashMap;
use std::time::Duration;

use super::Stream;
use crate::plan::VertexId;

/// `1.2s`.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

/// `12.3MB`, `17 files`.
pub(super) fn amount(value: u64, unit: &str) -> String {
    if unit != "bytes" {
        return format!("{value} {unit}");
    }
    let units = ["kB", "MB", "GB", "TB", "PB"];
    if value < 1000 {
        return format!("{value}B");
    }
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mut scaled = value as f64 / 1000.0;
    let mut unit = 0;
    while scaled >= 999.95 && unit + 1 < units.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    format!("{scaled:.1}{}", units[unit])
}

/// Cuts the output of steps into lines. What a carriage return overwrote is dropped, as a terminal would.
#[derive(Default)]
pub(super) struct LineBuffer {
    open: HashMap<(VertexId, bool), String>,
}

/// Longest line that is kept whole: a step that never ends its line must not eat memory.
const LONGEST: usize = 64 << 10;

impl LineBuffer {
    /// Takes text; returns the lines that it completed.
    pub(super) fn push(&mut self, vertex: VertexId, stream: Stream, text: &str) -> Vec<String> {
        let open = self.open.entry((vertex, stream == Stream::Stderr)).or_default();
        let mut lines = Vec::new();
        for piece in text.split_inclusive('\n') {
            match piece.strip_suffix('\n') {
                Some(end) => {
                    open.push_str(end);
                    lines.push(overwritten(&std::mem::take(open)));
                }
                None => open.push_str(piece),
            }
            if open.len() > LONGEST {
                lines.push(overwritten(&std::mem::take(open)));
            }
        }
        lines
    }

    /// The unfinished lines of a vertex that ended.
    pub(super) fn finish(&mut self, vertex: VertexId) -> Vec<String> {
        let rest = [false, true]
            .into_iter()
            .filter_map(|stderr| self.open.remove(&(vertex, stderr)));
        rest.filter(|line| !line.is_empty())
            .map(|line| overwritten(&line))
            .collect()
    }
}

fn overwritten(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    line.rsplit('\r').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_units() {
        for (value, expected) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.0kB"),
            (999_949, "999.9kB"),
            (999_999, "1.0MB"),
            (12_345_678, "12.3MB"),
        ] {
            assert_eq!(amount(value, "bytes"), expected);
        }
        assert_eq!(amount(u64::MAX, "bytes"), "18446.7PB");
        assert_eq!(amount(17, "files"), "17 files");
    }

    #[test]
    fn output_is_cut_into_lines() {
        let mut buffer = LineBuffer::default();
        let vertex = VertexId(0);
        assert_eq!(buffer.push(vertex, Stream::Stdout, "a\nb"), ["a"]);
        assert_eq!(buffer.push(vertex, Stream::Stderr, "e"), Vec::<String>::new());
        assert_eq!(
            buffer.push(vertex, Stream::Stdout, "c\r\n10%\r90%\r\n"),
            ["bc", "90%"]
        );
        assert_eq!(buffer.finish(vertex), ["e"]);
        assert_eq!(buffer.finish(vertex), Vec::<String>::new());
        assert_eq!(
            buffer
                .push(vertex, Stream::Stdout, &"x".repeat(LONGEST + 1))
                .len(),
            1
        );
    }
}
