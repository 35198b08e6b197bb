//! Signals and child processes: what reaches a signalfd, what a child inherits, the ends of pipes.

use crate::common::*;
use epollet::ffi::{EFD_CLOEXEC, EFD_NONBLOCK, EPOLLHUP, EPOLLIN, eventfd};
use epollet::{Interest, Poll};
use std::ffi::{c_int, c_long};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::{fs, io, ptr, thread};

const SIGINT: c_int = 2;
const SIGUSR1: c_int = 10;
const SIGUSR2: c_int = 12;
const SIGTERM: c_int = 15;
const SIGCHLD: c_int = 17;
const SIG_BLOCK: c_int = 0;
const SIG_UNBLOCK: c_int = 1;

/// The set that contains one signal: `sigset_t`.
fn set_of(signal: c_int) -> [u64; 16] {
    let mut mask = [0; 16];
    mask[0] = 1 << (signal - 1);
    mask
}

fn change_mask(how: c_int, signal: c_int) {
    let mask = set_of(signal);
    // SAFETY: the mask outlives the call.
    let changed = unsafe { c::pthread_sigmask(how, mask.as_ptr().cast(), ptr::null_mut()) };
    assert_eq!(changed, 0);
}

fn signalfd(signal: c_int) -> File {
    let mask = set_of(signal);
    // SAFETY: the mask outlives the call.
    let signals = unsafe { c::signalfd(-1, mask.as_ptr().cast(), CLOEXEC | NONBLOCK) };
    File::from(owned_fd(signals))
}

fn send(pid: c_int, signal: c_int) {
    // SAFETY: no pointer.
    assert_eq!(unsafe { c::kill(pid, signal) }, 0);
}

#[test]
fn a_program_started_with_a_blocked_signal_keeps_it_blocked_until_pre_exec_unblocks_it() {
    in_child(|| {
        change_mask(SIG_BLOCK, SIGTERM);
        let mut deaf = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        send(deaf.id() as c_int, SIGTERM);
        drop(deaf.stdin.take()); // It ends at end of file.
        assert!(deaf.wait().unwrap().success(), "not by the signal");

        let mut command = Command::new("cat");
        command.stdin(Stdio::piped());
        // SAFETY: the closure makes one system call.
        unsafe {
            command.pre_exec(|| {
                change_mask(SIG_UNBLOCK, SIGTERM);
                Ok(())
            })
        };
        let mut child = command.spawn().unwrap();
        send(child.id() as c_int, SIGTERM);
        // While its standard input is open, only the signal ends it.
        let stdin = child.stdin.take();
        assert_eq!(child.wait().unwrap().signal(), Some(SIGTERM));
        drop(stdin);
    });
}

#[test]
fn a_signal_to_the_process_reaches_the_signalfd_of_any_thread() {
    in_child(|| {
        change_mask(SIG_BLOCK, SIGUSR1); // and so in threads that start later
        std::thread::scope(|scope| {
            let loop_thread = spawn_asleep(scope, || {
                await_events(&mut queue_with(&signalfd(SIGUSR1), EPOLLIN)).len()
            });
            send(std::process::id() as c_int, SIGUSR1);
            assert_eq!(loop_thread.join().unwrap(), 1);
        });
    });
}

#[test]
fn process_1_of_a_container_ignores_sigint_and_sigterm_and_its_signalfd_reports_them() {
    const CLONE_NEWUSER: c_int = 0x1000_0000;
    const CLONE_NEWPID: c_int = 0x2000_0000;
    in_child(|| {
        // SAFETY: no pointer.
        if unsafe { c::unshare(CLONE_NEWUSER | CLONE_NEWPID) } != 0 {
            eprintln!("skipped: unshare: {}", io::Error::last_os_error());
            return;
        }
        let (mut ours, mut theirs) = UnixStream::pair().unwrap(); // Both block.
        let first = fork(|| {
            assert_eq!(std::process::id(), 1);
            theirs.write_all(b"a").unwrap();
            theirs.read_exact(&mut [0]).unwrap(); // The signals have been sent.
            let poll = &mut Poll::new().unwrap();
            let signals = [SIGINT, SIGTERM].map(|signal| {
                change_mask(SIG_BLOCK, signal);
                signalfd(signal)
            });
            for (token, signalfd) in signals.iter().enumerate() {
                poll.registry().register(signalfd, token, EPOLLIN).unwrap();
            }
            assert_eq!(ready_now(poll).len(), 0, "they were ignored");
            theirs.write_all(b"a").unwrap();
            theirs.read_exact(&mut [0]).unwrap(); // They have been sent again.
            assert_eq!(sorted_tokens(&ready_now(poll)), [0, 1]);
        });
        for _ in 0..2 {
            ours.read_exact(&mut [0]).unwrap();
            send(first, SIGINT);
            send(first, SIGTERM);
            ours.write_all(b"a").unwrap();
        }
        assert_eq!(wait_for_child(first), 0);
    });
}

#[test]
fn a_program_that_a_script_starts_in_the_background_ignores_sigint() {
    let mut command = Command::new("sh");
    command.args(["-c", "cat /proc/self/status & wait"]);
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let ignored = output.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    assert_eq!(ignored & set_of(SIGINT)[0], set_of(SIGINT)[0]);
}

#[test]
fn a_signalfd_reports_a_signal_that_is_ignored_and_blocked() {
    in_child(|| {
        const SIG_IGN: usize = 1;
        // SAFETY: the kernel never calls this handler; it compares the number.
        unsafe {
            let ignore = std::mem::transmute::<usize, extern "C" fn(c_int)>(SIG_IGN);
            c::signal(SIGINT, ignore);
        }
        change_mask(SIG_BLOCK, SIGINT);
        let signals = signalfd(SIGINT);
        let mut poll = queue_with(&signals, EPOLLIN);
        send(std::process::id() as c_int, SIGINT);
        assert_eq!(ready_bits(&mut poll), EPOLLIN);
    });
}

/// Sends SIGTERM to a process with a thread that waits for it in `sigwait`. Returns the status of
/// the process, which ends well if `sigwait` returns.
fn status_after_sigterm(block_in_every_thread: bool) -> c_int {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap(); // Both block.
    let child = fork(|| {
        if block_in_every_thread {
            change_mask(SIG_BLOCK, SIGTERM);
        }
        thread::scope(|scope| {
            let waiter = spawn_asleep(scope, || {
                change_mask(SIG_BLOCK, SIGTERM);
                let (mask, mut signal) = (set_of(SIGTERM), 0);
                // SAFETY: the set outlives the call.
                unsafe { c::sigwait(mask.as_ptr().cast(), &mut signal) };
                signal
            });
            theirs.write_all(b"a").unwrap();
            assert_eq!(waiter.join().unwrap(), SIGTERM);
        });
    });
    ours.read_exact(&mut [0]).unwrap();
    send(child, SIGTERM);
    wait_for_child(child)
}

#[test]
fn sigwait_returns_a_signal_that_is_blocked_in_every_thread_and_otherwise_it_ends_the_process() {
    in_child(|| {
        assert_eq!(status_after_sigterm(true), 0);
        assert_eq!(status_after_sigterm(false), SIGTERM);
    });
}

/// Starts programs that end at once, and returns when they have ended. Nobody has waited for them.
fn ended_children<const N: usize>() -> [Child; N] {
    let children = [(); N].map(|()| Command::new("true").spawn().unwrap());
    for child in &children {
        let stat = format!("/proc/{}/stat", child.id());
        until("its end", || {
            fs::read_to_string(&stat).unwrap().contains(") Z ")
        });
    }
    children
}

#[test]
fn five_ends_of_children_can_be_one_read_of_a_signalfd_and_try_wait_finds_all() {
    in_child(|| {
        change_mask(SIG_BLOCK, SIGCHLD);
        let mut signals = signalfd(SIGCHLD);
        let mut poll = queue_with(&signals, EPOLLIN);
        let mut children = ended_children::<5>();
        assert_eq!(ready_bits(&mut poll), EPOLLIN);
        let mut info = [0; 128 * 5]; // struct signalfd_siginfo
        assert_eq!(signals.read(&mut info).unwrap(), 128, "one of five");
        let more = signals.read(&mut info).unwrap_err();
        assert_eq!(more.kind(), ErrorKind::WouldBlock);
        for child in &mut children {
            assert!(child.try_wait().unwrap().is_some());
        }
    });
}

#[test]
fn waitpid_for_any_child_takes_its_status_away_from_child_wait() {
    const ECHILD: i32 = 10;
    in_child(|| {
        let [mut child] = ended_children();
        // SAFETY: the kernel writes an int.
        let found = unsafe { c::waitpid(-1, &mut 0, 0) };
        assert_eq!(found, child.id() as c_int);
        assert_eq!(os_code(child.wait()), ECHILD);
    });
}

#[test]
fn a_signalfd_registered_before_a_fork_is_not_reported_in_the_child_and_one_registered_there_is() {
    in_child(|| {
        change_mask(SIG_BLOCK, SIGUSR1);
        let signals = signalfd(SIGUSR1);
        let mut before = queue_with(&signals, EPOLLIN);
        let child = fork(|| {
            let mut after = queue_with(&signals, EPOLLIN);
            send(std::process::id() as c_int, SIGUSR1);
            assert_eq!(await_events(&mut after).len(), 1);
            assert_eq!(ready_bits(&mut before), 0);
        });
        assert_eq!(wait_for_child(child), 0);
    });
}

#[test]
fn a_signal_to_both_processes_is_reported_in_the_child_by_a_signalfd_registered_before_the_fork() {
    in_child(|| {
        change_mask(SIG_BLOCK, SIGUSR1);
        let signals = signalfd(SIGUSR1);
        let mut poll = queue_with(&signals, EPOLLIN);
        let parent = std::process::id() as c_int;
        let child = fork(|| {
            send(std::process::id() as c_int, SIGUSR1);
            assert_eq!(ready_bits(&mut poll), 0, "to the child alone");
            send(parent, SIGUSR1);
            assert_eq!(ready_bits(&mut poll), EPOLLIN, "to both");
        });
        assert_eq!(wait_for_child(child), 0);
    });
}

#[test]
fn a_poll_in_the_child_can_take_a_signal_of_the_parent_off_the_ready_list() {
    in_child(|| {
        change_mask(SIG_BLOCK, SIGUSR1);
        change_mask(SIG_BLOCK, SIGUSR2);
        let mut signals = signalfd(SIGUSR1);
        let mut poll = queue_with(&signals, EPOLLIN);
        let own = std::process::id() as c_int;
        send(own, SIGUSR1);
        let child = fork(|| assert_eq!(ready_bits(&mut poll), 0, "it is not the child's"));
        assert_eq!(wait_for_child(child), 0);
        assert_eq!(ready_bits(&mut poll), 0);
        send(own, SIGUSR1);
        assert_eq!(ready_bits(&mut poll), 0, "an equal signal merges with it");
        send(own, SIGUSR2); // The signalfd is not even for this one.
        assert_eq!(ready_bits(&mut poll), EPOLLIN, "another signal");
        let mut info = [0; 1280];
        assert_eq!(signals.read(&mut info).unwrap(), 128, "one signal");
        let signal = c_int::from_ne_bytes(*info.first_chunk().unwrap());
        assert_eq!(signal, SIGUSR1);
    });
}

#[test]
fn an_eventfd_a_timerfd_and_a_pipe_registered_before_a_fork_are_reported_in_both_processes() {
    in_child(|| {
        // SAFETY: no pointers.
        let (mut counter, timer) = unsafe {
            let counter = owned_fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
            (File::from(counter), owned_fd(c::timerfd_create(1, CLOEXEC)))
        };
        let (reader, mut writer) = pipe();
        let mut queues = [
            queue_with(&counter, EPOLLIN),
            queue_with(&timer, EPOLLIN),
            queue_with(&reader, EPOLLIN),
        ];
        let child = fork(|| {
            counter.write_all(&1_u64.to_ne_bytes()).unwrap();
            writer.write_all(b"a").unwrap();
            let soon: [c_long; 4] = [0, 0, 0, 1];
            let (new, old) = (soon.as_ptr(), ptr::null_mut());
            // SAFETY: `new` is a `struct itimerspec`; the old one is not asked for.
            assert_eq!(
                unsafe { c::timerfd_settime(timer.as_raw_fd(), 0, new, old) },
                0
            );
            for queue in &mut queues {
                assert_eq!(await_events(queue).len(), 1);
            }
        });
        assert_eq!(wait_for_child(child), 0);
        for queue in &mut queues {
            assert_eq!(ready_bits(queue), EPOLLIN, "in the parent too");
        }
    });
}

#[test]
fn a_pipe_does_not_end_while_a_grandchild_holds_its_write_end() {
    in_child(|| {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 60 & echo $!"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let mut poll = queue_with(&output, Interest::READABLE);
        assert!(child.wait().unwrap().success());
        let mut line = [0; 20];
        let count = output.read(&mut line).unwrap();
        let grandchild = std::str::from_utf8(&line[..count]).unwrap().trim();
        assert_eq!(
            ready_bits(&mut poll),
            0,
            "the child has ended, the pipe has not"
        );
        kill(grandchild.parse().unwrap());
        assert_eq!(await_events(&mut poll)[0].bits(), EPOLLHUP);
    });
}

#[test]
fn a_pipe_does_not_end_while_the_command_that_started_the_child_holds_its_write_end() {
    in_child(|| {
        let (reader, writer) = pipe();
        let mut command = Command::new("true");
        command.stdout(OwnedFd::from(writer));
        let mut poll = queue_with(&reader, Interest::READABLE);
        assert!(command.status().unwrap().success());
        assert_eq!(ready_bits(&mut poll), 0);
        drop(command);
        assert_eq!(ready_bits(&mut poll), EPOLLHUP);
    });
}

#[test]
fn what_a_child_has_written_is_read_after_its_end_until_would_block() {
    in_child(|| {
        let (mut reader, writer) = pipe();
        let mut command = Command::new("sh");
        // A grandchild holds the write end.
        command.args(["-c", "sleep 60 & echo $!; head -c 3000 /dev/zero"]);
        command.stdout(OwnedFd::from(writer));
        assert!(command.status().unwrap().success());
        drop(command);
        let mut buffer = [0; 1000];
        assert_eq!(reader.read(&mut buffer).unwrap(), 1000);
        let first_line = buffer.split(|byte| *byte == b'\n').next().unwrap();
        let grandchild = String::from_utf8(first_line.to_vec()).unwrap();
        let mut count = 1000;
        let error = loop {
            match reader.read(&mut buffer) {
                Ok(0) => panic!("a grandchild holds the pipe"),
                Ok(more) => count += more,
                Err(error) => break error,
            }
        };
        kill(grandchild.parse().unwrap());
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert_eq!(count, grandchild.len() + 1 + 3000);
    });
}

#[test]
fn a_source_that_is_the_standard_input_of_a_program_stays_registered_until_the_program_ends() {
    in_child(|| {
        let (ours, mut theirs) = unix_pair();
        let mut poll = queue_with(&ours, EPOLLIN);
        let mut command = Command::new("sleep");
        command.arg("60").stdin(OwnedFd::from(ours));
        let mut child = command.spawn().unwrap();
        drop(command);
        theirs.write_all(b"a").unwrap();
        assert_eq!(ready_bits(&mut poll), EPOLLIN);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(ready_bits(&mut poll), 0);
    });
}

#[test]
fn a_pidfd_cannot_be_read_and_stays_ready_after_the_process_has_ended() {
    const SYS_PIDFD_OPEN: c_long = 434;
    in_child(|| {
        let mut child = Command::new("true").spawn().unwrap();
        // SAFETY: no pointer.
        let pidfd = unsafe { c::syscall(SYS_PIDFD_OPEN, c_long::from(child.id()), 0 as c_long) };
        let mut pidfd = File::from(owned_fd(pidfd as c_int));
        let mut poll = queue_with(&pidfd, EPOLLIN);
        assert_eq!(await_events(&mut poll).len(), 1);
        assert_eq!(os_code(pidfd.read(&mut [0; 100])), EINVAL);
        assert!(child.wait().unwrap().success());
        assert_ne!(ready_bits(&mut poll), 0, "a loop spins");
    });
}
