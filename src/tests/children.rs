//! What needs a process of its own: forks, signals, limits, standard input.
//!
//! The tests take turns, so that no child process holds a duplicate of what another test closes.
//! For the same reason they are a test target of their own.

mod common;
mod inherited;
mod model_rules;

use common::*;
use epollet::ffi::{self, EPOLLET, EPOLLHUP, EPOLLIN};
use epollet::{Events, Interest, Poll, Waker};
use std::ffi::{c_int, c_long};
use std::fs::File;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_child_that_inherits_a_copy_keeps_the_registration_alive() {
    in_child(|| {
        let (ours, mut theirs) = unix_pair();
        let mut poll = queue_with(&ours, EPOLLIN);
        let child = fork(sleep_until_killed);
        drop(ours);
        theirs.write_all(b"a").unwrap();
        assert_eq!(
            ready_bits(&mut poll),
            EPOLLIN,
            "the child still has the descriptor"
        );
        kill(child);
        wait_for_child(child);
        assert_eq!(ready_bits(&mut poll), 0);
    });
}

#[test]
fn a_dropped_waker_stays_registered_while_a_child_is_between_fork_and_exec() {
    let _turn = TURN.lock();
    let mut poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), 9).unwrap();
    poll.registry().reregister(&waker, 9, EPOLLIN).unwrap(); // level-triggered
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
    ours.write_all(b"go").unwrap();
    assert!(child.join().unwrap().success());
    assert_eq!(
        sorted_tokens(&ready_now(&mut poll)),
        [],
        "exec has closed it"
    );
}

#[test]
fn a_closed_original_can_be_removed_under_its_old_number_by_a_duplicate() {
    in_child(|| {
        let (ours, mut theirs) = unix_pair();
        let mut poll = queue_with(&ours, EPOLLIN);
        let duplicate = ours.try_clone().unwrap();
        let number = ours.as_raw_fd();
        drop(ours);
        theirs.write_all(b"a").unwrap();
        assert_eq!(ready_bits(&mut poll), EPOLLIN);
        // SAFETY: the number is free, for this process has one thread.
        let again = owned_fd(unsafe { c::dup2(duplicate.as_raw_fd(), number) });
        poll.registry().deregister(&again).unwrap();
        assert_eq!(ready_bits(&mut poll), 0);
    });
}

#[test]
fn a_queue_shared_across_fork_is_one_queue_and_reports_the_sources_of_the_child_to_the_parent() {
    in_child(|| {
        let mut poll = Poll::new().unwrap();
        let child = fork(|| {
            let (ours, mut theirs) = unix_pair();
            theirs.write_all(b"a").unwrap();
            poll.registry().register(&ours, 5, EPOLLIN).unwrap();
            sleep_until_killed();
        });
        assert_eq!(sorted_tokens(&await_events(&mut poll)), [5]);
        kill(child);
        wait_for_child(child);
        assert_eq!(
            sorted_tokens(&ready_now(&mut poll)),
            [],
            "the end of the child closes its descriptors"
        );
    });
}

#[test]
fn a_child_can_take_the_only_edge_of_a_shared_queue() {
    in_child(|| {
        let (ours, mut theirs) = unix_pair();
        let mut poll = queue_with(&ours, Interest::READABLE | Interest::EDGE);
        theirs.write_all(b"a").unwrap();
        let child = fork(|| assert_eq!(sorted_tokens(&ready_now(&mut poll)), [1]));
        assert_eq!(wait_for_child(child), 0);
        assert_eq!(ready_bits(&mut poll), 0);
    });
}

#[test]
fn a_child_that_deregisters_an_inherited_source_deregisters_it_for_the_parent() {
    in_child(|| {
        let (ours, mut theirs) = unix_pair();
        let mut poll = queue_with(&ours, EPOLLIN);
        theirs.write_all(b"a").unwrap();
        assert_eq!(ready_bits(&mut poll), EPOLLIN);
        let child = fork(|| poll.registry().deregister(&ours).unwrap());
        assert_eq!(wait_for_child(child), 0);
        assert_eq!(ready_bits(&mut poll), 0, "though its byte is unread");
        assert_eq!(os_code(poll.registry().deregister(&ours)), ENOENT);
    });
}

#[test]
fn a_source_that_the_child_has_opened_cannot_be_deregistered_by_the_parent() {
    in_child(|| {
        let mut poll = Poll::new().unwrap();
        let child = fork(|| {
            let (ours, mut theirs) = unix_pair();
            theirs.write_all(b"a").unwrap();
            let number = ours.as_raw_fd() as usize;
            poll.registry().register(&ours, number, EPOLLIN).unwrap();
            sleep_until_killed();
        });
        let number = await_events(&mut poll)[0].token();
        // SAFETY: the call only looks the number up.
        let not_open = unsafe { BorrowedFd::borrow_raw(number as c_int) };
        assert_eq!(os_code(poll.registry().deregister(&not_open)), EBADF);
        let (another, _theirs) = unix_pair();
        assert_eq!(another.as_raw_fd(), not_open.as_raw_fd(), "the next one");
        assert_eq!(os_code(poll.registry().deregister(&another)), ENOENT);
        assert_eq!(sorted_tokens(&ready_now(&mut poll)), [number], "still");
        kill(child);
        wait_for_child(child);
    });
}

#[test]
fn non_blocking_mode_set_by_one_process_holds_for_all_that_share_the_description() {
    const F_GETFL: c_int = 3;
    let (ours, _theirs) = UnixStream::pair().unwrap();
    // SAFETY: no pointer.
    let is_non_blocking = || unsafe { c::fcntl(ours.as_raw_fd(), F_GETFL) } & NONBLOCK != 0;
    assert!(!is_non_blocking());
    in_child(|| ours.set_nonblocking(true).unwrap());
    assert!(is_non_blocking());
}

const SIGALRM: c_int = 14;

/// Sends this process a `SIGALRM` in a millisecond, and then one after each `interval`, which is in
/// microseconds.
fn start_alarm(interval: c_long) {
    const ITIMER_REAL: c_int = 0;
    let new = [0, interval, 0, 1000];
    // SAFETY: `new` is a `struct itimerval`; the old one is not asked for.
    let set = unsafe { c::setitimer(ITIMER_REAL, new.as_ptr(), ptr::null_mut()) };
    assert_eq!(set, 0);
}

/// Has `handler` called for each `SIGALRM`. It may do very little: signal-safety(7) allows `write`.
fn handle_alarm(handler: extern "C" fn(c_int)) {
    // SAFETY: the handlers here count, and call `write`.
    unsafe { c::signal(SIGALRM, handler) };
}

static SIGNALS: AtomicI32 = AtomicI32::new(0);

extern "C" fn count_signal(_signal: c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// A timeout that begins anew after each signal has no end here, and then the child is killed.
#[test]
fn a_signal_storm_neither_ends_a_timeout_early_nor_stretches_it() {
    const TIMEOUT: Duration = Duration::from_millis(100);
    in_child(|| {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(1);
        handle_alarm(count_signal);
        start_alarm(1000);
        let start = Instant::now();
        poll.poll(&mut events, Some(TIMEOUT)).unwrap();
        assert!(start.elapsed() >= TIMEOUT);
        assert!(events.is_empty());
        assert!(SIGNALS.load(Ordering::Relaxed) > 1, "there was a storm");
    });
}

static EVENTFD: AtomicI32 = AtomicI32::new(-1);

extern "C" fn wake_at_the_fiftieth(_signal: c_int) {
    if SIGNALS.fetch_add(1, Ordering::Relaxed) == 49 {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the eventfd is open for as long as there are signals.
        unsafe { c::write(EVENTFD.load(Ordering::Relaxed), one.as_ptr().cast(), 8) };
    }
}

#[test]
fn a_signal_ends_epoll_wait_with_eintr_and_poll_waits_on_until_a_handler_wakes_it() {
    in_child(|| {
        let mut poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), 9).unwrap();
        EVENTFD.store(waker.as_raw_fd(), Ordering::Relaxed);
        handle_alarm(wake_at_the_fiftieth);
        start_alarm(1000);
        let mut events = Events::with_capacity(1);
        // SAFETY: there is room for one event.
        let count = unsafe { ffi::epoll_wait(poll.as_raw_fd(), events.as_mut_ptr(), 1, -1) };
        let error = io::Error::last_os_error();
        assert_eq!((count, error.kind()), (-1, ErrorKind::Interrupted));
        poll.poll(&mut events, None).unwrap();
        assert_eq!(sorted_tokens(&events), [9]);
        assert!(SIGNALS.load(Ordering::Relaxed) >= 50);
    });
}

/// Stops a process that sleeps, and continues it.
fn stop_and_continue_asleep(child: c_int) {
    const SIGSTOP: c_int = 19;
    const SIGCONT: c_int = 18;
    let stat = format!("/proc/{child}/stat");
    await_state(&stat, 'S');
    // SAFETY: no pointer.
    unsafe { c::kill(child, SIGSTOP) };
    await_state(&stat, 'T');
    // SAFETY: no pointer.
    unsafe { c::kill(child, SIGCONT) };
}

/// A stopped process that is continued gets `EINTR` without any signal handler.
#[test]
fn a_wait_without_limit_goes_on_after_a_stop() {
    let (reader, mut writer) = pipe();
    in_child(|| {
        let child = fork(|| {
            let mut poll = queue_with(&reader, EPOLLIN);
            let mut events = Events::with_capacity(1);
            poll.poll(&mut events, None).unwrap();
            assert_eq!(sorted_tokens(&events), [1]);
        });
        stop_and_continue_asleep(child);
        await_state(format!("/proc/{child}/stat"), 'S');
        writer.write_all(b"a").unwrap();
        assert_eq!(wait_for_child(child), 0);
    });
}

#[test]
fn a_stop_and_a_continuation_end_epoll_wait_with_eintr_without_a_handler() {
    in_child(|| {
        let child = fork(|| {
            let poll = Poll::new().unwrap();
            let mut events = Events::with_capacity(1);
            // SAFETY: there is room for one event.
            let count = unsafe { ffi::epoll_wait(poll.as_raw_fd(), events.as_mut_ptr(), 1, -1) };
            let error = io::Error::last_os_error();
            assert_eq!((count, error.kind()), (-1, ErrorKind::Interrupted));
        });
        stop_and_continue_asleep(child);
        assert_eq!(wait_for_child(child), 0);
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
        start_alarm(0);
        assert_eq!(sorted_tokens(&await_events(&mut poll)), [1]);
        let mut info = [0; 128]; // struct signalfd_siginfo
        File::from(signals).read_exact(&mut info).unwrap();
        assert_eq!(info[..4], (SIGALRM as u32).to_ne_bytes());
    });
}

#[test]
fn a_pidfd_becomes_readable_when_its_process_ends() {
    const SYS_PIDFD_OPEN: c_long = 434;
    in_child(|| {
        let child = fork(sleep_until_killed);
        // SAFETY: the call takes no pointer.
        let pidfd = unsafe { c::syscall(SYS_PIDFD_OPEN, c_long::from(child), 0 as c_long) };
        let pidfd = owned_fd(pidfd as i32);
        let mut poll = queue_with(&pidfd, Interest::READABLE);
        assert_eq!(ready_bits(&mut poll), 0);
        kill(child);
        assert!(await_events(&mut poll)[0].is_readable());
        assert_eq!(wait_for_child(child), SIGKILL);
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

#[test]
fn a_duplicate_of_standard_input_that_is_dropped_stays_registered_until_it_is_deregistered_first() {
    in_child(|| {
        let (reader, writer) = pipe();
        // SAFETY: both are open; this process is alone with its standard input.
        assert_eq!(unsafe { c::dup2(reader.as_raw_fd(), 0) }, 0);
        drop((reader, writer)); // end of file
        let duplicate = || File::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
        let stdin = duplicate();
        let mut poll = queue_with(&stdin, Interest::READABLE);
        drop(stdin);
        for _ in 0..3 {
            assert_eq!(ready_bits(&mut poll), EPOLLHUP, "a loop spins");
        }
        let stdin = duplicate();
        let mut poll = queue_with(&stdin, Interest::READABLE);
        poll.registry().deregister(&stdin).unwrap();
        drop(stdin);
        assert_eq!(ready_bits(&mut poll), 0);
    });
}

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

#[test]
fn accept_without_descriptors_fails_even_if_no_client_waits() {
    in_child(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        // The lowest free number is the limit.
        limit_descriptors(listener.try_clone().unwrap().as_raw_fd() as _);
        assert_eq!(os_code(listener.accept()), EMFILE);
        take_all_descriptors();
        let error = listener.accept().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn without_descriptors_there_is_an_error_and_no_panic() {
    in_child(|| {
        let poll = Poll::new().unwrap();
        limit_descriptors(64);
        let mut taken = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        assert_eq!(os_code(Poll::new()), EMFILE);
        assert_eq!(os_code(poll.registry().try_clone()), EMFILE);
        assert_eq!(os_code(Waker::new(poll.registry(), 0)), EMFILE);
        taken.pop();
        Waker::new(poll.registry(), 0).unwrap();
    });
}
