//! One connection and its states.

use super::http::{self, Request};
use super::{Event, Interest, Limits, Log};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A connection to a client.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    /// When the state ends at the latest. `None` if the clock cannot represent that time.
    pub deadline: Option<Instant>,
    /// In the form that the log shows.
    address: String,
    state: State,
    /// Bytes received, but not yet taken as a request.
    input: Vec<u8>,
    /// End of file was read.
    ended: bool,
}

#[derive(Debug)]
enum State {
    /// Waits for a request.
    Receive,
    /// Waits until the answer is due.
    Delay(Request),
    /// Sends the answer, starting at `sent`. `last`: it is the last answer on this connection.
    Send {
        answer: Vec<u8>,
        sent: usize,
        last: bool,
    },
    /// Has sent the last answer and shut down its sending side; waits until the client closes.
    Close,
}

impl Client {
    pub fn new(stream: TcpStream, address: SocketAddr, limits: &Limits) -> io::Result<Client> {
        stream.set_nonblocking(true)?;
        // Without this, the second answer to a client that pipelines waits until the client has
        // acknowledged the first, up to 40 ms.
        stream.set_nodelay(true)?;
        Ok(Client {
            stream,
            deadline: Instant::now().checked_add(limits.receive),
            address: address.to_string(),
            state: State::Receive,
            input: Vec::new(),
            ended: false,
        })
    }

    /// What this state waits for. The registration is level-triggered, so the interest must contain
    /// only what the state handles.
    pub fn interest(&self, limits: &Limits) -> Interest {
        match self.state {
            // Never both: do not read from a client that does not read.
            State::Send { .. } => Interest::WRITABLE,
            _ if self.ended || self.room(limits) == 0 => Interest::from(0),
            _ => Interest::READABLE,
        }
    }

    /// Reads once, so that no client delays the others. Returns false if the client is gone.
    pub fn receive(&mut self, event: &Event, limits: &Limits) -> bool {
        // A reset. A hang-up without an error is the client's end of file in `Close`: then both
        // directions are shut down, but earlier input is still unread.
        if event.is_error() {
            return false;
        }
        if !event.is_readable() {
            return true;
        }
        let mut buffer = [0; 2048];
        let room = self.room(limits).min(buffer.len());
        match self.stream.read(&mut buffer[..room]) {
            Ok(0) => self.ended = true,
            Ok(_) if matches!(self.state, State::Close) => {}
            Ok(count) => {
                self.input.reserve_exact(count); // Otherwise the vector could double its capacity.
                self.input.extend_from_slice(&buffer[..count]);
            }
            Err(error) => return is_temporary(&error),
        }
        true
    }

    /// Goes from state to state until it has to wait. Returns false when the connection is over.
    pub fn advance(&mut self, limits: &Limits, log: &mut Log<impl Write>) -> bool {
        let now = Instant::now();
        loop {
            let due = self.deadline.is_some_and(|deadline| deadline <= now);
            match &mut self.state {
                State::Receive => {
                    let request = Request::take(&mut self.input, limits.head, self.ended);
                    let request = match request {
                        Some(request) => request,
                        None if self.input.is_empty() && (self.ended || due) => return false,
                        None if due => Request::refused(http::TIMEOUT, &self.input),
                        None => return true,
                    };
                    let mut delay = Duration::ZERO;
                    if let Ok((millis, message)) = &request.asked {
                        log.request(*millis, message, &self.address);
                        delay = Duration::from_millis(*millis);
                    }
                    self.enter(State::Delay(request), now.checked_add(delay));
                }
                State::Delay(request) if due => {
                    let (answer, last) = (request.answer(), request.last);
                    let state = State::Send {
                        answer,
                        sent: 0,
                        last,
                    };
                    self.enter(state, now.checked_add(limits.send));
                }
                State::Delay(_) => return true,
                State::Send { answer, sent, last } => match self.stream.write(&answer[*sent..]) {
                    Ok(count) if *sent + count < answer.len() => *sent += count,
                    Ok(_) if *last => {
                        // Closing at once, with input left unread in the kernel, would reset the
                        // connection, and the answer might be lost.
                        if self.stream.shutdown(Shutdown::Write).is_err() {
                            return false;
                        }
                        self.input = Vec::new();
                        self.enter(State::Close, now.checked_add(limits.close));
                    }
                    Ok(_) => self.enter(State::Receive, now.checked_add(limits.receive)),
                    Err(error) => return is_temporary(&error) && !due,
                },
                State::Close => return !self.ended && !due,
            }
        }
    }

    fn enter(&mut self, state: State, deadline: Option<Instant>) {
        self.state = state;
        self.deadline = deadline;
    }

    /// How many bytes may be read: the input is at most as long as the longest request.
    fn room(&self, limits: &Limits) -> usize {
        limits.head.saturating_sub(self.input.len())
    }
}

/// Returns true if the call did nothing and can be retried.
fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
