//! The files that a queue of the model can wait for: what each is ready for, and which bits its
//! wakeups carry.

use super::super::ffi::{EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP};
use super::{Kernel, Key, Queue};
use std::collections::VecDeque;
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
#[derive(Clone, Copy)]
pub struct Stream {
    pub peer: usize,
    /// Bytes that have arrived.
    pub unread: usize,
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
            Kind::Eventfd(count) => {
                let readable = if *count > 0 { EPOLLIN } else { 0 };
                let writable = if *count < u64::MAX - 1 { EPOLLOUT } else { 0 };
                readable | writable
            }
            Kind::Stream(stream) => {
                let mut bits = 0;
                if stream.unread > 0 {
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
        let stream = Stream {
            peer: first + 1,
            unread: 0,
            full: false,
            cannot_read: false,
            cannot_write: false,
            reset: false,
        };
        self.open(Kind::Stream(stream));
        let second = self.open(Kind::Stream(Stream {
            peer: first,
            ..stream
        }));
        (first, second)
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
        if let Kind::Stream(stream) = self.files[file].kind {
            let peer = self.stream(stream.peer);
            peer.reset |= stream.unread > 0;
            peer.full = false; // What was not read is gone.
            peer.cannot_read = true;
            peer.cannot_write = true;
            self.wake(stream.peer, 0);
        }
    }

    /// Adds `value` to an eventfd, unless that makes more than 2^64 - 2. Sends one byte to a
    /// stream.
    pub fn write(&mut self, file: usize, value: u64) {
        match &mut self.files[file].kind {
            Kind::Eventfd(count) if u64::MAX - *count > value => {
                *count += value;
                self.wake(file, EPOLLIN); // even for 0
            }
            Kind::Stream(stream) if !stream.cannot_write => {
                let peer = stream.peer;
                self.stream(peer).unread += 1;
                self.wake(peer, EPOLLIN | EPOLLPRI);
            }
            _ => {}
        }
    }

    /// Writes to a stream until there is no room.
    pub fn fill(&mut self, file: usize, bytes: usize) {
        let stream = self.stream(file);
        if !stream.cannot_write {
            stream.full = true;
            let peer = stream.peer;
            self.stream(peer).unread += bytes;
            self.wake(peer, EPOLLIN | EPOLLPRI);
        }
    }

    /// Reads from a stream until there is nothing left.
    pub fn drain(&mut self, file: usize) {
        let stream = self.stream(file);
        let peer = stream.peer;
        stream.reset = false; // The last read returned ECONNRESET.
        if stream.unread > 0 {
            stream.unread = 0;
            self.stream(peer).full = false;
            self.wake(peer, EPOLLOUT);
        }
    }

    /// Resets an eventfd to 0. Takes one byte from a stream, and notifies the peer if it has room.
    pub fn read(&mut self, file: usize) {
        match &mut self.files[file].kind {
            Kind::Eventfd(count) if *count > 0 => {
                *count = 0;
                self.wake(file, EPOLLOUT);
            }
            Kind::Stream(stream) if stream.unread > 0 => {
                stream.unread -= 1;
                let peer = stream.peer;
                if !self.stream(peer).full {
                    self.wake(peer, EPOLLOUT);
                }
            }
            Kind::Stream(stream) => stream.reset = false, // This read returns ECONNRESET.
            _ => {}
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
