//! The other calls: `epoll_create1`, `epoll_ctl`, `eventfd`.

use super::super::common::{EBADF, EEXIST, EINVAL, ELOOP, EMFILE, ENFILE, ENODEV, ENOENT, ENOMEM};
use super::super::common::{ENOSPC, EPERM, os_code, pipe, unix_pair};
use super::ffi::{Answer, Call, EPOLLET, EPOLLIN, EPOLLOUT, play};
use super::poll::{Interest, Poll, Waker};
use super::{descriptor, new_poll};
use std::ffi::c_int;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};

const O_CLOEXEC: i32 = 0o2000000;
const O_NONBLOCK: i32 = 0o4000;

#[test]
fn errors_of_epoll_create1_are_returned() {
    for errno in [EMFILE, ENFILE, ENOMEM] {
        let (poll, _) = play([Answer::Error(errno)], Poll::new);
        assert_eq!(os_code(poll), errno);
    }
}

/// Returns an answer with the writing end of a pipe, and the reading end, which shows what is written
/// and whether the writing end is closed.
fn pipe_descriptor() -> (Answer, File) {
    let (reader, writer) = pipe();
    (Answer::Descriptor(OwnedFd::from(writer)), reader)
}

fn is_closed(mut other_end: &File) -> bool {
    matches!(other_end.read(&mut [0]), Ok(0))
}

#[test]
fn dropping_a_poll_closes_its_descriptor() {
    let (answer, other_end) = pipe_descriptor();
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
    let registry = poll.registry();
    for (errno, kind) in [
        (EEXIST, Some(ErrorKind::AlreadyExists)),
        (EPERM, Some(ErrorKind::PermissionDenied)),
        (EBADF, None),
        (EINVAL, Some(ErrorKind::InvalidInput)),
        (ELOOP, None),
        (ENOSPC, Some(ErrorKind::StorageFull)),
        (ENOMEM, Some(ErrorKind::OutOfMemory)),
        (ENOENT, Some(ErrorKind::NotFound)),
    ] {
        let failures = [errno; 3].map(Answer::Error);
        let (results, _) = play(failures, || {
            [
                registry.register(&source, 1, EPOLLIN),
                registry.reregister(&source, 1, EPOLLIN),
                registry.deregister(&source),
            ]
        });
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
        fd: waker.as_raw_fd(),
        events: EPOLLIN | EPOLLET,
        data: 9,
    };
    assert_eq!(calls, [eventfd, registered]);
}

#[test]
fn a_wake_writes_one() {
    let poll = new_poll();
    let (answer, mut other_end) = pipe_descriptor();
    let (waker, _) = play([answer, Answer::Zero], || Waker::new(poll.registry(), 9));
    waker.unwrap().wake().unwrap();
    let mut written = Vec::new();
    other_end.read_to_end(&mut written).unwrap();
    assert_eq!(written, 1_u64.to_ne_bytes());
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
    let (answer, other_end) = pipe_descriptor();
    let script = [answer, Answer::Error(ENOSPC)];
    let (waker, _) = play(script, || Waker::new(poll.registry(), 9));
    assert_eq!(os_code(waker), ENOSPC);
    assert!(is_closed(&other_end));
}
