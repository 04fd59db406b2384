use proptest::prelude::*;

use super::*;

fn with(variables: &'static [(&'static str, &'static str)], word: &str) -> Result<Expanded, ExpansionError> {
    let lookup = |name: &str| {
        variables
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| (*v).to_owned())
    };
    Expander {
        escape: '\\',
        quotes: true,
        lookup: &lookup,
    }
    .expand(word)
}

fn expand(word: &str) -> String {
    const VARIABLES: &[(&str, &str)] = &[
        ("str", "foobarbaz"),
        ("string", "foobarbaz"),
        ("foo", "/bar"),
        ("empty", ""),
        ("path", "/tmp/foo.txt"),
        ("stars", "a***yy*"),
    ];
    match with(VARIABLES, word) {
        Ok(expanded) => expanded.text,
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn forms_of_the_reference() {
    // Reference, "Environment replacement".
    for (word, expected) in [
        ("${foo}_bar", "/bar_bar"),
        ("$foo_bar", ""),
        ("${foo:-w}", "/bar"),
        ("${empty:-w}", "w"),
        ("${unset:-w}", "w"),
        ("${foo-w}", "/bar"),
        ("${empty-w}", ""),
        ("${unset-w}", "w"),
        ("${foo:+w}", "w"),
        ("${empty:+w}", ""),
        ("${unset:+w}", ""),
        ("${foo+w}", "w"),
        ("${empty+w}", "w"),
        ("${unset+w}", ""),
        ("${foo:?no}", "/bar"),
        ("${foo?no}", "/bar"),
        ("${empty?no}", ""),
        ("${str#f*b}", "arbaz"),
        ("${str##f*b}", "az"),
        ("${string%b*}", "foobar"),
        ("${string%%b*}", "foo"),
        ("${string/ba/fo}", "foofor baz".replace(' ', "").as_str()),
        ("${string//ba/fo}", "fooforfoz"),
        ("\\$foo", "$foo"),
        ("\\${foo}", "${foo}"),
        ("${unset:-${foo}}", "/bar"),
        ("${unset:-a ${empty:-b${foo}}}", "a b/bar"),
        ("${unset:-'$foo'}", "$foo"),
    ] {
        assert_eq!(expand(word), expected, "{word}");
    }
}

#[test]
fn quotes_and_escapes() {
    for (word, expected) in [
        ("'$foo'", "$foo"),
        ("\"$foo\"", "/bar"),
        ("\"\\$foo\"", "$foo"),
        ("\"a\\b\"", "a\\b"),
        ("\"\\\"\\\\\"", "\"\\"),
        ("a\\ b", "a b"),
        ("'a\\'", "a\\"),
        ("he'll'o", "hello"),
        ("a\\", "a"),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("$1x", "x"),
        ("$$x", "x"),
        ("${foo}\"'\"'\"'", "/bar'\""),
    ] {
        assert_eq!(expand(word), expected, "{word}");
    }
    let lookup = |_: &str| Some("v".to_owned());
    let heredoc = Expander {
        escape: '\\',
        quotes: false,
        lookup: &lookup,
    };
    assert_eq!(heredoc.expand("it's \"$x\" \\$x").unwrap().text, "it's \"v\" $x");
    let windows = Expander {
        escape: '`',
        quotes: true,
        lookup: &lookup,
    };
    assert_eq!(windows.expand("c:\\a`$x`` \"`\"\"").unwrap().text, "c:\\a$x` \"");
}

#[test]
fn patterns() {
    for (word, expected) in [
        ("${stars%%\\**\\*}", "a"),
        ("${str#*}", "foobarbaz"),
        ("${str##*}", ""),
        ("${str#}", "foobarbaz"),
        ("${str#?}", "oobarbaz"),
        ("${str%z}", "foobarba"),
        ("${path//\\//_}", "_tmp_foo.txt"),
        ("${path//\\//\\/}", "\\/tmp\\/foo.txt"),
        ("${path/./-}", "/tmp/foo-txt"),
        ("${path/$foo/}", "/tmp/foo.txt"),
        ("${unset///}", ""),
        (
            "${str/\\x/y}",
            "error: invalid pattern \"\\\\x\" in a substitution",
        ),
    ] {
        assert_eq!(expand(word), expected, "{word}");
    }
}

#[test]
fn errors_say_what_and_where() {
    for (word, expected, range) in [
        ("a${", "missing } of a substitution", 1..3),
        ("${}", "bad substitution: a variable's name is missing", 0..2),
        ("${:x}", "bad substitution: a variable's name is missing", 0..2),
        ("${foo", "missing } of a substitution", 0..5),
        ("${foo:-x", "missing } of a substitution", 0..8),
        ("${foo=x}", "unsupported modifier \"=\" in a substitution", 0..6),
        ("${foo:=x}", "unsupported modifier \":=\" in a substitution", 0..7),
        (
            "${foo//x}",
            "missing / before the replacement of a substitution",
            0..9,
        ),
        ("'a", "unterminated ' quote", 0..2),
        ("x\"a", "unterminated \" quote", 1..3),
        ("${unset:?set it}", "unset: set it", 0..16),
        ("${unset?}", "unset: is not allowed to be unset", 0..9),
        ("${empty:?}", "empty: is not allowed to be empty", 0..10),
    ] {
        let error = with(&[("foo", "/bar"), ("empty", "")], word).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.range),
            (expected, range),
            "{word}"
        );
    }
}

#[test]
fn branches_not_taken_ask_for_nothing() {
    let expanded = with(&[("A", "1")], "${A:-${B:?no}}${C}").unwrap();
    assert_eq!(expanded.text, "1");
    assert_eq!(expanded.unset, BTreeSet::from(["C".to_owned()]));
    assert_eq!(expanded.used, BTreeSet::from(["A".to_owned()]));
}

#[test]
fn words_split_at_unquoted_blanks() {
    let words = |word| with(&[("ports", "80 443"), ("empty", "")], word).unwrap().words;
    assert_eq!(words("$ports 22"), ["80", "443", "22"]);
    assert_eq!(words("\"$ports\" 22"), ["80 443", "22"]);
    assert_eq!(words("${empty}"), Vec::<String>::new());
    assert_eq!(words("a\\ b c"), ["a b", "c"]);
}

#[test]
fn hostile_words_end() {
    let deep = "${a:-".repeat(100_000);
    assert_eq!(with(&[], &deep).unwrap_err().kind, ExpansionErrorKind::TooDeep);
    let value = "x".repeat(1 << 20);
    let lookup = |_: &str| Some(value.clone());
    let expander = Expander {
        escape: '\\',
        quotes: true,
        lookup: &lookup,
    };
    assert_eq!(
        expander.expand(&"$a".repeat(100)).unwrap_err().kind,
        ExpansionErrorKind::TooLarge
    );
    assert_eq!(
        expander
            .expand(&format!("\"{}\"", "$a".repeat(100)))
            .unwrap_err()
            .kind,
        ExpansionErrorKind::TooLarge
    );
}

proptest! {
    #[test]
    fn no_word_panics(word in "[$ {}:+?#%/\\\\'\"a*é-]{0,40}", value in "[a*/é]{0,8}") {
        let lookup = |name: &str| (name != "é").then(|| value.clone());
        for escape in ['\\', '`'] {
            for quotes in [true, false] {
                let result = Expander { escape, quotes, lookup: &lookup }.expand(&word);
                if let Err(error) = result {
                    prop_assert!(word.is_char_boundary(error.range.start) && word.is_char_boundary(error.range.end));
                }
            }
        }
    }

    #[test]
    fn plain_text_is_itself(word in "[a-zA-Z0-9 ./:=é-]{0,40}") {
        let expanded = with(&[], &word).unwrap();
        prop_assert_eq!(expanded.text, word);
    }
}
