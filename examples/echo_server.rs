//! An echo server for many clients on one thread: what it cannot write now, it keeps for later.
//!
//! ```sh
//! cargo run --example echo_server                 # brings its own clients, and ends
//! cargo run --example echo_server 127.0.0.1:7000  # stays up for: nc 127.0.0.1 7000
//! ```
//!
//! You see clients that end their sending side and get their line back all the same; and one that
//! sends but does not read, until the server cannot write and watches it for `EPOLLOUT` alone.
//!
//! Belongs to the exercise "a real Write implementation", and to all of the book's chapter 4.
//!
//! Change next: watch for `WRITABLE` always, and look at the server in `top`; read on while
//! something is to be written, and see how much of your memory one client can take.

use epollet::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};
use std::{env, process, thread};

fn main() -> io::Result<()> {
    let args: Vec<_> = env::args_os().skip(1).collect();
    let bound = match &args[..] {
        [] => TcpListener::bind("127.0.0.1:0"),
        [address] => TcpListener::bind(&*address.to_string_lossy()),
        _ => Err(ErrorKind::InvalidInput.into()),
    };
    let listener = bound.unwrap_or_else(|error| {
        eprintln!("error: {args:?}: {error}\nusage: cargo run --example echo_server [HOST:PORT]");
        process::exit(1 + i32::from(error.kind() == ErrorKind::InvalidInput))
    });
    println!("listening on {}", listener.local_addr()?);
    match args.len() {
        0 => demonstrate(listener),
        _ => serve(listener, mpsc::channel().0),
    }
}

const LISTENER: Token = 0;

/// `changes` hears of each change of a client's interest.
fn serve(listener: TcpListener, changes: Sender<Interest>) -> io::Result<()> {
    let mut poll = Poll::new()?;
    listener.set_nonblocking(true)?;
    // By edge: while there is no descriptor for the next client, each poll would report a
    // level-triggered listener, and this loop would spin.
    let by_edge = Interest::READABLE | Interest::EDGE;
    poll.registry().register(&listener, LISTENER, by_edge)?;
    let mut events = Events::with_capacity(256);
    // Stream and what is read from it and not written yet. No token is used twice, so no event can
    // be taken for that of a client who came later.
    let mut clients: HashMap<Token, (TcpStream, Vec<u8>)> = HashMap::new();
    let mut tokens = LISTENER + 1..;
    let mut accepting = false;
    loop {
        poll.poll(&mut events, accepting.then(|| Duration::from_millis(100)))?;
        for token in events.iter().map(|event| event.token()) {
            accepting |= token == LISTENER;
            if let Some((stream, pending)) = clients.get_mut(&token) {
                let before = interest(pending);
                let done = echo(stream, pending);
                let after = interest(pending);
                if !done.unwrap_or_else(|error| error.kind() == ErrorKind::WouldBlock) {
                    clients.remove(&token);
                } else if after != before {
                    poll.registry().reregister(stream, token, after)?;
                    let _ = changes.send(after);
                }
            }
        }
        // After the events, because a client that has left makes room.
        while accepting {
            let accepted = listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                let token = tokens.next().unwrap();
                poll.registry().register(&stream, token, interest(&[]))?;
                clients.insert(token, (stream, Vec::new()));
                Ok(())
            });
            match accepted {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => accepting = false,
                Err(_) => break, // No descriptor left: try again after the next poll.
            }
        }
    }
}

/// Not both: a client that does not read is not read from, and so takes no more than a buffer. And
/// writable only when needed: nearly always a socket is, and each poll would say so.
fn interest(pending: &[u8]) -> Interest {
    match pending {
        [] => Interest::READABLE,
        _ => Interest::WRITABLE,
    }
}

/// Returns false at the end of file. Nothing is pending then: all is echoed.
fn echo(stream: &mut TcpStream, pending: &mut Vec<u8>) -> io::Result<bool> {
    if pending.is_empty() {
        let mut buffer = [0; 16 * 1024];
        let count = stream.read(&mut buffer)?;
        pending.extend(&buffer[..count]);
    }
    let count = stream.write(pending)?;
    pending.drain(..count);
    Ok(count > 0)
}

fn demonstrate(listener: TcpListener) -> io::Result<()> {
    let start = Instant::now();
    let say = |what: &str| println!("{:.3} s  {what}", start.elapsed().as_secs_f64());
    let address = listener.local_addr()?;
    let (sender, changes) = mpsc::channel();
    thread::spawn(|| serve(listener, sender));
    let mut clients = Vec::new();
    for number in 0..100 {
        clients.push(TcpStream::connect(address)?);
        clients[number].write_all(b"hello")?;
        clients[number].shutdown(Shutdown::Write)?;
    }
    say("100 clients have said hello and ended their sending sides");
    for mut client in clients {
        let mut echo = Vec::new();
        client.read_to_end(&mut echo)?;
        assert_eq!(echo, b"hello");
    }
    say("each has its hello back, and then the end of file");
    // More than the buffers on the way hold, so the server must at some time wait to write.
    let bytes = b"0123456789abcdef".repeat(4 << 20);
    let mut client = TcpStream::connect(address)?;
    let (mut writer, to_write) = (client.try_clone()?, bytes.clone());
    thread::spawn(move || {
        writer.write_all(&to_write)?;
        writer.shutdown(Shutdown::Write)
    });
    let change = changes.recv_timeout(Duration::from_secs(10));
    assert_eq!(change, Ok(Interest::WRITABLE));
    say("one client sends 64 MiB and does not read: it is watched for EPOLLOUT");
    let mut echo = Vec::new();
    client.read_to_end(&mut echo)?;
    assert!(echo == bytes);
    assert_eq!(changes.try_iter().last(), Some(Interest::READABLE));
    say("it reads: all bytes come back, and it is watched for EPOLLIN again");
    Ok(())
}
