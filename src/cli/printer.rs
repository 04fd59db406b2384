//! The only place that writes to the terminal: data to standard output, everything else to standard error.
//!
//! A closed standard output (`silt images | head -1`) is no error. Colours obey `NO_COLOR` and appear on terminals only.
#![expect(clippy::print_stderr, reason = "this is the command line's printer")]

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use jiff::Timestamp;
use serde::Serialize;

use crate::engine::outcome::Failure;

/// Writes one line of data.
pub(crate) fn line(text: &str) {
    write_out(&format!("{text}\n"));
}

/// Writes a value as indented JSON.
pub(crate) fn json<T: Serialize>(value: &T) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(&text),
        Err(error) => warning(&format!("this value has no JSON form: {error}")),
    }
}

/// Writes a table as Docker's commands do: a header, columns three spaces apart.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let header: Vec<String> = header.iter().map(|&cell| cell.to_owned()).collect();
    for row in std::iter::once(&header).chain(rows) {
        let mut printed = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let padding = " ".repeat(width - cell.chars().count() + 3);
            printed.push_str(cell);
            printed.push_str(&padding);
        }
        text.push_str(printed.trim_end());
        text.push('\n');
    }
    write_out(&text);
}

fn write_out(text: &str) {
    let result = io::stdout().lock().write_all(text.as_bytes());
    if let Err(error) = result
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        warning(&format!("standard output: {error}"));
    }
}

/// Tells the user something that is no error.
pub(crate) fn note(text: &str) {
    eprintln!("{} {text}", painted("note:", "36"));
}

/// Tells the user what may be wrong.
pub(crate) fn warning(text: &str) {
    eprintln!("{} {text}", painted("warning:", "33"));
}

/// Tells the user why a command failed, and gives its exit status.
pub(crate) fn failure(failure: &Failure) -> ExitCode {
    eprintln!("{} {}", painted("error:", "1;31"), failure.message);
    if let Some(detail) = &failure.detail {
        eprintln!("{}", detail.trim_end());
    }
    for hint in &failure.hints {
        eprintln!("{} {hint}", painted("hint:", "36"));
    }
    ExitCode::from(failure.status)
}

fn painted(text: &str, colour: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain || !io::stderr().is_terminal() {
        return text.to_owned();
    }
    format!("\x1b[{colour}m{text}\x1b[0m")
}

/// `117 MB`, as Docker counts: powers of 1000.
pub(crate) fn size(bytes: u64) -> String {
    humansize::format_size(
        bytes,
        humansize::FormatSizeOptions::from(humansize::DECIMAL).decimal_places(1),
    )
}

/// `3 minutes ago`, from RFC 3339; unknown times are `N/A`.
pub(crate) fn ago(time: Option<&str>) -> String {
    let Some(time) = time.and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "N/A".to_owned();
    };
    format!("{} ago", span(Timestamp::now().as_second() - time.as_second()))
}

/// `3 minutes`: the largest unit, as Docker prints durations.
pub(crate) fn span(seconds: i64) -> String {
    let count = |amount: i64, unit: &str| format!("{amount} {unit}{}", if amount == 1 { "" } else { "s" });
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1..60 => count(seconds, "second"),
        60..3600 => count(seconds / 60, "minute"),
        3600..172_800 => count(seconds / 3600, "hour"),
        172_800..1_209_600 => count(seconds / 86_400, "day"),
        1_209_600..5_184_000 => count(seconds / 604_800, "week"),
        5_184_000..63_072_000 => count(seconds / 2_592_000, "month"),
        _ => count(seconds / 31_536_000, "year"),
    }
}

/// Docker's short form of an id: 12 digits, no algorithm.
pub(crate) fn short_id(id: &str) -> String {
    id.split_once(':')
        .map_or(id, |(_, hex)| hex)
        .chars()
        .take(12)
        .collect()
}

/// An id as a table shows it: short, unless it was asked for whole.
pub(crate) fn listed_id(id: &str, whole: bool) -> String {
    if whole { id.to_owned() } else { short_id(id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_dockers() {
        let cases = [
            (0, "Less than a second"),
            (1, "1 second"),
            (61, "1 minute"),
            (7200, "2 hours"),
            (200_000, "2 days"),
        ];
        for (seconds, text) in cases {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(ago(None), "N/A");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(size(117_300_000), "117.3 MB");
    }
}
