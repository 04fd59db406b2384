//! What `--help` says, for every command, and what becomes of wrong arguments.

use std::fmt::Write;

use crate::scratch::Scratch;

#[test]
fn every_commands_help_reads_as_reviewed() {
    let mut text = String::new();
    describe(&mut silt::cli::command().term_width(100), "silt", &mut text);
    insta::assert_snapshot!(text);
}

fn describe(command: &mut clap::Command, name: &str, text: &mut String) {
    writeln!(text, "=== {name}\n{}", command.render_long_help()).unwrap();
    let children: Vec<_> = command
        .get_subcommands_mut()
        .filter(|child| !child.is_hide_set())
        .collect();
    for child in children {
        let name = format!("{name} {}", child.get_name());
        describe(child, &name, text);
    }
}

#[test]
fn wrong_arguments_are_usage_errors_with_a_suggestion() {
    let scratch = Scratch::new();
    for (arguments, expected) in [
        (&["biuld"][..], "'build'"),
        (&["build", "--no-cahce"], "'--no-cache'"),
        (&["run"], "<IMAGE>"),
        (&["run", "-p", "8080:80", "x"], "write -p 80:80"),
        (&["run", "-v", "name:/data", "x"], "./name"),
        (&["kill", "-s", "NOPE", "x"], "there is no signal"),
        (&["build", "--output", "dest=x", "."], "type"),
    ] {
        let stderr = scratch.run(arguments).failure(2);
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
    assert!(!scratch.store.join("engine.log").exists(), "no engine was needed");
}

#[test]
fn what_cannot_be_read_is_named_before_an_engine_starts() {
    let scratch = Scratch::new();
    let stderr = scratch.run(["build", "."]).failure(1);
    assert!(
        stderr.contains("Dockerfile") && stderr.contains("-f FILE"),
        "{stderr}"
    );
    let stderr = scratch.run(["build", "no-such-directory"]).failure(1);
    assert!(stderr.contains("no-such-directory"), "{stderr}");
    let stderr = scratch.run(["import", "no-such.tar", "name"]).failure(1);
    assert!(stderr.contains("no-such.tar"), "{stderr}");
    assert!(!scratch.store.join("engine.log").exists(), "no engine was needed");
}
