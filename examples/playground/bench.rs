//! The bench: sources and queues in the kernel, and the same ones in the model of epoll.
//!
//! Each action makes real system calls, and the model gets the same calls. Then the bench compares
//! what the kernel shows with what the model says: results, interest lists, unread bytes. An action
//! that is refused changes nothing.

use super::action::{Action, MOST_READ};
use super::model::files::Kind;
use super::model::{Kernel, Key, Queue};
use super::strace::{event_text, quoted, returned};
use epollet::ffi::{self, EPOLLIN};
use epollet::{Events, Poll, Token};
use std::ffi::{c_int, c_ulong};
use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

// What a bench has room for.
pub const QUEUES: usize = 2;
/// Descriptors of streams and eventfds.
pub const SOURCES: usize = 12;
pub const STEPS: usize = 200;
/// Unread bytes of a stream. So few never fill its buffer.
pub const UNREAD: usize = 16;

/// What a poll returned: tokens and bits.
pub type Report = Vec<(Token, u32)>;

pub struct Bench {
    /// `q1` and `q2`, with the same numbers as in the model.
    pub queues: Vec<Poll>,
    pub sources: Vec<Source>,
    pub model: Kernel,
    pub steps: Vec<Step>,
    /// How the kernel and the model differ, if they do.
    pub difference: Option<String>,
}

/// An open descriptor of a stream or an eventfd.
pub struct Source {
    pub name: String,
    pub real: File,
    /// The number of its file in the model.
    pub file: usize,
}

/// What was done, and what came of it.
pub struct Step {
    pub action: Action,
    /// The names of the new descriptors.
    pub made: Vec<String>,
    /// The system calls, as strace prints them.
    pub calls: Vec<String>,
    pub report: Option<Report>,
}

/// A row of an interest list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Registration {
    pub fd: RawFd,
    pub token: Token,
    pub interest: u32,
}

impl Bench {
    /// Returns a bench with one queue.
    pub fn new() -> Result<Bench, String> {
        let mut bench = Bench {
            queues: Vec::new(),
            sources: Vec::new(),
            model: Kernel::default(),
            steps: Vec::new(),
            difference: None,
        };
        bench.act(Action::Queue)?;
        Ok(bench)
    }

    /// Does one action. The error is a sentence for the visitor, and then the bench is as it was.
    pub fn act(&mut self, action: Action) -> Result<(), String> {
        if self.difference.is_some() {
            return Err("The kernel and the model differ. Start a new bench.".into());
        }
        if self.steps.len() == STEPS {
            return Err(format!(
                "A bench ends after {STEPS} steps. Start a new one."
            ));
        }
        // So that a descriptor is left for `/proc` afterwards.
        let spare = File::open("/dev/null").map_err(no_descriptor)?;
        let mut step = Step {
            action: action.clone(),
            made: Vec::new(),
            calls: Vec::new(),
            report: None,
        };
        match &action {
            Action::Stream => self.create_stream(&mut step)?,
            Action::Eventfd => self.create_eventfd(&mut step)?,
            Action::Queue => self.create_queue(&mut step)?,
            Action::Duplicate(source) => self.duplicate(self.source(source)?, &mut step)?,
            Action::Close(source) => self.close(self.source(source)?, &mut step),
            Action::Register(queue, source, ..)
            | Action::Reregister(queue, source, ..)
            | Action::Deregister(queue, source) => self.control(queue, source, &mut step)?,
            Action::Write(source, count) => self.write(self.source(source)?, *count, &mut step)?,
            Action::Read(source, count) => self.read(self.source(source)?, *count, &mut step),
            Action::Shutdown(source) => self.shutdown(self.source(source)?, &mut step)?,
            Action::Poll(queue, capacity) => self.poll(queue, *capacity, &mut step)?,
        }
        self.steps.push(step);
        drop(spare);
        self.compare();
        Ok(())
    }

    fn create_stream(&mut self, step: &mut Step) -> Result<(), String> {
        self.has_room(2)?;
        let pair = UnixStream::pair().and_then(|(ours, theirs)| {
            ours.set_nonblocking(true)?;
            theirs.set_nonblocking(true)?;
            Ok((OwnedFd::from(ours), OwnedFd::from(theirs)))
        });
        let (ours, theirs) = pair.map_err(no_descriptor)?;
        let (first, second) = (ours.as_raw_fd(), theirs.as_raw_fd());
        step.calls = vec![
            format!("socketpair(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0, [{first}, {second}]) = 0"),
            format!("ioctl({first}, FIONBIO, [1]) = 0"),
            format!("ioctl({second}, FIONBIO, [1]) = 0"),
        ];
        let earlier = self.count(|action| *action == Action::Stream);
        let name = format!("s{}", earlier + 1);
        let (file, peer) = self.model.stream_pair();
        self.add(name.clone(), file, ours.into(), step);
        self.add(name + "_peer", peer, theirs.into(), step);
        Ok(())
    }

    fn create_eventfd(&mut self, step: &mut Step) -> Result<(), String> {
        self.has_room(1)?;
        // SAFETY: the call takes no pointer.
        let fd = unsafe { ffi::eventfd(0, ffi::EFD_CLOEXEC | ffi::EFD_NONBLOCK) };
        if fd == -1 {
            return Err(no_descriptor(io::Error::last_os_error()));
        }
        // SAFETY: the descriptor is new, so nothing else owns it.
        let real = unsafe { File::from_raw_fd(fd) };
        step.calls = vec![format!("eventfd2(0, EFD_CLOEXEC|EFD_NONBLOCK) = {fd}")];
        let earlier = self.count(|action| *action == Action::Eventfd);
        let file = self.model.eventfd();
        self.add(format!("e{}", earlier + 1), file, real, step);
        Ok(())
    }

    fn create_queue(&mut self, step: &mut Step) -> Result<(), String> {
        if self.queues.len() == QUEUES {
            return Err(format!("A bench has room for {QUEUES} queues. Use these."));
        }
        let poll = Poll::new().map_err(no_descriptor)?;
        step.calls = vec![format!(
            "epoll_create1(EPOLL_CLOEXEC) = {}",
            poll.as_raw_fd()
        )];
        let number = self.model.epoll_create();
        step.made.push(queue_name(number));
        self.queues.push(poll);
        Ok(())
    }

    fn duplicate(&mut self, source: usize, step: &mut Step) -> Result<(), String> {
        self.has_room(1)?;
        let original = &self.sources[source];
        // A closed descriptor of this file may still be registered. A duplicate with its number would
        // take its place. Whether it gets that number depends on what else the process has open, so
        // it gets another one.
        let queues = self.model.queues.iter();
        let mut passed = Vec::new();
        let new = loop {
            let new = original.real.try_clone().map_err(no_descriptor)?;
            let (file, fd) = (original.file, new.as_raw_fd());
            let mut rows = queues.clone().flat_map(|queue| &queue.interest_list);
            if !rows.any(|row| (row.key.file, row.key.fd) == (file, fd)) {
                break new;
            }
            passed.push(new);
        };
        let (old, fd) = (original.real.as_raw_fd(), new.as_raw_fd());
        step.calls = vec![format!("fcntl({old}, F_DUPFD_CLOEXEC, 3) = {fd}")];
        let (file, first) = (original.file, first_name(&original.name));
        let earlier = self
            .count(|action| matches!(action, Action::Duplicate(name) if first_name(name) == first));
        let name = match earlier {
            0 => format!("{first}_dup"),
            _ => format!("{first}_dup{}", earlier + 1),
        };
        self.model.duplicate(file);
        self.add(name, file, new, step);
        Ok(())
    }

    fn close(&mut self, source: usize, step: &mut Step) {
        let closed = self.sources.remove(source);
        step.calls = vec![format!("close({}) = 0", closed.real.as_raw_fd())];
        self.model.close(closed.file);
    }

    fn control(&mut self, queue: &str, source: &str, step: &mut Step) -> Result<(), String> {
        let (queue, (source, file)) = (self.queue(queue)?, self.find(source)?);
        let key = Key {
            queue,
            file,
            fd: source.as_raw_fd(),
        };
        let registry = self.queues[queue].registry();
        let epfd = registry.as_raw_fd();
        let (name, event, result) = match step.action {
            Action::Register(_, _, token, interest) => (
                "ADD",
                Some((token, interest)),
                registry.register(&source, token, interest),
            ),
            Action::Reregister(_, _, token, interest) => (
                "MOD",
                Some((token, interest)),
                registry.reregister(&source, token, interest),
            ),
            _ => ("DEL", None, registry.deregister(&source)),
        };
        let text = match event {
            Some((token, interest)) => event_text(token, interest),
            None => "...".into(), // a pointer, which the kernel ignores
        };
        let call = format!("epoll_ctl({epfd}, EPOLL_CTL_{name}, {}, {text})", key.fd);
        step.calls = vec![call + &returned(result.as_ref().map(|()| 0))];

        let kernel = kind_of(&result);
        // The kernel refuses a cycle of queues. The model does not check for one.
        let refused = Err(kernel.err().unwrap_or(ErrorKind::InvalidInput));
        let model = match step.action {
            _ if self.is_itself(key) => refused,
            Action::Register(..) if self.is_circle(key) => refused,
            Action::Register(_, _, token, bits) => self.model.register(key, token, bits),
            Action::Reregister(_, _, token, bits) => self.model.reregister(key, token, bits),
            _ => self.model.deregister(key),
        };
        self.same("the result", kernel, model);
        Ok(())
    }

    fn write(&mut self, source: usize, count: usize, step: &mut Step) -> Result<(), String> {
        let Source { real, file, .. } = &self.sources[source];
        let (mut real, file) = (real, *file);
        let bytes = match &self.model.files[file].kind {
            Kind::Stream(stream) => {
                let unread = self.unread_in_model(stream.peer);
                if !stream.cannot_write && unread + count > UNREAD {
                    return Err(format!(
                        "{unread} bytes are unread there, and {UNREAD} may be. Read some first."
                    ));
                }
                vec![b'x'; count]
            }
            _ => (count as u64).to_ne_bytes().to_vec(),
        };
        let result = real.write(&bytes);
        let call = format!(
            "write({}, {}, {})",
            real.as_raw_fd(),
            quoted(&bytes),
            bytes.len()
        );
        step.calls = vec![call + &returned(result.as_ref().copied())];

        let model = self.model.write(file, count as u64);
        self.same("the result", kind_of(&result), model);
        Ok(())
    }

    fn read(&mut self, source: usize, count: usize, step: &mut Step) {
        let Source { real, file, .. } = &self.sources[source];
        let (mut real, file) = (real, *file);
        let mut buffer = [0; MOST_READ];
        let room = match self.model.files[file].kind {
            Kind::Eventfd(_) => 8,
            _ => count,
        };
        let result = real.read(&mut buffer[..room]);
        let text = match &result {
            Ok(count) => quoted(&buffer[..*count]),
            Err(_) => format!("{:p}", buffer.as_ptr()),
        };
        let call = format!("read({}, {text}, {room})", real.as_raw_fd());
        step.calls = vec![call + &returned(result.as_ref().copied())];

        let model = self.model.read(file, room);
        self.same("the result", kind_of(&result), model);
    }

    fn shutdown(&mut self, source: usize, step: &mut Step) -> Result<(), String> {
        let Source { name, real, file } = &self.sources[source];
        if !matches!(self.model.files[*file].kind, Kind::Stream(_)) {
            return Err(format!(
                "{name} is no stream, so it has no sending side. Choose a stream."
            ));
        }
        let (fd, file) = (real.as_raw_fd(), *file);
        // SAFETY: the call takes no pointer.
        let result = match unsafe { shutdown(fd, SHUT_WR) } {
            0 => Ok(0),
            _ => Err(io::Error::last_os_error()),
        };
        step.calls = vec![format!("shutdown({fd}, SHUT_WR)") + &returned(result.as_ref().copied())];
        self.model.shutdown(file, Shutdown::Write);
        self.same("the result", kind_of(&result), Ok(0));
        Ok(())
    }

    fn poll(&mut self, queue: &str, capacity: usize, step: &mut Step) -> Result<(), String> {
        let number = self.queue(queue)?;
        let poll = &mut self.queues[number];
        let mut events = Events::with_capacity(capacity);
        let polled = poll.poll(&mut events, Some(Duration::ZERO));
        polled.map_err(|error| format!("The poll failed: {error}. Start a new bench."))?;
        let kernel: Report = events
            .iter()
            .map(|event| (event.token(), event.bits()))
            .collect();
        let model = self.model.poll(number, capacity);
        let texts: Vec<String> = kernel
            .iter()
            .map(|(token, bits)| event_text(*token, *bits))
            .collect();
        step.calls = vec![format!(
            "epoll_wait({}, [{}], {capacity}, 0) = {}",
            poll.as_raw_fd(),
            texts.join(", "),
            kernel.len()
        )];
        self.same("the report", &kernel, &model);
        step.report = Some(kernel);
        Ok(())
    }

    /// Compares what the kernel shows with the model.
    fn compare(&mut self) {
        for number in 0..self.queues.len() {
            let list = self.model.queues[number].interest_list.iter();
            let mut model: Vec<Registration> = list
                .map(|row| Registration {
                    fd: row.key.fd,
                    token: row.token,
                    interest: row.interest,
                })
                .collect();
            model.sort();
            self.same("the interest list", self.interest_list(number), Ok(model));
        }
        for index in 0..self.sources.len() {
            let kernel = self.unread(&self.sources[index]);
            let model = self.unread_in_model(self.sources[index].file);
            self.same("what is unread", kernel, Ok(model));
        }
    }

    /// The interest list of a queue as `/proc` shows it, sorted.
    pub fn interest_list(&self, queue: usize) -> Result<Vec<Registration>, String> {
        let mut list = Vec::new();
        for line in fdinfo(self.queues[queue].as_raw_fd())?.lines() {
            // tfd:        5 events:       19 data:                0  pos:0 ino:1d5c sdev:8
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let ["tfd:", fd, "events:", events, "data:", data, ..] = fields[..] {
                let hexadecimal = |text| u64::from_str_radix(text, 16).map_err(|_| line.to_owned());
                list.push(Registration {
                    fd: fd.parse().map_err(|_| line.to_owned())?,
                    token: hexadecimal(data)? as Token,
                    interest: hexadecimal(events)? as u32,
                });
            }
        }
        list.sort();
        Ok(list)
    }

    fn same<T: Debug + PartialEq>(&mut self, what: &str, kernel: T, model: T) {
        if kernel != model && self.difference.is_none() {
            let text = format!("{what}: the kernel has {kernel:?}, the model {model:?}");
            self.difference = Some(text);
        }
    }

    /// What the kernel has for a source to read: bytes, or the number of an eventfd.
    pub fn unread(&self, source: &Source) -> Result<usize, String> {
        let fd = source.real.as_raw_fd();
        if let Kind::Eventfd(_) = self.model.files[source.file].kind {
            let text = fdinfo(fd)?;
            let count = text
                .lines()
                .find_map(|line| line.strip_prefix("eventfd-count:"));
            return usize::from_str_radix(count.unwrap_or_default().trim(), 16)
                .map_err(|error| format!("eventfd-count: {error}"));
        }
        let mut bytes: c_int = 0;
        // SAFETY: the kernel writes one int.
        match unsafe { ioctl(fd, FIONREAD, &mut bytes) } {
            0 => Ok(bytes as usize),
            _ => Err(io::Error::last_os_error().to_string()),
        }
    }

    fn unread_in_model(&self, file: usize) -> usize {
        match &self.model.files[file].kind {
            Kind::Eventfd(count) => *count as usize,
            Kind::Stream(stream) => stream.arrived.iter().sum(),
            Kind::Queue(_) => 0,
        }
    }

    /// Which bits a poll would report now, if all were asked for. Changes no ready list.
    pub fn ready(&self, file: usize) -> u32 {
        let Kind::Queue(queue) = self.model.files[file].kind else {
            return self.model.files[file].kind.ready();
        };
        let Queue {
            interest_list,
            ready_list,
            ..
        } = &self.model.queues[queue];
        let mut listed = interest_list
            .iter()
            .filter(|row| ready_list.contains(&row.key));
        if listed.any(|row| self.ready(row.key.file) & row.interest != 0) {
            EPOLLIN
        } else {
            0
        }
    }

    fn is_itself(&self, key: Key) -> bool {
        self.model.queues[key.queue].file == key.file
    }

    /// Does the other queue wait for this one already?
    fn is_circle(&self, key: Key) -> bool {
        let Kind::Queue(inner) = self.model.files[key.file].kind else {
            return false;
        };
        let outer = self.model.queues[key.queue].file;
        let mut list = self.model.queues[inner].interest_list.iter();
        list.any(|registration| registration.key.file == outer)
    }

    fn add(&mut self, name: String, file: usize, real: File, step: &mut Step) {
        step.made.push(name.clone());
        self.sources.push(Source { name, real, file });
    }

    fn has_room(&self, new: usize) -> Result<(), String> {
        if self.sources.len() + new > SOURCES {
            return Err(format!(
                "A bench has room for {SOURCES} descriptors, apart from the queues. Close one."
            ));
        }
        Ok(())
    }

    fn count(&self, which: impl Fn(&Action) -> bool) -> usize {
        self.steps.iter().filter(|step| which(&step.action)).count()
    }

    /// The position of a descriptor that is not a queue.
    fn source(&self, name: &str) -> Result<usize, String> {
        if self.queue(name).is_ok() {
            return Err(format!("{name} is a queue. Register it or poll it."));
        }
        let found = self.sources.iter().position(|source| source.name == name);
        found.ok_or_else(|| "No open descriptor has this name. Choose another source.".into())
    }

    fn queue(&self, name: &str) -> Result<usize, String> {
        let found = (0..self.queues.len()).find(|number| queue_name(*number) == name);
        found.ok_or_else(|| "No queue has this name. Choose q1.".into())
    }

    /// The descriptor of a source or a queue, and its file in the model.
    fn find(&self, name: &str) -> Result<(BorrowedFd<'_>, usize), String> {
        if let Ok(number) = self.queue(name) {
            return Ok((self.queues[number].as_fd(), self.model.queues[number].file));
        }
        let source = &self.sources[self.source(name)?];
        Ok((source.real.as_fd(), source.file))
    }
}

pub fn queue_name(number: usize) -> String {
    format!("q{}", number + 1)
}

fn fdinfo(fd: RawFd) -> Result<String, String> {
    let path = format!("/proc/self/fdinfo/{fd}");
    fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
}

/// Errors cannot be compared, but their kinds can.
fn kind_of<T: Copy>(result: &io::Result<T>) -> Result<T, ErrorKind> {
    result.as_ref().copied().map_err(io::Error::kind)
}

fn no_descriptor(error: io::Error) -> String {
    format!("The server cannot open another file now: {error}. Close a source or another tab.")
}

/// `s1` for `s1_dup`.
pub fn first_name(name: &str) -> &str {
    name.split("_dup").next().unwrap_or(name)
}

const SHUT_WR: c_int = 1;
#[cfg(any(target_arch = "powerpc", target_arch = "powerpc64"))]
const FIONREAD: c_ulong = 0x4004_667f;
#[cfg(not(any(target_arch = "powerpc", target_arch = "powerpc64")))]
const FIONREAD: c_ulong = 0x541b;

unsafe extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn shutdown(fd: c_int, how: c_int) -> c_int;
}
