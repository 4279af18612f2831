//! Paths: compared decoded, passed on as they were written.

use std::borrow::Cow;

/// A path with its `%XX` decoded; a `%` that begins no escape stays.
#[must_use]
pub fn decode(path: &str) -> Cow<'_, [u8]> {
    if !path.contains('%') {
        return Cow::Borrowed(path.as_bytes());
    }
    Cow::Owned(decoded(path.as_bytes()).map(|(byte, _)| byte).collect())
}

/// What is left of a path behind a prefix that it matches, written as it was: `/api/a%2Fb` behind `/api` is `/a%2Fb`.
/// Never empty, begins with `/`. None where nothing is to be taken off.
#[must_use]
pub fn strip(path: &str, prefix: &str) -> Option<String> {
    if prefix == "/" {
        return None;
    }
    let taken: usize = decoded(path.as_bytes()).take(prefix.len()).map(|(_, width)| width).sum();
    let rest = path.get(taken..).unwrap_or_default();
    let slash = ["/", "%2F", "%2f"].iter().find_map(|slash| rest.strip_prefix(slash));
    Some(format!("/{}", slash.unwrap_or(rest)))
}

/// Whether a path, decoded, is the prefix or lies below it.
pub(super) fn matches(path: &[u8], prefix: &str) -> bool {
    if prefix == "/" {
        return path.first() == Some(&b'/') || path.is_empty();
    }
    path.strip_prefix(prefix.as_bytes()).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// Each byte with the width it was written in.
fn decoded(mut path: &[u8]) -> impl Iterator<Item = (u8, usize)> {
    std::iter::from_fn(move || {
        let (byte, width) = match path {
            [] => return None,
            [b'%', high, low, ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [byte, ..] => (*byte, 1),
        };
        path = path.get(width..).unwrap_or_default();
        Some((byte, width))
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}
