//! Adding, changing and removing registrations, and the errors.

use super::common::*;
use crate::ffi::{EPOLLET, EPOLLEXCLUSIVE, EPOLLIN, EPOLLOUT};
use crate::{Interest, Poll};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

#[test]
fn registering_twice_is_eexist() {
    let (ours, _theirs) = unix_pair();
    let poll = queue_with(&ours, EPOLLIN);
    assert_eq!(os_code(poll.registry().register(&ours, 2, EPOLLIN)), EEXIST);
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
fn a_file_on_disk_a_directory_and_dev_null_are_eperm() {
    let poll = Poll::new().unwrap();
    let on_disk = std::env::current_exe().unwrap();
    for path in [on_disk.as_path(), Path::new("/"), Path::new("/dev/null")] {
        let file = File::open(path).unwrap();
        let registry = poll.registry();
        assert_eq!(os_code(registry.register(&file, 1, EPOLLIN)), EPERM);
        assert_eq!(os_code(registry.reregister(&file, 1, EPOLLIN)), EPERM);
        assert_eq!(os_code(registry.deregister(&file)), EPERM);
    }
}

#[test]
fn a_descriptor_that_is_not_open_is_ebadf() {
    // SAFETY: no process has this many descriptors, so nothing is borrowed.
    let closed = unsafe { BorrowedFd::borrow_raw(i32::MAX) };
    let poll = Poll::new().unwrap();
    assert_eq!(
        os_code(poll.registry().register(&closed, 1, EPOLLIN)),
        EBADF
    );
    assert_eq!(os_code(poll.registry().deregister(&closed)), EBADF);
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
fn a_queue_as_an_exclusive_source_is_einval() {
    let (outer, inner) = (Poll::new().unwrap(), Poll::new().unwrap());
    let exclusive = EPOLLIN | EPOLLEXCLUSIVE;
    assert_eq!(
        os_code(outer.registry().register(&inner, 1, exclusive)),
        EINVAL
    );
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
fn a_queue_whose_ready_list_has_something_to_report_is_readable() {
    let (ours, mut theirs) = unix_pair();
    let mut inner = queue_with(&ours, EPOLLIN);
    let mut outer = Poll::new().unwrap();
    outer.registry().register(&inner, 2, EPOLLIN).unwrap();
    assert_eq!(sorted_tokens(&ready_now(&mut outer)), []);
    theirs.write_all(b"a").unwrap();
    assert_eq!(sorted_tokens(&ready_now(&mut outer)), [2]);
    assert_eq!(sorted_tokens(&ready_now(&mut inner)), [1]);
}

#[test]
fn a_source_on_two_queues_is_reported_by_both() {
    let (ours, mut theirs) = unix_pair();
    let (mut first, mut second) = (queue_with(&ours, EPOLLIN), queue_with(&ours, EPOLLIN));
    theirs.write_all(b"a").unwrap();
    assert_eq!(
        (ready_bits(&mut first), ready_bits(&mut second)),
        (EPOLLIN, EPOLLIN)
    );
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
fn deregistering_drops_an_event_that_was_not_polled_yet() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    theirs.write_all(b"a").unwrap();
    poll.registry().deregister(&ours).unwrap();
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), []);
}

#[test]
fn an_event_that_was_returned_before_the_deregistration_is_stale() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN);
    theirs.write_all(b"a").unwrap();
    let events = ready_now(&mut poll);
    poll.registry().deregister(&ours).unwrap();
    assert_eq!(sorted_tokens(&events), [1], "it is still in the buffer");
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), []);
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
fn the_same_file_can_be_registered_again_through_a_duplicate() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN);
    let duplicate = ours.try_clone().unwrap();
    poll.registry().register(&duplicate, 2, EPOLLIN).unwrap();
    theirs.write_all(b"a").unwrap();
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [1, 2]);
    poll.registry().deregister(&ours).unwrap();
    assert_eq!(
        sorted_tokens(&ready_now(&mut poll)),
        [2],
        "one registration for each descriptor"
    );
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

#[test]
fn any_owner_of_a_descriptor_is_a_source() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = Poll::new().unwrap();
    let owned = OwnedFd::from(ours);
    poll.registry()
        .register(&owned, 1, Interest::READABLE)
        .unwrap();
    theirs.write_all(b"a").unwrap();
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [1]);
    let mut file = File::from(owned);
    poll.registry().deregister(&file).unwrap();
    file.read_exact(&mut [0]).unwrap();
}

#[test]
fn sources_of_different_types_can_be_registered_through_one_reference_type() {
    let (stream, _theirs) = unix_pair();
    let (reader, _writer) = pipe();
    let sources: [&dyn AsFd; 2] = [&stream, &reader];
    let poll = Poll::new().unwrap();
    for (token, source) in sources.into_iter().enumerate() {
        poll.registry().register(source, token, EPOLLIN).unwrap();
        poll.registry().reregister(source, token, EPOLLIN).unwrap();
        poll.registry().deregister(source).unwrap();
    }
}

#[test]
fn proc_shows_the_interest_list() {
    let (ours, _theirs) = unix_pair();
    let poll = Poll::new().unwrap();
    poll.registry().register(&ours, 0xabc, EPOLLOUT).unwrap();
    let fdinfo = format!("/proc/self/fdinfo/{}", poll.as_raw_fd());
    let text = fs::read_to_string(fdinfo).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("tfd:"))
        .collect();
    let [line] = lines[..] else {
        panic!("{text}");
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    // The kernel has added EPOLLERR and EPOLLHUP.
    let number = ours.as_raw_fd().to_string();
    let expected = ["tfd:", &number, "events:", "1c", "data:", "abc"];
    assert_eq!(words[..6], expected);
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
