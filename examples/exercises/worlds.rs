//! The world of each exercise: what its peers do, and what they expect.
//!
//! No result depends on who is faster. Where the order matters, the program is stopped for a moment
//! and finds everything in one batch.

use crate::diagnosis::{Diagnosis, Symptom, Verdict};
use crate::peer::Peer;
use crate::process::{Process, Seen};
use crate::program::Program;
use crate::slow::Slow;
use std::net::TcpListener;
use std::{fs, io};

pub fn half_an_answer(program: &Program) -> Verdict {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut process = program.start(&[&listener.local_addr()?.to_string()])?;
    let mut server = Peer::accept("the server", &listener, &mut process)?;
    server.gets("accepted", "please\n", &mut process)?;
    process.rests("until the answer arrives")?;
    // Each part arrives as one event, and the second one together with end of file. So it does not
    // help that a part fits in a buffer.
    process.stopped(|| server.send(&[b'a'; 40_000]))?;
    let first_part = "the first part of the answer";
    process.has_read(first_part, "until the rest of the answer arrives")?;
    process.has_no_blocking_stream()?;
    process.stays_asleep("until the rest of the answer arrives")?;
    process.stopped(|| {
        server.send(&[b'b'; 20_000])?;
        server.finish()
    })?;
    process.ends_with("60000", "60000 bytes and end of file were sent")
}

pub fn one_client_left(program: &Program) -> Verdict {
    let (mut process, address) = program.serve()?;
    let mut first = Peer::connect("client 1", address, &mut process)?;
    first.ask("hello\n", "hello\n", &mut process)?;
    let mut second = Peer::connect("client 2", address, &mut process)?;
    second.ask("hello\n", "hello\n", &mut process)?;
    drop(first);
    process.rests("after client 1 has left")?;
    second.ask("still there?\n", "still there?\n", &mut process)?;
    // The last words arrive together with end of file.
    process.stopped(|| {
        second.send(b"bye\n")?;
        second.finish()
    })?;
    second.gets("sent \"bye\\n\" and half-closed", "bye\n", &mut process)?;
    process.all_leave(second)?;
    // The line of the first one can be read, but not answered. Of the other one, a read fails.
    for (name, text) in [("client 3", "bye\n"), ("client 4", "")] {
        let mut leaver = Peer::connect(name, address, &mut process)?;
        process.rests(&format!("after {name} has connected"))?;
        process.stopped(|| {
            leaver.send(text.as_bytes())?;
            leaver.reset()
        })?;
        process.rests(&format!(
            "after {name} has sent {text:?} and reset the connection"
        ))?;
    }
    process.all_leave(())
}

pub fn a_slow_reader(program: &Program) -> Verdict {
    let answer = b"0123456789abcdef".repeat(500_000);
    let (mut process, address) = program.serve()?;
    process.clients.want_long_answers = true;
    let mut slow = Peer::connect("client 1", address, &mut process)?;
    let mut other = Peer::connect("client 2", address, &mut process)?;
    // Twice: what is kept for a client must not get mixed up.
    for _ in 0..2 {
        slow.says("please\n", &mut process)?;
        process.rests("while client 1 does not read")?;
        other.says("please\n", &mut process)?;
        other.gets_all(&answer, &mut process)?;
        // The second request arrives while the first answer is pending.
        slow.says("please\n", &mut process)?;
        process.rests("while client 1 does not read")?;
        slow.gets_all(&answer.repeat(2), &mut process)?;
        process.rests("after both clients have got all")?;
    }
    process.has_no_blocking_stream()?;
    drop((slow, other));
    process.rests("after both clients have left")?;
    // End of file arrives with the line: no more lines will come, but the client reads on.
    let mut half_closer = Peer::connect("client 3", address, &mut process)?;
    process.stopped(|| {
        half_closer.send(b"please\n")?;
        half_closer.finish()
    })?;
    half_closer.name += ", which has half-closed,";
    process.rests("while client 3, which has half-closed, does not read")?;
    half_closer.gets_all(&answer, &mut process)?;
    // This one does not wait for its answer.
    let mut leaver = Peer::connect("client 4", address, &mut process)?;
    leaver.says("please\n", &mut process)?;
    process.rests("while client 4 does not read")?;
    leaver.reset()?;
    process.rests("after client 4 has reset the connection, with its answer pending")?;
    process.all_leave(half_closer)
}

pub fn counted_twice(program: &Program) -> Verdict {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut process = program.start(&[&listener.local_addr()?.to_string()])?;
    let mut first = Peer::accept("the server for answer 1", &listener, &mut process)?;
    let mut second = Peer::accept("the server for answer 2", &listener, &mut process)?;
    let mut last = Peer::accept("the server for answer 3", &listener, &mut process)?;
    process.rests("until an answer arrives")?;
    // The first answer arrives in two parts, and its end of file later than both.
    for (part, count) in [("the first part", 40), ("the rest", 60)] {
        process.stopped(|| first.send(&vec![b'a'; count]))?;
        let what = format!("{part} of answer 1");
        process.has_read(&what, &format!("after {what}"))?;
    }
    process.has_no_blocking_stream()?;
    process.stopped(|| first.finish())?;
    process.rests("after answer 1 of 3")?;
    // The request has not been read. So closing resets the connection, which is another edge.
    drop(first);
    process.rests("after answer 1 of 3, whose connection was reset after it")?;
    // The second answer, its end of file and a reset arrive in one event.
    process.stopped(|| {
        second.send(&[b'a'; 200])?;
        second.finish()?;
        second.reset()
    })?;
    process.rests("after answer 2 of 3\n(connection 1 was reset after its answer)")?;
    // All bytes are there, but the last answer has not ended.
    process.stopped(|| last.send(&[b'a'; 300]))?;
    process.has_read("answer 3", "until answer 3 of 3 ends")?;
    process.stays_asleep("until answer 3 of 3 ends")?;
    process.stopped(|| last.finish())?;
    let sent = "answers of 100, 200 and 300 bytes were sent, the second together with a reset";
    process.ends_with("600", sent)
}

pub fn one_blocks_all(program: &Program) -> Verdict {
    let (mut process, address) = program.serve()?;
    let mut first = Peer::connect("client 1", address, &mut process)?;
    first.ask("one\n", "ONE\n", &mut process)?;
    first.says("hal", &mut process)?;
    let mut second = Peer::connect("client 2", address, &mut process)?;
    second.ask("two\n", "TWO\n", &mut process)?;
    process.rests("while client 1 has sent half a line")?;
    first.gets("sent half a line", "", &mut process)?;
    first.ask("f\n", "HALF\n", &mut process)?;
    // Three lines and a half in one event.
    let three = "THREE\nFOUR\nFIVE\n";
    second.ask("three\nfour\nfive\nsi", three, &mut process)?;
    second.ask("x\n", "SIX\n", &mut process)?;
    for (name, text, what) in [
        ("client 3", "hal", "half a line"),
        ("client 4", "line\n", "a line"),
    ] {
        let mut leaver = Peer::connect(name, address, &mut process)?;
        leaver.ask("hello\n", "HELLO\n", &mut process)?;
        process.stopped(|| {
            leaver.send(text.as_bytes())?;
            leaver.reset()
        })?;
        process.rests(&format!(
            "after {name} has sent {what} and reset the connection"
        ))?;
    }
    second.ask("still there?\n", "STILL THERE?\n", &mut process)?;
    process.has_no_blocking_stream()?;
    process.all_leave((first, second))
}

pub fn wrong_client(program: &Program) -> Verdict {
    let (mut process, address) = program.serve()?;
    let mut first = Peer::connect("client 1", address, &mut process)?;
    place(&mut first, &mut process)?;
    // One after the other: the place is free long before the next client comes.
    let mut second = Peer::connect("client 2", address, &mut process)?;
    let removed = place(&mut second, &mut process)?;
    let line = format!("remove {removed}\n");
    first.ask(&line, "", &mut process)?;
    process.rests(&format!("after client 1 has sent {line:?}"))?;
    first.gets(&format!("sent {line:?}"), "", &mut process)?;
    second.ends(&format!("was to leave ({line:?})"), &mut process)?;
    let mut next = Peer::connect("the next client", address, &mut process)?;
    let found = place(&mut next, &mut process)?;
    if found != removed {
        let line = format!("place {removed} is free, and the next client got place {found}");
        return process.differs(line);
    }
    next.ask("hello\n", "hello\n", &mut process)?;
    drop((second, next));
    // Twice, because a place that is not used again at once can be used again later.
    for name in ["client 3", "client 5"] {
        let mut leaver = Peer::connect("the removed client", address, &mut process)?;
        let removed = place(&mut leaver, &mut process)?;
        process.rests("until a client sends something")?;
        // One batch, in this order.
        let mut newcomer = process.stopped(|| {
            first.send(format!("remove {removed}\n").as_bytes())?;
            let newcomer = Peer::open(name, address)?;
            newcomer.queued()?;
            leaver.finish()?;
            Ok(newcomer)
        })?;
        place(&mut newcomer, &mut process)?;
        process.rests("until a client sends something")?;
        place(&mut newcomer, &mut process)?; // It is still connected.
        leaver.ends("was removed", &mut process)?;
        newcomer.ask("hello\n", "hello\n", &mut process)?;
        first.ask("hello\n", "hello\n", &mut process)?;
    }
    process.all_leave(first)
}

/// Waits until the program has told a client its place.
fn place(peer: &mut Peer, process: &mut Process) -> Result<usize, Diagnosis> {
    process.until(|| {
        let got = String::from_utf8_lossy(peer.read()).into_owned();
        let line = format!("{} has connected and got {got:?}", peer.name);
        if let Some(end) = peer.end {
            return Seen::Wrong(Symptom::Cuts, format!("{line}, then {end}, unasked"));
        }
        let number = got.strip_prefix("place ");
        let number = number.and_then(|rest| rest.strip_suffix('\n')?.parse().ok());
        match number {
            Some(place) => Seen::Done(place),
            None => Seen::Missing(format!("{line}, not \"place …\"")),
        }
    })
}

pub fn flood(program: &Program) -> Verdict {
    let (mut process, address) = program.serve()?;
    let mut first = Peer::connect("client 1", address, &mut process)?;
    let mut second = Peer::connect("client 2", address, &mut process)?;
    process.rests("until a client sends something")?;
    // The line comes after the flood, and then before it: so it does not help to serve the clients
    // of a batch in another order.
    let total = is_fair(&mut first, &mut second, false, 0, &mut process)?;
    let total = is_fair(&mut second, &mut first, true, total, &mut process)? + 1;
    first.ask("\n", &format!("{total}\n"), &mut process)?;
    process.rests("after the flood")?;
    process.has_no_blocking_stream()?;
    process.all_leave((first, second))
}

/// One client sends as much as the buffers hold, and the other one a line, in one batch. Returns how
/// much the program has read then.
fn is_fair(
    flood: &mut Peer,
    quiet: &mut Peer,
    is_line_first: bool,
    before: usize,
    process: &mut Process,
) -> Result<usize, Diagnosis> {
    let sent = process.stopped(|| {
        if is_line_first {
            quiet.send(b"ping\n")?;
        }
        let sent = flood.send_what_fits()?;
        if !is_line_first {
            quiet.send(b"ping\n")?;
        }
        Ok(sent)
    })?;
    // The answer tells how much the program has read before it: no clock is needed.
    process.until(|| {
        let got = String::from_utf8_lossy(quiet.read()).into_owned();
        let order = if is_line_first { "before that" } else { "then" };
        let (name, half) = (&flood.name, sent / 2);
        let line = format!(
            "{name} sent {sent} bytes; {order} {} sent \"ping\\n\"",
            quiet.name
        );
        let read = got.trim_end().parse::<usize>();
        match read.map(|read| read.saturating_sub(before)) {
            _ if !got.ends_with('\n') => Seen::Missing(format!("{line} and got {got:?}")),
            Ok(read) if read <= half => Seen::Done(()),
            Ok(read) => Seen::Wrong(
                Symptom::Starves,
                format!(
                    "{line}, and its answer says\n\
                     that {read} of them had been read before: at most {half} would be fair"
                ),
            ),
            Err(_) => Seen::Wrong(Symptom::Differs, format!("{line} and got {got:?}")),
        }
    })?;
    quiet.got.clear();
    process.has_read("the flood", "after the flood")?;
    Ok(before + sent + "ping\n".len())
}

pub fn left_behind(program: &Program) -> Verdict {
    let (mut process, address) = program.serve()?;
    // So many that a number of calls which looks large enough is not.
    let mut clients = process.stopped(|| {
        let connect = |number| Peer::open(&format!("client {number}"), address);
        (1..=100).map(connect).collect::<Result<Vec<_>, _>>()
    })?;
    for client in &mut clients {
        client.gets("connected with 99 others", "hello\n", &mut process)?;
    }
    process.rests("until a client does something")?;
    process.all_leave(clients)
}

pub fn no_descriptor(program: &Program) -> Verdict {
    const DESCRIPTORS: usize = 16;
    let (mut process, address) = program.serve_with_few(DESCRIPTORS)?;
    let at_first = process.descriptors;
    if at_first == 0 {
        return Err(io::Error::other("it cannot see the program's descriptors").into());
    }
    if DESCRIPTORS < at_first + 5 {
        return Err(io::Error::other("the program inherits too many descriptors").into());
    }
    // Three at once. Only the last one sends something, which cannot be seen before it is accepted.
    let mut clients = Vec::new();
    process.stopped(|| {
        for number in 1..=3 {
            clients.push(Peer::open(&format!("client {number}"), address)?);
            clients[number - 1].queued()?;
        }
        Ok(())
    })?;
    let last = &mut clients[2];
    last.name += ", which has connected together with two others,";
    last.ask("hello\n", "hello\n", &mut process)?;
    while at_first + clients.len() < DESCRIPTORS {
        let name = format!("client {}", clients.len() + 1);
        let mut client = Peer::connect(&name, address, &mut process)?;
        client.ask("hello\n", "hello\n", &mut process)?;
        clients.push(client);
    }
    let mut waiting = Vec::new();
    for number in 1..=4 {
        let mut client = Peer::connect(&format!("late client {number}"), address, &mut process)?;
        client.says("hello\n", &mut process)?;
        waiting.push(client);
    }
    process.rests("while clients wait for a descriptor")?;
    process.may_pause = true;
    clients[0].ask("hello\n", "hello\n", &mut process)?;
    // The first two are served one after the other, and the others at the same time.
    let mut served = String::from("no late client");
    for turn in [0..1, 1..2, 2..4] {
        let leavers = clients.split_off(clients.len() - turn.len());
        process.stopped(|| {
            drop(leavers);
            Ok(())
        })?;
        for number in turn {
            let client = &mut waiting[number];
            let after = "waited until another left";
            let result = client.gets(after, "hello\n", &mut process);
            result.map_err(|diagnosis| diagnosis.with(format!("before, {served} was served")))?;
            served = client.name.clone();
        }
    }
    process.may_pause = false;
    process.rests("until a client does something")?;
    process.all_leave((clients, waiting))
}

pub fn wake_then_send(program: &Program) -> Verdict {
    let (mut process, address) = program.serve()?;
    let mut client = Peer::connect("the client", address, &mut process)?;
    // One after the other, and with a slow second thread: the loop sleeps when the result is ready.
    process.slow = Some(Slow::new(process.pid()));
    for number in 0..8 {
        let square = format!("{}\n", number * number);
        client.ask(&format!("{number}\n"), &square, &mut process)?;
    }
    process.slow = None;
    process.rests("after eight squares were sent")?;
    let before = process.other_threads();
    // All at once: many results are ready when the loop looks.
    let numbers: String = (0..1000_u64).map(|number| format!("{number}\n")).collect();
    let squares: String = (0..1000_u64)
        .map(|number| format!("{}\n", number * number))
        .collect();
    client.says(&numbers, &mut process)?;
    client.name += ", which has sent 1000 numbers,";
    client.gets_all(squares.as_bytes(), &mut process)?;
    process.rests("after all squares were sent")?;
    if process.other_threads() == before {
        return process.differs(String::from("no second thread has computed the squares"));
    }
    process.all_leave(client)
}

pub fn second_backend(program: &Program) -> Verdict {
    // What epoll reports. The other queue has to report the same.
    const EXPECTED: [(&str, &str); 4] = [
        ("level, nothing is read", "1 1 1 1"),
        ("edge, then drained, then more", "1 - 1 -"),
        ("a ready source is registered meanwhile", "1"),
        ("a quiet source is registered meanwhile", "-"),
    ];
    let mut process = program.start(&[])?;
    process.may_pause = true; // It sleeps for up to a second, with a timeout.
    // If the thread that registers wakes the other one too early, the wake is for nothing.
    process.slow = Some(Slow::new(process.pid()));
    let output = process.output.clone();
    process.ends(|| {
        let printed = fs::read_to_string(&output).unwrap_or_default();
        let mut scenes = EXPECTED.iter();
        let missing = scenes.find(|(scene, _)| row(&printed, scene).is_none());
        let scene = missing.map_or("after all scenes", |(scene, _)| scene);
        format!("the program has not ended: {scene}")
    })?;
    let printed = process.output();
    let mut lines = Vec::new();
    for (scene, expected) in EXPECTED {
        match row(&printed, scene) {
            Some([epoll, poll]) if epoll == expected && poll == expected => {}
            Some([epoll, poll]) => {
                lines.push(format!("{scene}: epoll {epoll}, poll(2) {poll}"));
            }
            None => lines.push(format!("{scene}: this line of the table is missing")),
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    let symptom = Symptom::Differs;
    Err(Diagnosis { symptom, lines })
}

/// What the table says of a scene.
fn row<'a>(table: &'a str, scene: &str) -> Option<[&'a str; 2]> {
    table.lines().find_map(|line| {
        let mut columns = line.split('|').map(str::trim);
        let is_it = columns.next() == Some(scene);
        is_it.then(|| Some([columns.next()?, columns.next()?]))?
    })
}
