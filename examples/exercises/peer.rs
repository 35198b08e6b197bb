//! A peer of the learner's program: one connection, which this runner reads and writes.

use crate::diagnosis::{Diagnosis, Symptom, Verdict};
use crate::look::{self, SYN_RECV};
use crate::process::{Process, Seen};
use std::ffi::{c_int, c_ulong};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

pub struct Peer {
    pub name: String,
    stream: TcpStream,
    has_finished: bool,
    /// What the program has sent, and how that ended.
    pub got: Vec<u8>,
    pub end: Option<&'static str>,
}

impl Peer {
    fn new(name: &str, stream: TcpStream) -> io::Result<Peer> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Peer {
            name: name.to_owned(),
            stream,
            has_finished: false,
            got: Vec::new(),
            end: None,
        })
    }

    /// Connects to the program. The kernel accepts for it, up to the length of the listen queue.
    pub fn connect(name: &str, to: SocketAddr, process: &mut Process) -> Result<Peer, Diagnosis> {
        let peer = Peer::open(name, to).map_err(|error| process.peer_failed(error))?;
        let port = peer.stream.local_addr()?.port();
        process.clients.names.insert(port, name.to_owned());
        Ok(peer)
    }

    /// The same, while the program is stopped.
    pub fn open(name: &str, to: SocketAddr) -> io::Result<Peer> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
        Peer::new(name, stream)
    }

    /// Waits until the connection is in the listener's queue: `connect` returns before that.
    pub fn queued(&self) -> io::Result<()> {
        let (program_port, port) = self.ports()?;
        in_time(|| Ok(look::state(program_port, port) != Some(SYN_RECV)))
    }

    /// Returns the port of the program, and its own.
    fn ports(&self) -> io::Result<(u16, u16)> {
        let (program, own) = (self.stream.peer_addr()?, self.stream.local_addr()?);
        Ok((program.port(), own.port()))
    }

    /// Waits until the program connects.
    pub fn accept(
        name: &str,
        listener: &TcpListener,
        process: &mut Process,
    ) -> Result<Peer, Diagnosis> {
        listener.set_nonblocking(true)?;
        let (stream, _) = process.until(|| match listener.accept() {
            Ok(accepted) => Seen::Done(accepted),
            Err(_) => Seen::Missing(format!("the program has not connected to {name}")),
        })?;
        Ok(Peer::new(name, stream)?)
    }

    /// Writes all of it, and waits until it has arrived. The kernel has room for that much.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.arrived()
    }

    /// Writes until the kernel takes no more, and returns how much that was.
    pub fn send_what_fits(&mut self) -> io::Result<usize> {
        let mut sent = 0;
        loop {
            match self.stream.write(&[b'.'; 64 * 1024]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(sent),
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes the sending side, half-close, and waits until that has arrived.
    pub fn finish(&mut self) -> io::Result<()> {
        self.has_finished = true;
        self.stream.shutdown(Shutdown::Write)?;
        self.arrived()
    }

    /// Closes the connection with a reset instead of end of file, and waits until it has arrived.
    pub fn reset(self) -> io::Result<()> {
        let linger: [c_int; 2] = [1, 0]; // `struct linger`: it is on, for 0 seconds.
        let size = size_of_val(&linger) as u32;
        let fd = self.stream.as_raw_fd();
        // SAFETY: the kernel reads `size` bytes before the call returns.
        if unsafe { setsockopt(fd, SOL_SOCKET, SO_LINGER, linger.as_ptr(), size) } == -1 {
            return Err(io::Error::last_os_error());
        }
        let (program_port, port) = self.ports()?;
        drop(self.stream);
        in_time(|| Ok(look::state(program_port, port).is_none()))
    }

    /// Waits until all that was sent is in the program's receive queue: it is acknowledged. If the
    /// program has closed the connection, it never is.
    fn arrived(&self) -> io::Result<()> {
        in_time(|| {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            let mut unacknowledged: c_int = 0;
            // SAFETY: the kernel writes an `int` before the call returns.
            match unsafe { ioctl(self.stream.as_raw_fd(), SIOCOUTQ, &mut unacknowledged) } {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(unacknowledged == 0),
            }
        })
    }

    /// Reads what has arrived, and returns all of it since the beginning.
    pub fn read(&mut self) -> &[u8] {
        let mut buffer = [0; 64 * 1024];
        while self.end.is_none() {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.end = Some("end of file"),
                Ok(count) => self.got.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.end = Some("a reset"),
            }
        }
        &self.got
    }

    pub fn says(&mut self, text: &str, process: &mut Process) -> Verdict {
        let result = self.stream.write_all(text.as_bytes());
        result.map_err(|error| process.peer_failed(error))
    }

    /// Forgets what it has got, sends a line and waits for the answer.
    pub fn ask(&mut self, line: &str, answer: &str, process: &mut Process) -> Verdict {
        self.read();
        self.got.clear();
        self.says(line, process)?;
        self.gets(&format!("sent {line:?}"), answer, process)
    }

    /// Waits until it has got exactly this, and forgets it. It is still connected, unless it has
    /// half-closed.
    pub fn gets(&mut self, after: &str, expected: &str, process: &mut Process) -> Verdict {
        process.until(|| {
            self.read();
            let got = String::from_utf8_lossy(&self.got);
            let line = format!("{} has {after} and got {got:?}", self.name);
            match self.end {
                None if got == expected => return Seen::Done(()),
                Some(_) if got == expected && self.has_finished => return Seen::Done(()),
                Some(end) => return Seen::Wrong(Symptom::Cuts, format!("{line}, then {end}")),
                None => {}
            }
            let line = format!("{line}, not {expected:?}");
            if expected.starts_with(&*got) {
                Seen::Missing(line)
            } else if got.len() < expected.len() {
                Seen::Wrong(Symptom::Loses, line)
            } else {
                Seen::Wrong(Symptom::Differs, line)
            }
        })?;
        self.got.clear();
        Ok(())
    }

    /// Waits until it has got all of a long answer, and forgets it.
    pub fn gets_all(&mut self, answer: &[u8], process: &mut Process) -> Verdict {
        let is_text = answer.contains(&b'\n');
        let unit = if is_text { "lines" } else { "bytes" };
        let size = |bytes: &[u8]| {
            if is_text {
                bytes.iter().filter(|byte| **byte == b'\n').count()
            } else {
                bytes.len()
            }
        };
        let all = size(answer);
        process.until(|| {
            self.read();
            let count = size(&self.got);
            let line = format!("{} has got {count} of {all} {unit}", self.name);
            match self.end {
                _ if self.got == answer => Seen::Done(()),
                Some(end) => Seen::Wrong(Symptom::Loses, format!("{line}, and then {end}")),
                None if count < all => Seen::Missing(line),
                None => Seen::Wrong(Symptom::Differs, format!("{line}, and not the right ones")),
            }
        })?;
        self.got.clear();
        Ok(())
    }

    /// Waits until the program has closed the connection.
    pub fn ends(&mut self, after: &str, process: &mut Process) -> Verdict {
        process.until(|| {
            self.read();
            match self.end {
                Some(_) => Seen::Done(()),
                None => Seen::Missing(format!("{} {after} and is still connected", self.name)),
            }
        })
    }
}

/// Waits until the kernel has done something: soon, but on a busy machine not at once.
fn in_time(is_done: impl Fn() -> io::Result<bool>) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_done()? {
        if Instant::now() > deadline {
            return Err(ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

const SOL_SOCKET: c_int = 1;
const SO_LINGER: c_int = 13;
const SIOCOUTQ: c_ulong = if cfg!(target_arch = "powerpc64") {
    0x4004_7473
} else {
    0x5411
};

unsafe extern "C" {
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_int, size: u32) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
}
