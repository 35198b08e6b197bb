//! Five kinds of descriptors in one loop: a timer, a UDP socket, a signal, a pipe, a child.
//!
//! ```sh
//! cargo run --example any_fd
//! ```
//!
//! You see dominoes: the timer's end sends a datagram, the datagram raises a signal, the signal
//! writes to a child (`cat`), and its line coming back ends the child. Each is an event of the same
//! queue, and each is read in its own way. Last comes what epoll refuses: a regular file.
//!
//! It answers the exercise: watch something other than a TcpStream. (A pidfd takes Linux 5.3.)
//!
//! Change next: watch `std::io::stdin()` too, and type. Do not read the timer: what comes then?

use epollet::{Events, Interest, Poll};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::UdpSocket;
use std::os::raw::{c_int, c_long, c_ulong};
use std::os::unix::io::{AsRawFd, FromRawFd};
use std::process::{Command, Stdio};
use std::time::Instant;

const NAMES: [&str; 5] = ["timerfd", "UDP socket", "signalfd", "pipe", "pidfd"];
const FLAGS: c_int = 0o2004000; // O_CLOEXEC | O_NONBLOCK
const SIGUSR1: u32 = 10;

fn main() -> io::Result<()> {
    let start = Instant::now();
    let mut timer = timer_of_100_ms()?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    let mut signals = signalfd_for(SIGUSR1)?;
    let mut cat = Command::new("cat");
    let mut child = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut pipe = child.stdout.take().unwrap();
    let pidfd = pidfd_of(child.id())?;

    let mut poll = Poll::new()?;
    let registry = poll.registry().try_clone()?; // To deregister within the loop.
    registry.register(&timer, 0, Interest::READABLE)?;
    registry.register(&socket, 1, Interest::READABLE)?;
    registry.register(&signals, 2, Interest::READABLE)?;
    registry.register(&pipe, 3, Interest::READABLE)?;
    registry.register(&pidfd, 4, Interest::READABLE)?;

    let mut events = Events::with_capacity(10);
    let mut order = Vec::new();
    while order.len() < 6 {
        poll.poll(&mut events, None)?;
        for event in &events {
            let mut buffer = [0; 128]; // struct signalfd_siginfo; the others are shorter
            let text = match event.token() {
                0 => {
                    let count = timer.read(&mut buffer)?;
                    assert_eq!(buffer[..count], 1_u64.to_ne_bytes());
                    socket.send_to(b"hello", socket.local_addr()?)?;
                    format!("reads {count} bytes, a counter: 1 expiration. Sends a datagram")
                }
                1 => {
                    let (count, from) = socket.recv_from(&mut buffer)?;
                    assert_eq!(&buffer[..count], b"hello");
                    // SAFETY: no pointer.
                    unsafe { raise(SIGUSR1 as c_int) };
                    format!("receives {count} bytes from {from}. Raises SIGUSR1")
                }
                2 => {
                    let count = signals.read(&mut buffer)?;
                    assert_eq!(buffer[..4], SIGUSR1.to_ne_bytes());
                    child.stdin.as_mut().unwrap().write_all(b"hello, cat\n")?;
                    format!("reads {count} bytes; the first is {SIGUSR1}, SIGUSR1. Writes to cat")
                }
                3 => match pipe.read(&mut buffer)? {
                    0 => {
                        // Level-triggered, the end of the pipe would be reported for ever.
                        registry.deregister(&pipe)?;
                        "reads 0 bytes, the end of file. Deregisters the pipe".into()
                    }
                    count => {
                        assert_eq!(&buffer[..count], b"hello, cat\n");
                        child.stdin = None;
                        format!("reads {count} bytes. Ends cat: closes its standard input")
                    }
                },
                _ => {
                    let status = child.wait()?; // It has ended, so this returns at once.
                    assert!(status.success());
                    registry.deregister(&pidfd)?;
                    format!("nothing to read; wait() says {status}. Deregisters it")
                }
            };
            order.push(event.token());
            let (time, name) = (start.elapsed().as_secs_f64(), NAMES[event.token()]);
            println!("{time:.3} s  {name:10}  {event:?}\n{:21}{text}", "");
        }
    }
    assert_eq!(order[..4], [0, 1, 2, 3]);

    let file = File::open(std::env::current_exe()?)?;
    let error = registry.register(&file, 5, Interest::READABLE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied); // EPERM
    println!("\nA regular file never makes its reader wait, so epoll refuses it:\n{error}");
    Ok(())
}

unsafe extern "C" {
    fn raise(signal: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const c_ulong, old: *mut c_ulong) -> c_int;
    fn signalfd(fd: c_int, mask: *const c_ulong, flags: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn timerfd_create(clock: c_int, flags: c_int) -> c_int;
    fn timerfd_settime(fd: c_int, flags: c_int, new: *const c_long, old: *mut c_long) -> c_int;
}

fn timer_of_100_ms() -> io::Result<File> {
    const CLOCK_MONOTONIC: c_int = 1;
    let once: [c_long; 4] = [0, 0, 0, 100_000_000]; // struct itimerspec

    // SAFETY: no pointer.
    let timer = owned(unsafe { timerfd_create(CLOCK_MONOTONIC, FLAGS) })?;
    // SAFETY: the kernel reads `once` before it returns.
    unsafe { timerfd_settime(timer.as_raw_fd(), 0, once.as_ptr(), std::ptr::null_mut()) };
    Ok(timer)
}

fn signalfd_for(signal: u32) -> io::Result<File> {
    const SIG_BLOCK: c_int = 0;
    let mut mask = [0 as c_ulong; 32]; // sigset_t, or more
    mask[0] = 1 << (signal - 1);
    // SAFETY: both read `mask` before they return. Not blocked, the signal would end this program.
    owned(unsafe {
        sigprocmask(SIG_BLOCK, mask.as_ptr(), std::ptr::null_mut());
        signalfd(-1, mask.as_ptr(), FLAGS)
    })
}

fn pidfd_of(pid: u32) -> io::Result<File> {
    const SYS_PIDFD_OPEN: c_long = 434;
    // SAFETY: no pointer.
    owned(unsafe { syscall(SYS_PIDFD_OPEN, pid as c_long, 0 as c_long) } as c_int)
}

fn owned(fd: c_int) -> io::Result<File> {
    match fd {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: it is new, so nobody else will close it.
        _ => Ok(unsafe { File::from_raw_fd(fd) }),
    }
}
