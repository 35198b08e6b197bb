//! Slow threads: they make a rare race happen every time.
//!
//! `ptrace(2)` stops a thread before and after each system call. It goes on when the program's first
//! thread, the event loop, sleeps. So if a thread wakes the loop too early, the loop looks too early.
//! Where `ptrace` is not allowed, the threads run as fast as they do.

use crate::look::{self, Thread};
use std::ffi::{c_int, c_long};
use std::time::Duration;
use std::{ptr, thread};

pub struct Slow {
    loop_thread: u32,
    /// The other threads, and whether each is stopped.
    threads: Vec<(c_int, bool)>,
}

impl Slow {
    /// Slows down all threads of a process but the first, also those that it starts later.
    pub fn new(pid: u32) -> Slow {
        let mut slow = Slow {
            loop_thread: pid,
            threads: Vec::new(),
        };
        slow.seize(&look::threads(pid));
        slow
    }

    fn seize(&mut self, threads: &[Thread]) {
        for thread in threads {
            let id = thread.id as c_int;
            let is_known = self.threads.iter().any(|(known, _)| *known == id);
            // One that is just beginning has nothing to do with the loop yet.
            let is_new = thread.id != self.loop_thread && thread.state == 'S' && !is_known;
            if is_new && ask(PTRACE_SEIZE, id, PTRACE_O_TRACESYSGOOD) {
                ask(PTRACE_INTERRUPT, id, 0);
                self.threads.push((id, false));
            }
        }
    }

    /// Lets stopped threads go on, from one system call to the next, as long as the loop sleeps.
    pub fn step(&mut self) {
        let mut steps = 0..10; // And then the peers look.
        while steps.next().is_some() && self.go_on() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns false if no thread could go on.
    fn go_on(&mut self) -> bool {
        let threads = look::threads(self.loop_thread);
        self.seize(&threads);
        let mut threads = threads.iter();
        let loop_sleeps =
            threads.any(|thread| thread.id == self.loop_thread && thread.state == 'S');
        let mut goes_on = false;
        for (id, is_stopped) in &mut self.threads {
            *is_stopped = wait(*id, WNOHANG) || *is_stopped;
            if *is_stopped && loop_sleeps {
                goes_on |= ask(PTRACE_SYSCALL, *id, 0);
                *is_stopped = false;
            }
        }
        goes_on
    }

    /// Lets the threads run. They have to be stopped for that. A thread that has ended meanwhile is
    /// waited for: as long as it is not, the process cannot be waited for either.
    pub fn end(&mut self) {
        for (id, is_stopped) in self.threads.drain(..) {
            let is_stopped = is_stopped || (ask(PTRACE_INTERRUPT, id, 0) && wait(id, 0));
            if is_stopped && !ask(PTRACE_DETACH, id, 0) {
                wait(id, 0);
            }
        }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.end();
    }
}

fn ask(request: c_int, thread: c_int, data: c_long) -> bool {
    // SAFETY: these requests use no memory of this process. The address has to be 0.
    unsafe { ptrace(request, thread, ptr::null::<u8>(), data) == 0 }
}

/// Returns true if the thread has stopped, and false if it runs or has ended.
fn wait(thread: c_int, options: c_int) -> bool {
    let mut status = 0;
    // SAFETY: the kernel writes to `status` before the call returns.
    let result = unsafe { waitpid(thread, &mut status, options | __WALL) };
    result == thread && status & 0xff == 0x7f
}

const PTRACE_DETACH: c_int = 17;
const PTRACE_SYSCALL: c_int = 24;
const PTRACE_SEIZE: c_int = 0x4206;
const PTRACE_INTERRUPT: c_int = 0x4207;
const PTRACE_O_TRACESYSGOOD: c_long = 1;
const WNOHANG: c_int = 1;
const __WALL: c_int = 0x4000_0000;

unsafe extern "C" {
    fn ptrace(request: c_int, ...) -> c_long;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
}
