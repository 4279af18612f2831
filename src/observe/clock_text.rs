//! Time stamps as slog writes them: RFC 3339, nanoseconds without trailing zeros, local offset.

use std::cell::RefCell;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use crate::clock;

thread_local! {
    /// The second last written: the calendar is asked once a second.
    static SECOND: RefCell<Second> = const { RefCell::new(Second { second: u64::MAX, date: String::new(), offset: String::new() }) };
}

struct Second {
    second: u64,
    date: String,
    offset: String,
}

/// Appends the time that it is.
pub fn push_time(out: &mut Vec<u8>) {
    let now = clock::since_epoch();
    SECOND.with_borrow_mut(|known| {
        if known.second != now.as_secs() {
            known.renew(now.as_secs());
        }
        out.extend_from_slice(known.date.as_bytes());
        push_fraction(out, now.subsec_nanos());
        out.extend_from_slice(known.offset.as_bytes());
    });
}

impl Second {
    fn renew(&mut self, second: u64) {
        let stamp = i64::try_from(second).ok().and_then(|s| Timestamp::from_second(s).ok()).unwrap_or_default();
        let zoned = stamp.to_zoned(TimeZone::system());
        self.second = second;
        self.date = zoned.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        self.offset = if zoned.offset() == Offset::UTC { "Z".into() } else { zoned.strftime("%:z").to_string() };
    }
}

fn push_fraction(out: &mut Vec<u8>, nanos: u32) {
    if nanos == 0 {
        return;
    }
    let mut digits = *b".000000000";
    let mut rest = nanos;
    for digit in digits.iter_mut().skip(1).rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    let kept = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    out.extend_from_slice(digits.get(..kept).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::{push_fraction, push_time};

    #[test]
    fn a_fraction_has_no_trailing_zeros() {
        for (nanos, text) in [(0, ""), (1, ".000000001"), (173_306_750, ".17330675"), (500_000_000, ".5")] {
            let mut out = Vec::new();
            push_fraction(&mut out, nanos);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn the_time_reads_as_rfc_3339() {
        let mut out = Vec::new();
        push_time(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.parse::<jiff::Timestamp>().is_ok(), "{text}");
    }
}
