//! A chat: what one client writes goes to all others. What about one that does not read?
//!
//! ```sh
//! cargo run --example 08_chat                    # runs its own clients, then exits
//! cargo run --example 08_chat -- 127.0.0.1:7000  # for: nc 127.0.0.1 7000, in two terminals
//! ```
//!
//! Client 1 writes, client 2 reads, and client 3 does not read. You see what client 2 reads. First,
//! the kernel's buffers hold the data for client 3. Then its queue in the server grows beyond the
//! limit. Client 3 is dropped, the others are notified, and the chat continues for them.
//!
//! Book: all of chapter 4. In `src/tests/edge_causes.rs`,
//! `a_unix_stream_has_an_edge_for_input_and_when_the_peer_has_read_a_whole_write` shows what the
//! queue relies on: `flush` stops at `WouldBlock`, and the next event of the client calls it
//! again.
//!
//! Needs only `ffi.rs` and `poll.rs`.
//!
//! Change next:
//! - Let the limit be 1 GiB, and compare the memory: `/usr/bin/time -v target/debug/examples/chat`.
//!   (The demonstration ends after 2,000 lines.)
//! - Keep client 3, but leave out each line that its queue has no room for: the memory stays small,
//!   and client 3 will miss lines.
//! - Put the number of the client before each line, in `handle`.

use epollet::{Events, Interest, Poll, Token};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::{env, process, thread};

/// How much the server keeps for one client, in bytes. The kernel's buffers hold more.
const LIMIT: usize = 256 * 1024;

impl Chat {
    /// Sends to all clients except the sender.
    fn broadcast(&mut self, from: Token, lines: &[u8]) {
        let mut dropped = String::new();
        self.clients.retain(|&token, client| {
            if token != from {
                client.queue.extend_from_slice(lines);
                client.flush();
            }
            let Client { sent, queue, .. } = client;
            let keep = queue.len() <= LIMIT;
            if !keep {
                let more = queue.len();
                dropped += &format!(
                    "* client {token} is dropped: {sent} bytes sent, {more} more queued\n"
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

    /// Reads until `WouldBlock`, so a client that floods the chat starves the others: see `fair`.
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
    fn new(stream: TcpStream) -> Client {
        let (unfinished, queue) = (Vec::new(), Vec::new());
        Client {
            stream,
            unfinished,
            queue,
            sent: 0,
        }
    }

    /// Writes what the kernel accepts. If it accepts no more, an event reports when to try again;
    /// if the connection has failed, an event leads to a read that returns the error or end of file.
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

struct Chat {
    clients: BTreeMap<Token, Client>,
}

struct Client {
    stream: TcpStream,
    unfinished: Vec<u8>, // What it has written after the end of a line.
    queue: Vec<u8>,      // What the kernel has not taken yet.
    sent: usize,         // What the kernel has taken.
}

const LISTENER: Token = 0;

/// Serves until the last client has left, or for as long as the program runs.
fn serve(listener: TcpListener, stays_up: bool) -> io::Result<()> {
    let mut poll = Poll::new()?;
    listener.set_nonblocking(true)?;
    poll.registry()
        .register(&listener, LISTENER, Interest::READABLE)?;
    let clients = BTreeMap::new();
    let mut chat = Chat { clients };
    let mut tokens = LISTENER + 1..; // None is used twice, so no event reaches the wrong client.
    let mut events = Events::with_capacity(64);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() != LISTENER {
                chat.handle(event.token());
            } else if let Ok((stream, _)) = listener.accept() {
                // If no descriptor is free, this loop spins: see `echo_server`.
                stream.set_nonblocking(true)?;
                let token = tokens.next().unwrap();
                let interest = Interest::READABLE | Interest::WRITABLE | Interest::EDGE;
                poll.registry().register(&stream, token, interest)?;
                chat.clients.insert(token, Client::new(stream));
                chat.broadcast(
                    LISTENER,
                    format!("* client {token} has joined\n").as_bytes(),
                );
            }
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
            let listener = TcpListener::bind(address)?;
            println!("listening on {}", listener.local_addr()?);
            serve(listener, true)
        }
        _ => {
            eprintln!("usage: cargo run --example 08_chat [-- HOST:PORT]");
            process::exit(2);
        }
    }
}

fn demonstrate() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(|| serve(listener, false));
    println!("Client 1 writes, client 2 reads, client 3 does not read. Client 2 gets:");
    let mut writer = TcpStream::connect(address)?;
    let mut reader = BufReader::new(TcpStream::connect(address)?);
    print!("{}", read_line(&mut reader)?);
    let silent = TcpStream::connect(address)?;
    print!("{}", read_line(&mut reader)?);

    let from_writer = format!("{}\n", "line".repeat(4096));
    let (mut lines, mut complete, mut last) = (0, 0, 2000);
    while lines < last {
        writer.write_all(from_writer.as_bytes())?;
        let mut line = read_line(&mut reader)?;
        if line.starts_with('*') {
            println!("  {lines} lines of 16 KiB");
            print!("{line}");
            last = lines + 3;
            line = read_line(&mut reader)?;
        }
        lines += 1;
        if line.ends_with(&from_writer) {
            complete += 1;
        }
    }
    println!("  {lines} lines in all, {complete} of them complete");
    drop((writer, reader, silent));
    server.join().unwrap()?;
    println!("\nTakeaway: a client that does not read makes the server buffer its data, so");
    println!("give each client its own queue, with a limit.");
    Ok(())
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line)
}
