//! The report: a line for each event as it happens, and a chart at the end.

use super::answer::check;
use epollet::Event;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Too many open files: errno(3).
pub const EMFILE: i32 = 24;
const NOT_A_DELAY_SERVER: &str = "
This does not look like a delay server. To start one on another port:
    cargo run --example delayserver localhost:9000
and, in another terminal:
    cargo run -- localhost:9000";
/// Columns of the screen.
const WIDTH: usize = 80;

pub struct Report {
    start: Instant,
    requests: Vec<Request>,
    /// An answer was not that of a delay server.
    is_foreign: bool,
}

/// Times are since the start.
struct Request {
    delay: Duration,
    began: Duration,
    ended: Option<Duration>,
    failed: bool,
}

/// Prints the error, if there is one. `result` says whether all requests were answered.
pub fn exit_code(result: io::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => {}
        // The reader of our output is gone, as in `| head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(error) => {
            let advice = match error.raw_os_error() {
                Some(EMFILE) => {
                    "\nEach request needs a descriptor, two with the server in this process.\n\
                     Raise the limit: ulimit -n 4096"
                }
                _ => "",
            };
            let _ = writeln!(io::stderr(), "error: {error}{advice}");
        }
    }
    ExitCode::FAILURE
}

impl Report {
    pub fn new() -> Report {
        Report {
            start: Instant::now(),
            requests: Vec::new(),
            is_foreign: false,
        }
    }

    /// Begins the next request, before the program connects.
    pub fn begin(&mut self, delay: u64) {
        self.requests.push(Request {
            delay: Duration::from_millis(delay),
            began: self.start.elapsed(),
            ended: None,
            failed: false,
        });
    }

    /// Prints that the requests are sent. `longest` is the longest delay.
    pub fn sent(&self, longest: Duration) -> io::Result<()> {
        writeln!(
            io::stdout(),
            "Requests sent: {}. One thread sleeps in poll; the last answer is due in {} s.\n",
            self.requests.len(),
            longest.as_secs_f64()
        )
    }

    /// Shows an event after which more of the answer will come.
    pub fn event(&self, event: &Event) -> io::Result<()> {
        writeln!(io::stdout(), "{}  {event:?}", seconds(self.start.elapsed()))
    }

    /// Shows an event that has finished its request: with an answer, or with an error.
    pub fn finished(
        &mut self,
        event: &Event,
        answer: &[u8],
        error: Option<io::Error>,
    ) -> io::Result<()> {
        let (now, token) = (self.start.elapsed(), event.token());
        let outcome = match error {
            Some(error) => Err(error.to_string()),
            None if answer.is_empty() => {
                Err("the server closed the connection without an answer".to_owned())
            }
            None => {
                let outcome = check(token, answer);
                self.is_foreign |= outcome.is_err();
                outcome
            }
        };
        self.requests[token].ended = Some(now);
        self.requests[token].failed = outcome.is_err();
        let line = match outcome {
            Ok(message) => format!("  {message}"),
            Err(why) => format!("\nrequest-{token} failed: {why}").replace('\n', "\n           "),
        };
        writeln!(io::stdout(), "{}  {event:?}{line}", seconds(now))
    }

    /// Shows that no answer has arrived for too long.
    pub fn overdue(&self) -> io::Result<()> {
        let pending = self
            .requests
            .iter()
            .filter(|request| request.ended.is_none());
        writeln!(
            io::stdout(),
            "{}  no event; overdue: {}. Still waiting; Ctrl-C ends it.",
            seconds(self.start.elapsed()),
            pending.count()
        )
    }

    /// Draws the chart, and compares the time with that of sequential requests.
    pub fn chart(&self) -> io::Result<()> {
        let mut out = io::stdout();
        let total = self.start.elapsed();
        let labels = self.requests.iter().enumerate();
        let labels: Vec<String> = labels
            .map(|(token, request)| format!("request-{token} {} ms", request.delay.as_millis()))
            .collect();
        let label_width = labels.iter().map(String::len).max().unwrap_or(0);
        let width = WIDTH - label_width - " ||  5.002 s".len();
        let scale = width as f64 / total.as_secs_f64();
        let column = |time: Duration| (time.as_secs_f64() * scale).round() as usize;

        let rest = width - "0 s".len();
        writeln!(out, "\n{:label_width$} |0 s{:>rest$}|", "", seconds(total))?;
        for (label, request) in labels.iter().zip(&self.requests) {
            let ended = request.ended.unwrap_or(total);
            let from = column(request.began).min(width - 1);
            let bar = "=".repeat(column(ended).saturating_sub(from).max(1));
            let line = format!("{:from$}{bar}", "");
            let end = if request.failed {
                "   failed".to_owned()
            } else {
                seconds(ended)
            };
            writeln!(out, "{label:label_width$} |{line:width$}|{end}")?;
        }

        let answered = self.requests.iter().filter(|request| !request.failed);
        let (answered, all) = (answered.count(), self.requests.len());
        let total = total.as_secs_f64();
        write!(
            out,
            "\n{answered} of {all} answered in {total:.3} s on one thread"
        )?;
        if self.is_all_answered() && all > 1 {
            let delays = self
                .requests
                .iter()
                .map(|request| request.delay.as_secs_f64());
            let sum: f64 = delays.sum();
            write!(out, "; one after another: {sum:.3} s")?;
        }
        writeln!(out)?;
        if self.is_foreign {
            writeln!(out, "{NOT_A_DELAY_SERVER}")?;
        }
        Ok(())
    }

    pub fn is_all_answered(&self) -> bool {
        self.requests.iter().all(|request| !request.failed)
    }
}

/// Returns seconds, in 9 columns (10 from 1,000 s on).
fn seconds(time: Duration) -> String {
    format!("{:7.3} s", time.as_secs_f64())
}
