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
            .matches("hidden until you poll")
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
    browser.click("#look-q2");
    poll(&browser);
    // Both lists, and the one of q2 as it was before.
    assert_eq!((listed(), hidden()), (json!("1,1,1"), 0));
    assert_eq!(browser.run("return $('look-q1')"), json!(null));
    browser.click("#onward");
    browser.wait("now().scene.round === 1");
    assert_eq!(hidden(), 2);
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
    browser.click("#guess-nothing");
    poll(&browser);
    let verdict = "You predicted: nothing. The kernel reported token 1.";
    assert_eq!(browser.text(".verdict"), verdict);
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
            assert_eq!(browser.text("#answer"), answer);
            let is_last = question + 1 == reports.len();
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

/// The list of sources moves what is below it. Then the second click does nothing.
#[test]
fn a_double_click_presses_no_other_button() {
    let (_playground, browser) = open();
    browser.click("#add-stream");
    browser.wait("chosen === 's1'");
    let double_click = |button: &str, then: &str, presses: u64| {
        let place = format!(
            "const {{ x, y, width, height }} = $({button:?}).getBoundingClientRect();
             return [x + width / 2, y + height / 2]"
        );
        let place = browser.run(&place);
        let steps = browser.run("return now().step").as_u64().unwrap();
        let click = |count: u32| {
            for kind in ["mousePressed", "mouseReleased"] {
                browser.tool(
                    "Input.dispatchMouseEvent",
                    json!({ "type": kind, "x": place[0], "y": place[1], "button": "left",
                            "clickCount": count }),
                );
            }
        };
        click(1);
        browser.wait(then);
        let under = format!(
            "return document.elementFromPoint({}, {})?.closest('button')?.id ?? null",
            place[0], place[1]
        );
        let under = browser.run(&under);
        click(2);
        // This would come after what the second click has done.
        browser.run("return act('shutdown s1_peer')");
        browser.wait("now().calls[0].startsWith('shutdown')");
        let now = browser.run("return now().step");
        assert_eq!(now, steps + presses + 1, "{button}");
        under
    };
    let under = double_click("do-duplicate", "now().calls[0].startsWith('fcntl')", 1);
    assert_ne!(under, json!("do-duplicate"), "nothing has moved");
    assert_eq!(browser.run("return chosen"), "s1");
    double_click("do-close", "now().calls[0].startsWith('close')", 1);
    assert_eq!(browser.run("return $('calls').hidden"), true);
    // But a button that stays can be pressed quickly.
    double_click("add-eventfd", "now().calls[0].startsWith('eventfd')", 2);
    // On a narrow page, the next question is where the poll was.
    browser.look(700, 800, false);
    play(&browser, 1);
    let under = double_click("onward", "now().scene.answered", 1);
    assert_eq!(under, "onward");
    assert_eq!(browser.text("#onward"), "Next question");
}

/// Of the selected source in the selected queue, or the default.
#[test]
fn the_form_shows_the_registration() {
    let (_playground, browser) = open();
    let form = || {
        let form = browser.run("return `${$('queue').value} ${$('token').value} ${interest()}`");
        let mode = browser.text("#mode");
        assert_eq!(
            mode.starts_with("edge"),
            form.as_str().unwrap().contains("ET")
        );
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

/// What a screen reader finds: each control has a name.
#[test]
fn every_control_has_a_name() {
    let (_playground, browser) = open();
    play(&browser, 4);
    let tree = browser.tool("Accessibility.getFullAXTree", json!({}));
    let mut controls = 0;
    for node in tree["nodes"].as_array().unwrap() {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        if ["button", "checkbox", "spinbutton", "combobox", "table"].contains(&role) {
            let name = node["name"]["value"].as_str().unwrap_or_default();
            assert!(!name.is_empty(), "{node}");
            controls += 1;
        }
    }
    assert!(controls > 30, "{controls} controls");
}

#[test]
fn going_back_shows_the_lists_as_they_were() {
    let (_playground, browser) = open();
    play(&browser, 0);
    browser.click("#look-q1");
    let before = browser.text("#queues").replace("Hide\n", "");
    let top = || browser.run("return $('bench').getBoundingClientRect().top");
    let at = top();
    browser.click("#step-4");
    assert_eq!(top(), at, "the bench has moved");
    assert_eq!(browser.run("return $('guess').disabled"), json!(true));
    browser.click("#now");
    poll(&browser);
    let after = browser.text("#queues");
    assert_ne!(before, after);
    browser.click("#step-6");
    assert_eq!(browser.text("#queues"), before);
    assert_eq!(
        browser.text("#past-text"),
        "The lists as they were after step 7 of 8."
    );
    assert_eq!(browser.run("return $('poll-q1').disabled"), json!(true));
    assert_eq!(browser.run("return $('onward').disabled"), json!(true));
    browser.click("#now");
    assert_eq!(browser.text("#queues"), after);
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
    browser.click("#add-stream");
    browser.wait("!$('problem').hidden");
    assert!(browser.text("#problem").contains("room for 12 descriptors"));
    let descriptors = || {
        fs::read_dir(format!("/proc/{}/fd", playground.pid()))
            .unwrap()
            .count()
    };
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

/// At the button that was pressed, and no button moves.
#[test]
fn an_error_is_shown_where_it_was_caused() {
    let (_playground, browser) = open();
    browser.click("#add-stream");
    browser.wait("now().sources.length === 2");
    let places = || {
        browser.run(
            "return [...document.querySelectorAll('#bench button:not(#history button)')]
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
