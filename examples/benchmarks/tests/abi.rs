//! epollet's view of the kernel's interface compared with the libc crate's.
//!
//! ```sh
//! cargo test --test abi
//! ```

use epollet::ffi::{self, Event};
use libc::epoll_event;

/// Asserts that each name has the same value in both, and returns the names. The libc crate has all
/// of them as `c_int`.
macro_rules! same {
    ($($name:ident)*) => {{
        $(assert_eq!(ffi::$name as u32, libc::$name as u32, stringify!($name));)*
        [$(stringify!($name)),*]
    }};
}

#[test]
fn every_constant_has_the_value_that_libc_gives_it() {
    let compared = same! {
        EPOLL_CLOEXEC EPOLL_CTL_ADD EPOLL_CTL_DEL EPOLL_CTL_MOD
        EPOLLIN EPOLLPRI EPOLLOUT EPOLLERR EPOLLHUP EPOLLRDHUP
        EPOLLEXCLUSIVE EPOLLONESHOT EPOLLET
        EFD_NONBLOCK EFD_CLOEXEC
    };
    let source = include_str!("../../../src/ffi.rs");
    let declared = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split_once(':'))
        .map(|(name, _)| name);
    assert_eq!(declared.collect::<Vec<_>>(), compared);
}

#[test]
fn event_has_the_layout_of_epoll_event() {
    assert_eq!(size_of::<Event>(), size_of::<epoll_event>());
    // On i686, glibc packs the struct without need: a u64 is aligned to 4 bytes there anyway.
    #[cfg(not(target_arch = "x86"))]
    assert_eq!(align_of::<Event>(), align_of::<epoll_event>());

    let theirs = epoll_event {
        events: 0x8000_2001,
        u64: 0x1122_3344_5566_7788,
    };
    // SAFETY: the size is the same, and any bytes are an `Event`.
    let ours = unsafe { (&raw const theirs).cast::<Event>().read_unaligned() };
    assert_eq!(ours.bits(), 0x8000_2001);
    assert_eq!(ours.token(), 0x1122_3344_5566_7788_u64 as usize);
}
