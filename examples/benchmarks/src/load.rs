//! The client: some connections, on each of them one request at a time. It is a program on epollet.

use crate::report::{compare, table, turns};
use crate::server::Server;
use comfy_table::Table;
use epollet::{Events, Interest, Poll};
use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// It gives up when nothing comes for so long.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Load {
    pub connections: usize,
    /// On all connections together.
    pub requests: usize,
    pub request: &'static [u8],
    pub is_answer: fn(&[u8]) -> bool,
}

impl Load {
    /// Returns the time from the first request to the last answer.
    pub fn run(&self, address: SocketAddr) -> io::Result<Duration> {
        let mut poll = Poll::new()?;
        let mut streams = Vec::new();
        for token in 0..self.connections {
            let stream = TcpStream::connect(address)?;
            stream.set_nonblocking(true)?;
            let interest = Interest::READABLE;
            poll.registry().register(&stream, token, interest)?;
            streams.push((stream, Vec::new()));
        }

        let start = Instant::now();
        for (stream, _) in &mut streams {
            stream.write_all(self.request)?;
        }
        let mut events = Events::with_capacity(1024);
        let (mut sent, mut answered) = (self.connections, 0);
        let mut bytes = [0; 4096];
        while answered < self.requests {
            poll.poll(&mut events, Some(PATIENCE))?;
            if events.is_empty() {
                return Err(ErrorKind::TimedOut.into());
            }
            for event in &events {
                let (stream, answer) = &mut streams[event.token()];
                let count = stream.read(&mut bytes)?;
                if count == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                answer.extend_from_slice(&bytes[..count]);
                if (self.is_answer)(answer) {
                    answer.clear();
                    answered += 1;
                    if sent < self.requests {
                        sent += 1;
                        stream.write_all(self.request)?;
                    }
                }
            }
        }
        Ok(start.elapsed())
    }

    /// Loads the servers in turn, for some rounds, and tells what each does in a second and what
    /// CPU time it takes for that.
    pub fn compare(&self, names: &[&str], rounds: usize) -> io::Result<Table> {
        let mut servers = Vec::new();
        for name in names {
            servers.push(Server::start(name)?);
        }
        let mut rates = vec![Vec::new(); names.len()];
        let mut costs = vec![Vec::new(); names.len()];
        for round in 0..rounds {
            eprintln!("round {} of {rounds}", round + 1);
            for at in turns(round, names.len()) {
                let before = servers[at].cpu_time()?;
                let time = self
                    .run(servers[at].address)
                    .map_err(|error| Error::new(error.kind(), format!("{}: {error}", names[at])))?;
                let cpu_time = servers[at].cpu_time()? - before;
                rates[at].push(self.requests as f64 / time.as_secs_f64());
                costs[at].push(cpu_time * 1000.0 * 10_000.0 / self.requests as f64);
            }
        }
        let first = format!("at {} connections; ratio to {}", self.connections, names[0]);
        let mut table = table(&first, names.iter().copied());
        table.add_row([vec!["requests per second".into()], compare(&rates)].concat());
        table.add_row([vec!["CPU ms per 10,000".into()], compare(&costs)].concat());
        Ok(table)
    }
}
