//! The event queue: a thin, safe layer over [`ffi`].
//!
//! It has four verbs. [`Poll::new`] makes a queue, [`Registry::register`] tells the kernel which
//! descriptors to watch and for what, [`Poll::poll`] sleeps until some of them are ready, and
//! [`Waker::wake`] ends that sleep from another thread. All `unsafe` code of the queue is here,
//! each piece next to the fact that makes it right.
//!
//! Copy this file together with `ffi.rs`; nothing else is needed.

#![allow(dead_code)] // A copy of this file seldom uses all of it.

use super::ffi::{self, Event};
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::BitOr;
use std::os::raw::{c_int, c_long};
use std::os::unix::io::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{fmt, mem, ptr};

/// Says which source an event is about: you choose it at [`Registry::register`], [`Event::token`]
/// gives it back.
///
/// Often it is the index of the source in a `Vec` of yours. Every `usize` will do.
pub type Token = usize;

/// What [`Poll::poll`] fills. Its capacity is the most that one call returns:
/// `Events::with_capacity(64)`.
pub type Events = Vec<Event>;

/// An event queue: an epoll instance of the kernel's, [`epoll(7)`].
///
/// # Level- and edge-triggered
///
/// A source is level-triggered unless you add [`Interest::EDGE`]. Level: each poll reports it as
/// long as there is something to read.
///
/// ```text
///                 2 bytes come    1 is read    1 more comes    both are read
/// poll reports      IN  IN  IN       IN  IN          IN  IN            -   -
/// ```
///
/// Edge: one poll reports it each time that something comes, whatever there is to read.
///
/// ```text
///                 2 bytes come    1 is read    1 more comes    both are read
/// poll reports      IN  -   -        -   -           IN  -             -   -
/// ```
///
/// **The drain rule.** After an edge-triggered report read (or write, or accept) until `WouldBlock`
/// or end of file: what you leave behind is not reported again until something new comes. So the
/// source has to be non-blocking, or the last read of the drain never returns. (Data, and the end
/// of file a moment later, are two edges: count what you have read, not the events.)
///
/// **What to do with an event.** Read if it is readable *or* says [`is_read_closed`] or
/// [`is_error`]: the end of a pipe is `EPOLLHUP` alone, and a level-triggered loop that waits for
/// `is_readable` there would spin. The read itself tells: 0 is the end, an error is the reason.
///
/// [`is_read_closed`]: Event::is_read_closed
/// [`is_error`]: Event::is_error
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
pub struct Poll {
    registry: Registry,
}

impl Poll {
    /// Makes an event queue that watches nothing yet, with [`epoll_create1(2)`]. Programs that this
    /// one starts do not inherit it (`EPOLL_CLOEXEC`); dropping it closes it.
    ///
    /// # Errors
    ///
    /// `EMFILE` and `ENFILE`: this process, or the machine, has no descriptor left. `ENOMEM`: the
    /// kernel has no memory.
    ///
    /// [`epoll_create1(2)`]: https://man7.org/linux/man-pages/man2/epoll_create.2.html
    pub fn new() -> io::Result<Poll> {
        // SAFETY: the call takes no pointer.
        let epoll = check(unsafe { ffi::epoll_create1(ffi::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new, so nobody else will close it.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        let registry = Registry { epoll };
        Ok(Poll { registry })
    }

    /// Returns the handle that registers sources.
    ///
    /// It is a type of its own because [`Poll::poll`] borrows the `Poll` mutably while it sleeps. A
    /// [clone](Registry::try_clone) of the `Registry` can go to another thread and register there
    /// meanwhile.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Sleeps until a source is ready and fills `events` with what there is to report,
    /// `events.capacity()` events at most. `Ok(())` with no event means that the timeout has
    /// elapsed, and nothing else.
    ///
    /// `events` is cleared first. What does not fit is reported by the next call; the kernel takes
    /// ready sources in turn, so that none is left out for ever. A signal does not end the sleep,
    /// it goes on for the rest of the timeout.
    ///
    /// A `timeout` of `None` waits for ever, zero returns at once, and none ends early. A whole
    /// number of milliseconds makes the system call [`epoll_wait(2)`], any other `epoll_pwait2`
    /// (same page), which takes nanoseconds. Where the kernel does not offer that (before Linux
    /// 5.11, in some sandboxes), the timeout is rounded up to a millisecond.
    ///
    /// For timers of your own, pass the time up to the nearest of them as the timeout; or register
    /// a `timerfd`.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: `events` has a capacity of 0, so there is no room for an event.
    ///
    /// [`epoll_wait(2)`]: https://man7.org/linux/man-pages/man2/epoll_wait.2.html
    #[inline]
    pub fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.clear();
        let millis = match timeout {
            None => -1,
            Some(timeout) if timeout.is_zero() => 0,
            Some(timeout) => return self.poll_for(events, timeout),
        };
        loop {
            match self.epoll_wait(events, millis) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// A wait that ends by the clock, in as many pieces as there are signals.
    fn poll_for(&mut self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        let start = Instant::now();
        let mut left = timeout;
        loop {
            match self.wait(events, left) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(()) if events.is_empty() && left > LONGEST_WAIT => {}
                done => return done,
            }
            left = timeout.saturating_sub(start.elapsed());
        }
    }

    /// Waits once, with the time in the form that the kernel wants: milliseconds in an `int`, or a
    /// `struct timespec`.
    fn wait(&mut self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        let fraction = timeout.subsec_nanos() % 1_000_000;
        if fraction > 0 {
            match self.epoll_pwait2(events, timeout) {
                // A kernel, or an emulator, without the call; or a sandbox that forbids what it
                // does not know.
                Err(error) if matches!(error.raw_os_error(), Some(ffi::ENOSYS | ffi::EPERM)) => {}
                done => return done,
            }
        }
        // Rounded up: rounded down it would end early, and with less than 1 ms left a loop around
        // it would spin.
        let millis = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        self.epoll_wait(events, millis.saturating_add((fraction > 0).into()))
    }

    #[inline]
    fn epoll_wait(&mut self, events: &mut Events, millis: c_int) -> io::Result<()> {
        let epfd = self.registry.epoll.as_raw_fd();
        // SAFETY: the kernel writes at most as many events as `events` has room for, and says how
        // many.
        unsafe {
            let count = ffi::epoll_wait(epfd, events.as_mut_ptr(), room(events)?, millis);
            events.set_len(check(count)? as usize);
        }
        Ok(())
    }

    #[inline(never)] // So that whole milliseconds do not pay for it.
    fn epoll_pwait2(&mut self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        let timespec = ffi::Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let epfd = self.registry.epoll.as_raw_fd();
        // SAFETY: as in `epoll_wait`; and the kernel reads `timespec` before it returns. All
        // arguments are words.
        unsafe {
            let count = ffi::syscall(
                ffi::SYS_EPOLL_PWAIT2.into(),
                c_long::from(epfd),
                events.as_mut_ptr(),
                c_long::from(room(events)?),
                &timespec as *const ffi::Timespec,
                ptr::null::<c_long>(), // no signal mask
                0 as c_long,           // and its size
            );
            events.set_len(check(count as c_int)? as usize);
        }
        Ok(())
    }
}

/// An epoll instance is itself a descriptor, readable while it has events to report: register it
/// with another `Poll`.
impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registry.as_fd()
    }
}

/// Registers sources with the queue of the [`Poll`] that it comes from.
///
/// # What is a source
///
/// Anything with a file descriptor (`AsFd`) that the kernel can poll: sockets, pipes, terminals,
/// `eventfd`, `timerfd`, `signalfd`, `inotify`, a `pidfd`, another [`Poll`]; not a regular file, a
/// directory or `/dev/null`, which never make anyone wait. You go on owning it.
///
/// The registration ends when the source is closed: to drop a `TcpStream` is to deregister it. More
/// exactly, it belongs to the open file and ends with the last descriptor of that. While a
/// duplicate lives on (`try_clone`, a child process), events go on coming, though the descriptor
/// that was registered is closed; and to [`deregister`](Registry::deregister) by the duplicate
/// fails (`ENOENT`). So where there are duplicates, deregister before you drop. (A duplicate can be
/// registered as well: then each report comes twice, once for each token.)
///
/// # Non-blocking
///
/// Set each source to non-blocking. Draining it (see [`Poll`]) ends with a read that would block;
/// and readiness is a hint: another thread may have been faster, or a datagram had a wrong
/// checksum.
#[doc(alias = "Registrator")]
#[derive(Debug)]
pub struct Registry {
    epoll: OwnedFd,
}

impl Registry {
    /// Asks the queue to watch `source` for `interest` and to name it `token`, with
    /// [`epoll_ctl(2)`] (`EPOLL_CTL_ADD`).
    ///
    /// What is ready already is reported by the next poll. Errors and hang-ups (`EPOLLERR`,
    /// `EPOLLHUP`) are always reported, whatever the interest.
    ///
    /// # Errors
    ///
    /// | OS error | kind | what it means |
    /// |---|---|---|
    /// | `EEXIST` | `AlreadyExists` | registered already: [`reregister`](Registry::reregister) changes it |
    /// | `EPERM` | `PermissionDenied` | it never makes a reader wait, so read it: a regular file, a directory, `/dev/null` |
    /// | `EBADF` | | not open: the descriptor of `source` was closed behind its back |
    /// | `EINVAL` | `InvalidInput` | the queue in itself; [`EXCLUSIVE`](Interest::EXCLUSIVE) with what it does not go with |
    /// | `ELOOP` | | queues in a circle, or more than 5 deep |
    /// | `ENOSPC` | | `/proc/sys/fs/epoll/max_user_watches` is reached |
    /// | `ENOMEM` | `OutOfMemory` | the kernel has no memory |
    ///
    /// # Examples
    ///
    /// A raw descriptor of your own goes in as a `BorrowedFd` or `OwnedFd`, raw bits go in as an
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
        source: &impl AsFd,
        token: Token,
        interest: impl Into<Interest>,
    ) -> io::Result<()> {
        self.epoll_ctl(ffi::EPOLL_CTL_ADD, source, token, interest.into())
    }

    /// Replaces token and interest of a registered `source`, with [`epoll_ctl(2)`]
    /// (`EPOLL_CTL_MOD`).
    ///
    /// What is ready at this moment is reported once more, edge-triggered or not; after a one-shot
    /// report this is how the source is watched again.
    ///
    /// # Errors
    ///
    /// `ENOENT` (`NotFound`): not registered. `EINVAL` (`InvalidInput`): the registration, or
    /// `interest`, is `EXCLUSIVE`, which cannot be changed. `EBADF` and `ENOMEM` as for
    /// [`register`](Registry::register).
    ///
    /// [`epoll_ctl(2)`]: https://man7.org/linux/man-pages/man2/epoll_ctl.2.html
    pub fn reregister(
        &self,
        source: &impl AsFd,
        token: Token,
        interest: impl Into<Interest>,
    ) -> io::Result<()> {
        self.epoll_ctl(ffi::EPOLL_CTL_MOD, source, token, interest.into())
    }

    /// Ends the watch of `source`, with [`epoll_ctl(2)`] (`EPOLL_CTL_DEL`). No later poll reports
    /// it; an event that an earlier poll has put into your `Events` is still there.
    ///
    /// # Errors
    ///
    /// `ENOENT` (`NotFound`): not registered. `EBADF` as for [`register`](Registry::register).
    ///
    /// [`epoll_ctl(2)`]: https://man7.org/linux/man-pages/man2/epoll_ctl.2.html
    pub fn deregister(&self, source: &impl AsFd) -> io::Result<()> {
        // The kernel ignores token and interest.
        self.epoll_ctl(ffi::EPOLL_CTL_DEL, source, 0, Interest(0))
    }

    /// Returns a second handle on the same queue, for another thread. The queue is closed when its
    /// `Poll` and every `Registry` are gone.
    ///
    /// # Errors
    ///
    /// `EMFILE`: this process has no descriptor left.
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
    /// poll.poll(&mut events, None)?; // Sleeps until the other thread registers a source.
    /// assert_eq!(events[0].token(), 1);
    /// # let _pair = other.join().unwrap()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_clone(&self) -> io::Result<Registry> {
        let epoll = self.epoll.try_clone()?;
        Ok(Registry { epoll })
    }

    fn epoll_ctl(
        &self,
        op: c_int,
        source: &impl AsFd,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        let (epfd, fd) = (self.epoll.as_raw_fd(), source.as_fd().as_raw_fd());
        let (events, data) = (interest.0 as u32, token as u64);
        let mut event = Event { events, data };
        // SAFETY: both descriptors are open, for they are borrowed, and the kernel reads `event`
        // before it returns.
        check(unsafe { ffi::epoll_ctl(epfd, op, fd, &mut event) })?;
        Ok(())
    }
}

impl AsFd for Registry {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// What to watch a source for, and how to report it; combined with `|`. Raw `EPOLL*` bits do as
/// well: it is `From<i32>`.
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
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Interest(i32);

impl Interest {
    /// Data, end of file or a connection to accept: `EPOLLIN`; with `EPOLLRDHUP`, so that the event
    /// of a stream whose peer has ended its side says so.
    pub const READABLE: Interest = Interest(ffi::EPOLLIN | ffi::EPOLLRDHUP);
    /// Room to write, or the end of a non-blocking connect: `EPOLLOUT`.
    pub const WRITABLE: Interest = Interest(ffi::EPOLLOUT);
    /// Priority data, such as out-of-band data on TCP: `EPOLLPRI`.
    pub const PRIORITY: Interest = Interest(ffi::EPOLLPRI);
    /// Edge-triggered, see [`Poll`]: `EPOLLET`.
    pub const EDGE: Interest = Interest(ffi::EPOLLET);
    /// After one report the source rests until it is [reregistered](Registry::reregister):
    /// `EPOLLONESHOT`.
    pub const ONESHOT: Interest = Interest(ffi::EPOLLONESHOT);
    /// Where several queues watch the same source, wake one or some of them, not all:
    /// `EPOLLEXCLUSIVE`. The kernel takes it with `EPOLLIN`, `WRITABLE` and `EDGE` alone, so not
    /// with `READABLE`, which has `EPOLLRDHUP` in it: `ffi::EPOLLIN | ffi::EPOLLEXCLUSIVE` is what
    /// a listener wants. It cannot be reregistered.
    pub const EXCLUSIVE: Interest = Interest(ffi::EPOLLEXCLUSIVE);

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
/// It is an [`eventfd(2)`], a counter with a descriptor, registered edge-triggered: each wake is a
/// new edge, so that nobody needs to read it. Wakes between two polls make one event, and a wake
/// before the poll is not lost.
///
/// **Keep it.** Dropping the waker deregisters it, and a wake that no poll has returned yet goes
/// with it. So the polling thread should own it too, in an `Arc` for one: the thread that wakes may
/// be gone before the other wakes up.
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
pub struct Waker {
    eventfd: File,
}

impl Waker {
    /// Makes a waker for the queue of `registry`, whose events will carry `token`.
    ///
    /// # Errors
    ///
    /// `EMFILE` and `ENFILE`: no descriptor left. `ENODEV` and `ENOMEM`: the kernel cannot make
    /// one. Those of [`Registry::register`].
    pub fn new(registry: &Registry, token: Token) -> io::Result<Waker> {
        // SAFETY: the call takes no pointer.
        let eventfd = check(unsafe { ffi::eventfd(0, ffi::EFD_CLOEXEC | ffi::EFD_NONBLOCK) })?;
        // SAFETY: the descriptor is new, so nobody else will close it.
        let eventfd = unsafe { File::from_raw_fd(eventfd) };
        registry.register(&eventfd, token, ffi::EPOLLIN | ffi::EPOLLET)?;
        Ok(Waker { eventfd })
    }

    /// Makes the current or else the next [`Poll::poll`] return. Never blocks.
    ///
    /// A wake that no poll has returned yet is lost when the waker is dropped: join the polling
    /// thread first, or let it own the waker too.
    ///
    /// # Errors
    ///
    /// None that the manual page of `eventfd(2)` knows for this use.
    #[doc(alias = "close_loop")]
    #[inline]
    pub fn wake(&self) -> io::Result<()> {
        match (&self.eventfd).write(&1_u64.to_ne_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.restart(),
            done => done.map(drop),
        }
    }

    /// The counter is full, after 2^64 - 2 wakes: starts it anew.
    #[cold]
    fn restart(&self) -> io::Result<()> {
        match (&self.eventfd).read(&mut [0; 8]) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => self.wake(), // WouldBlock: another thread has just done it.
        }
    }
}

/// The most that one wait can last: epoll_wait takes milliseconds in an `int`, 24.8 days.
const LONGEST_WAIT: Duration = Duration::from_millis(c_int::MAX as u64);

/// Returns how many events fit. The kernel answers `EINVAL` to 0, and to more than `c_int::MAX`
/// bytes of them.
#[inline]
fn room(events: &Events) -> io::Result<c_int> {
    const MOST: usize = c_int::MAX as usize / mem::size_of::<Event>();
    match events.capacity() {
        0 => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "`events` has a capacity of 0, no room for an event: use Events::with_capacity(64)",
        )),
        capacity @ 1..=MOST => Ok(capacity as c_int),
        _ => Ok(MOST as c_int),
    }
}

/// Turns the -1 of a system call into the error that it left in `errno`.
#[inline]
fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
