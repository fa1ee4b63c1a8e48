//! Times and durations as people write them on the command line, and as Kafka's tools take them
//! (ISO 8601).

use std::time::Duration;

const MS_PER_DAY: i64 = 86_400_000;

/// Reads a time into milliseconds since 1970: `@MS`, or a date with a time and perhaps a zone;
/// without a zone it is UTC, as in Kafka's tools.
pub(super) fn time_of(text: &str) -> Result<i64, String> {
    let wrong =
        || format!("expected @MS since 1970, or a time like 2026-03-01T06:00:00Z, found {text:?}");
    if let Some(time) = text.strip_prefix('@') {
        return time
            .parse()
            .ok()
            .filter(|&time: &i64| time >= 0)
            .ok_or_else(wrong);
    }
    date_time(text).filter(|&time| time >= 0).ok_or_else(wrong)
}

fn date_time(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let mut parts = date.split('-');
    let (year, month, day) = (
        number(parts.next()?, 4)?,
        number(parts.next()?, 2)?,
        number(parts.next()?, 2)?,
    );
    let exists = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if parts.next().is_some() || !exists {
        return None;
    }
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone_at);
    let since_midnight = clock_ms(clock)?;
    let days = days_since_1970(year, month, day);
    Some(days * MS_PER_DAY + since_midnight - zone_ms(zone)?)
}

/// A number of exactly so many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let sound = text.len() == digits && text.bytes().all(|digit| digit.is_ascii_digit());
    sound.then(|| text.parse().ok()).flatten()
}

fn clock_ms(text: &str) -> Option<i64> {
    let (clock, fraction) = match text.split_once('.') {
        None => (text, 0),
        Some((clock, digits)) => {
            let sound = (1..=9).contains(&digits.len())
                && digits.bytes().all(|digit| digit.is_ascii_digit());
            let padded = format!("{digits:0<3}");
            (
                clock,
                sound.then(|| padded[..3].parse::<i64>().ok()).flatten()?,
            )
        }
    };
    let mut parts = clock.split(':');
    let hours = number(parts.next()?, 2)?;
    let minutes = number(parts.next()?, 2)?;
    let seconds = parts.next().map_or(Some(0), |part| number(part, 2))?;
    let exists = hours < 24 && minutes < 60 && seconds < 60 && parts.next().is_none();
    exists.then_some(((hours * 60 + minutes) * 60 + seconds) * 1000 + fraction)
}

/// `Z`, nothing, `+01:00` or `-0530`.
fn zone_ms(text: &str) -> Option<i64> {
    if text.is_empty() || text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text.get(1..)?.replace(':', "");
    let digits = format!("{digits:0<4}");
    let (hours, minutes) = (number(digits.get(..2)?, 2)?, number(digits.get(2..)?, 2)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = |year: i64| {
        let last = year - 1;
        last * 365 + last / 4 - last / 100 + last / 400
    };
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    before(year) - before(1970) + months + day - 1
}

/// A time in milliseconds since 1970 as people read it, in UTC; `@MS` where no calendar has it.
pub(super) fn shown(ms: i64) -> String {
    const YEARS: std::ops::Range<i64> = 1970..10_000;
    let days = ms.div_euclid(MS_PER_DAY);
    // Not later than the year sought, and at most one before it.
    let mut year = 1970 + days / 366;
    while YEARS.contains(&year) && days_since_1970(year + 1, 1, 1) <= days {
        year += 1;
    }
    if ms < 0 || !YEARS.contains(&year) {
        return format!("@{ms}");
    }
    let mut day = days - days_since_1970(year, 1, 1);
    let mut month = 1;
    while day >= days_in(year, month) {
        day -= days_in(year, month);
        month += 1;
    }
    let time = ms.rem_euclid(MS_PER_DAY);
    let (hours, minutes, seconds) = (time / 3_600_000, time / 60_000 % 60, time / 1000 % 60);
    format!(
        "{year:04}-{month:02}-{:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z",
        day + 1,
        time % 1000
    )
}

/// Reads a duration: `90s`, `10m`, `2h`, `7d`, `500ms`, or Kafka's `P1DT2H30M`.
pub(super) fn duration_of(text: &str) -> Result<Duration, String> {
    let read = match text.strip_prefix('P') {
        Some(rest) => iso_duration(rest),
        None => short_duration(text),
    };
    read.ok_or_else(|| {
        format!("expected a duration like 90s, 10m, 2h, 7d or PT2H30M, found {text:?}")
    })
}

fn short_duration(text: &str) -> Option<Duration> {
    let end = text.find(|one: char| !one.is_ascii_digit())?;
    let (count, unit) = text.split_at(end);
    let ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let count: u64 = count.parse().ok()?;
    Some(Duration::from_millis(count.checked_mul(ms)?))
}

/// What follows the `P`: days, then behind a `T` hours, minutes and seconds.
fn iso_duration(text: &str) -> Option<Duration> {
    let (days, clock) = match text.split_once('T') {
        None => (text, None),
        Some((days, clock)) => (days, Some(clock)),
    };
    let mut total = Duration::ZERO;
    let mut rest = days;
    let mut found = take(&mut rest, 'D', 86_400, &mut total)?;
    if !rest.is_empty() {
        return None;
    }
    if let Some(clock) = clock {
        let mut rest = clock;
        for (letter, seconds) in [('H', 3600), ('M', 60), ('S', 1)] {
            found |= take(&mut rest, letter, seconds, &mut total)?;
        }
        if !rest.is_empty() || clock.is_empty() {
            return None;
        }
    }
    found.then_some(total)
}

/// Takes `12H` off the front, if it is there; `None` where it cannot be counted.
fn take(rest: &mut &str, letter: char, seconds: u64, total: &mut Duration) -> Option<bool> {
    let Some((count, behind)) = rest.split_once(letter) else {
        return Some(false);
    };
    let sound = !count.is_empty() && count.bytes().all(|digit| digit.is_ascii_digit());
    let count: u64 = sound.then(|| count.parse().ok()).flatten()?;
    let part = Duration::from_secs(count.checked_mul(seconds)?);
    *total = total.checked_add(part)?;
    *rest = behind;
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_milliseconds_dates_and_zones() {
        for (text, expected) in [
            ("@0", 0),
            ("@1700000000000", 1_700_000_000_000),
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-02", 86_400_000),
            ("2000-02-29T12:00", 951_825_600_000),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14T22:13:20.5", 1_700_000_000_500),
            ("2023-11-14T23:13:20.000+01:00", 1_700_000_000_000),
            ("2023-11-14T16:43:20-0530", 1_700_000_000_000),
        ] {
            assert_eq!(time_of(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_time_that_is_shown_reads_back_as_itself() {
        assert_eq!(shown(1_772_344_800_123), "2026-03-01T06:00:00.123Z");
        for days in (0..2_900_000).step_by(13) {
            let time = days * MS_PER_DAY + days % MS_PER_DAY;
            assert_eq!(time_of(&shown(time)), Ok(time), "{}", shown(time));
        }
        for strange in [-1, i64::MAX, 253_402_300_800_000] {
            assert_eq!(shown(strange), format!("@{strange}"));
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_its_form() {
        for wrong in [
            "",
            "@",
            "@x",
            "@-5",
            "now",
            "2023-13-01",
            "2023-02-29",
            "2023-1-1",
            "2023-11-14T25:00",
            "2023-11-14T22:13:20X",
            "1969-12-31",
            "2023-11-14T22:13:20.",
            "2023-11-14T22:13:20+é",
        ] {
            let error = time_of(wrong).expect_err(wrong);
            assert!(error.contains("expected"), "{error}");
        }
    }

    #[test]
    fn durations_are_read_short_and_as_kafka_takes_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("10m", 600),
            ("2h", 7200),
            ("7d", 604_800),
            ("PT2H30M", 9000),
            ("P1D", 86_400),
            ("P1DT1S", 86_401),
            ("PT0S", 0),
        ] {
            assert_eq!(
                duration_of(text),
                Ok(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for wrong in [
            "",
            "P",
            "PT",
            "P1",
            "10",
            "10x",
            "-5m",
            "PT5M2H",
            "99999999999999999d",
        ] {
            assert!(duration_of(wrong).is_err(), "{wrong}");
        }
    }
}
