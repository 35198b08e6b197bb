//! Drives the page in Chromium. What it shows is compared with what strace has seen.
//!
//! ```sh
//! apt-get install chromium chromium-driver strace
//! cargo test --manifest-path examples/playground/browser/Cargo.toml
//! ```
//!
//! With `PICTURES=FOLDER` it also takes pictures of the page, in two sizes, light and dark.

use browser::{Browser, Playground, exchange};
use serde_json::{Value, json};
use std::path::Path;
use std::{env, fs, thread, time::Duration};

/// The six scenes: how many questions each has.
const QUESTIONS: [usize; 6] = [3, 3, 3, 3, 3, 4];

fn open() -> (Playground, Browser) {
    start(Playground::start(false))
}

fn start(playground: Playground) -> (Playground, Browser) {
    let browser = Browser::start();
    browser.look(1280, 800, false);
    browser.open(&format!("http://{}/", playground.address));
    browser.wait("states.length === 1");
    (playground, browser)
}

/// Begins a scene.
fn play(browser: &Browser, scene: usize) {
    browser.click(&format!("#scene-{scene}"));
    browser.wait(&format!("now().scene?.number === {scene} && !now().more"));
}

/// Makes the poll that a scene asks about.
fn poll(browser: &Browser) {
    browser.click("#onward");
    browser.wait("now().scene.answered");
}

#[test]
fn in_each_scene_the_page_shows_what_the_kernel_returned() {
    let (playground, browser) = start(Playground::start(true));
    for (scene, questions) in QUESTIONS.into_iter().enumerate() {
        play(&browser, scene);
        let mut reports = Vec::new();
        for question in 0..questions {
            browser.wait(&format!("now().scene.round === {question} && !now().more"));
            assert_eq!(browser.text("#answer"), "The answer comes after the poll.");
            // There is something to predict besides nothing.
            let options = browser.run("return $('guess').querySelectorAll('input').length");
            assert!(options.as_u64() > Some(1), "scene {scene}, {question}");
            poll(&browser);
            assert!(browser.text("#answer").starts_with("The kernel reported "));
            let queue = browser.run("return now().report.queue");
            let card = format!("#card-{} .report", queue.as_str().unwrap());
            reports.push(browser.text(&card));
            // The poll has taken what was ready from the head of the list that is shown.
            let taken = browser.run(
                "const card = $('card-' + now().report.queue), report = card.querySelector('.report');
                 const tokens = (selector, list) => [...list.querySelectorAll(selector + ' .token')].map((it) => it.innerText);
                 const before = tokens('.entry:not(.stale)', [...card.querySelectorAll('.ready')].pop());
                 return [before.slice(0, now().report.capacity).join(), tokens('.entry', report).join()]",
            );
            assert_eq!(taken[0], taken[1], "scene {scene}, {question}");
            for queue in ["q1", "q2"] {
                compare_interest_list(&playground, &browser, queue);
            }
            if question + 1 < questions {
                browser.click("#onward");
            }
        }
        assert_eq!(browser.text("#agreement"), agreement(&browser));
        let calls = history(&browser);
        let traced = traced(&playground);
        let polls = compare(&calls, &traced);
        let expected: Vec<String> = polls.iter().map(|poll| shown(poll)).collect();
        assert_eq!(
            reports, expected,
            "scene {scene}: the page (left), strace (right)"
        );
        assert_eq!(polls.len(), questions);
    }
    assert_eq!(browser.complaints(), [""; 0]);
}

/// Calls that no scene makes: errors, several bits, an eventfd, two queues.
#[test]
fn the_page_shows_what_strace_shows() {
    let (playground, browser) = start(Playground::start(true));
    let lines = [
        "stream",
        "eventfd",
        "queue",
        "register q1 s1 7 IN|OUT|RDHUP",
        "register q1 e1 8 IN|ET",
        "register q1 e1 8 IN|ET",
        "register q2 q1 9 IN|ONESHOT",
        "register q1 q1 1 IN",
        "register q1 q2 1 IN",
        "register q2 s1_peer 3 none",
        "read s1 4",
        "read e1 8",
        "write e1 13",
        "poll q2 16",
        "write s1_peer 3",
        "shutdown s1_peer",
        "write s1_peer 1",
        "poll q1 16",
        "read e1 8",
        "read s1 2",
        "duplicate e1",
        "deregister q1 e1",
        "deregister q1 e1_dup",
        "reregister q1 s1 7 OUT|ET",
        "close s1",
        "poll q1 1",
        "poll q2 2",
        "read s1_peer 1",
    ];
    for (index, line) in lines.iter().enumerate() {
        browser.run(&format!("act({line:?})"));
        browser.wait(&format!("now().step === {}", index + 2));
        if line.starts_with("poll") {
            let calls = history(&browser);
            let queue = line.split(' ').nth(1).unwrap();
            let report = browser.text(&format!("#card-{queue} .report"));
            assert_eq!(report, shown(calls.last().unwrap()), "{line}");
        }
        // An error is shown with what it means here.
        let call = browser.run("return now().calls[0]");
        if let Some((_, error)) = call.as_str().unwrap().split_once(" = -1 ") {
            let problem = browser.text("#problem");
            let meaning = problem.strip_prefix(&format!("{error}: "));
            assert!(meaning.is_some_and(|it| it.len() > 20), "{line}: {problem}");
        }
    }
    assert_eq!(browser.text("#agreement"), agreement(&browser));
    let calls = history(&browser);
    compare_interest_list(&playground, &browser, "q1");
    compare_interest_list(&playground, &browser, "q2");
    // All calls of a step are shown.
    let settings = calls.iter().filter(|call| call.contains("FIONBIO"));
    assert_eq!(settings.count(), 2, "{calls:#?}");
    let polls = compare(&calls, &traced(&playground));
    assert!(
        polls[1].contains("{events=EPOLLIN|EPOLLOUT|EPOLLRDHUP, "),
        "{polls:?}"
    );
    for error in [
        "EEXIST",
        "EINVAL",
        "ELOOP",
        "EAGAIN",
        "EPIPE",
        "ENOENT",
        "ECONNRESET",
    ] {
        assert!(
            calls.iter().any(|call| call.contains(error)),
            "{error}: {calls:#?}"
        );
    }
}

/// The interest list of a queue on the page is what the kernel says about it.
fn compare_interest_list(playground: &Playground, browser: &Browser, queue: &str) {
    let shown = browser.run(&format!(
        "return [...document.querySelectorAll('#card-{queue} tbody tr')].map((row) =>
             row.innerText.match(/\\d+$|\\w+/g).join(' ')).sort()"
    ));
    let fd = browser.run(&format!(
        "return now().queues.find((it) => it.name === '{queue}')?.fd"
    ));
    let Some(fd) = fd.as_u64() else {
        return;
    };
    let info = fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", playground.pid())).unwrap();
    let names = browser.run(
        "return Object.fromEntries([...now().sources, ...now().queues].map((it) => [it.fd, it.name]))",
    );
    let mut kernel = Vec::new();
    for line in info.lines().filter(|line| line.starts_with("tfd:")) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let hexadecimal = |text| u64::from_str_radix(text, 16).unwrap();
        let (bits, token) = (hexadecimal(fields[3]), hexadecimal(fields[5]));
        let name = names[fields[1]].as_str().unwrap_or("closed");
        let mut row = format!("{token} {name} fd {}", fields[1]);
        for (bit, name) in [
            (0x1, " EPOLLIN"),
            (0x4, " EPOLLOUT"),
            (0x8, " EPOLLERR"),
            (0x10, " EPOLLHUP"),
            (0x2000, " EPOLLRDHUP"),
            (1 << 30, " EPOLLONESHOT"),
            (1 << 31, " EPOLLET"),
        ] {
            if bits & bit != 0 {
                row += name;
            }
        }
        if bits & 0x18 == 0 {
            row += " disabled";
        }
        kernel.push(row);
    }
    kernel.sort();
    assert_eq!(shown, json!(kernel));
}

/// What the page says if the kernel and the model agree.
fn agreement(browser: &Browser) -> String {
    let steps = browser.run("return now().step");
    format!("Kernel and model agree after {steps} steps")
}

/// The system calls that the page shows.
fn history(browser: &Browser) -> Vec<String> {
    let lines = browser.run(
        "return [...document.querySelectorAll('#history .call')].map((call) => call.innerText.trim())",
    );
    let lines = lines.as_array().unwrap().iter();
    lines
        .map(|line| line.as_str().unwrap().to_owned())
        .collect()
}

/// What strace has written so far. It aligns the results with spaces.
fn traced(playground: &Playground) -> Vec<String> {
    let log = fs::read_to_string(playground.log.as_ref().unwrap()).unwrap();
    let unaligned = |line: &str| match line.rsplit_once(" = ") {
        Some((call, result)) => format!("{} = {result}", call.trim_end()),
        None => line.to_owned(),
    };
    log.lines().map(unaligned).collect()
}

/// Each call of the page was made, in this order: the last calls of the log, between others.
/// Returns the polls of the bench.
fn compare(calls: &[String], traced: &[String]) -> Vec<String> {
    let mut rest = traced;
    // The bench begins with its first call.
    let begin = traced.iter().rposition(|line| *line == calls[0]);
    rest = &rest[begin.unwrap_or_else(|| panic!("strace has not seen {}", calls[0]))..];
    for call in calls {
        let made = rest.iter().position(|line| same(call, line));
        let made = made.unwrap_or_else(|| panic!("strace has not seen {call}, in this order"));
        rest = &rest[made + 1..];
    }
    calls
        .iter()
        .filter(|call| call.starts_with("epoll_wait("))
        .cloned()
        .collect()
}

/// `EPOLL_CTL_DEL` has a pointer that the kernel ignores. The page shows `...` for it.
fn same(shown: &str, traced: &str) -> bool {
    match shown.split_once("...") {
        Some((start, end)) => traced.starts_with(start) && traced.ends_with(end),
        None => shown == traced,
    }
}

/// How the page shows the events of a poll in strace's form:
/// `epoll_wait(8, [{events=EPOLLIN, data={u32=1, u64=1}}], 8, 0) = 1`.
fn shown(poll: &str) -> String {
    let events: Vec<String> = poll
        .split("{events=")
        .skip(1)
        .map(|event| {
            let (bits, rest) = event.split_once(", data={u32=").unwrap();
            let token = rest.split(',').next().unwrap();
            format!("{token}\n{}", bits.replace('|', " | "))
        })
        .collect();
    if events.is_empty() {
        "nothing".into()
    } else {
        events.join("\n")
    }
}

/// In a window of 1280 x 800, nobody has to scroll, and what is looked at does not move.
#[test]
fn each_scene_fits_and_stays_where_it_is() {
    let (_playground, browser) = open();
    let look = |what: &str| {
        let height = browser.run("return document.documentElement.scrollHeight");
        assert!(height.as_u64() <= Some(800), "{what}: {height}");
        let primary = "return document.querySelectorAll('main > :not(dialog) .main').length";
        assert_eq!(browser.run(primary), json!(1), "{what}");
        let places = "return ['sources', 'queues', 'poll-q1', 'register', 'history']
            .map((id) => $(id).getBoundingClientRect().top).join()";
        browser.run(places)
    };
    for (scene, questions) in QUESTIONS.into_iter().enumerate() {
        play(&browser, scene);
        for question in 0..questions {
            browser.wait(&format!("now().scene.round === {question} && !now().more"));
            let before = look(&format!("scene {scene}, question {question}"));
            // All tokens: the longest verdict.
            browser.run(
                "for (const box of $('guess').querySelectorAll('input'))
                     if (box.id !== 'guess-nothing') box.click();",
            );
            poll(&browser);
            let what = format!("scene {scene}, answer {question}");
            assert_eq!(look(&what), before, "{what}");
            if question + 1 < questions {
                browser.click("#onward");
            }
        }
    }
}

#[test]
fn in_a_scene_the_ready_list_is_hidden_until_the_poll() {
    let (_playground, browser) = open();
    let entries = "return [...$('queues').querySelectorAll('.ready')]
        .map((list) => list.querySelectorAll('.entry').length).join()";
    let listed = || browser.run(entries);
    let hidden = || {
        browser
            .text("#queues")
            .matches("hidden until the next poll")
            .count()
    };
    play(&browser, 4);
    // Neither on the screen nor for a screen reader, now and at the steps of this question.
    assert_eq!((listed(), hidden()), (json!("0,0"), 2));
    browser.click("#step-3");
    assert_eq!((listed(), hidden()), (json!("0,0"), 2));
    browser.click("#now");
    browser.click("#look-q1");
    assert_eq!((listed(), hidden()), (json!("1,1"), 0));
    browser.click("#look-q1");
    assert_eq!((listed(), hidden()), (json!("0,0"), 2));
    poll(&browser);
    // The one of q2 as it was before. As it is now, it would answer the next question.
    assert_eq!((listed(), hidden()), (json!("0,0,1"), 2));
    browser.click("#look-q2");
    assert_eq!((listed(), hidden()), (json!("1,1,1"), 0));
    browser.click("#onward");
    browser.wait("now().scene.round === 1");
    assert_eq!((listed(), hidden()), (json!("0,0,1"), 2));
    poll(&browser);
    browser.click("#onward");
    browser.wait("now().scene.round === 2 && !now().more");
    // As it was when the last poll reported, but not before that.
    browser.click("#step-7");
    assert_eq!(hidden(), 2);
    browser.click("#step-6");
    assert_eq!((listed(), hidden()), (json!("1,1,1"), 0));
    browser.click("#now");
    poll(&browser);
    // The scene is over.
    assert_eq!(hidden(), 0);
    assert_eq!(browser.run("return $('look-q1')"), json!(null));
    browser.click("#new");
    browser.wait("now().step === 1");
    assert_eq!((listed(), hidden()), (json!("0"), 0));
}

#[test]
fn a_prediction_is_compared_with_the_report() {
    let (_playground, browser) = open();
    play(&browser, 0);
    browser.click("#guess-2");
    browser.click("#guess-1");
    poll(&browser);
    assert_eq!(
        browser.text(".verdict"),
        "Right: the kernel reported tokens 1, 2."
    );
    browser.click("#onward");
    browser.wait("now().scene.round === 1");
    let checked = "return $('guess').querySelectorAll(':checked').length";
    assert_eq!(browser.run(checked), json!(0));
    browser.click("#guess-2");
    poll(&browser);
    let verdict = "You predicted: token 2. The kernel reported token 1.";
    assert_eq!(browser.text(".verdict"), verdict);
    browser.click("#onward");
    browser.wait("now().scene.round === 2 && !now().more");
    browser.click("#guess-nothing");
    poll(&browser);
    let verdict = "You predicted: nothing. The kernel reported tokens 1, 2.";
    assert_eq!(browser.text(".verdict"), verdict);
}

/// Neither the boxes nor the verdict change with what is registered or polled afterwards.
#[test]
fn an_answered_question_stays_as_it_was() {
    let (_playground, browser) = open();
    let boxes = || browser.run("return [...$('guess').elements].map((box) => box.id).join()");
    play(&browser, 0);
    assert_eq!(boxes(), "guess-1,guess-2,guess-nothing");
    browser.click("#guess-1");
    poll(&browser);
    let verdict = browser.text(".verdict");
    browser.click("#add-stream");
    browser.wait("chosen === 's3'");
    browser.click("#register");
    browser.wait("now().queues[0].interest.some((row) => row.token === 3)");
    assert_eq!(boxes(), "guess-1,guess-2,guess-nothing");
    browser.click("#poll-q1");
    browser.wait("now().report");
    assert_eq!(browser.text(".verdict"), verdict);
    // Before the answer, a new registration can be predicted.
    play(&browser, 1);
    assert_eq!(boxes(), "guess-1,guess-nothing");
    browser.click("#add-stream");
    browser.wait("chosen === 's2'");
    browser.click("#register");
    browser.wait("now().queues[0].interest.some((row) => row.token === 2)");
    assert_eq!(boxes(), "guess-1,guess-2,guess-nothing");
}

/// On another bench, if need be: the prepared answers come true.
#[test]
fn to_try_something_after_an_answer_costs_no_question() {
    let (_playground, browser) = open();
    let level_and_edge: &[&str] = &["tokens 1, 2", "token 1", "tokens 1, 2"];
    let room_for_one = &["token 3", "token 1", "token 2", "token 3"];
    for (scene, reports, last) in [
        (0, level_and_edge, "Next scene"),
        (5, room_for_one, "Start the scene again"),
    ] {
        play(&browser, scene);
        for (question, report) in reports.iter().enumerate() {
            browser.wait(&format!("now().scene?.round === {question} && !now().more"));
            poll(&browser);
            let verdict = format!("The kernel reported {report}.");
            assert_eq!(browser.text(".verdict"), verdict);
            let answer = browser.text("#answer");
            browser.click("#do-read-all");
            browser.wait("now().scene.changed");
            let is_last = question + 1 == reports.len();
            let changed = browser.text("#answer");
            let (same, added) = changed.split_at(answer.len());
            assert_eq!(same, answer);
            assert_eq!(
                added.contains("The next question prepares it again"),
                !is_last
            );
            let onward = if is_last { last } else { "Next question" };
            assert_eq!(browser.text("#onward"), onward);
            browser.click("#onward");
        }
    }
    browser.wait("now().scene?.round === 0 && !now().more");
    browser.click("#do-read-all");
    browser.wait("now().scene.changed");
    assert!(browser.text("#answer").contains("may not fit"));
    poll(&browser);
    assert!(
        browser
            .text("#answer")
            .contains("On the bench as it was prepared: ")
    );
    assert_eq!(browser.text("#onward"), "Next question");
}

/// Neither a longer list nor an error moves the button that was pressed. So a second click, however
/// slow, presses no other one.
#[test]
fn what_a_button_does_leaves_it_where_it_is() {
    let (_playground, browser) = open();
    for width in [1280, 700, 400] {
        browser.look(width, 800, false);
        browser.click("#new");
        browser.wait("now().step === 1");
        for (index, button) in [
            "add-stream",
            "add-stream",
            "register",
            "do-write-1",
            "do-duplicate",
            "do-duplicate",
            "poll-q1",
            "reregister",
            "do-shutdown",
            "do-read-all",
            "deregister",
            "deregister",
            "poll-q1",
            "do-close",
            "add-eventfd",
            "do-duplicate",
            "do-read-all",
            "register",
            "do-close",
        ]
        .into_iter()
        .enumerate()
        {
            let place = || {
                browser.run(&format!(
                    "const {{ x, y }} = $({button:?}).getBoundingClientRect();
                     return [x + scrollX, y + scrollY]"
                ))
            };
            let before = place();
            browser.click(&format!("#{button}"));
            browser.wait(&format!("now().step === {}", index + 2));
            assert_eq!(place(), before, "{button}, {width} pixels");
        }
        // What it was pressed for is done, so it cannot be pressed again.
        browser.click("#add-queue");
        browser.wait("now().queues.length === 2");
        assert_eq!(browser.run("return $('add-queue').disabled"), json!(true));
    }
}

/// Its other end first. If nothing is left of it, there is nothing to act on.
#[test]
fn closing_the_selected_source_selects_what_is_left_of_it() {
    let (_playground, browser) = open();
    let close = |next: &str| {
        let step = browser.run("return now().step");
        browser.click("#do-close");
        browser.wait(&format!("now().step > {step}"));
        let focus = browser.run("return document.activeElement.id");
        assert_eq!(focus, json!(next));
        browser.run("return $('calls-title').textContent.split(' ')[0]")
    };
    browser.click("#add-stream");
    browser.wait("chosen === 's1'");
    browser.click("#do-duplicate");
    browser.wait("now().sources.length === 3");
    assert_eq!(close("source-s1_peer"), "s1_peer");
    browser.click("#add-eventfd");
    browser.wait("chosen === 'e1'");
    browser.click("#do-duplicate");
    browser.wait("now().sources.length === 4");
    assert_eq!(close("source-e1_dup"), "e1_dup");
    browser.click("#source-s1_peer");
    assert_eq!(close("source-s1_dup"), "s1_dup");
    assert_eq!(close("add-stream"), "no");
    assert_eq!(browser.run("return $('calls').disabled"), json!(true));
}

/// Clicks in the middle of an element, for the first or the second time of a double-click.
fn click_at(browser: &Browser, place: &Value, count: u32) {
    for kind in ["mousePressed", "mouseReleased"] {
        browser.tool(
            "Input.dispatchMouseEvent",
            json!({ "type": kind, "x": place[0], "y": place[1], "button": "left",
                    "clickCount": count }),
        );
    }
}

fn middle(browser: &Browser, id: &str) -> Value {
    browser.run(&format!(
        "const {{ x, y, width, height }} = $({id:?}).getBoundingClientRect();
         return [x + width / 2, y + height / 2]"
    ))
}

#[test]
fn a_double_click_closes_one_end() {
    let (_playground, browser) = open();
    browser.click("#add-stream");
    browser.wait("now().sources.length === 2");
    let place = middle(&browser, "do-close");
    click_at(&browser, &place, 1);
    browser.wait("chosen === 's1_peer'");
    click_at(&browser, &place, 2);
    // This would come after what the second click has done.
    browser.run("return act('eventfd')");
    browser.wait("now().sources.at(-1).name === 'e1'");
    assert_eq!(browser.run("return now().sources.length"), json!(2));
}

/// The next question is where the poll was.
#[test]
fn a_double_click_on_the_poll_does_not_skip_the_answer() {
    let (_playground, browser) = open();
    browser.look(700, 800, false);
    play(&browser, 1);
    let place = middle(&browser, "onward");
    click_at(&browser, &place, 1);
    browser.wait("now().scene.answered");
    let under = format!(
        "return document.elementFromPoint({}, {}).closest('button').id",
        place[0], place[1]
    );
    assert_eq!(browser.run(&under), json!("onward"));
    click_at(&browser, &place, 2);
    // This would come after what the second click has done.
    browser.run("return act('shutdown s1_peer')");
    browser.wait("now().calls[0].startsWith('shutdown')");
    assert_eq!(browser.text("#onward"), "Next question");
}

/// Of the selected source in the selected queue, or the default.
#[test]
fn the_form_shows_the_registration() {
    let (_playground, browser) = open();
    let form = || {
        let form = browser.run("return `${$('queue').value} ${$('token').value} ${interest()}`");
        let is_set = |bit| form.as_str().unwrap().contains(bit);
        let mode = browser.text("#mode");
        assert_eq!(mode.ends_with("edge-triggered"), is_set("ET"));
        assert_eq!(mode.starts_with("one-shot, "), is_set("ONESHOT"));
        form
    };
    browser.click("#add-stream");
    browser.wait("chosen === 's1'");
    assert_eq!(form(), "q1 1 IN");
    browser.click("#bit-ET");
    browser.click("#bit-OUT");
    browser.click("#register");
    browser.wait("now().queues[0].interest.length === 1");
    assert_eq!(form(), "q1 1 IN|OUT|ET");
    browser.click("#source-s1_peer");
    assert_eq!(form(), "q1 2 IN");
    browser.click("#add-queue");
    browser.wait("now().queues.length === 2");
    browser.click("#source-s1");
    assert_eq!(form(), "q1 1 IN|OUT|ET");
    // The longest name of a mode moves no button, where there is least room.
    let place = || browser.run("return $('register').getBoundingClientRect().top");
    let before = place();
    browser.click("#bit-ONESHOT");
    assert_eq!(form(), "q1 1 IN|OUT|ET|ONESHOT");
    assert_eq!(place(), before);
    let choose = "$('queue').value = 'q2'; $('queue').dispatchEvent(new Event('change'))";
    browser.run(choose);
    assert_eq!(form(), "q2 2 IN");
    browser.click("#new");
    browser.wait("now().step === 1");
    browser.click("#add-eventfd");
    browser.wait("chosen === 'e1'");
    assert_eq!(form(), "q1 1 IN");
}

/// Tab reaches everything, and Enter and Space press it.
#[test]
fn the_keyboard_is_enough() {
    const TAB: char = '\u{e004}';
    const ENTER: char = '\u{e007}';
    const UP: char = '\u{e013}';
    let (_playground, browser) = open();
    let go = |id: &str| {
        for _ in 0..60 {
            if browser.run("return document.activeElement.id") == json!(id) {
                return;
            }
            browser.press(&TAB.to_string());
        }
        panic!("Tab does not reach {id}");
    };
    let press = |id: &str, then: &str| {
        go(id);
        browser.press(&ENTER.to_string());
        browser.wait(then);
        let focus = browser.run("return document.activeElement.id");
        assert_eq!(focus, json!(id), "the focus has moved");
    };
    press("add-eventfd", "now().sources.length === 1");
    press("register", "now().queues[0].interest.length === 1");
    press("new", "now().step === 1");
    press("add-stream", "now().sources.length === 2");
    press("register", "now().queues[0].interest.length === 1");
    press("source-s1_peer", "chosen === 's1_peer'");
    press("do-write-1", "now().sources[0].unread === 1");
    press("poll-q1", "now().report?.events.length === 1");
    press("add-stream", "chosen === 's2'");
    press("register", "now().queues[0].interest[1]?.token === 2");
    go("step-6");
    browser.press(&UP.to_string());
    browser.wait("seen === 5");
    assert_eq!(
        browser.run("return document.activeElement.id"),
        json!("step-5")
    );
    go("now");
    browser.press(&ENTER.to_string());
    browser.wait("isNow() && document.activeElement.id === 'step-6'");
    go("add-queue");
    browser.press(&ENTER.to_string());
    browser.wait("document.activeElement.id === 'source-q2'");
    // So a second Enter does not close its other end, too.
    press("source-s2", "chosen === 's2'");
    go("do-close");
    browser.press(&ENTER.to_string());
    browser.wait("document.activeElement.id === 'source-s2_peer'");

    // In a scene, the focus goes from the prediction to the poll, and to the next prediction.
    go("scene-0");
    for question in 0..3 {
        browser.press(&ENTER.to_string());
        browser.wait(&format!("now().scene?.round === {question} && !now().more"));
        browser.wait("document.activeElement.id === 'guess-1'");
        go("onward");
        browser.press(&ENTER.to_string());
        browser.wait("now().scene.answered");
        browser.wait("document.activeElement.id === 'onward'");
    }
}

#[test]
fn a_screen_reader_says_what_happens() {
    let (_playground, browser) = open();
    let spoken = || browser.text("#spoken");
    play(&browser, 0);
    assert_eq!(spoken(), browser.text("#question"));
    poll(&browser);
    assert_eq!(spoken(), "q1 reported tokens 1, 2.");
    browser.click("#do-read-1");
    browser.wait("now().calls[0].startsWith('read')");
    assert!(spoken().ends_with(", \"x\", 1) = 1"), "{}", spoken());
}

/// What a screen reader finds: each control has a name.
#[test]
fn every_control_has_a_name() {
    let (_playground, browser) = open();
    play(&browser, 4);
    let tree = browser.tool("Accessibility.getFullAXTree", json!({}));
    let (mut controls, mut names) = (0, Vec::new());
    for node in tree["nodes"].as_array().unwrap() {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        if ["button", "checkbox", "spinbutton", "combobox", "table"].contains(&role) {
            let name = node["name"]["value"].as_str().unwrap_or_default();
            assert!(!name.is_empty(), "{node}");
            controls += 1;
            names.push(name.to_owned());
        }
    }
    assert!(controls > 30, "{controls} controls");
    // The columns have no titles there, so they are part of the name.
    let has = |end: &str| names.iter().any(|name| name.ends_with(end));
    assert!(has(", ready for IN OUT, unread 1"), "{names:?}");
    assert!(has("token 9"), "{names:?}");
}

#[test]
fn going_back_shows_the_lists_as_they_were() {
    let (_playground, browser) = open();
    play(&browser, 0);
    browser.click("#look-q1");
    let lists = || browser.text("#sources") + &browser.text("#queues").replace("Hide\n", "");
    let before = lists();
    let top = || browser.run("return $('bench').getBoundingClientRect().top");
    let at = top();
    browser.click("#step-4");
    assert_eq!(top(), at, "the bench has moved");
    let bar = browser.run("return $('past').getBoundingClientRect().bottom");
    assert!(bar.as_f64() < at.as_f64(), "it covers the bench");
    assert_eq!(browser.run("return $('guess').disabled"), json!(true));
    browser.click("#now");
    poll(&browser);
    browser.click("#do-read-1");
    browser.wait("now().step === 9");
    let after = lists();
    browser.click("#step-6");
    assert_eq!(lists(), before);
    assert!(browser.text("#source-s1").ends_with("IN OUT\n1"));
    assert_eq!(browser.run("return $('calls').disabled"), json!(true));
    assert_eq!(
        browser.text("#past-text"),
        "The lists as they were after step 7 of 9."
    );
    for id in ["poll-q1", "capacity-q1"] {
        let disabled = browser.run(&format!("return $({id:?}).disabled"));
        assert_eq!(disabled, json!(true), "{id}");
    }
    assert_eq!(browser.run("return $('onward').disabled"), json!(true));
    // Escape leads back, too.
    browser.press("\u{e00c}");
    assert_eq!(lists(), after);
    assert!(browser.text("#source-s1").ends_with("OUT\n0"));
    let focus = browser.run("return document.activeElement.id");
    assert_eq!(focus, json!("step-8"));
}

#[test]
fn the_page_shows_the_program_and_loads_nothing_from_elsewhere() {
    let (playground, browser) = open();
    play(&browser, 2);
    browser.click("#take");
    browser.wait("$('program').open");
    let id = browser.run("return id");
    let path = format!("/bench/{}", id.as_str().unwrap());
    let program = exchange(&playground.address, "GET", &path, "").unwrap();
    assert!(program.contains("EPOLLONESHOT"), "{program}");
    assert_eq!(
        browser.run("return $('program-text').textContent"),
        json!(program)
    );
    browser.run(
        "URL.createObjectURL = (blob) => { window.blob = blob; return '#'; };
         HTMLAnchorElement.prototype.click = function () { window.file = this.download; };",
    );
    browser.click("#save");
    let saved = browser.run("return blob.text().then((text) => [file, text])");
    assert_eq!(saved, json!(["main.rs", program]));
    browser.run("navigator.clipboard.writeText = async (text) => { window.copied = text; };");
    browser.click("#copy");
    browser.wait("$('copy').textContent === 'Copied'");
    assert_eq!(browser.run("return copied"), json!(program));
    browser.click("#close");
    let loaded = browser
        .run("return performance.getEntriesByType('resource').map((it) => new URL(it.name).host)");
    let own = Value::from(playground.address.as_str());
    assert!(
        loaded.as_array().unwrap().iter().all(|host| *host == own),
        "{loaded}"
    );
    // Even if it wanted to.
    let script = "return fetch('http://127.0.0.1:9/').then(() => 'loaded', () => 'refused')";
    assert_eq!(browser.run(script), json!("refused"));
    let complaints = browser.complaints();
    assert!(
        complaints
            .iter()
            .all(|it| it.contains("Content Security Policy")),
        "{complaints:?}"
    );
}

#[test]
fn a_refused_action_and_a_lost_connection_are_shown() {
    let (playground, browser) = open();
    for _ in 0..6 {
        browser.click("#add-stream");
    }
    browser.wait("now().sources.length === 12");
    assert_eq!(browser.run("return chosen"), json!("s6"));
    browser.click("#add-stream");
    browser.wait("!$('problem').hidden");
    assert!(browser.text("#problem").contains("room for 12 descriptors"));
    let descriptors = || playground.descriptors();
    let with_bench = descriptors();
    browser.open("about:blank");
    for _ in 0..400 {
        if descriptors() + 12 < with_bench {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert!(
        descriptors() + 12 < with_bench,
        "the bench ends with the page"
    );
    browser.open(&format!("http://{}/", playground.address));
    browser.wait("states.length === 1 && now().sources.length === 0");
    drop(playground);
    browser.wait("!$('problem').hidden");
    assert!(browser.text("#problem").contains("There is no connection"));
    assert_eq!(browser.run("return $('agreement').hidden"), true);
}

/// A browser opens six connections to a server. The events of six tabs take them all.
#[test]
fn too_many_tabs_are_explained() {
    let (playground, browser) = open();
    let one = playground.descriptors();
    for _ in 0..5 {
        browser.run("open(location.href)");
    }
    // Of each visitor, the connection and the queue.
    for _ in 0..1000 {
        if playground.descriptors() >= one + 10 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    browser.run("act('stream')");
    browser.wait("!problem.hidden");
    assert!(browser.text("#problem").contains("too many tabs"));
}

/// At the button that was pressed, and no button moves but those that choose a source.
#[test]
fn an_error_is_shown_where_it_was_caused() {
    let (_playground, browser) = open();
    browser.click("#add-stream");
    browser.wait("now().sources.length === 2");
    let places = || {
        browser.run(
            "return [...document.querySelectorAll('#bench button:not(#history button, #sources button)')]
                 .map((it) => it.id + it.getBoundingClientRect().top).join()",
        )
    };
    let before = places();
    let fails = |button: &str, text: &str| {
        browser.click(button);
        browser.wait(&format!(
            "!problem.hidden && problem.textContent.includes({text:?})"
        ));
        let distance = format!(
            "return problem.getBoundingClientRect().top
                 - document.querySelector({button:?}).getBoundingClientRect().bottom"
        );
        let distance = browser.run(&distance).as_f64().unwrap();
        assert!((0.0..200.0).contains(&distance), "{button}: {distance}");
        assert_eq!(browser.run("return problem.role"), json!("alert"));
    };
    fails("#deregister", "ENOENT");
    assert_eq!(places(), before);
    browser.click("#register");
    browser.wait("now().queues[0].interest.length === 1");
    assert_eq!(browser.run("return problem.hidden"), json!(true));
    let before = places();
    fails("#register", "EEXIST");
    fails("#do-read-1", "EAGAIN");
    assert_eq!(places(), before);
    browser.click("#source-s1_peer");
    assert_eq!(browser.run("return problem.hidden"), json!(true));
    browser.click("#capacity-q1");
    browser.press("9"); // 89 or 98
    fails("#poll-q1", "The room for events must be a number");
    // During a scene, too, nobody has to scroll to see it.
    browser.look(1280, 720, false);
    for scene in [4, 5] {
        play(&browser, scene);
        poll(&browser);
        for (button, text) in [
            ("#register", "EEXIST"),
            ("#poll-q1", "The room for events must be a number"),
        ] {
            browser.run("$('capacity-q1').value = 99; scrollTo(0, 0)");
            fails(button, text);
            let seen = browser
                .run("return [scrollY, problem.getBoundingClientRect().bottom < innerHeight]");
            assert_eq!(seen, json!([0, true]), "{button}, scene {scene}");
        }
    }
    // It moves the new step out of no list.
    play(&browser, 4);
    poll(&browser);
    fails("#register", "EEXIST");
    let bottom = |id: &str| {
        let bottom = browser.run(&format!("return $({id:?}).getBoundingClientRect().bottom"));
        bottom.as_f64().unwrap()
    };
    assert!(bottom("step-7") < bottom("history") + 1.0);
    // What a scene does, the visitor has not done.
    play(&browser, 3);
    poll(&browser);
    browser.click("#onward");
    browser.wait("now().calls[0].includes('ENOENT')");
    assert_eq!(browser.run("return problem.hidden"), json!(true));
}

/// The kernel and the model never differ, so this state is made up.
#[test]
fn a_difference_is_loud() {
    let (_playground, browser) = open();
    browser.run(
        "states.push({ ...now(), step: 2, difference: 'the report: the kernel has X, the model Y' });
         seen = 1;
         show();",
    );
    let text = browser.text("#agreement");
    assert!(
        text.contains("differ after 2 steps: the report: the kernel has X"),
        "{text}"
    );
    assert!(browser.text("[role=alert]").contains("differ"));
}

/// No line of the page is wider than the window, in none of the sizes.
#[test]
fn the_page_fits_its_window() {
    let (_playground, browser) = open();
    for scene in 0..QUESTIONS.len() {
        browser.look(1280, 800, false);
        play(&browser, scene);
        for width in [1280, 900, 700, 400, 320] {
            browser.look(width, 800, false);
            let wide = browser.run("return document.documentElement.scrollWidth");
            assert!(
                wide.as_u64().unwrap() <= u64::from(width),
                "scene {scene}: {wide} of {width}"
            );
        }
    }
}

#[test]
fn pictures() {
    let Some(folder) = env::var_os("PICTURES") else {
        return;
    };
    let (_playground, browser) = open();
    let take = |name: &str| {
        for (width, height) in [(1280, 800), (400, 800)] {
            for dark in [false, true] {
                browser.look(width, height, dark);
                browser.run("scrollTo(0, 0)");
                let scheme = if dark { "dark" } else { "light" };
                let file = format!("{name}-{width}-{scheme}.b64");
                fs::write(Path::new(&folder).join(file), browser.picture()).unwrap();
            }
        }
        browser.look(1280, 800, false);
    };
    take("start");
    for scene in [0, 3, 4] {
        play(&browser, scene);
        take(&format!("scene{scene}-before"));
        browser.run("document.querySelector('#guess input').click()");
        poll(&browser);
        take(&format!("scene{scene}-after"));
    }
    browser.click("#step-4");
    take("back");
    browser.click("#now");
    browser.click("#register");
    browser.wait("!problem.hidden");
    take("error");
    browser.click("#take");
    browser.wait("$('program').open");
    take("program");
}
