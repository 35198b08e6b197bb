//! The types that the kernel fills and reads: layout, numbers, predicates, `Debug`.

use crate::ffi::*;
use crate::{Event, Interest, Poll, Registry, Waker};
use std::mem::{align_of, size_of};

fn event(bits: u32) -> Event {
    Event {
        events: bits,
        data: 4,
    }
}

#[test]
fn event_is_packed_on_x86_64_alone() {
    let (size, align) = match () {
        _ if cfg!(target_arch = "x86_64") => (12, 1),
        // 32-bit x86 aligns 64-bit members of a struct to 4 bytes.
        _ if cfg!(target_arch = "x86") => (12, 4),
        _ => (16, 8),
    };
    assert_eq!((size_of::<Event>(), align_of::<Event>()), (size, align));
}

#[test]
fn debug_prints_the_bits_by_name() {
    let text = |bits| format!("{:?}", event(bits));
    assert_eq!(
        text(EPOLLIN | EPOLLRDHUP),
        "Event { token: 4, events: EPOLLIN | EPOLLRDHUP }"
    );
    assert_eq!(
        text(EPOLLOUT | EPOLLERR | EPOLLHUP),
        "Event { token: 4, events: EPOLLOUT | EPOLLERR | EPOLLHUP }"
    );
    assert_eq!(text(0), "Event { token: 4, events: 0x0 }");
    assert_eq!(
        text(EPOLLPRI | 0x40 | 0x100),
        "Event { token: 4, events: EPOLLPRI | 0x140 }"
    );
}

/// The numbers of `linux/eventpoll.h`.
#[test]
fn each_bit_has_the_number_of_the_kernel_and_is_printed_by_name() {
    for (bit, number, name) in [
        (EPOLLIN, 0x1, "EPOLLIN"),
        (EPOLLPRI, 0x2, "EPOLLPRI"),
        (EPOLLOUT, 0x4, "EPOLLOUT"),
        (EPOLLERR, 0x8, "EPOLLERR"),
        (EPOLLHUP, 0x10, "EPOLLHUP"),
        (EPOLLRDHUP, 0x2000, "EPOLLRDHUP"),
        (EPOLLEXCLUSIVE, 0x1000_0000, "EPOLLEXCLUSIVE"),
        (EPOLLONESHOT, 0x4000_0000, "EPOLLONESHOT"),
        (EPOLLET, 0x8000_0000, "EPOLLET"),
    ] {
        assert_eq!(bit, number);
        assert_eq!(format!("{:?}", Interest::from(bit)), name);
        let text = format!("Event {{ token: 4, events: {name} }}");
        assert_eq!(format!("{:?}", event(bit)), text);
    }
}

#[test]
fn interest_is_a_set_of_bits() {
    let interest = Interest::READABLE | Interest::WRITABLE | Interest::EDGE;
    assert_eq!(interest.bits(), EPOLLIN | EPOLLRDHUP | EPOLLOUT | EPOLLET);
    assert_eq!(interest | Interest::EDGE, interest, "no bit is in it twice");
    let others = Interest::PRIORITY | Interest::ONESHOT | EPOLLEXCLUSIVE;
    assert_eq!(others.bits(), EPOLLPRI | EPOLLONESHOT | EPOLLEXCLUSIVE);
}

/// In the order readable, writable, priority, error, read closed, write closed.
fn predicates(bits: u32) -> [bool; 6] {
    let event = event(bits);
    [
        event.is_readable(),
        event.is_writable(),
        event.is_priority(),
        event.is_error(),
        event.is_read_closed(),
        event.is_write_closed(),
    ]
}

#[test]
fn predicates_mean_what_those_of_mio_mean() {
    const NO: bool = false;
    for (bits, expected) in [
        (0, [NO; 6]),
        (EPOLLIN, [true, NO, NO, NO, NO, NO]),
        (EPOLLPRI, [true, NO, true, NO, NO, NO]),
        (EPOLLOUT, [NO, true, NO, NO, NO, NO]),
        (EPOLLRDHUP, [NO, NO, NO, NO, NO, NO]),
        (EPOLLIN | EPOLLRDHUP, [true, NO, NO, NO, true, NO]),
        (EPOLLHUP, [NO, NO, NO, NO, true, true]),
        (EPOLLERR, [NO, NO, NO, true, NO, true]),
        (EPOLLIN | EPOLLERR, [true, NO, NO, true, NO, NO]),
        (EPOLLOUT | EPOLLERR, [NO, true, NO, true, NO, true]),
    ] {
        assert_eq!(predicates(bits), expected, "{:?}", event(bits));
    }
}

#[test]
fn handles_can_go_to_other_threads() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<Poll>();
    send::<Registry>();
    sync::<Registry>();
    send::<Waker>();
    sync::<Waker>();
}

#[test]
fn everything_prints_for_debugging() {
    let poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), 0).unwrap();
    assert!(format!("{poll:?}").starts_with("Poll(Registry(OwnedFd"));
    assert!(format!("{waker:?}").starts_with("Waker(File"));
}
