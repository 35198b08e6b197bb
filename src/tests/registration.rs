//! Adding, changing and removing registrations, and the errors.

use super::common::*;
use crate::ffi::{EPOLLET, EPOLLIN, EPOLLONESHOT, EPOLLOUT};
use crate::{Poll, Waker};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

#[test]
fn a_second_register_is_eexist_and_changes_nothing() {
    let (ours, _theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLOUT);
    assert_eq!(os_code(poll.registry().register(&ours, 2, EPOLLIN)), EEXIST);
    let events = ready_now(&mut poll);
    assert_eq!(sorted_tokens(&events), [1]);
    assert_eq!(events[0].bits(), EPOLLOUT);
}

#[test]
fn reregistering_what_is_not_registered_is_enoent() {
    let (ours, _theirs) = unix_pair();
    let poll = Poll::new().unwrap();
    assert_eq!(
        os_code(poll.registry().reregister(&ours, 1, EPOLLIN)),
        ENOENT
    );
}

#[test]
fn deregistering_what_is_not_registered_is_enoent() {
    let (ours, _theirs) = unix_pair();
    let poll = queue_with(&ours, EPOLLIN);
    poll.registry().deregister(&ours).unwrap();
    assert_eq!(os_code(poll.registry().deregister(&ours)), ENOENT);
}

#[test]
fn a_descriptor_that_is_not_open_is_ebadf() {
    // SAFETY: no process has this many descriptors, so nothing is borrowed.
    let not_open = unsafe { BorrowedFd::borrow_raw(i32::MAX) };
    assert_ebadf(not_open);
}

#[track_caller]
fn assert_ebadf(source: BorrowedFd<'_>) {
    let poll = Poll::new().unwrap();
    let registry = poll.registry();
    assert_eq!(os_code(registry.register(&source, 1, EPOLLIN)), EBADF);
    assert_eq!(os_code(registry.reregister(&source, 1, EPOLLIN)), EBADF);
    assert_eq!(os_code(registry.deregister(&source)), EBADF);
}

#[test]
fn a_descriptor_that_was_opened_with_o_path_is_ebadf() {
    const O_PATH: i32 = 0o10000000;
    let supports_epoll = c"/proc/self/mounts";
    // SAFETY: the path ends in a zero byte. (std removes O_PATH from the flags with musl.)
    let [file, path] = [CLOEXEC, O_PATH | CLOEXEC]
        .map(|flags| owned_fd(unsafe { c::open(supports_epoll.as_ptr(), flags) }));
    queue_with(&file, EPOLLIN);
    assert_ebadf(path.as_fd());
}

#[test]
fn a_queue_in_itself_is_einval() {
    let poll = Poll::new().unwrap();
    let registry = poll.registry();
    assert_eq!(os_code(registry.register(&poll, 1, EPOLLIN)), EINVAL);
    assert_eq!(os_code(registry.reregister(&poll, 1, EPOLLIN)), EINVAL);
    assert_eq!(os_code(registry.deregister(&poll)), EINVAL);
}

#[test]
fn queues_in_a_circle_are_eloop() {
    let (first, second) = (Poll::new().unwrap(), Poll::new().unwrap());
    first.registry().register(&second, 1, EPOLLIN).unwrap();
    assert_eq!(
        os_code(second.registry().register(&first, 1, EPOLLIN)),
        ELOOP
    );
}

#[test]
fn queues_more_than_five_deep_are_eloop() {
    let queues: Vec<Poll> = (0..6).map(|_| Poll::new().unwrap()).collect();
    for i in 0..4 {
        queues[i]
            .registry()
            .register(&queues[i + 1], 1, EPOLLIN)
            .unwrap();
    }
    assert_eq!(
        os_code(queues[4].registry().register(&queues[5], 1, EPOLLIN)),
        ELOOP
    );
}

#[test]
fn an_event_passes_through_queues_that_are_five_deep() {
    let mut queues: Vec<Poll> = (0..5).map(|_| Poll::new().unwrap()).collect();
    for pair in queues.windows(2) {
        pair[0].registry().register(&pair[1], 1, EPOLLIN).unwrap();
    }
    let (ours, mut theirs) = unix_pair();
    queues[4].registry().register(&ours, 1, EPOLLIN).unwrap();
    assert_eq!(ready_bits(&mut queues[0]), 0);
    theirs.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut queues[0]), EPOLLIN);
}

#[test]
fn a_source_below_too_many_queues_is_einval() {
    // A chain of four queues, and above its top one queue after the other: the kernel allows ten paths
    // of this length.
    let chain: Vec<Poll> = (0..4).map(|_| Poll::new().unwrap()).collect();
    for pair in chain.windows(2) {
        pair[1].registry().register(&pair[0], 1, EPOLLIN).unwrap();
    }
    let tops: Vec<Poll> = (0..11).map(|_| Poll::new().unwrap()).collect();
    for top in &tops {
        top.registry().register(&chain[3], 1, EPOLLIN).unwrap();
    }
    let (ours, _theirs) = unix_pair();
    let registered = chain[0].registry().register(&ours, 1, EPOLLIN);
    assert_eq!(os_code(registered), EINVAL);
    tops[0].registry().deregister(&chain[3]).unwrap();
    chain[0].registry().register(&ours, 1, EPOLLIN).unwrap();
}

#[test]
fn reregistering_replaces_token_and_interest() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN);
    theirs.write_all(b"a").unwrap();
    poll.registry()
        .reregister(&ours, usize::MAX, EPOLLOUT)
        .unwrap();
    let events = ready_now(&mut poll);
    assert_eq!(sorted_tokens(&events), [usize::MAX]);
    assert_eq!(events[0].bits(), EPOLLOUT, "and no longer EPOLLIN");
}

#[test]
fn the_rest_of_a_batch_can_be_about_a_source_that_is_closed() {
    let pairs = [unix_pair(), unix_pair()];
    let mut poll = Poll::new().unwrap();
    let mut sources = Vec::new();
    for (token, (ours, mut theirs)) in pairs.into_iter().enumerate() {
        poll.registry().register(&ours, token, EPOLLIN).unwrap();
        theirs.write_all(b"a").unwrap();
        sources.push(Some((ours, theirs)));
    }
    let events = ready_now(&mut poll);
    sources[1] = None; // The handler of the first event closes the other source.
    assert_eq!(
        sorted_tokens(&events),
        [0, 1],
        "its event is still in the batch"
    );
    assert_eq!(
        sorted_tokens(&ready_now(&mut poll)),
        [0],
        "the next poll knows"
    );
}

#[test]
fn closing_the_last_descriptor_deregisters() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN);
    theirs.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    drop(ours);
    assert_eq!(ready_bits(&mut poll), 0);
}

#[test]
fn a_duplicate_keeps_the_registration_alive_after_the_original_is_closed() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN);
    let duplicate = ours.try_clone().unwrap();
    drop(ours);
    theirs.write_all(b"a").unwrap();
    assert_eq!(
        ready_bits(&mut poll),
        EPOLLIN,
        "reported under the token of a closed descriptor"
    );
    let through_duplicate = poll.registry().deregister(&duplicate);
    assert_eq!(
        os_code(through_duplicate),
        ENOENT,
        "the number of the descriptor is part of a registration"
    );
    drop(duplicate);
    assert_eq!(ready_bits(&mut poll), 0);
}

#[test]
fn a_duplicate_can_be_registered_too_and_then_there_are_two_events() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN);
    let duplicate = ours.try_clone().unwrap();
    poll.registry().register(&duplicate, 2, EPOLLIN).unwrap();
    theirs.write_all(b"a").unwrap();
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [1, 2]);
    poll.registry().deregister(&ours).unwrap();
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [2]);
}

#[test]
fn a_number_reused_by_a_new_file_is_a_new_registration() {
    let (old, mut to_old) = unix_pair();
    let (new, mut to_new) = unix_pair();
    let mut poll = queue_with(&old, EPOLLIN);
    // Closes the old file and gives its number to the new one, in one step.
    // SAFETY: both descriptors are open and stay so, and `old` owns its number before and after.
    assert_eq!(
        unsafe { c::dup2(new.as_raw_fd(), old.as_raw_fd()) },
        old.as_raw_fd()
    );
    to_new.write_all(b"a").unwrap();
    assert_eq!(
        to_old.write(b"a").unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    assert_eq!(
        sorted_tokens(&ready_now(&mut poll)),
        [],
        "the old registration is gone"
    );
    poll.registry().register(&old, 3, EPOLLIN).unwrap();
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [3]);
}

/// Returns the lines about registrations in `/proc/self/fdinfo/FD`, each without what follows the
/// token.
fn interest_list(poll: &Poll) -> Vec<String> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", poll.as_raw_fd())).unwrap();
    let registrations = info.lines().filter(|line| line.starts_with("tfd:"));
    let words = registrations.map(|line| line.split_whitespace().take(6).collect::<Vec<_>>());
    words.map(|words| words.join(" ")).collect()
}

#[test]
fn fdinfo_shows_the_interest_list() {
    let (ours, mut theirs) = unix_pair();
    let number = ours.as_raw_fd();
    let mut poll = Poll::new().unwrap();
    assert_eq!(interest_list(&poll), [""; 0]);
    let interest = EPOLLIN | EPOLLONESHOT;
    poll.registry().register(&ours, 0xab, interest).unwrap();
    // EPOLLERR (8) and EPOLLHUP (10) belong to every interest.
    let registered = format!("tfd: {number} events: 40000019 data: ab");
    assert_eq!(interest_list(&poll), [registered]);
    theirs.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    let disabled = format!("tfd: {number} events: 40000000 data: ab");
    assert_eq!(interest_list(&poll), [disabled], "one-shot, reported");
    let interest = EPOLLIN | EPOLLONESHOT | EPOLLET;
    poll.registry().reregister(&ours, 1, interest).unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    let disabled = format!("tfd: {number} events: c0000000 data: 1");
    assert_eq!(interest_list(&poll), [disabled], "and edge-triggered");
    drop(ours);
    assert_eq!(interest_list(&poll), [""; 0]);
}

#[test]
fn a_clone_of_the_registry_has_a_descriptor_of_its_own_for_the_same_queue() {
    let (ours, _theirs) = unix_pair();
    let poll = queue_with(&ours, EPOLLIN);
    let clone = poll.registry().try_clone().unwrap();
    assert_eq!(poll.as_raw_fd(), poll.registry().as_raw_fd());
    assert_ne!(poll.as_raw_fd(), clone.as_raw_fd());
    assert_eq!(os_code(clone.register(&ours, 1, EPOLLIN)), EEXIST);
}

#[test]
fn a_registry_outlives_its_poll() {
    let (ours, _theirs) = unix_pair();
    let poll = Poll::new().unwrap();
    let registry = poll.registry().try_clone().unwrap();
    drop(poll);
    registry.register(&ours, 1, EPOLLIN).unwrap();
    registry.deregister(&ours).unwrap();
}

#[test]
fn every_descriptor_is_close_on_exec() {
    const F_GETFD: i32 = 1;
    const FD_CLOEXEC: i32 = 1;
    let poll = Poll::new().unwrap();
    let clone = poll.registry().try_clone().unwrap();
    let waker = Waker::new(poll.registry(), 0).unwrap();
    for fd in [poll.as_raw_fd(), clone.as_raw_fd(), waker.as_raw_fd()] {
        // SAFETY: no pointer.
        assert_eq!(unsafe { c::fcntl(fd, F_GETFD) }, FD_CLOEXEC);
    }
}
