//! Exercise 11, after the lesson 16_async_await.
//!
//! This is a `poll.rs` of your own: the same names as in epollet's, but the
//! functions do only what is needed for a first program. It runs; `main.rs`
//! beside it is such a program.
//!
//! epollet's own tests examine it. The names of those that fail say what it
//! should do. It takes longer than the other exercises: the tests have to be
//! built, and some may not end.
//!
//! Change whatever you like in this file, but keep the public names. Before you
//! look at epollet's `poll.rs`, look at the manual pages: epoll_create1(2),
//! epoll_wait(2), eventfd(2).

#![allow(dead_code)] // A program seldom uses all of it.

use super::ffi::{self, Event};
use std::ffi::c_int;
use std::fmt;
use std::fs::File;
use std::io::{Error, Result, Write};
use std::ops::BitOr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

pub type Events = Vec<Event>;
pub type Token = usize;

#[derive(Debug)]
pub struct Poll {
    registry: Registry,
}

impl Poll {
    pub fn new() -> Result<Poll> {
        // SAFETY: the call takes no pointer.
        let fd = unsafe { ffi::epoll_create1(0) };
        if fd < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the descriptor is new, so nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Poll {
            registry: Registry { fd },
        })
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> Result<()> {
        let millis = timeout.map_or(-1, |timeout| timeout.as_millis() as c_int);
        let capacity = events.capacity() as c_int;
        // SAFETY: the kernel writes at most `capacity` events.
        let count =
            unsafe { ffi::epoll_wait(self.as_raw_fd(), events.as_mut_ptr(), capacity, millis) };
        if count < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the kernel has written `count` events.
        unsafe { events.set_len(count as usize) };
        Ok(())
    }
}

#[derive(Debug)]
pub struct Registry {
    fd: OwnedFd,
}

impl Registry {
    pub fn register(
        &self,
        source: &(impl AsFd + ?Sized),
        token: Token,
        interest: impl Into<Interest>,
    ) -> Result<()> {
        self.control(ffi::EPOLL_CTL_ADD, source.as_fd(), token, interest.into())
    }

    pub fn reregister(
        &self,
        source: &(impl AsFd + ?Sized),
        token: Token,
        interest: impl Into<Interest>,
    ) -> Result<()> {
        self.control(ffi::EPOLL_CTL_MOD, source.as_fd(), token, interest.into())
    }

    pub fn deregister(&self, source: &(impl AsFd + ?Sized)) -> Result<()> {
        self.control(ffi::EPOLL_CTL_DEL, source.as_fd(), 0, Interest(0))
    }

    /// Returns another handle to the same queue.
    pub fn try_clone(&self) -> Result<Registry> {
        let fd = self.fd.try_clone()?;
        Ok(Registry { fd })
    }

    fn control(
        &self,
        operation: c_int,
        source: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> Result<()> {
        let mut event = Event {
            events: interest.0,
            data: token as u32 as u64,
        };
        let source = source.as_raw_fd();
        // SAFETY: the kernel reads `event` before the call returns.
        let result = unsafe { ffi::epoll_ctl(self.as_raw_fd(), operation, source, &mut event) };
        if result < 0 {
            return Err(Error::last_os_error());
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Interest(u32);

impl Interest {
    pub const READABLE: Interest = Interest(ffi::EPOLLIN);
    pub const WRITABLE: Interest = Interest(ffi::EPOLLOUT);
    pub const PRIORITY: Interest = Interest(ffi::EPOLLPRI);
    pub const EDGE: Interest = Interest(ffi::EPOLLET);
    pub const ONESHOT: Interest = Interest(ffi::EPOLLONESHOT);

    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl<T: Into<Interest>> BitOr<T> for Interest {
    type Output = Interest;

    fn bitor(self, other: T) -> Interest {
        Interest(self.0 | other.into().0)
    }
}

impl From<u32> for Interest {
    fn from(bits: u32) -> Interest {
        Interest(bits)
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ffi::Names(self.0).fmt(f)
    }
}

/// Ends the sleep of a poll from another thread, with an event.
#[derive(Debug)]
pub struct Waker {
    file: File,
}

impl Waker {
    pub fn new(registry: &Registry, token: Token) -> Result<Waker> {
        // SAFETY: the call takes no pointer.
        let fd = unsafe { ffi::eventfd(0, 0) };
        if fd < 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the descriptor is new, so nothing else owns it.
        let file = unsafe { File::from_raw_fd(fd) };
        registry.register(&file, token, Interest::READABLE)?;
        Ok(Waker { file })
    }

    pub fn wake(&self) -> Result<()> {
        (&self.file).write_all(&1_u64.to_ne_bytes())
    }
}

impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registry.as_fd()
    }
}

impl AsRawFd for Poll {
    fn as_raw_fd(&self) -> RawFd {
        self.registry.as_raw_fd()
    }
}

impl AsFd for Registry {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Registry {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
