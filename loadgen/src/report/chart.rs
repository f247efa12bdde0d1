//! Draws one chart as SVG. It knows axes and shapes, and nothing of what they mean.
//!
//! Colours are marks: the page's style sheet gives each its colour in light and in dark.

use plotters::{
    coord::{
        Shift,
        ranged1d::{DefaultFormatting, KeyPointHint, Ranged},
    },
    prelude::{
        ChartBuilder, Circle, DrawingArea, IntoDrawingArea, LineSeries, PathElement, RGBColor,
        Rectangle, SVGBackend, Text,
    },
    style::{
        Color, IntoFont, ShapeStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

const WIDTH: u32 = 640;
const HEIGHT: u32 = 340;
const FONT_PX: u32 = 17;

const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
const HEAT: RGBColor = RGBColor(14, 14, 14);
const MARK: RGBColor = RGBColor(15, 15, 15);
/// Colours of series; the style sheet has as many.
const SERIES: [RGBColor; 4] =
    [RGBColor(10, 10, 10), RGBColor(11, 11, 11), RGBColor(12, 12, 12), RGBColor(13, 13, 13)];

/// An axis: how values become places, and which places have a label.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    label: String,
    is_log: bool,
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From zero to `high`, rounded up to a whole tick.
    pub(super) fn linear(label: &str, high: f64, text: impl Fn(f64) -> String) -> Self {
        // Where all is zero, ticks below one would all read as zero.
        let high = if high > 0.0 { high } else { 1.0 };
        let step = nice_step(high / 5.0);
        let count = (high / step).ceil().max(1.0);
        let ticks = (0..=count as u32).map(|tick| {
            let value = f64::from(tick) * step;
            (value, text(value))
        });
        Self {
            label: label.to_owned(),
            is_log: false,
            low: 0.0,
            high: count * step,
            ticks: ticks.collect(),
        }
    }

    /// Whole decades around the values; a label for each.
    pub(super) fn log(label: &str, low: f64, high: f64, text: impl Fn(f64) -> String) -> Self {
        let first = low.max(1e-9).log10().floor();
        let last = high.max(low).max(1e-9).log10().ceil().max(first + 1.0);
        let decades = (last - first) as i32;
        // More than eight labels would touch each other on a narrow chart.
        let every = (decades / 8 + 1).max(1);
        let ticks = (0..=decades).step_by(every as usize).map(|decade| {
            let place = first + f64::from(decade);
            (place, text(10_f64.powf(place)))
        });
        Self {
            label: label.to_owned(),
            is_log: true,
            low: first,
            high: last,
            ticks: ticks.collect(),
        }
    }

    /// The number of nines, from the least to 99.999 %.
    pub(super) fn nines() -> Self {
        let labels = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"];
        Self {
            label: "percentile".to_owned(),
            is_log: false,
            low: 0.0,
            high: 5.0,
            ticks: labels
                .iter()
                .zip(0..)
                .map(|(label, n)| (f64::from(n), (*label).to_owned()))
                .collect(),
        }
    }

    /// With these labels at whole numbers, each in the middle of its column.
    pub(super) fn columns(label: &str, names: &[String]) -> Self {
        let every = names.len() / 12 + 1;
        let ticks = names.iter().enumerate().step_by(every);
        Self {
            label: label.to_owned(),
            is_log: false,
            low: -0.5,
            high: names.len() as f64 - 0.5,
            ticks: ticks.map(|(index, name)| (index as f64, name.clone())).collect(),
        }
    }

    fn place(&self, value: f64) -> f64 {
        let place = if self.is_log { value.max(1e-9).log10() } else { value };
        place.clamp(self.low, self.high)
    }

    fn text(&self, place: f64) -> String {
        let near = (self.high - self.low) * 1e-6;
        let tick = self.ticks.iter().find(|(at, _)| (at - place).abs() <= near);
        tick.map_or(String::new(), |(_, text)| text.clone())
    }

    fn scale(&self) -> Scale {
        let ticks = self.ticks.iter().map(|(place, _)| *place).collect();
        Scale { low: self.low, high: self.high, ticks }
    }
}

/// An axis as the plotting crate wants it: its labels stand where they were asked for.
struct Scale {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (place - self.low) / (self.high - self.low);
        from + (f64::from(to - from) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

/// What is drawn.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// A line with its series' colour.
    Line { series: usize, points: Vec<(f64, f64)> },
    /// A line with a dot at each of its points.
    Dots { series: usize, points: Vec<(f64, f64)> },
    /// A column from zero.
    Column { series: usize, from: f64, to: f64, value: f64 },
    /// A cell of a heat map, with how hot it is: 0 to 1.
    Cell { from: (f64, f64), to: (f64, f64), heat: f64 },
    /// A vertical line with words beside it.
    Mark { at: f64, words: String },
    /// A stretch of the x axis with words at its top. What is drawn after it lies over it.
    Band { from: f64, to: f64, words: String },
}

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) shapes: Vec<Shape>,
}

impl Chart {
    /// The chart as an `svg` element; an empty text if it cannot be drawn.
    pub(super) fn svg(&self) -> String {
        let mut svg = String::new();
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        // Writing to a string cannot fail. What else may is a chart without extent.
        let drawn = self.draw(&root);
        drop(root);
        if drawn.is_err() {
            return String::new();
        }
        // The text of a page is no file of its own: no declaration belongs into it.
        svg
    }

    fn draw(
        &self,
        root: &DrawingArea<SVGBackend<'_>, Shift>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let font = || ("sans-serif", FONT_PX).into_font().color(&INK);
        let mut area = ChartBuilder::on(root)
            .margin(6)
            .margin_right(40)
            .x_label_area_size(48)
            .y_label_area_size(86)
            .build_cartesian_2d(self.x.scale(), self.y.scale())
            .map_err(|error| error.to_string())?;
        area.configure_mesh()
            .light_line_style(GRID.mix(0.0))
            .bold_line_style(GRID)
            .axis_style(GRID)
            .label_style(font())
            .axis_desc_style(font())
            .x_desc(self.x.label.as_str())
            .y_desc(self.y.label.as_str())
            .x_label_formatter(&|place| self.x.text(*place))
            .y_label_formatter(&|place| self.y.text(*place))
            .draw()
            .map_err(|error| error.to_string())?;
        let place = |(x, y): (f64, f64)| (self.x.place(x), self.y.place(y));
        for shape in &self.shapes {
            match shape {
                Shape::Line { series, points } | Shape::Dots { series, points } => {
                    let color = SERIES[series % SERIES.len()];
                    let style = ShapeStyle::from(color).stroke_width(2);
                    let places: Vec<_> = points.iter().copied().map(place).collect();
                    area.draw_series(LineSeries::new(places.iter().copied(), style))
                        .map_err(|error| error.to_string())?;
                    if matches!(shape, Shape::Dots { .. }) {
                        let dots = places.iter().map(|at| Circle::new(*at, 4, color.filled()));
                        area.draw_series(dots).map_err(|error| error.to_string())?;
                    }
                }
                Shape::Column { series, from, to, value } => {
                    let color = SERIES[series % SERIES.len()];
                    let corners = [place((*from, 0.0)), place((*to, *value))];
                    let column = Rectangle::new(corners, color.filled());
                    area.draw_series([column]).map_err(|error| error.to_string())?;
                }
                Shape::Cell { from, to, heat } => {
                    let corners = [place(*from), place(*to)];
                    let cell = Rectangle::new(corners, HEAT.mix(heat.clamp(0.0, 1.0)).filled());
                    area.draw_series([cell]).map_err(|error| error.to_string())?;
                }
                Shape::Mark { at, words } => {
                    let at = self.x.place(*at);
                    let line = PathElement::new(
                        vec![(at, self.y.low), (at, self.y.high)],
                        ShapeStyle::from(MARK).stroke_width(1),
                    );
                    area.draw_series([line]).map_err(|error| error.to_string())?;
                    area.draw_series([self.words(words, at)]).map_err(|error| error.to_string())?;
                }
                Shape::Band { from, to, words } => {
                    let (from, to) = (self.x.place(*from), self.x.place(*to));
                    // One that is short must still be seen.
                    let to = to.max(from + (self.x.high - self.x.low) * 0.004).min(self.x.high);
                    let corners = [(from, self.y.low), (to, self.y.high)];
                    let band = Rectangle::new(corners, MARK.mix(0.25).filled());
                    area.draw_series([band]).map_err(|error| error.to_string())?;
                    area.draw_series([self.words(words, to)]).map_err(|error| error.to_string())?;
                }
            }
        }
        root.present().map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Words at the top, beside a place on the x axis, on the side where there is more room.
    fn words(&self, words: &str, at: f64) -> Text<'static, (f64, f64), String> {
        let is_right = at > self.x.low.midpoint(self.x.high);
        let shift = (self.x.high - self.x.low) * 0.01;
        let (at, side) =
            if is_right { (at - shift, HPos::Right) } else { (at + shift, HPos::Left) };
        let font = ("sans-serif", FONT_PX).into_font().color(&INK);
        Text::new(words.to_owned(), (at, self.y.high), font.pos(Pos::new(side, VPos::Top)))
    }
}

/// A step of 1, 2 or 5 times a power of ten, at least as large as `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| times * power >= step * 0.999);
    times.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_its_labels_and_its_colours_as_marks() {
        let chart = Chart {
            x: Axis::nines(),
            y: Axis::log("time", 1e3, 2e6, |ns| format!("{ns:.0} ns")),
            shapes: vec![
                Shape::Line { series: 1, points: vec![(0.0, 1e3), (5.0, 2e6)] },
                Shape::Mark { at: 4.0, words: "here & now".to_owned() },
            ],
        };
        let svg = chart.svg();
        for part in ["99.99 %", "1000 ns", "10000000 ns", "#0B0B0B", "here &amp; now", "</svg>"] {
            assert!(svg.contains(part), "{part:?} is missing\n{svg}");
        }
        assert!(!svg.contains("<?xml"));
    }

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let axis = Axis::linear("jobs", 930.0, |value| format!("{value}"));
        assert_eq!((axis.ticks.len(), axis.high), (6, 1000.0));
        let axis = Axis::linear("jobs", 0.0, |value| format!("{value}"));
        assert_eq!((axis.high, axis.ticks[1].1.as_str()), (1.0, "0.2"));
        assert_eq!([0.3, 1.0, 1.5, 37.0].map(nice_step), [0.5, 1.0, 2.0, 50.0]);
    }
}
