//! The interest list and the ready list after each call, in the three modes.
//!
//! ```sh
//! cargo run -q --example 04_lists
//! ```
//!
//! The kernel shows its interest list in `/proc/self/fdinfo`, but not its ready list. The ready
//! list comes from `examples/model`, an executable model of epoll, which gets the same calls. After
//! each call the lesson checks that the kernel and the model have the same interest list and return
//! the same events.
//!
//! Comes after `03_triggers`. Book: chapter 4, "The Poll module". Besides the two files it
//! needs `examples/model`.
//!
//! Change next, and predict the table (the answers are at the end of the file):
//! 1. Register O with `EPOLLONESHOT | EPOLLET`, without `EPOLLIN`.
//! 2. Register L with `EPOLLIN | EPOLLOUT`.
//! 3. Leave out the read.

use epollet::ffi::{self, EPOLLET, EPOLLIN, EPOLLONESHOT}; // the model needs `ffi`
use epollet::{Events, Poll, Token};
use model::{Kernel, Key};
use std::fmt::{Debug, Display};
use std::io::{self, Read, Write};
use std::os::{fd::AsRawFd, unix::net::UnixStream};
use std::{fs, process, time::Duration};

mod model;

const L: Token = 0;
const E: Token = 1;
const O: Token = 2;
const NAMES: [&str; 3] = ["L", "E", "O"];

fn main() -> io::Result<()> {
    let mut queue = Queue::new()?;
    queue.register(L, EPOLLIN)?;
    queue.register(E, EPOLLIN | EPOLLET)?;
    queue.register(O, EPOLLIN | EPOLLONESHOT)?;
    queue.write(&[L, E, O])?; // one byte to each
    queue.poll(3)?; // L goes back to the ready list; O is disabled
    queue.poll(3)?;
    queue.write(&[L, E, O])?; // a new edge for E
    queue.poll(3)?;
    queue.read(&[L, E, O])?; // does not change the ready list
    queue.poll(3)?; // finds that L is no longer ready
    queue.write(&[O, E, L])?;
    queue.reregister(O, EPOLLIN | EPOLLONESHOT)?; // finds that O is ready
    queue.poll(1)?; // what did not fit stays before what goes back
    queue.poll(3)?;
    queue.deregister(L)?;

    let (agreed, [l, e, o]) = (queue.agreed, queue.went_back);
    say(format!(
        "The kernel and the model agreed in all {agreed} comparisons.\n"
    ));
    say("Takeaway: a change puts a registration on the ready list, a poll takes it off,");
    if l + e + o > 0 {
        say(format!(
            "and only a level-triggered one goes back (here L {l} times, E {e}, O {o})."
        ));
    } else {
        say("and here none has gone back.");
    }
    Ok(())
}

/// A queue in the kernel, and the same queue in the model.
struct Queue {
    poll: Poll,
    model: Kernel,
    /// The queue's number in the model.
    number: usize,
    streams: Vec<Stream>,
    /// How often the kernel and the model agreed.
    agreed: usize,
    /// How often each stream was on the ready list again after a poll had reported it.
    went_back: [usize; 3],
}

/// A stream in the queue, and its other end.
struct Stream {
    ours: UnixStream,
    theirs: UnixStream,
    key: Key,
    theirs_in_model: usize,
}

impl Queue {
    fn new() -> io::Result<Queue> {
        let mut model = Kernel::default();
        let queue = model.epoll_create();
        let mut streams = Vec::new();
        for _ in NAMES {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            let (file, theirs_in_model) = model.stream_pair();
            let fd = ours.as_raw_fd();
            streams.push(Stream {
                ours,
                theirs,
                key: Key { queue, file, fd },
                theirs_in_model,
            });
        }
        say("L is level-triggered, E edge-triggered, O one-shot. In hexadecimal, as in /proc,");
        say("19 is EPOLLIN | EPOLLERR | EPOLLHUP; 8... adds EPOLLET, 4... EPOLLONESHOT.");
        say("                      interest list (kernel)        ready list  the program");
        say("call                  L         E         O         (model)     gets");
        Ok(Queue {
            poll: Poll::new()?,
            model,
            number: queue,
            streams,
            agreed: 0,
            went_back: [0; 3],
        })
    }

    fn register(&mut self, name: Token, interest: u32) -> io::Result<()> {
        let Stream { ours, key, .. } = &self.streams[name];
        self.poll.registry().register(ours, name, interest)?;
        self.model.register(*key, name, interest)?;
        self.row(&format!("register {}", NAMES[name]), "")
    }

    fn reregister(&mut self, name: Token, interest: u32) -> io::Result<()> {
        let Stream { ours, key, .. } = &self.streams[name];
        self.poll.registry().reregister(ours, name, interest)?;
        self.model.reregister(*key, name, interest)?;
        self.row(&format!("reregister {}", NAMES[name]), "")
    }

    fn deregister(&mut self, name: Token) -> io::Result<()> {
        let Stream { ours, key, .. } = &self.streams[name];
        self.poll.registry().deregister(ours)?;
        self.model.deregister(*key)?;
        self.row(&format!("deregister {}", NAMES[name]), "")
    }

    /// One byte arrives in each of these streams.
    fn write(&mut self, names: &[Token]) -> io::Result<()> {
        for &name in names {
            let stream = &mut self.streams[name];
            stream.theirs.write_all(b"x")?;
            self.model.write(stream.theirs_in_model, 1)?;
        }
        self.row(&format!("a byte arrives: {}", joined(names)), "")
    }

    /// Reads everything that has arrived.
    fn read(&mut self, names: &[Token]) -> io::Result<()> {
        for &name in names {
            let stream = &mut self.streams[name];
            while let Ok(1) = stream.ours.read(&mut [0]) {
                self.model.read(stream.key.file, 1)?;
            }
        }
        self.row(&format!("read all bytes: {}", joined(names)), "")
    }

    fn poll(&mut self, room: usize) -> io::Result<()> {
        let mut events = Events::with_capacity(room);
        self.poll.poll(&mut events, Some(Duration::ZERO))?;
        let kernel: Vec<_> = events.iter().map(|e| (e.token(), e.bits())).collect();
        let model = self.model.poll(self.number, room);
        self.agree(&kernel, &model)?;

        let mut tokens = Vec::new();
        for event in &events {
            let name = event.token();
            tokens.push(name);
            let ready_list = &self.model.queues[self.number].ready_list;
            if ready_list.contains(&self.streams[name].key) {
                self.went_back[name] += 1;
            }
        }
        let gets = if tokens.is_empty() {
            "nothing"
        } else {
            &joined(&tokens)
        };
        self.row(&format!("poll, room for {room}"), gets)
    }

    /// Prints the kernel's interest list, the model's ready list, and what the program got.
    fn row(&mut self, call: &str, gets: &str) -> io::Result<()> {
        let queue = &self.model.queues[self.number];
        let mut interests = NAMES.map(|_| String::from("-"));
        for registration in &queue.interest_list {
            interests[registration.token] = format!("{:x}", registration.interest);
        }
        let mut ready = Vec::new();
        for key in &queue.ready_list {
            ready.extend(self.streams.iter().position(|stream| stream.key == *key));
        }
        let kernel = self.interest_list()?;
        self.agree(&kernel, &interests)?;
        let [l, e, o] = kernel;
        let ready = joined(&ready);
        say(format!("{call:22}{l:10}{e:10}{o:10}{ready:12}{gets}").trim_end());
        Ok(())
    }

    /// Reads the kernel's interest list: the interest of each stream, that of L first.
    fn interest_list(&self) -> io::Result<[String; 3]> {
        let mut list = NAMES.map(|_| String::from("-"));
        let fdinfo = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.poll.as_raw_fd()))?;
        for line in fdinfo.lines() {
            // tfd:        5 events:       19 data:                0  pos:0 ino:1d5c sdev:8
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let ["tfd:", _, "events:", interest, "data:", token, ..] = fields[..] {
                let token = usize::from_str_radix(token, 16).map_err(io::Error::other)?;
                list[token] = String::from(interest);
            }
        }
        Ok(list)
    }

    /// Fails if the kernel and the model differ.
    fn agree<T: PartialEq + Debug>(&mut self, kernel: &T, model: &T) -> io::Result<()> {
        if kernel != model {
            let text = format!("the kernel has {kernel:?}, the model {model:?}");
            return Err(io::Error::other(text));
        }
        self.agreed += 1;
        Ok(())
    }
}

fn joined(tokens: &[Token]) -> String {
    let names: Vec<&str> = tokens.iter().map(|token| NAMES[*token]).collect();
    names.join(" ")
}

/// Prints a line. Ends the lesson if nobody reads it any more, as with `| head -1`.
fn say(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        process::exit(0);
    }
}

// Answers:
// 1. O shows as c0000018, which is 8... and 4... with 18 for ERR and HUP. It never gets on the ready
//    list: what arrives does not match that interest. `reregister` in main has EPOLLIN; without
//    EPOLLET, or with it, O is reported then.
// 2. L is on the ready list all the time, because there is room to write: each poll reports it,
//    after the read, too.
// 3. L stays on the ready list, so the poll that got nothing gets L. E and O do not: nothing new.
