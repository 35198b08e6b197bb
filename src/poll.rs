// SPDX-License-Identifier: MIT. This file is part of epollet 0.1.

//! The event queue: a thin, safe layer over [`ffi`].
//!
//! [`Poll::new`] creates an epoll instance, [`Registry::register`] adds a source to its interest
//! list, [`Poll::poll`] sleeps until a source is ready, and [`Waker::wake`] ends that sleep from
//! another thread. Each of them is one system call (`poll` makes it again after a signal).
//!
//! Copy this file together with `ffi.rs`; the two need nothing else.

#![allow(dead_code)] // A program that copies this file seldom uses all of it.

use super::ffi::{self, Event};
use std::io::{self, ErrorKind, Result, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};
use std::{ffi::c_int, fmt, fs::File, ops::BitOr};

/// Identifies the source of an event: you choose it in [`Registry::register`], and
/// [`Event::token`] returns it.
///
/// Often it is an index into a `Vec`. Any `usize` will do.
pub type Token = usize;

/// The buffer that [`Poll::poll`] fills. Its capacity is the largest number of events that one call
/// returns: `Events::with_capacity(64)`.
pub type Events = Vec<Event>;

/// An event queue: an epoll instance, see [`epoll(7)`].
///
/// # Level-triggered and edge-triggered
///
/// A source is level-triggered unless you add [`Interest::EDGE`]. Level-triggered: every poll that
/// has room for it reports it for as long as it is ready. (For the exception, see
/// [`EPOLLEXCLUSIVE`](ffi::EPOLLEXCLUSIVE).)
///
/// ```text
///                2 bytes arrive   1 is read   1 more arrives   both are read
/// poll reports     IN  IN  IN       IN  IN        IN  IN            -   -
/// ```
///
/// Edge-triggered: after a change, one poll reports the source, if it is still ready.
///
/// ```text
///                2 bytes arrive   1 is read   1 more arrives   both are read
/// poll reports     IN  -   -        -   -         IN  -             -   -
/// ```
///
/// **Drain.** After an edge-triggered event, read (or write, or accept) until `WouldBlock` or end
/// of file: what you leave unread is not reported until something changes again. So the source has
/// to be non-blocking, or the last call of the drain blocks. What counts as a change depends on the
/// kind of source: see the page `edges` of epollet's guide.
///
/// **Starvation.** A source that is filled as fast as you read keeps its drain from ending, and the
/// others wait. Give each source a budget of reads per event. Remember the edge-triggered sources
/// that are not drained yet.
///
/// **What to do with an event.** If you want to read, do so when [`is_readable`],
/// [`is_read_closed`] or [`is_error`] is true. The result tells what is true now: 0 bytes mean end
/// of file on a stream, and an error tells what failed. A loop that checks only `is_readable`
/// misses end of file on an empty pipe, which is `EPOLLHUP` without `EPOLLIN`; if the pipe is
/// level-triggered, the loop spins.
///
/// [`is_readable`]: Event::is_readable
/// [`is_read_closed`]: Event::is_read_closed
/// [`is_error`]: Event::is_error
///
/// # The kernel's rules
///
/// An epoll instance has an interest list and a ready list. This is what the kernel does with them:
///
/// ```text
/// register     add a registration; if its source is ready, put it on the ready list
/// reregister   replace token and interest, and enable it; if its source is ready, as above
/// deregister   take the registration off both lists (the end of its open file description does too)
///
/// wakeup       if the registration is enabled, and the change may be part of its interest: put it
///              at the tail of the ready list, unless it is already there; wake a thread in poll
///
/// poll         sleep until the ready list is not empty; while there is room, take its head:
///              ask the source what is ready now; keep the bits in the interest, and ERR and HUP;
///              if none are left: no event. Otherwise report the bits with the token, and then
///              one-shot: disable it; edge-triggered: done; level-triggered: set it aside.
///              Finally, put those set aside at the tail of the ready list
/// ```
///
/// # Examples
///
/// ```
/// use epollet::{Events, Interest, Poll};
/// use std::io::{ErrorKind, Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// let (mut ours, mut theirs) = UnixStream::pair()?;
/// ours.set_nonblocking(true)?;
/// let mut poll = Poll::new()?;
/// poll.registry().register(&ours, 7, Interest::READABLE | Interest::EDGE)?;
///
/// theirs.write_all(b"hello")?;
/// let mut events = Events::with_capacity(10);
/// poll.poll(&mut events, None)?;
/// assert_eq!(events[0].token(), 7);
///
/// let mut received = Vec::new();
/// let mut buffer = [0; 2];
/// loop {
///     match ours.read(&mut buffer) {
///         Ok(0) => break, // end of file
///         Ok(count) => received.extend_from_slice(&buffer[..count]),
///         Err(error) if error.kind() == ErrorKind::WouldBlock => break, // drained
///         Err(error) => return Err(error),
///     }
/// }
/// assert_eq!(received, b"hello");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// [`epoll(7)`]: https://man7.org/linux/man-pages/man7/epoll.7.html
#[derive(Debug)]
pub struct Poll(Registry);

impl Poll {
    /// Creates an event queue with an empty interest list, using [`epoll_create1(2)`]. A program
    /// that a child process executes does not inherit it (`EPOLL_CLOEXEC`). Dropping the `Poll`
    /// closes its descriptor.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`: this process or the system has too many open files. `ENOMEM`
    /// (`OutOfMemory`): the kernel has no memory left.
    ///
    /// [`epoll_create1(2)`]: https://man7.org/linux/man-pages/man2/epoll_create.2.html
    pub fn new() -> Result<Poll> {
        // SAFETY: the call takes no pointer.
        let epoll = check(unsafe { ffi::epoll_create1(ffi::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new, so nothing else owns it.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll as RawFd) };
        Ok(Poll(Registry(epoll)))
    }

    /// Returns the handle that registers sources.
    ///
    /// It is a separate type because [`Poll::poll`] borrows the `Poll` mutably while it sleeps. A
    /// [clone](Registry::try_clone) of the `Registry` can register from another thread during that
    /// time.
    pub fn registry(&self) -> &Registry {
        &self.0
    }

    /// Sleeps until a source is ready, then fills `events` with at most `events.capacity()` events.
    /// Calls [`epoll_wait(2)`].
    ///
    /// `events` is cleared first. `Ok(())` without events means that the timeout elapsed. Events
    /// that do not fit come first in the next call; the kernel takes ready sources in turn, so a
    /// small capacity starves no source.
    ///
    /// A `timeout` of `None` waits indefinitely; zero returns at once. Other timeouts are rounded
    /// up to milliseconds, the unit of `epoll_wait`, so no timeout ends early. For finer timers,
    /// register a `timerfd`.
    ///
    /// If a signal interrupts the call (`EINTR`), it is retried with the remaining time. To end a
    /// loop on a signal, register a `signalfd`, or let the handler call `write(2)` with the
    /// descriptor of a [`Waker`] and the number 1 in 8 bytes.
    ///
    /// # Errors
    ///
    /// `InvalidInput` (`EINVAL`): `events` has a capacity of 0, or of more than the kernel accepts.
    ///
    /// [`epoll_wait(2)`]: https://man7.org/linux/man-pages/man2/epoll_wait.2.html
    #[inline]
    pub fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> Result<()> {
        events.clear();
        // Only a finite timeout needs the clock.
        let millis = match timeout {
            None => -1,
            Some(Duration::ZERO) => 0,
            Some(timeout) => return self.poll_for(events, timeout),
        };
        while !self.epoll_wait(events, millis)? {}
        Ok(())
    }

    /// Polls with a timeout. Retries with the remaining time if a signal interrupts the call.
    fn poll_for(&mut self, events: &mut Events, timeout: Duration) -> Result<()> {
        let start = Instant::now();
        let mut remaining = timeout;
        while !self.epoll_wait(events, round_up_to_millis(remaining))? {
            remaining = timeout.saturating_sub(start.elapsed());
        }
        Ok(())
    }

    /// Calls `epoll_wait` once. Returns false if it has to be called again: a signal has
    /// interrupted it, or the longest wait that fits in an `int`, 24.8 days, has elapsed.
    #[inline]
    fn epoll_wait(&mut self, events: &mut Events, millis: c_int) -> Result<bool> {
        let (epfd, buffer, capacity) = (self.as_raw_fd(), events.as_mut_ptr(), events.capacity());
        // SAFETY: the kernel writes at most `capacity` events. (If that does not fit in an `int`,
        // it sees a smaller number, or one that it rejects.)
        let count = unsafe { ffi::epoll_wait(epfd, buffer, capacity as c_int, millis) };
        if count < 0 {
            return retry_if_interrupted();
        }
        // SAFETY: the kernel has written `count` events.
        unsafe { events.set_len(count as usize) };
        Ok(count > 0 || millis < c_int::MAX)
    }
}

/// Makes an epoll instance a source for another one: it is readable while its ready list has
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

/// Adds, changes and removes registrations in the interest list of a [`Poll`].
///
/// # Sources
///
/// A source is anything with a file descriptor (`AsFd`) that supports epoll: sockets, pipes,
/// terminals, `eventfd`, `timerfd`, `signalfd`, `inotify`, `pidfd`, another [`Poll`]. Regular files
/// on disk, directories and `/dev/null` are not supported. A registry does not take ownership of a
/// source.
///
/// A registration belongs to the open file description, which duplicates of the descriptor share
/// (`try_clone`, a child process). It ends when the last duplicate is closed and no call on it is
/// running. So dropping a `TcpStream` removes it from the interest list, unless a duplicate exists:
/// then events keep arriving, and you cannot stop them through a duplicate with another number
/// (`ENOENT`). If there may be duplicates, [`deregister`](Registry::deregister) before you drop. A
/// child process holds duplicates of everything between `fork` and `exec`, so ignore events whose
/// token you do not know.
///
/// # Non-blocking
///
/// Make each source non-blocking (except standard input: see the page `practice` of the guide). A
/// drain usually ends with a call that would block. And readiness is only a hint: by the time you
/// read, another thread may have read first.
#[derive(Debug)]
pub struct Registry(OwnedFd);

impl Registry {
    /// Adds `source` to the interest list, using [`epoll_ctl(2)`] with `EPOLL_CTL_ADD`. Its events
    /// carry `token`.
    ///
    /// If the source is ready already, the next poll that has room for it reports it. The kernel
    /// adds `EPOLLERR` and `EPOLLHUP` to every interest, even to raw bits of 0. (After a one-shot
    /// report, these are disabled too.)
    ///
    /// # Errors
    ///
    /// | OS error | kind | meaning |
    /// |---|---|---|
    /// | `EEXIST` | `AlreadyExists` | `source` is already registered; use [`reregister`](Registry::reregister) to change it |
    /// | `EPERM` | `PermissionDenied` | a kind of file that does not support epoll: most regular files, a directory, `/dev/null` |
    /// | `EBADF` | | the descriptor of `source` is not open, or was opened with `O_PATH` |
    /// | `EINVAL` | `InvalidInput` | `source` is the queue itself, or too many paths lead to it through nested queues; `EPOLLEXCLUSIVE` with bits that it cannot be combined with, or with another queue as the source |
    /// | `ELOOP` | | a cycle of queues, or queues nested more than 5 deep |
    /// | `ENOSPC` | `StorageFull` | `/proc/sys/fs/epoll/max_user_watches` is reached |
    /// | `ENOMEM` | `OutOfMemory` | the kernel has no memory left |
    ///
    /// # Examples
    ///
    /// Register a raw descriptor as a `BorrowedFd` or an `OwnedFd`. Raw bits also work as an
    /// interest:
    ///
    /// ```
    /// use epollet::{ffi, Events, Poll};
    /// use std::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let mut poll = Poll::new()?;
    /// poll.registry().register(&socket, 0, ffi::EPOLLOUT | ffi::EPOLLET)?;
    ///
    /// let mut events = Events::with_capacity(1);
    /// poll.poll(&mut events, None)?;
    /// assert_eq!(format!("{:?}", events[0]), "Event { token: 0, events: EPOLLOUT }");
    ///
    /// let again = poll.registry().register(&socket, 0, ffi::EPOLLOUT);
    /// assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// Replaces the token and the interest of a registered `source`, using [`epoll_ctl(2)`] with
    /// `EPOLL_CTL_MOD`.
    ///
    /// If the source is ready, the next poll that has room for it reports it, even if it is
    /// edge-triggered and was reported before. After a one-shot report, this enables the
    /// registration again.
    ///
    /// # Errors
    ///
    /// `ENOENT` (`NotFound`): `source` is not registered. `EINVAL` (`InvalidInput`):
    /// `EPOLLEXCLUSIVE` in the registration or in `interest`; an exclusive registration cannot be
    /// changed. `EPERM`, `EBADF`, and `EINVAL` for the queue itself, as for
    /// [`register`](Registry::register).
    ///
    /// [`epoll_ctl(2)`]: https://man7.org/linux/man-pages/man2/epoll_ctl.2.html
    pub fn reregister(
        &self,
        source: &(impl AsFd + ?Sized),
        token: Token,
        interest: impl Into<Interest>,
    ) -> Result<()> {
        self.epoll_ctl(ffi::EPOLL_CTL_MOD, source.as_fd(), token, interest.into())
    }

    /// Removes `source` from the interest list, using [`epoll_ctl(2)`] with `EPOLL_CTL_DEL`. Later
    /// polls do not report it; events that an earlier poll returned are still in your `Events`.
    ///
    /// # Errors
    ///
    /// `ENOENT` (`NotFound`): `source` is not registered. `EPERM`, `EBADF`, and `EINVAL` for the
    /// queue itself, as for [`register`](Registry::register).
    ///
    /// [`epoll_ctl(2)`]: https://man7.org/linux/man-pages/man2/epoll_ctl.2.html
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
    ///
    /// # Examples
    ///
    /// ```
    /// use epollet::{Events, Interest, Poll};
    /// use std::os::unix::net::UnixStream;
    /// use std::thread;
    ///
    /// let mut poll = Poll::new()?;
    /// let registry = poll.registry().try_clone()?;
    /// let other = thread::spawn(move || {
    ///     let (ours, theirs) = UnixStream::pair()?;
    ///     registry.register(&ours, 1, Interest::WRITABLE)?;
    ///     Ok::<_, std::io::Error>((ours, theirs))
    /// });
    ///
    /// let mut events = Events::with_capacity(1);
    /// poll.poll(&mut events, None)?; // sleeps until the other thread has registered a source
    /// assert_eq!(events[0].token(), 1);
    /// # let _pair = other.join().unwrap()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_clone(&self) -> Result<Registry> {
        self.0.try_clone().map(Registry)
    }

    fn epoll_ctl(&self, op: c_int, fd: BorrowedFd, token: Token, interest: Interest) -> Result<()> {
        let (events, data) = (interest.0 as u32, token as u64);
        let mut event = Event { events, data };
        let (epfd, fd) = (self.as_raw_fd(), fd.as_raw_fd());
        // SAFETY: the kernel reads `event` before the call returns.
        check(unsafe { ffi::epoll_ctl(epfd, op, fd, &mut event) }).map(drop)
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

/// What to report about a source, and how. Combine with `|`. Raw `EPOLL*` bits convert into it.
///
/// # Examples
///
/// ```
/// use epollet::{ffi, Interest};
///
/// let interest = Interest::READABLE | Interest::EDGE;
/// assert_eq!(interest, Interest::from(ffi::EPOLLIN | ffi::EPOLLRDHUP | ffi::EPOLLET));
/// assert_eq!(format!("{interest:?}"), "EPOLLIN | EPOLLRDHUP | EPOLLET");
/// ```
///
/// `EPOLLEXCLUSIVE` has no name here: the kernel rejects it together with `EPOLLRDHUP`, which
/// `READABLE` contains. Use `ffi::EPOLLIN | ffi::EPOLLEXCLUSIVE` to register a listener that
/// several queues share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Interest(i32);

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
    pub const fn bits(self) -> i32 {
        self.0
    }
}

impl<T: Into<Interest>> BitOr<T> for Interest {
    type Output = Interest;

    fn bitor(self, other: T) -> Interest {
        Interest(self.0 | other.into().0)
    }
}

impl From<i32> for Interest {
    fn from(bits: i32) -> Interest {
        Interest(bits)
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ffi::Names(self.0 as u32).fmt(f)
    }
}

/// Ends the sleep of [`Poll::poll`] from another thread: `poll` returns an event with the waker's
/// token.
///
/// It is an [`eventfd(2)`], a counter behind a descriptor, registered edge-triggered: each wake is
/// a new edge, so nothing has to read the counter. Wakes between two polls coalesce into one event,
/// and a wake before a poll is not lost.
///
/// **Keep it alive.** Dropping the waker closes the eventfd, and a wake that no poll has returned
/// yet is lost with it (unless a child process holds a duplicate). So let the polling thread own it
/// too, for example in an `Arc`.
///
/// # Examples
///
/// ```
/// use epollet::{Events, Poll, Waker};
/// use std::sync::Arc;
/// use std::thread;
///
/// const STOP: usize = usize::MAX;
/// let mut poll = Poll::new()?;
/// let waker = Arc::new(Waker::new(poll.registry(), STOP)?);
///
/// let ours = Arc::clone(&waker); // lives as long as the loop
/// let event_loop = thread::spawn(move || {
///     let _ours = ours;
///     let mut events = Events::with_capacity(10);
///     loop {
///         poll.poll(&mut events, None)?;
///         if events.iter().any(|event| event.token() == STOP) {
///             return Ok::<(), std::io::Error>(());
///         }
///     }
/// });
///
/// waker.wake()?;
/// drop(waker);
/// event_loop.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// [`eventfd(2)`]: https://man7.org/linux/man-pages/man2/eventfd.2.html
#[derive(Debug)]
pub struct Waker(File);

impl Waker {
    /// Creates a waker for the queue of `registry`. Its events carry `token`.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`: this process or the system has too many open files. `ENODEV`, `ENOMEM`:
    /// the kernel cannot create an eventfd. Also those of [`Registry::register`].
    pub fn new(registry: &Registry, token: Token) -> Result<Waker> {
        // SAFETY: the call takes no pointer.
        let eventfd = check(unsafe { ffi::eventfd(0, ffi::EFD_CLOEXEC | ffi::EFD_NONBLOCK) })?;
        // SAFETY: the descriptor is new, so nothing else owns it.
        let waker = Waker(unsafe { File::from_raw_fd(eventfd as RawFd) });
        registry.register(&waker, token, ffi::EPOLLIN | ffi::EPOLLET)?;
        Ok(waker)
    }

    /// Makes the current call to [`Poll::poll`] return, or the next one if none is running. Does
    /// not block.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: the counter is full, after 2^64 - 2 wakes.
    pub fn wake(&self) -> Result<()> {
        (&self.0).write_all(&1_u64.to_ne_bytes())
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Rounds up to the unit of `epoll_wait`. Rounded down, 0.4 ms would become 0, and a loop that
/// polls until a deadline would spin.
fn round_up_to_millis(timeout: Duration) -> c_int {
    let fraction = u64::from(timeout.subsec_nanos().div_ceil(1_000_000));
    let millis = timeout.as_secs().saturating_mul(1000);
    c_int::try_from(millis.saturating_add(fraction)).unwrap_or(c_int::MAX)
}

/// Turns the -1 of a failed call into the error in `errno`.
fn check(result: c_int) -> Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Returns the error of a failed `epoll_wait`, or `Ok(false)` if a signal interrupted it.
#[cold]
fn retry_if_interrupted() -> Result<bool> {
    const NO_ROOM: &str = "`events` has no usable capacity: make it with Events::with_capacity(64)";
    let error = io::Error::last_os_error();
    match error.kind() {
        ErrorKind::Interrupted => Ok(false),
        ErrorKind::InvalidInput => Err(io::Error::new(error.kind(), NO_ROOM)),
        _ => Err(error),
    }
}
