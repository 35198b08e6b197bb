//! An executable model of epoll: what each call does to the interest list and to the ready list.
//!
//! These are the rules of Linux (`fs/eventpoll.c`) for one thread. Left out are the locks, what
//! happens to wakeups while another thread polls, `EPOLLEXCLUSIVE`, and some errors. `src/tests/model.rs` makes
//! the same random calls to this model and to the kernel and compares what they report: tokens,
//! bits and order.

#![allow(dead_code)] // The lesson and the test use different parts of it.

pub mod files;

use super::ffi::{EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLONESHOT};
use files::{File, Kind};
use std::collections::VecDeque;
use std::io::ErrorKind;

type Result<T> = std::result::Result<T, ErrorKind>;

/// Bits of an interest that say how to report, not what.
const MODES: u32 = EPOLLET | EPOLLONESHOT;

/// The part of the kernel that matters to epoll. Queues and files are identified by their index.
#[derive(Default)]
pub struct Kernel {
    pub queues: Vec<Queue>,
    pub files: Vec<File>,
}

/// An epoll instance. It is a file too, so that another queue can wait for it.
pub struct Queue {
    pub file: usize,
    pub interest_list: Vec<Registration>,
    pub ready_list: VecDeque<Key>,
}

pub struct Registration {
    pub key: Key,
    pub token: usize,
    pub interest: u32,
}

/// What tells one registration from another: its queue, the open file description, and the number
/// that the descriptor had. So each duplicate can be registered, and a registration stays when its
/// descriptor is closed while a duplicate is open.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Key {
    pub queue: usize,
    pub file: usize,
    pub fd: i32,
}

impl Kernel {
    /// `EPOLL_CTL_ADD`: the source is asked at once. From now on it notifies this registration,
    /// before the older ones.
    pub fn register(&mut self, key: Key, token: usize, interest: u32) -> Result<()> {
        if self.find(key).is_some() {
            return Err(ErrorKind::AlreadyExists);
        }
        self.queues[key.queue].interest_list.push(Registration {
            key,
            token,
            interest: interest | EPOLLERR | EPOLLHUP,
        });
        self.files[key.file].wait_queue.push_front(key);
        self.look(key);
        Ok(())
    }

    /// `EPOLL_CTL_MOD`: the source is asked at once. What is on the ready list stays where it is,
    /// even if it does not match the new interest.
    pub fn reregister(&mut self, key: Key, token: usize, interest: u32) -> Result<()> {
        let registration = self.find(key).ok_or(ErrorKind::NotFound)?;
        registration.token = token;
        registration.interest = interest | EPOLLERR | EPOLLHUP;
        self.look(key);
        Ok(())
    }

    /// `EPOLL_CTL_DEL`: what was not reported yet is lost.
    pub fn deregister(&mut self, key: Key) -> Result<()> {
        self.find(key).ok_or(ErrorKind::NotFound)?;
        let queue = &mut self.queues[key.queue];
        queue.interest_list.retain(|other| other.key != key);
        queue.ready_list.retain(|other| *other != key);
        let file = &mut self.files[key.file];
        file.wait_queue.retain(|other| *other != key);
        Ok(())
    }

    /// A file calls this when its state changes. `bits` say what may be possible now; 0 means
    /// anything.
    pub fn wake(&mut self, file: usize, bits: u32) {
        for key in self.files[file].wait_queue.clone() {
            let interest = self.registration(key).interest;
            let disabled = interest & !MODES == 0; // after a one-shot report
            let matches = bits == 0 || bits & interest != 0;
            if !disabled && matches {
                self.link(key);
                self.wake(self.queues[key.queue].file, EPOLLIN);
            }
        }
    }

    /// `epoll_wait`: returns tokens and bits. What is on the ready list may be ready; the source
    /// says whether it is, and what for.
    pub fn poll(&mut self, queue: usize, capacity: usize) -> Vec<(usize, u32)> {
        let mut events = Vec::new();
        let mut again = VecDeque::new();
        let mut taken = std::mem::take(&mut self.queues[queue].ready_list);
        while events.len() < capacity {
            let Some(key) = taken.pop_front() else { break };
            let bits = self.ask(key);
            if bits == 0 {
                continue;
            }
            let registration = self.registration(key);
            events.push((registration.token, bits));
            if registration.interest & EPOLLONESHOT != 0 {
                registration.interest &= MODES; // without EPOLLERR and EPOLLHUP, too
            } else if registration.interest & EPOLLET == 0 {
                again.push_back(key);
            }
        }
        taken.append(&mut again); // What did not fit comes first in the next poll.
        self.queues[queue].ready_list = taken;
        events
    }

    /// Puts a registration on the ready list if its source is ready for what it asks.
    fn look(&mut self, key: Key) {
        if self.ask(key) != 0 && self.link(key) {
            self.wake(self.queues[key.queue].file, EPOLLIN);
        }
    }

    /// Puts a registration at the end of the ready list. Returns false if it is on the list
    /// already: then it keeps its place.
    fn link(&mut self, key: Key) -> bool {
        let ready_list = &mut self.queues[key.queue].ready_list;
        let new = !ready_list.contains(&key);
        if new {
            ready_list.push_back(key);
        }
        new
    }

    /// Asks a source what it is ready for. Only what is in the interest counts.
    fn ask(&mut self, key: Key) -> u32 {
        let bits = match self.files[key.file].kind {
            Kind::Queue(inner) => self.ready_queue(inner),
            ref kind => kind.ready(),
        };
        bits & self.registration(key).interest
    }

    /// A queue is readable if a registration on its ready list is ready. Those before it on the
    /// list are not ready, and are taken off.
    fn ready_queue(&mut self, queue: usize) -> u32 {
        while let Some(&key) = self.queues[queue].ready_list.front() {
            if self.ask(key) != 0 {
                return EPOLLIN;
            }
            self.queues[queue].ready_list.pop_front();
        }
        0
    }

    fn registration(&mut self, key: Key) -> &mut Registration {
        self.find(key).expect("not registered")
    }

    fn find(&mut self, key: Key) -> Option<&mut Registration> {
        let mut interest_list = self.queues[key.queue].interest_list.iter_mut();
        interest_list.find(|registration| registration.key == key)
    }
}
