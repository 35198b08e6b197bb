//! What `/proc` tells about a process: its threads, its sockets, its interest lists.
//!
//! Nothing here stops the process or asks it to cooperate. What cannot be read is left out.

use epollet::{Interest, ffi};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::{fs, io};

/// One look at a thread.
#[derive(Clone, Debug, PartialEq)]
pub struct Thread {
    pub id: u32,
    /// `R`: runnable. `S`: asleep. `T`: stopped.
    pub state: char,
    /// CPU time, in ticks of 10 ms.
    pub ticks: u64,
    /// How often it has gone to sleep by itself.
    pub sleeps: u64,
    /// The system call that it is in, if that can be seen, its first argument, and its fourth: the
    /// timeout of `epoll_wait`.
    call: Option<(&'static str, u64, i32)>,
}

impl Thread {
    /// The system call that it sleeps in. A thread that is stopped before a call does not sleep in it.
    pub fn sleeps_in(&self) -> Option<(&'static str, u64, i32)> {
        self.call.filter(|_| self.state == 'S')
    }
}

pub fn threads(pid: u32) -> Vec<Thread> {
    let ids = names(&format!("/proc/{pid}/task"));
    ids.into_iter().filter_map(|id| thread(pid, id)).collect()
}

fn thread(pid: u32, id: u32) -> Option<Thread> {
    let task = format!("/proc/{pid}/task/{id}");
    let stat = fs::read_to_string(format!("{task}/stat")).ok()?;
    // The name of the program, in parentheses, may contain spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let status = fs::read_to_string(format!("{task}/status")).ok()?;
    let sleeps = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Thread {
        id,
        state: fields.first()?.chars().next()?,
        ticks: ticks(11)? + ticks(12)?, // utime and stime
        sleeps: sleeps.trim().parse().ok()?,
        call: fs::read_to_string(format!("{task}/syscall"))
            .ok()
            .and_then(|text| system_call(&text)),
    })
}

/// `232 0x3 0x7f… …`: the number of the call and its arguments. `running` if it runs.
fn system_call(text: &str) -> Option<(&'static str, u64, i32)> {
    let mut fields = text.split_whitespace();
    let number = fields.next()?.parse().ok()?;
    let (_, name) = CALLS.iter().find(|(call, _)| *call == number)?;
    let hexadecimal = |field: &str| u64::from_str_radix(field.strip_prefix("0x")?, 16).ok();
    let first = hexadecimal(fields.next()?)?;
    Some((name, first, hexadecimal(fields.nth(2)?)? as i32))
}

/// The calls in which the exercises sleep. Their numbers depend on the processor.
#[cfg(target_arch = "x86_64")]
const CALLS: [(u32, &str); 14] = [
    (232, "epoll_wait"),
    (281, "epoll_wait"), // epoll_pwait
    (0, "read"),
    (45, "recv"),
    (1, "write"),
    (44, "send"),
    (43, "accept"),
    (288, "accept"),
    (42, "connect"),
    (202, "futex"),
    (7, "poll"),
    (271, "poll"),
    (35, "sleep"),
    (230, "sleep"),
];
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
const CALLS: [(u32, &str); 11] = [
    (22, "epoll_wait"), // epoll_pwait
    (63, "read"),
    (207, "recv"),
    (64, "write"),
    (206, "send"),
    (202, "accept"),
    (242, "accept"),
    (203, "connect"),
    (98, "futex"),
    (73, "poll"),
    (115, "sleep"),
];
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
const CALLS: [(u32, &str); 0] = [];

/// A socket of the process.
pub struct Socket {
    pub fd: u32,
    /// The port of its peer; of a listener, 0. `None`: the socket is not in the kernel's tables of TCP
    /// sockets.
    pub peer_port: Option<u16>,
    /// It is in no table, not even that of Unix sockets: the connection is over.
    hung_up: bool,
    pub listens: bool,
    /// Bytes that have arrived and are not read. Of a listener: connections to accept.
    pub unread: u64,
    /// End of file has arrived. Whether the program has read it cannot be seen: the read that takes
    /// the last bytes can take the end of file from the receive queue, too.
    pub peer_finished: bool,
    /// Bytes that were written and have not reached the peer.
    pub unsent: u64,
    pub blocking: bool,
    /// What it is registered for, in any of the queues of the process; and whether that can be seen.
    pub interest: Option<u32>,
    shows_interest: bool,
}

pub fn sockets(pid: u32) -> Vec<Socket> {
    let mut by_inode = HashMap::new();
    for table in ["tcp", "tcp6"] {
        let rows = rows(&format!("/proc/{pid}/net/{table}"));
        by_inode.extend(rows.into_iter().map(|row| (row.inode, row)));
    }
    let unix = fs::read_to_string(format!("/proc/{pid}/net/unix")).ok();
    let files = open_files(pid);
    let registrations = registrations(pid, &files);
    let mut sockets = Vec::new();
    for OpenFile { fd, inode, link } in files {
        if !link.starts_with("socket:") {
            continue;
        }
        let interest = registrations
            .iter()
            .find(|registration| (registration.fd, registration.inode) == (fd, inode));
        let row = by_inode.get(&inode);
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
        let lacks = |table: &String| {
            let mut inodes = table.lines().map(|line| line.split_whitespace().nth(6));
            inodes.all(|number| number != Some(&inode.to_string()))
        };
        let peer_finished = row.is_some_and(|row| AFTER_END_OF_FILE.contains(&row.state));
        let receive_queue = row.map_or(0, |row| row.receive_queue);
        sockets.push(Socket {
            fd,
            peer_port: row.map(|row| row.peer_port),
            hung_up: row.is_none() && unix.as_ref().is_some_and(lacks),
            listens: row.is_some_and(|row| row.state == LISTEN),
            // The kernel counts an end of file behind unread bytes as one byte.
            unread: receive_queue.saturating_sub(u64::from(peer_finished)),
            peer_finished,
            unsent: row.map_or(0, |row| row.send_queue),
            blocking: flags.is_some_and(|flags| flags & O_NONBLOCK == 0),
            interest: interest.map(|registration| registration.interest),
            shows_interest: flags.is_some(),
        });
    }
    sockets
}

impl Socket {
    /// Otherwise nothing is known about what it has received and sent.
    pub fn is_known(&self) -> bool {
        self.peer_port.is_some()
    }

    /// Something has arrived that the program has not read or accepted.
    pub fn has_input(&self) -> bool {
        self.unread > 0 || self.peer_finished
    }

    /// What is left to do with it, or `None`. If the program spins, being writable counts; if bytes
    /// are missing, what was written counts; if long answers are, whether it can write more.
    pub fn describe(&self, symptom: &str, has_long_answers: bool) -> Option<String> {
        if !self.is_known() && !self.hung_up {
            return None;
        }
        let level = |bit| {
            self.interest
                .is_some_and(|bits| bits & bit != 0 && bits & ffi::EPOLLET == 0)
        };
        let can_write_more = has_long_answers && symptom == "LOSES" && self.unsent == 0;
        let state = if self.hung_up {
            String::from("hang-up (EPOLLHUP): it was reset, or both directions have ended")
        } else if self.listens {
            match self.unread {
                0 => return None,
                1 => String::from("1 connection waits to be accepted"),
                count => format!("{count} connections wait to be accepted"),
            }
        } else {
            let mut parts = Vec::new();
            match self.unread {
                0 => {}
                1 => parts.push(String::from("1 byte has arrived and is not read")),
                count => parts.push(format!("{count} bytes have arrived and are not read")),
            }
            if self.peer_finished {
                let end = match self.unread {
                    0 => "end of file has arrived: a read returns 0",
                    _ => "end of file follows",
                };
                parts.push(String::from(end));
            }
            if symptom == "SPINS" && level(ffi::EPOLLOUT) && self.unsent == 0 {
                parts.push(String::from("there is room to write"));
            }
            if symptom == "LOSES" {
                parts.push(match self.unsent {
                    0 if can_write_more => {
                        String::from("all that was written has arrived: there is room to write")
                    }
                    0 => String::from("all that was written has reached the peer"),
                    count => format!("{count} bytes are not acknowledged: the peer does not read"),
                });
            }
            if parts.is_empty() {
                return None;
            }
            parts.join("\n        ")
        };
        if !self.shows_interest {
            return Some(state);
        }
        let interest = self.interest.map(describe_interest);
        let mut interest = interest.unwrap_or(String::from("not registered"));
        let lacks_out = |bits| bits & ffi::EPOLLOUT == 0 && bits & ALWAYS != 0;
        if can_write_more && !self.listens && self.interest.is_some_and(lacks_out) {
            interest += ", not for EPOLLOUT";
        }
        Some(format!("{state}\n        {interest}"))
    }
}

fn describe_interest(bits: u32) -> String {
    if bits & ALWAYS == 0 {
        return String::from("registered, but disabled: its one-shot event was reported");
    }
    format!("registered for {:?}", Interest::from(bits & !ALWAYS))
}

/// Describes registrations of descriptors that are closed. A registration ends with the open file
/// description, so it stays while a duplicate is open.
pub fn closed(pid: u32) -> Vec<String> {
    let before = registrations(pid, &open_files(pid));
    let files = open_files(pid);
    let after = registrations(pid, &files);
    let is_open = |registration: &Registration| {
        let mut files = files.iter();
        files.any(|file| (file.fd, file.inode) == (registration.fd, registration.inode))
    };
    // A program that runs opens and closes files meanwhile: those do not count.
    let closed = before
        .iter()
        .filter(|registration| after.contains(registration) && !is_open(registration));
    closed
        .map(|registration| {
            let fd = registration.fd;
            let is_used_again = files.iter().any(|file| file.fd == fd);
            let old = if is_used_again { "the old " } else { "" };
            // A socket's inode is its own. All eventfds, for example, share one.
            let socket = format!("socket:[{}]", registration.inode);
            let duplicate = match files.iter().find(|file| file.link == socket) {
                Some(file) => format!("its duplicate, fd {}, is open", file.fd),
                None => String::from("a duplicate of it is open"),
            };
            let interest = describe_interest(registration.interest);
            format!("{old}fd {fd} is closed, but still registered: {duplicate}\n        {interest}")
        })
        .collect()
}

/// Says what the kernel does not show of the processes that this one starts. Some systems restrict it.
pub fn hidden() -> io::Result<Vec<&'static str>> {
    let mut child = Command::new("cat") // It sleeps until its input ends.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let pid = child.id();
    let mut hidden = Vec::new();
    if fs::read(format!("/proc/{pid}/syscall")).is_err() {
        hidden.push("(not seen, because of /proc/PID/syscall: the calls that it sleeps in)");
    }
    if fs::read(format!("/proc/{pid}/fdinfo/0")).is_err() {
        hidden.push("(not seen, because of /proc/PID/fdinfo: its descriptors)");
    }
    drop(child.stdin.take());
    child.wait()?;
    Ok(hidden)
}

/// The kernel adds them to every interest, and removes them when a one-shot event is reported.
const ALWAYS: u32 = ffi::EPOLLERR | ffi::EPOLLHUP;
const O_NONBLOCK: u32 = 0o4000;
const AFTER_END_OF_FILE: [u8; 3] = [8, 9, 11]; // CLOSE_WAIT, LAST_ACK, CLOSING
pub const SYN_RECV: u8 = 3;
const LISTEN: u8 = 10;

/// One socket in the kernel's table.
struct Row {
    state: u8,
    port: u16,
    peer_port: u16,
    send_queue: u64,
    receive_queue: u64,
    inode: u64,
}

impl Row {
    /// ` 1: 0100007F:BCD2 0100007F:A1B2 08 00000000:00000001 00:00000000 00000000 0 0 7372 …`
    fn parse(line: &str) -> Option<Row> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
        let (send_queue, receive_queue) = fields.get(4)?.split_once(':')?;
        let (_, port) = fields.get(1)?.rsplit_once(':')?;
        let (_, peer_port) = fields.get(2)?.rsplit_once(':')?;
        Some(Row {
            port: hexadecimal(port)? as u16,
            peer_port: hexadecimal(peer_port)? as u16,
            state: hexadecimal(fields[3])? as u8,
            send_queue: hexadecimal(send_queue)?,
            receive_queue: hexadecimal(receive_queue)?,
            inode: fields.get(9)?.parse().ok()?,
        })
    }
}

/// Returns the sockets in a table of the kernel. Connections in TIME_WAIT have no socket any more,
/// and there can be very many of them.
fn rows(table: &str) -> Vec<Row> {
    let text = fs::read_to_string(table).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.contains(" 06 0"));
    lines.filter_map(Row::parse).collect()
}

/// Returns the state of a connection's socket on the side of a port.
pub fn state(port: u16, peer_port: u16) -> Option<u8> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let mut rows = tables.into_iter().flat_map(rows);
    let row = rows.find(|row| (row.port, row.peer_port) == (port, peer_port));
    row.map(|row| row.state)
}

/// Returns how many descriptors are open, and how many may be.
pub fn descriptors(pid: u32) -> (usize, usize) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let limit = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = limit.and_then(|line| line.split_whitespace().next()?.parse().ok());
    let open = names(&format!("/proc/{pid}/fd")).len();
    (open, soft.unwrap_or(usize::MAX))
}

/// What a descriptor names.
struct OpenFile {
    fd: u32,
    inode: u64,
    link: String,
}

fn open_files(pid: u32) -> Vec<OpenFile> {
    let open_file = |fd| {
        let path = format!("/proc/{pid}/fd/{fd}");
        let inode = fs::metadata(&path).ok()?.ino();
        let link = fs::read_link(path).ok()?.to_string_lossy().into_owned();
        Some(OpenFile { fd, inode, link })
    };
    let mut fds = names(&format!("/proc/{pid}/fd"));
    fds.sort();
    fds.into_iter().filter_map(open_file).collect()
}

/// A line of an interest list. The inode matters: a descriptor can be used again while the file that
/// it named is still registered.
#[derive(PartialEq)]
struct Registration {
    fd: u32,
    inode: u64,
    interest: u32,
}

impl Registration {
    /// `tfd:        5 events:       19 data:                5  pos:0 ino:115b2d9 sdev:9`
    fn parse(line: &str) -> Option<Registration> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ["tfd:", fd, "events:", bits, ..] = fields[..] else {
            return None;
        };
        let inode = fields.iter().find_map(|field| field.strip_prefix("ino:"))?;
        Some(Registration {
            fd: fd.parse().ok()?,
            inode: u64::from_str_radix(inode, 16).ok()?,
            interest: u32::from_str_radix(bits, 16).ok()?,
        })
    }
}

/// Returns what is registered in the queues of a process.
fn registrations(pid: u32, files: &[OpenFile]) -> Vec<Registration> {
    let queues = files
        .iter()
        .filter(|file| file.link.ends_with("[eventpoll]"));
    let info = |queue: &OpenFile| {
        fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", queue.fd)).unwrap_or_default()
    };
    let infos: String = queues.map(info).collect();
    infos.lines().filter_map(Registration::parse).collect()
}

/// The names in a directory that are numbers.
fn names(directory: &str) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
