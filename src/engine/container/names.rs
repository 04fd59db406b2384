//! Names for containers whose user gave none: an adjective and a thing a river knows.

/// 32 adjectives.
const FIRST: [&str; 32] = [
    "amber", "ashen", "braided", "brisk", "calm", "clear", "cold", "deep", "dusky", "early", "fallow",
    "gentle", "gravelly", "green", "hidden", "idle", "late", "limpid", "long", "lucid", "mellow", "muddy",
    "narrow", "pale", "quiet", "russet", "sandy", "slow", "still", "swift", "wide", "winding",
];

/// 32 nouns.
const SECOND: [&str; 32] = [
    "bank",
    "bar",
    "bay",
    "bend",
    "brook",
    "cascade",
    "channel",
    "confluence",
    "creek",
    "delta",
    "eddy",
    "estuary",
    "fen",
    "fjord",
    "ford",
    "gorge",
    "inlet",
    "lagoon",
    "levee",
    "marsh",
    "meander",
    "oxbow",
    "pond",
    "pool",
    "rapids",
    "reach",
    "ripple",
    "shoal",
    "spring",
    "terrace",
    "weir",
    "wetland",
];

/// A name that `id` (hexadecimal) determines; `attempt` numbers those that were taken.
pub(crate) fn name(id: &str, attempt: usize) -> String {
    let digits =
        |from: usize| u32::from_str_radix(id.get(from..from + 4).unwrap_or("0"), 16).unwrap_or(0) as usize;
    let (first, second) = (FIRST[digits(0) % FIRST.len()], SECOND[digits(4) % SECOND.len()]);
    match attempt {
        0 => format!("{first}_{second}"),
        attempt => format!("{first}_{second}_{attempt}"),
    }
}

/// Whether a user may name a container so: Docker's rule, and one letter is enough.
pub(crate) fn is_valid(name: &str) -> bool {
    let mut characters = name.chars();
    characters
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric())
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_are_valid_and_numbered() {
        assert_eq!(name("0000000100ff", 0), "amber_bar");
        assert_eq!(name("0000000100ff", 2), "amber_bar_2");
        assert!(is_valid(&name("abcdef0123", 7)));
        for bad in ["", "-x", "a b", "a/b"] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
