//! Small readings that several doors share.

use serde::de::IntoDeserializer as _;

/// Go's `strconv.ParseBool`.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// A word of an enum, as serde names its variants.
#[must_use]
pub fn word<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    T::deserialize(text).ok()
}

/// The known word nearest to a mistyped one, if one is near (Levenshtein distance at most 2, or a prefix).
#[must_use]
pub fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    nearest_all(typed, known).into_iter().min_by_key(|word| distance(&typed.to_lowercase(), word))
}

/// All known words that are near, sorted.
#[must_use]
pub fn nearest_all<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let typed = typed.to_lowercase();
    let near = |word: &&str| distance(&typed, word) <= 2 || (!typed.is_empty() && word.starts_with(&typed));
    let mut words: Vec<&str> = known.filter(near).collect();
    words.sort_unstable();
    words
}

/// Levenshtein's.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut left = i + 1;
        let mut diagonal = i;
        for (y, cell) in b.chars().zip(row.iter_mut().skip(1)) {
            let best = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = best;
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// A header's name as Go writes it (`x-request-id` -> `X-Request-Id`); one with other than token characters stays.
#[must_use]
pub fn canonical_header(name: &str) -> String {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !name.bytes().all(token) {
        return name.to_owned();
    }
    let mut upper = true;
    let mut written = String::with_capacity(name.len());
    for c in name.chars() {
        written.push(if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
        upper = c == '-';
    }
    written
}

/// What [`super::escape_name`] made; none where the text is no such escape, or not UTF-8.
#[must_use]
pub fn unescape_name(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let [first, after @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let hex = after.get(..2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
        rest = after.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_way_through_a_url() {
        for name in ["", "shop-web", "a b/c\"é", "%41", "..", "\0"] {
            assert_eq!(unescape_name(&crate::spec::escape_name(name)).as_deref(), Some(name));
        }
        for wrong in ["%", "%4", "%zz", "%+1", "%ff"] {
            assert_eq!(unescape_name(wrong), None, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_name_survives_the_way_through_a_url(name in ".{0,12}") {
            proptest::prop_assert_eq!(unescape_name(&crate::spec::escape_name(&name)), Some(name));
        }
    }

    #[test]
    fn header_names_are_written_as_go_does() {
        assert_eq!(canonical_header("x-REQUEST-id"), "X-Request-Id");
        assert_eq!(canonical_header("a b"), "a b");
    }

    #[test]
    fn a_typing_error_finds_its_word() {
        let known = ["max-hold", "max-held", "workers"];
        assert_eq!(nearest("max-holdd", known.into_iter()), Some("max-hold"));
        assert_eq!(nearest("worker", known.into_iter()), Some("workers"));
        assert_eq!(nearest("colour", known.into_iter()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
