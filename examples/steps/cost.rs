//! For the lesson `01_steps`: what a step costs.
//!
//! The steps count system calls and threads. The kernel counts the rest, for the whole process, so
//! each step runs in a process of its own.

use std::ffi::{c_int, c_long, c_uint};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use std::{fs, io};

static COUNTED: AtomicUsize = AtomicUsize::new(0);
static THREADS: AtomicUsize = AtomicUsize::new(1);

/// Counts the system call that has returned `result`.
pub fn counted<T>(result: T) -> T {
    COUNTED.fetch_add(1, Ordering::Relaxed);
    result
}

/// Counts threads that are started.
pub fn note_threads(started: usize) {
    THREADS.fetch_add(started, Ordering::Relaxed);
}

/// Bounds a step that waits for an event that never comes.
pub fn end_with_a_signal_after(seconds: c_uint) {
    // SAFETY: the call takes no pointer. The signal, SIGALRM, ends the process.
    unsafe { alarm(seconds) };
}

pub const HEADER: &str = "  seconds   CPU ms     calls   sleeps  memory MB   threads";
// The places of some of them in a row:
pub const SECONDS: usize = 0;
pub const CPU: usize = 1;
pub const CALLS: usize = 2;
pub const SLEEPS: usize = 3;
pub const MEMORY: usize = 4;

/// Returns what this process has cost since `start`, as a row under the header.
pub fn row(start: Instant) -> io::Result<String> {
    let seconds = start.elapsed().as_secs_f64();
    let calls = COUNTED.load(Ordering::Relaxed);
    let threads = THREADS.load(Ordering::Relaxed);
    let status = fs::read_to_string("/proc/self/status")?;
    let memory = number_after("VmHWM:", &status) as f64 / 1024.0;
    let (cpu, sleeps) = cpu_and_sleeps()?;
    Ok(format!(
        "{seconds:9.3} {cpu:8.1} {calls:9} {sleeps:8} {memory:10.1} {threads:9}"
    ))
}

pub fn open_files_limit() -> io::Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    Ok(number_after("Max open files", &limits))
}

/// Returns the first number after `name`.
fn number_after(name: &str, text: &str) -> usize {
    let rest = text.split(name).nth(1).unwrap_or_default();
    let mut numbers = rest.split_whitespace().map(str::parse);
    numbers.find_map(Result::ok).unwrap_or(usize::MAX) // Or it is "unlimited".
}

/// Returns the CPU time in milliseconds, and how often a thread has gone to sleep.
fn cpu_and_sleeps() -> io::Result<(f64, c_long)> {
    const RUSAGE_SELF: c_int = 0;
    const RU_NVCSW: usize = 16; // voluntary context switches: the place in `struct rusage`
    let mut usage = [0 as c_long; 64]; // longer than in any C library
    // SAFETY: the C library writes a `struct rusage`, which is shorter, before the call returns.
    if unsafe { getrusage(RUSAGE_SELF, usage.as_mut_ptr()) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // User time and system time, each in seconds and microseconds.
    let [user_s, user_us, system_s, system_us, ..] = usage.map(|number| number as f64);
    let cpu = (user_s + system_s) * 1e3 + (user_us + system_us) / 1e3;
    Ok((cpu, usage[RU_NVCSW]))
}

unsafe extern "C" {
    fn alarm(seconds: c_uint) -> c_uint;
    fn getrusage(who: c_int, usage: *mut c_long) -> c_int;
}
