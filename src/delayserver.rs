//! A stand-in for the book's delay server: `GET /{delay in ms}/{message}` answers with the message
//! after the delay.
//!
//! It is itself a program on [`Poll`], and a larger one than `main.rs`: one thread, one queue, any
//! number of clients. Each client is in one of four states, and each state ends by an event or by a
//! deadline:
//!
//! | state | waits for | deadline | what the deadline does |
//! |---|---|---|---|
//! | head | the head of a request | 10 s | answers 408; closes an idle connection |
//! | delay | the client to leave | the delay that was asked for | answers 200 |
//! | send | room to write | 10 s | closes |
//! | drain | the client to close, after the last answer | 1 s | closes |
//!
//! Requests of one connection are answered in order, one at a time. What a client sends meanwhile
//! waits in the kernel once it is more than one head, so that no client makes the server hold more
//! than one head and one answer, 8 KiB each.
//!
//! A client that shuts down its sending side while it waits may want its answer still, or be gone:
//! the kernel reports the same. And of one that has sent more than the server takes, the kernel cannot
//! report the end. Only sending tells. So the head of the answer goes out at once, ahead of the body,
//! and a client that is gone replies to it with a reset, which frees its place. (One that takes the
//! head, and then leaves, is noticed when its answer is due.)
//!
//! ```
//! use epollet::delayserver::DelayServer;
//! use std::io::{Read, Write};
//! use std::{net::TcpStream, thread};
//!
//! let server = DelayServer::bind("127.0.0.1:0")?;
//! let (address, stop) = (server.local_addr()?, server.stopper()?);
//! let server = thread::spawn(move || server.run(std::io::stdout()));
//!
//! let mut stream = TcpStream::connect(address)?;
//! stream.write_all(b"GET /20/hello%20world HTTP/1.0\r\n\r\n")?;
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer)?;
//! assert!(answer.ends_with("\r\n\r\nhello world"));
//!
//! stop.wake()?;
//! server.join().unwrap()?;
//! # Ok::<(), std::io::Error>(())
//! ```

use crate::{Event, Events, Interest, Poll, Token, Waker, ffi};
use std::collections::BTreeSet;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::raw::c_int;
use std::os::unix::io::AsRawFd;
use std::time::{Duration, Instant};

/// The longest head that is read, in bytes. A message is a part of its head, so answers are no
/// longer.
const HEAD_LIMIT: usize = 8 * 1024;
const HEAD_TIME: Duration = Duration::from_secs(10);
const SEND_TIME: Duration = Duration::from_secs(10);
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// How long accepting rests when there is no descriptor left, unless a client leaves before.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How many connections may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: c_int = 4096;

unsafe extern "C" {
    fn listen(fd: c_int, backlog: c_int) -> c_int;
}

/// Clients have their index in `DelayServer::clients` as token, which these two are never.
const LISTENER: Token = usize::MAX;
const STOP: Token = usize::MAX - 1;

/// A delay server that listens, and serves when it [runs](DelayServer::run).
#[derive(Debug)]
pub struct DelayServer {
    poll: Poll,
    listener: TcpListener,
    clients: Vec<Option<Client>>,
    /// The empty places in `clients`.
    free: Vec<Token>,
    /// Those emptied in this round: a stale event for them may still be in `Events`, and must not
    /// reach a newcomer.
    freed: Vec<Token>,
    /// A deadline for each client, the nearest first. (A heap could not remove.)
    timers: BTreeSet<(Instant, Token)>,
    /// Until when accepting rests.
    resting: Option<Instant>,
}

impl DelayServer {
    /// Makes a server that listens on `address`; with port 0 the kernel picks one.
    ///
    /// # Errors
    ///
    /// `AddrInUse`: another program listens there. `PermissionDenied`: a port under 1024.
    /// `InvalidInput` or a resolver's error: not an address. Those of [`Poll::new`].
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<DelayServer> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        // Std lets 128 connections wait to be accepted, and a client that finds no place tries again
        // after a second. Asked once more, listen(2) changes the number.
        // SAFETY: the call takes no pointer.
        unsafe { listen(listener.as_raw_fd(), BACKLOG) };
        let poll = Poll::new()?;
        poll.registry()
            .register(&listener, LISTENER, Interest::READABLE)?;
        Ok(DelayServer {
            poll,
            listener,
            clients: Vec::new(),
            free: Vec::new(),
            freed: Vec::new(),
            timers: BTreeSet::new(),
            resting: None,
        })
    }

    /// Returns the address that the server listens on, with the port that the kernel has picked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns a waker that ends [`run`](DelayServer::run), as long as it is not dropped.
    pub fn stopper(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), STOP)
    }

    /// Serves until a [stopper](DelayServer::stopper) is woken, and writes a line to `log` for each
    /// request that has come in, before it sleeps again.
    ///
    /// # Errors
    ///
    /// Those of [`Poll::poll`]. Whatever happens to one client, or to `log`, does not end the
    /// server; but where writing to `log` blocks, all clients wait for it.
    pub fn run(mut self, log: impl Write) -> io::Result<()> {
        let mut log = Log {
            out: BufWriter::new(log),
            requests: 0,
            warned: false,
        };
        let mut events = Events::with_capacity(1024);
        loop {
            // The lines of a round in one write, and ahead of the clock, for it may take its time.
            let _ = log.out.flush();
            let nearest = self.timers.iter().next().map(|&(deadline, _)| deadline);
            let nearest = nearest.into_iter().chain(self.resting).min();
            let timeout = nearest.map(|time| time.saturating_duration_since(Instant::now()));
            self.poll.poll(&mut events, timeout)?;
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(&mut log),
                    STOP => return Ok(()),
                    token => self.go_on(token, Some(event), &mut log),
                }
            }
            let now = Instant::now();
            while let Some(&(deadline, token)) = self.timers.iter().next() {
                if deadline > now {
                    break;
                }
                self.go_on(token, None, &mut log);
            }
            if self
                .resting
                .map_or(false, |until| until <= now || !self.freed.is_empty())
            {
                self.accept_again();
            }
            self.free.append(&mut self.freed);
        }
    }

    fn accept(&mut self, log: &mut Log<impl Write>) {
        loop {
            let admitted = match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = admitted {
                log.cannot_accept(&error);
                return self.rest();
            }
        }
    }

    fn admit(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        // Or the body waits until the client has acknowledged the head that went out ahead of it.
        stream.set_nodelay(true)?;
        let client = Client::new(stream);
        let token = self.free.last().copied().unwrap_or(self.clients.len());
        self.poll
            .registry()
            .register(&client.stream, token, client.interest)?;
        self.set_timer(token, None, client.deadline);
        match self.free.pop() {
            Some(token) => self.clients[token] = Some(client),
            None => self.clients.push(Some(client)),
        }
        Ok(())
    }

    /// Stops accepting for a while, for want of descriptors, memory or watches. The connection that
    /// waits would make the listener readable at every poll, so the listener leaves the queue.
    fn rest(&mut self) {
        let _ = self.poll.registry().deregister(&self.listener);
        self.resting = Some(Instant::now() + ACCEPT_REST);
    }

    fn accept_again(&mut self) {
        self.resting = None;
        let registry = self.poll.registry();
        if registry
            .register(&self.listener, LISTENER, Interest::READABLE)
            .is_err()
        {
            self.rest();
        }
    }

    /// Lets a client go on after an event, or after its deadline.
    fn go_on(&mut self, token: Token, event: Option<&Event>, log: &mut Log<impl Write>) {
        let client = match self.clients.get_mut(token) {
            Some(Some(client)) => client,
            _ => return, // It left earlier in this round.
        };
        let (timer, interest) = (client.deadline, client.interest);
        let mut stays = event.map_or(true, |event| client.receive(event)) && client.advance(log);
        client.interest = client.wanted();
        if stays && client.interest != interest {
            let registry = self.poll.registry();
            stays = registry
                .reregister(&client.stream, token, client.interest)
                .is_ok();
        }
        let deadline = client.deadline.filter(|_| stays);
        self.set_timer(token, timer, deadline);
        if !stays {
            self.clients[token] = None; // This closes the stream, and so deregisters it.
            self.freed.push(token);
        }
    }

    fn set_timer(&mut self, token: Token, old: Option<Instant>, new: Option<Instant>) {
        if old == new {
            return;
        }
        if let Some(deadline) = old {
            self.timers.remove(&(deadline, token));
        }
        if let Some(deadline) = new {
            self.timers.insert((deadline, token));
        }
    }
}

struct Log<W: Write> {
    out: BufWriter<W>,
    requests: u64,
    warned: bool,
}

impl<W: Write> Log<W> {
    fn request(&mut self, delay: u64, message: &str) {
        self.requests += 1;
        let line = format!("#{} - {delay}ms: {}\n", self.requests, printable(message));
        let _ = self.out.write_all(line.as_bytes());
    }

    fn cannot_accept(&mut self, error: &io::Error) {
        if !self.warned {
            let _ = writeln!(
                self.out,
                "cannot accept a client just now: {error} (said once)"
            );
        }
        self.warned = true;
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Head,
    Delay,
    Send,
    Drain,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    state: State,
    /// What ends the state at the latest; `None` for a delay beyond what the clock can count.
    deadline: Option<Instant>,
    interest: Interest,
    /// Received and not yet taken as a request, `HEAD_LIMIT` at most; and how much of it is searched
    /// for the end of the head.
    input: Vec<u8>,
    searched: usize,
    /// The answer: its head is `output[..head_len]`, what may be sent by now `output[..released]`.
    output: Vec<u8>,
    head_len: usize,
    released: usize,
    sent: usize,
    /// The connection ends after this answer.
    last: bool,
    /// The client has shut down its sending side (RDHUP); and all that it sent before is read.
    shut: bool,
    ended: bool,
}

impl Client {
    fn new(stream: TcpStream) -> Client {
        Client {
            stream,
            state: State::Head,
            deadline: Instant::now().checked_add(HEAD_TIME),
            interest: Interest::READABLE,
            input: Vec::new(),
            searched: 0,
            output: Vec::new(),
            head_len: 0,
            released: 0,
            sent: 0,
            last: false,
            shut: false,
            ended: false,
        }
    }

    /// What the queue should report. It is level-triggered, so nothing may be in here that this
    /// state does not act on.
    fn wanted(&self) -> Interest {
        let mut bits = 0;
        if !self.ended && self.room() > 0 {
            bits |= ffi::EPOLLIN;
        }
        if !self.shut {
            bits |= ffi::EPOLLRDHUP;
        }
        if self.sent < self.released {
            bits |= ffi::EPOLLOUT;
        }
        Interest::from(bits)
    }

    /// How many bytes to read: no more than one head; what comes after the last answer is thrown
    /// away.
    fn room(&self) -> usize {
        match self.state {
            State::Drain => HEAD_LIMIT,
            _ => HEAD_LIMIT - self.input.len(),
        }
    }

    /// Takes in what the event tells. Returns false if the client is gone.
    fn receive(&mut self, event: &Event) -> bool {
        // In the drain state both sides have ended, which is a hang-up of its own; what the client
        // has sent has to be read even then, or closing would reset the connection.
        if event.is_error() || (event.is_write_closed() && self.state != State::Drain) {
            return false;
        }
        self.shut |= event.bits() & ffi::EPOLLRDHUP as u32 != 0;
        if event.is_readable() || event.is_read_closed() {
            let mut bytes = [0; HEAD_LIMIT];
            match self.stream.read(&mut bytes[..self.room()]) {
                Ok(0) => self.ended = true,
                Ok(_) if self.state == State::Drain => {}
                Ok(count) => {
                    self.input.reserve_exact(count); // A vector's own growth could double it.
                    self.input.extend_from_slice(&bytes[..count]);
                }
                Err(error) => {
                    return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
                }
            }
        }
        true
    }

    /// Goes from state to state as far as that needs no waiting. Returns false when the connection
    /// is to be closed.
    fn advance(&mut self, log: &mut Log<impl Write>) -> bool {
        let now = Instant::now();
        loop {
            let due = self.deadline.map_or(false, |deadline| deadline <= now);
            match self.state {
                State::Head => match self.head_end() {
                    Some(Ok(end)) => self.take_request(end, now, log),
                    Some(Err(refusal)) => self.refuse(refusal, false, now),
                    None if self.input.is_empty() && (self.ended || due) => return false,
                    None if self.ended => self.refuse(BAD_REQUEST, false, now),
                    None if due => self.refuse(TIMEOUT, false, now),
                    None => return true,
                },
                State::Delay if due => {
                    self.released = self.output.len();
                    self.enter(State::Send, now.checked_add(SEND_TIME));
                }
                State::Delay => {
                    // Behind a full buffer, the end of the stream is not seen.
                    if self.shut || self.room() == 0 {
                        self.released = self.head_len;
                    }
                    return self.flush().is_ok();
                }
                State::Send => match self.flush() {
                    Ok(false) if !due => return true,
                    Ok(true) if self.last => {
                        // Closed at once, with something unread in the kernel, the connection would
                        // be reset, and the answer perhaps lost on its way.
                        if self.stream.shutdown(Shutdown::Write).is_err() {
                            return false;
                        }
                        self.input = Vec::new();
                        self.output = Vec::new();
                        self.enter(State::Drain, now.checked_add(DRAIN_TIME));
                    }
                    Ok(true) => {
                        self.output = Vec::new();
                        self.enter(State::Head, now.checked_add(HEAD_TIME));
                    }
                    _ => return false,
                },
                State::Drain => return !self.ended && !due,
            }
        }
    }

    fn enter(&mut self, state: State, deadline: Option<Instant>) {
        self.state = state;
        self.deadline = deadline;
    }

    /// Sends what is released. Returns whether all of it is sent.
    fn flush(&mut self) -> io::Result<bool> {
        while self.sent < self.released {
            match self.stream.write(&self.output[self.sent..self.released]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Looks for the end of the head, an empty line, in what has come since the last look. Returns
    /// where it is, or why it will not come, or `None` as long as it may.
    fn head_end(&mut self) -> Option<Result<usize, Refusal>> {
        if self.searched == 0 {
            // Empty lines ahead of a request belong to nothing.
            let blank = self
                .input
                .iter()
                .take_while(|byte| b"\r\n".contains(byte))
                .count();
            self.input.drain(..blank);
        }
        for at in self.searched..self.input.len() {
            let (before, byte) = (&self.input[..at], self.input[at]);
            if byte == b'\n' && (before.ends_with(b"\n") || before.ends_with(b"\n\r")) {
                return Some(Ok(at + 1));
            }
            if byte.is_ascii_control() && !b"\t\r\n".contains(&byte) {
                return Some(Err(BAD_REQUEST)); // TLS, or something else that is not HTTP.
            }
        }
        self.searched = self.input.len();
        (self.searched == HEAD_LIMIT).then_some(Err(TOO_LARGE))
    }

    /// Takes the head of a request out of the input and prepares the answer.
    fn take_request(&mut self, end: usize, now: Instant, log: &mut Log<impl Write>) {
        let rest = self.input.split_off(end);
        let head = mem::replace(&mut self.input, rest);
        self.searched = 0;
        let head = String::from_utf8_lossy(&head);
        let (target, keep_alive) = match parse_head(&head) {
            Ok(parsed) => parsed,
            Err(refusal) => return self.refuse(refusal, false, now),
        };
        match parse_target(target) {
            Ok((delay, message)) => {
                log.request(delay, &message);
                let due = now.checked_add(Duration::from_millis(delay));
                self.answer("200 OK", &message, keep_alive, due);
            }
            Err(refusal) => self.refuse(refusal, keep_alive, now),
        }
    }

    fn refuse(&mut self, (status, why): Refusal, keep_alive: bool, now: Instant) {
        self.answer(status, &format!("{status}: {why}\n"), keep_alive, Some(now));
    }

    fn answer(&mut self, status: &str, body: &str, keep_alive: bool, due: Option<Instant>) {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\
             content-type: text/plain; charset=utf-8\r\n{}connection: {}\r\n\r\n",
            body.len(),
            if status == NOT_ALLOWED.0 {
                "allow: GET\r\n"
            } else {
                ""
            },
            if keep_alive { "keep-alive" } else { "close" },
        );
        self.head_len = head.len();
        self.output = [head.as_bytes(), body.as_bytes()].concat();
        self.released = 0;
        self.sent = 0;
        self.last = !keep_alive;
        self.enter(State::Delay, due);
    }
}

/// A status, and what to tell the client with it.
type Refusal = (&'static str, &'static str);

const BAD_REQUEST: Refusal = ("400 Bad Request", "this is not HTTP/1.1 or 1.0");
const BAD_ESCAPE: Refusal = (
    "400 Bad Request",
    "% needs two hex digits, and the message UTF-8",
);
const NOT_FOUND: Refusal = ("404 Not Found", "the path is /{delay in ms}/{message}");
const NOT_ALLOWED: Refusal = ("405 Method Not Allowed", "the method is GET");
const TIMEOUT: Refusal = (
    "408 Request Timeout",
    "the head did not end within 10 seconds",
);
const TOO_LARGE: Refusal = (
    "431 Request Header Fields Too Large",
    "a head has 8 KiB at most",
);

/// Returns the target of a request, and whether the connection may go on after it. It may not after
/// a refusal, or a body: nobody reads to where the next head would begin.
fn parse_head(head: &str) -> Result<(&str, bool), Refusal> {
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, target, version) = match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(target), Some(version), None) => (method, target, version),
        _ => return Err(BAD_REQUEST),
    };
    let mut keep_alive = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ => return Err(BAD_REQUEST),
    };
    // Bytes that are not UTF-8 have become U+FFFD. In a header they do not matter.
    if !is_token(method) || target.contains(['\r', '\u{fffd}']) {
        return Err(BAD_REQUEST);
    }
    let mut close = false;
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(BAD_REQUEST)?;
        match name.to_ascii_lowercase().as_str() {
            name if !is_token(name) => return Err(BAD_REQUEST),
            "connection" => {
                for option in value.split(',').map(str::trim) {
                    close |= option.eq_ignore_ascii_case("close");
                    keep_alive |= option.eq_ignore_ascii_case("keep-alive");
                }
            }
            "content-length" | "transfer-encoding" => close |= value.trim() != "0",
            _ => {}
        }
    }
    match method {
        "GET" => Ok((target, keep_alive && !close)),
        _ => Err(NOT_ALLOWED),
    }
}

/// Reads `/{delay}/{message}`, with or without a query behind it.
fn parse_target(target: &str) -> Result<(u64, String), Refusal> {
    let path = target
        .split('?')
        .next()
        .and_then(|path| path.strip_prefix('/'));
    let (delay, message) = path
        .and_then(|path| path.split_once('/'))
        .ok_or(NOT_FOUND)?;
    if message.is_empty() || message.contains('/') || delay.starts_with('+') {
        return Err(NOT_FOUND);
    }
    let delay = delay.parse().map_err(|_| NOT_FOUND)?;
    Ok((delay, percent_decode(message).ok_or(BAD_ESCAPE)?))
}

/// Returns `None` for a `%` without two hexadecimal digits behind it, and for bytes that are not
/// UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        decoded.push(match byte {
            b'%' => (digit()? * 16 + digit()?) as u8,
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

/// A method, or the name of a header, by RFC 9110.
fn is_token(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

/// Returns `text` with its control characters escaped, so that it cannot steer the terminal that it
/// is printed on.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() {
            true => printable.extend(char.escape_default()),
            false => printable.push(char),
        }
    }
    printable
}
