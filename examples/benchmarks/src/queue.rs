//! One trait over the libraries. Each implementation is what a user of that library would write, and
//! all ask the kernel for the same: readable, half-close, edge-triggered (mio has nothing else).

use epollet::{Interest, ffi};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// How many events one poll may return.
const CAPACITY: usize = 1024;

/// The methods that are measured are `inline(always)`: the trait costs nothing, and what remains is
/// the cost of the library.
pub trait Queue: Sized + 'static {
    type Waker: Send;

    fn new() -> io::Result<Self>;
    fn register(&self, source: &UnixStream, token: usize) -> io::Result<()>;
    fn reregister(&self, source: &UnixStream, token: usize) -> io::Result<()>;
    fn deregister(&self, source: &UnixStream) -> io::Result<()>;
    /// Returns the sum of the tokens.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<usize>;
    fn waker(&self) -> io::Result<Self::Waker>;
    fn wake(waker: &Self::Waker) -> io::Result<()>;
}

/// The bare system calls, through the libc crate. It does not retry on `EINTR`.
pub struct Bare {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Bare {
    #[inline(always)]
    fn epoll_ctl(&self, op: i32, fd: i32, token: usize) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET) as u32,
            u64: token as u64,
        };
        // SAFETY: the kernel reads `event` before the call returns.
        done(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), op, fd, &mut event) })?;
        Ok(())
    }
}

#[inline(always)]
fn done(result: i32) -> io::Result<usize> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result as usize),
    }
}

impl Queue for Bare {
    type Waker = File;

    fn new() -> io::Result<Bare> {
        // SAFETY: the call takes no pointer.
        let epoll = done(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })? as i32;
        Ok(Bare {
            // SAFETY: the descriptor is new, so nothing else owns it.
            epoll: unsafe { OwnedFd::from_raw_fd(epoll) },
            events: vec![libc::epoll_event { events: 0, u64: 0 }; CAPACITY],
        })
    }

    #[inline(always)]
    fn register(&self, source: &UnixStream, token: usize) -> io::Result<()> {
        self.epoll_ctl(libc::EPOLL_CTL_ADD, source.as_raw_fd(), token)
    }

    #[inline(always)]
    fn reregister(&self, source: &UnixStream, token: usize) -> io::Result<()> {
        self.epoll_ctl(libc::EPOLL_CTL_MOD, source.as_raw_fd(), token)
    }

    #[inline(always)]
    fn deregister(&self, source: &UnixStream) -> io::Result<()> {
        self.epoll_ctl(libc::EPOLL_CTL_DEL, source.as_raw_fd(), 0)
    }

    #[inline(always)]
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let (epoll, events) = (self.epoll.as_raw_fd(), self.events.as_mut_ptr());
        let millis = match timeout {
            None => -1,
            Some(timeout) => (timeout + Duration::from_nanos(999_999)).as_millis() as i32,
        };
        // SAFETY: the buffer has room for `CAPACITY` events.
        let count = unsafe { libc::epoll_wait(epoll, events, CAPACITY as i32, millis) };
        let events = &self.events[..done(count)?];
        Ok(events.iter().map(|event| event.u64 as usize).sum())
    }

    fn waker(&self) -> io::Result<File> {
        // SAFETY: the call takes no pointer.
        let eventfd = done(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the descriptor is new, so nothing else owns it.
        let waker = unsafe { File::from_raw_fd(eventfd as i32) };
        self.epoll_ctl(libc::EPOLL_CTL_ADD, waker.as_raw_fd(), 0)?;
        Ok(waker)
    }

    #[inline(always)]
    fn wake(waker: &File) -> io::Result<()> {
        let one = 1_u64;
        // SAFETY: the kernel reads 8 bytes, the size of a u64.
        done(unsafe { libc::write(waker.as_raw_fd(), (&raw const one).cast(), 8) } as i32)?;
        Ok(())
    }
}

pub struct Epollet {
    poll: epollet::Poll,
    events: epollet::Events,
}

impl Queue for Epollet {
    type Waker = epollet::Waker;

    fn new() -> io::Result<Epollet> {
        Ok(Epollet {
            poll: epollet::Poll::new()?,
            events: epollet::Events::with_capacity(CAPACITY),
        })
    }

    #[inline(always)]
    fn register(&self, source: &UnixStream, token: usize) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::EDGE;
        self.poll.registry().register(source, token, interest)
    }

    #[inline(always)]
    fn reregister(&self, source: &UnixStream, token: usize) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::EDGE;
        self.poll.registry().reregister(source, token, interest)
    }

    #[inline(always)]
    fn deregister(&self, source: &UnixStream) -> io::Result<()> {
        self.poll.registry().deregister(source)
    }

    #[inline(always)]
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.poll.poll(&mut self.events, timeout)?;
        Ok(self.events.iter().map(|event| event.token()).sum())
    }

    fn waker(&self) -> io::Result<epollet::Waker> {
        epollet::Waker::new(self.poll.registry(), 0)
    }

    #[inline(always)]
    fn wake(waker: &epollet::Waker) -> io::Result<()> {
        waker.wake()
    }
}

pub struct Mio {
    poll: mio::Poll,
    events: mio::Events,
}

impl Queue for Mio {
    type Waker = mio::Waker;

    fn new() -> io::Result<Mio> {
        Ok(Mio {
            poll: mio::Poll::new()?,
            events: mio::Events::with_capacity(CAPACITY),
        })
    }

    #[inline(always)]
    fn register(&self, source: &UnixStream, token: usize) -> io::Result<()> {
        self.poll.registry().register(
            &mut mio::unix::SourceFd(&source.as_raw_fd()),
            mio::Token(token),
            mio::Interest::READABLE,
        )
    }

    #[inline(always)]
    fn reregister(&self, source: &UnixStream, token: usize) -> io::Result<()> {
        self.poll.registry().reregister(
            &mut mio::unix::SourceFd(&source.as_raw_fd()),
            mio::Token(token),
            mio::Interest::READABLE,
        )
    }

    #[inline(always)]
    fn deregister(&self, source: &UnixStream) -> io::Result<()> {
        let mut source = mio::unix::SourceFd(&source.as_raw_fd());
        self.poll.registry().deregister(&mut source)
    }

    #[inline(always)]
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.poll.poll(&mut self.events, timeout)?;
        Ok(self.events.iter().map(|event| event.token().0).sum())
    }

    fn waker(&self) -> io::Result<mio::Waker> {
        mio::Waker::new(self.poll.registry(), mio::Token(0))
    }

    #[inline(always)]
    fn wake(waker: &mio::Waker) -> io::Result<()> {
        waker.wake()
    }
}

pub struct Polling {
    poller: Arc<polling::Poller>,
    events: polling::Events,
}

impl Queue for Polling {
    type Waker = Arc<polling::Poller>;

    fn new() -> io::Result<Polling> {
        let capacity = CAPACITY.try_into().unwrap();
        Ok(Polling {
            poller: Arc::new(polling::Poller::new()?),
            events: polling::Events::with_capacity(capacity),
        })
    }

    #[inline(always)]
    fn register(&self, source: &UnixStream, token: usize) -> io::Result<()> {
        let interest = polling::Event::readable(token);
        let mode = polling::PollMode::Edge;
        // SAFETY: the source need not outlive the poller here: epoll removes what is closed. (Other
        // kernels may not.)
        unsafe { self.poller.add_with_mode(source, interest, mode) }
    }

    #[inline(always)]
    fn reregister(&self, source: &UnixStream, token: usize) -> io::Result<()> {
        let interest = polling::Event::readable(token);
        let mode = polling::PollMode::Edge;
        self.poller.modify_with_mode(source, interest, mode)
    }

    #[inline(always)]
    fn deregister(&self, source: &UnixStream) -> io::Result<()> {
        self.poller.delete(source)
    }

    #[inline(always)]
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.events.clear();
        self.poller.wait(&mut self.events, timeout)?;
        Ok(self.events.iter().map(|event| event.key).sum())
    }

    fn waker(&self) -> io::Result<Arc<polling::Poller>> {
        Ok(Arc::clone(&self.poller))
    }

    #[inline(always)]
    fn wake(waker: &Arc<polling::Poller>) -> io::Result<()> {
        waker.notify()
    }
}

/// rustix makes the system calls without libc, inline.
pub struct Rustix {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

const READABLE_EDGE: EventFlags = EventFlags::IN
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);

impl Queue for Rustix {
    type Waker = OwnedFd;

    fn new() -> io::Result<Rustix> {
        Ok(Rustix {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(CAPACITY),
        })
    }

    #[inline(always)]
    fn register(&self, source: &UnixStream, token: usize) -> io::Result<()> {
        let data = EventData::new_u64(token as u64);
        Ok(epoll::add(&self.epoll, source, data, READABLE_EDGE)?)
    }

    #[inline(always)]
    fn reregister(&self, source: &UnixStream, token: usize) -> io::Result<()> {
        let data = EventData::new_u64(token as u64);
        Ok(epoll::modify(&self.epoll, source, data, READABLE_EDGE)?)
    }

    #[inline(always)]
    fn deregister(&self, source: &UnixStream) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, source)?)
    }

    #[inline(always)]
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout = timeout.map(|time| Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: time.subsec_nanos().into(),
        });
        self.events.clear();
        let room = rustix::buffer::spare_capacity(&mut self.events);
        epoll::wait(&self.epoll, room, timeout.as_ref())?;
        let tokens = self.events.iter().map(|event| event.data.u64() as usize);
        Ok(tokens.sum())
    }

    fn waker(&self) -> io::Result<OwnedFd> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let waker = rustix::event::eventfd(0, flags)?;
        epoll::add(&self.epoll, &waker, EventData::new_u64(0), READABLE_EDGE)?;
        Ok(waker)
    }

    #[inline(always)]
    fn wake(waker: &OwnedFd) -> io::Result<()> {
        rustix::io::write(waker, &1_u64.to_ne_bytes())?;
        Ok(())
    }
}

/// The bits that `Epollet` asks for are those of `Bare` and `Rustix`.
const _: () = assert!(
    ffi::EPOLLIN | ffi::EPOLLRDHUP | ffi::EPOLLET == READABLE_EDGE.bits()
        && Interest::READABLE.bits() == ffi::EPOLLIN | ffi::EPOLLRDHUP
);
