//! epollet's view of the border to the kernel against the libc crate's.

use epollet::ffi;
use std::mem::{size_of, MaybeUninit};
use std::ptr::addr_of;

/// That of std is younger than the oldest compiler that CI has for other machines.
macro_rules! offset_of {
    ($type:ty, $field:ident) => {{
        let value = MaybeUninit::<$type>::zeroed();
        // SAFETY: numbers may be zero, and no reference to a field is made.
        let field = unsafe { addr_of!((*value.as_ptr()).$field) };
        field as usize - value.as_ptr() as usize
    }};
}

/// Asserts that each name has the same value in both, and returns the names.
macro_rules! same {
    ($($name:ident)*) => {{
        $(assert_eq!(ffi::$name, libc::$name, stringify!($name));)*
        [$(stringify!($name)),*]
    }};
}

#[test]
fn every_constant_has_the_value_that_libc_gives_it() {
    let compared = same! {
        EPOLL_CLOEXEC EPOLL_CTL_ADD EPOLL_CTL_DEL EPOLL_CTL_MOD
        EPOLLIN EPOLLPRI EPOLLOUT EPOLLERR EPOLLHUP EPOLLRDHUP
        EPOLLEXCLUSIVE EPOLLONESHOT EPOLLET
        EFD_SEMAPHORE EFD_NONBLOCK EFD_CLOEXEC
        EPERM ENOSYS
    };
    let number = libc::c_long::from(ffi::SYS_EPOLL_PWAIT2);
    assert_eq!(number, libc::SYS_epoll_pwait2);

    let source = include_str!("../../../src/ffi.rs");
    for line in source.lines() {
        if let Some((name, _)) = line
            .strip_prefix("pub const ")
            .and_then(|rest| rest.split_once(':'))
        {
            let known = compared.contains(&name) || name == "SYS_EPOLL_PWAIT2";
            assert!(known, "{name} is not compared here");
        }
    }
}

#[test]
fn event_lies_in_memory_as_epoll_event_does() {
    use ffi::Event;
    use libc::epoll_event;
    assert_eq!(size_of::<Event>(), size_of::<epoll_event>());
    // On i686 glibc packs it without need: nothing moves, for a u64 is aligned to 4 bytes there.
    #[cfg(not(target_arch = "x86"))]
    assert_eq!(
        std::mem::align_of::<Event>(),
        std::mem::align_of::<epoll_event>()
    );
    assert_eq!(offset_of!(Event, events), offset_of!(epoll_event, events));
    assert_eq!(offset_of!(Event, data), offset_of!(epoll_event, u64));
}

/// epoll_pwait2 takes 64 bits each even on a 32-bit machine, where libc's `timespec` has less.
#[test]
fn timespec_is_two_64_bit_numbers() {
    use ffi::Timespec;
    assert_eq!(size_of::<Timespec>(), 16);
    assert_eq!(offset_of!(Timespec, tv_nsec), 8);
    #[cfg(target_pointer_width = "64")]
    {
        use libc::timespec;
        assert_eq!(
            std::mem::align_of::<Timespec>(),
            std::mem::align_of::<timespec>()
        );
        assert_eq!(offset_of!(Timespec, tv_sec), offset_of!(timespec, tv_sec));
        assert_eq!(offset_of!(Timespec, tv_nsec), offset_of!(timespec, tv_nsec));
    }
}
