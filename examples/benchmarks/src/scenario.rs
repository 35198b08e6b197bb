//! The operations that are measured. Each function is generic over the library and never inlined:
//! the compiler makes a separate loop for each library and scenario.

use crate::queue::{Bare, Epollet, Mio, Polling, Queue, Rustix};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::hint::black_box;
use std::io::{self, Error, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// One library, set up for one scenario: repeats it so many times.
pub type Run = Box<dyn FnMut(usize) -> io::Result<()>>;

pub struct Library {
    pub name: &'static str,
    pub prepare: fn(Scenario) -> io::Result<Run>,
    /// The same loops with timeouts that the compiler does not know.
    pub prepare_unknown: fn(Scenario) -> io::Result<Run>,
    /// Returns how late a timeout ends.
    pub late: fn(Duration) -> io::Result<Duration>,
}

impl Library {
    const fn new<Q: Queue>(name: &'static str) -> Library {
        Library {
            name,
            prepare: prepare::<Q, false>,
            prepare_unknown: prepare::<Q, true>,
            late: late::<Q>,
        }
    }
}

/// The others are compared with the first.
pub const LIBRARIES: [Library; 5] = [
    Library::new::<Bare>("bare"),
    Library::new::<Epollet>("epollet"),
    Library::new::<Mio>("mio"),
    Library::new::<Polling>("polling"),
    Library::new::<Rustix>("rustix"),
];

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scenario {
    RoundTrip,
    FiniteTimeout,
    AmongIdle,
    EmptyPoll,
    ManyEvents,
    Register,
    Reregister,
    Wake,
}

impl Scenario {
    pub const ALL: [Scenario; 8] = [
        Scenario::RoundTrip,
        Scenario::FiniteTimeout,
        Scenario::AmongIdle,
        Scenario::EmptyPoll,
        Scenario::ManyEvents,
        Scenario::Register,
        Scenario::Reregister,
        Scenario::Wake,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Scenario::RoundTrip => "round trip",
            Scenario::FiniteTimeout => "round trip, timeout 5 s",
            Scenario::AmongIdle => "round trip among idle",
            Scenario::EmptyPoll => "empty poll",
            Scenario::ManyEvents => "64 events in one poll",
            Scenario::Register => "register + deregister",
            Scenario::Reregister => "reregister",
            Scenario::Wake => "wake from a thread",
        }
    }
}

fn prepare<Q: Queue, const UNKNOWN: bool>(scenario: Scenario) -> io::Result<Run> {
    let mut queue = Q::new()?;
    let (ours, theirs) = UnixStream::pair()?;
    if scenario != Scenario::Register && scenario != Scenario::Wake {
        queue.register(&ours, 1)?;
    }
    Ok(match scenario {
        Scenario::RoundTrip => {
            Box::new(move |n| round_trip::<_, UNKNOWN>(&mut queue, &ours, &theirs, n))
        }
        Scenario::FiniteTimeout => {
            Box::new(move |n| finite_timeout::<_, UNKNOWN>(&mut queue, &ours, &theirs, n))
        }
        Scenario::AmongIdle => {
            for idle in idle() {
                queue.register(idle, 0)?;
            }
            Box::new(move |n| round_trip::<_, UNKNOWN>(&mut queue, &ours, &theirs, n))
        }
        Scenario::EmptyPoll => Box::new(move |n| empty_poll::<_, UNKNOWN>(&mut queue, n)),
        Scenario::ManyEvents => {
            // To epoll, each duplicate is a source: one byte makes all of them ready.
            let mut sources = Vec::new();
            for token in 2..=64 {
                sources.push(ours.try_clone()?);
                queue.register(&sources[token - 2], token)?;
            }
            Box::new(move |n| {
                let _keep = &sources;
                many_events::<_, UNKNOWN>(&mut queue, &ours, &theirs, n)
            })
        }
        Scenario::Register => Box::new(move |n| register(&queue, &ours, n)),
        Scenario::Reregister => Box::new(move |n| reregister(&queue, &ours, n)),
        Scenario::Wake => {
            let waker = queue.waker()?;
            // Wakes once for each byte; ends when `ours` is dropped.
            thread::spawn(move || wake_on_each_byte::<Q>(&waker, &theirs));
            Box::new(move |n| wake(&mut queue, &ours, n))
        }
    })
}

/// Passes a timeout on, and hides it from the compiler if it is to be unknown.
#[inline(always)]
fn hide<const UNKNOWN: bool>(timeout: Option<Duration>) -> Option<Duration> {
    if UNKNOWN { black_box(timeout) } else { timeout }
}

#[inline(never)]
pub fn round_trip<Q: Queue, const UNKNOWN: bool>(
    queue: &mut Q,
    mut ours: &UnixStream,
    mut theirs: &UnixStream,
    n: usize,
) -> io::Result<()> {
    for _ in 0..n {
        theirs.write_all(&[1])?;
        assert_eq!(queue.poll(hide::<UNKNOWN>(None))?, 1);
        ours.read_exact(&mut [0])?;
    }
    Ok(())
}

#[inline(never)]
fn finite_timeout<Q: Queue, const UNKNOWN: bool>(
    queue: &mut Q,
    mut ours: &UnixStream,
    mut theirs: &UnixStream,
    n: usize,
) -> io::Result<()> {
    for _ in 0..n {
        theirs.write_all(&[1])?;
        assert_eq!(
            queue.poll(hide::<UNKNOWN>(Some(Duration::from_secs(5))))?,
            1
        );
        ours.read_exact(&mut [0])?;
    }
    Ok(())
}

#[inline(never)]
fn empty_poll<Q: Queue, const UNKNOWN: bool>(queue: &mut Q, n: usize) -> io::Result<()> {
    for _ in 0..n {
        assert_eq!(queue.poll(hide::<UNKNOWN>(Some(Duration::ZERO)))?, 0);
    }
    Ok(())
}

#[inline(never)]
fn many_events<Q: Queue, const UNKNOWN: bool>(
    queue: &mut Q,
    mut ours: &UnixStream,
    mut theirs: &UnixStream,
    n: usize,
) -> io::Result<()> {
    for _ in 0..n {
        theirs.write_all(&[1])?;
        assert_eq!(queue.poll(hide::<UNKNOWN>(None))?, 64 * 65 / 2);
        ours.read_exact(&mut [0])?;
    }
    Ok(())
}

#[inline(never)]
pub fn register<Q: Queue>(queue: &Q, source: &UnixStream, n: usize) -> io::Result<()> {
    for token in 0..n {
        queue.register(source, token)?;
        queue.deregister(source)?;
    }
    Ok(())
}

#[inline(never)]
fn reregister<Q: Queue>(queue: &Q, source: &UnixStream, n: usize) -> io::Result<()> {
    for token in 0..n {
        queue.reregister(source, token)?;
    }
    Ok(())
}

#[inline(never)]
fn wake<Q: Queue>(queue: &mut Q, mut thread: &UnixStream, n: usize) -> io::Result<()> {
    for _ in 0..n {
        thread.write_all(&[1])?;
        queue.poll(None)?;
    }
    Ok(())
}

#[inline(never)]
fn wake_on_each_byte<Q: Queue>(waker: &Q::Waker, mut bytes: &UnixStream) -> io::Result<()> {
    while bytes.read(&mut [0])? == 1 {
        Q::wake(waker)?;
    }
    Ok(())
}

fn late<Q: Queue>(timeout: Duration) -> io::Result<Duration> {
    let mut queue = Q::new()?;
    let (ours, _theirs) = UnixStream::pair()?;
    queue.register(&ours, 1)?;
    let start = Instant::now();
    assert_eq!(queue.poll(Some(timeout))?, 0);
    let elapsed = start.elapsed();
    assert!(elapsed >= timeout, "ended after {elapsed:?} of {timeout:?}");
    Ok(elapsed - timeout)
}

/// Streams on which nothing happens, shared by all libraries: 9,000, or as many as the limit on
/// descriptors permits.
pub fn idle() -> &'static [UnixStream] {
    static IDLE: OnceLock<Vec<UnixStream>> = OnceLock::new();
    IDLE.get_or_init(|| {
        let room = raise_descriptor_limit().saturating_sub(500);
        streams(room.min(9000)).expect("the limit leaves room")
    })
}

/// Makes `number` streams, in pairs.
pub fn streams(number: usize) -> io::Result<Vec<UnixStream>> {
    let mut streams = Vec::new();
    for _ in 0..number / 2 {
        streams.extend(<[UnixStream; 2]>::from(UnixStream::pair()?));
    }
    Ok(streams)
}

/// Raises the limit on descriptors as far as possible, which has to be at least to `wanted`.
pub fn want_descriptors(wanted: usize) -> io::Result<()> {
    let limit = raise_descriptor_limit();
    if limit < wanted {
        return Err(Error::other(format!(
            "this needs {wanted} descriptors, and the limit is {limit}: see `ulimit -Hn`"
        )));
    }
    Ok(())
}

/// Raises the limit on descriptors as far as possible, and returns it.
fn raise_descriptor_limit() -> usize {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    let _ = setrlimit(Resource::Nofile, limit);
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |limit| limit as usize)
}
