//! The bench of the playground and its scenes, without a server and a browser.
//!
//! ```sh
//! EPOLLET_STEPS=1000000 EPOLLET_SEED=7 cargo test --release --lib playground -- --nocapture
//! ```
//!
//! `playground_process.rs` tests the server, `examples/playground/browser` the page.

#![allow(dead_code)] // Some parts are only used by the server.

#[path = "../../examples/playground/action.rs"]
mod action;
#[path = "../../examples/playground/bench.rs"]
mod bench;
#[path = "playground_random.rs"]
mod random;
#[path = "playground_http.rs"]
mod requests;
#[path = "../../examples/playground/scenes.rs"]
mod scenes;
#[path = "../../examples/playground/strace.rs"]
mod strace;
#[path = "../../examples/playground/visitor.rs"]
mod visitor;

use super::model::model::{self, Kernel};
use action::Action;
use model::files::{Kind, Stream};
use random::{Random, begin};
use scenes::SCENES;
use std::env;
use visitor::Visitor;

#[test]
fn kernel_and_model_agree_after_ten_thousand_random_actions() {
    let steps = number("EPOLLET_STEPS").unwrap_or(10_000);
    let seed = number("EPOLLET_SEED").unwrap_or(1);
    let mut random = Random(seed);
    let mut visitor = Visitor::new().unwrap();
    let (mut done, mut refused, mut polls, mut events) = (0, 0, 0, 0);
    while done < steps {
        let line = random.line(&visitor);
        // To say what the state is takes most of the time, so few steps do.
        let (result, before) = if random.below(32) == 0 {
            let before = visitor.state();
            (visitor.act(&line).map(drop), Some(before))
        } else {
            let action = Action::parse(&line);
            (action.and_then(|action| visitor.bench.act(action)), None)
        };
        let bench = &visitor.bench;
        let history = || {
            let actions = bench.steps.iter().map(|step| format!("{:?}", step.action));
            actions.collect::<Vec<_>>().join("\n")
        };
        let difference = &bench.difference;
        assert_eq!(
            *difference,
            None,
            "seed {seed}, action {done}: {line}\n{}",
            history()
        );
        match (result, before) {
            (Ok(_), _) => done += 1,
            (Err(sentence), before) => {
                refused += 1;
                assert!(sentence.ends_with('.'), "{line}: {sentence}");
                if let Some(before) = before {
                    assert_eq!(visitor.state(), before, "after the refused {line}");
                }
                if bench.steps.len() == bench::STEPS {
                    visitor = Visitor::new().unwrap();
                }
                continue;
            }
        }
        let report = bench.steps.last().and_then(|step| step.report.as_ref());
        polls += u64::from(report.is_some());
        events += report.map_or(0, Vec::len);
    }
    println!("seed {seed}: {done} actions, {refused} refused, {polls} polls, {events} events");
    // The actions do something.
    assert!(
        polls > steps / 10 && events as u64 > steps / 10,
        "{polls} polls, {events} events"
    );
    assert!(refused > steps / 100, "{refused} refused");
}

#[test]
fn a_difference_between_kernel_and_model_is_shown_and_ends_the_bench() {
    // What is changed in the model, the next action, and what differs then.
    type Change = fn(&mut Kernel);
    let changes: [(Change, &str, &str); 7] = [
        (
            |model| model.queues[0].interest_list[0].token = 2,
            "eventfd",
            "the interest list",
        ),
        (
            |model| peer(model, |peer| peer.arrived = [2].into()),
            "eventfd",
            "what is unread",
        ),
        (
            |model| model.queues[0].ready_list.clear(),
            "poll q1 8",
            "the report",
        ),
        (
            |model| model.queues[0].interest_list.clear(),
            "register q1 s1 1 IN",
            "the result",
        ),
        (
            |model| model.queues[0].interest_list.clear(),
            "deregister q1 s1",
            "the result",
        ),
        (
            |model| peer(model, |peer| peer.cannot_write = true),
            "write s1 1",
            "the result",
        ),
        (
            |model| peer(model, |peer| peer.arrived = [2].into()),
            "read s1 2",
            "the result",
        ),
    ];
    for (change, line, what) in changes {
        let mut visitor = Visitor::new().unwrap();
        for line in ["stream", "register q1 s1 1 IN", "write s1_peer 1"] {
            visitor.act(line).unwrap();
        }
        assert!(visitor.state().contains("\"difference\":null"));
        change(&mut visitor.bench.model);
        let states = visitor.act(line).unwrap();
        let text = format!("\"difference\":\"{what}: the kernel has ");
        assert!(states[0].contains(&text), "{line}: {}", states[0]);
        assert!(visitor.act("poll q1 1").unwrap_err().contains("differ"));
        visitor.act("new").unwrap();
        visitor.act("poll q1 1").unwrap();
    }
}

/// Changes s1 in the model of a bench that began with it.
fn peer(model: &mut Kernel, change: fn(&mut Stream)) {
    let s1 = model
        .files
        .iter_mut()
        .find_map(|file| match &mut file.kind {
            Kind::Stream(stream) => Some(stream),
            _ => None,
        });
    change(s1.unwrap());
}

#[test]
fn a_bench_has_bounds_and_stays_as_it_was_beyond_them() {
    let mut visitor = Visitor::new().unwrap();
    let mut act = |line: &str, is_taken: bool| {
        let before = visitor.state();
        let result = visitor.act(line);
        assert_eq!(result.is_ok(), is_taken, "{line}: {result:?}");
        if !is_taken {
            assert_eq!(visitor.state(), before, "after the refused {line}");
        }
        visitor.bench.steps.len()
    };
    for _ in 0..5 {
        act("stream", true);
    }
    act("eventfd", true);
    act("stream", false);
    act("duplicate s1", true);
    for line in ["stream", "eventfd", "duplicate s1"] {
        act(line, false);
    }
    act("close s1_dup", true);
    act("eventfd", true);
    act("queue", true);
    act("queue", false);
    act("write s1 16", true);
    act("write s1 1", false);
    act("write s1_peer 17", false);
    act("read s1_peer 1", true);
    act("write s1 2", false);
    act("write s1 1", true);
    for (line, is_taken) in [
        ("register q1 s1 9999 IN", true),
        ("register q1 s2 10000 IN", false),
        ("poll q1 16", true),
        ("poll q1 17", false),
        ("poll q1 0", false),
        ("read s1_peer 64", true),
        ("read s1_peer 65", false),
        ("shutdown e1", false),
    ] {
        act(line, is_taken);
    }
    while act("poll q1 1", true) < 200 {}
    act("poll q1 1", false);
    act("next", false);
    assert_eq!(act("new", true), 1);
}

#[test]
fn end_of_file_follows_what_is_unread_and_a_reset() {
    let mut visitor = Visitor::new().unwrap();
    let mut act = |line: &str| {
        let state = visitor.act(line).unwrap().pop().unwrap();
        let follows = state.contains("\"end of file follows\"");
        let is_there = state.contains("\"at end of file\"");
        (follows, is_there, state)
    };
    // Each read that ends this, and what it returned.
    for (lines, read, returned) in [
        (
            ["stream", "write s1_peer 1", "shutdown s1_peer"],
            "read s1 1",
            " = 1\"",
        ),
        (
            ["stream", "write s2_peer 1", "close s2"],
            "read s2_peer 1",
            " = -1 ECONNRESET",
        ),
    ] {
        assert_eq!(lines.map(|line| act(line).0), [false, false, true]);
        let (follows, is_there, state) = act(read);
        assert!(!follows && is_there && state.contains(returned), "{state}");
        let (follows, is_there, state) = act(read);
        assert!(!follows && is_there && state.contains(" = 0\""), "{state}");
    }
}

#[test]
fn bytes_are_written_as_strace_does() {
    let bytes = b"\0\x01\x07\x08\t\n\x0b\x0c\r\x1b !\"09Aa\\~\x7f\xff";
    let text = r#""\0\1\7\10\t\n\v\f\r\33 !\"09Aa\\~\177\377""#;
    assert_eq!(strace::quoted(bytes), text);
}

/// Whatever the visitor does after an answer.
#[test]
fn each_poll_of_a_scene_reports_what_the_answer_says() {
    let scenes = SCENES.iter().enumerate();
    for ((number, scene), touch) in scenes.flat_map(|it| [(it, false), (it, true)]) {
        let mut visitor = Visitor::new().unwrap();
        for (index, round) in scene.rounds.iter().enumerate() {
            let states = visitor.act(&begin(number, index)).unwrap();
            let hidden = states.iter().all(|state| !state.contains(round.answer));
            assert!(
                hidden,
                "{}: the answer is there before the poll",
                scene.name
            );
            let states = visitor.act(round.poll).unwrap();
            assert!(states[0].contains(&format!("\"answer\":\"{}\"", round.answer)));
            let report = visitor.bench.steps.last().unwrap().report.clone().unwrap();
            let tokens: Vec<usize> = report.iter().map(|(token, _)| *token).collect();
            assert_eq!(
                tokens,
                round.tokens,
                "{}, question {}",
                scene.name,
                index + 1
            );
            if touch {
                visitor.act("close s1_peer").unwrap();
            }
        }
        assert!(visitor.act("next").is_err());
    }
}

/// What each scene says at its end.
#[test]
fn what_a_scene_suggests_to_try_next_comes_true() {
    let tries: [&[(&str, &[usize])]; 6] = [
        &[("read s1 64", &[]), ("poll q1 8", &[])],
        &[("reregister q1 s1 1 IN|ET", &[]), ("poll q1 8", &[1])],
        &[
            ("close s1_peer", &[]),
            ("poll q1 8", &[]),
            ("reregister q1 s1 1 IN|ONESHOT", &[]),
            ("poll q1 8", &[1]),
        ],
        &[
            ("stream", &[]),
            ("duplicate s2", &[]),
            ("register q1 s2 1 IN", &[]),
            ("register q1 s2_dup 2 IN", &[]),
            ("write s2_peer 1", &[]),
            ("poll q1 8", &[2, 1]), // The newer registration is notified first.
        ],
        &[("register q1 q2 1 IN", &[])],
        &[
            ("poll q1 2", &[1, 2]),
            ("poll q1 2", &[3, 1]),
            ("poll q1 2", &[2, 3]),
        ],
    ];
    for (number, lines) in tries.into_iter().enumerate() {
        let mut visitor = Visitor::new().unwrap();
        for (index, round) in SCENES[number].rounds.iter().enumerate() {
            visitor.act(&begin(number, index)).unwrap();
            visitor.act(round.poll).unwrap();
        }
        let mut calls = String::new();
        for (line, tokens) in lines {
            let states = visitor.act(line).unwrap();
            if *line == "read s1 64" {
                let listed = "\"ready\":[{\"fd\":";
                let stale = "\"token\":1,\"is_ready\":false}]";
                assert!(
                    states[0].contains(listed) && states[0].contains(stale),
                    "{}",
                    states[0]
                );
            }
            let last = visitor.bench.steps.last().unwrap();
            let report = last.report.iter().flatten();
            let reported: Vec<usize> = report.map(|(token, _)| *token).collect();
            assert_eq!(reported, *tokens, "{}: {line}", SCENES[number].name);
            calls += &last.calls.join("\n");
        }
        let is_circle = calls.contains(" = -1 ELOOP (");
        assert_eq!(is_circle, SCENES[number].then.contains("ELOOP"), "{calls}");
    }
}

#[test]
fn who_changes_the_bench_before_the_poll_is_told_that_the_answer_is_for_another_bench() {
    let mut visitor = Visitor::new().unwrap();
    visitor.act("scene 0").unwrap();
    visitor.act("read s1 1").unwrap();
    let states = visitor.act(SCENES[0].rounds[0].poll).unwrap();
    assert!(states[0].contains("\"answered\":true,\"changed\":true,\"prepared\":false"));
    let states = visitor.act("next").unwrap();
    let last = states.last().unwrap();
    assert!(last.contains("\"round\":1,") && last.contains("\"changed\":false,\"prepared\":true"));
}

#[test]
fn only_the_poll_that_was_asked_for_answers() {
    let mut visitor = Visitor::new().unwrap();
    visitor.act("scene 0").unwrap();
    visitor.act("next").unwrap_err();
    let states = visitor.act("poll q1 1").unwrap();
    let unanswered = "\"answered\":false,\"changed\":true,\"prepared\":false,\"answer\":null";
    assert!(states[0].contains(unanswered), "{}", states[0]);
    visitor.act("next").unwrap_err();
    let states = visitor.act("poll q1 8").unwrap();
    assert!(states[0].contains("\"answered\":true"), "{}", states[0]);
    // The suggestion for the end is for the bench as it was prepared.
    visitor.act("next").unwrap();
    visitor.act("poll q1 8").unwrap();
    visitor.act("next").unwrap();
    visitor.act("read s1 64").unwrap();
    let states = visitor.act("poll q1 8").unwrap();
    let end = "\"answered\":true,\"changed\":true,\"prepared\":false";
    assert!(states[0].contains(end), "{}", states[0]);
    assert!(states[0].contains("\"then\":null"), "{}", states[0]);
}

fn number(variable: &str) -> Option<u64> {
    Some(env::var(variable).ok()?.parse().expect(variable))
}
