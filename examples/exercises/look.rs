//! What `/proc` tells about a process: its threads, its sockets, its interest lists.
//!
//! Nothing here stops the process or asks it to cooperate. What cannot be read is left out.

use std::collections::HashMap;
use std::fs;
use std::io::Result;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is seen of a process at one moment.
pub struct Snapshot {
    pub pid: u32,
    pub threads: Vec<Thread>,
    /// How many descriptors are open, and how many may be.
    pub descriptors: usize,
    pub limit: usize,
    pub sockets: Vec<Socket>,
    pub closed: Vec<Closed>,
}

pub fn snapshot(pid: u32) -> Snapshot {
    Snapshot {
        pid,
        threads: threads(pid),
        descriptors: descriptors(pid),
        limit: limit(pid),
        sockets: sockets(pid),
        closed: closed(pid),
    }
}

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
    /// The system call that it is in, if that can be seen.
    call: Option<Call>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Call {
    pub name: &'static str,
    /// The first argument.
    pub fd: u64,
    pub on_socket: bool,
    /// The fourth argument of `epoll_wait`.
    milliseconds: i32,
}

impl Call {
    /// The time after which the call returns, if nothing happens. Of `nanosleep` it is not known, so
    /// it is taken to be short.
    pub fn timeout(&self) -> Option<Duration> {
        match (self.name, u64::try_from(self.milliseconds)) {
            ("epoll_wait", Ok(count)) => Some(Duration::from_millis(count)),
            ("nanosleep", _) => Some(Duration::ZERO),
            _ => None,
        }
    }
}

impl Thread {
    /// The system call that it sleeps in. A thread that is stopped before a call does not sleep in it.
    pub fn sleeps_in(&self) -> Option<Call> {
        self.call.filter(|_| self.state == 'S')
    }
}

/// Returns true if a thread sleeps in a call on a socket.
pub fn one_blocks(threads: &[Thread]) -> bool {
    let mut calls = threads.iter().filter_map(Thread::sleeps_in);
    calls.any(|call| call.on_socket)
}

/// Returns true if a thread sleeps in `epoll_wait`, or in a call that cannot be seen.
pub fn one_sleeps_in_queue(threads: &[Thread]) -> bool {
    let mut calls = threads.iter().map(Thread::sleeps_in);
    calls.any(|call| call.is_none_or(|call| call.name == "epoll_wait"))
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
        call: call(pid, id),
    })
}

/// `232 0x3 0x7f… …`: the number of the call and its arguments. `running` if it runs.
fn call(pid: u32, id: u32) -> Option<Call> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{id}/syscall")).ok()?;
    let fields: Vec<&str> = text.split_whitespace().collect();
    let number: u32 = fields.first()?.parse().ok()?;
    let argument = |index: usize| {
        let digits = fields.get(index)?.strip_prefix("0x")?;
        u64::from_str_radix(digits, 16).ok()
    };
    let column = if cfg!(target_arch = "x86_64") {
        0
    } else if cfg!(any(target_arch = "aarch64", target_arch = "riscv64")) {
        1
    } else {
        return None;
    };
    let is_it = |(_, numbers): &&(_, [&[u32]; 2])| numbers[column].contains(&number);
    let fd = argument(1)?;
    let file = fs::read_link(format!("/proc/{pid}/fd/{fd}"));
    Some(Call {
        name: CALLS.iter().find(is_it)?.0,
        fd,
        on_socket: file.is_ok_and(|file| is_socket(&file)),
        milliseconds: argument(4)? as i32,
    })
}

/// The calls in which the exercises sleep, with their numbers on x86_64, and on aarch64 and riscv64.
#[rustfmt::skip] // One line each: this is a table.
const CALLS: [(&str, [&[u32]; 2]); 10] = [
    ("epoll_wait", [&[232, 281], &[22]]),      // epoll_pwait
    ("read",       [&[0],        &[63]]),
    ("recv",       [&[45],       &[207]]),
    ("write",      [&[1],        &[64]]),
    ("send",       [&[44],       &[206]]),
    ("accept",     [&[43, 288],  &[202, 242]]), // accept4
    ("connect",    [&[42],       &[203]]),
    ("futex",      [&[202],      &[98]]),
    ("poll",       [&[7, 271],   &[73]]),       // ppoll
    ("nanosleep",  [&[35, 230],  &[101, 115]]), // clock_nanosleep
];

/// A socket of the process.
pub struct Socket {
    pub fd: u32,
    /// The port of its peer; of a listener, 0. `None`: the socket is not in the kernel's tables of TCP
    /// sockets.
    pub peer_port: Option<u16>,
    /// It is in no table, not even that of Unix sockets: the connection is over.
    pub hung_up: bool,
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
    pub shows_interest: bool,
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
}

fn sockets(pid: u32) -> Vec<Socket> {
    // Before the tables: a socket that the program accepts meanwhile is not among these.
    let files = open_files(pid);
    let mut by_inode = HashMap::new();
    for table in ["tcp", "tcp6"] {
        let rows = rows(&format!("/proc/{pid}/net/{table}"));
        by_inode.extend(rows.into_iter().map(|row| (row.inode, row)));
    }
    let unix = fs::read_to_string(format!("/proc/{pid}/net/unix")).ok();
    let registrations = registrations(pid);
    let mut sockets = Vec::new();
    for file in files.iter().filter(|file| file.is_socket()) {
        let OpenFile { fd, inode, .. } = *file;
        let mut interests = registrations.iter();
        let interest = interests.find(|registration| registration.is_of(file));
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

/// A registration of a descriptor that is closed. A registration ends with the open file description,
/// so it stays while a duplicate is open.
pub struct Closed {
    pub fd: u32,
    /// The number names another file now.
    pub is_used_again: bool,
    pub interest: u32,
    /// The duplicate, if it is a socket. Its inode is its own; all eventfds, for example, share one.
    pub duplicate: Option<u32>,
}

fn closed(pid: u32) -> Vec<Closed> {
    let before = registrations(pid);
    let files = open_files(pid);
    let mut registrations = registrations(pid);
    // A program that runs opens and closes files meanwhile: those do not count.
    registrations.retain(|registration| {
        before.contains(registration) && !files.iter().any(|file| registration.is_of(file))
    });
    let closed = registrations.iter().map(|registration| {
        let is_duplicate = |file: &&OpenFile| file.is_socket() && file.inode == registration.inode;
        Closed {
            fd: registration.fd,
            is_used_again: files.iter().any(|file| file.fd == registration.fd),
            interest: registration.interest,
            duplicate: files.iter().find(is_duplicate).map(|file| file.fd),
        }
    });
    closed.collect()
}

/// Says what the kernel does not show of the processes that this one starts. Some systems restrict it.
pub fn hidden() -> Result<Vec<String>> {
    let mut child = Command::new("sleep").arg("9").spawn()?;
    let mut hidden = Vec::new();
    for (file, what) in [
        ("syscall", "the calls that it sleeps in"),
        ("fdinfo/0", "its descriptors"),
    ] {
        if fs::read(format!("/proc/{}/{file}", child.id())).is_err() {
            hidden.push(format!("(not seen, because of /proc/PID/{file}: {what})"));
        }
    }
    child.kill()?;
    child.wait()?;
    Ok(hidden)
}

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

/// Returns how many bytes a process has written that have not reached its peers.
pub fn unsent(pid: u32) -> u64 {
    let inodes: Vec<u64> = open_files(pid).iter().map(|file| file.inode).collect();
    let tables = ["tcp", "tcp6"].map(|table| rows(&format!("/proc/{pid}/net/{table}")));
    let rows = tables.iter().flatten();
    let own = rows.filter(|row| inodes.contains(&row.inode) && row.state != LISTEN);
    own.map(|row| row.send_queue).sum()
}

/// Returns how many descriptors are open. One that is inherited can have a number above the limit:
/// it takes no place from the others.
pub fn descriptors(pid: u32) -> usize {
    let (fds, limit) = (names(&format!("/proc/{pid}/fd")), limit(pid));
    fds.iter().filter(|fd| (**fd as usize) < limit).count()
}

/// Returns how many descriptors may be open.
fn limit(pid: u32) -> usize {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
    let mut lines = limits.lines();
    let limit = lines.find_map(|line| line.strip_prefix("Max open files"));
    let soft = limit.and_then(|line| line.split_whitespace().next()?.parse().ok());
    soft.unwrap_or(usize::MAX)
}

/// What a descriptor names.
struct OpenFile {
    fd: u32,
    inode: u64,
    link: PathBuf,
}

impl OpenFile {
    fn is_socket(&self) -> bool {
        is_socket(&self.link)
    }
}

fn is_socket(link: &Path) -> bool {
    link.to_string_lossy().starts_with("socket:")
}

fn open_files(pid: u32) -> Vec<OpenFile> {
    let open_file = |fd| {
        let path = format!("/proc/{pid}/fd/{fd}");
        let inode = fs::metadata(&path).ok()?.ino();
        let link = fs::read_link(path).ok()?;
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
    fn is_of(&self, file: &OpenFile) -> bool {
        (self.fd, self.inode) == (file.fd, file.inode)
    }

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
fn registrations(pid: u32) -> Vec<Registration> {
    let mut files = open_files(pid);
    files.retain(|file| file.link == Path::new("anon_inode:[eventpoll]"));
    let info = |queue: &OpenFile| fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", queue.fd));
    let infos: String = files.iter().flat_map(info).collect();
    infos.lines().filter_map(Registration::parse).collect()
}

/// The names in a directory that are numbers.
fn names(directory: &str) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
