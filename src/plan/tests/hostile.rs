//! Dockerfiles that nobody means well with: no panic, no quadratic time.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use proptest::prelude::*;

use super::*;
use crate::dockerfile::parse;

/// Far above what linear time takes in a debug build, far below what quadratic time takes.
const LIMIT: Duration = Duration::from_secs(20);

/// The processor time of this thread: other work on the machine is not the planner's fault.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

fn in_time(what: &str, limit: Duration, work: impl FnOnce()) {
    let start = processor_time();
    work();
    let taken = processor_time().saturating_sub(start);
    assert!(taken < limit, "{what} took {taken:?}");
}

#[test]
fn large_dockerfiles_parse_in_linear_time() {
    // Ten megabytes in a release build; enough here to tell a line from a parabola.
    let size = 2 << 20;
    for (what, head, piece) in [
        ("short lines", "FROM a\n", "RUN x\n"),
        ("one continued line", "FROM a\nRUN x", " \\\nyyyy"),
        ("one long line", "FROM a\nRUN x", "y"),
        ("comments", "FROM a\n", "# c\n"),
        ("empty continuations", "FROM a\nRUN x \\\n", "\n"),
        ("words", "FROM a\nENV a=b", " c=d"),
        ("onbuild", "FROM a\n", "ONBUILD RUN x\n"),
        ("flags", "FROM a\nRUN", " --x=y"),
        ("quotes", "FROM a\nRUN <<E", " \"a\" '"),
        ("shifts", "FROM a\nRUN <<", "(("),
        ("heredocs", "FROM a\n", "RUN <<E\nE\n"),
        ("nested", "FROM a\n", "ONBUILD "),
        ("arrays", "FROM a\nRUN ", "["),
        ("one heredoc", "FROM a\nRUN <<E\n", "E \n"),
    ] {
        let text = format!("{head}{}\n", piece.repeat((size - head.len()) / piece.len()));
        in_time(what, LIMIT, || {
            if let Ok(dockerfile) = parse(&text) {
                drop(base_images(&dockerfile, &input()));
            }
        });
    }
}

#[test]
fn many_stages_and_steps_plan_in_linear_time() {
    let mut text = String::from("FROM a AS s0\n");
    for i in 1..200 {
        let _ = writeln!(text, "FROM a AS s{i}\nCOPY --from=s{} /x /x\nRUN make {i}", i - 1);
    }
    let dockerfile = parse(&text).unwrap();
    let mut input = input();
    resolve(&dockerfile, &mut input).unwrap();
    // 10 ms in a release build.
    in_time("200 stages", Duration::from_millis(500), || {
        assert_eq!(plan(&dockerfile, &input).unwrap().chain.len(), 2);
    });
    let variables: String = (0..50_000).fold(String::from("FROM a\n"), |mut text, i| {
        let _ = writeln!(text, "ENV A{i}=1 B{i}=$A{i}\nARG C{i}=$B{i}");
        text
    });
    in_time("50000 variables", LIMIT, || {
        assert_eq!(
            plan_with(&variables, super::input()).unwrap().config.env.len(),
            100_001
        );
    });
    let text = format!("FROM a\n{}", "RUN x\n".repeat(20_000));
    in_time("20000 steps", LIMIT, || {
        assert_eq!(plan_with(&text, super::input()).unwrap().chain.len(), 20_000);
    });
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
