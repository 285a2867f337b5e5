//! Charts as SVG, drawn on the server. The plot is stretched to its panel; labels are text beside it, so they keep their size
//! on a phone. What a chart shows is also in its description and in a table beside it.

use hostler_model::{Timestamp, size};
use maud::{Markup, html};

/// Units of a plot's width and height, stretched to what there is.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 200.0;

/// The time that a chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Its left end.
    pub from: Timestamp,
    /// Its right end.
    pub to: Timestamp,
}

impl Axis {
    /// Where an instant is, 0 to [`WIDTH`]; what lies outside is at the border.
    fn x(self, at: Timestamp) -> f64 {
        let whole = self.to.micros().saturating_sub(self.from.micros()).max(1) as f64;
        let part = at.micros().saturating_sub(self.from.micros()) as f64;
        (part / whole).clamp(0.0, 1.0) * WIDTH
    }

    fn labels(self) -> Markup {
        let middle = self.from.micros() / 2 + self.to.micros() / 2;
        let days = self.to.seconds_since(self.from) > 2 * 86_400;
        html! {
            div.chart-x {
                @for at in [self.from, Timestamp::from_micros(middle), self.to] {
                    @let exact = at.exact();
                    time datetime=(at) title=(exact) { @if days { (&exact[..10.min(exact.len())]) } @else { (exact.get(5..16).unwrap_or(&exact)) } }
                }
            }
        }
    }
}

/// A size that holds from one instant to the next, as a line. `title` names the chart; its description says first, last,
/// least and most.
pub fn sizes(id: &'static str, title: &str, axis: Axis, points: &[(Timestamp, u64)]) -> Markup {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return html! {} };
    let least = points.iter().map(|p| p.1).min().unwrap_or(0);
    let most = points.iter().map(|p| p.1).max().unwrap_or(0);
    // A line that hardly moves is shown from near its least, and says so by its labels; else from nothing.
    // Differences too small to be read off the labels are drawn as small as they are.
    let span = (most - least).max(most / 50);
    let floor = if least > most / 2 { least.min(most - span) - span.min(least.min(most - span)) / 4 } else { 0 };
    let ceiling = most.max(floor.saturating_add(1));
    let y = |value: u64| HEIGHT - (value.saturating_sub(floor)) as f64 / (ceiling - floor) as f64 * HEIGHT;
    let mut line = format!("M{:.1} {:.1}", axis.x(first.0), y(first.1));
    for (at, value) in &points[1..] {
        line.push_str(&format!("H{:.1}V{:.1}", axis.x(*at), y(*value)));
    }
    line.push_str(&format!("H{WIDTH:.1}"));
    let area = format!("{line}V{HEIGHT}H{:.1}Z", axis.x(first.0));
    let half = floor + (ceiling - floor) / 2;
    let description = format!(
        "From {} at {} to {} at {}; least {}, most {}.",
        size::human(first.1),
        first.0.exact(),
        size::human(last.1),
        last.0.exact(),
        size::human(least),
        size::human(most)
    );
    html! {
        figure.chart {
            figcaption { span.strong { (title) } span.key { "size" } }
            div.chart-plot {
                div.chart-y aria-hidden="true" { span { (size::human(ceiling)) } span { (size::human(half)) } span { (size::human(floor)) } }
                (plot(id, title, &description, html! { path.a1 d=(area) {} path.l1 d=(line) {} }))
            }
            (axis.labels())
        }
    }
}

/// Bytes written upwards and removed downwards, a bar each.
pub fn churn(id: &'static str, title: &str, axis: Axis, points: &[(Timestamp, u64, u64)]) -> Markup {
    let most = points.iter().map(|p| p.1.max(p.2)).max().unwrap_or(0).max(1);
    let middle = HEIGHT / 2.0;
    let tall = |value: u64| {
        let height = value as f64 / most as f64 * middle;
        if value == 0 { 0.0 } else { height.max(1.0) }
    };
    let wide = (WIDTH / points.len().max(1) as f64 * 0.7).clamp(2.0, 14.0);
    let left = |at: Timestamp| (axis.x(at) - wide / 2.0).clamp(0.0, WIDTH - wide);
    let sum = |of: fn(&(Timestamp, u64, u64)) -> u64| points.iter().map(of).fold(0, u64::saturating_add);
    let description = format!(
        "{} written and {} removed in {} scans.",
        size::human(sum(|p| p.1)),
        size::human(sum(|p| p.2)),
        size::grouped(points.len() as u64)
    );
    html! {
        figure.chart {
            figcaption { span.strong { (title) } span.key.k2 { "written" } span.key.k3 { "removed" } }
            div.chart-plot {
                div.chart-y aria-hidden="true" { span { (size::human(most)) } span { "0" } span { (size::human(most)) } }
                (plot(id, title, &description, html! {
                    @for (at, written, removed) in points {
                        g {
                            title { (at.exact()) ": " (size::human(*written)) " written, " (size::human(*removed)) " removed" }
                            rect.b1 x=(format!("{:.1}", left(*at))) y=(format!("{:.1}", middle - tall(*written))) width=(format!("{wide:.1}")) height=(format!("{:.1}", tall(*written))) {}
                            rect.b2 x=(format!("{:.1}", left(*at))) y=(format!("{middle:.1}")) width=(format!("{wide:.1}")) height=(format!("{:.1}", tall(*removed))) {}
                        }
                    }
                }))
            }
            (axis.labels())
        }
    }
}

fn plot(id: &'static str, title: &str, description: &str, content: Markup) -> Markup {
    html! {
        svg.chart-body viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-labelledby={ (id) "-title " (id) "-desc" } {
            title id={ (id) "-title" } { (title) }
            desc id={ (id) "-desc" } { (description) }
            path.grid d={ "M0 0H" (WIDTH) "M0 " (HEIGHT / 2.0) "H" (WIDTH) "M0 " (HEIGHT) "H" (WIDTH) } {}
            (content)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_line_stays_inside_whatever_the_values() {
        let axis = Axis { from: at(0), to: at(100) };
        for values in [vec![0], vec![5, 5, 5], vec![u64::MAX, 0, u64::MAX], vec![1_000_000, 1_000_001], vec![1]] {
            let points: Vec<_> = values.iter().enumerate().map(|(i, v)| (at(i as i64 * 60 - 30), *v)).collect();
            let drawn = sizes("s", "<b>", axis, &points).into_string();
            let line = drawn.split("class=\"l1\" d=\"").nth(1).unwrap().split('"').next().unwrap();
            for number in line.split(['M', 'H', 'V', ' ']).filter(|n| !n.is_empty()) {
                let number: f64 = number.parse().unwrap();
                assert!((0.0..=WIDTH).contains(&number), "{values:?}: {line}");
            }
            assert!(drawn.contains("&lt;b&gt;") && drawn.contains("<desc id=\"s-desc\">From "), "{drawn}");
        }
        assert_eq!(sizes("s", "t", axis, &[]).into_string(), "");
    }

    #[test]
    fn bars_have_the_height_of_their_share_and_are_never_lost() {
        let axis = Axis { from: at(0), to: at(100) };
        let drawn = churn("c", "Churn", axis, &[(at(0), 100, 0), (at(50), 50, 1), (at(100), 0, 25)]).into_string();
        for part in [
            "height=\"100.0\"",
            "height=\"50.0\"",
            "height=\"1.0\"",
            "height=\"25.0\"",
            "150 B written and 26 B removed in 3 scans.",
        ] {
            assert!(drawn.contains(part), "{part} in {drawn}");
        }
    }
}
