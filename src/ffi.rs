//! The raw bindings: what [`epoll(7)`] looks like from Rust. Names and values are the kernel's;
//! there is no logic here.
//!
//! Copy this file together with `poll.rs`; nothing else is needed.
//!
//! [`epoll(7)`]: https://man7.org/linux/man-pages/man7/epoll.7.html

#![allow(dead_code)] // A copy of this file seldom uses all of it.

use std::fmt;
use std::os::raw::{c_int, c_long, c_uint};

#[cfg(not(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64"
    )
)))]
compile_error!(
    "epoll is Linux's alone, and the constants in ffi.rs are those of x86_64, x86, aarch64, arm \
     and riscv64 (MIPS and SPARC, for two, have another O_NONBLOCK). On another system build and \
     run this in a Linux virtual machine, in WSL 2 (Windows) or in a container: \
     docker run -it -v \"$PWD\":/epollet -w /epollet rust cargo run"
);

// epoll_create1(2)
pub const EPOLL_CLOEXEC: i32 = 0o2000000; // O_CLOEXEC

// epoll_ctl(2): what to do
pub const EPOLL_CTL_ADD: i32 = 1;
pub const EPOLL_CTL_DEL: i32 = 2;
pub const EPOLL_CTL_MOD: i32 = 3;

// epoll_ctl(2): what to report
/// There is something to read: data, end of file, a connection to accept.
pub const EPOLLIN: i32 = 0x1;
/// There is priority data, such as out-of-band data on TCP.
pub const EPOLLPRI: i32 = 0x2;
/// There is room to write; or a non-blocking connect has ended.
pub const EPOLLOUT: i32 = 0x4;
/// There is an error, or the reader of this pipe is gone. Reported whether asked for or not.
pub const EPOLLERR: i32 = 0x8;
/// Both directions are closed, or the writer of this pipe is gone. Reported whether asked for or
/// not.
pub const EPOLLHUP: i32 = 0x10;
/// The peer has shut down its sending side. Data may be left to read; the end is a read of 0 bytes.
/// See [`Event::is_read_closed`].
pub const EPOLLRDHUP: i32 = 0x2000;

// epoll_ctl(2): how to report it
/// Of several queues that watch this source, wake one or some, not all.
pub const EPOLLEXCLUSIVE: i32 = 1 << 28;
/// Report once, then rest until modified.
pub const EPOLLONESHOT: i32 = 1 << 30;
/// Edge-triggered: report what is new, not what is there.
pub const EPOLLET: i32 = 1 << 31;

// eventfd(2)
pub const EFD_SEMAPHORE: i32 = 0x1;
pub const EFD_NONBLOCK: i32 = 0o4000; // O_NONBLOCK
pub const EFD_CLOEXEC: i32 = 0o2000000; // O_CLOEXEC

// syscall(2): epoll_pwait2 has this number on every architecture listed above.
pub const SYS_EPOLL_PWAIT2: i32 = 441;

// errno(3)
pub const EPERM: i32 = 1;
pub const ENOSYS: i32 = 38;

/// What the kernel reports for one descriptor: `struct epoll_event` of [`epoll_event(3type)`].
///
/// The kernel packs it on x86_64 alone (12 bytes there, with `data` at offset 4) and gives it the C
/// layout everywhere else. `data` is 64 bits wide on every machine, a 32-bit one included: the
/// kernel writes all of them.
///
/// Take its parts with [`token`](Event::token) and [`bits`](Event::bits): the fields of a packed
/// struct cannot be borrowed, which `println!` would. The constants are `i32` as in the book, so it
/// is `event.bits() & EPOLLIN as u32`.
///
/// [`epoll_event(3type)`]: https://man7.org/linux/man-pages/man3/epoll_event.3type.html
#[derive(Clone, Copy)]
#[repr(C)]
#[cfg_attr(target_arch = "x86_64", repr(packed))]
#[doc(alias = "epoll_data")]
pub struct Event {
    pub events: u32,
    pub data: u64,
}

impl Event {
    /// Returns the token that the source was registered with.
    pub fn token(&self) -> usize {
        self.data as usize
    }

    /// Returns the bits of the report: `EPOLLIN`, `EPOLLOUT` and so on, or-ed together.
    pub fn bits(&self) -> u32 {
        self.events
    }

    /// Returns true for `EPOLLIN` and `EPOLLPRI`: there is data, a connection to accept, end of
    /// file, or priority data. Only the end of a pipe does without:
    /// [`is_read_closed`](Event::is_read_closed).
    pub fn is_readable(&self) -> bool {
        self.has(EPOLLIN | EPOLLPRI)
    }

    /// Returns true for `EPOLLOUT`: there is room to write, or a connect has ended, well or not.
    pub fn is_writable(&self) -> bool {
        self.has(EPOLLOUT)
    }

    /// Returns true for `EPOLLPRI`: there is priority data, such as out-of-band data on TCP.
    pub fn is_priority(&self) -> bool {
        self.has(EPOLLPRI)
    }

    /// Returns true for `EPOLLERR`: an error waits. For a socket, `TcpStream::take_error` tells
    /// which.
    pub fn is_error(&self) -> bool {
        self.has(EPOLLERR)
    }

    /// Returns true for `EPOLLHUP`, and for `EPOLLIN` with `EPOLLRDHUP`: no more data will come
    /// after what is there to read now.
    pub fn is_read_closed(&self) -> bool {
        // Both directions are closed, or the peer has shut down its sending half (the kernel sets
        // IN with RDHUP).
        self.has(EPOLLHUP) || (self.has(EPOLLIN) && self.has(EPOLLRDHUP))
    }

    /// Returns true for `EPOLLHUP`, `EPOLLOUT` with `EPOLLERR`, and `EPOLLERR` alone: nothing can
    /// be written any more.
    pub fn is_write_closed(&self) -> bool {
        // Both directions are closed; or a write has failed; or the read end of this pipe is gone,
        // which is ERR alone.
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

/// A set of `EPOLL*` bits, for printing.
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

/// `struct __kernel_timespec`: 64 bits each on every machine.
#[repr(C)]
pub struct Timespec {
    pub tv_sec: i64,
    pub tv_nsec: i64,
}

/// Declares C functions in every edition: 2024 wants `unsafe extern`, a compiler before 1.82
/// rejects it. It tells them apart by `_`, which a macro takes for an expression from edition 2024
/// on.
macro_rules! c_functions {
    ($edition_2024:expr; $($functions:tt)*) => { unsafe extern "C" { $($functions)* } };
    (_; $($functions:tt)*) => { extern "C" { $($functions)* } };
}

// Each has a manual page of its name: https://man7.org/linux/man-pages/dir_section_2.html
c_functions! { _;
    pub fn epoll_create1(flags: c_int) -> c_int;
    pub fn epoll_ctl(epfd: c_int, op: c_int, fd: c_int, event: *mut Event) -> c_int;
    /// `timeout` is in milliseconds, -1 waits for ever.
    pub fn epoll_wait(epfd: c_int, events: *mut Event, maxevents: c_int, timeout: c_int) -> c_int;
    pub fn eventfd(initval: c_uint, flags: c_int) -> c_int;
    /// For `epoll_pwait2`, which C libraries from before 2021 do not have.
    pub fn syscall(number: c_long, ...) -> c_long;
}
