//! Ignore files: which paths of a context a build sees.
//!
//! In: the text of `.dockerignore` and paths relative to the context, with slashes. Out: whether a path is left out, and whether
//! a directory that is left out may still hold something that is not. Spec: Docker's build context page, ".dockerignore files",
//! and the behaviour of moby's patternmatcher: later lines win, a pattern that matches a directory takes all below it, `**`
//! matches any number of directories, and a leading `**` followed by plain text is a suffix of the whole path.

use std::fmt::Write as _;

use regex::Regex;

/// A parsed ignore file.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// Why a line of an ignore file is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: invalid pattern {pattern:?}")]
pub struct IgnoreError {
    /// 1-based.
    pub line: usize,
    /// As written.
    pub pattern: String,
}

#[derive(Debug, Clone)]
struct Pattern {
    /// `!`: what it matches is not ignored after all.
    negated: bool,
    matcher: Matcher,
    /// The pattern's parts, for pruning.
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Matcher {
    Exact(String),
    Suffix(String),
    Regex(Regex),
}

#[derive(Debug, Clone)]
enum Part {
    Exact(String),
    Glob(Regex),
    /// Holds `**`: from here on anything may match.
    Any,
}

/// What is known of a directory, so that its entries needn't match their parents again.
///
/// Walks descend with [`Ignore::child`]; the start is `Scope::default()`.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    matched: Vec<bool>,
    ignored: bool,
}

impl Scope {
    /// Whether the path is left out.
    pub fn is_ignored(&self) -> bool {
        self.ignored
    }
}

impl Ignore {
    /// Parses an ignore file: a pattern a line, `#` at the start of a line for comments.
    ///
    /// # Errors
    /// [`IgnoreError`] naming the first line that is no pattern.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let is_pattern = |line: &&str| !line.starts_with('#') && !line.trim().is_empty();
        Self::numbered(text.lines().zip(1..).filter(|(line, _)| is_pattern(line)))
    }

    /// Takes patterns that are not lines of a file, such as those of `COPY --exclude`; none is a comment.
    ///
    /// # Errors
    /// [`IgnoreError`] numbering the first that is no pattern, from 1.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, IgnoreError> {
        Self::numbered(
            patterns
                .into_iter()
                .zip(1..)
                .filter(|(pattern, _)| !pattern.trim().is_empty()),
        )
    }

    fn numbered<'a>(lines: impl Iterator<Item = (&'a str, usize)>) -> Result<Self, IgnoreError> {
        let mut patterns = Vec::new();
        for (text, line) in lines {
            let error = || IgnoreError {
                line,
                pattern: text.to_owned(),
            };
            patterns.extend(Pattern::parse(text.trim()).ok_or_else(error)?);
        }
        Ok(Self { patterns })
    }

    /// Whether the patterns leave nothing out.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether `path` (relative, slashes, no `.` or `..`) is left out, by itself or because a directory above it is.
    /// Whether it is a directory makes no difference to Docker's patterns. Walks are faster with [`Self::child`].
    pub fn matches(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(i, _)| i).chain([path.len()]);
        ends.fold(Scope::default(), |scope, end| self.child(&scope, &path[..end]))
            .ignored
    }

    /// What holds for `path`, an entry of the directory that `parent` was made for.
    pub fn child(&self, parent: &Scope, path: &str) -> Scope {
        let mut ignored = false;
        let mut matched = Vec::with_capacity(self.patterns.len());
        for (i, pattern) in self.patterns.iter().enumerate() {
            let by_parent = parent.matched.get(i).copied().unwrap_or(false);
            // A pattern that can't change the answer isn't tried, but its match may matter further down.
            let is_match = by_parent || pattern.matches(path);
            if is_match {
                ignored = !pattern.negated;
            }
            matched.push(is_match);
        }
        Scope { matched, ignored }
    }

    /// Whether something below the ignored directory `path` may be brought back by a negation. Where not, a walk need not enter.
    pub fn may_contain_reincluded(&self, path: &str) -> bool {
        self.patterns
            .iter()
            .any(|pattern| pattern.negated && pattern.may_match_below(path))
    }
}

impl Pattern {
    /// `Some(None)` for a pattern without effect, `None` for what is no pattern.
    #[expect(
        clippy::option_option,
        reason = "no pattern and a pattern without effect are different answers"
    )]
    fn parse(line: &str) -> Option<Option<Self>> {
        let (negated, body) = match line.strip_prefix('!') {
            Some(body) => (true, body.trim()),
            None => (false, line),
        };
        if body.is_empty() {
            return None;
        }
        let clean = clean(body);
        let clean = clean
            .strip_prefix('/')
            .filter(|rest| !rest.is_empty())
            .unwrap_or(&clean);
        if clean == "." || clean == "/" {
            return Some(None);
        }
        let parts = clean.split('/').map(Part::parse).collect::<Option<_>>()?;
        Some(Some(Self {
            negated,
            matcher: Matcher::parse(clean)?,
            parts,
        }))
    }

    fn matches(&self, path: &str) -> bool {
        match &self.matcher {
            Matcher::Exact(text) => text == path,
            Matcher::Suffix(suffix) => {
                path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path)
            }
            Matcher::Regex(regex) => regex.is_match(path),
        }
    }

    fn may_match_below(&self, directory: &str) -> bool {
        // Parts that run out mean that the pattern matches the directory or one above, and so all below it.
        for (part, name) in self.parts.iter().zip(directory.split('/')) {
            match part {
                Part::Any => return true,
                Part::Exact(text) if text != name => return false,
                Part::Glob(regex) if !regex.is_match(name) => return false,
                _ => {}
            }
        }
        true
    }
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        if text.contains("**") {
            return Some(Self::Any);
        }
        match translate(text)? {
            Translated::Plain(text) => Some(Self::Exact(text)),
            Translated::Regex(text) => Some(Self::Glob(compile(&text)?)),
        }
    }
}

impl Matcher {
    fn parse(pattern: &str) -> Option<Self> {
        if let Some(suffix) = pattern.strip_prefix("**")
            && let Translated::Plain(suffix) = translate(suffix)?
            && !pattern.contains('\\')
        {
            return Some(Self::Suffix(suffix));
        }
        match translate(pattern)? {
            Translated::Plain(text) => Some(Self::Exact(text)),
            Translated::Regex(text) => Some(Self::Regex(compile(&text)?)),
        }
    }
}

enum Translated {
    Plain(String),
    Regex(String),
}

fn compile(text: &str) -> Option<Regex> {
    Regex::new(&format!("(?s)^{text}$")).ok()
}

/// A pattern of `filepath.Match` with `**` as a regular expression; `None` when it is malformed.
fn translate(pattern: &str) -> Option<Translated> {
    let mut regex = String::new();
    let mut plain = Some(String::new());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                regex.push_str(if chars.peek().is_none() { ".*" } else { "(.*/)?" });
                plain = None;
            }
            '*' => {
                regex.push_str("[^/]*");
                plain = None;
            }
            '?' => {
                regex.push_str("[^/]");
                plain = None;
            }
            '[' => {
                regex.push_str(&class(&mut chars)?);
                plain = None;
            }
            c => {
                let literal = if c == '\\' { chars.next()? } else { c };
                regex.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
                if let Some(plain) = &mut plain {
                    plain.push(literal);
                }
            }
        }
    }
    Some(plain.map_or(Translated::Regex(regex), Translated::Plain))
}

/// `[a-z]` after its bracket.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let mut class = String::from("[");
    if chars.next_if_eq(&'^').is_some() {
        class.push('^');
    }
    let mut is_empty = true;
    while is_empty || chars.next_if_eq(&']').is_none() {
        let low = class_char(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() {
            class_char(chars)?
        } else {
            low
        };
        is_empty = false;
        if low <= high {
            let _ = write!(class, "\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high));
        } else {
            // `filepath.Match` lets a reversed range match nothing.
            class.push_str("[^\\x{0}-\\x{10ffff}]");
        }
        chars.peek()?;
    }
    class.push(']');
    Some(class)
}

fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

/// Go's `filepath.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ignored(text: &str, path: &str) -> bool {
        Ignore::parse(text).unwrap().matches(path)
    }

    #[test]
    fn patterns_match_as_dockers_do() {
        for (pattern, path, expected) in [
            // Docker's context page, ".dockerignore files".
            ("*/temp*", "somedir/temporary.txt", true),
            ("*/temp*", "somedir/temp", true),
            ("*/temp*", "temp", false),
            ("*/*/temp*", "somedir/subdir/temporary.txt", true),
            ("*/*/temp*", "somedir/temporary.txt", false),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("/foo/bar", "foo/bar", true),
            ("foo/bar", "foo/bar/baz", true),
            ("foo/bar/", "foo/bar", true),
            ("**/*.go", "main.go", true),
            ("**/*.go", "a/b/main.go", true),
            ("*.go", "a/main.go", false),
            // moby's patternmatcher.
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("dir/**", "dir", false),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**file", "dirfile", true),
            ("**/file", "dir/file", true),
            ("**/file", "dirfile", false),
            ("**/file*", "dir/dir/file.txt", true),
            ("a**/*.txt", "abcd.txt", true),
            ("a*/*.txt", "a/file.txt", true),
            ("a[b-d]e", "ace", true),
            ("a[b-d]e", "aae", false),
            ("a[^b]e", "ace", true),
            ("a[]]", "a]", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            ("dist/*.whl", "dist/proxy.py-2.4.0rc3.whl", true),
            ("..", "x", false),
            (".", "x", false),
            ("/", "x", false),
            ("./foo", "foo", true),
            ("/../foo", "foo", true),
            ("foo ", "foo", true),
            ("\tfoo", "foo", true),
            ("한국어/*", "한국어/x", true),
            ("**/.foo", ".foo", true),
            ("**/.foo", "bar.foo", false),
            ("./bar.*", "bar.foo", true),
            ("a(b)c/def", "a(b)c/def", true),
            ("a(b)c/def", "a(b)c/xyz", false),
            ("abc.def", "abcdef", false),
            ("abc.def", "abcZdef", false),
            ("abc?def", "abcZdef", true),
            ("abc?def", "abcdef", false),
            ("a\\\\", "a\\", true),
            ("**/foo/bar", "foo/bar", true),
            ("**/foo/bar", "dir/dir2/foo/bar", true),
            ("abc/**", "abc", false),
            ("abc/**", "abc/def/ghi", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("**/**/file*", "dir/file.txt", true),
            ("**/dir/**", "a/dir/b", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b/c", true),
            ("a/**/b", "ab", false),
        ] {
            if Ignore::parse(pattern).is_err() {
                assert!(!expected, "{pattern} should parse");
                continue;
            }
            assert_eq!(ignored(pattern, path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn later_lines_win() {
        assert!(!ignored("*.md\n!README.md", "README.md"));
        assert!(ignored("!README.md\n*.md", "README.md"));
        assert!(ignored("*.md\n!README*.md\nREADME-secret.md", "README-secret.md"));
        assert!(!ignored("docs\n!docs/README.md", "docs/README.md"));
        assert!(ignored("docs\n!docs/README.md", "docs/other"));
        assert!(!ignored("*\n!src", "src/deep/file"));
        assert!(ignored("*\n!src\nsrc/deep", "src/deep/file"));
        assert!(!ignored("*\n! src ", "src/a"));
        assert!(!ignored("**\n!util/docker/web", "util/docker/web/foo"));
    }

    #[test]
    fn comments_and_blank_lines_are_none() {
        let ignore = Ignore::parse("\u{feff}# comment\n\n  \n\r\nfoo\r\n #bar\n").unwrap();
        assert_eq!(ignore.patterns.len(), 2);
        assert!(ignore.matches("foo"));
        assert!(ignore.matches("#bar"));
        assert!(!ignore.matches("bar"));
    }

    #[test]
    fn malformed_patterns_name_their_line() {
        for text in [
            "ok\n!", "ok\n[", "ok\n[a", "ok\na\\", "ok\n[]a]", "ok\n[-]", "ok\n! ",
        ] {
            let error = Ignore::parse(text).unwrap_err();
            assert_eq!(error.line, 2, "{text}");
        }
    }

    #[test]
    fn walks_enter_only_where_a_negation_may_reach() {
        let ignore = Ignore::parse("*\n!src/*/keep\n!docs").unwrap();
        assert!(ignore.may_contain_reincluded("src"));
        assert!(ignore.may_contain_reincluded("src/a"));
        assert!(!ignore.may_contain_reincluded("node_modules"));
        assert!(ignore.may_contain_reincluded("docs/deep"));
        assert!(
            Ignore::parse("*\n!**/keep")
                .unwrap()
                .may_contain_reincluded("any/where")
        );
        assert!(!Ignore::parse("*\nfoo").unwrap().may_contain_reincluded("foo"));
    }

    proptest! {
        #[test]
        fn no_pattern_panics(text in "[a*?!/\\[\\]^\\\\ .#\n-]{0,30}", path in "[a./*]{1,12}") {
            if let Ok(ignore) = Ignore::parse(&text) {
                let path = path.trim_matches('/');
                ignore.matches(path);
                ignore.may_contain_reincluded(path);
            }
        }

        #[test]
        fn pruned_directories_hold_nothing(
            text in proptest::collection::vec("!?(\\*\\*|[ab*?]{1,2})(/(\\*\\*|[ab*?]{1,2})){0,2}", 1..5),
            directory in "[ab](/[ab]){0,2}",
            below in "[ab](/[ab]){0,2}",
        ) {
            let ignore = Ignore::parse(&text.join("\n")).unwrap();
            if ignore.matches(&directory) && !ignore.may_contain_reincluded(&directory) {
                let path = format!("{directory}/{below}");
                prop_assert!(ignore.matches(&path), "{:?} {}", text, path);
            }
        }
    }
}
