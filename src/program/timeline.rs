//! What happened when, printed as it happens.

use super::answer::{NOT_A_DELAY_SERVER, Outcome, first_line};
use epollet::{Event, Token};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How long after its due time the last answer is reported as overdue.
const PATIENCE: Duration = Duration::from_secs(2);
/// The clock of another machine may run faster than ours.
const TOLERANCE: Duration = Duration::from_millis(10);

/// The requests so far.
pub struct Timeline {
    pub start: Instant,
    pub requests: Vec<Request>,
    is_overdue: bool,
}

/// When a request began and ended, since the start.
pub struct Request {
    pub delay: Duration,
    pub began: Duration,
    pub ended: Option<Duration>,
    pub failed: bool,
}

impl Timeline {
    pub fn start() -> Timeline {
        Timeline {
            start: Instant::now(),
            requests: Vec::new(),
            is_overdue: false,
        }
    }

    /// Begins the next request, before the program connects.
    pub fn begin(&mut self, delay: u64) {
        let began = self.start.elapsed();
        let delay = Duration::from_millis(delay);
        self.requests.push(Request {
            delay,
            began,
            ended: None,
            failed: false,
        });
    }

    /// Prints how many requests were sent, and when the last answer is due.
    pub fn sent(&self) -> io::Result<()> {
        let pending = self.pending().count();
        let longest = self
            .pending()
            .map(|request| request.delay)
            .max()
            .unwrap_or_default();
        let due = longest.as_secs_f64();
        writeln!(
            io::stdout(),
            "Requests sent: {pending}. One thread sleeps in poll; the last answer is due in {due} s.\n"
        )
    }

    /// Returns the time until the last answer is overdue, or `None` after that was reported.
    pub fn patience(&self) -> Option<Duration> {
        let due = self
            .pending()
            .map(|request| request.began.saturating_add(request.delay))
            .max()?;
        let overdue = due.saturating_add(PATIENCE);
        (!self.is_overdue).then(|| overdue.saturating_sub(self.start.elapsed()))
    }

    /// Reports that no answer arrived in time.
    pub fn overdue(&mut self) -> io::Result<()> {
        self.is_overdue = true;
        let (now, pending) = (seconds(self.start.elapsed()), self.pending().count());
        writeln!(
            io::stdout(),
            "{now}  no event; {pending} overdue. Still waiting; Ctrl-C ends it."
        )
    }

    /// Shows an event, and the outcome if the request is finished.
    pub fn event(&mut self, event: &Event, outcome: Option<Outcome>) -> io::Result<()> {
        let now = seconds(self.start.elapsed());
        write!(io::stdout(), "{now}  {event:?}")?;
        match outcome {
            Some(outcome) => self.finish(event.token(), outcome),
            None => writeln!(io::stdout()),
        }
    }

    /// Shows the failure of a request that could not be sent.
    pub fn failed(&mut self, token: Token, error: &io::Error) -> io::Result<()> {
        write!(io::stdout(), "{}", seconds(self.start.elapsed()))?;
        self.finish(token, Err(error.to_string()))
    }

    fn finish(&mut self, token: Token, outcome: Outcome) -> io::Result<()> {
        let now = self.start.elapsed();
        let request = &mut self.requests[token];
        let waited = now - request.began;
        let is_early = waited.saturating_add(TOLERANCE) < request.delay;
        let outcome = outcome.and_then(|message| match is_early {
            true => Err(format!(
                "answered after {:.3} s\n{NOT_A_DELAY_SERVER} It says {}",
                waited.as_secs_f64(),
                first_line(message.as_bytes()),
            )),
            false => Ok(message),
        });
        request.ended = Some(now);
        request.failed = outcome.is_err();
        match outcome {
            Ok(message) => writeln!(io::stdout(), "  {}", message.trim_end().escape_debug()),
            Err(why) => {
                let why = why.replace('\n', "\n           ");
                writeln!(io::stdout(), "\n           request-{token} failed: {why}")
            }
        }
    }

    fn pending(&self) -> impl Iterator<Item = &Request> {
        self.requests
            .iter()
            .filter(|request| request.ended.is_none())
    }
}

/// Returns seconds, in 9 columns (10 from 1,000 s on).
pub fn seconds(time: Duration) -> String {
    format!("{:7.3} s", time.as_secs_f64())
}
