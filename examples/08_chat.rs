//! A chat: what one client writes goes to all others. What about one that does not read?
//!
//! ```sh
//! cargo run -q --example 08_chat                    # runs its own clients, then exits
//! cargo run -q --example 08_chat -- 127.0.0.1:7000  # for: nc 127.0.0.1 7000, in two terminals
//! ```
//!
//! Client 1 writes, client 2 reads, and client 3 does not read. You see what client 2 reads. First,
//! the kernel's buffers hold the data for client 3. Then its queue in the server grows beyond the
//! limit. Client 3 is dropped, the others are notified, and the chat continues for them. `WRITABLE`
//! stays registered here: edge-triggered, a socket that stays writable does not make the loop spin.
//!
//! Comes after `07_connect`. Book: chapter 4, "The main program". Exercise that follows:
//! 06_wrong_client (`cargo run -q --example exercises 06`).
//!
//! Change next (the answers are at the end of the file):
//! 1. Set the limit to 1 GiB. How much does the server keep for client 3? (The demonstration ends
//!    after 2,000 lines.)
//! 2. Keep client 3, but leave out each line that its queue has no room for.

use epollet::{Events, Interest, Poll, Token};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{env, process, thread, time::Duration};

/// How much the server keeps for one client, in bytes. The kernel's buffers hold more.
const LIMIT: usize = 256 * 1024;

struct Chat {
    clients: BTreeMap<Token, Client>,
}

struct Client {
    stream: TcpStream,
    unfinished: Vec<u8>, // What it has written after the end of a line.
    queue: Vec<u8>,      // What the kernel has not taken yet.
    sent: usize,         // What the kernel has taken.
}

impl Chat {
    /// Sends to all clients except the sender.
    fn broadcast(&mut self, from: Token, lines: &[u8]) {
        let mut dropped = String::new();
        self.clients.retain(|&token, client| {
            if token != from {
                client.queue.extend_from_slice(lines);
                client.flush();
            }
            let (sent, queued) = (client.sent, client.queue.len());
            MOST_QUEUED.fetch_max(queued, Relaxed);
            let keep = queued <= LIMIT;
            if !keep {
                dropped += &format!(
                    "* client {token} is dropped: {sent} bytes sent, {queued} more queued\n"
                );
            }
            keep // Dropping a client closes its stream, and that ends its registration.
        });
        if !dropped.is_empty() {
            self.broadcast(LISTENER, dropped.as_bytes());
        }
    }

    fn remove(&mut self, token: Token, why: &str) {
        self.clients.remove(&token);
        self.broadcast(LISTENER, format!("* client {token} {why}\n").as_bytes());
    }

    /// Reads until `WouldBlock`, so a client that floods the chat starves the others (`09_fair`).
    fn handle(&mut self, token: Token) {
        let mut buffer = [0; 16 * 1024];
        // An event earlier in this round may have removed the client.
        while let Some(client) = self.clients.get_mut(&token) {
            client.flush();
            match client.stream.read(&mut buffer) {
                Ok(0) => self.remove(token, "has left"),
                Ok(count) => {
                    client.unfinished.extend_from_slice(&buffer[..count]);
                    if let Some(end) = client.unfinished.iter().rposition(|&byte| byte == b'\n') {
                        let lines: Vec<u8> = client.unfinished.drain(..=end).collect();
                        self.broadcast(token, &lines);
                    } else if client.unfinished.len() > LIMIT {
                        self.remove(token, "is dropped: its line is too long");
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => self.remove(token, &format!("has failed: {error}")),
            }
        }
    }
}

impl Client {
    /// Writes what the kernel accepts. If it accepts no more, an event reports when to try again.
    /// If the connection has failed, an event leads to a read, which returns the reason.
    fn flush(&mut self) {
        while !self.queue.is_empty() {
            let Ok(count) = self.stream.write(&self.queue) else {
                break;
            };
            self.queue.drain(..count);
            self.sent += count;
        }
    }
}

const LISTENER: Token = 0;

/// The largest queue of a client so far, in bytes.
static MOST_QUEUED: AtomicUsize = AtomicUsize::new(0);

/// Serves until the last client has left, or for as long as the program runs.
fn serve(listener: TcpListener, stays_up: bool) -> io::Result<()> {
    let mut poll = Poll::new()?;
    listener.set_nonblocking(true)?;
    let edge = Interest::READABLE | Interest::EDGE;
    poll.registry().register(&listener, LISTENER, edge)?;
    let clients = BTreeMap::new();
    let mut chat = Chat { clients };
    let mut next_token = LISTENER + 1;
    let mut events = Events::with_capacity(64);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            chat.handle(event.token()); // Does nothing for the listener: it is no client.
        }
        // After each poll, whatever was reported: exercise 09 is about the reason.
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            let token = next_token;
            next_token += 1;
            let interest = Interest::READABLE | Interest::WRITABLE | Interest::EDGE;
            poll.registry().register(&stream, token, interest)?;
            let (unfinished, queue) = (Vec::new(), Vec::new());
            let client = Client {
                stream,
                unfinished,
                queue,
                sent: 0,
            };
            chat.clients.insert(token, client);
            let text = format!("* client {token} has joined\n");
            chat.broadcast(LISTENER, text.as_bytes());
        }
        if chat.clients.is_empty() && !stays_up {
            return Ok(());
        }
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
            serve(listener, true)
        }
        _ => {
            eprintln!("usage: cargo run -q --example 08_chat [-- HOST:PORT]");
            process::exit(2);
        }
    }
}

fn demonstrate() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::Builder::new().spawn(|| serve(listener, false))?;
    say("Client 1 writes, client 2 reads, client 3 does not read. Client 2 gets:");
    let mut writer = TcpStream::connect(address)?;
    let reader = TcpStream::connect(address)?;
    reader.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut reader = BufReader::new(reader);
    say(read_line(&mut reader)?.trim_end());
    let silent = TcpStream::connect(address)?;
    say(read_line(&mut reader)?.trim_end());

    let from_writer = format!("{}\n", "line".repeat(4096));
    let (mut lines, mut complete, mut last) = (0, 0, 2000);
    let mut dropped = false;
    while lines < last {
        writer.write_all(from_writer.as_bytes())?;
        let mut line = read_line(&mut reader)?;
        if line.starts_with('*') {
            dropped = true;
            last = lines + 3;
            say(format!("  {lines} lines of 16 KiB"));
            say(line.trim_end());
            line = read_line(&mut reader)?;
        }
        lines += 1;
        if line.ends_with(&from_writer) {
            complete += 1;
        }
    }
    say(format!(
        "  {lines} lines in all, {complete} of them complete\n"
    ));
    drop((writer, reader, silent));
    server.join().expect("the server has not panicked")?;

    let most = MOST_QUEUED.load(Relaxed);
    if complete < lines {
        let damaged = lines - complete;
        say(format!(
            "Takeaway: client 2 has lost {damaged} lines, or got them damaged."
        ));
    } else if !dropped {
        say("Takeaway: client 3 does not read and stays connected, and the server keeps up to");
        say(format!("{most} bytes for it."));
    } else {
        say("Takeaway: a client that does not read makes the server buffer its data, so");
        say("give each client its own queue, with a limit.");
    }
    Ok(())
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            let text =
                "no line for 2 s: client 1 is gone, the server blocks, or `ulimit -n` is low";
            Err(io::Error::other(text))
        }
        result => result.map(|_| line),
    }
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

// Answers:
// 1. About 28 MB after 2,000 lines, and it would go on.
// 2. In `broadcast`, `if client.queue.len() + lines.len() <= LIMIT` before `extend_from_slice`: the
//    queue stays below the limit, client 3 stays connected, and it will miss lines.
