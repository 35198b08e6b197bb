//! What the tests share.

#![allow(dead_code)] // No test target uses all of it.

use epollet::{Event, Events, Interest, Poll, Token};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::raw::c_void;
use std::os::unix::io::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The longest that a test waits for what must come.
pub const LONG: Duration = Duration::from_secs(30);

/// Returns the events that are there now, without waiting.
pub fn now(poll: &mut Poll) -> Vec<Event> {
    let mut events = Events::with_capacity(64);
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    events
}

/// Waits for events; there must be some.
pub fn wait(poll: &mut Poll) -> Vec<Event> {
    let mut events = Events::with_capacity(64);
    poll.poll(&mut events, Some(LONG)).unwrap();
    assert!(!events.is_empty(), "nothing came in {LONG:?}");
    events
}

/// Returns the bits that are there now for a queue with one source.
pub fn bits(poll: &mut Poll) -> i32 {
    match now(poll)[..] {
        [] => 0,
        [event] => event.bits() as i32,
        ref events => panic!("one source, but {events:?}"),
    }
}

/// Waits until a condition holds, for no longer than `LONG`. It sleeps in between, for a loop that
/// spins can starve those it waits for, where threads run one at a time (valgrind).
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "not within {LONG:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a process or a thread is stopped (T) or sleeps (S), as its `stat` in /proc says: the
/// state is the letter behind the name in brackets.
pub fn await_state(stat: impl AsRef<Path>, state: char) {
    let wanted = format!(") {state} ");
    until(&format!("state {state}"), || {
        let stat = fs::read_to_string(&stat).unwrap();
        assert!(!stat.contains(") Z "), "it has ended");
        stat.contains(&wanted)
    });
}

pub fn tokens(events: &[Event]) -> Vec<Token> {
    let mut tokens: Vec<Token> = events.iter().map(|event| event.token()).collect();
    tokens.sort_unstable();
    tokens
}

/// Returns a queue that watches `source` with token 1.
pub fn watch(source: &impl AsFd, interest: impl Into<Interest>) -> Poll {
    let poll = Poll::new().unwrap();
    poll.registry().register(source, 1, interest).unwrap();
    poll
}

/// Waits until a level-triggered queue reports all of `wanted` for `source`.
pub fn await_bits(source: &impl AsFd, wanted: i32) {
    let mut poll = watch(source, wanted);
    while wait(&mut poll)[0].bits() as i32 & wanted != wanted {}
}

/// Returns two connected ends, both non-blocking.
pub fn pair() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

/// The same over TCP on loopback.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    (ours, theirs)
}

const AF_INET: i32 = 2;
const SOCK_STREAM: i32 = 1;
const SOCK_NONBLOCK: i32 = 0o4000;
const SOCK_CLOEXEC: i32 = 0o2000000;

pub fn tcp_socket() -> TcpStream {
    let kind = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    // SAFETY: no pointer.
    TcpStream::from(fd(unsafe { c::socket(AF_INET, kind, 0) }))
}

/// `struct sockaddr_in`
pub fn sockaddr(address: SocketAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&(AF_INET as u16).to_ne_bytes());
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    bytes[4..8].copy_from_slice(&[127, 0, 0, 1]);
    bytes
}

/// Returns what has a port, so that it is nobody else's, and refuses connections, for it does not
/// listen.
pub fn refusing() -> TcpListener {
    let socket = OwnedFd::from(tcp_socket());
    let any = sockaddr(([127, 0, 0, 1], 0).into());
    // SAFETY: the address is 16 bytes long.
    let bound = unsafe { c::bind(socket.as_raw_fd(), any.as_ptr() as *const c_void, 16) };
    assert_eq!(bound, 0);
    TcpListener::from(socket)
}

/// Returns the reading and the writing end of a non-blocking pipe.
pub fn pipe() -> (File, File) {
    const O_NONBLOCK_CLOEXEC: i32 = 0o2004000;
    let mut fds = [-1; 2];
    // SAFETY: the kernel writes two descriptors, which are new.
    assert_eq!(unsafe { c::pipe2(fds.as_mut_ptr(), O_NONBLOCK_CLOEXEC) }, 0);
    (File::from(fd(fds[0])), File::from(fd(fds[1])))
}

/// Raises this process's limit of descriptors as far as it is allowed to: a shell often gives 1024,
/// and servers and clients of many tests are in one process.
pub fn take_all_descriptors() {
    const RLIMIT_NOFILE: i32 = 7;
    let mut limit = [0; 2]; // soft and hard
    // SAFETY: the kernel writes a `struct rlimit`, then it reads one.
    unsafe {
        c::getrlimit(RLIMIT_NOFILE, limit.as_mut_ptr());
        limit[0] = limit[1];
        c::setrlimit(RLIMIT_NOFILE, limit.as_ptr());
    }
}

/// Closes a connection with a reset.
pub fn reset(stream: TcpStream) {
    const SO_LINGER: i32 = 13;
    set_socket_option(&stream, SO_LINGER, &[1, 0]); // To close is to reset.
}

/// Sets an option that consists of ints.
pub fn set_socket_option(stream: &TcpStream, name: i32, value: &[i32]) {
    const SOL_SOCKET: i32 = 1;
    let (pointer, len) = (value.as_ptr() as *const c_void, value.len() as u32 * 4);
    // SAFETY: an int has 4 bytes.
    let set = unsafe { c::setsockopt(stream.as_raw_fd(), SOL_SOCKET, name, pointer, len) };
    assert_eq!(set, 0);
}

/// Reads until `WouldBlock` or end of file; returns how many bytes that were.
pub fn drain(source: &mut impl Read) -> usize {
    let mut buffer = [0; 4096];
    let mut total = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return total,
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Writes until `WouldBlock`; returns how many bytes that were.
pub fn fill(sink: &mut impl Write) -> usize {
    let mut total = 0;
    loop {
        match sink.write(&[0; 4096]) {
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return total,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Returns the descriptor that a C function has just made.
pub fn fd(result: i32) -> OwnedFd {
    assert!(result >= 0, "{}", io::Error::last_os_error());
    // SAFETY: it is new, so nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(result) }
}

/// Calls that std does not have, with the names of their manual pages.
pub mod c {
    use std::os::raw::{c_int, c_long, c_uint, c_ulong, c_void};

    unsafe extern "C" {
        pub fn _exit(status: c_int) -> !;
        pub fn bind(fd: c_int, address: *const c_void, len: c_uint) -> c_int;
        pub fn connect(fd: c_int, address: *const c_void, len: c_uint) -> c_int;
        pub fn dup2(old: c_int, new: c_int) -> c_int;
        pub fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
        pub fn fork() -> c_int;
        pub fn getrlimit(resource: c_int, limit: *mut c_ulong) -> c_int;
        pub fn inotify_add_watch(fd: c_int, path: *const c_void, mask: u32) -> c_int;
        pub fn inotify_init1(flags: c_int) -> c_int;
        pub fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
        pub fn listen(fd: c_int, backlog: c_int) -> c_int;
        pub fn kill(pid: c_int, signal: c_int) -> c_int;
        pub fn pause() -> c_int;
        pub fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
        pub fn prctl(option: c_int, ...) -> c_int;
        pub fn pthread_sigmask(how: c_int, set: *const c_void, old: *mut c_void) -> c_int;
        pub fn raise(signal: c_int) -> c_int;
        pub fn send(fd: c_int, bytes: *const c_void, len: usize, flags: c_int) -> isize;
        pub fn setitimer(which: c_int, new: *const c_long, old: *mut c_long) -> c_int;
        pub fn setsockopt(
            fd: c_int,
            level: c_int,
            name: c_int,
            value: *const c_void,
            len: c_uint,
        ) -> c_int;
        pub fn setrlimit(resource: c_int, limit: *const c_ulong) -> c_int;
        pub fn signal(signal: c_int, handler: extern "C" fn(c_int)) -> *const c_void;
        pub fn signalfd(fd: c_int, mask: *const c_void, flags: c_int) -> c_int;
        pub fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
        pub fn syscall(number: c_long, ...) -> c_long;
        pub fn timerfd_create(clock: c_int, flags: c_int) -> c_int;
        pub fn timerfd_settime(
            fd: c_int,
            flags: c_int,
            new: *const c_long,
            old: *mut c_long,
        ) -> c_int;
        pub fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
        pub fn write(fd: c_int, bytes: *const c_void, len: usize) -> isize;
    }
}
