//! What can be a source, and what cannot. Signals, processes and standard input are in
//! `children.rs`.

use super::common::*;
use crate::ffi::{EPOLLERR, EPOLLIN, EPOLLPRI};
use crate::{Interest, Poll};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::{env, process};

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
fn a_regular_file_a_directory_and_dev_null_are_eperm() {
    let opened = ["/", "/dev/null"].map(|path| File::open(path).unwrap());
    let [directory, null] = opened;
    let poll = Poll::new().unwrap();
    for file in [memory_file(), directory, null] {
        let registry = poll.registry();
        assert_eq!(os_code(registry.register(&file, 1, EPOLLIN)), EPERM);
        assert_eq!(os_code(registry.reregister(&file, 1, EPOLLIN)), EPERM);
        assert_eq!(os_code(registry.deregister(&file)), EPERM);
    }
}

#[test]
fn some_regular_files_in_proc_can_be_registered() {
    let file = File::open("/proc/self/mounts").unwrap();
    assert!(file.metadata().unwrap().is_file());
    let poll = Poll::new().unwrap();
    poll.registry().register(&file, 1, EPOLLPRI).unwrap();
}

#[test]
fn a_file_in_sys_reports_a_change_before_its_first_read() {
    let Ok(mut file) = File::open("/sys/kernel/uevent_seqnum") else {
        return; // /sys is not mounted here
    };
    let mut poll = queue_with(&file, EPOLLIN | EPOLLPRI);
    assert_eq!(ready_bits(&mut poll), EPOLLIN | EPOLLPRI | EPOLLERR);
    file.read_to_string(&mut String::new()).unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
}

#[test]
fn an_inotify_watch_becomes_readable() {
    const IN_CREATE: u32 = 0x100;
    let directory = env::temp_dir().join(format!("epollet-{}", process::id()));
    fs::create_dir(&directory).unwrap();
    let path = CString::new(directory.as_os_str().as_bytes()).unwrap();
    // SAFETY: no pointer; then a path that ends in a zero byte.
    let inotify = owned_fd(unsafe { c::inotify_init1(CLOEXEC) });
    assert!(unsafe { c::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), IN_CREATE) } >= 0);
    let mut poll = queue_with(&inotify, Interest::READABLE);
    assert_eq!(ready_bits(&mut poll), 0);
    File::create(directory.join("new")).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
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
