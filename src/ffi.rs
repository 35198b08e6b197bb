// SPDX-License-Identifier: MIT. This file is part of epollet 0.1.

//! File 1: the raw bindings. The functions and constants of epoll have their names from the manual
//! pages; `struct epoll_event` is [`Event`].
//!
//! Copy this file together with `poll.rs`; the two need nothing else.

#![allow(dead_code)] // A program that copies this file seldom uses all of it.

use std::ffi::{c_int, c_uint};
use std::fmt;

// Each function has a manual page in section 2. If it fails, it returns -1 and sets `errno`.
unsafe extern "C" {
    pub fn epoll_create1(flags: c_int) -> c_int;
    pub fn epoll_ctl(epfd: c_int, op: c_int, fd: c_int, event: *mut Event) -> c_int;
    /// Returns the number of events. `timeout` is in milliseconds; -1 means no timeout.
    pub fn epoll_wait(epfd: c_int, events: *mut Event, maxevents: c_int, timeout: c_int) -> c_int;
    pub fn eventfd(initval: c_uint, flags: c_int) -> c_int;
}

/// One event, as the kernel writes it: `struct epoll_event`, see [`epoll_event(3type)`].
///
/// The methods named `is_…` are hints, as in mio: they describe the moment of the report. Only the
/// result of a read or a write shows what is true now.
///
/// [`epoll_event(3type)`]: https://man7.org/linux/man-pages/man3/epoll_event.3type.html
#[derive(Clone, Copy)]
#[repr(C)]
#[cfg_attr(target_arch = "x86_64", repr(packed))] // packed only there, as in the kernel
pub struct Event {
    pub(crate) events: u32,
    pub(crate) data: u64, // 64 bits on every machine
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

    /// Returns true for `EPOLLIN` or `EPOLLPRI`: usually, there is something to read. (With
    /// `EPOLLPRI` alone, there may be nothing for an ordinary read.) End of file on an empty pipe
    /// sets neither; see [`is_read_closed`](Event::is_read_closed).
    pub fn is_readable(&self) -> bool {
        self.has(EPOLLIN | EPOLLPRI)
    }

    /// Returns true for `EPOLLOUT`: usually, there is room to write, or a non-blocking connect has
    /// succeeded or failed.
    pub fn is_writable(&self) -> bool {
        self.has(EPOLLOUT)
    }

    /// Returns true for `EPOLLPRI`. Read TCP's out-of-band byte with `recv` and `MSG_OOB`, before
    /// an ordinary read, which can lose it.
    pub fn is_priority(&self) -> bool {
        self.has(EPOLLPRI)
    }

    /// Returns true for `EPOLLERR`: usually, an error is pending, which a read, a write or a socket's
    /// `take_error` returns once; or this is a pipe, and its reader is gone.
    pub fn is_error(&self) -> bool {
        self.has(EPOLLERR)
    }

    /// Returns true for `EPOLLHUP`, and for `EPOLLIN` with `EPOLLRDHUP`: usually, end of file or an
    /// error follows the data that is still unread.
    pub fn is_read_closed(&self) -> bool {
        self.has(EPOLLHUP) || (self.has(EPOLLIN) && self.has(EPOLLRDHUP))
    }

    /// Returns true for `EPOLLHUP`, for `EPOLLOUT` with `EPOLLERR`, and for `EPOLLERR` alone:
    /// usually, a write fails.
    pub fn is_write_closed(&self) -> bool {
        // ERR, alone or with OUT: for example, the read end of this pipe is closed.
        self.has(EPOLLHUP) || (self.has(EPOLLOUT) && self.has(EPOLLERR)) || self.bits() == EPOLLERR
    }

    fn has(&self, any_of: u32) -> bool {
        self.events & any_of != 0
    }
}

// epoll_create1(2): flags
pub const EPOLL_CLOEXEC: c_int = 0o2000000; // O_CLOEXEC

// epoll_ctl(2): operations
pub const EPOLL_CTL_ADD: c_int = 1;
pub const EPOLL_CTL_DEL: c_int = 2;
pub const EPOLL_CTL_MOD: c_int = 3;

// epoll_ctl(2): what to report
/// Readable: there is data, end of file, or a connection to accept.
pub const EPOLLIN: u32 = 0x1;
/// Priority data, such as TCP's out-of-band byte.
pub const EPOLLPRI: u32 = 0x2;
/// Writable: there is room to write, or a non-blocking connect has finished.
pub const EPOLLOUT: u32 = 0x4;
/// Error: usually an error is pending. The kernel adds it to every interest.
pub const EPOLLERR: u32 = 0x8;
/// Hang-up: both directions of a stream are shut down, or the last write end of a pipe or the other
/// end of a terminal is closed. The kernel adds it to every interest.
pub const EPOLLHUP: u32 = 0x10;
/// The peer has shut down its sending side. There may still be data to read.
pub const EPOLLRDHUP: u32 = 0x2000;

// epoll_ctl(2): how to report it
/// If several queues share this source, wake at least one of them instead of all.
pub const EPOLLEXCLUSIVE: u32 = 1 << 28;
/// One-shot: report once, then disable the registration until `EPOLL_CTL_MOD`.
pub const EPOLLONESHOT: u32 = 1 << 30;
/// Edge-triggered: report after a change, instead of for as long as the source is ready.
pub const EPOLLET: u32 = 1 << 31;

// eventfd(2): flags
pub const EFD_NONBLOCK: c_int = 0o4000; // O_NONBLOCK
pub const EFD_CLOEXEC: c_int = 0o2000000; // O_CLOEXEC

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
        const NAMES: [(&str, u32); 9] = [
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
            if self.0 & bit != 0 {
                write!(f, "{separator}{name}")?;
                separator = " | ";
                unnamed &= !bit;
            }
        }
        if unnamed != 0 || self.0 == 0 {
            write!(f, "{separator}{unnamed:#x}")?;
        }
        Ok(())
    }
}

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
