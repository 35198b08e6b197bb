//! Is a process asleep, does it spin, or is it at work? Many looks tell.
//!
//! Load changes none of it: a thread that waits for a CPU is runnable, so it is not asleep; and a
//! thread that spins is never asleep, however little of a CPU it gets.

use crate::look::{self, Thread};
use std::thread;
use std::time::{Duration, Instant};

/// Not asleep for that many ticks of CPU time, with peers that wait: it spins.
const SPIN_TICKS: u64 = 25;
/// That many sleeps within a second, with peers that wait: it spins, too.
pub const SPIN_SLEEPS: u64 = 60;

/// Many looks at the threads, since the last progress.
pub struct Watch {
    pub started: Instant,
    still_since: Instant,
    last_look: Instant,
    /// Of each thread: the first look, the last one, and its CPU time when it last slept. The first
    /// look can be too early: the thread has not woken up yet.
    threads: Vec<(Thread, Thread, u64)>,
}

impl Watch {
    pub fn new() -> Watch {
        let now = Instant::now();
        Watch {
            started: now,
            still_since: now,
            last_look: now,
            threads: Vec::new(),
        }
    }

    pub fn look(&mut self, pid: u32) {
        self.last_look = Instant::now();
        let threads = look::threads(pid);
        if threads.is_empty() {
            self.still_since = Instant::now(); // Nothing can be seen.
        }
        for thread in threads {
            let asleep = thread.state != 'R';
            let known = self
                .threads
                .iter_mut()
                .find(|(first, ..)| first.id == thread.id);
            let Some((_, last, awake_since)) = known else {
                self.still_since = Instant::now();
                let ticks = thread.ticks;
                self.threads.push((thread.clone(), thread, ticks));
                continue;
            };
            // `D`: it waits for a disk, for example, and not for its peers.
            if !asleep || thread.state == 'D' || thread.sleeps != last.sleeps {
                self.still_since = Instant::now();
            }
            if asleep || thread.sleeps != last.sleeps {
                *awake_since = thread.ticks;
            }
            *last = thread;
        }
    }

    /// Asleep in two looks that are so far apart, and not awake between them.
    pub fn is_still(&self, time: Duration) -> bool {
        self.last_look.saturating_duration_since(self.still_since) >= time
    }

    /// How often a thread has gone to sleep: the one that did it most often.
    pub fn sleeps(&self) -> u64 {
        let threads = self.threads.iter();
        let sleeps = threads.map(|(first, last, _)| last.sleeps - first.sleeps);
        sleeps.max().unwrap_or(0)
    }

    /// The timeout of the call that the event loop sleeps in. The loop is the first thread.
    pub fn timeout(&self, pid: u32) -> Option<Duration> {
        let mut threads = self.threads.iter().map(|(_, last, _)| last);
        let event_loop = threads.find(|thread| thread.id == pid)?;
        event_loop.sleeps_in()?.timeout()
    }

    pub fn spins(&self) -> Option<String> {
        let elapsed = self.started.elapsed().as_secs_f64();
        let seconds = elapsed.max(1.0);
        for (first, last, awake_since) in &self.threads {
            let ticks = last.ticks - awake_since;
            if ticks >= SPIN_TICKS {
                return Some(format!(
                    "the program has used {} ms of CPU time without a sleep",
                    ticks * 10
                ));
            }
            let sleeps = last.sleeps - first.sleeps;
            if sleeps as f64 / seconds >= SPIN_SLEEPS as f64 {
                return Some(format!(
                    "in {elapsed:.1} s the program has woken up {sleeps} times"
                ));
            }
        }
        None
    }
}

/// Looks, and sleeps for a moment; longer, if a look is slow. So looking takes at most a third of a
/// CPU, even if the kernel's tables are long.
pub fn pause_after<T>(look: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = look();
    thread::sleep(Duration::from_millis(5).max(2 * start.elapsed()));
    result
}
