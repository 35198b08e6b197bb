//! Symptom: LOSES
//! Hint: How many bytes does `write` take? It says so. Print it.
//! Hint: A write into a full buffer fails with `WouldBlock`, and one into a buffer that is nearly
//!   full takes what fits. The program has to keep the rest, for each client. (`write_all` does not
//!   help: at `WouldBlock` it returns that error, and the rest is lost. `handle` reports it.)
//! Hint: The event that says that there is room again is `WRITABLE`. If you ask for it while
//!   nothing is pending, every poll reports it, because a socket is nearly always writable.
//! Learned: A write can be short. Keep the rest, and write it when the socket is `WRITABLE`. If it
//!   is level-triggered, ask for that only while there is a rest; if it is edge-triggered, once.

use epollet::{Events, Interest, Poll, Registry, Token};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};

const LISTENER: Token = 0;

struct Client {
    stream: TcpStream,
    /// What is still to be written.
    pending: Vec<u8>,
}

impl Client {
    /// Answers a line. Returns false at end of file.
    fn answer(&mut self) -> Result<bool> {
        let mut buffer = [0; 1024];
        let count = self.stream.read(&mut buffer)?;
        if buffer[..count].contains(&b'\n') {
            let answer = b"0123456789abcdef".repeat(500_000);
            self.pending.extend(answer);
        }
        Ok(count > 0)
    }

    /// Writes what the kernel takes now.
    fn write_pending(&mut self) -> Result<()> {
        while !self.pending.is_empty() {
            match self.stream.write(&self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn interest(&self) -> Interest {
        if self.pending.is_empty() {
            Interest::READABLE
        } else {
            Interest::WRITABLE // It can ask again when it has got this answer.
        }
    }
}

/// Handles an event of a client. Returns false when the client is finished.
fn handle(client: &mut Client, token: Token, registry: &Registry) -> Result<bool> {
    let result = if client.pending.is_empty() {
        client.answer()
    } else {
        Ok(true)
    };
    let is_open = match result {
        Ok(is_open) => is_open && client.write_pending().is_ok(),
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    };
    if is_open {
        registry.reregister(&client.stream, token, client.interest())?;
    }
    Ok(is_open)
}

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);

    let mut poll = Poll::new()?;
    poll.registry()
        .register(&listener, LISTENER, Interest::READABLE)?;
    let mut clients: HashMap<Token, Client> = HashMap::new();
    let mut next_token = LISTENER + 1;
    let mut events = Events::with_capacity(64);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                poll.registry()
                    .register(&stream, next_token, Interest::READABLE)?;
                let pending = Vec::new();
                clients.insert(next_token, Client { stream, pending });
                next_token += 1;
            } else if let Some(client) = clients.get_mut(&event.token()) {
                if !handle(client, event.token(), poll.registry())? {
                    clients.remove(&event.token());
                }
            }
        }
    }
}
