//! Names with `*` (any text) and `?` (one character), for `[service.NAME]`.

/// A pattern for service names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(String);

impl Glob {
    pub(super) fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// How exact the match is, if it matches: a name without wildcards first, then by literal characters.
    pub(super) fn rank(&self, name: &str) -> Option<(bool, usize)> {
        let literal = self.0.chars().filter(|c| !matches!(c, '*' | '?')).count();
        let exact = literal == self.0.chars().count();
        matches(self.0.as_bytes(), name.as_bytes()).then_some((exact, literal))
    }
}

/// Greedy with one point of return, so the time is at most the product of the lengths.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match (pattern.get(p), name.get(n)) {
            (Some(b'*'), _) => {
                star = Some((p, n));
                p += 1;
            }
            (Some(b'?'), Some(_)) => {
                p += 1;
                n += character(name, n);
            }
            (Some(a), Some(b)) if a == b => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|b| *b == b'*'))
}

/// Length of the UTF-8 character that begins at `at`.
fn character(name: &[u8], at: usize) -> usize {
    1 + name.get(at + 1..).unwrap_or_default().iter().take_while(|b| (**b & 0xC0) == 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn matches_names_as_a_shell_would() {
        for (pattern, name, expected) in [
            ("shop-*", "shop-web", true),
            ("shop-*", "shop", false),
            ("*", "", true),
            ("*web", "shop-web-web", true),
            ("a?c", "aéc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("a*b", "acd", false),
            ("web", "web", true),
            ("web", "web2", false),
        ] {
            assert_eq!(Glob::new(pattern).rank(name).is_some(), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_name_beats_every_pattern_and_more_letters_beat_fewer() {
        let rank = |pattern: &str| Glob::new(pattern).rank("shop-web");
        assert!(rank("shop-web") > rank("shop-web*"));
        assert!(rank("shop-*") > rank("*"));
    }
}
