//! Facts of the guide's page `practice` that need child processes, signals or limits. The tests take
//! turns, so that no child holds a duplicate of what another test closes.

mod common;

use common::*;
use epollet::ffi::{EPOLLET, EPOLLIN, EPOLLONESHOT};
use epollet::{Interest, Poll, Waker};
use std::fs::{self, File};
use std::io::{self, BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::raw::c_long;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

#[test]
fn a_failed_accept_leaves_the_listener_readable_and_edge_forgets_it() {
    in_child(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut level = queue_with(&listener, EPOLLIN);
        let mut edge = queue_with(&listener, EPOLLIN | EPOLLET);
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _client = connect();
        let spare = File::open("/dev/null").unwrap();
        // The lowest free number is the limit, so there is no room for one more.
        limit_descriptors(spare.try_clone().unwrap().as_raw_fd() as _);

        assert_eq!(await_events(&mut level)[0].bits(), EPOLLIN);
        assert_eq!(ready_bits(&mut edge), EPOLLIN);
        let accept = || listener.accept().map(|_| ());
        assert_eq!(os_code(accept()), EMFILE);
        assert_eq!(ready_bits(&mut level), EPOLLIN, "a loop on level spins");
        assert_eq!(ready_bits(&mut edge), 0, "a loop on edge sleeps");
        drop(spare);
        assert_eq!(ready_bits(&mut edge), 0, "and sleeps on when there is room");
        let next = connect();
        assert_eq!(await_events(&mut edge)[0].bits(), EPOLLIN);
        drop(next);
        accept().expect("the connection has waited");
    });
}

/// Returns the lines about registrations in `/proc/self/fdinfo/FD`.
fn interest_list(poll: &Poll) -> Vec<String> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", poll.as_raw_fd())).unwrap();
    let registrations = info.lines().filter(|line| line.starts_with("tfd:"));
    registrations.map(String::from).collect()
}

/// Returns the value behind `name:` in a line of fdinfo.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let mut words = line.split_whitespace();
    words.find(|word| *word == name).unwrap();
    words.next().unwrap()
}

#[test]
fn fdinfo_shows_the_interest_list() {
    let _turn = TURN.lock();
    let (ours, mut theirs) = unix_pair();
    let mut poll = Poll::new().unwrap();
    assert_eq!(interest_list(&poll), [""; 0]);
    let interest = EPOLLIN | EPOLLONESHOT;
    poll.registry().register(&ours, 0xab, interest).unwrap();
    let lines = interest_list(&poll);
    assert_eq!(lines.len(), 1);
    assert_eq!(field(&lines[0], "tfd:"), ours.as_raw_fd().to_string());
    assert_eq!(field(&lines[0], "data:"), "ab", "the token");
    // EPOLLERR (8) and EPOLLHUP (10) belong to every interest.
    assert_eq!(field(&lines[0], "events:"), "40000019");
    theirs.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    let disabled = interest_list(&poll);
    assert_eq!(
        field(&disabled[0], "events:"),
        "40000000",
        "one-shot, reported"
    );
    drop(ours);
    assert_eq!(interest_list(&poll), [""; 0]);
}

#[test]
fn a_dropped_waker_stays_registered_while_a_child_is_between_fork_and_exec() {
    let _turn = TURN.lock();
    let mut poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), 9).unwrap();
    let (mut ours, theirs) = UnixStream::pair().unwrap(); // Both block.
    let child = thread::spawn(move || {
        let before_exec = move || {
            (&theirs).write_all(b"forked")?;
            (&theirs).read_exact(&mut [0; 2])
        };
        let mut command = Command::new("true");
        // SAFETY: the closure makes two system calls and nothing else.
        unsafe { command.pre_exec(before_exec) };
        command.status().unwrap()
    });
    ours.read_exact(&mut [0; 6]).unwrap();
    waker.wake().unwrap();
    drop(waker); // Its eventfd is close-on-exec, but the child has not called exec yet.
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [9]);
    assert_eq!(interest_list(&poll).len(), 1);
    ours.write_all(b"go").unwrap();
    assert!(child.join().unwrap().success());
    assert_eq!(
        interest_list(&poll),
        [""; 0],
        "exec has closed the duplicate"
    );
}

#[test]
fn a_program_that_keeps_a_dropped_source_keeps_it_registered() {
    let _turn = TURN.lock();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let poll = queue_with(&ours, EPOLLIN);
    // `cat` has it as its standard input. In this process it is closed now.
    let mut child = Command::new("cat")
        .stdin(OwnedFd::from(ours))
        .spawn()
        .unwrap();
    assert_eq!(interest_list(&poll).len(), 1);
    drop(theirs); // end of file
    assert!(child.wait().unwrap().success());
    assert_eq!(interest_list(&poll), [""; 0]);
}

static EVENTFD: AtomicI32 = AtomicI32::new(-1);

/// A handler may do very little: signal-safety(7) allows `write`.
extern "C" fn wake(_signal: i32) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: the eventfd is open for as long as the handler is installed.
    unsafe { c::write(EVENTFD.load(Ordering::Relaxed), one.as_ptr().cast(), 8) };
}

const SIGALRM: i32 = 14;

/// Sends this process a `SIGALRM` in 10 milliseconds.
fn start_alarm() {
    const ITIMER_REAL: i32 = 0;
    let in_ten_milliseconds: [c_long; 4] = [0, 0, 0, 10_000];
    let new = in_ten_milliseconds.as_ptr();
    // SAFETY: `new` is a `struct itimerval`; the old one is not asked for.
    let set = unsafe { c::setitimer(ITIMER_REAL, new, ptr::null_mut()) };
    assert_eq!(set, 0);
}

#[test]
fn a_signal_handler_that_writes_to_the_eventfd_of_a_waker_ends_the_sleep() {
    in_child(|| {
        let mut poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), 9).unwrap();
        EVENTFD.store(waker.as_fd().as_raw_fd(), Ordering::Relaxed);
        // SAFETY: the handler calls `write` alone.
        unsafe { c::signal(SIGALRM, wake) };
        start_alarm();
        assert_eq!(sorted_tokens(&await_events(&mut poll)), [9]);
    });
}

#[test]
fn a_blocked_signal_ends_the_sleep_through_a_signalfd() {
    const SIG_BLOCK: i32 = 0;
    const SFD_NONBLOCK_CLOEXEC: i32 = 0o2004000;
    in_child(|| {
        let mut mask = [0_u64; 16]; // sigset_t
        mask[0] = 1 << (SIGALRM - 1);
        let mask = mask.as_ptr().cast();
        // SAFETY: the mask outlives the calls.
        let signals = unsafe {
            assert_eq!(c::pthread_sigmask(SIG_BLOCK, mask, ptr::null_mut()), 0);
            owned_fd(c::signalfd(-1, mask, SFD_NONBLOCK_CLOEXEC))
        };
        let mut poll = queue_with(&signals, Interest::READABLE);
        start_alarm();
        assert_eq!(sorted_tokens(&await_events(&mut poll)), [1]);
        let mut info = [0; 128]; // struct signalfd_siginfo
        File::from(signals).read_exact(&mut info).unwrap();
        assert_eq!(info[..4], (SIGALRM as u32).to_ne_bytes());
    });
}

#[test]
fn lines_in_the_buffer_of_standard_input_are_not_reported() {
    in_child(|| {
        let (reader, mut writer) = pipe();
        // SAFETY: both are open; this process is alone with its standard input.
        assert_eq!(unsafe { c::dup2(reader.as_raw_fd(), 0) }, 0);
        let mut poll = queue_with(&io::stdin(), Interest::READABLE);
        writer.write_all(b"one\ntwo\n").unwrap();
        assert_eq!(ready_bits(&mut poll), EPOLLIN);
        let mut line = String::new();
        io::stdin().read_line(&mut line).unwrap();
        assert_eq!(line, "one\n");
        assert_eq!(ready_bits(&mut poll), 0, "poll would sleep");
        assert_eq!(io::stdin().lock().fill_buf().unwrap(), b"two\n");
    });
}

fn flags(source: &impl AsRawFd) -> i32 {
    const F_GETFL: i32 = 3;
    // SAFETY: no pointer.
    unsafe { c::fcntl(source.as_raw_fd(), F_GETFL) }
}

#[test]
fn non_blocking_mode_set_by_one_process_holds_for_all_that_share_the_description() {
    const F_SETFL: i32 = 4;
    const O_NONBLOCK: i32 = 0o4000;
    let (reader, _writer) = UnixStream::pair().unwrap();
    assert_eq!(flags(&reader) & O_NONBLOCK, 0);
    in_child(|| {
        let non_blocking = flags(&reader) | O_NONBLOCK;
        // SAFETY: no pointer.
        assert_eq!(
            unsafe { c::fcntl(reader.as_raw_fd(), F_SETFL, non_blocking) },
            0
        );
    });
    let read = (&reader).read(&mut [0]).unwrap_err();
    assert_eq!(read.kind(), io::ErrorKind::WouldBlock);
}
