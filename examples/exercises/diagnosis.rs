//! What is wrong with a program: its symptom, and what was seen of it, in words.

use crate::look::{Call, Closed, Snapshot, Socket, Thread};
use epollet::{Interest, ffi};
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::io;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Symptom {
    /// It sleeps and will not wake up, and its peers wait.
    Hangs,
    /// The same, but there is nothing left that it could do.
    Loses,
    /// It never sleeps, or wakes up in vain again and again.
    Spins,
    /// It sleeps in a call on a socket, not in its queue.
    Blocks,
    /// It did not, but a stream is blocking.
    MayBlock,
    /// It closes a connection too early.
    Cuts,
    /// It works for one client, and lets another one wait.
    Starves,
    /// It keeps the descriptors of clients that have left.
    Leaks,
    /// It ends too early.
    Ends,
    /// It says something else than what is right.
    Differs,
    /// It does not pass its tests.
    Fails,
    DoesNotCompile,
    /// Nothing is known about it.
    NotTried,
}

impl Display for Symptom {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Symptom::Hangs => "HANGS",
            Symptom::Loses => "LOSES",
            Symptom::Spins => "SPINS",
            Symptom::Blocks => "BLOCKS",
            Symptom::MayBlock => "MAY BLOCK",
            Symptom::Cuts => "CUTS",
            Symptom::Starves => "STARVES",
            Symptom::Leaks => "LEAKS",
            Symptom::Ends => "ENDS",
            Symptom::Differs => "DIFFERS",
            Symptom::Fails => "FAILS",
            Symptom::DoesNotCompile => "DOES NOT COMPILE",
            Symptom::NotTried => "NOT TRIED",
        })
    }
}

#[derive(Debug)]
pub struct Diagnosis {
    pub symptom: Symptom,
    pub lines: Vec<String>,
}

impl Diagnosis {
    /// Adds a line behind the first one.
    pub fn with(mut self, line: String) -> Diagnosis {
        self.lines.insert(1, line);
        self
    }
}

pub type Verdict = Result<(), Diagnosis>;

impl Display for Diagnosis {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.symptom)?;
        for line in self.lines.iter().flat_map(|line| line.lines()) {
            writeln!(f, "  {}", crate::wrapped(line))?;
        }
        Ok(())
    }
}

/// This runner itself could not do something.
impl From<io::Error> for Diagnosis {
    fn from(error: io::Error) -> Diagnosis {
        Diagnosis {
            symptom: Symptom::NotTried,
            lines: vec![format!("this runner failed: {error}")],
        }
    }
}

/// So many sockets are described, and so many registrations of closed descriptors.
const SHOWN: usize = 4;
const SHOWN_CLOSED: usize = 2;

/// Who the clients are, and what they wait for.
pub struct Clients {
    /// Their names, by their ports.
    pub names: HashMap<u16, String>,
    /// Answers are longer than the send buffers: a program needs `EPOLLOUT` to write all of one.
    pub want_long_answers: bool,
    /// All of them.
    pub have_left: bool,
}

/// Says what was seen of a program, as far as it tells about the symptom.
pub fn describe(symptom: Symptom, now: &Snapshot, clients: &Clients) -> Vec<String> {
    let mut lines = Vec::new();
    let calls = now.threads.iter();
    lines.extend(calls.filter_map(|thread| call(thread, symptom, now)));
    if now.descriptors >= now.limit {
        let limit = now.limit;
        lines.push(format!(
            "all {limit} descriptors that the program may open are in use"
        ));
    }
    let sockets = now.sockets.iter();
    let mut sockets: Vec<_> = sockets
        .filter_map(|socket| self::socket(socket, symptom, clients))
        .collect();
    let more = sockets.len().saturating_sub(SHOWN);
    sockets.truncate(SHOWN);
    lines.append(&mut sockets);
    if more > 0 {
        lines.push(format!("and {more} more descriptors"));
    }
    lines.extend(now.closed.iter().take(SHOWN_CLOSED).map(closed));
    lines
}

/// Says in which call a thread sleeps. That a program sleeps in its queue is as it should be, unless
/// somebody waits for it or it wakes up in vain.
fn call(thread: &Thread, symptom: Symptom, now: &Snapshot) -> Option<String> {
    let call = thread.sleeps_in()?;
    let Call { name, fd, .. } = call;
    let explains = matches!(symptom, Symptom::Hangs | Symptom::Loses | Symptom::Spins);
    if name == "epoll_wait" && !explains {
        return None;
    }
    let is_first = thread.id == now.pid;
    let who = if is_first {
        "the program"
    } else {
        "another thread"
    };
    let is_it = |socket: &&Socket| u64::from(socket.fd) == fd;
    let kind = match now.sockets.iter().find(is_it) {
        Some(socket) if socket.blocking => ", a blocking socket",
        _ => "",
    };
    match name {
        "futex" if !is_first => None, // A worker without work.
        "futex" => Some(format!(
            "{who} sleeps in futex: it waits for a lock, a channel or a thread"
        )),
        "epoll_wait" => {
            let mut line = format!("{who} sleeps in epoll_wait on fd {fd}");
            if let Some(timeout) = call.timeout() {
                line += &format!(", until a timeout of {} ms", timeout.as_millis());
                if symptom != Symptom::Spins {
                    line += ":\nno event ends this sleep, and a peer waits";
                }
            }
            Some(line)
        }
        "poll" | "nanosleep" => Some(format!("{who} sleeps in {name}")),
        _ => Some(format!("{who} sleeps in {name} on fd {fd}{kind}")),
    }
}

/// Says what is left to do with a socket, and what it is registered for.
fn socket(socket: &Socket, symptom: Symptom, clients: &Clients) -> Option<String> {
    let mut parts = if socket.hung_up {
        vec![String::from(
            "hang-up (EPOLLHUP): it was reset, or both directions have ended",
        )]
    } else if socket.listens {
        connections(socket.unread)
    } else if socket.is_known() {
        let mut parts = input(socket);
        parts.extend(output(socket, symptom, clients));
        parts
    } else {
        Vec::new()
    };
    if parts.is_empty() {
        return None;
    }
    if socket.shows_interest {
        parts.push(match socket.interest {
            None => String::from("not registered"),
            Some(bits) if lacks_out(socket, symptom, clients) => {
                format!("{}, not for EPOLLOUT", interest(bits))
            }
            Some(bits) => interest(bits),
        });
    }
    let name = socket.peer_port.and_then(|port| clients.names.get(&port));
    let name = name.map_or(String::new(), |name| format!(", {name}"));
    Some(format!(
        "fd {}{name}: {}",
        socket.fd,
        parts.join("\n        ")
    ))
}

fn connections(count: u64) -> Vec<String> {
    match count {
        0 => vec![],
        1 => vec![String::from("1 connection waits to be accepted")],
        _ => vec![format!("{count} connections wait to be accepted")],
    }
}

fn input(socket: &Socket) -> Vec<String> {
    let mut parts = Vec::new();
    match socket.unread {
        0 => {}
        1 => parts.push(String::from("1 byte has arrived and is not read")),
        count => parts.push(format!("{count} bytes have arrived and are not read")),
    }
    if socket.peer_finished {
        parts.push(String::from(match socket.unread {
            0 => "end of file has arrived: a read returns 0",
            _ => "end of file follows",
        }));
    }
    parts
}

/// If the program spins, being writable counts. If bytes are missing, what was written counts.
fn output(socket: &Socket, symptom: Symptom, clients: &Clients) -> Option<String> {
    let is_reported = |bits| bits & ffi::EPOLLOUT != 0 && bits & ffi::EPOLLET == 0;
    let text = match (symptom, socket.unsent) {
        (Symptom::Spins, 0) if socket.interest.is_some_and(is_reported) => "there is room to write",
        (Symptom::Loses, 0) if clients.want_long_answers => {
            "all that was written has arrived: there is room to write"
        }
        (Symptom::Loses, 0) => "all that was written has reached the peer",
        (Symptom::Loses, count) => {
            let text = format!("{count} bytes are not acknowledged: the peer does not read");
            return Some(text);
        }
        _ => return None,
    };
    Some(String::from(text))
}

/// The program has more to write and could, but does not ask when.
fn lacks_out(socket: &Socket, symptom: Symptom, clients: &Clients) -> bool {
    let can_write_more = clients.want_long_answers && !socket.listens && socket.unsent == 0;
    let asks_for_others = |bits: u32| bits & ALWAYS != 0 && bits & ffi::EPOLLOUT == 0;
    symptom == Symptom::Loses && can_write_more && socket.interest.is_some_and(asks_for_others)
}

fn interest(bits: u32) -> String {
    if bits & ALWAYS == 0 {
        return String::from("registered, but disabled: its one-shot event was reported");
    }
    format!("registered for {:?}", Interest::from(bits & !ALWAYS))
}

/// The kernel adds them to every interest, and removes them when a one-shot event is reported.
const ALWAYS: u32 = ffi::EPOLLERR | ffi::EPOLLHUP;

fn closed(closed: &Closed) -> String {
    let fd = closed.fd;
    let old = if closed.is_used_again { "the old " } else { "" };
    let duplicate = match closed.duplicate {
        Some(fd) => format!("its duplicate, fd {fd}, is open"),
        None => String::from("a duplicate of it is open"),
    };
    let interest = interest(closed.interest);
    format!("{old}fd {fd} is closed, but still registered: {duplicate}\n        {interest}")
}
