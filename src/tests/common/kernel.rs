//! Calls and constants that std does not have.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `O_CLOEXEC`, `SOCK_CLOEXEC` and so on: one number for all of them.
pub const CLOEXEC: i32 = 0o2000000;
/// `O_NONBLOCK`, `SOCK_NONBLOCK` and so on.
pub const NONBLOCK: i32 = 0o4000;

/// There, some constants have other numbers.
pub const IS_POWER: bool = cfg!(any(target_arch = "powerpc", target_arch = "powerpc64"));

// errno(3)
pub const EPERM: i32 = 1;
pub const ENOENT: i32 = 2;
pub const EINTR: i32 = 4;
pub const EIO: i32 = 5;
pub const ENXIO: i32 = 6;
pub const EBADF: i32 = 9;
pub const ENOMEM: i32 = 12;
pub const EEXIST: i32 = 17;
pub const ENODEV: i32 = 19;
pub const EINVAL: i32 = 22;
pub const ENFILE: i32 = 23;
pub const EMFILE: i32 = 24;
pub const ENOSPC: i32 = 28;
pub const ELOOP: i32 = 40;

/// Returns the OS code of a failed call.
pub fn os_code<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result
        .unwrap_err()
        .raw_os_error()
        .expect("an error from the kernel")
}

/// Returns the descriptor that a C function has just made.
pub fn owned_fd(result: i32) -> OwnedFd {
    assert!(result >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the descriptor is new, so nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(result) }
}

/// C functions under the names of their manual pages.
pub mod c {
    use std::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};

    unsafe extern "C" {
        pub fn _exit(status: c_int) -> !;
        pub fn bind(fd: c_int, address: *const c_void, len: c_uint) -> c_int;
        pub fn connect(fd: c_int, address: *const c_void, len: c_uint) -> c_int;
        pub fn dup2(old: c_int, new: c_int) -> c_int;
        pub fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
        pub fn fork() -> c_int;
        pub fn getrlimit(resource: c_int, limit: *mut c_ulong) -> c_int;
        pub fn getsockopt(
            fd: c_int,
            level: c_int,
            name: c_int,
            value: *mut c_void,
            len: *mut c_uint,
        ) -> c_int;
        pub fn inotify_add_watch(fd: c_int, path: *const c_char, mask: u32) -> c_int;
        pub fn inotify_init1(flags: c_int) -> c_int;
        pub fn kill(pid: c_int, signal: c_int) -> c_int;
        pub fn listen(fd: c_int, backlog: c_int) -> c_int;
        pub fn memfd_create(name: *const c_char, flags: c_uint) -> c_int;
        pub fn open(path: *const c_char, flags: c_int, ...) -> c_int;
        pub fn mkfifo(path: *const c_char, mode: c_uint) -> c_int;
        pub fn pause() -> c_int;
        pub fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
        pub fn posix_openpt(flags: c_int) -> c_int;
        pub fn prctl(option: c_int, ...) -> c_int;
        pub fn pthread_sigmask(how: c_int, set: *const c_void, old: *mut c_void) -> c_int;
        pub fn ptsname_r(fd: c_int, name: *mut c_char, len: usize) -> c_int;
        pub fn raise(signal: c_int) -> c_int;
        pub fn read(fd: c_int, bytes: *mut c_void, len: usize) -> isize;
        pub fn recv(fd: c_int, bytes: *mut c_void, len: usize, flags: c_int) -> isize;
        pub fn send(fd: c_int, bytes: *const c_void, len: usize, flags: c_int) -> isize;
        pub fn setitimer(which: c_int, new: *const c_long, old: *mut c_long) -> c_int;
        pub fn setsockopt(
            fd: c_int,
            level: c_int,
            name: c_int,
            value: *const c_void,
            len: c_uint,
        ) -> c_int;
        pub fn setrlimit(resource: c_int, limit: *const c_ulong) -> c_int;
        pub fn signal(signal: c_int, handler: extern "C" fn(c_int)) -> *const c_void;
        pub fn signalfd(fd: c_int, mask: *const c_void, flags: c_int) -> c_int;
        pub fn sigwait(set: *const c_void, signal: *mut c_int) -> c_int;
        pub fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
        pub fn syscall(number: c_long, ...) -> c_long;
        pub fn tcgetattr(fd: c_int, attributes: *mut u32) -> c_int;
        pub fn tcsetattr(fd: c_int, when: c_int, attributes: *const u32) -> c_int;
        pub fn timerfd_create(clock: c_int, flags: c_int) -> c_int;
        pub fn timerfd_gettime(fd: c_int, current: *mut c_long) -> c_int;
        pub fn timerfd_settime(
            fd: c_int,
            flags: c_int,
            new: *const c_long,
            old: *mut c_long,
        ) -> c_int;
        pub fn unlockpt(fd: c_int) -> c_int;
        pub fn unshare(flags: c_int) -> c_int;
        pub fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
        pub fn write(fd: c_int, bytes: *const c_void, len: usize) -> isize;
    }
}
