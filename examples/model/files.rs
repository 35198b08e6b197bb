//! The files that a queue of the model can wait for: what each is ready for, and which bits its
//! wakeups carry.

use super::super::ffi::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP};
use super::{Kernel, Key, Queue, Result};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::Shutdown;

/// An open file description.
pub struct File {
    pub kind: Kind,
    /// How many descriptors refer to it.
    pub descriptors: usize,
    /// Which registrations are notified of a change, and in which order.
    pub wait_queue: VecDeque<Key>,
}

pub enum Kind {
    /// An eventfd with its counter.
    Eventfd(u64),
    /// One end of a Unix stream.
    Stream(Stream),
    /// An epoll instance.
    Queue(usize),
}

/// How many bytes fit, and how many must be read to make room again, depends on the kernel's
/// buffers. Here a few bytes fit, and after [`Kernel::fill`] there is no room until the peer has
/// read them all.
#[derive(Default)]
pub struct Stream {
    pub peer: usize,
    /// How many bytes of each write that has arrived are unread.
    pub arrived: VecDeque<usize>,
    /// There is no room to send.
    pub full: bool,
    pub cannot_read: bool,
    pub cannot_write: bool,
    /// The peer was closed before it had read everything.
    pub reset: bool,
}

impl Kind {
    /// What an eventfd or a stream is ready for. For a queue see [`Kernel`].
    pub fn ready(&self) -> u32 {
        match self {
            Kind::Eventfd(counter) => {
                let readable = if *counter > 0 { EPOLLIN } else { 0 };
                let writable = if *counter < u64::MAX - 1 { EPOLLOUT } else { 0 };
                readable | writable
            }
            Kind::Stream(stream) => {
                let mut bits = 0;
                if !stream.arrived.is_empty() {
                    bits |= EPOLLIN;
                }
                if !stream.full {
                    bits |= EPOLLOUT;
                }
                if stream.cannot_read {
                    bits |= EPOLLIN | EPOLLRDHUP;
                }
                if stream.cannot_read && stream.cannot_write {
                    bits |= EPOLLHUP;
                }
                if stream.reset {
                    bits |= EPOLLERR;
                }
                bits
            }
            Kind::Queue(_) => 0,
        }
    }
}

impl Kernel {
    /// Returns the queue.
    pub fn epoll_create(&mut self) -> usize {
        let queue = self.queues.len();
        let file = self.open(Kind::Queue(queue));
        self.queues.push(Queue {
            file,
            interest_list: Vec::new(),
            ready_list: VecDeque::new(),
        });
        queue
    }

    pub fn eventfd(&mut self) -> usize {
        self.open(Kind::Eventfd(0))
    }

    pub fn stream_pair(&mut self) -> (usize, usize) {
        let first = self.files.len();
        for peer in [first + 1, first] {
            self.open(Kind::Stream(Stream {
                peer,
                ..Stream::default()
            }));
        }
        (first, first + 1)
    }

    /// `dup`: one more descriptor for the same file.
    pub fn duplicate(&mut self, file: usize) {
        self.files[file].descriptors += 1;
    }

    /// Closes one descriptor. With the last one, the file and its registrations end.
    pub fn close(&mut self, file: usize) {
        self.files[file].descriptors -= 1;
        if self.files[file].descriptors > 0 {
            return;
        }
        for key in self.files[file].wait_queue.clone() {
            let _registered = self.deregister(key);
        }
        if let Kind::Stream(stream) = &self.files[file].kind {
            let (peer, all_read) = (stream.peer, stream.arrived.is_empty());
            let other_end = self.stream(peer);
            other_end.reset |= !all_read;
            other_end.full = false; // What was not read is gone.
            other_end.cannot_read = true;
            other_end.cannot_write = true;
            self.wake(peer, 0);
        }
    }

    /// Adds `count` to an eventfd, unless that makes more than 2^64 - 2. Sends `count` bytes to a
    /// stream.
    pub fn write(&mut self, file: usize, count: u64) -> Result<usize> {
        match &mut self.files[file].kind {
            Kind::Eventfd(counter) if u64::MAX - *counter > count => {
                *counter += count;
                self.wake(file, EPOLLIN); // even for 0
                Ok(8)
            }
            Kind::Eventfd(_) => Err(ErrorKind::WouldBlock),
            Kind::Stream(stream) if stream.cannot_write => Err(ErrorKind::BrokenPipe),
            Kind::Stream(_) if count == 0 => Ok(0),
            Kind::Stream(stream) => {
                let (peer, count) = (stream.peer, count as usize);
                self.stream(peer).arrived.push_back(count);
                self.wake(peer, EPOLLIN | EPOLLPRI);
                Ok(count)
            }
            Kind::Queue(_) => Err(ErrorKind::InvalidInput),
        }
    }

    /// Writes `count` bytes to a stream, and then there is no room.
    pub fn fill(&mut self, file: usize, count: u64) {
        if self.write(file, count).is_ok() {
            self.stream(file).full = true;
        }
    }

    /// Resets an eventfd to 0. Takes at most `count` bytes from a stream. If that ends one of the
    /// writes, a buffer is freed, and the peer is notified if it has room.
    pub fn read(&mut self, file: usize, count: usize) -> Result<usize> {
        match &mut self.files[file].kind {
            Kind::Eventfd(0) => Err(ErrorKind::WouldBlock),
            Kind::Eventfd(counter) => {
                *counter = 0;
                self.wake(file, EPOLLOUT);
                Ok(8)
            }
            Kind::Stream(stream) if !stream.arrived.is_empty() => {
                let (taken, ended) = stream.take(count);
                let (peer, all_read) = (stream.peer, stream.arrived.is_empty());
                if all_read {
                    self.stream(peer).full = false;
                }
                if ended && !self.stream(peer).full {
                    self.wake(peer, EPOLLOUT);
                }
                Ok(taken)
            }
            Kind::Stream(stream) if stream.reset => {
                stream.reset = false; // The error is returned once.
                Err(ErrorKind::ConnectionReset)
            }
            Kind::Stream(stream) if stream.cannot_read => Ok(0),
            Kind::Stream(_) => Err(ErrorKind::WouldBlock),
            Kind::Queue(_) => Err(ErrorKind::InvalidInput),
        }
    }

    /// Shuts down one direction of a stream, or both, for both ends. This end is notified first.
    pub fn shutdown(&mut self, file: usize, how: Shutdown) {
        let stream = self.stream(file);
        stream.cannot_read |= how != Shutdown::Write;
        stream.cannot_write |= how != Shutdown::Read;
        let peer = stream.peer;
        self.wake(file, 0);
        self.stream(peer).cannot_write |= how != Shutdown::Write;
        self.stream(peer).cannot_read |= how != Shutdown::Read;
        self.wake(peer, 0);
    }

    fn open(&mut self, kind: Kind) -> usize {
        self.files.push(File {
            kind,
            descriptors: 1,
            wait_queue: VecDeque::new(),
        });
        self.files.len() - 1
    }

    fn stream(&mut self, file: usize) -> &mut Stream {
        let Kind::Stream(stream) = &mut self.files[file].kind else {
            panic!("file {file} is not a stream");
        };
        stream
    }
}

impl Stream {
    /// Takes at most `count` bytes. Returns how many, and whether a write was read to its end.
    fn take(&mut self, count: usize) -> (usize, bool) {
        let writes = self.arrived.len();
        let mut taken = 0;
        while let Some(first) = self.arrived.front_mut() {
            let part = (*first).min(count - taken);
            taken += part;
            *first -= part;
            if *first > 0 {
                break;
            }
            self.arrived.pop_front();
        }
        (taken, self.arrived.len() < writes)
    }
}
