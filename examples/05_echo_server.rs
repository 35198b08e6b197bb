//! An echo server for many clients on one thread: what it cannot write now, it writes later.
//!
//! ```sh
//! cargo run -q --example 05_echo_server                    # runs its own clients, then exits
//! cargo run -q --example 05_echo_server -- 127.0.0.1:7000  # for: nc 127.0.0.1 7000
//! ```
//!
//! You see 100 clients that half-close after one message (they send no more, but still read), and
//! get it back. Then one client sends 64 MiB and does not read, until the server cannot write and
//! waits for `EPOLLOUT` alone.
//!
//! Comes after `04_lists`. Book: chapter 4, "The main program", and the exercise "a real Write
//! implementation". Exercises that follow: 02_one_client_left, 03_a_slow_reader
//! (`cargo run -q --example exercises 02`).
//!
//! Change next (the answers are at the end of the file):
//! 1. Let `interest` always return `Interest::READABLE | Interest::WRITABLE`.
//! 2. Remove the condition in `echo`, so that it always reads, and let `interest` add `READABLE` to
//!    `WRITABLE`. How much does a slow client cost now, and does it get everything back?

use epollet::{Events, Interest, Poll, Registry, Token};
use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use std::{env, process, thread};

const BUFFER: usize = 16 * 1024;

struct Client {
    stream: TcpStream,
    /// Bytes that have been read but not yet written back.
    pending: Vec<u8>,
}

impl Client {
    /// Never both: do not read from a client that does not read, so that it costs one buffer at
    /// most. And a socket is nearly always writable: ask only if there is something to write.
    fn interest(&self) -> Interest {
        if self.pending.is_empty() {
            Interest::READABLE
        } else {
            Interest::WRITABLE
        }
    }

    /// Reads once if nothing is pending, and writes once. Returns false at end of file.
    fn echo(&mut self) -> io::Result<bool> {
        if self.pending.is_empty() {
            let mut buffer = [0; BUFFER];
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(false);
            }
            self.pending.extend_from_slice(&buffer[..count]);
        }
        let count = self.stream.write(&self.pending)?;
        self.pending.drain(..count);
        Ok(true)
    }
}

/// The event loop: calls `echo` for each event, and reregisters when the interest has changed.
fn serve(listener: &TcpListener) -> io::Result<()> {
    let mut poll = Poll::new()?;
    listener.set_nonblocking(true)?;
    let edge = Interest::READABLE | Interest::EDGE;
    poll.registry().register(listener, LISTENER, edge)?;
    let mut events = Events::with_capacity(256);
    let mut clients = HashMap::new();
    let mut next_token = LISTENER + 1;
    let mut accepted_all = true;
    loop {
        poll.poll(&mut events, (!accepted_all).then_some(ACCEPT_RETRY))?;
        POLLS.fetch_add(1, Relaxed);
        for event in &events {
            if event.token() == LISTENER {
                accepted_all = false;
            } else if let Some(client) = clients.get_mut(&event.token()) {
                if !handle(client, event.token(), poll.registry())? {
                    // Closes the stream: it leaves the interest list.
                    clients.remove(&event.token());
                }
            }
        }
        // After the clients' events, because a client that has left frees a descriptor.
        if !accepted_all {
            accepted_all = accept_all(listener, poll.registry(), &mut clients, &mut next_token)?;
        }
    }
}

const LISTENER: Token = 0;
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The largest number of bytes that were pending for one client.
static MOST_PENDING: AtomicUsize = AtomicUsize::new(0);
static POLLS: AtomicUsize = AtomicUsize::new(0);

/// Handles an event of a client. Returns false when the client is finished.
fn handle(client: &mut Client, token: Token, registry: &Registry) -> io::Result<bool> {
    let before = client.interest();
    match client.echo() {
        Ok(true) => {}
        Ok(false) => return Ok(false),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(_) => return Ok(false), // One broken connection does not end the server.
    }
    MOST_PENDING.fetch_max(client.pending.len(), Relaxed);
    if client.interest() != before {
        registry.reregister(&client.stream, token, client.interest())?;
    }
    Ok(true)
}

/// Accepts until `WouldBlock`. Returns false if `accept` fails otherwise, for example because this
/// process has too many open files (`EMFILE`): the connection then stays in the listener's queue.
/// A level-triggered listener would be reported by every poll until there is a descriptor for it,
/// and the loop would spin. So this one is edge-triggered, and the loop tries again later.
fn accept_all(
    listener: &TcpListener,
    registry: &Registry,
    clients: &mut HashMap<Token, Client>,
    next_token: &mut Token,
) -> io::Result<bool> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => return Ok(error.kind() == ErrorKind::WouldBlock),
        };
        stream.set_nonblocking(true)?;
        let pending = Vec::new();
        let client = Client { stream, pending };
        let token = *next_token;
        *next_token += 1;
        let registered = registry.register(&client.stream, token, client.interest());
        if registered.is_ok() {
            clients.insert(token, client);
        } // Otherwise this client is dropped, and the server goes on.
    }
}

fn main() -> io::Result<()> {
    let addresses: Vec<String> = env::args().skip(1).collect();
    match &addresses[..] {
        [] => demonstrate(),
        [address] => {
            let listener = TcpListener::bind(address).unwrap_or_else(|error| {
                eprintln!("error: cannot listen on {address}: {error}; choose another HOST:PORT");
                process::exit(1);
            });
            say(format!("listening on {}", listener.local_addr()?));
            serve(&listener)
        }
        _ => {
            eprintln!("usage: cargo run -q --example 05_echo_server [-- HOST:PORT]");
            process::exit(2);
        }
    }
}

/// How long a client waits for an echo.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(2));

fn demonstrate() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::Builder::new().spawn(move || serve(&listener))?;
    let start = Instant::now();
    let log = |what: String| say(format!("{:.3} s  {what}", start.elapsed().as_secs_f64()));

    let mut clients = Vec::new();
    for number in 0..100 {
        let mut client = TcpStream::connect(address)?;
        client.set_read_timeout(PATIENCE)?;
        // A failure shows when the echo is missing.
        let sent = write!(client, "hello from {number}");
        let _ = sent.and_then(|()| client.shutdown(Shutdown::Write));
        clients.push(client);
    }
    log("100 clients have sent a message and half-closed".to_owned());
    let mut echoed = 0;
    for (number, mut client) in clients.into_iter().enumerate() {
        let mut echo = String::new();
        if client.read_to_string(&mut echo).is_err() {
            break; // nothing comes any more
        }
        if echo == format!("hello from {number}") {
            echoed += 1;
        }
    }
    log(format!(
        "{echoed} of them get it back, and then end of file"
    ));

    // More than the socket buffers on the way can hold.
    let bytes = b"0123456789abcdef".repeat(4 << 20);
    let mut client = TcpStream::connect(address)?;
    client.set_read_timeout(PATIENCE)?;
    let mut writer = client.try_clone()?;
    let to_write = bytes.clone();
    thread::Builder::new().spawn(move || {
        writer.write_all(&to_write)?;
        writer.shutdown(Shutdown::Write)
    })?;
    log("one client sends 64 MiB and does not read for half a second".to_owned());
    thread::sleep(Duration::from_millis(400));
    let polls = POLLS.load(Relaxed);
    thread::sleep(Duration::from_millis(100));
    let polls = POLLS.load(Relaxed) - polls;
    let pending = MOST_PENDING.load(Relaxed);
    log(format!("in the server, {pending} bytes are pending"));
    let mut echo = Vec::new();
    let _ = client.read_to_end(&mut echo); // An error: nothing comes any more.
    let (read, lost) = (echo.len(), bytes.len() - echo.len());
    log(format!(
        "the client reads: {read} bytes come back, {lost} do not"
    ));

    if echoed < 100 {
        let lost = 100 - echoed;
        say(format!(
            "\nTakeaway: {lost} of 100 half-closed clients do not get their message back, and then"
        ));
        say("end of file.");
    } else if pending == 0 {
        say("\nTakeaway: this run does not show a server that cannot write.");
    } else if polls > 100 {
        say(format!(
            "\nTakeaway: {polls} polls in 0.1 s, with nothing to do: the loop asks for what"
        ));
        say("it cannot use.");
    } else if pending > BUFFER {
        say("\nTakeaway: the server reads more than it can write, so a client that does not");
        say(format!(
            "read costs it {pending} bytes, and does not get {lost} of them."
        ));
    } else if lost > 0 {
        say(format!(
            "\nTakeaway: {lost} bytes do not come back: no event leads to them."
        ));
    } else {
        say("\nTakeaway: ask for WRITABLE only while bytes are pending, and do not read");
        say("until they are written.");
    }
    Ok(())
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

// Answers:
// 1. While a client does not read, each poll reports that it has sent more, and the server can do
//    nothing about it: tens of thousands of polls in 0.1 s. An idle client would be reported as
//    writable.
// 2. Nearly all of the 64 MiB. At end of file the client is removed, and what is pending is lost.
