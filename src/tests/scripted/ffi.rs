//! A kernel that records each call and takes its answer from a script.

pub use crate::ffi::*; // the real constants and `Event`; the functions below hide the real ones
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{c_int, c_uint};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::thread;
use std::time::Duration;

/// A call with its arguments.
#[derive(PartialEq, Eq, Debug)]
pub enum Call {
    EpollCreate1 {
        flags: c_int,
    },
    EpollCtl {
        epfd: c_int,
        op: c_int,
        fd: c_int,
        events: u32,
        data: u64,
    },
    EpollWait {
        epfd: c_int,
        maxevents: c_int,
        timeout: c_int,
    },
    Eventfd {
        initval: c_uint,
        flags: c_int,
    },
}

/// What a call does and returns.
#[derive(Debug)]
pub enum Answer {
    /// Returns 0: done, or no event within the timeout.
    Zero,
    /// Returns a new descriptor.
    Descriptor(OwnedFd),
    /// Writes events, as bits and data, and returns their number.
    Events(Vec<(u32, u64)>),
    /// Sets `errno` and returns -1.
    Error(c_int),
    /// Sleeps, sets `errno` to EINTR and returns -1.
    InterruptedAfter(Duration),
}

#[derive(Default)]
struct Kernel {
    script: VecDeque<Answer>,
    calls: Vec<Call>,
}

thread_local! {
    // Each test calls on a thread of its own.
    static KERNEL: RefCell<Kernel> = RefCell::default();
}

/// Returns what `act` returns, and the calls that it makes. The script has one answer for each call.
pub fn play<T>(script: impl Into<VecDeque<Answer>>, act: impl FnOnce() -> T) -> (T, Vec<Call>) {
    KERNEL.set(Kernel {
        script: script.into(),
        calls: Vec::new(),
    });
    let result = act();
    let kernel = KERNEL.take();
    assert!(kernel.script.is_empty(), "no call for {:?}", kernel.script);
    (result, kernel.calls)
}

pub unsafe fn epoll_create1(flags: c_int) -> c_int {
    perform(answer(Call::EpollCreate1 { flags }))
}

/// # Safety
///
/// `event` points to an event.
pub unsafe fn epoll_ctl(epfd: c_int, op: c_int, fd: c_int, event: *mut Event) -> c_int {
    // SAFETY: the caller says so.
    let Event { events, data } = unsafe { *event };
    perform(answer(Call::EpollCtl {
        epfd,
        op,
        fd,
        events,
        data,
    }))
}

/// # Safety
///
/// `events` points to room for `maxevents` events.
pub unsafe fn epoll_wait(
    epfd: c_int,
    events: *mut Event,
    maxevents: c_int,
    timeout: c_int,
) -> c_int {
    let answer = answer(Call::EpollWait {
        epfd,
        maxevents,
        timeout,
    });
    let Answer::Events(reported) = answer else {
        return perform(answer);
    };
    assert!(reported.len() <= maxevents as usize, "they do not fit");
    for (index, &(bits, data)) in reported.iter().enumerate() {
        let event = Event { events: bits, data };
        // SAFETY: the caller says that there is room.
        unsafe { events.add(index).write(event) };
    }
    reported.len() as c_int
}

pub unsafe fn eventfd(initval: c_uint, flags: c_int) -> c_int {
    perform(answer(Call::Eventfd { initval, flags }))
}

/// Records a call and takes the next answer.
fn answer(call: Call) -> Answer {
    KERNEL.with_borrow_mut(|kernel| {
        kernel.calls.push(call);
        let answer = kernel.script.pop_front();
        answer.unwrap_or_else(|| panic!("one call too many: {:?}", kernel.calls))
    })
}

fn perform(answer: Answer) -> c_int {
    match answer {
        Answer::Zero => 0,
        Answer::Descriptor(fd) => fd.into_raw_fd(),
        Answer::Error(errno) => fail(errno),
        Answer::InterruptedAfter(duration) => {
            const EINTR: c_int = 4;
            thread::sleep(duration);
            fail(EINTR)
        }
        Answer::Events(_) => panic!("only epoll_wait reports events"),
    }
}

fn fail(errno: c_int) -> c_int {
    unsafe extern "C" {
        fn __errno_location() -> *mut c_int;
    }
    // SAFETY: it points to this thread's `errno`.
    unsafe { *__errno_location() = errno };
    -1
}
