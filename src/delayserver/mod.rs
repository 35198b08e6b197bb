//! A replacement for the book's delay server: it answers `GET /{delay in ms}/{message}` with the
//! message after the delay.
//!
//! It is built on [`Poll`] itself: one thread, one queue, any number of clients. This file is
//! the event loop. `client.rs` is one connection, `http.rs` and `date.rs` are the protocol.
//!
//! A connection is in one of four states. Each ends with an event or at its deadline:
//!
//! | state | waits for | deadline | at the deadline |
//! |---|---|---|---|
//! | receive | a request | `Limits::receive` | 408, or drop the connection if nothing has arrived |
//! | delay | the time to answer | the delay | send |
//! | send | room to write | `Limits::send` | drop the connection |
//! | close | the client to close too, after the last answer | `Limits::close` | drop the connection |
//!
//! Requests on one connection are answered in order. The server buffers at most `Limits::head`
//! bytes of a client's input; the rest waits in the kernel. Including the answer, the server holds
//! at most 16 KiB for a client that waits.
//!
//! A client that closes its connection during the delay looks like one that has only shut down its
//! sending side and still reads. So its answer is sent when it is due, and then the connection
//! is closed. A reset during the delay ends it at once.

pub(crate) mod client;
pub(crate) mod date;
pub(crate) mod http;

use self::client::Client;
use super::{Event, Events, Interest, Poll, Token, Waker};
use std::collections::BTreeSet;
use std::ffi::c_int;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// A client's token is its index in `DelayServer::clients`, which never equals these two.
const LISTENER: Token = usize::MAX;
const STOP: Token = usize::MAX - 1;

/// A delay server. It listens from the start, and serves when it [runs](DelayServer::run).
#[derive(Debug)]
pub struct DelayServer {
    /// May be changed before the server runs.
    pub limits: Limits,
    poll: Poll,
    listener: TcpListener,
    clients: Vec<Option<Client>>,
    /// The empty slots of `clients`.
    free: Vec<Token>,
    /// The deadlines, the nearest first: one for each client that has one, and one for the listener
    /// while it is paused.
    timers: BTreeSet<(Instant, Token)>,
}

/// Limits on what a client may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest request, in bytes.
    pub head: usize,
    /// The time for a request to arrive.
    pub receive: Duration,
    /// The time for an answer to be sent.
    pub send: Duration,
    /// The time for a client to close after its last answer.
    pub close: Duration,
    /// How long the server stops accepting when it is out of descriptors.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head: 8000, // Twice this, for two requests, or one and an answer, is under 16 KiB.
            receive: Duration::from_secs(10),
            send: Duration::from_secs(10),
            close: Duration::from_secs(1),
            pause: Duration::from_millis(100),
        }
    }
}

impl DelayServer {
    /// Creates a server that listens on `address`; with port 0 the kernel picks one.
    ///
    /// # Errors
    ///
    /// `AddrInUse`: another program listens there. `PermissionDenied`: a port under 1024.
    /// `InvalidInput` or a resolver's error: not an address. Also those of [`Poll::new`].
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<DelayServer> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        // A client that finds the queue of connections full retries after a second. `bind` sets its
        // length to 128; a second call to listen(2) raises that, up to `net.core.somaxconn`.
        // SAFETY: the call takes no pointer.
        unsafe { listen(listener.as_raw_fd(), 4096) };
        let poll = Poll::new()?;
        poll.registry()
            .register(&listener, LISTENER, Interest::READABLE)?;
        Ok(DelayServer {
            limits: Limits::default(),
            poll,
            listener,
            clients: Vec::new(),
            free: Vec::new(),
            timers: BTreeSet::new(),
        })
    }

    /// Returns the address that the server listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns a waker that ends [`run`](DelayServer::run). Keep it alive until then.
    pub fn stopper(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), STOP)
    }

    /// Serves until a [stopper](DelayServer::stopper) wakes it. Writes a line to `log` for each
    /// valid request when its delay begins: its number since the start, the delay, the message, and
    /// the client's address.
    ///
    /// # Errors
    ///
    /// Those of [`Poll::poll`]. An error of one client, or of `log`, does not end the server. But
    /// all clients wait while `log` blocks.
    pub fn run(mut self, log: impl Write) -> io::Result<()> {
        let mut log = Log {
            out: BufWriter::new(log),
            requests: 0,
            warned: false,
        };
        let mut events = Events::with_capacity(1024);
        loop {
            let _ = log.out.flush(); // one write for all the lines of a round
            let timeout = self
                .timers
                .first()
                .map(|&(deadline, _)| deadline.saturating_duration_since(Instant::now()));
            self.poll.poll(&mut events, timeout)?;
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(&mut log),
                    STOP => return Ok(()),
                    token => self.serve(token, Some(event), &mut log),
                }
            }
            let now = Instant::now();
            while let Some(&(_, token)) = self.timers.first().filter(|timer| timer.0 <= now) {
                match token {
                    LISTENER => self.resume_accepting(),
                    token => self.serve(token, None, &mut log),
                }
            }
        }
    }

    fn accept(&mut self, log: &mut Log<impl Write>) {
        // At most 64, so that the clients get their turn. The listener is level-triggered, so the
        // next `poll` reports it again.
        for _ in 0..64 {
            let accepted = self.listener.accept();
            let admitted = accepted.and_then(|(stream, address)| self.admit(stream, address));
            match admitted.map_err(|error| (error.kind(), error)) {
                Ok(()) => {}
                Err((ErrorKind::WouldBlock, _)) => return,
                Err((ErrorKind::Interrupted | ErrorKind::ConnectionAborted, _)) => {}
                Err((_, error)) => {
                    log.cannot_accept(&error);
                    return self.pause_accepting();
                }
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, address: SocketAddr) -> io::Result<()> {
        let client = Client::new(stream, address, &self.limits)?;
        // A slot can be reused in the same round: a client is removed on its own event (a round has
        // at most one) or at its deadline, after all events. So the round has no event left for the
        // previous client.
        let token = self.free.last().copied().unwrap_or(self.clients.len());
        let interest = client.interest(&self.limits);
        self.poll
            .registry()
            .register(&client.stream, token, interest)?;
        self.set_timer(token, None, client.deadline);
        match self.free.pop() {
            Some(token) => self.clients[token] = Some(client),
            None => self.clients.push(Some(client)),
        }
        Ok(())
    }

    /// Without free descriptors or memory, the connection that cannot be accepted keeps the
    /// listener readable, and the loop would spin.
    fn pause_accepting(&mut self) {
        self.wait_for_connections(Interest::from(0));
        let resume = Instant::now().checked_add(self.limits.pause);
        self.set_timer(LISTENER, None, resume);
    }

    fn resume_accepting(&mut self) {
        self.timers.pop_first();
        self.wait_for_connections(Interest::READABLE);
    }

    fn wait_for_connections(&self, interest: Interest) {
        let registry = self.poll.registry();
        // This cannot fail, because the listener is registered.
        let _ = registry.reregister(&self.listener, LISTENER, interest);
    }

    /// Advances a client after an event or at its deadline.
    fn serve(&mut self, token: Token, event: Option<&Event>, log: &mut Log<impl Write>) {
        let Some(Some(client)) = self.clients.get_mut(token) else {
            return;
        };
        let (deadline, interest) = (client.deadline, client.interest(&self.limits));
        let received = event.is_none_or(|event| client.receive(event, &self.limits));
        let mut stays = received && client.advance(&self.limits, log);
        let wanted = client.interest(&self.limits);
        if stays && wanted != interest {
            stays = self
                .poll
                .registry()
                .reregister(&client.stream, token, wanted)
                .is_ok();
        }
        let next_deadline = client.deadline.filter(|_| stays);
        if !stays {
            // The token is used again, so its events must end now, not only when a child process
            // has closed its duplicate of the stream.
            let _ = self.poll.registry().deregister(&client.stream);
            self.clients[token] = None;
            self.free.push(token);
        }
        self.set_timer(token, deadline, next_deadline);
    }

    fn set_timer(&mut self, token: Token, old: Option<Instant>, new: Option<Instant>) {
        if old != new {
            if let Some(deadline) = old {
                self.timers.remove(&(deadline, token));
            }
            if let Some(deadline) = new {
                self.timers.insert((deadline, token));
            }
        }
    }
}

/// What the server prints.
pub(crate) struct Log<W: Write> {
    out: BufWriter<W>,
    requests: u64,
    warned: bool,
}

impl<W: Write> Log<W> {
    fn request(&mut self, delay: u64, message: &str, client: &str) {
        self.requests += 1;
        // Control characters could disturb the terminal.
        let message = message.replace(char::is_control, "\u{fffd}");
        let _ = writeln!(
            self.out,
            "#{} - {delay}ms: {message} ({client})",
            self.requests
        );
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

unsafe extern "C" {
    fn listen(fd: c_int, backlog: c_int) -> c_int;
}
