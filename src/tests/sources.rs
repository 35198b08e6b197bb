//! What can be a source, and what cannot. Signals, processes and standard input are in
//! `children.rs`.

use super::common::*;
use crate::ffi::{EFD_CLOEXEC, EFD_NONBLOCK, EPOLLERR, EPOLLIN, EPOLLPRI, eventfd};
use crate::{Interest, Poll};
use std::ffi::{CString, c_int, c_long};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{env, process, ptr, thread};

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

/// Returns a regular file whose file system is known: in the directory of temporary files it can be
/// on FUSE, which epoll accepts.
fn file_on_tmpfs() -> Option<File> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    if !mounts.contains(" /dev/shm tmpfs ") {
        return None;
    }
    let path = format!("/dev/shm/epollet-{}", process::id());
    let file = File::create_new(&path).ok()?;
    fs::remove_file(path).unwrap();
    Some(file)
}

#[test]
fn a_memfd_a_file_on_tmpfs_a_directory_and_dev_null_are_eperm() {
    let mut files = vec![memory_file()];
    files.extend(["/", "/dev/null"].map(|path| File::open(path).unwrap()));
    match file_on_tmpfs() {
        Some(file) => files.push(file),
        // Not with `eprintln!`, whose output a test that passes does not show.
        None => writeln!(
            io::stderr(),
            "note: no tmpfs in /dev/shm, tried a memfd only"
        )
        .unwrap(),
    }
    let poll = Poll::new().unwrap();
    for file in files {
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
    let refused = File::open("/proc/self/status").unwrap();
    assert_eq!(
        os_code(poll.registry().register(&refused, 2, EPOLLPRI)),
        EPERM
    );
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
    assert_eq!(ready_bits(&mut queue_with(&file, Interest::PRIORITY)), 0);
}

const IN_MODIFY: u32 = 0x2;
const IN_CLOSE_WRITE: u32 = 0x8;
const IN_MOVED_TO: u32 = 0x80;
const IN_CREATE: u32 = 0x100;

/// Returns an inotify descriptor that watches one path.
fn inotify(path: &Path, mask: u32) -> File {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: no pointer; then a path that ends in a zero byte.
    let inotify = owned_fd(unsafe { c::inotify_init1(CLOEXEC | NONBLOCK) });
    assert!(unsafe { c::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), mask) } >= 0);
    File::from(inotify)
}

/// Returns a new directory, which the caller removes.
fn directory(name: &str) -> PathBuf {
    let path = env::temp_dir().join(format!("epollet-{name}-{}", process::id()));
    fs::create_dir(&path).unwrap();
    path
}

#[test]
fn an_inotify_watch_becomes_readable() {
    let directory = directory("created");
    let inotify = inotify(&directory, IN_CREATE);
    let mut poll = queue_with(&inotify, Interest::READABLE);
    assert_eq!(ready_bits(&mut poll), 0);
    File::create(directory.join("new")).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
}

#[test]
fn an_inotify_watch_on_a_file_does_not_see_the_file_that_replaces_it() {
    let directory = directory("replaced");
    let [file, new] = ["file", "new"].map(|name| directory.join(name));
    fs::write(&file, "old").unwrap();
    let mut on_file = inotify(&file, IN_MODIFY | IN_CLOSE_WRITE);
    let mut on_directory = inotify(&directory, IN_CLOSE_WRITE | IN_MOVED_TO);
    fs::write(&new, "new").unwrap();
    drain(&mut on_directory);
    fs::rename(&new, &file).unwrap();
    let replaced = ready_bits(&mut queue_with(&on_directory, EPOLLIN));
    drain(&mut on_file); // The kernel may report that the watch has ended.
    drain(&mut on_directory);
    fs::write(&file, "newer").unwrap();
    let written =
        [&on_file, &on_directory].map(|watch| ready_bits(&mut queue_with(watch, EPOLLIN)));
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(replaced, EPOLLIN);
    assert_eq!(written, [0, EPOLLIN]);
}

#[test]
fn inotify_reports_an_append_as_in_modify_and_in_close_write_only_at_the_close() {
    let directory = directory("append");
    let mut file = File::create(directory.join("log")).unwrap();
    let modified = inotify(&directory, IN_MODIFY);
    let closed = inotify(&directory, IN_CLOSE_WRITE);
    let ready = || [&modified, &closed].map(|watch| ready_bits(&mut queue_with(watch, EPOLLIN)));
    file.write_all(b"a line\n").unwrap();
    let appended = ready();
    drop(file);
    let ended = ready();
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(appended, [EPOLLIN, 0]);
    assert_eq!(ended, [EPOLLIN, EPOLLIN]);
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

/// Asserts that a read of `too_few` bytes fails with `EINVAL` and that the source stays ready.
fn stays_ready(source: &File, too_few: usize) {
    let mut poll = queue_with(source, Interest::READABLE);
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
    let mut buffer = vec![0; too_few];
    assert_eq!(os_code((&mut &*source).read(&mut buffer)), EINVAL);
    assert_eq!(ready_bits(&mut poll), EPOLLIN, "a loop spins");
}

#[test]
fn an_inotify_descriptor_stays_ready_if_the_buffer_is_too_small() {
    let directory = directory("inotify");
    let inotify = inotify(&directory, IN_CREATE);
    let name = "a".repeat(100);
    File::create(directory.join(name)).unwrap();
    stays_ready(&inotify, 64);
    fs::remove_dir_all(&directory).unwrap();
}

/// Returns a timer that expires after these nanoseconds.
fn timer(nanoseconds: c_long) -> File {
    const CLOCK_MONOTONIC: c_int = 1;
    // SAFETY: no pointer; then a `struct itimerspec`.
    let timer = owned_fd(unsafe { c::timerfd_create(CLOCK_MONOTONIC, CLOEXEC | NONBLOCK) });
    let once: [c_long; 4] = [0, 0, 0, nanoseconds];
    let set = unsafe { c::timerfd_settime(timer.as_raw_fd(), 0, once.as_ptr(), ptr::null_mut()) };
    assert_eq!(set, 0);
    File::from(timer)
}

#[test]
fn a_timerfd_and_an_eventfd_stay_ready_if_the_buffer_is_too_small() {
    stays_ready(&timer(1), 7);
    // SAFETY: no pointer.
    let counter = owned_fd(unsafe { eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK) });
    stays_ready(&File::from(counter), 7);
}

#[test]
fn a_timerfd_that_is_set_to_zero_is_disarmed() {
    let timer = timer(0);
    let mut current: [c_long; 4] = [1; 4];
    // SAFETY: the kernel writes a `struct itimerspec`.
    let got = unsafe { c::timerfd_gettime(timer.as_raw_fd(), current.as_mut_ptr()) };
    assert_eq!((got, current), (0, [0; 4]), "it will never expire");
    assert_eq!(ready_bits(&mut queue_with(&timer, EPOLLIN)), 0);
}

#[test]
fn an_epoll_instance_cannot_be_read_and_stays_ready() {
    let (ours, mut theirs) = unix_pair();
    theirs.write_all(b"a").unwrap();
    let inner = queue_with(&ours, EPOLLIN);
    let inner = File::from(inner.as_fd().try_clone_to_owned().unwrap());
    stays_ready(&inner, 100);
}

const SIGUSR1: c_int = 10;

/// Blocks `SIGUSR1` in this thread and returns a signalfd for it.
fn signalfd() -> File {
    let mut mask = [0_u64; 16]; // sigset_t
    mask[0] = 1 << (SIGUSR1 - 1);
    let mask = mask.as_ptr().cast();
    // SAFETY: the mask outlives the calls.
    unsafe {
        assert_eq!(c::pthread_sigmask(0, mask, ptr::null_mut()), 0); // SIG_BLOCK
        File::from(owned_fd(c::signalfd(-1, mask, CLOEXEC | NONBLOCK)))
    }
}

/// Sends `SIGUSR1` to this thread alone.
fn raise_signal() {
    // SAFETY: the signal is blocked in this thread.
    assert_eq!(unsafe { c::raise(SIGUSR1) }, 0);
}

#[test]
fn a_signalfd_merges_equal_signals_and_stays_ready_if_the_buffer_is_too_small() {
    // A thread of its own ends with its blocked signal.
    let run = thread::spawn(|| {
        let mut signals = signalfd();
        for _ in 0..5 {
            raise_signal();
        }
        stays_ready(&signals, 127);
        let mut info = [0; 128 * 5]; // struct signalfd_siginfo
        assert_eq!(signals.read(&mut info).unwrap(), 128, "one of five");
        let more = signals.read(&mut info).unwrap_err();
        assert_eq!(more.kind(), ErrorKind::WouldBlock);
    });
    run.join().unwrap();
}

#[test]
fn a_signalfd_does_not_see_a_signal_that_another_thread_raises_for_itself() {
    let signals = thread::spawn(|| {
        let signals = signalfd();
        let mut poll = queue_with(&signals, EPOLLIN);
        let other = thread::spawn(|| {
            let signals = signalfd();
            raise_signal();
            ready_bits(&mut queue_with(&signals, EPOLLIN))
        });
        assert_eq!(other.join().unwrap(), EPOLLIN, "the thread itself sees it");
        ready_bits(&mut poll)
    });
    assert_eq!(signals.join().unwrap(), 0);
}
