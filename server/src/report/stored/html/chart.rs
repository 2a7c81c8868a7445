//! Charts as inline SVG: bars and lines over the buckets of a report, with axes, legend and values to point at.

use super::markup::Markup;
use super::number::{Unit, shown};
use crate::domain::lang::Lang;

/// Width and height of a chart in its own units.
const SIZE: (f64, f64) = (720.0, 210.0);
/// Room for the vertical axis at the left, the horizontal one below, and air at the other sides.
const LEFT: f64 = 64.0;
const BELOW: f64 = 26.0;
const AIR: f64 = 10.0;
/// Most labels of the horizontal axis.
const LABELS_MAX: usize = 8;
/// Most points of a line that are drawn as dots too.
const DOTS_MAX: usize = 62;
/// Height of the mark of a part that is 0: it is seen, and no bar.
const ZERO: f64 = 3.0;
/// Classes of series, by their place.
const CLASSES: [&str; 4] = ["s1", "s2", "s3", "s4"];
/// Their colours where the style of the page does not reach: a chart that was taken out of it, a program that prints.
const COLOURS: [&str; CLASSES.len()] = ["#2563c9", "#d4622a", "#2f8f5b", "#8a4fc4"];
/// Likewise of the lines behind it, and of the frame where nothing is known.
const GRID: &str = "#d8dee4";
/// Likewise of its labels.
const LABEL: &str = "#59636e";
/// Likewise of a value of 0.
const NAUGHT: &str = "#cf222e";

/// How values are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A bar for each value; those of a later series stand in front. Where there is no value is a dashed frame; a part
    /// of 0 is a mark of its own, for it may be the worst there is.
    Bars,
    /// A line that is broken where there is no value.
    Lines,
}

/// One series: a value for each bucket.
#[derive(Debug, Clone)]
pub(super) struct Series<'a> {
    /// What it is called.
    pub(super) name: &'a str,
    /// Its values.
    pub(super) values: Vec<Option<f64>>,
}

/// A chart.
#[derive(Debug, Clone)]
pub(super) struct Chart<'a> {
    /// What it shows.
    pub(super) title: &'a str,
    /// What is said when there are no values.
    pub(super) nothing: &'a str,
    /// A label for each bucket.
    pub(super) labels: Vec<String>,
    /// At most four.
    pub(super) series: Vec<Series<'a>>,
    /// How it is drawn.
    pub(super) form: Form,
    /// What the values count.
    pub(super) unit: Unit,
    /// The top of the vertical axis; from the values without it.
    pub(super) top: Option<f64>,
}

/// Where things are.
struct Frame {
    slots: f64,
    top: f64,
}

impl Frame {
    fn x(&self, slot: f64) -> f64 {
        LEFT + (SIZE.0 - LEFT - AIR) * slot / self.slots
    }

    fn y(&self, value: f64) -> f64 {
        let height = SIZE.1 - AIR - BELOW;
        AIR + height * (1.0 - (value / self.top).clamp(0.0, 1.0))
    }
}

/// A length in the chart: a tenth of a unit is finer than any eye.
fn at(length: f64) -> String {
    format!("{length:.1}")
}

#[expect(clippy::cast_precision_loss, reason = "a report has at most some hundred buckets")]
fn slot(index: usize) -> f64 {
    index as f64
}

/// Draws a chart.
pub(super) fn draw(markup: &mut Markup, chart: &Chart<'_>, lang: Lang) {
    markup.open("figure", &[("class", "chart")]);
    markup.open("figcaption", &[]);
    markup.leaf("strong", &[], chart.title);
    if chart.series.len() > 1 {
        for (series, class) in chart.series.iter().zip(CLASSES) {
            markup.leaf("span", &[("class", &format!("key {class}"))], series.name);
        }
    }
    markup.close();
    let values = chart.series.iter().flat_map(|series| &series.values).flatten();
    let greatest = values.copied().filter(|value| value.is_finite()).fold(f64::NEG_INFINITY, f64::max);
    if greatest == f64::NEG_INFINITY {
        markup.leaf("p", &[("class", "nothing")], chart.nothing);
    } else {
        let steps = steps(chart.top.unwrap_or(greatest), chart.unit);
        let top = steps.last().copied().unwrap_or(1.0);
        let frame = Frame { slots: slot(chart.labels.len().max(1)), top };
        let view = format!("0 0 {} {}", SIZE.0, SIZE.1);
        markup.open(
            "svg",
            &[
                ("xmlns", "http://www.w3.org/2000/svg"),
                ("viewBox", &view),
                ("role", "img"),
                ("aria-label", chart.title),
            ],
        );
        axes(markup, chart, &frame, &steps, lang);
        for (series, class) in chart.series.iter().zip(CLASSES) {
            match chart.form {
                Form::Bars => bars(markup, chart, series, class, &frame, lang),
                Form::Lines => line(markup, chart, series, class, &frame, lang),
            }
        }
        markup.close();
    }
    markup.close();
}

/// The marks of the vertical axis: from 0 on, four or so, of 1, 2 or 5 times a power of ten.
fn steps(greatest: f64, unit: Unit) -> Vec<f64> {
    let greatest = if greatest > 0.0 { greatest } else { 1.0 };
    let rough = greatest / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let nice = [1.0, 2.0, 5.0, 10.0].into_iter().find(|nice| nice * power >= rough * 0.999).unwrap_or(10.0);
    let mut step = nice * power;
    if unit == Unit::Count {
        // There is no half a thing.
        step = step.max(1.0);
    }
    let mut out = vec![0.0];
    let mut mark = 0.0;
    while mark < greatest * 0.999_999 && out.len() < 12 {
        mark += step;
        out.push(mark);
    }
    out
}

fn axes(markup: &mut Markup, chart: &Chart<'_>, frame: &Frame, steps: &[f64], lang: Lang) {
    for mark in steps {
        let y = at(frame.y(*mark));
        let (left, right) = (at(LEFT), at(SIZE.0 - AIR));
        let ends = [("x1", left.as_str()), ("x2", &right), ("y1", &y), ("y2", &y)];
        markup.void("line", &[&[("class", "grid"), ("stroke", GRID)], &ends[..]].concat());
        let (x, y) = (at(LEFT - 6.0), at(frame.y(*mark) + 3.5));
        tick(markup, ("tick end", "end"), (&x, &y), &shown(*mark, chart.unit, lang));
    }
    let every = chart.labels.len().div_ceil(LABELS_MAX).max(1);
    for (index, label) in chart.labels.iter().enumerate().step_by(every) {
        let (x, y) = (at(frame.x(slot(index) + 0.5)), at(SIZE.1 - 8.0));
        tick(markup, ("tick middle", "middle"), (&x, &y), label);
    }
}

fn tick(markup: &mut Markup, (class, anchor): (&str, &str), (x, y): (&str, &str), text: &str) {
    let look = [("fill", LABEL), ("font-size", "11"), ("text-anchor", anchor)];
    markup.leaf("text", &[&[("class", class), ("x", x), ("y", y)], &look[..]].concat(), text);
}

/// The colour of a series where the style of the page does not reach.
fn colour(class: &str) -> &'static str {
    CLASSES.iter().zip(COLOURS).find(|(known, _)| **known == class).map_or(LABEL, |(_, colour)| colour)
}

/// What is said of a value that is pointed at.
fn told(chart: &Chart<'_>, series: &Series<'_>, index: usize, value: Option<f64>, lang: Lang) -> String {
    let label = chart.labels.get(index).map(String::as_str).unwrap_or_default();
    let value = value.map_or_else(|| chart.nothing.to_owned(), |value| shown(value, chart.unit, lang));
    format!("{label} \u{b7} {}: {value}", series.name)
}

fn bars(
    markup: &mut Markup,
    chart: &Chart<'_>,
    series: &Series<'_>,
    class: &'static str,
    frame: &Frame,
    lang: Lang,
) {
    let width = (frame.x(1.0) - frame.x(0.0)) * 0.8;
    let colour = colour(class);
    markup.open("g", &[("class", class), ("fill", colour)]);
    for (index, value) in series.values.iter().enumerate() {
        let bottom = frame.y(0.0);
        let (class, height) = match *value {
            None => ("gap", bottom - frame.y(frame.top)),
            Some(value) if value > 0.0 => ("bar", (bottom - frame.y(value)).max(0.5)),
            Some(_) if chart.unit == Unit::Ratio => ("zero", ZERO),
            // Of nothing that is counted there is nothing to see.
            Some(_) => continue,
        };
        let (x, y) = (at(frame.x(slot(index) + 0.1)), at(bottom - height));
        let (width, height) = (at(width.max(0.5)), at(height));
        let place = [("class", class), ("x", &x), ("y", &y), ("width", &width), ("height", &height)];
        let look: &[(&str, &str)] = match class {
            "gap" => &[("fill", "none"), ("stroke", GRID)],
            "zero" => &[("fill", NAUGHT)],
            _ => &[],
        };
        markup.open("rect", &[&place[..], look].concat());
        markup.leaf("title", &[], &told(chart, series, index, *value, lang));
        markup.close();
    }
    markup.close();
}

fn line(
    markup: &mut Markup,
    chart: &Chart<'_>,
    series: &Series<'_>,
    class: &'static str,
    frame: &Frame,
    lang: Lang,
) {
    let (mut path, mut is_broken) = (String::new(), true);
    let mut dots = Vec::new();
    for (index, value) in series.values.iter().enumerate() {
        let Some(value) = *value else {
            is_broken = true;
            continue;
        };
        let (x, y) = (at(frame.x(slot(index) + 0.5)), at(frame.y(value)));
        for piece in [if is_broken { "M" } else { "L" }, &x, " ", &y] {
            path.push_str(piece);
        }
        dots.push((x, y, index, value));
        is_broken = false;
    }
    let colour = colour(class);
    markup.open("g", &[("class", class), ("fill", colour)]);
    let look = [("fill", "none"), ("stroke", colour), ("stroke-width", "1.8")];
    markup.void("path", &[&[("class", "line"), ("d", path.as_str())], &look[..]].concat());
    if dots.len() <= DOTS_MAX {
        for (x, y, index, value) in dots {
            markup.open("circle", &[("cx", &x), ("cy", &y), ("r", "2.2")]);
            markup.leaf("title", &[], &told(chart, series, index, Some(value), lang));
            markup.close();
        }
    }
    markup.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_cover_the_values() {
        let marks = |greatest| steps(greatest, Unit::Millis);
        assert_eq!(marks(100.0), [0.0, 50.0, 100.0]);
        assert_eq!(marks(37.0), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(marks(0.0), [0.0, 0.5, 1.0]);
        assert_eq!(steps(2.0, Unit::Count), [0.0, 1.0, 2.0]);
        for greatest in [1e-9, 0.3, 1.0, 7.0, 99.0, 12_345.0, 1e15] {
            let marks = marks(greatest);
            assert!((2..12).contains(&marks.len()), "{greatest}: {marks:?}");
            assert!(marks.last().is_some_and(|top| *top >= greatest * 0.999), "{greatest}: {marks:?}");
        }
    }

    #[test]
    fn a_line_is_broken_where_nothing_is_known() {
        let chart = Chart {
            title: "t<",
            nothing: "none",
            labels: ["a", "b", "c", "d"].map(str::to_owned).into(),
            series: vec![Series { name: "n", values: vec![Some(1.0), Some(2.0), None, Some(4.0)] }],
            form: Form::Lines,
            unit: Unit::Count,
            top: None,
        };
        let mut markup = Markup::default();
        draw(&mut markup, &chart, Lang::En);
        let text = markup.finish();
        let path = text.split(" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1), "{path}");
        assert!(text.contains("<strong>t&lt;</strong>") && text.contains("b \u{b7} n: 2"), "{text}");
    }

    #[test]
    fn no_uptime_is_seen_and_is_not_like_no_data() {
        let of = |unit| {
            let chart = Chart {
                title: "t",
                nothing: "no data",
                labels: ["a", "b", "c"].map(str::to_owned).into(),
                series: vec![Series { name: "up", values: vec![Some(0.0), None, Some(0.5)] }],
                form: Form::Bars,
                unit,
                top: Some(1.0),
            };
            let mut markup = Markup::default();
            draw(&mut markup, &chart, Lang::En);
            markup.finish()
        };
        let text = of(Unit::Ratio);
        let marks: Vec<&str> = text.split("<rect class=\"").skip(1).collect();
        let mark = |at: usize| {
            let class = marks[at].split('"').next().unwrap();
            let height: f64 =
                marks[at].split("height=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
            let title = marks[at].split("<title>").nth(1).unwrap().split('<').next().unwrap();
            (class, height, title)
        };
        assert_eq!(marks.len(), 3, "{text}");
        assert_eq!(mark(0), ("zero", ZERO, "a \u{b7} up: 0%"));
        assert_eq!(mark(1), ("gap", SIZE.1 - AIR - BELOW, "b \u{b7} up: no data"));
        assert_eq!(mark(2), ("bar", (SIZE.1 - AIR - BELOW) / 2.0, "c \u{b7} up: 50%"));
        assert!(!of(Unit::Count).contains("class=\"zero\""), "no errors are nothing to see");
    }

    #[test]
    fn without_values_it_says_so() {
        let chart = Chart {
            title: "t",
            nothing: "no data",
            labels: vec!["a".to_owned()],
            series: vec![Series { name: "n", values: vec![None] }],
            form: Form::Bars,
            unit: Unit::Ratio,
            top: Some(1.0),
        };
        let mut markup = Markup::default();
        draw(&mut markup, &chart, Lang::En);
        let text = markup.finish();
        assert!(text.contains("no data") && !text.contains("<svg"), "{text}");
    }
}
