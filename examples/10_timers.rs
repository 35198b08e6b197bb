//! Many timers in one loop: a heap holds the deadlines, and `poll` waits until the earliest. Then
//! the same with a timerfd, which has a finer resolution.
//!
//! ```sh
//! cargo run -q --example 10_timers
//! ```
//!
//! You see twelve timers expire, and how late each was. The timeout of `poll` is rounded up to
//! milliseconds, so that no timer expires early. A timerfd counts in nanoseconds; what remains of
//! the delay is the time that the scheduler takes to run this thread again.
//!
//! Comes after `09_fair`. Book: chapter 4, "The Poll module", about the timeout.
//!
//! Change next (the answers are at the end of the file):
//! 1. Round down: pass `Some(Duration::from_millis(remaining.as_millis() as u64))`.
//! 2. Sleep for 5 ms after each poll, as a slow handler does. Does the timerfd help?

use epollet::{Events, Interest, Poll};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::process;
use std::time::{Duration, Instant};

/// `Reverse`, because a `BinaryHeap` pops the greatest first.
type Timers = BinaryHeap<Reverse<(Instant, usize)>>;

fn run(mut timers: Timers, timerfd: Option<File>) -> io::Result<Ended> {
    let mut poll = Poll::new()?;
    if let Some(timerfd) = &timerfd {
        poll.registry().register(timerfd, 0, Interest::READABLE)?;
    }
    let mut events = Events::with_capacity(8);
    let mut ended = Ended::default();
    while let Some(&Reverse((deadline, number))) = timers.peek() {
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            timers.pop();
            ended.late.push((number, deadline.elapsed()));
            continue;
        }
        ended.polls += 1;
        if let Some(timerfd) = &timerfd {
            // Setting it again makes it not ready, so nothing has to read it. (A time of zero would
            // disarm it.)
            timerfd::set(timerfd, remaining)?;
            poll.poll(&mut events, None)?;
        } else {
            poll.poll(&mut events, Some(remaining))?;
        }
    }
    Ok(ended)
}

#[derive(Default)]
struct Ended {
    late: Vec<(usize, Duration)>,
    polls: usize,
}

fn main() -> io::Result<()> {
    // In the order in which they are set; the heap sorts them by deadline.
    let tenths_of_ms = [
        303, 52, 1181, 777, 1404, 210, 489, 1002, 641, 905, 1256, 368,
    ];
    let timers = || -> Timers {
        let start = Instant::now();
        let deadline = |tenths: u64| start + Duration::from_micros(tenths * 100);
        let numbered = tenths_of_ms.into_iter().enumerate();
        numbered
            .map(|(number, tenths)| Reverse((deadline(tenths), number)))
            .collect()
    };
    let with_timeout = run(timers(), None)?;
    let with_timerfd = run(timers(), Some(timerfd::new()?))?;

    say("timer  deadline    late: timeout of poll          late: timerfd");
    for (timeout, timerfd) in with_timeout.late.iter().zip(&with_timerfd.late) {
        let (number, late) = timeout;
        let deadline = tenths_of_ms[*number] as f64 / 10.0;
        let (timeout, timerfd) = (bar(*late), bar(timerfd.1));
        say(format!("{number:5} {deadline:6.1} ms  {timeout}  {timerfd}").trim_end());
    }
    let polls = with_timeout.polls;
    say(format!(
        "polls            {polls:<31}{}\n",
        with_timerfd.polls
    ));

    let (timeout, timerfd) = (with_timeout.median(), with_timerfd.median());
    if polls > 2 * tenths_of_ms.len() {
        say("Takeaway: a timeout that ends before the deadline makes the loop spin:");
        say(format!("{polls} polls for {} timers.", tenths_of_ms.len()));
    } else if timerfd < timeout.min(1.0) && timeout < 1.5 {
        say("Takeaway: the timeout of poll is the time until the earliest deadline, rounded");
        say(format!(
            "up to milliseconds ({timeout:.2} ms late); a timerfd is finer ({timerfd:.2} ms late)."
        ));
    } else {
        say("Takeaway: a timer expires when the loop gets to it. Here that is late:");
        say(format!(
            "{timeout:.2} ms with the timeout, and {timerfd:.2} ms with a timerfd."
        ));
    }
    Ok(())
}

impl Ended {
    /// Half of the timers were later than this, in milliseconds.
    fn median(&self) -> f64 {
        let mut late: Vec<Duration> = self.late.iter().map(|timer| timer.1).collect();
        late.sort();
        late[late.len() / 2].as_secs_f64() * 1000.0
    }
}

fn bar(late: Duration) -> String {
    const MICROS_PER_CHARACTER: u128 = 60;
    let length = late.as_micros().div_ceil(MICROS_PER_CHARACTER) as usize;
    let mut bar = "=".repeat(length.min(18));
    if length > 18 {
        bar.replace_range(17.., ">"); // It does not fit.
    }
    format!("{:6.3} ms |{bar:18}", late.as_secs_f64() * 1000.0)
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

mod timerfd {
    use std::ffi::{c_int, c_long};
    use std::fs::File;
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::{io, ptr, time::Duration};

    pub fn new() -> io::Result<File> {
        const CLOCK_MONOTONIC: c_int = 1;
        const TFD_CLOEXEC: c_int = 0o2000000;
        // SAFETY: the call takes no pointer.
        let fd = unsafe { timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC) };
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, so nothing else owns it.
        Ok(unsafe { File::from_raw_fd(fd) })
    }

    /// Sets the timer to expire once.
    pub fn set(timerfd: &File, after: Duration) -> io::Result<()> {
        let (secs, nanos) = (after.as_secs() as c_long, after.subsec_nanos() as c_long);
        let new = [0, 0, secs, nanos]; // struct itimerspec: the interval, and the first expiration
        // SAFETY: the kernel reads `new`, and does not write where the last pointer is null.
        match unsafe { timerfd_settime(timerfd.as_raw_fd(), 0, new.as_ptr(), ptr::null_mut()) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    unsafe extern "C" {
        fn timerfd_create(clock: c_int, flags: c_int) -> c_int;
        fn timerfd_settime(fd: c_int, flags: c_int, new: *const c_long, old: *mut c_long) -> c_int;
    }
}

// Answers:
// 1. The timers expire on time, but the last part of each millisecond becomes a timeout of zero, so
//    the loop spins: thousands of polls for 12 timers.
// 2. Hardly: while the loop sleeps, no timer expires. Both are 5 ms late, and more.
