//! Symptom: STARVES
//! Hint: For how long does the loop read one client before it looks at the next one?
//! Hint: Give each client a budget: at most so many reads, then it is the next one's turn.
//! Hint: An edge-triggered client with bytes left is not reported again. Keep a list of those that
//!   are not drained, go on with them after each poll, and do not sleep while there are any. (Or
//!   let the kernel keep that list: a level-triggered client is reported until it is drained.)
//! Learned: A drain can be endless. A budget for each source keeps the others from starving.

use epollet::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const LISTENER: Token = 0;
const BUDGET: usize = 16;

#[derive(PartialEq)]
enum Client {
    Drained,
    NotDrained,
    Finished,
}

/// Reads what a client has sent, but at most `BUDGET` times.
fn read(stream: &mut TcpStream, total: &mut usize) -> Result<Client> {
    let mut buffer = [0; 4096];
    for _ in 0..BUDGET {
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Ok(Client::Finished),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Client::Drained),
            Err(error) => return Err(error),
        };
        *total += count;
        if buffer[..count].contains(&b'\n') {
            stream.write_all(format!("{total}\n").as_bytes())?;
        }
    }
    Ok(Client::NotDrained)
}

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);

    let mut poll = Poll::new()?;
    poll.registry()
        .register(&listener, LISTENER, Interest::READABLE)?;
    let mut clients: HashMap<Token, TcpStream> = HashMap::new();
    let mut next_token = LISTENER + 1;
    let mut total = 0;
    let mut not_drained: Vec<Token> = Vec::new();
    let mut events = Events::with_capacity(64);
    loop {
        let timeout = (!not_drained.is_empty()).then_some(Duration::ZERO);
        poll.poll(&mut events, timeout)?;
        let mut ready: Vec<Token> = events.iter().map(|event| event.token()).collect();
        ready.append(&mut not_drained);
        ready.sort();
        ready.dedup();
        for token in ready {
            if token == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                let interest = Interest::READABLE | Interest::EDGE;
                poll.registry().register(&stream, next_token, interest)?;
                clients.insert(next_token, stream);
                next_token += 1;
            } else if let Some(stream) = clients.get_mut(&token) {
                // An error is one client's: it does not end the server.
                match read(stream, &mut total).unwrap_or(Client::Finished) {
                    Client::Drained => {}
                    Client::NotDrained => not_drained.push(token),
                    Client::Finished => drop(clients.remove(&token)),
                }
            }
        }
    }
}
