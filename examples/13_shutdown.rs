//! A server that ends cleanly on Ctrl-C, on SIGTERM, or on a line on standard input.
//!
//! ```sh
//! cargo run -q --example 13_shutdown
//! ```
//!
//! The server blocks the signals and reads them from a `signalfd`, so that a signal is an event
//! like any other. When it has to end, it stops accepting, lets its clients finish until a
//! deadline, and closes the rest. A client that is idle has a deadline of its own. You see four
//! clients, a child process, and SIGTERM after 0.3 s.
//!
//! Comes after `12_stdin`. Book: chapter 4, "Design and introduction to epoll"; and `close_loop` in
//! the older book. Exercise that follows: 09_no_descriptor (`cargo run -q --example exercises 09`).
//! Needs only `ffi.rs` and `poll.rs`.
//!
//! Change next (the answers are at the end of the file):
//! 1. Leave out the `kill` of this process. Then press Ctrl-C, once or twice, or type a line.
//! 2. In `stop`, leave the listener open.
//! 3. Leave out `pre_exec`.

use epollet::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::ffi::{c_int, c_ulong};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::FromRawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, Command};
use std::ptr;
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

const IDLE: Duration = Duration::from_millis(200);
const GRACE: Duration = Duration::from_millis(600);

const LISTENER: Token = 0; // The clients are 1, 2 and so on.
const SIGNALS: Token = usize::MAX;
const INPUT: Token = usize::MAX - 1;

struct Server {
    start: Instant,
    poll: Poll,
    listener: Option<TcpListener>, // None when it stops
    signals: File,
    clients: HashMap<Token, Client>,
    accepted: usize,
    end: Option<Instant>, // the deadline of all clients
}

struct Client {
    stream: TcpStream,
    idle: Instant, // its own deadline
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        loop {
            self.poll.poll(&mut events, self.timeout())?;
            for event in &events {
                match event.token() {
                    LISTENER => {} // below
                    SIGNALS => {
                        let mut info = [0; 128]; // struct signalfd_siginfo
                        self.signals.read_exact(&mut info)?; // Records are read whole.
                        match c_int::from_ne_bytes([info[0], info[1], info[2], info[3]]) {
                            SIGINT => self.stop("SIGINT, which is Ctrl-C")?,
                            _ => self.stop("SIGTERM")?,
                        }
                    }
                    // What `Stdin` buffers of more lines does not matter: one line is enough.
                    INPUT => match io::stdin().read(&mut [0; 1024])? {
                        0 => self.poll.registry().deregister(&io::stdin())?, // no one types
                        _ => self.stop("a line")?,
                    },
                    token => self.serve(token),
                }
            }
            // After each poll, whatever was reported: exercise 09 is about the reason.
            self.accept()?;
            let (start, now) = (self.start, Instant::now());
            self.clients.retain(|number, client| {
                if client.idle <= now {
                    log(start, format!("client {number} is idle, and is closed"));
                }
                client.idle > now
            });
            let Some(end) = self.end else { continue };
            if self.clients.is_empty() || end <= now {
                let closed = self.clients.len();
                let line = format!("the end; clients closed at the deadline: {closed}");
                log(start, line);
                self.clients.clear();
                return Ok(());
            }
        }
    }

    /// Returns the time until the next deadline.
    fn timeout(&self) -> Option<Duration> {
        let deadlines = self.clients.values().map(|client| client.idle);
        let next = deadlines.chain(self.end).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Begins to stop. The second time, the deadline is now.
    fn stop(&mut self, reason: &str) -> io::Result<()> {
        self.accept()?; // Closing a listener resets the connections that wait in its queue.
        self.listener = None;
        let grace = match self.end {
            None => GRACE,
            Some(_) => Duration::ZERO,
        };
        self.end = Some(Instant::now() + grace);
        let left = self.clients.len();
        let grace = grace.as_millis();
        let line = format!("{reason}; clients: {left}; time to finish: {grace} ms");
        log(self.start, line);
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            self.accepted += 1;
            let registry = self.poll.registry();
            let registered = registry.register(&stream, self.accepted, Interest::READABLE);
            let idle = Instant::now() + IDLE;
            if registered.is_ok() {
                self.clients.insert(self.accepted, Client { stream, idle });
            }
        }
        Ok(())
    }

    /// Echoes what has arrived. A client that does not read its answers is closed, unlike in
    /// `05_echo_server`.
    fn serve(&mut self, number: Token) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        let mut buffer = [0; 1024];
        let echoed = match client.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => client.stream.write_all(&buffer[..count]).is_ok(),
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        if echoed {
            client.idle = Instant::now() + IDLE;
        } else {
            log(self.start, format!("client {number} has gone"));
            self.clients.remove(&number);
        }
    }
}

fn main() -> io::Result<()> {
    let signals = block_signals()?; // First of all: threads inherit the mask.
    let mut child = start_child()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;

    let poll = Poll::new()?;
    let registry = poll.registry();
    registry.register(&listener, LISTENER, Interest::READABLE | Interest::EDGE)?;
    registry.register(&signals, SIGNALS, Interest::READABLE)?;
    // A file and /dev/null are refused: no one types there.
    let _ = registry.register(&io::stdin(), INPUT, Interest::READABLE);

    start_client(address, 2, Duration::from_millis(500))?; // becomes idle
    let finishes = start_client(address, ANSWERS, PACE)?;
    start_client(address, usize::MAX, PACE)?; // never finishes
    let late = Builder::new().spawn(move || {
        thread::sleep(Duration::from_millis(300));
        // SAFETY: no pointer. (`raise` would send it to this thread alone.)
        unsafe { kill(process::id() as c_int, SIGTERM) };
        thread::sleep(Duration::from_millis(100));
        let mut stream = TcpStream::connect(address)?;
        stream.read(&mut [0; 16])
    })?;
    let mut server = Server {
        start: Instant::now(),
        poll,
        listener: Some(listener),
        signals,
        clients: HashMap::new(),
        accepted: 0,
        end: None,
    };
    log(
        server.start,
        "the server listens: Ctrl-C, SIGTERM or a line ends it",
    );
    server.run()?;
    drop(server);
    let child_runs = child.try_wait()?.is_none(); // Ctrl-C ends it, and so do its 2 s.
    if child_runs {
        // SAFETY: no pointer. No wait has returned the child's status: the number is still its own.
        unsafe { kill(child.id() as c_int, SIGTERM) };
    }
    let status = child.wait()?;

    let answers = finishes.join().expect("it does not panic");
    let late = match late.join().expect("it does not panic") {
        Ok(_) => "connected, and closed without an answer".to_owned(),
        Err(error) => error.to_string(),
    };
    say("");
    say(format!(
        "client 2, finishes   {answers} of {ANSWERS} answers"
    ));
    say(format!("client 4, too late   {late}"));
    say(format!("child process        {status}"));
    say("");
    say(if answers < ANSWERS {
        format!(
            "Takeaway: a client that was being served has lost {} answers.",
            ANSWERS - answers
        )
    } else if child_runs && status.signal() != Some(SIGTERM) {
        "Takeaway: a child process that inherits a blocked signal is not ended by it.".to_owned()
    } else if !late.contains("refused") {
        "Takeaway: client 4 found the listener open, connected, and got no answer.".to_owned()
    } else {
        format!(
            "Takeaway: to end cleanly, close the listener, serve who is there until a\n\
             deadline, then close: {answers} of {ANSWERS} answers have arrived."
        )
    });
    Ok(())
}

const ANSWERS: usize = 15;
const PACE: Duration = Duration::from_millis(30);

/// Connects, and starts a thread that sends lines until it has `wanted` answers or the server
/// closes. It returns the number of answers.
fn start_client(
    address: SocketAddr,
    wanted: usize,
    pace: Duration,
) -> io::Result<JoinHandle<usize>> {
    let mut stream = TcpStream::connect(address)?;
    Builder::new().spawn(move || {
        let mut answers = 0;
        while answers < wanted {
            let sent = stream.write_all(b"hello\n");
            let Ok(1..) = sent.and_then(|()| stream.read(&mut [0; 16])) else {
                break;
            };
            answers += 1;
            thread::sleep(pace);
        }
        answers
    })
}

/// Starts a child process that SIGTERM ends: it would inherit the blocked signals.
fn start_child() -> io::Result<process::Child> {
    let mut command = Command::new("sleep");
    // SAFETY: between fork and exec the closure calls only `pthread_sigmask`, and allocates nothing.
    unsafe { command.pre_exec(|| change_mask(SIG_UNBLOCK).map(drop)) };
    command.arg("2").spawn()
}

/// Blocks the two signals in this thread, and returns a `signalfd` that reports them.
fn block_signals() -> io::Result<File> {
    const NONBLOCK_CLOEXEC: c_int = 0o2004000;
    let set = change_mask(SIG_BLOCK)?;
    // SAFETY: the kernel reads `set` before the call returns.
    let fd = unsafe { signalfd(-1, set.as_ptr(), NONBLOCK_CLOEXEC) };
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, so nothing else owns it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

const SIGINT: c_int = 2; // Ctrl-C
const SIGTERM: c_int = 15;
const SIG_BLOCK: c_int = 0;
const SIG_UNBLOCK: c_int = 1;

/// Blocks or unblocks SIGINT and SIGTERM in this thread. Returns the set of the two.
fn change_mask(how: c_int) -> io::Result<[c_ulong; 32]> {
    let mut set = [0; 32]; // sigset_t: bit 0 is signal 1
    set[0] = 1 << (SIGINT - 1) | 1 << (SIGTERM - 1);
    // SAFETY: the C library reads `set` before the call returns.
    match unsafe { pthread_sigmask(how, set.as_ptr(), ptr::null_mut()) } {
        0 => Ok(set),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn log(start: Instant, line: impl Display) {
    say(format!("{:.3} s  {line}", start.elapsed().as_secs_f64()));
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

unsafe extern "C" {
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn pthread_sigmask(how: c_int, set: *const c_ulong, old: *mut c_ulong) -> c_int;
    fn signalfd(fd: c_int, set: *const c_ulong, flags: c_int) -> c_int;
}

// Answers:
// 1. The server serves client 3 until then. The second Ctrl-C makes the deadline now. Client 4 finds
//    the listener open, sends nothing, and is closed as idle.
// 2. Client 4 connects, sends nothing, and is closed as idle.
// 3. `sleep` inherits the blocked SIGTERM, and ends when its 2 s are over.
