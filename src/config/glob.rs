//! Names as patterns, for `[service.NAME]`.

use crate::spec::glob::{is_open, literals, matches};

/// A pattern for service names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(String);

impl Glob {
    /// None where a `[` is not closed: whoever writes that means something else.
    pub(super) fn parse(pattern: &str) -> Option<Self> {
        (!is_open(pattern)).then(|| Self(pattern.to_owned()))
    }

    /// How exact the match is, if it matches: a name without wildcards first, then by literal characters.
    pub(super) fn rank(&self, name: &str) -> Option<(bool, usize)> {
        let literal = literals(&self.0);
        let exact = literal == self.0.chars().count();
        matches(&self.0, name).then_some((exact, literal))
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn a_name_beats_every_pattern_and_more_letters_beat_fewer() {
        let rank = |pattern: &str| Glob::parse(pattern).unwrap().rank("shop-web");
        assert!(rank("shop-web") > rank("shop-web*"));
        assert!(rank("shop-*") > rank("shop[-_]*"));
        assert!(rank("shop-*") > rank("*"));
        assert!(rank("blog").is_none());
        assert!(Glob::parse("shop[").is_none());
    }
}
