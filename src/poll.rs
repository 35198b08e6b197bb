// SPDX-License-Identifier: MIT. This file is part of epollet 0.1.

//! File 2: the event queue, a thin and safe layer over [`ffi`].
//!
//! Copy this file together with `ffi.rs`; the two need nothing else.

#![allow(dead_code)] // A program that copies this file seldom uses all of it.

use super::ffi::{self, Event};
use std::ffi::c_int;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Result, Write};
use std::ops::BitOr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// An event queue: an epoll instance, see [`epoll(7)`].
///
/// A source is level-triggered unless you add [`Interest::EDGE`]. A poll reports a level-triggered
/// source if it is ready. An edge-triggered source is reported once if it is ready when you
/// register it, and then only after a change.
///
/// **Drain after an edge.** Read (or write, or accept) until `WouldBlock` or end of file. What you
/// leave unread is not reported until something changes again.
///
/// **Make sources non-blocking.** On a blocking source, the last read of a drain blocks. And
/// readiness is a hint: another thread may have read first.
///
/// **Without a free descriptor, pause.** If `accept` fails with `EMFILE`, the connection stays in
/// the listener's queue, and a level-triggered listener is reported again and again.
///
/// **After end of file, drop the source.** A level-triggered one is reported again and again. If
/// there is still something to send, take `READABLE` out of its interest, and drop it when all is
/// sent or [`is_write_closed`](Event::is_write_closed) is true. To notice the end, read if
/// [`is_readable`](Event::is_readable), [`is_read_closed`](Event::is_read_closed) or
/// [`is_error`](Event::is_error) is true: end of file on an empty pipe is not `is_readable`.
///
/// [`epoll(7)`]: https://man7.org/linux/man-pages/man7/epoll.7.html
#[derive(Debug)]
pub struct Poll(Registry);

impl Poll {
    /// Creates an event queue with [`epoll_create1(2)`]. Dropping the `Poll` closes its descriptor.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`: this process or the system has too many open files.
    ///
    /// [`epoll_create1(2)`]: https://man7.org/linux/man-pages/man2/epoll_create.2.html
    pub fn new() -> Result<Poll> {
        // SAFETY: the call takes no pointer.
        let epoll = check(unsafe { ffi::epoll_create1(ffi::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new, so nothing else owns it.
        Ok(Poll(Registry(unsafe { OwnedFd::from_raw_fd(epoll) })))
    }

    /// Returns the handle that registers sources. It is a separate type, so that a clone of it can
    /// register from another thread while [`Poll::poll`] sleeps.
    pub fn registry(&self) -> &Registry {
        &self.0
    }

    /// Sleeps until a source is ready, then fills `events` with at most `events.capacity()` events.
    /// Calls [`epoll_wait(2)`].
    ///
    /// `events` is cleared first. `Ok(())` without events means that the timeout elapsed. Events
    /// that do not fit come first in the next call.
    ///
    /// A `timeout` of `None` waits indefinitely; zero returns at once. Other timeouts are rounded
    /// up to milliseconds, so none ends early; it can end a little late. A call that a signal
    /// interrupts (`EINTR`) is retried with the remaining time.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: `events` has a capacity of 0, or of more than the kernel accepts (`EINVAL`).
    ///
    /// [`epoll_wait(2)`]: https://man7.org/linux/man-pages/man2/epoll_wait.2.html
    #[inline] // The compiler often knows the timeout.
    pub fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> Result<()> {
        let millis = match timeout {
            None => -1,
            Some(Duration::ZERO) => 0,
            Some(timeout) => return self.poll_for(events, timeout),
        };
        loop {
            match self.wait(events, millis) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Polls with a timeout. A retry waits for the remaining time, which needs the clock.
    fn poll_for(&mut self, events: &mut Events, timeout: Duration) -> Result<()> {
        let start = Instant::now();
        let mut millis = round_up_to_millis(timeout);
        loop {
            match self.wait(events, millis) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The longest wait that fits in an `int`, 24.8 days, has elapsed.
                Ok(()) if millis == c_int::MAX && events.is_empty() => {}
                result => return result,
            }
            millis = round_up_to_millis(timeout.saturating_sub(start.elapsed()));
        }
    }

    /// Calls `epoll_wait` once. If `millis` is -1, there is no timeout.
    #[inline]
    fn wait(&mut self, events: &mut Events, millis: c_int) -> Result<()> {
        events.clear();
        let (epfd, buffer, capacity) = (self.as_raw_fd(), events.as_mut_ptr(), events.capacity());
        // SAFETY: the kernel writes at most `capacity` events. (If `capacity` does not fit in an
        // `int`, the kernel sees a smaller number, or one that it rejects.)
        let result = unsafe { ffi::epoll_wait(epfd, buffer, capacity as c_int, millis) };
        let count = check(result).map_err(explain_no_room)?;
        // SAFETY: the kernel has written `count` events.
        unsafe { events.set_len(count as usize) };
        Ok(())
    }
}

/// Adds, changes and removes registrations in the interest list of a [`Poll`].
///
/// A source is anything with a file descriptor (`AsFd`) that supports epoll: sockets, pipes,
/// terminals, `eventfd`, `timerfd`, `signalfd`, `inotify`, `pidfd`, another [`Poll`]. Most regular
/// files do not support it. The registry does not take ownership of a source. To register from
/// other threads while one polls, give them a [clone](Registry::try_clone).
///
/// **Deregister before you drop, if there may be a duplicate.** Dropping a `TcpStream` removes it
/// from the interest list only if it has no duplicate (`try_clone`, a child process). Otherwise
/// its events keep arriving.
#[derive(Debug)]
pub struct Registry(OwnedFd);

impl Registry {
    /// Adds `source` to the interest list with [`epoll_ctl(2)`]. Its events carry `token`.
    ///
    /// If the source is already ready, the current poll reports it, or the next one if none is
    /// running. The kernel adds `EPOLLERR` and `EPOLLHUP` to every interest.
    ///
    /// # Errors
    ///
    /// `EEXIST` (`AlreadyExists`): `source` is already registered; use
    /// [`reregister`](Registry::reregister). `EPERM` (`PermissionDenied`): it does not support
    /// epoll. `ENOSPC` (`StorageFull`): `/proc/sys/fs/epoll/max_user_watches` is reached. The page
    /// `errors` of epollet's guide has the others.
    ///
    /// [`epoll_ctl(2)`]: https://man7.org/linux/man-pages/man2/epoll_ctl.2.html
    pub fn register(
        &self,
        source: &(impl AsFd + ?Sized),
        token: Token,
        interest: impl Into<Interest>,
    ) -> Result<()> {
        self.epoll_ctl(ffi::EPOLL_CTL_ADD, source.as_fd(), token, interest.into())
    }

    /// Replaces the token and the interest of a registered `source`.
    ///
    /// If the source is ready, the current poll reports it, or the next one if none is running,
    /// even if it is edge-triggered and was reported before. After a one-shot report, this enables
    /// the registration again.
    ///
    /// # Errors
    ///
    /// `ENOENT` (`NotFound`): `source` is not registered.
    pub fn reregister(
        &self,
        source: &(impl AsFd + ?Sized),
        token: Token,
        interest: impl Into<Interest>,
    ) -> Result<()> {
        self.epoll_ctl(ffi::EPOLL_CTL_MOD, source.as_fd(), token, interest.into())
    }

    /// Removes `source` from the interest list. Events that an earlier poll returned, or that a
    /// poll in another thread is about to return, can still arrive.
    ///
    /// # Errors
    ///
    /// `ENOENT` (`NotFound`): `source` is not registered.
    pub fn deregister(&self, source: &(impl AsFd + ?Sized)) -> Result<()> {
        // The kernel ignores the token and the interest.
        self.epoll_ctl(ffi::EPOLL_CTL_DEL, source.as_fd(), 0, Interest(0))
    }

    /// Returns a second handle to the same queue, for another thread. It duplicates the epoll
    /// descriptor; the queue exists until the last duplicate is closed.
    ///
    /// # Errors
    ///
    /// `EMFILE`: this process has too many open files.
    pub fn try_clone(&self) -> Result<Registry> {
        self.0.try_clone().map(Registry)
    }

    fn epoll_ctl(
        &self,
        op: c_int,
        source: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> Result<()> {
        let (events, data) = (interest.0, token as u64);
        let mut event = Event { events, data };
        // SAFETY: the kernel reads `event` before the call returns.
        check(unsafe { ffi::epoll_ctl(self.as_raw_fd(), op, source.as_raw_fd(), &mut event) })?;
        Ok(())
    }
}

/// Identifies the source of an event: you choose it in [`Registry::register`], and
/// [`Event::token`] returns it. Often it is an index into a `Vec`.
pub type Token = usize;

/// The buffer that [`Poll::poll`] fills. Its capacity is the largest number of events that one call
/// returns: `Events::with_capacity(64)`.
pub type Events = Vec<Event>;

/// What to report about a source, and how. Combine interests with `|`. Raw `EPOLL*` bits convert
/// into an `Interest`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Interest(u32);

impl Interest {
    /// Data, end of file, or a connection to accept: `EPOLLIN`, and `EPOLLRDHUP`, so that the event
    /// shows a half-close by the peer.
    pub const READABLE: Interest = Interest(ffi::EPOLLIN | ffi::EPOLLRDHUP);
    /// Room to write, or a non-blocking connect that has finished: `EPOLLOUT`.
    pub const WRITABLE: Interest = Interest(ffi::EPOLLOUT);
    /// Priority data, such as TCP's out-of-band byte: `EPOLLPRI`.
    pub const PRIORITY: Interest = Interest(ffi::EPOLLPRI);
    /// Edge-triggered, see [`Poll`]: `EPOLLET`.
    pub const EDGE: Interest = Interest(ffi::EPOLLET);
    /// One-shot: after one report, disable the registration until it is
    /// [reregistered](Registry::reregister): `EPOLLONESHOT`.
    pub const ONESHOT: Interest = Interest(ffi::EPOLLONESHOT);

    /// Returns the `EPOLL*` bits.
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

/// Prints the bits by name: `EPOLLIN | EPOLLRDHUP`.
impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ffi::Names(self.0).fmt(f)
    }
}

/// Ends the sleep of [`Poll::poll`] from another thread: `poll` returns an event with the waker's
/// token.
///
/// It is an [`eventfd(2)`], registered edge-triggered: each wake is a new edge, so nothing has to
/// read it. Wakes between two polls coalesce into one event.
///
/// **Keep it alive.** Dropping the waker closes the eventfd, and a wake that no poll has returned
/// yet is lost with it. So let the polling thread own it too, for example in an `Arc`.
///
/// [`eventfd(2)`]: https://man7.org/linux/man-pages/man2/eventfd.2.html
#[derive(Debug)]
pub struct Waker(File);

impl Waker {
    /// Creates a waker for the queue of `registry`. Its events carry `token`.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`: this process or the system has too many open files.
    pub fn new(registry: &Registry, token: Token) -> Result<Waker> {
        // SAFETY: the call takes no pointer.
        let eventfd = check(unsafe { ffi::eventfd(0, ffi::EFD_CLOEXEC | ffi::EFD_NONBLOCK) })?;
        // SAFETY: the descriptor is new, so nothing else owns it.
        let waker = Waker(unsafe { File::from_raw_fd(eventfd) });
        registry.register(&waker, token, ffi::EPOLLIN | ffi::EPOLLET)?;
        Ok(waker)
    }

    /// Makes the current call to [`Poll::poll`] return, or the next one if none is running. Does
    /// not block.
    pub fn wake(&self) -> Result<()> {
        (&self.0).write_all(&1_u64.to_ne_bytes())
    }
}

/// Turns the -1 of a failed call into the error in `errno`.
#[inline]
fn check(result: c_int) -> Result<c_int> {
    if result == -1 {
        Err(last_error())
    } else {
        Ok(result)
    }
}

#[cold] // This keeps it out of the code of a poll that succeeds.
fn last_error() -> io::Error {
    io::Error::last_os_error()
}

/// Says what to do about the `EINVAL` of `epoll_wait`.
#[cold]
fn explain_no_room(error: io::Error) -> io::Error {
    const NO_ROOM: &str = "`events` has no usable capacity: make it with Events::with_capacity(64)";
    match error.kind() {
        ErrorKind::InvalidInput => io::Error::new(error.kind(), NO_ROOM),
        _ => error,
    }
}

/// Rounds up to milliseconds, the unit of `epoll_wait`. Rounded down, 0.4 ms would become 0, and a
/// loop that polls until a deadline would spin.
fn round_up_to_millis(timeout: Duration) -> c_int {
    let nanos = timeout.subsec_nanos() + 999_999; // so that the division rounds up
    let millis = timeout.as_secs().saturating_mul(1000);
    c_int::try_from(millis.saturating_add(u64::from(nanos / 1_000_000))).unwrap_or(c_int::MAX)
}

/// An epoll instance can be a source for another one: it is readable while its ready list has
/// something to report.
impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Poll {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Registry {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Registry {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Waker {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
