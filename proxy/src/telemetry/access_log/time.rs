use std::time::{SystemTime, UNIX_EPOCH};

/// Writes times as RFC 3339 in UTC with microseconds; remembers the last second, since most lines share theirs with the
/// line before.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    second: u64,
    text: [u8; 19],
}

impl Clock {
    pub(crate) fn write(&mut self, time: SystemTime, out: &mut Vec<u8>) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if since.as_secs() != self.second {
            *self = Self::at(since.as_secs());
        }
        out.extend_from_slice(&self.text);
        let mut micros = *b".000000Z";
        decimal(&mut micros[1..7], u64::from(since.subsec_micros()));
        out.extend_from_slice(&micros);
    }

    fn at(second: u64) -> Self {
        let (days, of_day) = (second / 86_400, second % 86_400);
        let (year, month, day) = date(days);
        let mut text = *b"0000-00-00T00:00:00";
        decimal(&mut text[0..4], year);
        decimal(&mut text[5..7], month);
        decimal(&mut text[8..10], day);
        decimal(&mut text[11..13], of_day / 3600);
        decimal(&mut text[14..16], of_day / 60 % 60);
        decimal(&mut text[17..19], of_day % 60);
        Self { second, text }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::at(0)
    }
}

/// RFC 3339 in UTC with microseconds.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let mut text = Vec::new();
    Clock::default().write(time, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Year, month and day (both from 1) of a day counted from 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, years end with their leap day, and 400 years always have 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

fn decimal(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn known_times() {
        // From `date -u -d @SECONDS`.
        for (second, want) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000Z"),
            (1_709_210_096, "2024-02-29T12:34:56.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
            (1_795_260_600, "2026-11-21T11:30:00.000000Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(second)), want);
        }
    }

    #[test]
    fn days_follow_one_another_through_eight_centuries() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..300_000 {
            assert_eq!(date(days), (year, month, day), "day {days}");
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn the_remembered_second_is_renewed() {
        let (mut clock, mut out) = (Clock::default(), Vec::new());
        for micros in [1_999_999, 2_000_001, 1_000_000] {
            clock.write(UNIX_EPOCH + Duration::from_micros(micros), &mut out);
            out.push(b' ');
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "1970-01-01T00:00:01.999999Z 1970-01-01T00:00:02.000001Z 1970-01-01T00:00:01.000000Z "
        );
    }
}
