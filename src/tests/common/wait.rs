//! Waiting for conditions and for sleeping threads. No test waits for a fixed time instead.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// The longest that a test waits for what must come.
pub const LONG: Duration = Duration::from_secs(5);

/// Waits until a condition holds, for no longer than `LONG`. It sleeps in between, because a loop
/// that spins can starve those it waits for where threads run one at a time (valgrind).
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "not within {LONG:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `act`, which may sleep without a limit, and returns its result. After `LONG` the test fails,
/// and the thread of `act` is left behind.
pub fn within_limit<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(act()));
    let result = told.recv_timeout(LONG);
    result.expect("it failed, or it sleeps without an end")
}

/// Waits until a process or a thread is stopped (T) or sleeps (S), as its `stat` in /proc says: the
/// state is the letter behind the name in brackets.
pub fn await_state(stat: impl AsRef<Path>, state: char) {
    let wanted = format!(") {state} ");
    until(&format!("state {state}"), || {
        let stat = fs::read_to_string(&stat).unwrap();
        assert!(!stat.contains(") Z "), "it has ended");
        stat.contains(&wanted)
    });
}

/// Returns the file in /proc that tells the state of this thread.
pub fn stat() -> PathBuf {
    let thread = fs::read_link("/proc/thread-self").unwrap();
    PathBuf::from("/proc").join(thread).join("stat")
}

/// Runs `sleep` on a new thread and returns when that thread sleeps.
///
/// (Under valgrind a thread that waits for its turn sleeps, too. The tests pass there, but they may
/// not show what they show elsewhere.)
pub fn spawn_asleep<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    sleep: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    let (tell, told) = mpsc::channel();
    let sleeper = scope.spawn(move || {
        tell.send(stat()).unwrap();
        sleep()
    });
    await_state(told.recv().unwrap(), 'S');
    sleeper
}
