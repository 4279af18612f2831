//! Durations in Go's syntax, as kamal-proxy's flags and texts have them.

use std::time::Duration;

/// Why a text is no duration; the texts are Go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a duration at all.
    #[error("time: invalid duration {0}")]
    Invalid(String),
    /// A number without its unit.
    #[error("time: missing unit in duration {0}")]
    MissingUnit(String),
    /// A unit that Go does not know.
    #[error("time: unknown unit {0} in duration {1}")]
    UnknownUnit(String, String),
    /// One that Go knows and nobody can wait.
    #[error("time: negative duration {0}")]
    Negative(String),
}

/// Parses Go's syntax for a duration that somebody waits.
///
/// # Errors
/// [`DurationError`], with Go's text where Go has one.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let nanos = go_duration(text)?;
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| DurationError::Negative(format!("{text:?}")))
}

/// Parses Go's syntax to signed nanoseconds: for the contract's flags, which take negative durations (1.1).
///
/// # Errors
/// [`DurationError`] with Go's text.
pub fn go_duration(text: &str) -> Result<i64, DurationError> {
    let quoted = format!("{text:?}");
    let invalid = || DurationError::Invalid(quoted.clone());
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_len);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(quoted));
        }
        let scale = unit_nanos(unit).ok_or_else(|| DurationError::UnknownUnit(format!("{unit:?}"), quoted.clone()))?;
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        total = total.checked_add(whole.checked_mul(scale).ok_or_else(invalid)?).ok_or_else(invalid)?;
        total = total.checked_add(fraction_nanos(fraction, scale)).ok_or_else(invalid)?;
        rest = tail;
    }
    let magnitude = i64::try_from(total).map_err(|_| invalid())?;
    Ok(if negative { -magnitude } else { magnitude })
}

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

fn fraction_nanos(digits: &str, scale: u128) -> u128 {
    let digits = digits.get(..digits.len().min(18)).unwrap_or_default();
    let value: u128 = digits.parse().unwrap_or(0);
    value * scale / 10u128.pow(u32::try_from(digits.len()).unwrap_or(0))
}

/// Prints as Go does: `1m30s`, `1.5s`, `300ms`, `0s`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".into();
    }
    if nanos < 1_000 {
        return format!("{nanos}ns");
    }
    if nanos < 1_000_000 {
        return format!("{}µs", decimal(nanos, 1_000));
    }
    if nanos < 1_000_000_000 {
        return format!("{}ms", decimal(nanos, 1_000_000));
    }
    let (minutes, rest) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
    let seconds = decimal(rest, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, m) => format!("{m}m{seconds}s"),
        (h, m) => format!("{h}h{m}m{seconds}s"),
    }
}

fn decimal(value: u128, unit: u128) -> String {
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let width = unit.ilog10() as usize;
    let fraction = format!("{rest:0width$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_what_go_reads_and_prints() {
        for (text, printed) in [
            ("1h2m3.5s", "1h2m3.5s"),
            ("90s", "1m30s"),
            ("1.5s", "1.5s"),
            ("300ms", "300ms"),
            ("0", "0s"),
            ("2µs", "2µs"),
            ("1h", "1h0m0s"),
            (".5s", "500ms"),
            ("-0", "0s"),
        ] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), printed, "{text}");
        }
    }

    #[test]
    fn names_what_is_wrong_in_gos_words() {
        for (text, error) in [
            ("5", "time: missing unit in duration \"5\""),
            ("abc", "time: invalid duration \"abc\""),
            ("", "time: invalid duration \"\""),
            ("1x", "time: unknown unit \"x\" in duration \"1x\""),
            ("-5s", "time: negative duration \"-5s\""),
            (
                "340282366920938463463374607431768211.999us",
                "time: invalid duration \"340282366920938463463374607431768211.999us\"",
            ),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), error);
        }
    }
}
