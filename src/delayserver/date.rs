//! The date in the format of HTTP (IMF-fixdate, RFC 9110, section 5.6.7).

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns, for example, `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http_date(now: SystemTime) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let weekday = WEEKDAYS[days as usize % 7]; // The epoch was a Thursday.
    // No year is longer than 366 days, so this guess is not too late; the loop tries the next ones.
    let mut year = 1970 + days / 366;
    while days_before(year + 1) <= days {
        year += 1;
    }
    let february = days_before(year + 1) - days_before(year) - 337;
    let mut day = days - days_before(year);
    let mut month = 0;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let mut date = String::with_capacity(29);
    date += weekday;
    date += ", ";
    push_digits(&mut date, day + 1);
    date.push(' ');
    date += MONTHS[month];
    date.push(' ');
    push_digits(&mut date, year / 100);
    push_digits(&mut date, year);
    for (mark, number) in [
        (' ', second / 3600),
        (':', second / 60 % 60),
        (':', second % 60),
    ] {
        date.push(mark);
        push_digits(&mut date, number);
    }
    date + " GMT"
}

/// Appends the last two digits. (Each answer has a date, and `format!` takes several times as
/// long.)
fn push_digits(text: &mut String, number: u64) {
    for digit in [number / 10 % 10, number % 10] {
        text.push(char::from(b'0' + digit as u8));
    }
}

/// Returns the number of days from 1970 to the start of a year.
fn days_before(year: u64) -> u64 {
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    365 * (year - 1970) + leap_days(year - 1) - leap_days(1969)
}
