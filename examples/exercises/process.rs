//! The learner's program as a process: watched, stopped for a moment, ended.
//!
//! A wait ends with success or with a symptom.

use crate::diagnosis::{Clients, Diagnosis, Symptom, Verdict, describe};
use crate::look::{self, Snapshot, Socket, Thread, one_blocks, one_sleeps_in_queue};
use crate::slow::Slow;
use crate::watch::{SPIN_SLEEPS, Watch, pause_after};
use std::collections::HashMap;
use std::ffi::c_int;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// What a peer sees while it waits for the program.
pub enum Seen<T = ()> {
    Done(T),
    /// What has not happened yet. A text that changes is progress.
    Missing(String),
    Wrong(Symptom, String),
}

/// A program that runs, watched.
pub struct Process {
    child: Child,
    pub output: PathBuf,
    deadline: Instant,
    pub clients: Clients,
    /// Makes the program's other threads slow.
    pub slow: Option<Slow>,
    /// How many descriptors are open without clients.
    pub descriptors: usize,
    /// It may let its peers wait for a timeout.
    pub may_pause: bool,
    /// How often peers have waited while it slept, though it has woken up then.
    late: u64,
}

impl Process {
    pub fn new(child: Child, output: PathBuf) -> Process {
        Process {
            child,
            output,
            deadline: Instant::now() + LIMIT,
            clients: Clients {
                names: HashMap::new(),
                want_long_answers: false,
                have_left: false,
            },
            slow: None,
            descriptors: 0,
            may_pause: false,
            late: 0,
        }
    }

    /// Waits until a server has printed its address, and sleeps.
    pub fn address(&mut self) -> Result<SocketAddr, Diagnosis> {
        let output = self.output.clone();
        let address = self.until(|| {
            let printed = fs::read_to_string(&output).unwrap_or_default();
            let mut lines = printed.lines();
            match lines.find_map(|line| line.strip_prefix("listening on ")?.parse().ok()) {
                Some(address) => Seen::Done(address),
                None => Seen::Missing(String::from(
                    "the program has not printed `listening on ADDRESS`",
                )),
            }
        })?;
        self.rests("until a client connects")?;
        self.descriptors = look::descriptors(self.pid());
        Ok(address)
    }

    /// What the program has printed.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the peers have seen what they wait for.
    pub fn until<T>(&mut self, mut look: impl FnMut() -> Seen<T>) -> Result<T, Diagnosis> {
        let mut watch = Watch::new();
        let mut missing_before = String::new();
        let (mut is_over, mut is_late) = (false, false);
        loop {
            if let Some(slow) = &mut self.slow {
                slow.step();
            }
            // In this order: a program that has ended has done all that it does.
            let (ended, seen) = pause_after(|| (self.ended(), look()));
            let missing = match seen {
                Seen::Done(seen) => {
                    self.late += u64::from(is_late);
                    return Ok(seen);
                }
                Seen::Wrong(symptom, line) => return Err(self.wrong(symptom, line)),
                Seen::Missing(missing) => missing,
            };
            if let Some(status) = ended {
                return Err(self.ended_with(status, missing));
            }
            if missing != missing_before {
                watch = Watch::new();
                missing_before.clone_from(&missing);
                is_over = false;
            }
            if is_over {
                return Err(self.stuck(&self.snapshot(), missing));
            }
            watch.look(self.pid());
            if let Some(line) = watch.spins() {
                return Err(self.diagnose(Symptom::Spins, vec![missing, line]));
            }
            is_late |= !self.may_pause && watch.is_still(STILL / 8);
            if is_late && self.late >= LATE {
                let line = format!("{LATE} others had to wait, too, while the program slept");
                return Err(self.diagnose(Symptom::Hangs, vec![missing, line]));
            }
            let still = self.still(&watch);
            if watch.is_still(still) {
                // What it has written can still be on its way. So the peers look once more, and at
                // once: a timeout may end the sleep soon.
                is_over = watch.is_still(still * FOR_ARRIVAL) || look::unsent(self.pid()) == 0;
            }
            self.is_in_time(&watch, &missing)?;
        }
    }

    /// A program that is asleep for so long, with peers that wait, is not woken up by them. Only a
    /// timeout will end its sleep, or nothing.
    fn still(&self, watch: &Watch) -> Duration {
        match watch.timeout(self.pid()) {
            _ if self.may_pause => STILL * 5,
            Some(timeout) => STILL.min(timeout / 2).max(STILL / 10),
            None => STILL,
        }
    }

    /// A program that is neither asleep nor spins can still wake up in vain, again and again. If it
    /// does not even do that, it gets more time: the machine may be busy.
    fn is_in_time(&mut self, watch: &Watch, missing: &str) -> Verdict {
        let printed = fs::metadata(&self.output).map_or(0, |file| file.len());
        if printed > 10_000_000 {
            let line = format!("the program has printed {printed} bytes");
            return Err(self.diagnose(Symptom::Spins, vec![missing.to_owned(), line]));
        }
        let (waited, wakeups) = (watch.started.elapsed(), watch.sleeps());
        let pause = if self.may_pause { 5 } else { 1 };
        if waited > STILL * PATIENCE * pause && wakeups >= 10 {
            let seconds = waited.as_secs();
            let line = format!(
                "in {seconds} s the program has woken up {wakeups} times, and this has not changed"
            );
            // On a busy machine, it spins more slowly.
            let spins = wakeups >= SPIN_SLEEPS / 2 * seconds;
            let symptom = if spins {
                Symptom::Spins
            } else {
                Symptom::Hangs
            };
            return Err(self.diagnose(symptom, vec![missing.to_owned(), line]));
        }
        if Instant::now() < self.deadline {
            return Ok(());
        }
        self.end();
        let limit = LIMIT.as_secs();
        Err(Diagnosis {
            symptom: Symptom::NotTried,
            lines: vec![
                format!("the attempt was ended after {limit} s, in this state:"),
                missing.to_owned(),
                String::from("this machine may be too busy: try again"),
            ],
        })
    }

    /// Waits until the program sleeps, and checks that it has read all that has arrived.
    pub fn has_read(&mut self, what: &str, when: &str) -> Verdict {
        self.rests(when)?;
        let now = self.snapshot();
        let is_read = |socket: &Socket| socket.listens || socket.unread == 0;
        if now.sockets.iter().all(is_read) {
            return Ok(());
        }
        let missing = format!("{what} has arrived and is not read to the end");
        Err(self.stuck(&now, missing))
    }

    /// All threads but the first one, and how often each has slept: it changes when they work.
    pub fn other_threads(&self) -> Vec<(u32, u64)> {
        let mut threads = look::threads(self.pid());
        threads.retain(|thread| thread.id != self.pid());
        threads
            .iter()
            .map(|thread| (thread.id, thread.sleeps))
            .collect()
    }

    /// Checks that no stream is blocking. Its peers may not have noticed: with a timeout, for
    /// example, a call sleeps for a moment only.
    pub fn has_no_blocking_stream(&self) -> Verdict {
        let now = self.snapshot();
        let is_blocking =
            |socket: &&Socket| socket.is_known() && !socket.listens && socket.blocking;
        let Some(socket) = now.sockets.iter().find(is_blocking) else {
            return Ok(());
        };
        let line = format!(
            "fd {} is a blocking stream: a read or a write can sleep in it",
            socket.fd
        );
        Err(self.report(Symptom::MayBlock, vec![line], &now))
    }

    /// Waits until the program sleeps in its queue, with nothing left to do.
    pub fn rests(&mut self, when: &str) -> Verdict {
        let rest = |threads: &[Thread]| !one_blocks(threads) && one_sleeps_in_queue(threads);
        let mut watch = Watch::new();
        let expected = format!("the program should sleep in `poll` {when}");
        loop {
            if let Some(status) = self.ended() {
                return Err(self.ended_with(status, expected));
            }
            pause_after(|| watch.look(self.pid()));
            if let Some(line) = watch.spins() {
                return Err(self.diagnose(Symptom::Spins, vec![expected, line]));
            }
            if watch.is_still(Duration::from_millis(1000 / SPIN_SLEEPS)) {
                if !rest(&look::threads(self.pid())) {
                    let now = self.snapshot(); // Again: it may have been there for a moment.
                    if !rest(&now.threads) {
                        return Err(self.stuck(&now, expected));
                    }
                }
                if watch.started.elapsed() > Duration::from_millis(150) {
                    return Ok(());
                }
            }
            self.is_in_time(&watch, &expected)?;
        }
    }

    /// Waits until the program ends, and compares what it has printed.
    pub fn ends_with(&mut self, expected: &str, sent: &str) -> Verdict {
        let output = self.output.clone();
        let answer = || {
            let printed = fs::read_to_string(&output).unwrap_or_default();
            printed.lines().last().unwrap_or_default().to_owned()
        };
        let missing = || {
            format!(
                "{sent}; the program has printed {:?}, not {expected:?}",
                answer()
            )
        };
        self.ends(missing)?;
        if answer() == expected {
            return Ok(());
        }
        Err(Diagnosis {
            symptom: Symptom::Differs,
            lines: vec![missing()],
        })
    }

    /// The program does something else than what is right.
    pub fn differs(&mut self, line: String) -> Verdict {
        Err(self.wrong(Symptom::Differs, line))
    }

    /// Waits until the program ends, and ends well.
    pub fn ends(&mut self, missing: impl Fn() -> String) -> Verdict {
        match self.until(|| Seen::Missing(missing())) {
            Err(_) if self.ended().is_some_and(|status| status.success()) => Ok(()),
            result => result,
        }
    }

    /// Stops the program while `act` runs, so that all that happens meanwhile is one batch for it.
    pub fn stopped<T>(&mut self, act: impl FnOnce() -> io::Result<T>) -> Result<T, Diagnosis> {
        self.signal(SIGSTOP);
        let is_stopped = |thread: &Thread| matches!(thread.state, 'T' | 't' | 'Z');
        while !look::threads(self.pid()).iter().all(is_stopped) {
            if let Some(status) = self.ended() {
                return Err(self.ended_with(status, String::from("the program should be running")));
            }
            thread::sleep(Duration::from_millis(1));
        }
        let result = act();
        self.signal(SIGCONT);
        result.map_err(|error| self.peer_failed(error))
    }

    /// Lets all clients leave, and waits until the program has closed its connections to them.
    pub fn all_leave<T>(&mut self, clients: T) -> Verdict {
        drop(clients);
        self.rests("after all clients have left")?;
        self.clients.have_left = true;
        let (pid, at_first) = (self.pid(), self.descriptors);
        self.until(|| match look::descriptors(pid) {
            now if now <= at_first => Seen::Done(()),
            now => Seen::Missing(format!(
                "all clients have left, and {} more descriptors than at first are open",
                now - at_first
            )),
        })?;
        self.stays_asleep("when no client is connected")
    }

    /// Checks that the program does not wake up in vain, again and again, when it has nothing to do.
    pub fn stays_asleep(&mut self, when: &str) -> Verdict {
        let mut watch = Watch::new();
        let pid = self.pid();
        let stays = |watch: &Watch| watch.is_still(STILL / 2) && watch.timeout(pid).is_none();
        while !stays(&watch) && watch.started.elapsed() < STILL * 3 {
            pause_after(|| watch.look(pid));
        }
        let (wakeups, waited) = (watch.sleeps(), watch.started.elapsed().as_secs_f64());
        if wakeups < IN_VAIN || stays(&watch) {
            return Ok(());
        }
        let line = format!("in {waited:.1} s the program has woken up {wakeups} times, in vain");
        let lines = vec![format!("the program should sleep in `poll` {when}"), line];
        Err(self.diagnose(Symptom::Spins, lines))
    }

    /// A peer could not do its part: the program has closed the connection, or it is this runner.
    pub fn peer_failed(&mut self, error: io::Error) -> Diagnosis {
        match error.kind() {
            ErrorKind::BrokenPipe
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::NotConnected => {
                let line = "a peer cannot continue, because the program has closed its socket";
                self.wrong(Symptom::Cuts, format!("{line}: {error}"))
            }
            _ => error.into(),
        }
    }

    /// A peer has seen something wrong. If the program is just ending, that is why.
    fn wrong(&mut self, symptom: Symptom, line: String) -> Diagnosis {
        self.slow = None; // A slow thread could not end.
        let mut watch = Watch::new();
        while !watch.is_still(Duration::from_millis(40)) && watch.started.elapsed() < STILL {
            if let Some(status) = self.ended() {
                return self.ended_with(status, line);
            }
            pause_after(|| watch.look(self.pid()));
        }
        self.diagnose(symptom, vec![line])
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    fn ended_with(&self, status: ExitStatus, missing: String) -> Diagnosis {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("the program has ended, with exit code {code}"),
            (None, signal) => format!("signal {} has ended the program", signal.unwrap_or(0)),
        };
        Diagnosis {
            symptom: Symptom::Ends,
            lines: vec![missing, how],
        }
    }

    fn snapshot(&self) -> Snapshot {
        look::snapshot(self.pid())
    }

    /// It sleeps, and nothing will wake it. Where, and what is left to do, tell what is wrong.
    fn stuck(&self, now: &Snapshot, missing: String) -> Diagnosis {
        let mut sockets = now.sockets.iter();
        let may_have_something_to_do = now.sockets.is_empty()
            || sockets.any(|socket| !socket.is_known() || socket.has_input());
        if one_blocks(&now.threads) {
            self.report(Symptom::Blocks, vec![missing], now)
        } else if self.clients.have_left {
            self.report(Symptom::Leaks, vec![missing], now)
        } else if may_have_something_to_do || !one_sleeps_in_queue(&now.threads) {
            self.report(Symptom::Hangs, vec![missing], now)
        } else {
            let line = String::from("no socket has bytes to read or connections to accept");
            self.report(Symptom::Loses, vec![missing, line], now)
        }
    }

    fn diagnose(&self, symptom: Symptom, lines: Vec<String>) -> Diagnosis {
        self.report(symptom, lines, &self.snapshot())
    }

    fn report(&self, symptom: Symptom, mut lines: Vec<String>, now: &Snapshot) -> Diagnosis {
        lines.extend(describe(symptom, now, &self.clients));
        self.end();
        Diagnosis { symptom, lines }
    }

    /// Ends the program before its peers close their connections: it must not print what it sees then.
    fn end(&self) {
        self.signal(SIGKILL);
        let start = Instant::now();
        let is_dead = |thread: &Thread| matches!(thread.state, 'Z' | 'X');
        while !look::threads(self.pid()).iter().all(is_dead) && start.elapsed() < STILL {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn signal(&self, signal: c_int) {
        // SAFETY: the call takes no pointer.
        unsafe { kill(-(self.child.id() as c_int), signal) };
    }
}

impl Drop for Process {
    /// Ends the program and what it has started.
    fn drop(&mut self) {
        self.slow = None;
        self.signal(SIGKILL);
        let start = Instant::now();
        while self.ended().is_none() && start.elapsed() < Duration::from_secs(1) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A program that is asleep for so long, with peers that wait, will not wake up.
const STILL: Duration = Duration::from_millis(400);
/// An attempt ends after so long, whatever happens.
const LIMIT: Duration = Duration::from_secs(60);
/// So often peers may wait while it sleeps: for their own events, they would not.
const LATE: u64 = 10;
/// So often in three times `STILL`, and nothing was to be done: it does not sleep without need.
const IN_VAIN: u64 = 4;
/// So many times as long for bytes that a peer has not acknowledged: it may not read them at all.
const FOR_ARRIVAL: u32 = 5;
/// So many times `STILL` without progress, though it wakes up now and then: it hangs.
const PATIENCE: u32 = 6;

const SIGKILL: c_int = 9;
const SIGCONT: c_int = 18;
const SIGSTOP: c_int = 19;

unsafe extern "C" {
    fn kill(pid: c_int, signal: c_int) -> c_int;
}
