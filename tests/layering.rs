//! The map in each `lib.rs` holds: a module uses only modules above it in the table, and each module stands in it.
//!
//! Also here, since they are rules about where code may stand: `async` only in `server/`, `unsafe` only in files named `sys`
//! and each block with its reason, no file over 800 lines, every test file named in `tests/main.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

const CRATES: [&str; 3] = ["src", "store/src", "fuse/src"];
const MOST_LINES: usize = 800;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Rust files below a folder, sorted.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A token that is neither comment nor literal nor bracket, with its line.
struct Word {
    text: String,
    line: usize,
}

fn flatten(tokens: TokenStream, words: &mut Vec<Word>) {
    for token in tokens {
        let line = token.span().start().line;
        match token {
            TokenTree::Group(group) => {
                let brackets = match group.delimiter() {
                    proc_macro2::Delimiter::Brace => ("{", "}"),
                    _ => ("(", ")"),
                };
                words.push(Word {
                    text: brackets.0.into(),
                    line,
                });
                flatten(group.stream(), words);
                words.push(Word {
                    text: brackets.1.into(),
                    line,
                });
            }
            TokenTree::Literal(_) => {}
            other => words.push(Word {
                text: other.to_string(),
                line,
            }),
        }
    }
}

fn words(path: &Path) -> Vec<Word> {
    let tokens: TokenStream = read(path)
        .parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut words = Vec::new();
    flatten(tokens, &mut words);
    words
}

/// The first column of the table in a `lib.rs`, in order.
fn table(lib: &str) -> Vec<String> {
    lib.lines()
        .filter_map(|line| line.strip_prefix("//! | `"))
        .filter_map(|row| row.split_once('`'))
        .map(|(module, _)| module.to_owned())
        .collect()
}

/// Modules declared in `lib.rs`, and the names it re-exports with the module each comes from.
fn declared(lib: &[Word]) -> (BTreeSet<String>, BTreeMap<String, String>) {
    let mut modules = BTreeSet::new();
    let mut exports = BTreeMap::new();
    for (at, word) in lib.iter().enumerate() {
        if word.text == "mod" && lib.get(at + 2).is_some_and(|next| next.text == ";") {
            modules.insert(lib[at + 1].text.clone());
        }
        if word.text == "use" {
            let from = lib[at + 1].text.clone();
            let names = lib[at + 2..].iter().take_while(|word| word.text != ";");
            exports.extend(names.map(|name| (name.text.clone(), from.clone())));
        }
    }
    exports.retain(|_, from| modules.contains(from));
    (modules, exports)
}

/// Names used directly below `crate::`, as `crate::name` or in the braces of `crate::{a, b::c}`.
fn used(words: &[Word]) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    for at in 0..words.len().saturating_sub(3) {
        if words[at].text != "crate" || words[at + 1].text != ":" || words[at + 2].text != ":" {
            continue;
        }
        let first = &words[at + 3];
        if first.text != "{" {
            found.push((first.text.as_str(), first.line));
            continue;
        }
        let mut depth = 0;
        for pair in words[at + 3..].windows(2) {
            depth += i32::from(pair[0].text == "{") - i32::from(pair[0].text == "}");
            if depth == 0 {
                break;
            }
            if depth == 1 && matches!(pair[0].text.as_str(), "{" | ",") && pair[1].text != "}" {
                found.push((pair[1].text.as_str(), pair[1].line));
            }
        }
    }
    found
}

/// The module that a file belongs to: the first step of its path below the crate's `src`.
fn room(source: &Path, crate_root: &Path) -> String {
    let below = source
        .strip_prefix(crate_root)
        .unwrap()
        .components()
        .next()
        .unwrap();
    Path::new(below.as_os_str())
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn assert_none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn modules_use_only_those_above_them() {
    let mut broken = Vec::new();
    for folder in CRATES.map(|folder| root().join(folder)) {
        let lib = folder.join("lib.rs");
        let order = table(&read(&lib));
        let (_, exports) = declared(&words(&lib));
        let position = |name: &str| order.iter().position(|module| module == name);
        for source in sources(&folder) {
            let user = room(&source, &folder);
            let Some(own) = position(&user) else { continue };
            for (name, line) in used(&words(&source)) {
                let module = exports.get(name).map_or(name, String::as_str);
                if position(module).is_some_and(|other| other > own) {
                    broken.push(format!("{}:{line}: `{user}` uses `{module}`", shown(&source)));
                }
            }
        }
    }
    assert_none(
        &broken,
        "a module uses only those above it in the table of its lib.rs",
    );
}

#[test]
fn modules_stand_in_the_table() {
    let mut broken = Vec::new();
    for folder in CRATES.map(|folder| root().join(folder)) {
        let lib = folder.join("lib.rs");
        let order = table(&read(&lib));
        let (modules, _) = declared(&words(&lib));
        for module in &modules {
            if !order.contains(module) {
                broken.push(format!("{}: `{module}` has no row", shown(&lib)));
            }
        }
        for source in sources(&folder) {
            let module = room(&source, &folder);
            if !modules.contains(&module) && !matches!(module.as_str(), "lib" | "main") {
                broken.push(format!("{}: belongs to no module of lib.rs", shown(&source)));
            }
        }
    }
    assert_none(&broken, "each module has a row in the table of its lib.rs");
}

#[test]
fn async_stays_in_the_server() {
    let mut broken = Vec::new();
    for folder in CRATES.map(|folder| root().join(folder)) {
        for source in sources(&folder) {
            if room(&source, &folder) == "server" {
                continue;
            }
            let words = words(&source);
            let found = words
                .iter()
                .filter(|word| word.text == "async" || word.text == "await");
            broken.extend(found.map(|word| format!("{}:{}", shown(&source), word.line)));
        }
    }
    assert_none(&broken, "async code stands in server/ only");
}

#[test]
fn unsafe_stays_in_sys_files_and_gives_its_reason() {
    let mut broken = Vec::new();
    for source in CRATES.iter().flat_map(|folder| sources(&root().join(folder))) {
        let sys = source
            .components()
            .any(|part| matches!(part.as_os_str().to_str(), Some("sys" | "sys.rs")));
        let text = read(&source);
        let lines: Vec<&str> = text.lines().collect();
        for word in words(&source).iter().filter(|word| word.text == "unsafe") {
            let place = format!("{}:{}", shown(&source), word.line);
            if !sys {
                broken.push(format!("{place}: outside a sys file"));
            } else if !has_reason(&lines, word.line - 1) {
                broken.push(format!("{place}: no SAFETY comment above it"));
            }
        }
    }
    assert_none(
        &broken,
        "unsafe code stands in sys files, each use with a SAFETY comment",
    );
}

/// Whether the comment lines above a line (attributes and the start of the same statement between them) say SAFETY.
fn has_reason(lines: &[&str], at: usize) -> bool {
    lines[..=at]
        .iter()
        .rev()
        .take(8)
        .any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
}

#[test]
fn files_stay_small() {
    let folders = CRATES.iter().copied().chain(["tests", "benches"]);
    let folders = folders
        .map(|folder| root().join(folder))
        .filter(|folder| folder.is_dir());
    let mut broken = Vec::new();
    for source in folders.flat_map(|folder| sources(&folder)) {
        let lines = read(&source).lines().count();
        if lines > MOST_LINES {
            broken.push(format!("{}: {lines} lines", shown(&source)));
        }
    }
    assert_none(&broken, "no file has more than 800 lines");
}

#[test]
fn test_files_are_in_the_table_of_contents() {
    let (modules, _) = declared(&words(&root().join("tests/main.rs")));
    let mut broken = Vec::new();
    for entry in std::fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let holds_tests =
            path.extension().is_some_and(|extension| extension == "rs") || path.join("mod.rs").is_file();
        if holds_tests && name != "main" && !modules.contains(name) {
            broken.push(shown(&path));
        }
    }
    assert_none(&broken, "tests/main.rs names every file of tests/");
}

/// The reader of `use` lines itself: what it misses, the rules miss.
#[test]
fn uses_are_found() {
    let found = |text: &str| {
        let mut words = Vec::new();
        flatten(text.parse().unwrap(), &mut words);
        used(&words)
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(found("use crate::plan::Op;"), ["plan"]);
    assert_eq!(
        found("use crate::{oci::{self, config}, plan::Op, Name};"),
        ["oci", "plan", "Name"]
    );
    assert_eq!(found("fn f() { crate::engine::run() }"), ["engine"]);
    assert_eq!(
        found("// use crate::cli;\nconst S: &str = \"crate::cli\"; pub(crate) fn f() {}"),
        [] as [&str; 0]
    );
}
