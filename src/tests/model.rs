//! The model of epoll in `examples/model` against the kernel: the same random calls to both, and what
//! they report must be the same, in the same order.
//!
//! More steps, and others:
//!
//! ```sh
//! EPOLLET_STEPS=10000000 EPOLLET_SEED=7 cargo test --release --lib model -- --nocapture
//! ```
//!
//! A difference is printed with the shortest calls that show it. Does the test notice it when a rule
//! of the model is changed? This changes one after the other:
//!
//! ```sh
//! cargo test --test children -- --ignored --nocapture
//! ```
//!
//! And when the kernel lies, here in every hundredth `epoll_wait`?
//!
//! ```sh
//! strace -f -o /dev/null -e inject=epoll_wait:retval=0:when=50+100 target/debug/deps/epollet-... model
//! ```
//!
//! It passes under qemu-user too (arm64, i386, armhf, ppc64el, s390x).

#[path = "../../examples/model/mod.rs"]
#[allow(clippy::module_inception)]
pub mod model;

use crate::ffi::{
    self, EFD_CLOEXEC, EFD_NONBLOCK, EPOLLET, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLPRI, EPOLLRDHUP,
};
use crate::poll::{Events, Interest, Poll, Token};
use model::files::Kind;
use model::{Kernel, Key};
use std::env;
use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const STEPS: u64 = 100_000;

#[test]
fn the_kernel_and_the_model_report_the_same_in_the_same_order() {
    let steps = number("EPOLLET_STEPS").unwrap_or(STEPS);
    let seed = number("EPOLLET_SEED").unwrap_or(1);
    let start = Instant::now();
    let mut random = Random(seed);
    let mut done = 0;
    while done < steps {
        let count = usize::try_from(steps - done).unwrap().min(STEPS_PER_WORLD);
        let played = play(random.steps(), count);
        done += played.steps.len() as u64;
        if let Some(difference) = played.difference {
            let (shortest, then) = shorten(&played.steps);
            panic!(
                "seed {seed}, step {done}: {difference}\n{} calls show it:\n{}{then}",
                shortest.len(),
                listing(&shortest)
            );
        }
    }
    println!("seed {seed}: {done} steps in {:.1?}", start.elapsed());
}

fn number(variable: &str) -> Option<u64> {
    Some(env::var(variable).ok()?.parse().expect(variable))
}

/// After this many steps, everything is closed, and a new world begins.
const STEPS_PER_WORLD: usize = 500;
/// How many descriptors there are at most, apart from those of the queues. They are called a to j.
const SLOTS: u64 = 10;
/// This many unread bytes do not fill a stream's buffer.
const MOST_UNREAD: u64 = 16;

/// A queue can wait for those behind it in this list.
const QUEUES: [&str; 3] = ["outer", "middle", "inner"];

/// One call. Queues and slots are numbers.
#[derive(Clone, Copy)]
enum Step {
    Eventfd(Slot),
    Pair(Slot, Slot),
    /// A descriptor for a queue, so that another can wait for it.
    Queue(QueueNumber, Slot),
    Duplicate(Slot, Slot),
    Close(Slot),
    Register(QueueNumber, Slot, Token, u32),
    Reregister(QueueNumber, Slot, Token, u32),
    Deregister(QueueNumber, Slot),
    /// So many bytes to a stream, or this number to an eventfd.
    Write(Slot, u64),
    /// At most so many bytes of a stream.
    Read(Slot, usize),
    Fill(Slot),
    Drain(Slot),
    Shutdown(Slot, Shutdown),
    /// With this capacity.
    Poll(QueueNumber, usize),
    /// Compares the interest list.
    InterestList(QueueNumber),
}

type Slot = usize;
type QueueNumber = usize;

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |slot: Slot| char::from(b'a' + slot as u8);
        match *self {
            Step::Eventfd(slot) => write!(f, "{} = eventfd()", name(slot)),
            Step::Pair(one, other) => write!(f, "({}, {}) = stream_pair()", name(one), name(other)),
            Step::Queue(queue, slot) => write!(f, "{} = duplicate({})", name(slot), QUEUES[queue]),
            Step::Duplicate(from, to) => write!(f, "{} = duplicate({})", name(to), name(from)),
            Step::Close(slot) => write!(f, "close({})", name(slot)),
            Step::Register(queue, slot, token, interest) => {
                let (queue, interest) = (QUEUES[queue], Interest::from(interest));
                write!(f, "{queue}.register({}, {token}, {interest:?})", name(slot))
            }
            Step::Reregister(queue, slot, token, interest) => {
                let (queue, interest) = (QUEUES[queue], Interest::from(interest));
                write!(
                    f,
                    "{queue}.reregister({}, {token}, {interest:?})",
                    name(slot)
                )
            }
            Step::Deregister(queue, slot) => {
                write!(f, "{}.deregister({})", QUEUES[queue], name(slot))
            }
            Step::Write(slot, count) => write!(f, "write({}, {count:#x})", name(slot)),
            Step::Read(slot, count) => write!(f, "read({}, {count})", name(slot)),
            Step::Fill(slot) => write!(f, "fill({})", name(slot)),
            Step::Drain(slot) => write!(f, "drain({})", name(slot)),
            Step::Shutdown(slot, how) => write!(f, "shutdown({}, {how:?})", name(slot)),
            Step::Poll(queue, capacity) => write!(f, "{}.poll({capacity})", QUEUES[queue]),
            Step::InterestList(queue) => write!(f, "{}.interest_list()", QUEUES[queue]),
        }
    }
}

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }

    fn slot(&mut self) -> usize {
        self.below(SLOTS) as usize
    }

    fn interest(&mut self) -> u32 {
        let mut interest = 0;
        for (bit, one_in) in [
            (EPOLLIN, 2),
            (EPOLLOUT, 3),
            (EPOLLPRI, 8),
            (EPOLLRDHUP, 4),
            (EPOLLET, 2),
            (EPOLLONESHOT, 3),
        ] {
            if self.below(one_in) == 0 {
                interest |= bit;
            }
        }
        interest
    }

    fn steps(&mut self) -> impl Iterator<Item = Step> {
        (0..).map(|token| self.step(token))
    }

    fn step(&mut self, token: Token) -> Step {
        // Most registrations are in the outer queue.
        let queue = [0, 0, 0, 0, 0, 1, 1, 2][self.below(8) as usize];
        match self.below(100) {
            0..=3 => Step::Eventfd(self.slot()),
            4..=9 => Step::Pair(self.slot(), self.slot()),
            10..=11 => Step::Queue(1 + self.below(2) as usize, self.slot()),
            12..=14 => Step::Duplicate(self.slot(), self.slot()),
            15..=16 => Step::Close(self.slot()),
            17..=30 => Step::Register(queue, self.slot(), token, self.interest()),
            31..=38 => Step::Reregister(queue, self.slot(), token, self.interest()),
            39..=41 => Step::Deregister(queue, self.slot()),
            42..=59 => {
                let count = [1, 1, 1, 2, 3, 0, u64::MAX - 1][self.below(7) as usize];
                Step::Write(self.slot(), count)
            }
            60..=67 => Step::Read(self.slot(), 1 + self.below(4) as usize),
            68..=69 => Step::Fill(self.slot()),
            70..=71 => Step::Drain(self.slot()),
            72..=73 => {
                let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both];
                Step::Shutdown(self.slot(), how[self.below(3) as usize])
            }
            74..=97 => {
                let capacity = [1, 1, 2, 3, 5, 64][self.below(6) as usize];
                Step::Poll(queue, capacity)
            }
            _ => Step::InterestList(queue),
        }
    }
}

struct Played {
    steps: Vec<Step>,
    difference: Option<String>,
}

/// Makes these steps in a new world: at most `limit`, not those that are impossible, and none after
/// a difference.
fn play(steps: impl IntoIterator<Item = Step>, limit: usize) -> Played {
    let mut world = World::new();
    let mut made = Vec::new();
    let mut difference = None;
    for step in steps {
        if world.is_possible(step) {
            made.push(step);
            difference = world.make(step).err();
        }
        if difference.is_some() || made.len() == limit {
            break;
        }
    }
    Played {
        steps: made,
        difference,
    }
}

/// Leaves out as many steps as it can while there is still a difference.
fn shorten(steps: &[Step]) -> (Vec<Step>, String) {
    let mut shortest = steps.to_vec();
    let mut difference = String::from("(It does not repeat.)");
    let mut chunk = shortest.len();
    while chunk > 0 {
        let mut start = 0;
        let mut shorter = false;
        while start < shortest.len() {
            let end = shortest.len().min(start + chunk);
            let rest = [&shortest[..start], &shortest[end..]].concat();
            let played = play(rest, usize::MAX);
            match played.difference {
                Some(found) => {
                    (shortest, difference) = (played.steps, found);
                    shorter = true;
                }
                None => start += chunk,
            }
        }
        if !shorter || chunk > 1 {
            chunk /= 2;
        }
    }
    (shortest, difference)
}

fn listing(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        writeln!(text, "    {step}").unwrap();
    }
    text
}

/// The same files, queues and registrations twice: in the kernel and in the model.
struct World {
    polls: [Poll; QUEUES.len()],
    slots: [Option<Descriptor>; SLOTS as usize],
    model: Kernel,
}

struct Descriptor {
    real: File,
    /// The file in the model.
    file: usize,
}

impl World {
    fn new() -> World {
        let polls = QUEUES.map(|_| Poll::new().unwrap());
        let mut model = Kernel::default();
        for _ in QUEUES {
            model.epoll_create();
        }
        World {
            polls,
            slots: [const { None }; SLOTS as usize],
            model,
        }
    }

    fn is_possible(&self, step: Step) -> bool {
        let open = |slot: Slot| self.slots[slot].is_some();
        let kind = |slot: Slot| Some(&self.model.files[self.slots[slot].as_ref()?.file].kind);
        match step {
            Step::Eventfd(slot) | Step::Queue(_, slot) => !open(slot),
            Step::Pair(one, other) => !open(one) && !open(other) && one != other,
            Step::Duplicate(from, to) => open(from) && !open(to),
            Step::Close(slot) => open(slot),
            Step::Register(queue, slot, ..)
            | Step::Reregister(queue, slot, ..)
            | Step::Deregister(queue, slot) => match kind(slot) {
                // A circle of queues is an error (ELOOP, EINVAL).
                Some(Kind::Queue(inner)) => queue < *inner,
                other => other.is_some(),
            },
            Step::Write(slot, count) => match kind(slot) {
                Some(Kind::Stream(stream)) => {
                    let unread = self.unread(stream.peer).saturating_add(count);
                    !stream.full && unread <= MOST_UNREAD
                }
                other => other.is_some(),
            },
            Step::Fill(slot) => matches!(kind(slot), Some(Kind::Stream(stream)) if !stream.full),
            Step::Read(slot, _) => open(slot),
            Step::Drain(slot) => matches!(kind(slot), Some(Kind::Stream(_))),
            Step::Shutdown(slot, _) => matches!(kind(slot), Some(Kind::Stream(_))),
            Step::Poll(..) | Step::InterestList(_) => true,
        }
    }

    /// What a stream of the model has to read.
    fn unread(&self, file: usize) -> u64 {
        match &self.model.files[file].kind {
            Kind::Stream(stream) => stream.arrived.iter().sum::<usize>() as u64,
            _ => 0,
        }
    }

    /// Makes a step in the kernel and in the model.
    fn make(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Eventfd(slot) => {
                let file = self.model.eventfd();
                // SAFETY: the call takes no pointer.
                let real = unsafe { ffi::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };
                self.open(slot, new_descriptor(real), file);
            }
            Step::Pair(one, other) => {
                let files = self.model.stream_pair();
                let (first, second) = UnixStream::pair().unwrap();
                first.set_nonblocking(true).unwrap();
                second.set_nonblocking(true).unwrap();
                self.open(one, first.into(), files.0);
                self.open(other, second.into(), files.1);
            }
            Step::Queue(queue, slot) => {
                let file = self.model.queues[queue].file;
                self.model.duplicate(file);
                let real = self.polls[queue].as_fd().try_clone_to_owned().unwrap();
                self.open(slot, real, file);
            }
            Step::Duplicate(from, to) => {
                let (real, file) = self.slot(from);
                // SAFETY: the call takes no pointer.
                let real = unsafe { dup(real.as_raw_fd()) };
                self.model.duplicate(file);
                self.open(to, new_descriptor(real), file);
            }
            Step::Close(slot) => {
                let Descriptor { real, file } = self.slots[slot].take().unwrap();
                drop(real);
                self.model.close(file);
            }
            Step::Register(queue, slot, token, interest) => {
                let (poll, source) = (&self.polls[queue], &self.slot(slot).0);
                let real = poll.registry().register(source, token, interest);
                let key = self.key(queue, slot);
                let model = self.model.register(key, token, interest);
                return same(step, real.map_err(|error| error.kind()), model);
            }
            Step::Reregister(queue, slot, token, interest) => {
                let (poll, source) = (&self.polls[queue], &self.slot(slot).0);
                let real = poll.registry().reregister(source, token, interest);
                let key = self.key(queue, slot);
                let model = self.model.reregister(key, token, interest);
                return same(step, real.map_err(|error| error.kind()), model);
            }
            Step::Deregister(queue, slot) => {
                let (poll, source) = (&self.polls[queue], &self.slot(slot).0);
                let real = poll.registry().deregister(source);
                let model = self.model.deregister(self.key(queue, slot));
                return same(step, real.map_err(|error| error.kind()), model);
            }
            Step::Write(slot, count) => {
                let (mut real, file) = self.slot(slot);
                let real = match self.model.files[file].kind {
                    Kind::Stream(_) => real.write(&vec![b'a'; count as usize]),
                    _ => real.write(&count.to_ne_bytes()),
                };
                let model = self.model.write(file, count);
                return same(step, real.map_err(|error| error.kind()), model);
            }
            Step::Read(slot, count) => {
                let (mut real, file) = self.slot(slot);
                let real = match self.model.files[file].kind {
                    Kind::Stream(_) => real.read(&mut vec![0; count]),
                    _ => real.read(&mut [0; 8]),
                };
                let model = self.model.read(file, count);
                return same(step, real.map_err(|error| error.kind()), model);
            }
            Step::Fill(slot) => {
                let (mut real, file) = self.slot(slot);
                let mut bytes = 0;
                while let Ok(count) = real.write(&[0; 16384]) {
                    bytes += count as u64;
                }
                self.model.fill(file, bytes);
            }
            Step::Drain(slot) => {
                let (mut real, file) = self.slot(slot);
                while let Ok(1..) = real.read(&mut [0; 65536]) {}
                while let Ok(1..) = self.model.read(file, usize::MAX) {}
            }
            Step::Shutdown(slot, how) => {
                let (real, file) = self.slot(slot);
                let duplicate = OwnedFd::from(real.try_clone().unwrap());
                UnixStream::from(duplicate).shutdown(how).unwrap();
                self.model.shutdown(file, how);
            }
            Step::Poll(queue, capacity) => {
                let mut events = Events::with_capacity(capacity);
                let poll = &mut self.polls[queue];
                poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
                let model = self.model.poll(queue, capacity);
                let real = events.iter().map(|event| (event.token(), event.bits()));
                return same(step, named(real), named(model));
            }
            Step::InterestList(queue) => {
                let mut model: Vec<String> = Vec::new();
                for registration in &self.model.queues[queue].interest_list {
                    let (token, interest) = (registration.token, registration.interest);
                    let interest = Interest::from(interest);
                    model.push(format!("fd {} {token} {interest:?}", registration.key.fd));
                }
                model.sort();
                return same(step, interest_list(&self.polls[queue]), model);
            }
        }
        Ok(())
    }

    fn open(&mut self, slot: Slot, real: OwnedFd, file: usize) {
        let real = File::from(real);
        self.slots[slot] = Some(Descriptor { real, file });
    }

    fn slot(&self, slot: Slot) -> (&File, usize) {
        let Descriptor { real, file } = self.slots[slot].as_ref().unwrap();
        (real, *file)
    }

    fn key(&self, queue: QueueNumber, slot: Slot) -> Key {
        let (real, file) = self.slot(slot);
        let fd = real.as_raw_fd();
        Key { queue, file, fd }
    }
}

// `try_clone` is fcntl(2), and with that qemu-user on a big-endian machine (s390x) forgets that the
// duplicate is an eventfd: it no longer reverses the bytes of a number that is written.
unsafe extern "C" {
    fn dup(fd: i32) -> i32;
}

fn new_descriptor(result: i32) -> OwnedFd {
    assert!(result >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the descriptor is new, so nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(result) }
}

fn same<T: PartialEq + fmt::Debug>(step: Step, kernel: T, model: T) -> Result<(), String> {
    if kernel == model {
        return Ok(());
    }
    Err(format!(
        "{step}\n    kernel: {kernel:?}\n    model:  {model:?}"
    ))
}

fn named(events: impl IntoIterator<Item = (usize, u32)>) -> Vec<(usize, Interest)> {
    let events = events.into_iter();
    events.map(|(token, bits)| (token, bits.into())).collect()
}

/// The interest list of a queue as /proc shows it, sorted.
fn interest_list(poll: &Poll) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", poll.as_raw_fd())).unwrap();
    let mut list = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("tfd:")) {
        // tfd: 5 events: 19 data: 2a pos:0 ino:1cc5 sdev:f
        let fields: Vec<&str> = line.split_whitespace().collect();
        let events = u32::from_str_radix(fields[3], 16).unwrap();
        let token = u64::from_str_radix(fields[5], 16).unwrap();
        let interest = Interest::from(events);
        list.push(format!("fd {} {token} {interest:?}", fields[1]));
    }
    list.sort();
    list
}
