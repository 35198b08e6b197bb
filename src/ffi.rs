// SPDX-License-Identifier: MIT. This file is part of epollet 0.1.

//! The raw bindings: the epoll calls, constants and the event struct, as the C library declares
//! them. Functions and constants have the kernel's names.
//!
//! Copy this file together with `poll.rs`; the two need nothing else.

#![allow(dead_code)] // A program that copies this file seldom uses all of it.

use std::ffi::{c_int, c_uint};
use std::fmt;

#[cfg(any(
    not(any(target_os = "linux", target_os = "android")),
    any(target_arch = "mips", target_arch = "mips32r6"),
    any(target_arch = "mips64", target_arch = "mips64r6"),
    any(target_arch = "sparc", target_arch = "sparc64")
))]
compile_error!(
    "epollet needs Linux or Android, and a processor other than MIPS and SPARC. Elsewhere, run it \
     in a Linux virtual machine, in WSL 2 (Windows) or in a container: \
     docker run -it -v \"$PWD\":/epollet -w /epollet rust cargo run"
);

// epoll_create1(2): flags
pub const EPOLL_CLOEXEC: i32 = 0o2000000; // O_CLOEXEC

// epoll_ctl(2): operations
pub const EPOLL_CTL_ADD: i32 = 1;
pub const EPOLL_CTL_DEL: i32 = 2;
pub const EPOLL_CTL_MOD: i32 = 3;

// epoll_ctl(2): what to report
/// Readable. For example: there is data, end of file, or a connection to accept; the process of
/// this `pidfd` has exited.
pub const EPOLLIN: i32 = 0x1;
/// Priority data, such as TCP's out-of-band byte, which is read with `MSG_OOB`; or a change to
/// some files in `/proc` and `/sys`.
pub const EPOLLPRI: i32 = 0x2;
/// Writable. For example: there is room to write (TCP reports it when about a third of the send
/// buffer is free), or a non-blocking connect has finished.
pub const EPOLLOUT: i32 = 0x4;
/// Error. For example: an error is pending, or the read end of this pipe is closed. The kernel adds
/// it to every interest.
pub const EPOLLERR: i32 = 0x8;
/// Hang-up. For example: both directions of this stream socket are shut down, or it is neither
/// connected, connecting nor listening; the write end of this pipe or the other end of this
/// terminal is closed. The kernel adds it to every interest.
pub const EPOLLHUP: i32 = 0x10;
/// The peer has shut down its sending side, this side has shut down its receiving side, or the
/// connection has failed. There may still be data to read.
pub const EPOLLRDHUP: i32 = 0x2000;

// epoll_ctl(2): how to report it
/// If this source is registered in several epoll instances with this bit and a thread sleeps in
/// each, a new connection or new data wakes at least one thread instead of all. Instances that were
/// not woken do not report it. (If no thread sleeps, each instance reports it. A close by the peer
/// can wake all.)
pub const EPOLLEXCLUSIVE: i32 = 1 << 28;
/// One-shot: report once, then disable the registration until `EPOLL_CTL_MOD`.
pub const EPOLLONESHOT: i32 = 1 << 30;
/// Edge-triggered: report after a change, not for as long as the source is ready.
pub const EPOLLET: i32 = 1 << 31;

// eventfd(2): flags
pub const EFD_NONBLOCK: i32 = 0o4000; // O_NONBLOCK
pub const EFD_CLOEXEC: i32 = 0o2000000; // O_CLOEXEC

/// What the kernel reports about one registration: `struct epoll_event`, see
/// [`epoll_event(3type)`].
///
/// The kernel packs this struct only on x86-64, where that makes it 12 bytes long, as on 32-bit
/// x86. `data` has 64 bits on every machine, and the kernel writes all of them.
///
/// The methods named `is_…` are hints, as in mio: they describe the moment of the report. Only the
/// result of a read or a write shows what is true now.
///
/// # Examples
///
/// ```
/// use epollet::{ffi, Events, Interest, Poll};
/// use std::os::unix::net::UnixStream;
///
/// let (ours, theirs) = UnixStream::pair()?;
/// let mut poll = Poll::new()?;
/// poll.registry().register(&ours, 4, Interest::READABLE)?;
/// drop(theirs);
///
/// let mut events = Events::with_capacity(8);
/// poll.poll(&mut events, None)?;
/// let event = events[0];
/// assert_eq!(event.token(), 4);
/// assert!(event.bits() & ffi::EPOLLIN as u32 != 0);
/// assert!(event.is_readable() && event.is_read_closed());
/// assert_eq!(format!("{event:?}"), "Event { token: 4, events: EPOLLIN | EPOLLHUP | EPOLLRDHUP }");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// [`epoll_event(3type)`]: https://man7.org/linux/man-pages/man3/epoll_event.3type.html
#[derive(Clone, Copy)]
#[repr(C)]
#[cfg_attr(target_arch = "x86_64", repr(packed))]
pub struct Event {
    pub(crate) events: u32,
    pub(crate) data: u64,
}

impl Event {
    /// Returns the token that the source was registered with.
    pub fn token(&self) -> usize {
        self.data as usize
    }

    /// Returns the reported bits: `EPOLLIN`, `EPOLLOUT` and so on, combined with `|`.
    pub fn bits(&self) -> u32 {
        self.events
    }

    /// Returns true for `EPOLLIN` and `EPOLLPRI`: there is something to read, such as data, end of
    /// file, a connection to accept, or priority data.
    ///
    /// End of file on an empty pipe sets neither bit: see
    /// [`is_read_closed`](Event::is_read_closed). If a socket has only an out-of-band byte, an
    /// ordinary read returns `WouldBlock`, and can lose the byte: see
    /// [`is_priority`](Event::is_priority).
    pub fn is_readable(&self) -> bool {
        self.has(EPOLLIN | EPOLLPRI)
    }

    /// Returns true for `EPOLLOUT`: usually, there is room to write, or a non-blocking connect has
    /// succeeded or failed.
    pub fn is_writable(&self) -> bool {
        self.has(EPOLLOUT)
    }

    /// Returns true for `EPOLLPRI`: usually, there is priority data, such as TCP's out-of-band
    /// byte. Read that byte with `recv` and `MSG_OOB`, before an ordinary read.
    pub fn is_priority(&self) -> bool {
        self.has(EPOLLPRI)
    }

    /// Returns true for `EPOLLERR`: usually an error is pending. On a socket, `take_error` returns
    /// it and clears it, and so do many reads and writes, depending on the kind of socket. If you
    /// want the read to return the error, do not call `take_error`.
    pub fn is_error(&self) -> bool {
        self.has(EPOLLERR)
    }

    /// Returns true for `EPOLLHUP`, and for `EPOLLIN` with `EPOLLRDHUP`: usually, end of file or an
    /// error follows the data that is still unread.
    pub fn is_read_closed(&self) -> bool {
        // A hang-up, or this direction was shut down (the kernel reports RDHUP with IN).
        self.has(EPOLLHUP) || (self.has(EPOLLIN) && self.has(EPOLLRDHUP))
    }

    /// Returns true for `EPOLLHUP`, for `EPOLLOUT` with `EPOLLERR`, and for `EPOLLERR` alone:
    /// expect a write to fail. (Not on every source: after one error, a UDP socket can send again,
    /// and a pseudoterminal master that is hung up can be written to.)
    pub fn is_write_closed(&self) -> bool {
        // A hang-up, or an error is pending, or the read end of this pipe is closed (ERR, alone or
        // with OUT).
        self.has(EPOLLHUP)
            || (self.has(EPOLLOUT) && self.has(EPOLLERR))
            || self.bits() == EPOLLERR as u32
    }

    fn has(&self, any_of: i32) -> bool {
        self.events & any_of as u32 != 0
    }
}

/// Prints the bits by name: `Event { token: 4, events: EPOLLIN | EPOLLRDHUP }`.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("token", &self.token())
            .field("events", &Names(self.bits()))
            .finish()
    }
}

/// `EPOLL*` bits whose `Debug` output is their names.
pub(super) struct Names(pub u32);

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(&str, i32); 9] = [
            ("EPOLLIN", EPOLLIN),
            ("EPOLLPRI", EPOLLPRI),
            ("EPOLLOUT", EPOLLOUT),
            ("EPOLLERR", EPOLLERR),
            ("EPOLLHUP", EPOLLHUP),
            ("EPOLLRDHUP", EPOLLRDHUP),
            ("EPOLLEXCLUSIVE", EPOLLEXCLUSIVE),
            ("EPOLLONESHOT", EPOLLONESHOT),
            ("EPOLLET", EPOLLET),
        ];
        let mut unnamed = self.0;
        let mut separator = "";
        for (name, bit) in NAMES {
            if self.0 & bit as u32 != 0 {
                write!(f, "{separator}{name}")?;
                separator = " | ";
                unnamed &= !(bit as u32);
            }
        }
        if unnamed != 0 || self.0 == 0 {
            write!(f, "{separator}{unnamed:#x}")?;
        }
        Ok(())
    }
}

// Each function has a manual page in section 2. If it fails, it returns -1 and sets `errno`.
unsafe extern "C" {
    pub fn epoll_create1(flags: c_int) -> c_int;
    pub fn epoll_ctl(epfd: c_int, op: c_int, fd: c_int, event: *mut Event) -> c_int;
    /// Returns the number of events. `timeout` is in milliseconds; -1 means no timeout.
    pub fn epoll_wait(epfd: c_int, events: *mut Event, maxevents: c_int, timeout: c_int) -> c_int;
    pub fn eventfd(initval: c_uint, flags: c_int) -> c_int;
}
