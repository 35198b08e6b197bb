//! Five kinds of descriptors in one loop: a timer, a socket, a signal, a pipe, a child process.
//!
//! ```sh
//! cargo run -q --example 11_any_fd
//! ```
//!
//! You see a chain of events, all from one queue. The timer expires, and a datagram is sent. It
//! arrives, and this process gets a signal. That is reported, and a line is written to a child
//! process (`cat`). The line comes back through a pipe, and the child's input is closed. The pipe
//! ends, and the child exits. At the end, a directory is registered, which epoll does not support.
//!
//! Comes after `10_timers`. Book: chapter 4, "The Poll module", and the exercise "watch something
//! other than a TcpStream". Needs Linux 5.3 for the descriptor of a process.
//!
//! Change next (the answers are at the end of the file):
//! 1. Do not read the timer. Then also register it with `| Interest::EDGE`.
//! 2. Read the pipe into a buffer of 4 bytes. How often is it reported?
//! 3. End the child with `child.kill()?` instead of `drop(child.stdin.take())`.

use epollet::{Events, Interest, Poll, Token};
use std::ffi::{c_int, c_long, c_ulong};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::{self, Command, Stdio};
use std::ptr;
use std::time::{Duration, Instant};

const TIMER: Token = 0;
const SOCKET: Token = 1;
const SIGNAL: Token = 2;
const PIPE: Token = 3;
const CHILD: Token = 4;

fn main() -> io::Result<()> {
    let start = Instant::now();
    let mut timer = timer_of_100_ms()?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    // The child starts before the signal is blocked, because it inherits blocked signals.
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut signal = descriptor_for_sigusr1()?;
    let mut pipe = child.stdout.take().expect("it is piped");
    let process = descriptor_of_process(child.id())?;

    let mut poll = Poll::new()?;
    let registry = poll.registry();
    registry.register(&timer, TIMER, Interest::READABLE)?;
    registry.register(&socket, SOCKET, Interest::READABLE)?;
    registry.register(&signal, SIGNAL, Interest::READABLE)?;
    registry.register(&pipe, PIPE, Interest::READABLE)?;
    registry.register(&process, CHILD, Interest::READABLE)?;

    let mut events = Events::with_capacity(10);
    let mut reports = [0; 5];
    let mut pipe_ended = false;
    let mut exit_status = None;
    while !pipe_ended || exit_status.is_none() {
        poll.poll(&mut events, Some(Duration::from_secs(2)))?;
        if events.is_empty() {
            say("\nTakeaway: no event for 2 s: what should cause the next one is missing.");
            return Ok(());
        }
        for event in &events {
            say(format!("{:.3} s  {event:?}", start.elapsed().as_secs_f64()));
            reports[event.token()] += 1;
            match event.token() {
                TIMER => {
                    let mut expirations = [0; 8]; // a u64
                    timer.read_exact(&mut expirations)?;
                    let count = u64::from_ne_bytes(expirations);
                    socket.send_to(b"hello", socket.local_addr()?)?;
                    explain(format!("timer: {count} expiration. A datagram is sent."));
                }
                SOCKET => {
                    let mut buffer = [0; 64];
                    let (count, _from) = socket.recv_from(&mut buffer)?;
                    send_sigusr1()?;
                    explain(format!("UDP socket: {count} bytes. A signal is sent."));
                }
                SIGNAL => {
                    let mut info = [0; 128]; // struct signalfd_siginfo; a u32 first, the number
                    signal.read_exact(&mut info)?;
                    let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
                    if let Some(input) = &mut child.stdin {
                        input.write_all(b"hello, cat\n")?;
                    }
                    explain(format!(
                        "signal: number {number}. A line goes to the child."
                    ));
                }
                PIPE => {
                    let mut buffer = [0; 64];
                    let count = pipe.read(&mut buffer)?;
                    if count > 0 {
                        drop(child.stdin.take());
                        explain(format!("pipe: {count} bytes. The child's input is closed."));
                    } else {
                        // The pipe is level-triggered, so its end would be reported by every poll.
                        poll.registry().deregister(&pipe)?;
                        pipe_ended = true;
                        explain("pipe: end of file.".to_owned());
                    }
                }
                CHILD => {
                    let status = child.wait()?; // It has exited, so this returns at once.
                    poll.registry().deregister(&process)?;
                    exit_status = Some(status);
                    explain(format!("child process: {status}."));
                }
                _ => unreachable!("no other token is registered"),
            }
        }
    }

    let directory = File::open("/")?;
    match poll.registry().register(&directory, 5, Interest::READABLE) {
        Ok(()) => say("\ndirectory: registered"),
        Err(error) => say(format!("\ndirectory: {error}")),
    }
    // The pipe is reported for the line and for its end.
    let reports = reports[TIMER] + reports[SOCKET] + reports[SIGNAL] + reports[PIPE];
    let repeated = reports - 5;
    if repeated > 0 {
        say(format!(
            "\nTakeaway: {repeated} events more than needed: a source is reported again until it"
        ));
        say("is read in its own way, and completely.");
    } else {
        say("\nTakeaway: one poll waits for many kinds of descriptors, and each kind is");
        say("read in its own way.");
    }
    Ok(())
}

fn explain(text: String) {
    say(format!("         {text}"));
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

const NONBLOCK_CLOEXEC: c_int = 0o2004000; // the same bits for each kind of descriptor

fn timer_of_100_ms() -> io::Result<File> {
    const CLOCK_MONOTONIC: c_int = 1;
    // struct itimerspec: interval and first expiration, each in seconds and nanoseconds
    let once: [c_long; 4] = [0, 0, 0, 100_000_000];
    // SAFETY: the call takes no pointer.
    let timer = own(unsafe { timerfd_create(CLOCK_MONOTONIC, NONBLOCK_CLOEXEC) })?;
    // SAFETY: the kernel reads `once` before the call returns.
    check(unsafe { timerfd_settime(timer.as_raw_fd(), 0, once.as_ptr(), ptr::null_mut()) })?;
    Ok(timer)
}

const SIGUSR1: c_int = 10;

/// Blocks the signal, so that it does not end this program, and returns a signalfd for it.
fn descriptor_for_sigusr1() -> io::Result<File> {
    const SIG_BLOCK: c_int = 0;
    let mut mask = [0 as c_ulong; 32]; // sigset_t: bit 0 is signal 1
    mask[0] = 1 << (SIGUSR1 - 1);
    // SAFETY: the C library reads `mask` before the call returns.
    check(unsafe { sigprocmask(SIG_BLOCK, mask.as_ptr(), ptr::null_mut()) })?;
    // SAFETY: the C library and the kernel read `mask` before the call returns.
    own(unsafe { signalfd(-1, mask.as_ptr(), NONBLOCK_CLOEXEC) })
}

/// Sends the signal to this process. (`raise` sends it to one thread, and a signalfd that another
/// thread reads does not report it.)
fn send_sigusr1() -> io::Result<()> {
    // SAFETY: the call takes no pointer, and the signal is blocked.
    check(unsafe { kill(process::id() as c_int, SIGUSR1) }).map(drop)
}

/// Returns a pidfd, which is readable when the process has exited.
fn descriptor_of_process(pid: u32) -> io::Result<File> {
    const SYS_PIDFD_OPEN: c_long = 434;
    // SAFETY: the call takes no pointer.
    own(unsafe { syscall(SYS_PIDFD_OPEN, pid as c_long, 0 as c_long) } as c_int)
}

fn own(fd: c_int) -> io::Result<File> {
    check(fd)?;
    // SAFETY: the descriptor is new, so nothing else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Turns the -1 of a failed call into the error that it left in `errno`.
fn check(result: c_int) -> io::Result<c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(result),
    }
}

unsafe extern "C" {
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const c_ulong, old: *mut c_ulong) -> c_int;
    fn signalfd(fd: c_int, mask: *const c_ulong, flags: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn timerfd_create(clock: c_int, flags: c_int) -> c_int;
    fn timerfd_settime(fd: c_int, flags: c_int, new: *const c_long, old: *mut c_long) -> c_int;
}

// Answers:
// 1. Each poll reports the timer, so it sends datagrams until the child has exited. Edge-triggered,
//    it is reported once.
// 2. Four times: for 4, 4 and 3 bytes, and for its end.
// 3. `signal: 9 (SIGKILL)`. The pipe ends as before, because its other end is closed.
