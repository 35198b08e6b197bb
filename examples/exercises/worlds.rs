//! The world of each exercise: what its peers do, and what they expect.
//!
//! No result depends on who is faster. Where the order matters, the program is stopped for a moment
//! and finds everything in one batch.

use crate::peer::Peer;
use crate::stage::{Diagnosis, Program, Seen, Stage, Verdict};
use std::net::TcpListener;

pub fn half_an_answer(program: &Program) -> Verdict {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut stage = program.start(&listener.local_addr()?.to_string())?;
    let mut server = Peer::accept("the server", &listener, &mut stage)?;
    server.gets("accepted", "please\n", &mut stage)?;
    // Each part arrives as one event, and the second one together with end of file. So it does not
    // help that a part fits in a buffer.
    stage.stopped(|| {
        server.send(&[b'a'; 40_000])?;
        server.arrived()
    })?;
    stage.has_read("the first part of the answer, 40000 bytes,")?;
    stage.rests("until the rest of the answer arrives")?;
    stage.stopped(|| {
        server.send(&[b'b'; 20_000])?;
        server.finish()?;
        server.arrived()
    })?;
    stage.ends_with("60000", "60000 bytes and end of file were sent")
}

pub fn one_client_left(program: &Program) -> Verdict {
    let (mut stage, address) = program.serve()?;
    stage.rests("until a client connects")?;
    let descriptors = stage.descriptors();
    let mut first = Peer::connect("client 1", address)?;
    first.ask("hello\n", "hello\n", &mut stage)?;
    let mut second = Peer::connect("client 2", address)?;
    second.ask("hello\n", "hello\n", &mut stage)?;
    drop(first);
    stage.rests("after client 1 has left")?;
    second.ask("still there?\n", "still there?\n", &mut stage)?;
    drop(second);
    stage.rests("after both clients have left")?;
    stage.leaves(descriptors)
}

pub fn a_slow_reader(program: &Program) -> Verdict {
    let answer = b"0123456789abcdef".repeat(500_000);
    let (mut stage, address) = program.serve()?;
    stage.rests("until a client connects")?;
    let descriptors = stage.descriptors();
    let mut slow = Peer::connect("client 1", address)?;
    let mut other = Peer::connect("client 2", address)?;
    // Twice: what is kept for a client must not get mixed up.
    for _ in 0..2 {
        slow.says("please\n", &mut stage)?;
        stage.rests("while client 1 does not read")?;
        other.says("please\n", &mut stage)?;
        gets_all(&mut other, &answer, &mut stage)?;
        gets_all(&mut slow, &answer, &mut stage)?;
        stage.rests("after all answers, while both clients are still connected")?;
    }
    drop((slow, other));
    stage.rests("after both clients have left")?;
    stage.leaves(descriptors)
}

/// Waits for a long answer.
fn gets_all(peer: &mut Peer, answer: &[u8], stage: &mut Stage) -> Verdict {
    stage.until(|| {
        peer.read();
        let (name, count, all) = (&peer.name, peer.got.len(), answer.len());
        if peer.got == answer {
            return Seen::Done;
        }
        let line = format!("{name} has got {count} of {all} bytes");
        match peer.end {
            Some(end) => Seen::Wrong("LOSES", format!("{line}, and then {end}")),
            None if count >= all => Seen::Wrong("LOSES", format!("{line}, and they differ")),
            None => Seen::Missing(line),
        }
    })?;
    peer.got.clear();
    Ok(())
}

pub fn counted_twice(program: &Program) -> Verdict {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut stage = program.start(&listener.local_addr()?.to_string())?;
    let mut servers = Vec::new();
    for number in 1..=3 {
        let name = format!("the server for answer {number}");
        servers.push(Peer::accept(&name, &listener, &mut stage)?);
    }
    stage.rests("until an answer arrives")?;
    let mut last = servers.pop().expect("three");
    for (mut server, number) in servers.into_iter().zip(1..) {
        stage.stopped(|| {
            server.send(&[b'a'; 100])?;
            server.finish()?;
            server.arrived()
        })?;
        stage.has_read(&format!("answer {number}"))?;
        // The request has not been read. So closing resets the connection, which is another edge.
        drop(server);
        stage.rests(&format!("after answer {number} of 3"))?;
    }
    stage.stopped(|| {
        last.send(&[b'a'; 100])?;
        last.finish()?;
        last.arrived()
    })?;
    stage.ends_with("300", "3 answers of 100 bytes were sent")
}

pub fn one_blocks_all(program: &Program) -> Verdict {
    let (mut stage, address) = program.serve()?;
    stage.rests("until a client connects")?;
    let descriptors = stage.descriptors();
    let mut first = Peer::connect("client 1", address)?;
    first.ask("one\n", "ONE\n", &mut stage)?;
    first.says("hal", &mut stage)?;
    let mut second = Peer::connect("client 2", address)?;
    second.ask("two\n", "TWO\n", &mut stage)?;
    stage.rests("while client 1 has sent half a line")?;
    first.ask("f\n", "HALF\n", &mut stage)?;
    // More than one line in one event.
    second.ask("three\nfour\n", "THREE\nFOUR\n", &mut stage)?;
    drop((first, second));
    stage.rests("after both clients have left")?;
    stage.leaves(descriptors)
}

pub fn wrong_client(program: &Program) -> Verdict {
    let (mut stage, address) = program.serve()?;
    stage.rests("until a client connects")?;
    let descriptors = stage.descriptors();
    let mut first = Peer::connect("client 1", address)?;
    place(&mut first, &mut stage)?;
    // Twice, because a place that is not used again at once can be used again later.
    for name in ["client 3", "client 5"] {
        let mut leaver = Peer::connect("the removed client", address)?;
        let removed = place(&mut leaver, &mut stage)?;
        stage.rests("until a client sends something")?;
        // One batch, in this order.
        let mut newcomer = stage.stopped(|| {
            first.send(format!("remove {removed}\n").as_bytes())?;
            first.arrived()?;
            let newcomer = Peer::connect(name, address)?;
            leaver.finish()?;
            leaver.arrived()?;
            Ok(newcomer)
        })?;
        place(&mut newcomer, &mut stage)?;
        stage.rests("until a client sends something")?;
        place(&mut newcomer, &mut stage)?; // It is still connected.
        leaver.ends("was removed", &mut stage)?;
        newcomer.ask("hello\n", "hello\n", &mut stage)?;
        first.ask("hello\n", "hello\n", &mut stage)?;
    }
    drop(first);
    stage.rests("after all clients have left")?;
    stage.leaves(descriptors)
}

/// Waits until the program has told a client its place.
fn place(peer: &mut Peer, stage: &mut Stage) -> Result<usize, Diagnosis> {
    let mut place = None;
    stage.until(|| {
        let got = String::from_utf8_lossy(peer.read()).into_owned();
        let number = got
            .strip_prefix("place ")
            .and_then(|rest| rest.strip_suffix('\n'));
        place = number.and_then(|number| number.parse().ok());
        let line = format!("{} has connected and got {got:?}", peer.name);
        match (place, peer.end) {
            (_, Some(end)) => Seen::Wrong("CUTS", format!("{line}, and then {end}")),
            (Some(_), None) => Seen::Done,
            (None, None) => Seen::Missing(format!("{line}, not \"place …\"")),
        }
    })?;
    Ok(place.expect("until it is done"))
}
