//! Numbers in the manner of a language: groups of digits, decimal sign, units.

use crate::domain::lang::Lang;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Things.
    Count,
    /// A part of a whole, 0 to 1.
    Ratio,
    /// Percent, 0 to 100.
    Percent,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// A space that does not break, narrower than usual.
const NARROW: char = '\u{202f}';

/// A number with its unit.
pub(super) fn shown(value: f64, unit: Unit, lang: Lang) -> String {
    match unit {
        Unit::Count => plain(value, lang),
        Unit::Ratio => percent(value * 100.0, lang),
        Unit::Percent => percent(value, lang),
        Unit::Millis if value.abs() < 1000.0 => format!("{}{NARROW}ms", plain(value, lang)),
        Unit::Millis => seconds(value / 1000.0, lang),
        Unit::Seconds => seconds(value, lang),
        Unit::Bytes => bytes(value, lang),
    }
}

/// A change as a part of what was before: `+12.5%`.
pub(super) fn change(relative: f64, lang: Lang) -> String {
    let sign = if relative > 0.0 { "+" } else { "" };
    format!("{sign}{}", percent(relative * 100.0, lang))
}

/// A number without a unit: whole, or with as many decimals as say something.
pub(super) fn plain(value: f64, lang: Lang) -> String {
    let decimals = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 4,
    };
    with_decimals(value, decimals, lang)
}

fn percent(value: f64, lang: Lang) -> String {
    // Near the whole the decimals are what matters.
    let decimals = if (99.0..100.0).contains(&value) { 3 } else { 1 };
    let number = with_decimals(value, decimals, lang);
    match lang {
        Lang::En => format!("{number}%"),
        Lang::Fr => format!("{number}{NARROW}%"),
    }
}

fn seconds(value: f64, lang: Lang) -> String {
    let (day, hour, minute) = (if lang == Lang::Fr { "j" } else { "d" }, "h", "min");
    if value.abs() < 1.0 && value != 0.0 {
        return format!("{}{NARROW}ms", plain(value * 1000.0, lang));
    }
    if value.abs() < 60.0 {
        return format!("{}{NARROW}s", plain((value * 10.0).round() / 10.0, lang));
    }
    let whole = value.abs().round();
    let (large, of_large, small, of_small) = match whole {
        w if w < 3_600.0 => ((w / 60.0).floor(), minute, w % 60.0, "s"),
        w if w < 172_800.0 => ((w / 3_600.0).floor(), hour, (w % 3_600.0 / 60.0).floor(), minute),
        w => ((w / 86_400.0).floor(), day, (w % 86_400.0 / 3_600.0).floor(), hour),
    };
    let sign = if value < 0.0 { "-" } else { "" };
    let large = with_decimals(large, 0, lang);
    format!("{sign}{large}{NARROW}{of_large} {small:02.0}{NARROW}{of_small}")
}

fn bytes(value: f64, lang: Lang) -> String {
    let units = match lang {
        Lang::En => ["B", "kB", "MB", "GB", "TB", "PB"],
        Lang::Fr => ["o", "ko", "Mo", "Go", "To", "Po"],
    };
    let mut scaled = value;
    let mut units = units.into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if scaled.abs() < 1000.0 {
            break;
        }
        (scaled, unit) = (scaled / 1000.0, larger);
    }
    format!("{}{NARROW}{unit}", plain(scaled, lang))
}

/// A number with so many decimals at most; zeros at the end are left out.
fn with_decimals(value: f64, decimals: usize, lang: Lang) -> String {
    let text = format!("{value:.decimals$}");
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    let (group, point) = match lang {
        Lang::En => (',', '.'),
        Lang::Fr => (NARROW, ','),
    };
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        // In groups of three from the right.
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(group);
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push(point);
        out.push_str(fraction);
    }
    let sign = if out == "0" { "" } else { sign };
    format!("{sign}{out}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_the_manner_of_the_language() {
        let both = |value, unit| Lang::ALL.map(|lang| shown(value, unit, lang).replace(NARROW, "_"));
        for (value, unit, expected) in [
            (0.0, Unit::Count, ["0", "0"]),
            (999.0, Unit::Count, ["999", "999"]),
            (1_234_567.0, Unit::Count, ["1,234,567", "1_234_567"]),
            (-1_234.5, Unit::Count, ["-1,234", "-1_234"]),
            (12.34, Unit::Count, ["12.3", "12,3"]),
            (0.005, Unit::Count, ["0.005", "0,005"]),
            (-0.000_01, Unit::Count, ["0", "0"]),
            (0.125, Unit::Ratio, ["12.5%", "12,5_%"]),
            (0.999_56, Unit::Ratio, ["99.956%", "99,956_%"]),
            (1.0, Unit::Ratio, ["100%", "100_%"]),
            (50.0, Unit::Percent, ["50%", "50_%"]),
            (340.4, Unit::Millis, ["340_ms", "340_ms"]),
            (1_500.0, Unit::Millis, ["1.5_s", "1,5_s"]),
            (0.25, Unit::Seconds, ["250_ms", "250_ms"]),
            (192.0, Unit::Seconds, ["3_min 12_s", "3_min 12_s"]),
            (18_420.0, Unit::Seconds, ["5_h 07_min", "5_h 07_min"]),
            (273_600.0, Unit::Seconds, ["3_d 04_h", "3_j 04_h"]),
            (1_230_000.0, Unit::Bytes, ["1.23_MB", "1,23_Mo"]),
            (12.0, Unit::Bytes, ["12_B", "12_o"]),
        ] {
            assert_eq!(both(value, unit), expected, "{value} {unit:?}");
        }
        assert_eq!(change(0.5, Lang::En), "+50%");
        assert_eq!(change(-0.031, Lang::En), "-3.1%");
    }
}
