//! `poll.rs` on a kernel that plays a script: which calls it makes, and what it makes of their
//! results. Here signals, errors and the longest waits take no time.

mod ffi;
#[path = "../../poll.rs"]
#[allow(clippy::duplicate_mod)] // It is compiled a second time, beside another `ffi`.
mod poll;

use super::common::{EBADF, EEXIST, EINTR, EINVAL, ELOOP, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM};
use super::common::{ENOSPC, EPERM, fill, os_code, pipe, unix_pair};
use ffi::{Answer, Call, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, play};
use poll::{Events, Interest, Poll, Waker};
use std::ffi::c_int;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

const EFAULT: i32 = 14;
const O_CLOEXEC: i32 = 0o2000000;
const O_NONBLOCK: i32 = 0o4000;
const LONGEST: u64 = i32::MAX as u64; // milliseconds
const HOUR: Duration = Duration::from_secs(3600);

fn new_poll() -> Poll {
    let (poll, _) = play([descriptor()], Poll::new);
    poll.unwrap()
}

/// Returns an answer with a descriptor that nothing is asked of.
fn descriptor() -> Answer {
    Answer::Descriptor(File::open("/dev/null").unwrap().into())
}

/// Returns the events of one `poll`, and the timeouts of its calls of `epoll_wait`.
fn poll_with<const N: usize>(
    script: [Answer; N],
    timeout: Option<Duration>,
) -> (std::io::Result<Events>, Vec<c_int>) {
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
}

fn one_event() -> Answer {
    Answer::Events(vec![(EPOLLIN, 7)])
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

#[test]
fn the_events_are_those_that_the_kernel_wrote() {
    let written = vec![(EPOLLIN | EPOLLRDHUP, 0), (EPOLLOUT, 1), (EPOLLHUP, 4)];
    let (events, _) = poll_with([Answer::Events(written)], None);
    let text = format!("{:?}", events.unwrap());
    let expected = "[Event { token: 0, events: EPOLLIN | EPOLLRDHUP }, \
                    Event { token: 1, events: EPOLLOUT }, Event { token: 4, events: EPOLLHUP }]";
    assert_eq!(text, expected);
}

#[test]
fn each_call_clears_the_events_even_one_that_fails() {
    let mut poll = new_poll();
    let mut events = Events::with_capacity(4);
    let two = || Answer::Events(vec![(EPOLLIN, 1), (EPOLLIN, 2)]);
    for (answer, left) in [
        (Answer::Zero, 0),
        (one_event(), 1),
        (Answer::Error(EBADF), 0),
    ] {
        play([two()], || poll.poll(&mut events, Some(HOUR)))
            .0
            .unwrap();
        assert_eq!(events.len(), 2);
        let _ = play([answer], || poll.poll(&mut events, Some(HOUR)));
        assert_eq!(events.len(), left);
    }
}

/// Returns the `maxevents` of one `poll` with `events`, and its result.
fn max_events(events: &mut Events, answer: Answer) -> (c_int, std::io::Result<()>) {
    let mut poll = new_poll();
    let (result, calls) = play([answer], || poll.poll(events, None));
    match calls[..] {
        [Call::EpollWait { maxevents, .. }] => (maxevents, result),
        _ => panic!("{calls:?}"),
    }
}

#[test]
fn the_capacity_is_the_most_that_the_kernel_writes() {
    for capacity in [1, 7, 64, 5000] {
        let mut events = Events::with_capacity(capacity);
        let full = vec![(EPOLLIN, 1); capacity];
        let (maxevents, result) = max_events(&mut events, Answer::Events(full));
        result.unwrap();
        assert_eq!((maxevents as usize, events.len()), (capacity, capacity));
    }
}

#[test]
fn no_capacity_is_invalid_input_and_says_what_to_do() {
    let (maxevents, result) = max_events(&mut Events::new(), Answer::Error(EINVAL));
    let error = result.unwrap_err();
    assert_eq!((maxevents, error.kind()), (0, ErrorKind::InvalidInput));
    assert!(error.to_string().contains("capacity of `events` is 0"));
    assert!(error.to_string().contains("Events::with_capacity(64)"));
}

/// The kernel takes from 1 to `i32::MAX / size_of::<Event>()` events. Whatever part of a greater
/// capacity fits in an int: it is never more than there is room for.
#[test]
#[cfg(target_pointer_width = "64")]
fn a_capacity_beyond_an_int_is_less_room_or_invalid_input() {
    for (capacity, expected) in [
        (1 << 31, i32::MIN),
        ((1 << 32) - 1, -1),
        (1 << 32, 0),
        ((1 << 32) + 5, 5),
    ] {
        let nowhere = NonNull::dangling().as_ptr();
        // SAFETY: without elements, nothing reads, writes or frees the memory that is not there.
        let mut events = ManuallyDrop::new(unsafe { Events::from_raw_parts(nowhere, 0, capacity) });
        let answer = if expected > 0 {
            Answer::Zero
        } else {
            Answer::Error(EINVAL)
        };
        let (maxevents, result) = max_events(&mut events, answer);
        assert_eq!(maxevents, expected);
        match result {
            Ok(()) => assert!(expected > 0),
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
        }
    }
}

#[test]
fn a_queue_is_close_on_exec() {
    let (poll, calls) = play([descriptor()], Poll::new);
    poll.unwrap();
    assert_eq!(calls, [Call::EpollCreate1 { flags: O_CLOEXEC }]);
}

#[test]
fn errors_of_epoll_create1_are_returned() {
    for errno in [EMFILE, ENFILE, ENOMEM] {
        let (poll, _) = play([Answer::Error(errno)], Poll::new);
        assert_eq!(os_code(poll), errno);
    }
}

/// Returns a descriptor for an answer, and the file whose end shows when the descriptor is closed.
fn watched_descriptor() -> (Answer, File) {
    let (reader, writer) = pipe();
    (Answer::Descriptor(OwnedFd::from(writer)), reader)
}

fn is_closed(mut other_end: &File) -> bool {
    matches!(other_end.read(&mut [0]), Ok(0))
}

#[test]
fn dropping_a_poll_closes_its_descriptor() {
    let (answer, other_end) = watched_descriptor();
    let poll = play([answer], Poll::new).0.unwrap();
    assert!(!is_closed(&other_end));
    drop(poll);
    assert!(is_closed(&other_end));
}

#[test]
fn registering_is_one_epoll_ctl_with_the_bits_and_the_token() {
    const ADD: c_int = 1;
    const DEL: c_int = 2;
    const MOD: c_int = 3;
    let (source, _peer) = unix_pair();
    let poll = new_poll();
    let registry = poll.registry();
    let (results, calls) = play([Answer::Zero, Answer::Zero, Answer::Zero], || {
        [
            registry.register(&source, usize::MAX, Interest::READABLE | Interest::EDGE),
            registry.reregister(&source, 3, EPOLLOUT),
            registry.deregister(&source),
        ]
    });
    assert!(results.iter().all(Result::is_ok));
    let ctl = |op, events, data| Call::EpollCtl {
        epfd: poll.as_raw_fd(),
        op,
        fd: source.as_raw_fd(),
        events,
        data,
    };
    let expected = [
        ctl(ADD, 1 << 31 | 0x2000 | 0x1, usize::MAX as u64),
        ctl(MOD, 0x4, 3),
        ctl(DEL, 0, 0),
    ];
    assert_eq!(calls, expected);
}

#[test]
fn errors_of_epoll_ctl_keep_their_code_and_have_the_kind_that_the_documentation_names() {
    let (source, _peer) = unix_pair();
    let poll = new_poll();
    for (errno, kind) in [
        (EEXIST, Some(ErrorKind::AlreadyExists)),
        (EPERM, Some(ErrorKind::PermissionDenied)),
        (EBADF, None),
        (EINVAL, Some(ErrorKind::InvalidInput)),
        (ELOOP, None),
        (ENOSPC, Some(ErrorKind::StorageFull)),
        (ENOMEM, Some(ErrorKind::OutOfMemory)),
        (ENOENT, Some(ErrorKind::NotFound)),
        (EINTR, Some(ErrorKind::Interrupted)), // not retried: only epoll_wait can be interrupted
    ] {
        let results = [
            play([Answer::Error(errno)], || {
                poll.registry().register(&source, 1, EPOLLIN)
            })
            .0,
            play([Answer::Error(errno)], || {
                poll.registry().reregister(&source, 1, EPOLLIN)
            })
            .0,
            play([Answer::Error(errno)], || {
                poll.registry().deregister(&source)
            })
            .0,
        ];
        for result in results {
            let error = result.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno));
            assert!(kind.is_none_or(|kind| error.kind() == kind), "{error}");
        }
    }
}

#[test]
fn a_waker_is_a_non_blocking_eventfd_registered_for_edges() {
    let poll = new_poll();
    let (waker, calls) = play([descriptor(), Answer::Zero], || {
        Waker::new(poll.registry(), 9)
    });
    let waker = waker.unwrap();
    let eventfd = Call::Eventfd {
        initval: 0,
        flags: O_CLOEXEC | O_NONBLOCK,
    };
    let registered = Call::EpollCtl {
        epfd: poll.as_raw_fd(),
        op: 1,
        fd: waker.as_fd().as_raw_fd(),
        events: (EPOLLIN | EPOLLET) as u32,
        data: 9,
    };
    assert_eq!(calls, [eventfd, registered]);
}

#[test]
fn a_wake_writes_one() {
    let poll = new_poll();
    let (answer, mut other_end) = watched_descriptor();
    let (waker, _) = play([answer, Answer::Zero], || Waker::new(poll.registry(), 9));
    waker.unwrap().wake().unwrap();
    let mut written = Vec::new();
    other_end.read_to_end(&mut written).unwrap();
    assert_eq!(written, 1_u64.to_ne_bytes());
}

#[test]
fn a_wake_that_finds_no_room_is_would_block() {
    let poll = new_poll();
    let (_reader, mut writer) = pipe();
    fill(&mut writer);
    let full = Answer::Descriptor(writer.into());
    let (waker, _) = play([full, Answer::Zero], || Waker::new(poll.registry(), 9));
    let error = waker.unwrap().wake().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn without_an_eventfd_there_is_no_waker_and_nothing_is_registered() {
    let poll = new_poll();
    for errno in [EMFILE, ENFILE, ENODEV, ENOMEM] {
        let (waker, calls) = play([Answer::Error(errno)], || Waker::new(poll.registry(), 9));
        assert_eq!(os_code(waker), errno);
        assert_eq!(calls.len(), 1);
    }
}

#[test]
fn a_waker_that_cannot_be_registered_is_closed() {
    let poll = new_poll();
    let (answer, other_end) = watched_descriptor();
    let script = [answer, Answer::Error(ENOSPC)];
    let (waker, _) = play(script, || Waker::new(poll.registry(), 9));
    assert_eq!(os_code(waker), ENOSPC);
    assert!(is_closed(&other_end));
}
