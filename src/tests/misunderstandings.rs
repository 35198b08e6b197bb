//! What people believe about epoll, and what is true: the table of the guide's page
//! `misunderstandings`, and the cases on the page `practice` in which a predicate is only a hint.
//! Those that need processes are in `practice.rs`.

use super::common::*;
use crate::ffi::{
    self, EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLIN, EPOLLONESHOT, EPOLLOUT, EPOLLPRI,
    EPOLLRDHUP,
};
use crate::{Events, Interest, Poll, Waker};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::raw::c_void;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

#[test]
fn under_edge_one_read_leaves_the_rest_unreported() {
    let (mut ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    theirs.write_all(b"abcd").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(ours.read(&mut [0; 3]).unwrap(), 3);
    assert_eq!(ready_bits(&mut poll), 0);
    assert_eq!(drain(&mut ours), 1, "the fourth byte was there");
}

#[test]
fn under_edge_new_input_is_reported_before_the_old_is_drained() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    for _ in 0..3 {
        theirs.write_all(b"a").unwrap();
        assert_eq!(ready_bits(&mut poll), EPOLLIN);
    }
}

#[test]
fn under_edge_one_accept_for_each_event_leaves_a_connection_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let _clients = [connect(), connect()];
    let mut poll = queue_with(&listener, EPOLLIN | EPOLLET);
    assert_eq!(
        await_events(&mut poll).len(),
        1,
        "two connections, one event"
    );
    listener.accept().unwrap();
    assert_eq!(ready_bits(&mut poll), 0);
    listener.accept().expect("the second one has waited");
}

#[test]
fn a_short_read_can_hide_an_end_of_file() {
    let (mut ours, mut theirs) = unix_pair();
    theirs.write_all(b"abc").unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(ours.read(&mut [0; 100]).unwrap(), 3, "a short read");
    assert_eq!(ready_bits(&mut poll), 0, "no second event");
    assert_eq!(ours.read(&mut [0; 100]).unwrap(), 0, "the end of file");
}

#[test]
fn a_level_triggered_write_interest_ends_every_sleep() {
    let (ours, _theirs) = unix_pair();
    let mut poll = queue_with(&ours, Interest::READABLE | Interest::WRITABLE);
    for _ in 0..100 {
        let events = await_events(&mut poll);
        assert_eq!(events[0].bits(), EPOLLOUT, "and nothing to read");
    }
    poll.registry()
        .reregister(&ours, 1, Interest::READABLE)
        .unwrap();
    assert_eq!(ready_bits(&mut poll), 0);
}

#[test]
fn an_interest_of_zero_still_reports_a_hang_up_and_an_error() {
    let (ours, theirs) = unix_pair();
    let mut poll = queue_with(&ours, 0);
    drop(theirs);
    assert_eq!(ready_bits(&mut poll), EPOLLHUP);
    let (reader, writer) = pipe();
    let mut poll = queue_with(&writer, 0);
    drop(reader);
    assert_eq!(ready_bits(&mut poll), EPOLLERR);
}

#[test]
fn the_end_of_a_pipe_is_a_hang_up_without_epollin() {
    let (mut reader, writer) = pipe();
    let mut poll = queue_with(&reader, Interest::READABLE);
    drop(writer);
    let event = ready_now(&mut poll)[0];
    assert_eq!(event.bits(), EPOLLHUP);
    assert!(!event.is_readable() && event.is_read_closed());
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the end of file");
}

#[test]
fn after_rdhup_data_can_be_read_and_written() {
    let (mut ours, mut theirs) = tcp_pair();
    theirs.write_all(b"last").unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    await_bits(&ours, EPOLLRDHUP);
    assert_eq!(drain(&mut ours), 4);
    ours.write_all(b"answer").unwrap();
    await_bits(&theirs, EPOLLIN);
    assert_eq!(drain(&mut theirs), 6);
}

#[test]
fn closing_one_of_two_duplicates_does_not_deregister() {
    let (ours, mut theirs) = unix_pair();
    let duplicate = ours.try_clone().unwrap();
    let mut poll = queue_with(&ours, EPOLLIN);
    drop(ours);
    theirs.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    drop(duplicate);
    assert_eq!(ready_bits(&mut poll), 0);
}

#[test]
fn the_rest_of_a_batch_can_be_about_a_source_that_is_closed() {
    let pairs = [unix_pair(), unix_pair()];
    let mut poll = Poll::new().unwrap();
    let mut sources = Vec::new();
    for (token, (ours, mut theirs)) in pairs.into_iter().enumerate() {
        poll.registry().register(&ours, token, EPOLLIN).unwrap();
        theirs.write_all(b"a").unwrap();
        sources.push(Some((ours, theirs)));
    }
    let events = ready_now(&mut poll);
    sources[1] = None; // The handler of the first event closes the other source.
    assert_eq!(
        sorted_tokens(&events),
        [0, 1],
        "its event is still in the batch"
    );
    assert_eq!(
        sorted_tokens(&ready_now(&mut poll)),
        [0],
        "the next poll knows"
    );
}

#[test]
fn a_second_register_fails_and_changes_nothing() {
    let (ours, _theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLOUT);
    let twice = poll.registry().register(&ours, 2, EPOLLIN).unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::AlreadyExists);
    let events = ready_now(&mut poll);
    assert_eq!((events[0].token(), events.len()), (1, 1));
    assert_eq!(events[0].bits(), EPOLLOUT);
}

#[test]
fn a_duplicate_can_be_registered_too_and_then_there_are_two_events() {
    let (ours, _theirs) = unix_pair();
    let duplicate = ours.try_clone().unwrap();
    let mut poll = queue_with(&ours, EPOLLOUT);
    poll.registry().register(&duplicate, 2, EPOLLOUT).unwrap();
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [1, 2]);
}

#[test]
fn a_one_shot_registration_is_silent_until_it_is_reregistered() {
    let (mut ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLONESHOT);
    theirs.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(drain(&mut ours), 1);
    theirs.write_all(b"b").unwrap();
    assert_eq!(ready_bits(&mut poll), 0, "a drain does not enable it");
    poll.registry()
        .reregister(&ours, 1, EPOLLIN | EPOLLONESHOT)
        .unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
}

#[test]
fn a_regular_file_on_disk_is_refused_and_one_in_proc_or_sys_may_be_taken() {
    let poll = Poll::new().unwrap();
    let executable = File::open(std::env::current_exe().unwrap()).unwrap();
    assert!(executable.metadata().unwrap().is_file());
    let refused = poll.registry().register(&executable, 1, EPOLLIN);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
    for path in [
        "/proc/self/mounts",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ] {
        let Ok(file) = File::open(path) else { continue };
        assert!(file.metadata().unwrap().is_file(), "{path}");
        poll.registry().register(&file, 1, EPOLLPRI).unwrap();
    }
}

#[test]
fn a_file_in_sys_reports_a_change_before_its_first_read() {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let Ok(mut file) = File::open(path) else {
        return; // a kernel without this file
    };
    let mut poll = queue_with(&file, EPOLLIN | EPOLLPRI);
    assert_eq!(ready_bits(&mut poll), EPOLLIN | EPOLLPRI | EPOLLERR);
    file.read_to_string(&mut String::new()).unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
}

#[test]
fn a_listener_that_waits_for_connections_has_no_hang_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let interest = Interest::READABLE | Interest::WRITABLE;
    assert_eq!(ready_bits(&mut queue_with(&listener, interest)), 0);
}

#[test]
fn data_that_came_before_a_reset_is_read_after_take_error() {
    let (mut ours, mut theirs) = tcp_pair();
    theirs.write_all(b"bye").unwrap();
    await_bits(&ours, EPOLLIN);
    reset(theirs);
    await_bits(&ours, EPOLLERR);
    assert!(ours.take_error().unwrap().is_some());
    assert_eq!(ours.read(&mut [0; 10]).unwrap(), 3);
    assert_eq!(ours.read(&mut [0; 10]).unwrap(), 0);
}

unsafe extern "C" {
    fn pthread_self() -> std::ffi::c_ulong;
    fn pthread_kill(thread: std::ffi::c_ulong, signal: i32) -> i32;
}

static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_signal(_signal: i32) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Runs `poll` in a thread and sends that thread a signal while it sleeps. Calls `end` after the
/// handler has run.
fn interrupt<T: Send>(poll: impl FnOnce() -> T + Send, end: impl FnOnce()) -> T {
    const SIGUSR1: i32 = 10;
    // SAFETY: the handler does what a handler may.
    unsafe { c::signal(SIGUSR1, count_signal) };
    let before = SIGNALS.load(Ordering::Relaxed);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let sleeper = scope.spawn(move || {
            // SAFETY: no pointer.
            tell.send((unsafe { pthread_self() }, stat())).unwrap();
            poll()
        });
        let (thread, stat) = told.recv().unwrap();
        await_state(&stat, 'S');
        // SAFETY: the thread lives until it is joined.
        assert_eq!(unsafe { pthread_kill(thread, SIGUSR1) }, 0);
        until("the handler has run", || {
            SIGNALS.load(Ordering::Relaxed) > before
        });
        end();
        sleeper.join().unwrap()
    })
}

#[test]
fn a_signal_ends_epoll_wait_with_eintr_and_poll_waits_on() {
    let mut poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), 9).unwrap();
    let epfd = poll.as_raw_fd();
    let raw = move || {
        let mut events = Events::with_capacity(1);
        // SAFETY: there is room for one event.
        let count = unsafe { ffi::epoll_wait(epfd, events.as_mut_ptr(), 1, -1) };
        (count, std::io::Error::last_os_error().kind())
    };
    assert_eq!(interrupt(raw, || ()), (-1, ErrorKind::Interrupted));
    let woken = interrupt(
        || sorted_tokens(&await_events(&mut poll)),
        || waker.wake().unwrap(),
    );
    assert_eq!(woken, [9]);
}

#[test]
fn a_timeout_rounded_down_to_milliseconds_makes_a_loop_spin() {
    let poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1);
    let mut calls_until_deadline = || {
        let deadline = std::time::Instant::now() + Duration::from_micros(900);
        let mut calls = 0;
        loop {
            let remaining = deadline.saturating_duration_since(std::time::Instant::now());
            if remaining.is_zero() {
                return calls;
            }
            let millis = remaining.as_millis() as i32; // 0
            // SAFETY: there is room for one event.
            unsafe { ffi::epoll_wait(poll.as_raw_fd(), events.as_mut_ptr(), 1, millis) };
            calls += 1;
        }
    };
    // One try would do, unless this thread is suspended for that long.
    assert!((0..1000).any(|_| calls_until_deadline() > 1));
}

#[test]
fn a_readable_source_can_answer_would_block() {
    let (mut ours, mut theirs) = unix_pair();
    let mut other_thread = ours.try_clone().unwrap();
    let mut poll = queue_with(&ours, Interest::READABLE);
    theirs.write_all(b"a").unwrap();
    assert!(ready_now(&mut poll)[0].is_readable());
    thread::scope(|scope| scope.spawn(|| drain(&mut other_thread)).join().unwrap());
    let read = ours.read(&mut [0]).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::WouldBlock);
}

#[test]
fn bytes_in_a_buf_reader_are_not_reported() {
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, Interest::READABLE);
    let mut lines = BufReader::new(ours);
    theirs.write_all(b"one\ntwo\n").unwrap();
    assert!(ready_now(&mut poll)[0].is_readable());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "one\n");
    assert_eq!(ready_bits(&mut poll), 0, "though a line has come");
    assert_eq!(lines.buffer(), b"two\n");
}

#[test]
fn one_event_can_wake_two_threads_of_one_instance_if_level_triggered() {
    let (ours, mut theirs) = unix_pair();
    let poll = queue_with(&ours, EPOLLIN);
    let epfd = poll.as_raw_fd();
    let wait_raw = |tell: Sender<PathBuf>| {
        move || {
            let mut events = Events::with_capacity(1);
            tell.send(stat()).unwrap();
            // SAFETY: there is room for one event.
            unsafe { ffi::epoll_wait(epfd, events.as_mut_ptr(), 1, LONG.as_millis() as i32) }
        }
    };
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(wait_raw(tell.clone())));
        for stat in told.iter().take(2) {
            await_state(stat, 'S');
        }
        theirs.write_all(b"a").unwrap();
        assert_eq!(threads.map(|thread| thread.join().unwrap()), [1, 1]);
    });
}

#[test]
fn one_edge_or_one_shot_is_returned_to_one_of_two_threads_of_one_instance() {
    for mode in [EPOLLET, EPOLLONESHOT] {
        assert_one_of_two_threads_wakes(EPOLLIN | mode);
    }
}

fn assert_one_of_two_threads_wakes(interest: u32) {
    let (ours, mut theirs) = unix_pair();
    let poll = queue_with(&ours, interest);
    let stop = Poll::new().unwrap();
    poll.registry().register(&stop, 2, EPOLLIN).unwrap();
    let waker = Waker::new(stop.registry(), 3).unwrap();
    let epfd = poll.as_raw_fd();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..2 {
            let tell = tell.clone();
            scope.spawn(move || {
                tell.send((0, Some(stat()))).unwrap();
                loop {
                    let mut events = Events::with_capacity(1);
                    // SAFETY: there is room for one event, and the kernel has written `count`.
                    unsafe {
                        let count = ffi::epoll_wait(epfd, events.as_mut_ptr(), 1, -1);
                        events.set_len(count as usize);
                    }
                    match events[0].token() {
                        2 => return, // level-triggered, so the other thread ends too
                        token => tell.send((token, None)).unwrap(),
                    }
                }
            });
        }
        let stats: Vec<_> = told.iter().take(2).map(|(_, stat)| stat.unwrap()).collect();
        let both_sleep = || stats.iter().for_each(|stat| await_state(stat, 'S'));
        both_sleep();
        theirs.write_all(b"a").unwrap();
        assert_eq!(told.recv().unwrap().0, 1);
        both_sleep();
        assert!(told.try_recv().is_err(), "the other thread has slept on");
        waker.wake().unwrap();
    });
}

#[test]
fn exclusive_does_not_balance_between_two_idle_instances() {
    const CONNECTIONS: usize = 10;
    const STOP: usize = 2;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let (tell, told) = mpsc::channel();
    let (mut stats, mut wakers) = (Vec::new(), Vec::new()); // A waker has to outlive the loop.
    thread::scope(|scope| {
        for worker in 0..2 {
            let (tell, listener) = (tell.clone(), &listener);
            let (tell_stat, told_stat) = mpsc::channel();
            let mut poll = queue_with(listener, EPOLLIN | EPOLLEXCLUSIVE);
            wakers.push(Waker::new(poll.registry(), STOP).unwrap());
            scope.spawn(move || {
                tell_stat.send(stat()).unwrap();
                while await_events(&mut poll)[0].token() != STOP {
                    tell.send((worker, listener.accept().is_ok())).unwrap();
                }
            });
            stats.push(told_stat.recv().unwrap());
        }
        let mut woken = Vec::new();
        for _ in 0..CONNECTIONS {
            stats.iter().for_each(|stat| await_state(stat, 'S'));
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            woken.push(told.recv().unwrap());
        }
        stats.iter().for_each(|stat| await_state(stat, 'S'));
        woken.extend(told.try_iter());
        wakers.iter().for_each(|waker| waker.wake().unwrap());
        let (worker, _) = woken[0];
        assert_eq!(woken, [(worker, true); CONNECTIONS], "always the same");
    });
}

#[test]
fn an_exclusive_source_is_not_reported_by_an_instance_that_was_not_woken() {
    let (ours, mut theirs) = unix_pair();
    let interest = EPOLLIN | EPOLLEXCLUSIVE;
    let [mut first, mut second] = [(); 2].map(|()| queue_with(&ours, interest));
    thread::scope(|scope| {
        let sleeper = spawn_asleep(scope, || await_events(&mut first)[0].bits());
        theirs.write_all(b"a").unwrap();
        assert_eq!(sleeper.join().unwrap(), EPOLLIN);
    });
    assert_eq!(ready_bits(&mut second), 0, "though the byte is unread");
    assert_eq!(ready_bits(&mut first), EPOLLIN);
}

#[test]
fn exclusive_makes_every_instance_ready_if_no_thread_sleeps_in_one() {
    let (ours, mut theirs) = unix_pair();
    let interest = EPOLLIN | EPOLLEXCLUSIVE;
    let mut polls = [queue_with(&ours, interest), queue_with(&ours, interest)];
    theirs.write_all(b"a").unwrap();
    assert_eq!(polls.each_mut().map(ready_bits), [EPOLLIN, EPOLLIN]);
}

// What the predicates of an event do not promise.

#[test]
fn a_socket_reported_as_hung_up_before_its_connect_connects() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = tcp_socket();
    let event = ready_now(&mut queue_with(&socket, EPOLLOUT))[0];
    assert_eq!(event.bits(), EPOLLOUT | EPOLLHUP);
    assert!(event.is_writable() && event.is_read_closed() && event.is_write_closed());
    let address = sockaddr_in(listener.local_addr().unwrap());
    // SAFETY: the address is 16 bytes long.
    unsafe { c::connect(socket.as_raw_fd(), address.as_ptr() as *const c_void, 16) };
    assert_eq!(
        await_events(&mut queue_with(&socket, EPOLLOUT))[0].bits(),
        EPOLLOUT
    );
    (&socket).write_all(b"a").unwrap();
}

#[test]
fn a_udp_socket_reported_as_write_closed_sends_again() {
    let refusing = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = refusing.local_addr().unwrap();
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.connect(address).unwrap();
    drop(refusing);
    ours.send(b"a").unwrap();
    await_bits(&ours, EPOLLERR);
    let event = ready_now(&mut queue_with(&ours, EPOLLOUT))[0];
    assert_eq!(event.bits(), EPOLLOUT | EPOLLERR);
    assert!(event.is_write_closed());
    let error = ours.send(b"a").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let revived = UdpSocket::bind(address).unwrap();
    ours.send(b"again").unwrap();
    assert_eq!(revived.recv(&mut [0; 10]).unwrap(), 5);
}

#[test]
fn a_udp_socket_can_have_datagrams_after_the_error_that_a_read_returns() {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.set_nonblocking(true).unwrap();
    let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.connect(theirs.local_addr().unwrap()).unwrap();
    theirs.send_to(b"a", ours.local_addr().unwrap()).unwrap();
    drop(theirs);
    ours.send(b"a").unwrap();
    await_bits(&ours, EPOLLERR);
    let error = ours.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(ours.recv(&mut [0; 10]).unwrap(), 1);
}

#[test]
fn an_unconnected_unix_datagram_socket_is_writable_though_its_receiver_is_full() {
    let name = format!("epollet-full-{}", std::process::id());
    let receiver = SocketAddr::from_abstract_name(name).unwrap();
    let _full = UnixDatagram::bind_addr(&receiver).unwrap();
    let ours = UnixDatagram::unbound().unwrap();
    ours.set_nonblocking(true).unwrap();
    let error = (0..1_000_000).find_map(|_| ours.send_to_addr(b"a", &receiver).err());
    assert_eq!(error.unwrap().kind(), ErrorKind::WouldBlock);
    assert_eq!(ready_bits(&mut queue_with(&ours, EPOLLOUT)), EPOLLOUT);
}

#[test]
fn a_fifo_that_is_hung_up_can_be_opened_for_writing_again() {
    let (reader, writer) = pipe();
    // Opening a pipe in /proc makes a new open file description for it, as with a FIFO.
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let mut poll = queue_with(&reader, Interest::READABLE);
    drop(writer);
    assert!(ready_now(&mut poll)[0].is_read_closed());
    let mut writer = OpenOptions::new().write(true).open(path).unwrap();
    assert_eq!(ready_bits(&mut poll), 0, "the hang-up is over");
    writer.write_all(b"a").unwrap();
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
}

#[test]
fn a_fifo_reads_end_of_file_before_its_first_writer_without_a_hang_up() {
    let path = fifo();
    let mut options = OpenOptions::new();
    let mut reader = options
        .read(true)
        .custom_flags(NONBLOCK)
        .open(&path)
        .unwrap();
    let mut poll = queue_with(&reader, Interest::READABLE);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    assert_eq!(ready_bits(&mut poll), 0);
    let writer = OpenOptions::new().write(true).open(&path).unwrap();
    fs::remove_file(path).unwrap();
    let empty = reader.read(&mut [0]).unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::WouldBlock);
    drop(writer);
    assert_eq!(ready_bits(&mut poll), EPOLLHUP);
}

#[test]
fn a_pseudoterminal_that_is_hung_up_can_be_opened_again() {
    const EIO: i32 = 5;
    const O_NOCTTY: i32 = 0o400;
    let (mut master, terminal) = pseudoterminal();
    let path = fs::read_link(format!("/proc/self/fd/{}", terminal.as_raw_fd())).unwrap();
    let mut poll = queue_with(&master, Interest::READABLE);
    assert_eq!(ready_bits(&mut poll), 0);
    drop(terminal);
    assert!(await_events(&mut poll)[0].is_read_closed());
    let end = master.read(&mut [0]).unwrap_err();
    assert_eq!(end.raw_os_error(), Some(EIO), "not 0 bytes");
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(O_NOCTTY);
    let mut terminal = options.open(path).unwrap();
    assert_eq!(ready_bits(&mut poll), 0, "the hang-up is over");
    terminal.write_all(b"a").unwrap();
    assert_eq!(await_events(&mut poll)[0].bits(), EPOLLIN);
    drop(terminal);
    await_bits(&master, EPOLLHUP);
    master.write_all(b"a").unwrap();
}

/// With `IP_RECVERR`, an error is in a queue too. (So are the time stamps and the completions that a
/// socket may be asked to report.)
#[test]
fn epollerr_can_outlast_the_error_that_take_error_returns() {
    const IP_RECVERR: i32 = 11;
    let refusing = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.connect(refusing.local_addr().unwrap()).unwrap();
    drop(refusing);
    let on = 1_i32.to_ne_bytes();
    // SAFETY: an int has 4 bytes; 0 is the level of IP.
    let set = unsafe { c::setsockopt(ours.as_raw_fd(), 0, IP_RECVERR, on.as_ptr().cast(), 4) };
    assert_eq!(set, 0);
    ours.send(b"a").unwrap();
    await_bits(&ours, EPOLLERR);
    assert!(ours.take_error().unwrap().is_some());
    assert!(ours.take_error().unwrap().is_none());
    assert_eq!(ready_bits(&mut queue_with(&ours, 0)), EPOLLERR);
}

#[test]
fn rdhup_is_also_our_own_shutdown_and_bytes_can_be_read_after_it() {
    let (mut ours, mut theirs) = tcp_pair();
    ours.shutdown(Shutdown::Read).unwrap();
    let event = ready_now(&mut queue_with(&ours, Interest::READABLE))[0];
    assert_eq!(event.bits(), EPOLLIN | EPOLLRDHUP);
    assert!(event.is_read_closed());
    assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    theirs.write_all(b"late").unwrap();
    let mut received = 0;
    until("the bytes arrive", || {
        received += drain(&mut ours);
        received == 4
    });
}

#[test]
fn a_udp_socket_that_is_shut_down_stays_readable_and_a_read_would_block() {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.connect(ours.local_addr().unwrap()).unwrap();
    let mut ours = TcpStream::from(OwnedFd::from(ours)); // for its `shutdown`
    ours.set_nonblocking(true).unwrap();
    ours.shutdown(Shutdown::Read).unwrap();
    let mut poll = queue_with(&ours, Interest::READABLE);
    for _ in 0..2 {
        assert_eq!(ready_bits(&mut poll), EPOLLIN | EPOLLRDHUP);
        assert_eq!(
            ours.read(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    }
}

#[test]
fn a_short_read_of_a_datagram_leaves_the_next_one_unreported() {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    for _ in 0..2 {
        ours.send_to(b"ab", ours.local_addr().unwrap()).unwrap();
    }
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(ours.recv(&mut [0; 100]).unwrap(), 2);
    assert_eq!(ready_bits(&mut poll), 0);
    assert_eq!(ours.recv(&mut [0; 100]).unwrap(), 2);
}

#[test]
fn a_short_read_of_a_terminal_leaves_the_next_line_unreported() {
    let (mut master, mut ours) = pseudoterminal();
    master.write_all(b"one\ntwo\n").unwrap();
    await_bits(&ours, EPOLLIN);
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    assert_eq!(ready_bits(&mut poll), EPOLLIN);
    assert_eq!(ours.read(&mut [0; 100]).unwrap(), 4);
    assert_eq!(ready_bits(&mut poll), 0);
    assert_eq!(ours.read(&mut [0; 100]).unwrap(), 4);
}

#[test]
fn take_error_takes_the_error_that_the_read_would_return() {
    for (ask_first, expected) in [(true, None), (false, Some(ErrorKind::ConnectionReset))] {
        let (mut ours, theirs) = tcp_pair();
        reset(theirs);
        await_bits(&ours, EPOLLERR);
        if ask_first {
            let error = ours.take_error().unwrap().unwrap();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        assert_eq!(ours.read(&mut [0]).err().map(|e| e.kind()), expected);
        assert!(ours.take_error().unwrap().is_none());
    }
}

/// Sends one byte out of band.
fn send_urgent(socket: &TcpStream, byte: u8) {
    const MSG_OOB: i32 = 1;
    let byte = [byte];
    // SAFETY: one byte is there.
    let sent = unsafe { c::send(socket.as_raw_fd(), byte.as_ptr().cast(), 1, MSG_OOB) };
    assert_eq!(sent, 1);
}

/// Receives the byte that was sent out of band.
fn receive_urgent(socket: &TcpStream) -> std::io::Result<u8> {
    unsafe extern "C" {
        fn recv(fd: i32, buffer: *mut c_void, len: usize, flags: i32) -> isize;
    }
    const MSG_OOB: i32 = 1;
    let mut byte = [0];
    // SAFETY: there is room for one byte.
    match unsafe { recv(socket.as_raw_fd(), byte.as_mut_ptr().cast(), 1, MSG_OOB) } {
        1 => Ok(byte[0]),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[test]
fn priority_data_counts_as_readable_and_a_plain_read_would_block() {
    let (mut ours, theirs) = tcp_pair();
    send_urgent(&theirs, b'!');
    let event = await_events(&mut queue_with(&ours, Interest::PRIORITY))[0];
    assert!(event.is_readable() && event.is_priority());
    assert_eq!(receive_urgent(&ours).unwrap(), b'!');
    let read = ours.read(&mut [0]).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_plain_read_loses_the_out_of_band_byte_even_if_it_would_block() {
    let (mut ours, mut theirs) = tcp_pair();
    send_urgent(&theirs, b'!');
    await_bits(&ours, EPOLLPRI);
    let read = ours.read(&mut [0]).unwrap_err();
    assert_eq!(read.kind(), ErrorKind::WouldBlock);
    let urgent = receive_urgent(&ours).unwrap_err();
    assert_eq!(urgent.kind(), ErrorKind::InvalidInput);
    send_urgent(&theirs, b'!');
    await_bits(&ours, EPOLLPRI);
    theirs.write_all(b"after").unwrap();
    await_bits(&ours, EPOLLIN);
    assert_eq!(drain(&mut ours), 5, "the bytes behind it");
    assert!(receive_urgent(&ours).is_err());
}

#[test]
fn a_read_at_the_end_of_file_returns_zero_again_and_again() {
    let (mut ours, theirs) = unix_pair();
    drop(theirs);
    for _ in 0..1000 {
        // So `while let Ok(count) = ours.read(...)` does not end.
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_read_of_zero_bytes_from_a_datagram_socket_is_not_the_end_of_file() {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in [&b""[..], b"more"] {
        theirs
            .send_to(datagram, ours.local_addr().unwrap())
            .unwrap();
    }
    assert_eq!(ours.recv(&mut [0; 10]).unwrap(), 0);
    assert_eq!(ours.recv(&mut [0; 10]).unwrap(), 4);
}

/// A source whose producer is as fast as its reader: each read is followed by a write.
struct FastProducer(UnixStream, UnixStream);

impl Read for FastProducer {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer);
        self.1.write_all(b"more").unwrap();
        count
    }
}

#[test]
fn a_drain_of_a_fast_producer_does_not_end_and_a_budget_does() {
    const BUDGET: usize = 16;
    let (ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    theirs.write_all(b"more").unwrap();
    let mut fast = FastProducer(ours, theirs);
    let (neighbor, mut to_neighbor) = unix_pair();
    let registry = poll.registry();
    registry.register(&neighbor, 2, EPOLLIN | EPOLLET).unwrap();
    assert_eq!(sorted_tokens(&ready_now(&mut poll)), [1]);
    to_neighbor.write_all(b"a").unwrap();
    for _ in 0..1000 {
        // Inside a drain, this loop would have no end, and the neighbor would wait.
        assert!(fast.read(&mut [0; 16]).is_ok());
    }
    for _ in 0..BUDGET {
        assert!(fast.read(&mut [0; 16]).is_ok());
    }
    assert_eq!(
        sorted_tokens(&ready_now(&mut poll)),
        [1, 2],
        "the neighbor gets its turn"
    );
}

#[test]
fn a_change_that_is_over_before_the_poll_is_not_reported() {
    let (mut ours, mut theirs) = unix_pair();
    let mut poll = queue_with(&ours, EPOLLIN | EPOLLET);
    theirs.write_all(b"a").unwrap();
    assert_eq!(drain(&mut ours), 1);
    assert_eq!(ready_bits(&mut poll), 0);
}

#[test]
fn a_level_triggered_source_waits_its_turn_if_the_capacity_is_too_small() {
    let (a, b) = (unix_pair(), unix_pair());
    let mut poll = queue_with(&a.0, EPOLLOUT);
    poll.registry().register(&b.0, 2, EPOLLOUT).unwrap();
    let mut events = Events::with_capacity(1);
    let mut order = Vec::new();
    for _ in 0..4 {
        poll.poll(&mut events, None).unwrap();
        order.push(events[0].token());
    }
    assert_eq!(order, [1, 2, 1, 2]);
}
