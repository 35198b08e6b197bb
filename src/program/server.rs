//! The server that the program talks to: one that is running, or one that it starts itself.

use epollet::Waker;
use epollet::delayserver::DelayServer;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread::{self, JoinHandle};

pub struct Server {
    /// `HOST:PORT`
    pub name: String,
    /// Known after the first connection.
    address: Option<SocketAddr>,
    may_start: bool,
    started: Option<(Waker, JoinHandle<io::Result<()>>)>,
}

impl Server {
    /// Uses the named server, or else localhost:8080, and may then start one if none is running.
    pub fn new(name: Option<String>) -> Server {
        Server {
            may_start: name.is_none(),
            name: name.unwrap_or_else(|| "localhost:8080".to_owned()),
            address: None,
            started: None,
        }
    }

    /// Connects to the server. Blocks, as in the chapter.
    pub fn connect(&mut self) -> io::Result<TcpStream> {
        match self.address {
            Some(address) => TcpStream::connect(address).map_err(advised),
            None => self.connect_first(),
        }
    }

    fn connect_first(&mut self) -> io::Result<TcpStream> {
        writeln!(io::stdout(), "Connecting to {} ...", self.name)?;
        let connected = match self.name.to_socket_addrs() {
            Ok(addresses) => TcpStream::connect(&Vec::from_iter(addresses)[..])
                .map_err(|error| explained("connect to", &self.name, &error)),
            Err(error) => Err(explained("find", &self.name, &error)),
        };
        match connected {
            Ok(stream) => {
                self.address = Some(stream.peer_addr()?);
                Ok(stream)
            }
            Err(_) if self.may_start => self.start(),
            Err(error) => Err(error),
        }
    }

    fn start(&mut self) -> io::Result<TcpStream> {
        let server = DelayServer::bind("127.0.0.1:0")?;
        let (address, stopper) = (server.local_addr()?, server.stopper()?);
        self.name = address.to_string();
        self.address = Some(address);
        self.started = Some((stopper, thread::spawn(|| server.run(io::sink()))));
        writeln!(
            io::stdout(),
            "Nothing listens there: started a delay server in this process ({address})."
        )?;
        TcpStream::connect(address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((stopper, thread)) = self.started.take() {
            let _ = stopper.wake();
            let _ = thread.join();
        }
    }
}

/// Adds what to do to an error after the first connection.
fn advised(error: io::Error) -> io::Error {
    const EMFILE: i32 = 24;
    match error.raw_os_error() {
        Some(EMFILE) => io::Error::other(format!(
            "{error}\nEach request needs a descriptor. Raise the limit: ulimit -n 4096"
        )),
        _ => error,
    }
}

fn explained(what: &str, name: &str, error: &io::Error) -> io::Error {
    let mut message = format!("cannot {what} {name}: {error}");
    if error.kind() == ErrorKind::ConnectionRefused {
        message += "\nNothing listens there. To start a delay server on this machine, port 8080:\n    \
                    cargo run --example delayserver";
    }
    io::Error::new(error.kind(), message)
}
