//! A plot as SVG, for light pages and dark ones.

use std::fmt::Write;

/// A row of the plot: figures against those of the first row.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) ratios: [Option<f64>; 3],
}

const FIGURES: [&str; 3] = [
    "write-ahead log",
    "blocks touched",
    "CPU of store and program",
];
/// Pixels: of the whole width, left and right of the plot, above it, and of a row.
const WIDTH: f64 = 760.0;
const LEFT: f64 = 300.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 60.0;
const ROW: f64 = 34.0;
/// What a cost may be at most against the first row.
const TARGET: f64 = 1.1;

const STYLE: &str = "
  text { font: 12px sans-serif; fill: #24292f }
  .title { font-size: 14px; font-weight: bold }
  .axis { stroke: #8c959f; stroke-width: 1 }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .target { stroke: #8c959f; stroke-width: 1; stroke-dasharray: 4 3 }
  .f0 { fill: #0969da } .f1 { fill: #bc4c00 } .f2 { fill: #1a7f37 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .grid { stroke: #30363d }
    .f0 { fill: #58a6ff } .f1 { fill: #f0883e } .f2 { fill: #56d364 }
  }
";

/// The plot, complete.
pub(crate) fn svg(lines: &[Line<'_>]) -> String {
    let ratios = lines.iter().flat_map(|line| line.ratios).flatten();
    // To the next half above the largest.
    let most = ratios.fold(1.5, f64::max);
    let most = (most * 2.0).ceil() / 2.0;
    let across = |ratio: f64| LEFT + ratio / most * (WIDTH - LEFT - RIGHT);
    let bottom = TOP + lines.len() as f64 * ROW;
    let height = bottom + 56.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n\
         <title>What a job costs, by what is in the database</title>\n<style>{STYLE}</style>\n\
         <text class=\"title\" x=\"8\" y=\"20\">What a job costs, by what is in the database</text>\n"
    );
    legend(&mut svg);
    scale(&mut svg, most, bottom, across);
    for (n, line) in lines.iter().enumerate() {
        let y = TOP + (n as f64 + 0.5) * ROW;
        row(&mut svg, line, y, across);
    }
    svg.push_str("</svg>\n");
    svg
}

// Writing to a string cannot fail.

fn legend(svg: &mut String) {
    let mut x = LEFT;
    for (n, name) in FIGURES.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<circle class=\"f{n}\" cx=\"{x}\" cy=\"40\" r=\"5\"/><text x=\"{}\" y=\"44\">{name}</text>",
            x + 10.0
        );
        x += 24.0 + name.len() as f64 * 6.5;
    }
}

fn scale(svg: &mut String, most: f64, bottom: f64, across: impl Fn(f64) -> f64) {
    // Not so many that their numbers touch.
    let step = (most / 10.0).ceil() / 2.0;
    let mut tick = 0.0;
    while tick <= most {
        let x = across(tick);
        let class = if tick == 0.0 { "axis" } else { "grid" };
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            bottom + 18.0
        );
        tick += step;
    }
    let (x, middle) = (across(TARGET), across(most / 2.0));
    let _ = writeln!(
        svg,
        "<line class=\"target\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>\n\
         <text x=\"{middle:.1}\" y=\"{}\" text-anchor=\"middle\">cost of a job ÷ that of the first row \
         (dashed: {TARGET})</text>",
        bottom + 42.0
    );
}

fn row(svg: &mut String, line: &Line<'_>, y: f64, across: impl Fn(f64) -> f64) {
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
        LEFT - 12.0,
        y + 4.0,
        line.name
    );
    for (n, ratio) in line.ratios.iter().enumerate() {
        let Some(ratio) = ratio else { continue };
        // One below the other, so that equal ones are all seen.
        let (x, y) = (across(*ratio), y + (n as f64 - 1.0) * 9.0);
        let _ = writeln!(
            svg,
            "<circle class=\"f{n}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\"><title>{}: {}, {ratio:.2}</title></circle>",
            line.name,
            FIGURES.get(n).copied().unwrap_or_default()
        );
    }
}
