//! Times as texts in the local zone: as RFC 3339 and as the Common Log Format have them.
//!
//! Used on all threads. Promise: the zone's offset is looked up once for each second and thread, since that costs more
//! than the rest of a line. Caveat: years are those from 0 to 9999.

use std::cell::RefCell;
use std::fmt::Write;

use jiff::{Timestamp, tz::TimeZone};

/// A second and its texts.
#[derive(Default)]
struct Texts {
    second: Option<i64>,
    /// As in `2025-05-06T07:08:09`.
    iso: String,
    /// As in `+02:00`.
    offset: String,
    /// As in `06/May/2025:07:08:09 +0200`.
    common: String,
}

thread_local! {
    /// The last one on this thread.
    static LAST: RefCell<Texts> = RefCell::default();
}

fn with_texts(time: Timestamp, see: impl FnOnce(&Texts)) {
    LAST.with_borrow_mut(|last| {
        if last.second != Some(time.as_second()) {
            let local = time.to_zoned(TimeZone::system());
            last.iso = local.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            last.offset = local.strftime("%:z").to_string();
            last.common = local.strftime("%d/%b/%Y:%H:%M:%S %z").to_string();
            last.second = Some(time.as_second());
        }
        see(last);
    });
}

/// Appends `2025-05-06T07:08:09.012+02:00`.
pub(crate) fn push_rfc3339(line: &mut String, time: Timestamp) {
    with_texts(time, |texts| {
        line.push_str(&texts.iso);
        write!(line, ".{:03}", time.subsec_millisecond()).expect("writing to a String does not fail");
        line.push_str(&texts.offset);
    });
}

/// Appends `06/May/2025:07:08:09 +0200`.
pub(crate) fn push_common(line: &mut String, time: Timestamp) {
    with_texts(time, |texts| line.push_str(&texts.common));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_of_the_same_moment_and_the_remembered_second_is_not_used_for_another_one() {
        let local = jiff::civil::date(2025, 5, 6).at(7, 8, 9, 12_345_678).to_zoned(TimeZone::system()).unwrap();
        let offset = local.strftime("%:z").to_string();
        for second in ["09", "10", "09"] {
            let time = local.with().second(second.parse().unwrap()).build().unwrap().timestamp();
            let (mut iso, mut common) = (String::new(), String::new());
            push_rfc3339(&mut iso, time);
            push_common(&mut common, time);
            assert_eq!(format!("2025-05-06T07:08:{second}.012{offset}"), iso);
            assert_eq!(format!("06/May/2025:07:08:{second} {}", offset.replace(':', "")), common);
        }
    }
}
