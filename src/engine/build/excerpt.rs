//! The Dockerfile's lines that an error is about, as they are shown. Pure.

use std::fmt::Write;

use crate::plan::Lines;

/// How many lines of one instruction are shown.
const MOST: usize = 12;
/// How many lines of a step's own output are shown.
const OUTPUT: usize = 20;

/// The instruction with line numbers and carets under its first line.
pub(super) fn excerpt(name: &str, text: &str, lines: Lines) -> String {
    let source: Vec<&str> = text.lines().collect();
    let (first, last) = (lines.first.max(1), lines.last.max(lines.first).min(source.len()));
    let width = last.to_string().len();
    let mut shown = format!("{:width$}--> {name}:{first}\n", "");
    for number in first..=last.min(first + MOST - 1) {
        let line = source.get(number - 1).copied().unwrap_or_default();
        writeln!(shown, "{number:>width$} | {}", line.trim_end()).ok();
        if number == first {
            let indent = line.len() - line.trim_start().len();
            let carets = "^".repeat(line.trim().chars().count().max(1));
            writeln!(shown, "{:width$} | {:indent$}{carets}", "", "").ok();
        }
    }
    if last >= first + MOST {
        writeln!(
            shown,
            "{:width$} | ... {} more lines",
            "",
            last + 1 - first - MOST
        )
        .ok();
    }
    shown
}

/// A step's name on one line of reasonable length.
pub(super) fn short(name: &str) -> String {
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.chars().count() <= 60 {
        return name;
    }
    format!("{}\u{2026}", name.chars().take(59).collect::<String>())
}

/// The end of what a step wrote, set off from our own words.
pub(super) fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    if lines.is_empty() {
        return "it wrote nothing\n".to_owned();
    }
    let from = lines.len().saturating_sub(OUTPUT);
    let mut shown = if from == 0 {
        "it wrote:\n".to_owned()
    } else {
        "the end of what it wrote:\n".to_owned()
    };
    for line in &lines[from..] {
        // A progress bar's earlier states are not worth a line.
        let line = line
            .rsplit('\r')
            .find(|part| !part.is_empty())
            .unwrap_or_default();
        writeln!(shown, "  {line}").ok();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_shown_with_carets() {
        let text = "FROM debian\n  RUN make \\\n    all\nCMD x\n";
        let shown = excerpt("Dockerfile", text, Lines { first: 2, last: 3 });
        assert_eq!(
            shown,
            " --> Dockerfile:2\n2 |   RUN make \\\n  |   ^^^^^^^^^^\n3 |     all\n"
        );
    }

    #[test]
    fn a_long_instruction_and_long_output_are_cut() {
        let text = "RUN x \\\n".repeat(30);
        let shown = excerpt("Dockerfile", &text, Lines { first: 1, last: 30 });
        assert!(shown.ends_with("| ... 18 more lines\n"), "{shown}");
        let output: String = (0..50).fold(String::new(), |text, number| text + &format!("line {number}\n"));
        let shown = tail(&output);
        assert!(
            shown.contains("line 49") && shown.contains("line 30") && !shown.contains("line 29"),
            "{shown}"
        );
        assert_eq!(tail("10%\r50%\r100%\r\n"), "it wrote:\n  100%\n");
        assert_eq!(tail(""), "it wrote nothing\n");
    }

    #[test]
    fn lines_beyond_the_text_do_no_harm() {
        assert!(excerpt("D", "", Lines { first: 3, last: 9 }).starts_with(" --> D:3"));
    }
}
