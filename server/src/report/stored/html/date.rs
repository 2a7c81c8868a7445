//! Days and times in the manner of a language, from the texts of a body: those are in the report's own time zone, so
//! that no zone is needed here.

use jiff::civil::{Date, Time};

use crate::domain::lang::Lang;

const MONTHS_EN: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const MONTHS_FR: [&str; 12] = [
    "janvier",
    "f\u{e9}vrier",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "ao\u{fb}t",
    "septembre",
    "octobre",
    "novembre",
    "d\u{e9}cembre",
];
const SHORT_EN: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const SHORT_FR: [&str; 12] = [
    "janv.",
    "f\u{e9}vr.",
    "mars",
    "avr.",
    "mai",
    "juin",
    "juil.",
    "ao\u{fb}t",
    "sept.",
    "oct.",
    "nov.",
    "d\u{e9}c.",
];

/// The local day of a date or an instant.
fn date(text: &str) -> Option<Date> {
    text.get(..10)?.parse().ok()
}

/// The local time of an instant.
fn time(text: &str) -> Option<Time> {
    text.get(11..19)?.parse().ok()
}

fn month(date: Date, names: [&'static str; 12]) -> &'static str {
    let index = usize::try_from(date.month()).unwrap_or(1).saturating_sub(1);
    names.get(index).copied().unwrap_or_default()
}

/// `13 November 2023`, `1er janvier 2024`; what is no day stays as it is.
pub(super) fn day(text: &str, lang: Lang) -> String {
    let Some(date) = date(text) else { return text.to_owned() };
    let first = if lang == Lang::Fr && date.day() == 1 { "er" } else { "" };
    let names = if lang == Lang::Fr { MONTHS_FR } else { MONTHS_EN };
    format!("{}{first} {} {}", date.day(), month(date, names), date.year())
}

/// `13 Nov`, `13 nov.`: for the axis of a chart.
pub(super) fn short_day(text: &str, lang: Lang) -> String {
    let Some(date) = date(text) else { return text.to_owned() };
    let names = if lang == Lang::Fr { SHORT_FR } else { SHORT_EN };
    format!("{} {}", date.day(), month(date, names))
}

/// `09:00`, `9 h`: for the axis of a chart.
pub(super) fn hour(text: &str, lang: Lang) -> String {
    let Some(time) = time(text) else { return text.to_owned() };
    match lang {
        Lang::En => format!("{:02}:{:02}", time.hour(), time.minute()),
        Lang::Fr if time.minute() == 0 => format!("{}\u{202f}h", time.hour()),
        Lang::Fr => format!("{}\u{202f}h\u{202f}{:02}", time.hour(), time.minute()),
    }
}

/// `13 November 2023, 09:05`, `13 novembre 2023, 9 h 05`; a day without a time is a day.
pub(super) fn moment(text: &str, lang: Lang) -> String {
    match time(text) {
        Some(_) => format!("{}, {}", day(text, lang), hour(text, lang)),
        None => day(text, lang),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_are_those_of_the_text() {
        let at = "2024-02-01T09:05:00+01:00";
        assert_eq!(moment(at, Lang::En), "1 February 2024, 09:05");
        assert_eq!(moment(at, Lang::Fr), "1er f\u{e9}vrier 2024, 9\u{202f}h\u{202f}05");
        assert_eq!([short_day(at, Lang::En), short_day(at, Lang::Fr)], ["1 Feb", "1 f\u{e9}vr."]);
        assert_eq!(hour("2024-02-01T14:00:00Z", Lang::Fr), "14\u{202f}h");
        assert_eq!(moment("2024-12-31", Lang::En), "31 December 2024");
        assert_eq!(day("soon", Lang::En), "soon");
    }
}
