//! The timeouts of `epoll_wait`, signals, and errors.

use super::super::common::{EBADF, EINTR, ENOMEM, os_code, within_limit};
use super::ffi::{Answer, Call, play};
use super::poll::Events;
use super::{new_poll, one_event};
use std::ffi::c_int;
use std::io::Result;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const EFAULT: i32 = 14;
const LONGEST: u64 = i32::MAX as u64; // milliseconds
const HOUR: Duration = Duration::from_secs(3600);

/// Returns the events of one `poll`, and the timeouts of its calls of `epoll_wait`.
fn poll_with<const N: usize>(
    script: [Answer; N],
    timeout: Option<Duration>,
) -> (Result<Events>, Vec<c_int>) {
    within_limit(move || {
        let mut poll = new_poll();
        let mut events = Events::with_capacity(4);
        let (result, calls) = play(script, || poll.poll(&mut events, timeout));
        let wanted = (poll.as_raw_fd(), 4);
        let timeouts = calls.iter().map(|call| match *call {
            Call::EpollWait {
                epfd,
                maxevents,
                timeout,
            } => {
                assert_eq!((epfd, maxevents), wanted);
                timeout
            }
            ref other => panic!("{other:?}"),
        });
        (result.map(|()| events), timeouts.collect())
    })
}

/// Returns the timeout that the kernel gets for `timeout`.
fn millis(timeout: Option<Duration>) -> c_int {
    let (events, timeouts) = poll_with([one_event()], timeout);
    assert_eq!(events.unwrap()[0].token(), 7);
    timeouts[0]
}

#[test]
fn no_timeout_is_minus_one_and_zero_is_zero() {
    assert_eq!(millis(None), -1);
    assert_eq!(millis(Some(Duration::ZERO)), 0);
}

#[test]
fn timeouts_are_rounded_up_to_milliseconds() {
    for (nanos, expected) in [
        (1, 1),
        (999_999, 1),
        (1_000_000, 1),
        (1_000_001, 2),
        (2_500_000, 3),
        (999_000_000, 999),
        (999_000_001, 1000),
        (1_000_000_000, 1000),
        (1_000_000_001, 1001),
        (5_000_000_000, 5000),
        (61_999_999_999, 62_000),
    ] {
        let timeout = Duration::from_nanos(nanos);
        assert_eq!(millis(Some(timeout)), expected, "{timeout:?}");
    }
}

#[test]
fn a_timeout_beyond_an_int_begins_with_the_longest_wait_that_fits() {
    for timeout in [
        Duration::from_millis(LONGEST),
        Duration::from_millis(LONGEST) + Duration::from_nanos(1),
        Duration::from_millis(LONGEST + 1),
        Duration::from_millis(1 << 32), // 0 in an int
        Duration::from_millis(u64::MAX),
        Duration::from_secs(1 << 61), // 0 milliseconds in 64 bits
        Duration::MAX,
    ] {
        assert_eq!(millis(Some(timeout)), i32::MAX, "{timeout:?}");
    }
    let one_less = Duration::from_millis(LONGEST - 1);
    assert_eq!(millis(Some(one_less)), i32::MAX - 1);
}

#[test]
fn a_timeout_beyond_an_int_goes_on_after_the_longest_wait() {
    for timeout in [Duration::from_millis(3 * LONGEST), Duration::MAX] {
        let script = [Answer::Zero, Answer::Zero, one_event()];
        let (events, timeouts) = poll_with(script, Some(timeout));
        assert_eq!(events.unwrap().len(), 1);
        assert_eq!(timeouts, [i32::MAX; 3]);
    }
}

#[test]
fn a_timeout_that_fits_an_int_ends_when_the_kernel_says_so() {
    for timeout in [
        Some(Duration::ZERO),
        Some(Duration::from_nanos(1)),
        Some(HOUR),
        Some(Duration::from_millis(LONGEST - 1)),
    ] {
        let (events, timeouts) = poll_with([Answer::Zero], timeout);
        assert!(events.unwrap().is_empty());
        assert_eq!(timeouts.len(), 1, "{timeout:?}");
    }
}

fn interrupted() -> Answer {
    Answer::Error(EINTR)
}

#[test]
fn a_signal_repeats_a_wait_without_limit_and_one_of_zero() {
    for (timeout, millis) in [(None, -1), (Some(Duration::ZERO), 0)] {
        let script = [interrupted(), interrupted(), one_event()];
        let (events, timeouts) = poll_with(script, timeout);
        assert_eq!(events.unwrap()[0].token(), 7);
        assert_eq!(timeouts, [millis; 3]);
    }
}

#[test]
fn a_signal_repeats_a_wait_with_the_remaining_time() {
    let rounded_up = |time: Duration| time.as_nanos().div_ceil(1_000_000) as c_int;
    let slept = Duration::from_millis(3);
    let script = [
        Answer::InterruptedAfter(slept),
        Answer::InterruptedAfter(slept),
        Answer::Zero,
    ];
    let start = Instant::now();
    let (events, timeouts) = poll_with(script, Some(HOUR));
    let elapsed = start.elapsed();
    assert!(events.unwrap().is_empty());
    let [first, second, third] = timeouts[..] else {
        panic!("{timeouts:?}");
    };
    assert_eq!(first, 3_600_000);
    assert!((rounded_up(HOUR - elapsed)..=rounded_up(HOUR - slept)).contains(&second));
    assert!((rounded_up(HOUR - elapsed)..=rounded_up(HOUR - 2 * slept)).contains(&third));
}

#[test]
fn a_signal_at_the_end_of_the_time_asks_once_more_for_what_is_ready_now() {
    let timeout = Duration::from_millis(2);
    for last in [Answer::Zero, one_event()] {
        let (events, timeouts) =
            poll_with([Answer::InterruptedAfter(timeout), last], Some(timeout));
        events.unwrap();
        assert_eq!(timeouts, [2, 0]);
    }
}

#[test]
fn a_signal_during_a_timeout_beyond_an_int_repeats_the_longest_wait() {
    let (events, timeouts) = poll_with([interrupted(), one_event()], Some(Duration::MAX));
    assert_eq!(events.unwrap().len(), 1);
    assert_eq!(timeouts, [i32::MAX; 2]);
}

#[test]
fn other_errors_of_epoll_wait_are_returned_at_once() {
    for timeout in [None, Some(Duration::ZERO), Some(HOUR), Some(Duration::MAX)] {
        for errno in [EBADF, EFAULT, ENOMEM] {
            let (events, timeouts) = poll_with([Answer::Error(errno)], timeout);
            assert_eq!(os_code(events), errno);
            assert_eq!(timeouts.len(), 1);
        }
    }
}

#[test]
fn an_error_after_a_signal_is_returned() {
    for timeout in [None, Some(Duration::ZERO), Some(HOUR)] {
        let (events, _) = poll_with([interrupted(), Answer::Error(EBADF)], timeout);
        assert_eq!(os_code(events), EBADF);
    }
}
