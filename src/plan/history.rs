//! The texts of history entries, spelled as BuildKit's formatting spells them: `["a" "b"]`, `[a b]`, `5m0s`.

use std::time::Duration;

/// `["a" "b"]`.
pub(super) fn quoted(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(" "))
}

/// `[a b]`.
pub(super) fn plain(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

fn quote(word: &str) -> String {
    let mut out = String::from("\"");
    for c in word.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_ascii_control() => out.push_str(&control(c, 2, 'x')),
            c if c.is_control() => out.push_str(&control(c, 4, 'u')),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `\x01`, `\u0085`.
fn control(c: char, digits: usize, letter: char) -> String {
    format!("\\{letter}{:0digits$x}", u32::from(c))
}

/// `1h2m3.5s`, `300ms`, `0s`.
pub(super) fn duration(nanos: u64) -> String {
    let duration = Duration::from_nanos(nanos);
    let fraction = |value: u64, unit: u64| {
        let text = format!("{}.{:09}", value / unit, value % unit * (1_000_000_000 / unit));
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanos, 1_000_000)),
        _ => {
            let (hours, minutes) = (duration.as_secs() / 3600, duration.as_secs() / 60 % 60);
            let seconds = fraction(nanos % 60_000_000_000, 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => format!("{seconds}s"),
                (0, _) => format!("{minutes}m{seconds}s"),
                _ => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_spelled_as_go_spells_them() {
        let words = ["a b".to_owned(), "\"\\\n\u{1}é".to_owned()];
        assert_eq!(quoted(&words), r#"["a b" "\"\\\n\x01é"]"#);
        assert_eq!(plain(&words[..1]), "[a b]");
        for (nanos, expected) in [
            (0, "0s"),
            (15, "15ns"),
            (1_500, "1.5µs"),
            (300_000_000, "300ms"),
            (3_000_000_000, "3s"),
            (300_000_000_000, "5m0s"),
            (3_723_500_000_000, "1h2m3.5s"),
        ] {
            assert_eq!(duration(nanos), expected);
        }
    }
}
