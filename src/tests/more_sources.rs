//! Sources that stay ready although they were read, and other surprises of single kinds of sources.

use super::common::*;
use crate::ffi::{EFD_CLOEXEC, EFD_NONBLOCK, EPOLLEXCLUSIVE, EPOLLIN, eventfd};
use crate::{Interest, Poll};
use std::ffi::{CString, c_char, c_int, c_long, c_uint};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::thread;

unsafe extern "C" {
    fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
    fn raise(signal: c_int) -> c_int;
    fn tcgetattr(fd: c_int, attributes: *mut u32) -> c_int;
    fn tcsetattr(fd: c_int, when: c_int, attributes: *const u32) -> c_int;
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
    const IN_CREATE: u32 = 0x100;
    let directory = std::env::temp_dir().join(format!("epollet-inotify-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let path = CString::new(directory.as_os_str().as_bytes()).unwrap();
    // SAFETY: no pointer; then a path that ends in a zero byte.
    let inotify = owned_fd(unsafe { c::inotify_init1(CLOEXEC | NONBLOCK) });
    assert!(unsafe { c::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), IN_CREATE) } >= 0);
    let name = "a".repeat(100);
    File::create(directory.join(name)).unwrap();
    stays_ready(&File::from(inotify), 64);
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
    assert_eq!(unsafe { raise(SIGUSR1) }, 0);
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

#[test]
fn a_memfd_is_refused_like_a_file_on_disk() {
    // SAFETY: the name ends in a zero byte.
    let file = owned_fd(unsafe { memfd_create(c"epollet".as_ptr(), 1) }); // MFD_CLOEXEC
    let poll = Poll::new().unwrap();
    assert_eq!(os_code(poll.registry().register(&file, 0, EPOLLIN)), EPERM);
}

#[test]
fn a_fifo_that_is_open_for_writing_too_has_no_hang_up() {
    let path = std::env::temp_dir().join(format!("epollet-rw-{}", std::process::id()));
    let c_path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the path ends in a zero byte.
    assert_eq!(unsafe { c::mkfifo(c_path.as_ptr(), 0o600) }, 0);
    let mut both = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let mut poll = queue_with(&both, Interest::READABLE);
    let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    both.read_exact(&mut [0]).unwrap();
    drop(writer);
    assert_eq!(ready_bits(&mut poll), 0, "the last other writer is gone");
    fs::remove_file(path).unwrap();
}

#[test]
fn typed_input_that_was_reported_is_gone_after_ctrl_c() {
    let (mut keyboard, mut terminal) = pseudoterminal();
    let mut poll = queue_with(&terminal, Interest::READABLE);
    keyboard.write_all(b"hello\n").unwrap();
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
    keyboard.write_all(b"\x03").unwrap(); // Ctrl-C. No process has this terminal.
    let mut buffer = [0; 100];
    until("the input is gone", || ready_bits(&mut poll) == 0);
    let read = terminal.read(&mut buffer).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::WouldBlock, "here, it could sleep");
}

/// Sets a terminal to raw mode: a read returns when there are `bytes`, not when there is a line.
#[cfg(not(any(target_arch = "powerpc", target_arch = "powerpc64")))] // another struct termios
fn set_raw_mode(terminal: &File, bytes: u8) {
    // struct termios: four words of flags, the local ones last; then a byte, and the characters.
    const ICANON_AND_ECHO: u32 = 0o12;
    let mut attributes = [0_u32; 32];
    // SAFETY: a `struct termios` is at most 60 bytes long.
    assert_eq!(
        unsafe { tcgetattr(terminal.as_raw_fd(), attributes.as_mut_ptr()) },
        0
    );
    attributes[3] &= !ICANON_AND_ECHO;
    let mut words = attributes.map(u32::to_ne_bytes);
    let characters = words.as_flattened_mut();
    const VTIME: usize = 5;
    const VMIN: usize = 6;
    characters[17 + VTIME] = 0;
    characters[17 + VMIN] = bytes;
    let attributes = words.map(u32::from_ne_bytes);
    // SAFETY: the C library reads a `struct termios`.
    assert_eq!(
        unsafe { tcsetattr(terminal.as_raw_fd(), 0, attributes.as_ptr()) },
        0
    );
}

#[test]
#[cfg(not(any(target_arch = "powerpc", target_arch = "powerpc64")))]
fn a_terminal_with_vmin_zero_reads_zero_bytes_and_with_vmin_five_waits_for_five() {
    let (mut keyboard, mut terminal) = pseudoterminal();
    set_raw_mode(&terminal, 0);
    assert_eq!(terminal.read(&mut [0; 100]).unwrap(), 0, "not WouldBlock");
    set_raw_mode(&terminal, 5);
    let mut poll = queue_with(&terminal, EPOLLIN);
    keyboard.write_all(b"abc").unwrap();
    assert_eq!(ready_bits(&mut poll), 0);
    keyboard.write_all(b"de").unwrap();
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
    assert_eq!(terminal.read(&mut [0; 100]).unwrap(), 5);
}

#[test]
fn a_short_read_of_a_pipe_in_packet_mode_leaves_the_next_packet_unreported() {
    const O_DIRECT: c_int = if cfg!(any(target_arch = "arm", target_arch = "aarch64")) {
        0o200000
    } else if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64")) {
        0o400000
    } else {
        0o40000
    };
    let mut fds = [-1; 2];
    // SAFETY: the kernel writes two descriptors.
    let made = unsafe { c::pipe2(fds.as_mut_ptr(), NONBLOCK | CLOEXEC | O_DIRECT) };
    assert_eq!(made, 0);
    let [mut reader, mut writer] = fds.map(|fd| File::from(owned_fd(fd)));
    let mut poll = queue_with(&reader, Interest::READABLE | Interest::EDGE);
    writer.write_all(b"one").unwrap();
    writer.write_all(b"two").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(reader.read(&mut [0; 100]).unwrap(), 3, "a short read");
    assert_eq!(ready_bits(&mut poll), 0, "no second event");
    assert_eq!(reader.read(&mut [0; 100]).unwrap(), 3);
}

#[test]
fn a_short_read_of_tcp_can_end_at_an_out_of_band_byte() {
    const MSG_OOB: c_int = 1;
    let (mut ours, mut theirs) = tcp_pair();
    let mut poll = queue_with(&ours, Interest::READABLE | Interest::EDGE);
    theirs.write_all(b"one").unwrap();
    // SAFETY: one byte.
    assert_eq!(
        unsafe { c::send(theirs.as_raw_fd(), b"!".as_ptr().cast(), 1, MSG_OOB) },
        1
    );
    theirs.write_all(b"two").unwrap();
    until("all bytes are there", || {
        ours.peek(&mut [0; 100]).is_ok_and(|count| count == 3)
    });
    while ready_bits(&mut poll) != 0 {}
    assert_eq!(ours.read(&mut [0; 100]).unwrap(), 3, "a short read");
    assert_eq!(ready_bits(&mut poll), 0, "no second event");
    assert_eq!(ours.read(&mut [0; 100]).unwrap(), 3);
}

#[test]
fn so_oobinline_leaves_the_out_of_band_byte_in_the_stream() {
    const SO_OOBINLINE: c_int = 10;
    const MSG_OOB: c_int = 1;
    let (mut ours, theirs) = tcp_pair();
    set_socket_option(&ours, SO_OOBINLINE, &[1]);
    // SAFETY: one byte.
    assert_eq!(
        unsafe { c::send(theirs.as_raw_fd(), b"!".as_ptr().cast(), 1, MSG_OOB) },
        1
    );
    await_bits(&ours, EPOLLIN);
    let mut byte = [0];
    ours.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"!");
}

#[test]
fn an_exclusive_source_is_reported_by_an_instance_registered_before_the_one_that_sleeps() {
    let (ours, mut theirs) = unix_pair();
    let interest = EPOLLIN | EPOLLEXCLUSIVE;
    let [mut busy, mut idle] = [(); 2].map(|()| queue_with(&ours, interest));
    thread::scope(|scope| {
        let sleeper = spawn_asleep(scope, || await_events(&mut idle)[0].bits());
        theirs.write_all(b"a").unwrap();
        assert_eq!(sleeper.join().unwrap(), EPOLLIN);
    });
    assert_eq!(ready_bits(&mut busy), EPOLLIN);
}
