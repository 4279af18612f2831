//! Patterns as in a shell: `*`, `?`, `[a-z]`, `[!a-z]`.

/// Whether the whole `text` matches; `*` matches anything, slashes and blanks too.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    rest_matches(&pattern, &text)
}

/// Whether the pattern has a character that is not only itself.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether a `[` begins no class, since nothing closes it; it then matches only itself.
#[must_use]
pub fn is_open(pattern: &str) -> bool {
    parts(pattern).any(|part| part == ['['])
}

/// How many characters of the pattern match only themselves.
#[must_use]
pub fn literals(pattern: &str) -> usize {
    parts(pattern).filter(|part| !matches!(part.as_slice(), ['*' | '?'] | ['[', _, ..])).count()
}

/// The pattern cut into wildcards, classes and single characters.
fn parts(pattern: &str) -> impl Iterator<Item = Vec<char>> {
    let mut rest: Vec<char> = pattern.chars().collect();
    std::iter::from_fn(move || {
        let length = match rest.first()? {
            '[' => class_end(&rest).map_or(1, |end| end + 1),
            _ => 1,
        };
        Some(rest.drain(..length).collect())
    })
}

/// Goes back to the last star only: enough, since an earlier star can take no less.
fn rest_matches(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let one = pattern.get(p..).and_then(|rest| one_matches(rest, *text.get(t)?));
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
        } else if let Some(used) = one {
            p += used;
            t += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            p = at + 1;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == '*'))
}

/// How many characters of the pattern the first of them that matches `c` takes.
fn one_matches(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '*' => None,
        '?' => Some(1),
        '[' => class_matches(pattern, c),
        first => (*first == c).then_some(1),
    }
}

fn class_matches(pattern: &[char], c: char) -> Option<usize> {
    let Some(end) = class_end(pattern) else { return (c == '[').then_some(1) };
    let class = pattern.get(1..end)?;
    let (negated, class) = match class.split_first() {
        Some(('!' | '^', rest)) if !rest.is_empty() => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    let mut rest = class;
    while let Some((first, tail)) = rest.split_first() {
        rest = match tail {
            ['-', last, tail @ ..] => {
                found |= (*first..=*last).contains(&c);
                tail
            }
            _ => {
                found |= *first == c;
                tail
            }
        };
    }
    (found != negated).then_some(end + 1)
}

/// Where the bracket stands that closes the class; one right after the opening one belongs to the class.
fn class_end(pattern: &[char]) -> Option<usize> {
    pattern.iter().skip(2).position(|c| *c == ']').map(|at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("*rails server*", "/rails/bin/rails server -b 0.0.0.0", true),
            ("*rails server*", "bin/rails console", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-c-d", false),
            ("?.db", "x.db", true),
            ("?.db", "xy.db", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[", "[", true),
            ("*.sqlite3", "production.sqlite3-wal", false),
            ("*web", "shop-web-web", true),
            ("a?c", "aéc", true),
            ("a?c", "ac", false),
            ("web", "web2", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
    #[test]
    fn literal_characters_are_counted_and_an_open_class_is_seen() {
        for (pattern, expected, open) in [
            ("shop-*", 5, false),
            ("a?[b-d]e", 2, false),
            ("[]]x", 1, false),
            ("[a", 2, true),
            ("[", 1, true),
            ("[a][", 1, true),
            ("", 0, false),
        ] {
            assert_eq!((literals(pattern), is_open(pattern)), (expected, open), "{pattern}");
        }
    }
}
