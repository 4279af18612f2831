//! Integers as Go's flags take them: in base 0.

/// Go's `strconv.ParseInt(text, 0, 64)`.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    let syntax = || format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, lower.get(2..)),
        Some("0o") => (8, lower.get(2..)),
        Some("0b") => (2, lower.get(2..)),
        Some(two) if two.starts_with('0') => (8, lower.get(1..)),
        _ => (10, Some(lower.as_str())),
    };
    let digits = digits.ok_or_else(syntax)?;
    let with_prefix = lower.len() != digits.len();
    if !underscores_fit(digits, with_prefix) {
        return Err(syntax());
    }
    let digits: String = digits.chars().filter(|c| *c != '_').collect();
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(syntax());
    }
    let range = || format!("strconv.ParseInt: parsing {text:?}: value out of range");
    let magnitude = i128::from_str_radix(&digits, radix).map_err(|_| range())?;
    i64::try_from(if negative { -magnitude } else { magnitude }).map_err(|_| range())
}

/// Go allows `_` only between digits, or between a prefix and a digit, and only where a base is implied by the text.
fn underscores_fit(digits: &str, with_prefix: bool) -> bool {
    let lone_begin = digits.starts_with('_') && !with_prefix;
    !(lone_begin || digits.ends_with('_') || digits.contains("__"))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_fall(text in ".{0,12}") {
            let _ = parse(&text);
        }

        #[test]
        fn every_number_is_read_back(number: i64) {
            proptest::prop_assert_eq!(parse(&number.to_string()), Ok(number));
        }
    }
}
