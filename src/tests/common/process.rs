//! Child processes and limits.

use super::kernel::c;
use super::wait::LONG;
use std::ffi::{c_int, c_ulong};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

pub const SIGKILL: i32 = 9;
const RLIMIT_NOFILE: c_int = 7;

/// Taken before each fork, so that no child holds what belongs to another test.
pub static TURN: Mutex<()> = Mutex::new(());

/// Runs `test` in a child process, which has one thread.
pub fn in_child(test: impl FnOnce()) {
    let turn = TURN.lock();
    let status = wait_for_child(fork(test));
    drop(turn);
    assert_eq!(status, 0, "the child failed (see above), or took too long");
}

/// Returns the number of a new process that runs `child` and ends, at the latest with this thread.
pub fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: the child goes on with a copy of this thread alone, and ends without returning. The C
    // library keeps its allocator usable. Another lock that a thread held stays locked in the child: it
    // could wait for it forever, until `wait_for_child` ends it.
    match unsafe { c::fork() } {
        0 => {
            end_with_the_parent();
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: no pointer.
            unsafe { c::_exit(result.is_err().into()) }
        }
        pid => pid,
    }
}

/// Ends this process when the thread that has started it ends.
pub fn end_with_the_parent() {
    const PR_SET_PDEATHSIG: i32 = 1;
    // SAFETY: the call takes no pointer.
    unsafe { c::prctl(PR_SET_PDEATHSIG, SIGKILL as c_ulong) };
}

/// Waits for the end of a child and returns its status. A child that takes too long is killed.
pub fn wait_for_child(pid: i32) -> i32 {
    const WNOHANG: i32 = 1;
    let mut status = -1;
    let start = Instant::now();
    // SAFETY: the kernel writes an int.
    while unsafe { c::waitpid(pid, &mut status, WNOHANG) } == 0 {
        if start.elapsed() > LONG {
            kill(pid);
        }
        thread::sleep(Duration::from_millis(1));
    }
    status
}

/// Sends SIGKILL.
pub fn kill(pid: i32) {
    // SAFETY: the call takes no pointer.
    unsafe { c::kill(pid, SIGKILL) };
}

/// Sleeps until a signal ends this process.
pub fn sleep_until_killed() {
    loop {
        // SAFETY: the call takes no pointer.
        unsafe { c::pause() };
    }
}

/// Sets this process's limit of descriptors: the soft one, which counts.
pub fn limit_descriptors(most: c_ulong) {
    let [_, hard] = descriptor_limits();
    set_descriptor_limits([most, hard]);
}

/// Raises this process's limit of descriptors as far as it is allowed to: a shell often gives 1024,
/// and servers and clients of many tests are in one process.
pub fn take_all_descriptors() {
    let [_, hard] = descriptor_limits();
    set_descriptor_limits([hard, hard]);
}

/// Returns the soft and the hard limit.
fn descriptor_limits() -> [c_ulong; 2] {
    let mut limits = [0; 2];
    // SAFETY: the kernel writes a `struct rlimit`.
    assert_eq!(
        unsafe { c::getrlimit(RLIMIT_NOFILE, limits.as_mut_ptr()) },
        0
    );
    limits
}

fn set_descriptor_limits(limits: [c_ulong; 2]) {
    // SAFETY: the kernel reads a `struct rlimit`.
    assert_eq!(unsafe { c::setrlimit(RLIMIT_NOFILE, limits.as_ptr()) }, 0);
}
