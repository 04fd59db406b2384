//! Dockerfiles that nobody means well with: no panic, no quadratic time.
//!
//! No clock is read. The large texts are so large that what takes time in proportion to the square of their length would not end
//! while anybody waits; each test says what they come to.

use proptest::prelude::*;

use super::*;
use crate::dockerfile::parse;

/// How many instructions a text has; `None` when it is refused, by the planner's first look too.
fn instructions(text: &str) -> Option<usize> {
    let dockerfile = parse(text).ok()?;
    base_images(&dockerfile, &input()).ok()?;
    Some(dockerfile.instructions.len())
}

#[test]
fn large_dockerfiles_parse_in_linear_time() {
    let size = 2 << 20;
    for (what, head, piece, expected) in [
        ("short lines", "FROM a\n", "RUN x\n", Some(349_525)),
        ("one continued line", "FROM a\nRUN x", " \\\nyyyy", Some(2)),
        ("one long line", "FROM a\nRUN x", "y", Some(2)),
        ("comments", "FROM a\n", "# c\n", Some(1)),
        ("empty continuations", "FROM a\nRUN x \\\n", "\n", Some(2)),
        ("words", "FROM a\nENV a=b", " c=d", Some(2)),
        ("onbuild", "FROM a\n", "ONBUILD RUN x\n", Some(149_797)),
        ("flags", "FROM a\nRUN", " --x=y", None),
        ("quotes", "FROM a\nRUN <<E", " \"a\" '", Some(2)),
        ("shifts", "FROM a\nRUN <<", "((", None),
        ("heredocs", "FROM a\n", "RUN <<E\nE\n", Some(209_715)),
        ("nested", "FROM a\n", "ONBUILD ", None),
        ("arrays", "FROM a\nRUN ", "[", Some(2)),
        ("one heredoc", "FROM a\nRUN <<E\n", "E \n", None),
    ] {
        let text = format!("{head}{}\n", piece.repeat((size - head.len()) / piece.len()));
        assert_eq!(instructions(&text), expected, "{what}");
    }
}

#[test]
fn many_stages_and_steps_plan_in_linear_time() {
    let mut text = String::from("FROM a AS s0\n");
    for i in 1..1000 {
        let _ = writeln!(text, "FROM a AS s{i}\nCOPY --from=s{} /x /x\nRUN make {i}", i - 1);
    }
    let planned = plan_with(&text, input()).unwrap();
    // The image, and two steps of each stage but the first.
    assert_eq!((planned.chain.len(), planned.vertices.len()), (2, 1 + 2 * 999));
    let variables: String = (0..50_000).fold(String::from("FROM a\n"), |mut text, i| {
        let _ = writeln!(text, "ENV A{i}=1 B{i}=$A{i}\nARG C{i}=$B{i}");
        text
    });
    assert_eq!(plan_with(&variables, input()).unwrap().config.env.len(), 100_001);
    let text = format!("FROM a\n{}", "RUN x\n".repeat(20_000));
    assert_eq!(plan_with(&text, input()).unwrap().chain.len(), 20_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "[\\PC\\n\\t\\r]{0,200}") {
        let _ = parse(&text).map_err(|error| error.render("Dockerfile", &text));
    }

    #[test]
    fn no_dockerfile_panics(lines in proptest::collection::vec(line(), 0..8)) {
        let text = format!("FROM debian AS b\n{}", lines.join("\n"));
        let _ = plan_with(&text, input());
    }
}

/// Lines made of the language's own pieces, in any order.
fn line() -> impl Strategy<Value = String> {
    let keywords: Vec<String> = instruction::ALL
        .iter()
        .map(|definition| definition.name.to_owned())
        .collect();
    let pieces = prop::sample::select(vec![
        "--from=b",
        "--chmod=7",
        "--mount=type=bind,target=/x",
        "--mount=",
        "--interval=5s",
        "--link",
        "--",
        "a",
        "b=",
        "a=b",
        "\"",
        "'",
        "\\",
        "\\ ",
        "$a",
        "${a:-b}",
        "${",
        "}",
        "[",
        "\"x\"",
        "]",
        "[\"x\",\"y\"]",
        "<<E",
        "<<-'E'",
        "/",
        ".",
        "..",
        "80-90/tcp",
        "CMD",
        "NONE",
        "AS",
        "scratch",
        "é",
        "\u{feff}",
        "http://x/y",
        "#",
        "\t",
        "ONBUILD",
        "RUN",
    ]);
    let words = proptest::collection::vec(pieces, 0..6);
    (
        prop::sample::select(keywords),
        words,
        prop::sample::select(vec!["", " \\", "\nE"]),
    )
        .prop_map(|(keyword, words, end)| format!("{keyword} {}{end}", words.join(" ")))
}
