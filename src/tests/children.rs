//! What needs a process of its own: forks, signals, limits, standard input. The tests take turns,
//! so that no child process holds what belongs to another test.

mod common;

use common::*;
use epollet::ffi::{EPOLLHUP, EPOLLIN};
use epollet::{Events, Interest, Poll, Waker};
use std::ffi::{c_int, c_long, c_void};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
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
fn no_descriptor_is_inherited_by_a_program_that_is_started() {
    in_child(|| {
        let poll = Poll::new().unwrap();
        let _registry = poll.registry().try_clone().unwrap();
        let _waker = Waker::new(poll.registry(), 0).unwrap();
        let open_here = fs::read_dir("/proc/self/fd").unwrap();
        let links = open_here.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        let names: Vec<String> = links
            .map(|link| link.to_string_lossy().into_owned())
            .collect();
        let count = |name: &str| names.iter().filter(|link| link.contains(name)).count();
        assert_eq!(
            (count("[eventpoll]"), count("[eventfd]")),
            (2, 1),
            "{names:?}"
        );
        let output = Command::new("ls")
            .args(["-l", "/proc/self/fd"])
            .output()
            .unwrap();
        let there = String::from_utf8(output.stdout).unwrap();
        assert!(there.contains("/proc/"), "{there}");
        assert!(
            !there.contains("eventpoll") && !there.contains("eventfd"),
            "{there}"
        );
    });
}

/// Has a signal handled every millisecond from now on.
fn start_signal_storm(handler: extern "C" fn(c_int)) {
    const ITIMER_REAL: c_int = 0;
    const SIGALRM: c_int = 14;
    let every_millisecond: [c_long; 4] = [0, 1000, 0, 1000];
    // SAFETY: the handlers here call only what signal-safety(7) allows. The kernel reads a
    // `struct itimerval` and writes none.
    unsafe {
        c::signal(SIGALRM, handler);
        assert_eq!(
            c::setitimer(ITIMER_REAL, every_millisecond.as_ptr(), ptr::null_mut()),
            0
        );
    }
}

static SIGNALS: AtomicI32 = AtomicI32::new(0);

extern "C" fn count_signal(_signal: c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// A wait that signals stretch is too long each time; one that a busy machine holds up is not.
#[test]
fn a_signal_storm_neither_ends_a_timeout_early_nor_stretches_it() {
    const TIMEOUT: Duration = Duration::from_millis(100);
    in_child(|| {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(1);
        start_signal_storm(count_signal);
        let mut shortest = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            poll.poll(&mut events, Some(TIMEOUT)).unwrap();
            shortest = shortest.min(start.elapsed());
            assert!(shortest >= TIMEOUT, "{shortest:?}");
            assert!(events.is_empty());
        }
        assert!(shortest < TIMEOUT * 3 / 2, "{shortest:?}");
        assert!(SIGNALS.load(Ordering::Relaxed) > 1, "there was a storm");
    });
}

static WAKER: OnceLock<Waker> = OnceLock::new();

extern "C" fn wake_at_the_fiftieth(_signal: c_int) {
    if SIGNALS.fetch_add(1, Ordering::Relaxed) == 49 {
        // A wake is one write(2), which a signal handler may call.
        WAKER.get().unwrap().wake().unwrap();
    }
}

#[test]
fn a_wait_without_limit_goes_on_through_signals_until_a_handler_wakes_it() {
    in_child(|| {
        let mut poll = Poll::new().unwrap();
        WAKER.set(Waker::new(poll.registry(), 9).unwrap()).unwrap();
        let mut events = Events::with_capacity(1);
        start_signal_storm(wake_at_the_fiftieth);
        poll.poll(&mut events, None).unwrap();
        assert_eq!(sorted_tokens(&events), [9]);
        assert!(SIGNALS.load(Ordering::Relaxed) >= 50);
    });
}

/// A stopped process that is continued gets `EINTR` without any signal handler.
#[test]
fn a_wait_without_limit_goes_on_after_a_stop() {
    const SIGSTOP: c_int = 19;
    const SIGCONT: c_int = 18;
    let (reader, mut writer) = pipe();
    in_child(|| {
        let child = fork(|| {
            let mut poll = queue_with(&reader, EPOLLIN);
            let mut events = Events::with_capacity(1);
            poll.poll(&mut events, None).unwrap();
            assert_eq!(sorted_tokens(&events), [1]);
        });
        let stat = format!("/proc/{child}/stat");
        await_state(&stat, 'S');
        // SAFETY: the calls take no pointer.
        unsafe { c::kill(child, SIGSTOP) };
        await_state(&stat, 'T');
        unsafe { c::kill(child, SIGCONT) };
        await_state(&stat, 'S');
        writer.write_all(b"a").unwrap();
        assert_eq!(wait_for_child(child), 0);
    });
}

#[test]
fn a_signalfd_is_a_source() {
    const SIGUSR1: i32 = 10;
    const SIG_BLOCK: i32 = 0;
    in_child(|| {
        let mut mask = [0_u64; 16]; // sigset_t
        mask[0] = 1 << (SIGUSR1 - 1);
        let mask = mask.as_ptr() as *const c_void;
        // SAFETY: the mask outlives the calls.
        let signals = unsafe {
            assert_eq!(c::pthread_sigmask(SIG_BLOCK, mask, ptr::null_mut()), 0);
            owned_fd(c::signalfd(-1, mask, CLOEXEC))
        };
        let mut poll = queue_with(&signals, Interest::READABLE);
        assert_eq!(ready_bits(&mut poll), 0);
        // SAFETY: the call takes no pointer.
        unsafe { c::raise(SIGUSR1) };
        assert_eq!(ready_bits(&mut poll), EPOLLIN);
        let mut info = [0; 128]; // struct signalfd_siginfo
        File::from(signals).read_exact(&mut info).unwrap();
        let signal = u32::from_ne_bytes(info[..4].try_into().unwrap());
        assert_eq!(signal, SIGUSR1 as u32);
    });
}

// Not under valgrind: 3.19 does not have this system call.
#[test]
fn a_pidfd_gets_readable_when_its_process_ends() {
    const SYS_PIDFD_OPEN: c_long = 434;
    in_child(|| {
        let child = fork(sleep_until_killed);
        // SAFETY: the call takes no pointer.
        let pidfd = unsafe { c::syscall(SYS_PIDFD_OPEN, c_long::from(child), 0 as c_long) };
        let pidfd = owned_fd(pidfd as i32);
        let mut poll = queue_with(&pidfd, Interest::READABLE);
        assert_eq!(ready_bits(&mut poll), 0);
        kill(child);
        let event = await_events(&mut poll)[0];
        assert!(event.is_readable(), "{event:?}");
        assert_eq!(wait_for_child(child), SIGKILL);
    });
}

#[test]
fn standard_input_is_a_source_if_it_is_a_pipe() {
    in_child(|| {
        let (reader, mut writer) = pipe();
        // SAFETY: both are open; standard input is this process's alone.
        assert_eq!(unsafe { c::dup2(reader.as_raw_fd(), 0) }, 0);
        let stdin = io::stdin();
        let mut poll = queue_with(&stdin, Interest::READABLE);
        assert_eq!(ready_bits(&mut poll), 0);
        writer.write_all(b"a line\n").unwrap();
        assert_eq!(ready_bits(&mut poll), EPOLLIN);
        let mut line = String::new();
        stdin.read_line(&mut line).unwrap();
        assert_eq!(line, "a line\n");
        drop(writer);
        assert_eq!(ready_bits(&mut poll), EPOLLHUP);
    });
}

/// std takes all that is there into its buffer, out of the queue's sight.
#[test]
fn lines_that_stdin_has_buffered_are_not_reported() {
    in_child(|| {
        let (reader, mut writer) = pipe();
        // SAFETY: both are open; standard input is this process's alone.
        assert_eq!(unsafe { c::dup2(reader.as_raw_fd(), 0) }, 0);
        let stdin = io::stdin();
        let mut poll = queue_with(&stdin, Interest::READABLE);
        writer.write_all(b"first\nsecond\n").unwrap();
        assert_eq!(ready_bits(&mut poll), EPOLLIN);
        let mut line = String::new();
        stdin.read_line(&mut line).unwrap();
        assert_eq!(ready_bits(&mut poll), 0, "one line is left in the buffer");
        stdin.read_line(&mut line).unwrap();
        assert_eq!(line, "first\nsecond\n");
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
