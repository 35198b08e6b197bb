//! What causes a new edge? Eleven kinds of sources, measured while you watch.
//!
//! ```sh
//! cargo run -q --example edges
//! ```
//!
//! You see a table. Each row is a source that is registered once, readable, writable and
//! edge-triggered. Each column is one thing that happens to it, from left to right, and the cell is
//! what the next poll reports: `-` means no edge, and a blank cell means that this is not tried
//! with this kind of source, usually because it cannot happen. "We read" reads a part of the input,
//! but all of it from an eventfd or a timerfd. A nested queue is read by polling it.
//!
//! A tool, not a part of the path. Run it after `04_lists`. The guide's page `edges` has such a
//! table as a reference, with somewhat different columns.
//!
//! Change next (the answers are at the end of the file):
//! 1. Register without `WRITABLE`. Which edges disappear?
//! 2. Register without `EDGE`. What do the cells show then?
//! 3. In `stream`, read all three bytes after the first `note`. Which cells change?

use epollet::{Events, Interest, Poll, ffi};
use std::ffi::{CStr, OsStr, c_char, c_int, c_long};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::{ffi::OsStrExt, fs::OpenOptionsExt, net::UnixStream};
use std::time::Duration;
use std::{process, thread};

/// One row of the table. The others follow below.
fn stream(name: &'static str, mut ours: File, mut theirs: File) -> io::Result<Row> {
    let mut row = Row::new(name, &ours)?;
    theirs.write_all(b"ab\n")?;
    row.note(FIRST_INPUT)?;
    theirs.write_all(b"cd\n")?;
    row.note(MORE_INPUT)?;
    ours.read_exact(&mut [0])?;
    row.note(WE_READ)?;
    ours.write_all(b"e")?;
    row.note(WE_WRITE)?;
    theirs.read_exact(&mut [0])?;
    row.note(PEER_READS)?;
    fill(&mut ours)?;
    row.quiet()?;
    drain(&mut theirs)?;
    row.note(PEER_READS_ALL)?;
    Ok(row)
}

struct Row {
    name: &'static str,
    poll: Poll,
    cells: [String; COLUMNS],
    /// Polls have reported the same again and again: this is not edge-triggered.
    repeats: bool,
}

impl Row {
    fn new(name: &'static str, source: &impl AsFd) -> io::Result<Row> {
        let poll = Poll::new()?;
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::EDGE;
        poll.registry().register(source, 0, interest)?;
        let cells = Default::default();
        let mut row = Row {
            name,
            poll,
            cells,
            repeats: false,
        };
        row.quiet()?; // A ready source is reported after `register` too.
        Ok(row)
    }

    /// Polls, and records what is reported.
    fn note(&mut self, column: usize) -> io::Result<()> {
        let mut events = Events::with_capacity(1);
        // Some sources take a moment: a terminal hands its input to another kernel thread.
        self.poll
            .poll(&mut events, Some(Duration::from_millis(200)))?;
        self.cells[column] = match events.first() {
            None => "-".to_string(),
            Some(event) => names(event.bits()),
        };
        self.quiet()
    }

    /// Polls until there is nothing to report.
    fn quiet(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1);
        for _ in 0..10 {
            self.poll
                .poll(&mut events, Some(Duration::from_millis(20)))?;
            if events.is_empty() {
                return Ok(());
            }
        }
        self.repeats = true;
        Ok(())
    }
}

fn names(bits: u32) -> String {
    let names = format!("{:?}", Interest::from(bits));
    names.replace("EPOLL", "").replace(" |", "")
}

const FIRST_INPUT: usize = 0;
const MORE_INPUT: usize = 1;
const WE_READ: usize = 2;
const WE_WRITE: usize = 3;
const PEER_READS: usize = 4;
const PEER_READS_ALL: usize = 5;
const COLUMNS: usize = 6;

fn main() -> io::Result<()> {
    // Each row has its own thread, because a poll that reports nothing takes some time.
    let rows: [fn() -> io::Result<Row>; 11] = [
        pipe_to_read,
        pipe_to_write,
        tcp_stream,
        unix_stream,
        udp_socket,
        listener,
        terminal,
        eventfd,
        timerfd_once,
        timerfd_periodic,
        nested_queue,
    ];
    let mut threads = Vec::new();
    for row in rows {
        threads.push(thread::Builder::new().spawn(row)?);
    }
    say("What the next poll reports (-: no new edge; blank: not tried)");
    say("                  first    more     we       we       peer     peer reads");
    say("                  input    input    read     write    reads    a full buffer");
    let mut no_edge = Vec::new();
    let mut repeats = false;
    for thread in threads {
        let row = thread.join().expect("it has not panicked")?;
        repeats |= row.repeats;
        if row.cells[MORE_INPUT] == "-" {
            no_edge.push(row.name);
        }
        let cells = row.cells.map(|cell| format!("{cell:9}")).concat();
        say(format!("{:18}{cells}", row.name).trim_end());
    }
    if repeats {
        say("\nTakeaway: these polls report the same again and again, so the table shows");
        say("what is ready, and not what causes an edge.");
    } else {
        let no_edge = no_edge.join("; ");
        say("\nTakeaway: more input is a new edge, even while old input is unread, except for");
        say(format!("these kinds: {no_edge}. The other columns differ."));
    }
    Ok(())
}

/// Prints a line. Ends the program if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

fn tcp_stream() -> io::Result<Row> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (theirs, _) = listener.accept()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    stream("TCP stream", file(ours), file(theirs))
}

fn unix_stream() -> io::Result<Row> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    theirs.set_nonblocking(true)?;
    stream("Unix stream", file(ours), file(theirs))
}

fn terminal() -> io::Result<Row> {
    // SAFETY: the call takes no pointer.
    let theirs = owned(unsafe { posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC) })?;
    // SAFETY: the call takes no pointer.
    check(unsafe { unlockpt(theirs.as_raw_fd()) })?;
    // SAFETY: the call takes no pointer.
    let path = unsafe { ptsname(theirs.as_raw_fd()) };
    if path.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the string ends in a zero byte, and stays as it is: `ptsname` is called only here.
    let path = unsafe { CStr::from_ptr(path) };
    let mut options = File::options();
    let options = options.read(true).write(true);
    let ours = options
        .custom_flags(O_NOCTTY | O_NONBLOCK)
        .open(OsStr::from_bytes(path.to_bytes()))?;
    stream("terminal (pty)", ours, theirs)
}

fn pipe_to_read() -> io::Result<Row> {
    let (mut ours, mut theirs) = pipe()?;
    let mut row = Row::new("pipe, read end", &ours)?;
    theirs.write_all(b"ab")?;
    row.note(FIRST_INPUT)?;
    theirs.write_all(b"cd")?;
    row.note(MORE_INPUT)?;
    ours.read_exact(&mut [0])?;
    row.note(WE_READ)?;
    Ok(row)
}

fn pipe_to_write() -> io::Result<Row> {
    let (mut theirs, mut ours) = pipe()?;
    let mut row = Row::new("pipe, write end", &ours)?;
    ours.write_all(b"ab")?;
    row.note(WE_WRITE)?;
    theirs.read_exact(&mut [0])?;
    row.note(PEER_READS)?;
    fill(&mut ours)?;
    row.quiet()?;
    drain(&mut theirs)?;
    row.note(PEER_READS_ALL)?;
    Ok(row)
}

fn udp_socket() -> io::Result<Row> {
    let ours = UdpSocket::bind("127.0.0.1:0")?;
    let theirs = UdpSocket::bind("127.0.0.1:0")?;
    ours.connect(theirs.local_addr()?)?;
    theirs.connect(ours.local_addr()?)?;
    let mut row = Row::new("UDP socket", &ours)?;
    theirs.send(b"ab")?;
    row.note(FIRST_INPUT)?;
    theirs.send(b"cd")?;
    row.note(MORE_INPUT)?;
    ours.recv(&mut [0; 2])?;
    row.note(WE_READ)?;
    ours.send(b"e")?;
    row.note(WE_WRITE)?;
    theirs.recv(&mut [0])?;
    row.note(PEER_READS)?;
    Ok(row)
}

fn listener() -> io::Result<Row> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut row = Row::new("listener", &listener)?;
    let _first = TcpStream::connect(listener.local_addr()?)?;
    row.note(FIRST_INPUT)?;
    let _second = TcpStream::connect(listener.local_addr()?)?;
    row.note(MORE_INPUT)?;
    listener.accept()?;
    row.note(WE_READ)?;
    Ok(row)
}

fn eventfd() -> io::Result<Row> {
    // SAFETY: the call takes no pointer.
    let mut counter = owned(unsafe { ffi::eventfd(0, ffi::EFD_CLOEXEC | ffi::EFD_NONBLOCK) })?;
    let mut theirs = counter.try_clone()?;
    let one = 1_u64.to_ne_bytes();
    let mut row = Row::new("eventfd", &counter)?;
    theirs.write_all(&one)?;
    row.note(FIRST_INPUT)?;
    theirs.write_all(&one)?;
    row.note(MORE_INPUT)?;
    counter.read_exact(&mut [0; 8])?;
    row.note(WE_READ)?;
    counter.write_all(&one)?;
    row.note(WE_WRITE)?;
    theirs.read_exact(&mut [0; 8])?;
    row.note(PEER_READS)?;
    Ok(row)
}

fn timerfd_once() -> io::Result<Row> {
    let mut timer = timerfd()?;
    let mut row = Row::new("timerfd, once", &timer)?;
    set_timer(&timer, 1, 0)?;
    row.note(FIRST_INPUT)?;
    set_timer(&timer, 1, 0)?;
    row.note(MORE_INPUT)?;
    timer.read_exact(&mut [0; 8])?;
    row.note(WE_READ)?;
    Ok(row)
}

fn timerfd_periodic() -> io::Result<Row> {
    let mut timer = timerfd()?;
    let mut row = Row::new("timerfd, periodic", &timer)?;
    set_timer(&timer, 1, 10)?;
    row.note(FIRST_INPUT)?;
    row.note(MORE_INPUT)?; // It runs again only after it is read (or asked, or set).
    timer.read_exact(&mut [0; 8])?;
    row.note(WE_READ)?;
    Ok(row)
}

fn nested_queue() -> io::Result<Row> {
    let (ours, mut theirs) = UnixStream::pair()?;
    let mut inner = Poll::new()?;
    inner.registry().register(&ours, 0, Interest::READABLE)?;
    let mut row = Row::new("nested queue", &inner)?;
    theirs.write_all(b"ab")?;
    row.note(FIRST_INPUT)?;
    theirs.write_all(b"cd")?;
    row.note(MORE_INPUT)?;
    inner.poll(&mut Events::with_capacity(1), None)?;
    row.note(WE_READ)?;
    Ok(row)
}

fn fill(file: &mut File) -> io::Result<()> {
    until_would_block(|| file.write(&[0; 4096]))
}

fn drain(file: &mut File) -> io::Result<()> {
    until_would_block(|| file.read(&mut [0; 4096]))
}

fn until_would_block(mut operation: impl FnMut() -> io::Result<usize>) -> io::Result<()> {
    loop {
        match operation() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn pipe() -> io::Result<(File, File)> {
    let mut fds = [0; 2];
    // SAFETY: the kernel writes two descriptors.
    check(unsafe { pipe2(fds.as_mut_ptr(), O_NONBLOCK | O_CLOEXEC) })?;
    Ok((owned(fds[0])?, owned(fds[1])?))
}

fn timerfd() -> io::Result<File> {
    // SAFETY: the call takes no pointer.
    owned(unsafe { timerfd_create(CLOCK_MONOTONIC, O_NONBLOCK | O_CLOEXEC) })
}

/// Both times are in milliseconds.
fn set_timer(timer: &File, first: c_long, then_every: c_long) -> io::Result<()> {
    let new = [0, then_every * 1_000_000, 0, first * 1_000_000]; // struct itimerspec
    // SAFETY: the kernel reads `new`, and does not write where the last pointer is null.
    let result =
        unsafe { timerfd_settime(timer.as_raw_fd(), 0, new.as_ptr(), std::ptr::null_mut()) };
    check(result).map(drop)
}

fn file(socket: impl Into<OwnedFd>) -> File {
    File::from(socket.into())
}

fn owned(result: c_int) -> io::Result<File> {
    let fd = check(result)?;
    // SAFETY: the descriptor is new, so nothing else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

const O_RDWR: c_int = 2;
const O_NOCTTY: c_int = 0o400;
const O_NONBLOCK: c_int = 0o4000;
const O_CLOEXEC: c_int = 0o2000000;
const CLOCK_MONOTONIC: c_int = 1;

unsafe extern "C" {
    fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
    fn posix_openpt(flags: c_int) -> c_int;
    fn ptsname(fd: c_int) -> *const c_char;
    fn unlockpt(fd: c_int) -> c_int;
    fn timerfd_create(clock: c_int, flags: c_int) -> c_int;
    fn timerfd_settime(fd: c_int, flags: c_int, new: *const c_long, old: *mut c_long) -> c_int;
}

// Answers:
// 1. Those that are about room to write: the last two columns, and what an eventfd shows in "we
//    read". In "we write" only the eventfd keeps its edge: it receives its own writes.
// 2. What the source is ready for, whatever has happened last.
// 3. None: the edges of these sources do not depend on what is still unread.
