//! The README's tables are generated from the code's tables. `SILT_BLESS=1 cargo test readme` rewrites them.

use std::fs;

use silt::export::EXPORTERS;
use silt::plan::instruction::ALL;
use silt::snapshot::STRATEGIES;

use crate::scene::checkout;

fn instructions() -> String {
    let rows = ALL.iter().map(|instruction| {
        let flags = instruction
            .flags
            .iter()
            .map(|flag| format!("`--{}`", flag.name))
            .collect::<Vec<_>>();
        format!(
            "| {} | {} | {} |\n",
            instruction.name,
            instruction.summary,
            flags.join(" ")
        )
    });
    format!(
        "| instruction | what it does | flags |\n|---|---|---|\n{}",
        rows.collect::<String>()
    )
}

fn strategies() -> String {
    let rows = STRATEGIES
        .iter()
        .map(|strategy| format!("| `{}` | {} |\n", strategy.name, strategy.about));
    format!("| name | how |\n|---|---|\n{}", rows.collect::<String>())
}

fn outputs() -> String {
    let rows = EXPORTERS.iter().map(|exporter| {
        let keys = exporter
            .keys
            .iter()
            .map(|key| format!("`{}`: {}", key.name, value(key)))
            .collect::<Vec<_>>();
        format!(
            "| `{}` | {} | {} |\n",
            exporter.name,
            exporter.summary,
            keys.join("; ")
        )
    });
    format!(
        "| type | what it writes | keys |\n|---|---|---|\n{}",
        rows.collect::<String>()
    )
}

fn value(key: &silt::export::Key) -> String {
    if key.choices.is_empty() {
        key.value.to_owned()
    } else {
        key.choices.join(", ")
    }
}

/// The text with the content between a table's marks replaced.
fn with_table(text: &str, name: &str, table: &str) -> String {
    let start = format!("<!-- table: {name} -->\n");
    let (before, rest) = text
        .split_once(&start)
        .unwrap_or_else(|| panic!("README.md has no mark {start}"));
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    format!("{before}{start}{table}<!-- end -->{after}")
}

#[test]
fn tables_are_those_of_the_code() {
    let path = checkout().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let expected = with_table(&readme, "instructions", &instructions());
    let expected = with_table(&expected, "strategies", &strategies());
    let expected = with_table(&expected, "outputs", &outputs());
    if std::env::var_os("SILT_BLESS").is_some() {
        fs::write(path, expected).unwrap();
        return;
    }
    assert!(
        readme == expected,
        "README.md is behind the code: SILT_BLESS=1 cargo test readme"
    );
}
