//! The chart at the end: a bar for each request, from its start to its end.

use super::timeline::{Request, Timeline, seconds};
use std::io::{self, Write};
use std::time::Duration;

/// Columns of the screen.
const WIDTH: usize = 80;

/// Draws the chart, and compares the time with that of sequential requests. Returns whether all
/// requests were answered.
pub fn draw(timeline: &Timeline) -> io::Result<bool> {
    let mut out = io::stdout();
    let requests = &timeline.requests;
    let total = timeline.start.elapsed();
    let labels: Vec<String> = requests.iter().enumerate().map(label).collect();
    let label_width = labels.iter().map(String::len).max().unwrap_or(0);
    let width = WIDTH
        .saturating_sub(label_width + " ||  5.002 s".len())
        .max(10);
    let scale = width as f64 / total.as_secs_f64();
    let column = |time: Duration| (time.as_secs_f64() * scale).round() as usize;

    writeln!(
        out,
        "\n{:label_width$} |0 s{:>rest$}|",
        "",
        seconds(total),
        rest = width - 3
    )?;
    for (label, request) in labels.iter().zip(requests) {
        let ended = request.ended.unwrap_or(total);
        let from = column(request.began).min(width - 1);
        let bar = "=".repeat(column(ended).saturating_sub(from).max(1));
        let end = if request.failed {
            "   failed".to_owned()
        } else {
            seconds(ended)
        };
        let line = format!("{:from$}{bar}", "");
        writeln!(out, "{label:label_width$} |{line:width$}|{end}")?;
    }

    let answered = || requests.iter().filter(|request| !request.failed);
    let sum = answered().fold(Duration::ZERO, |sum, request| {
        sum.saturating_add(request.delay)
    });
    writeln!(
        out,
        "\n{} of {} answered in {:.3} s on one thread; one after another: {:.3} s",
        answered().count(),
        requests.len(),
        total.as_secs_f64(),
        sum.as_secs_f64(),
    )?;
    Ok(answered().count() == requests.len())
}

fn label((token, request): (usize, &Request)) -> String {
    format!("request-{token} {} ms", request.delay.as_millis())
}
