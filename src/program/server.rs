//! The delay server that the program talks to: one that is running, or one that it starts itself.

use super::delayserver::DelayServer;
use super::report::EMFILE;
use epollet::Waker;
use std::io::{self, Error, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread::{self, JoinHandle};

pub struct Server {
    /// `HOST:PORT`
    pub name: String,
    may_start: bool,
    /// Known after the first connection.
    address: Option<SocketAddr>,
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
        if let Some(address) = self.address {
            return TcpStream::connect(address).map_err(|error| explain(error, &self.name));
        }
        writeln!(io::stdout(), "Connecting to {} ...", self.name)?;
        match connect_to(&self.name) {
            Ok(stream) => {
                self.address = stream.peer_addr().ok(); // None if it is already broken.
                Ok(stream)
            }
            Err(error) if self.may_start && error.kind() == ErrorKind::ConnectionRefused => {
                self.start()
            }
            Err(error) => Err(error),
        }
    }

    /// Starts a delay server on a second thread, and connects to it.
    fn start(&mut self) -> io::Result<TcpStream> {
        let mut server = DelayServer::bind("127.0.0.1:0")?;
        // A pause would not help: the descriptors belong to this process, which waits for the
        // answers.
        server.limits.pause = None;
        let (address, stopper) = (server.local_addr()?, server.stopper()?);
        let thread = thread::Builder::new()
            .spawn(|| server.run(io::sink()))
            .map_err(|error| {
                let message = format!("cannot start a thread: {error}\nRaise the limit: ulimit -u");
                Error::new(error.kind(), message)
            })?;
        self.started = Some((stopper, thread));
        self.name = address.to_string();
        self.address = Some(address);
        writeln!(
            io::stdout(),
            "Nothing listens there: started a delay server in this process ({address})."
        )?;
        TcpStream::connect(address).map_err(|error| explain(error, &self.name))
    }

    /// Ends the server that was started. If it has already ended, returns its error.
    pub fn stop(self) -> io::Result<()> {
        let Some((stopper, thread)) = self.started else {
            return Ok(());
        };
        stopper.wake()?;
        thread.join().expect("the server does not panic")
    }
}

fn connect_to(name: &str) -> io::Result<TcpStream> {
    let found = name.to_socket_addrs().map_err(|error| {
        let message =
            format!("cannot find {name}: {error}\nCheck the name, or give an IP address.");
        Error::new(error.kind(), message)
    })?;
    TcpStream::connect(&Vec::from_iter(found)[..]).map_err(|error| explain(error, name))
}

/// Says what to do about a connection that cannot be made.
fn explain(error: Error, name: &str) -> Error {
    if error.raw_os_error() == Some(EMFILE) {
        return error; // `report::exit_code` explains it.
    }
    let mut message = format!("cannot connect to {name}: {error}\n");
    message += &match error.kind() {
        ErrorKind::ConnectionRefused => format!(
            "Nothing listens there. To start a delay server, if it is this machine:\n    \
             cargo run --example delayserver {name}"
        ),
        ErrorKind::NetworkUnreachable => {
            "If it is this machine, switch the loopback interface on: ip link set lo up".to_owned()
        }
        _ => "Check the name and the port.".to_owned(),
    };
    Error::new(error.kind(), message)
}
