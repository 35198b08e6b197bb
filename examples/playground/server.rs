//! The web server: one thread, one queue, and a bench for each visitor.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /events` | server-sent events: the number of a new bench, and its state after each step |
//! | `POST /bench/ID` | does the action in the body |
//! | `GET /bench/ID` | what was done, as a Rust program |
//!
//! A bench belongs to the connection that receives its events, and ends with it: a visitor who
//! leaves the page leaves nothing behind. Any other connection carries one request.

use super::http::{self, Answer, Request, refuse, refuse_method};
use super::take_away::program;
use super::visitor::{Visitor, hello};
use epollet::{Events, Interest, Poll, Token};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

const PAGE: &str = include_str!("page.html");
/// A client's token is its index in `Server::clients`, which never equals this.
const LISTENER: Token = usize::MAX;

// A visitor has 15 descriptors at most, so this many fit in the 1,024 that a shell usually gives.
pub const VISITORS: usize = 32;
pub const CLIENTS: usize = 256;
/// Bytes that wait for a browser that does not read.
const OUTPUT: usize = 1 << 20;

/// The time for a request to arrive, and for an answer to be sent.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time for a client to close after its answer.
const CLOSE: Duration = Duration::from_secs(1);
/// How long the server stops accepting when it is out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

pub struct Server {
    poll: Poll,
    listener: TcpListener,
    clients: Vec<Option<Client>>,
    /// Accepts nobody until then.
    paused: Option<Instant>,
}

struct Client {
    stream: TcpStream,
    state: State,
    /// When the state ends at the latest.
    deadline: Option<Instant>,
    input: Vec<u8>,
    output: Vec<u8>,
}

enum State {
    /// Waits for a request.
    Receive,
    /// Sends the answer.
    Send,
    /// Waits until the client closes. Closing first, with unread input, would reset
    /// the connection, and the answer might be lost.
    Close,
    /// Receives events.
    Visit(String, Box<Visitor>),
}

/// What a client does after an event.
enum Next {
    Wait,
    Ask(Result<Request, Answer>),
    End,
}

impl Server {
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Server> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let poll = Poll::new()?;
        poll.registry()
            .register(&listener, LISTENER, Interest::READABLE)?;
        Ok(Server {
            poll,
            listener,
            clients: Vec::new(),
            paused: None,
        })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the process ends.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        loop {
            let deadlines = self
                .clients
                .iter()
                .flatten()
                .filter_map(|client| client.deadline);
            let next = deadlines.chain(self.paused).min();
            let timeout = next.map(|next| next.saturating_duration_since(Instant::now()));
            self.poll.poll(&mut events, timeout)?;
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    token => self.serve(token),
                }
            }
            self.expire(Instant::now());
        }
    }

    /// Ends what is overdue.
    fn expire(&mut self, now: Instant) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        for token in 0..self.clients.len() {
            match &mut self.clients[token] {
                Some(client) if !due(client.deadline) => {}
                // A browser also opens connections that it does not use: they get no answer.
                Some(client)
                    if matches!(client.state, State::Receive) && !client.input.is_empty() =>
                {
                    let text = "The request did not arrive in time. Send all of it again.";
                    client.send(&refuse("408 Request Timeout", text));
                    self.serve(token);
                }
                slot => *slot = None,
            }
        }
        if due(self.paused) {
            self.pause(None);
        }
    }

    /// Accepts one client. While more wait, the next poll reports the listener again.
    fn accept(&mut self) {
        let accepted = self.listener.accept();
        match accepted.and_then(|(stream, _)| self.admit(stream)) {
            Err(error) if is_temporary(&error) || error.kind() == ErrorKind::ConnectionAborted => {}
            Err(_) => self.pause(Some(Instant::now() + PAUSE)),
            Ok(()) => {}
        }
    }

    /// Without a free descriptor, the connection that cannot be accepted keeps the listener
    /// readable, and the loop would spin.
    fn pause(&mut self, until: Option<Instant>) {
        self.paused = until;
        let interest = match until {
            Some(_) => Interest::from(0),
            None => Interest::READABLE,
        };
        // This cannot fail, because the listener is registered.
        let _ = self
            .poll
            .registry()
            .reregister(&self.listener, LISTENER, interest);
    }

    fn admit(&mut self, stream: TcpStream) -> io::Result<()> {
        if self.clients.iter().flatten().count() == CLIENTS {
            // Connections that send nothing must not keep a visitor out: of those that are no
            // visitors, the one that has had the most time makes room.
            let clients = self.clients.iter().enumerate();
            let deadlines = clients.filter_map(|(token, it)| Some((it.as_ref()?.deadline?, token)));
            if let Some((_, token)) = deadlines.min() {
                self.clients[token] = None;
            }
        }
        stream.set_nonblocking(true)?;
        // An event of this round for an earlier client of the slot does no harm: reading says
        // WouldBlock.
        let free = self.clients.iter().position(Option::is_none);
        let token = free.unwrap_or(self.clients.len());
        self.poll
            .registry()
            .register(&stream, token, Interest::READABLE)?;
        let client = Some(Client {
            stream,
            state: State::Receive,
            deadline: Some(Instant::now() + PATIENCE),
            input: Vec::new(),
            output: Vec::new(),
        });
        match free {
            Some(token) => self.clients[token] = client,
            None => self.clients.push(client),
        }
        Ok(())
    }

    /// Advances a client until it has to wait.
    fn serve(&mut self, token: Token) {
        loop {
            let Some(client) = self.clients.get_mut(token).and_then(Option::as_mut) else {
                return;
            };
            match client.advance() {
                Next::Wait => {
                    let (stream, interest) = (&client.stream, client.interest());
                    // This cannot fail, because the stream is registered.
                    let _ = self.poll.registry().reregister(stream, token, interest);
                    return;
                }
                Next::Ask(request) => {
                    let answer = match request {
                        Ok(request) => self.answer(token, request),
                        Err(refusal) => Some(refusal),
                    };
                    if let (Some(answer), Some(client)) = (answer, &mut self.clients[token]) {
                        client.send(&answer);
                    }
                }
                Next::End => self.clients[token] = None,
            }
        }
    }

    /// Does what a request asks for. `None`: the client has become a visitor.
    fn answer(&mut self, token: Token, request: Request) -> Option<Answer> {
        let client = self.clients[token].as_mut()?;
        if !client
            .stream
            .local_addr()
            .is_ok_and(|server| request.is_own(server))
        {
            let text = "Only the page of this server can use it. Open the address that it printed.";
            return Some(refuse("403 Forbidden", text));
        }
        let parts: Vec<&str> = request.path.split('/').collect();
        Some(match (&*request.method, &parts[..]) {
            ("GET", ["", ""]) => Answer::new("200 OK", http::HTML, PAGE.into()),
            ("GET", ["", "events"]) => return self.visit(token),
            ("GET", ["", "bench", id]) => match self.visitor(id) {
                Some((_, visitor, _)) => {
                    Answer::new("200 OK", http::TEXT, program(&visitor.bench.steps))
                }
                None => no_bench(),
            },
            ("POST", ["", "bench", id]) => match self.visitor(id) {
                Some((token, visitor, output)) => match visitor.act(&request.body) {
                    Ok(states) => {
                        states.iter().for_each(|state| push(output, "state", state));
                        self.serve(token);
                        Answer::new("204 No Content", "", String::new())
                    }
                    Err(sentence) => refuse("422 Unprocessable Content", &sentence),
                },
                None => no_bench(),
            },
            (_, ["", "" | "events"]) => refuse_method("GET"),
            (_, ["", "bench", _]) => refuse_method("GET, POST"),
            _ => refuse(
                "404 Not Found",
                "Nothing is here. The page is at /: open it.",
            ),
        })
    }

    fn visit(&mut self, token: Token) -> Option<Answer> {
        let is_visitor = |client: &&Client| matches!(client.state, State::Visit(..));
        if self.clients.iter().flatten().filter(is_visitor).count() == VISITORS {
            let text = "All benches are taken. Close another tab, and load this one again.";
            return Some(refuse("503 Service Unavailable", text));
        }
        let visitor = match Visitor::new() {
            Ok(visitor) => visitor,
            Err(sentence) => return Some(refuse("503 Service Unavailable", &sentence)),
        };
        let client = self.clients[token].as_mut()?;
        let id = format!("{:016x}", RandomState::new().hash_one(token));
        client.output = http::EVENTS.into();
        push(&mut client.output, "hello", &hello(&id));
        push(&mut client.output, "state", &visitor.state());
        client.deadline = None;
        client.state = State::Visit(id, Box::new(visitor));
        None
    }

    /// The visitor with this bench: token, visitor, output.
    fn visitor(&mut self, wanted: &str) -> Option<(Token, &mut Visitor, &mut Vec<u8>)> {
        let mut clients = self.clients.iter_mut().enumerate();
        clients.find_map(|(token, client)| match client {
            Some(Client {
                state: State::Visit(id, visitor),
                output,
                ..
            }) if id == wanted => Some((token, &mut **visitor, output)),
            _ => None,
        })
    }
}

impl Client {
    /// Reads and writes once, or until it would block.
    fn advance(&mut self) -> Next {
        let done = match self.state {
            State::Receive => return self.receive(),
            State::Send => self.flush(),
            State::Close => self.read().map(|_| false),
            // A browser sends nothing here before it leaves.
            State::Visit(..) => match self.read() {
                Ok(_) => return Next::End,
                Err(error) if is_temporary(&error) => self.flush().map(|_| false),
                Err(error) => Err(error),
            },
        };
        match done {
            Ok(true) => {
                self.state = State::Close;
                self.deadline = Some(Instant::now() + CLOSE);
                match self.stream.shutdown(Shutdown::Write) {
                    Ok(()) => Next::Wait,
                    Err(_) => Next::End,
                }
            }
            Ok(false) => Next::Wait,
            Err(error) if is_temporary(&error) => Next::Wait,
            Err(_) => Next::End,
        }
    }

    fn receive(&mut self) -> Next {
        match self.read() {
            Ok(bytes) => self.input.extend(bytes),
            Err(error) if is_temporary(&error) => return Next::Wait,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof && !self.input.is_empty() => {
                let text = "The request ends too early. Send all of it.";
                return Next::Ask(Err(refuse("400 Bad Request", text)));
            }
            Err(_) => return Next::End,
        }
        match Request::parse(&self.input) {
            Ok(None) => Next::Wait,
            Ok(Some(request)) => Next::Ask(Ok(request)),
            Err(refusal) => Next::Ask(Err(refusal)),
        }
    }

    /// Reads once, so that no client delays the others. End of file is an error.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => Ok(buffer[..count].to_vec()),
        }
    }

    fn send(&mut self, answer: &Answer) {
        self.output = answer.bytes();
        self.input = Vec::new();
        self.state = State::Send;
        self.deadline = Some(Instant::now() + PATIENCE);
    }

    /// Returns true when everything is sent.
    fn flush(&mut self) -> io::Result<bool> {
        if self.output.len() > OUTPUT {
            return Err(ErrorKind::OutOfMemory.into()); // The browser does not read.
        }
        while !self.output.is_empty() {
            let count = self.stream.write(&self.output)?;
            self.output.drain(..count);
        }
        Ok(true)
    }

    /// What this state waits for. The registration is level-triggered, so it must contain only what
    /// the state handles.
    fn interest(&self) -> Interest {
        match self.state {
            State::Receive | State::Close => Interest::READABLE,
            State::Send => Interest::WRITABLE,
            State::Visit(..) if self.output.is_empty() => Interest::READABLE,
            State::Visit(..) => Interest::READABLE | Interest::WRITABLE,
        }
    }
}

/// Adds a server-sent event.
fn push(output: &mut Vec<u8>, event: &str, data: &str) {
    output.extend_from_slice(format!("event: {event}\ndata: {data}\n\n").as_bytes());
}

fn no_bench() -> Answer {
    refuse("404 Not Found", "This bench is gone. Load the page again.")
}

/// Returns true if the call did nothing and can be retried.
fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
