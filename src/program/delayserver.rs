//! A replacement for the book's delay server: it answers `GET /{delay in ms}/{message}` with the
//! message after the delay. One thread serves any number of clients.
//!
//! A client sends one request. Each of its states ends with an event or at a deadline:
//!
//! | state | waits for | deadline | at the deadline |
//! |---|---|---|---|
//! | `Receive` | the request | `Limits::patience` | answer 408, or close if nothing has arrived |
//! | `Delay` | the time to answer | the delay | send the answer |
//! | `Send` | room to write | `Limits::patience` | close |
//! | `Finish` | the client to close | `Limits::finish` | close |
//!
//! No client makes the others wait for long: an event or a deadline leads to at most one read and
//! one write, and a turn of the loop handles at most `BUDGET` new connections and deadlines.

use epollet::{Events, Interest, Poll, Token, Waker};
use std::collections::BTreeSet;
use std::ffi::c_int;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// A client's token is the number of its descriptor, which never equals these two. A new client can
/// get a number within the batch that closed the old one. No event of the old one is left then: a
/// batch has one event for each client, and only that event closes it.
const LISTENER: Token = usize::MAX;
const STOP: Token = usize::MAX - 1;
const BUDGET: usize = 64;
/// A request that has not ended after this many bytes is refused.
const LONGEST_REQUEST: usize = 8000;

/// A delay server. It listens from the start, and serves when it [runs](DelayServer::run).
pub struct DelayServer {
    pub limits: Limits,
    poll: Poll,
    listener: TcpListener,
    /// Indexed by token. The kernel gives out the lowest free descriptor, so this stays short.
    clients: Vec<Option<Client>>,
    /// The earliest first: one for each client, and one for the listener while it is paused.
    deadlines: BTreeSet<(Instant, Token)>,
}

pub struct Limits {
    /// The time for a request to arrive, and for an answer to be sent.
    pub patience: Duration,
    /// The time for a client to close after the answer.
    pub finish: Duration,
    /// How long the server stops accepting when it is out of descriptors. With `None`, it ends.
    pub pause: Option<Duration>,
}

impl DelayServer {
    /// Creates a server that listens on `address`; with port 0 the kernel picks one.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<DelayServer> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        // A client that finds the listen queue full retries after a second. `bind` sets its length
        // to 128; a second call to listen(2) raises that, up to `net.core.somaxconn`.
        // SAFETY: the call takes no pointer.
        unsafe { listen(listener.as_raw_fd(), 4096) };
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&listener, LISTENER, Interest::READABLE)?;
        Ok(DelayServer {
            limits: Limits {
                patience: Duration::from_secs(10),
                finish: Duration::from_secs(1),
                pause: Some(Duration::from_millis(100)),
            },
            poll,
            listener,
            clients: Vec::new(),
            deadlines: BTreeSet::new(),
        })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns a waker that ends [`run`](DelayServer::run). Keep it alive until then.
    #[allow(dead_code)] // A program that includes this file may end with its process.
    pub fn stopper(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), STOP)
    }

    /// Serves until a [stopper](DelayServer::stopper) wakes it. Writes a line to `log` for each
    /// valid request when its delay begins. All clients wait while `log` blocks.
    pub fn run(mut self, log: impl Write + 'static) -> io::Result<()> {
        let mut log = Log {
            out: BufWriter::new(Box::new(log)),
            requests: 0,
            warned: false,
        };
        let mut events = Events::with_capacity(256);
        loop {
            let _ = log.out.flush(); // one write for all the lines of a turn
            let now = Instant::now();
            let timeout = self
                .deadlines
                .first()
                .map(|next| next.0.saturating_duration_since(now));
            self.poll.poll(&mut events, timeout)?;
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(&mut log)?,
                    STOP => return Ok(()),
                    token => self.serve(token, false, &mut log),
                }
            }
            let now = Instant::now();
            for _ in 0..BUDGET {
                let Some(&(_, token)) = self.deadlines.first().filter(|next| next.0 <= now) else {
                    break;
                };
                match token {
                    LISTENER => self.accept_again()?,
                    token => self.serve(token, true, &mut log),
                }
            }
        }
    }

    /// Accepts connections. The listener is level-triggered, so the next poll reports it again if
    /// the budget leaves some.
    fn accept(&mut self, log: &mut Log) -> io::Result<()> {
        for count in 0..BUDGET {
            let accepted = self.listener.accept();
            match accepted.and_then(|(stream, address)| self.add(stream, address)) {
                Ok(()) => {}
                Err(error)
                    if would_block(&error) || error.kind() == ErrorKind::ConnectionAborted =>
                {
                    break;
                }
                // accept(2) takes a descriptor before it looks for a connection, so without one it
                // fails even if none waits. The next poll shows whether one does.
                Err(_) if count > 0 => break,
                Err(error) => return self.pause(error, log),
            }
        }
        Ok(())
    }

    fn add(&mut self, stream: TcpStream, address: SocketAddr) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let token = stream.as_raw_fd() as Token;
        let client = Client {
            stream,
            address,
            state: State::Receive,
            deadline: Instant::now() + self.limits.patience,
            bytes: Vec::new(),
        };
        let registry = self.poll.registry();
        registry.register(&client.stream, token, client.interest())?;
        self.deadlines.insert((client.deadline, token));
        if self.clients.len() <= token {
            self.clients.resize_with(token + 1, || None);
        }
        self.clients[token] = Some(client);
        Ok(())
    }

    /// Stops accepting for a while. Without a free descriptor, the connection that cannot be
    /// accepted keeps the listener readable, and the loop would spin.
    fn pause(&mut self, error: io::Error, log: &mut Log) -> io::Result<()> {
        let Some(pause) = self.limits.pause else {
            return Err(error);
        };
        log.cannot_accept(&error);
        self.deadlines.insert((Instant::now() + pause, LISTENER));
        let registry = self.poll.registry();
        registry.reregister(&self.listener, LISTENER, 0)
    }

    fn accept_again(&mut self) -> io::Result<()> {
        self.deadlines.pop_first();
        let registry = self.poll.registry();
        registry.reregister(&self.listener, LISTENER, Interest::READABLE)
    }

    /// Serves a client at an event, or at its deadline.
    fn serve(&mut self, token: Token, is_due: bool, log: &mut Log) {
        let Some(Some(client)) = self.clients.get_mut(token) else {
            return;
        };
        self.deadlines.remove(&(client.deadline, token));
        let interest = client.interest();
        let mut stays = if is_due {
            client.expire(&self.limits)
        } else {
            client.handle(&self.limits, log)
        };
        if stays && client.interest() != interest {
            let registry = self.poll.registry();
            let changed = registry.reregister(&client.stream, token, client.interest());
            stays = changed.is_ok();
        }
        if stays {
            self.deadlines.insert((client.deadline, token));
        } else {
            self.clients[token] = None; // Closes the stream, which removes its registration.
        }
    }
}

struct Client {
    stream: TcpStream,
    address: SocketAddr,
    state: State,
    deadline: Instant,
    /// In `Receive`, the request so far. In `Delay` and `Send`, the answer that is not sent yet.
    bytes: Vec<u8>,
}

enum State {
    Receive,
    Delay,
    Send,
    Finish,
}

/// Methods that return a bool return false when the connection is over.
impl Client {
    /// The registration is level-triggered, so the interest contains only what the state handles.
    fn interest(&self) -> Interest {
        match self.state {
            State::Receive | State::Finish => Interest::READABLE,
            State::Delay => Interest::from(0), // Errors and hang-ups are still reported.
            State::Send => Interest::WRITABLE,
        }
    }

    fn handle(&mut self, limits: &Limits, log: &mut Log) -> bool {
        match self.state {
            State::Receive => self.receive(limits, log),
            State::Delay => false, // a reset
            State::Send => self.send(limits),
            State::Finish => match self.stream.read(&mut [0; 2048]) {
                Ok(count) => count > 0,
                Err(error) => would_block(&error),
            },
        }
    }

    /// Handles the deadline of the state.
    fn expire(&mut self, limits: &Limits) -> bool {
        match self.state {
            State::Receive if self.bytes.is_empty() => false,
            State::Receive => self.refuse(TIMEOUT, limits),
            State::Delay => {
                self.enter(State::Send, limits.patience);
                self.send(limits)
            }
            State::Send | State::Finish => false,
        }
    }

    fn receive(&mut self, limits: &Limits, log: &mut Log) -> bool {
        let mut buffer = [0; 2048];
        match self.stream.read(&mut buffer) {
            Ok(0) if self.bytes.is_empty() => return false,
            Ok(0) => return self.refuse(NOT_HTTP, limits),
            Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
            Err(error) => return would_block(&error),
        }
        match parse(&self.bytes) {
            Ok(None) => {}
            Ok(Some((delay, message))) => {
                log.request(delay, &message, self.address);
                self.bytes = answer("200 OK", &message, &self.bytes);
                self.enter(State::Delay, Duration::from_millis(delay));
                if delay == 0 {
                    return self.expire(limits); // At once: that saves two changes of the interest.
                }
            }
            Err(why) => return self.refuse(why, limits),
        }
        true
    }

    fn refuse(&mut self, (status, why): Refusal, limits: &Limits) -> bool {
        self.bytes = answer(status, &format!("{status}: {why}\n"), &self.bytes);
        self.enter(State::Send, limits.patience);
        self.send(limits)
    }

    fn send(&mut self, limits: &Limits) -> bool {
        match self.stream.write(&self.bytes) {
            Ok(count) => self.bytes.drain(..count),
            Err(error) => return would_block(&error),
        };
        if !self.bytes.is_empty() {
            return true;
        }
        // Closing now, with unread input, would reset the connection, and the client could lose the
        // answer. So the server reads until the client closes, too.
        self.enter(State::Finish, limits.finish);
        self.stream.shutdown(Shutdown::Write).is_ok()
    }

    fn enter(&mut self, state: State, time: Duration) {
        self.state = state;
        self.deadline = Instant::now() + time;
    }
}

/// Returns true if the socket is not ready: the report was a hint.
fn would_block(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

/// What the server prints. A failed write is ignored.
struct Log {
    out: BufWriter<Box<dyn Write>>,
    requests: u64,
    warned: bool,
}

impl Log {
    fn request(&mut self, delay: u64, message: &str, client: SocketAddr) {
        self.requests += 1;
        // Control characters and invisible ones could disturb the terminal or forge a line.
        let (number, message) = (self.requests, message.escape_debug());
        let _ = writeln!(self.out, "#{number} - {delay}ms: {message} ({client})");
    }

    fn cannot_accept(&mut self, error: &io::Error) {
        if !self.warned {
            let _ = writeln!(
                self.out,
                "cannot accept a client now: {error} (reported once)"
            );
        }
        self.warned = true;
    }
}

// The rest is HTTP, as little as a delay server needs: the request line and the end of the head.

/// A status, and its explanation.
type Refusal = (&'static str, &'static str);

const NOT_HTTP: Refusal = ("400 Bad Request", "this is not HTTP/1.1 or HTTP/1.0");
const BAD_ESCAPE: Refusal = (
    "400 Bad Request",
    "the message is not percent-encoded UTF-8",
);
const NOT_FOUND: Refusal = ("404 Not Found", "the path is /{delay in ms}/{message}");
const NOT_ALLOWED: Refusal = ("405 Method Not Allowed", "the method is GET or HEAD");
const TIMEOUT: Refusal = ("408 Request Timeout", "the request took too long to arrive");
const TOO_LONG: Refusal = (
    "431 Request Header Fields Too Large",
    "the request is too long",
);

/// Returns the delay in milliseconds and the message, or `None` if the request is not complete.
fn parse(bytes: &[u8]) -> Result<Option<(u64, String)>, Refusal> {
    let text = String::from_utf8_lossy(bytes);
    if text.contains("\n\r\n") || text.contains("\n\n") {
        return parse_line(text.lines().next().unwrap_or_default()).map(Some);
    }
    // A client that speaks TLS waits for an answer to its first byte, 0x16.
    if text.starts_with(|first: char| first.is_ascii_control()) {
        return Err(NOT_HTTP);
    }
    if bytes.len() >= LONGEST_REQUEST {
        return Err(TOO_LONG);
    }
    Ok(None)
}

fn parse_line(line: &str) -> Result<(u64, String), Refusal> {
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.0" | "HTTP/1.1"] = words[..] else {
        return Err(NOT_HTTP);
    };
    // Bytes that are not UTF-8 have become U+FFFD.
    if line.contains(|char: char| char.is_control() || char == '\u{fffd}') {
        return Err(NOT_HTTP);
    }
    if method != "GET" && method != "HEAD" {
        return Err(NOT_ALLOWED);
    }
    let path = target.strip_prefix('/').ok_or(NOT_FOUND)?;
    let (delay, message) = path.split_once('/').ok_or(NOT_FOUND)?;
    if delay.starts_with('+') || message.is_empty() || message.contains('/') {
        return Err(NOT_FOUND);
    }
    let delay = delay.parse().map_err(|_| NOT_FOUND)?;
    Ok((delay, percent_decode(message).ok_or(BAD_ESCAPE)?))
}

/// Returns `None` for a `%` without two hex digits, and for bytes that are not UTF-8.
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

/// `Allow` belongs to 405, and does no harm in other answers.
fn answer(status: &str, message: &str, request: &[u8]) -> Vec<u8> {
    let length = message.len();
    let is_head = request.starts_with(b"HEAD ");
    let content = if is_head { "" } else { message };
    format!(
        "HTTP/1.1 {status}\r\nAllow: GET, HEAD\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{content}"
    )
    .into_bytes()
}

unsafe extern "C" {
    fn listen(fd: c_int, backlog: c_int) -> c_int;
}
