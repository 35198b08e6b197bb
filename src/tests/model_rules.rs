//! Does the random test notice every rule of the model? This breaks one after the other, and prints
//! for each the shortest calls that show the difference.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

/// The rule, the text in the model that states it, and a text that breaks it.
const RULES: [(&str, &str, &str); 68] = [
    (
        "register asks the source at once",
        "        self.files[key.file].wait_queue.push_front(key);\n        self.look(key);",
        "        self.files[key.file].wait_queue.push_front(key);",
    ),
    (
        "reregister asks the source at once",
        "        registration.interest = interest | EPOLLERR | EPOLLHUP;\n        self.look(key);",
        "        registration.interest = interest | EPOLLERR | EPOLLHUP;",
    ),
    (
        "EPOLLERR and EPOLLHUP belong to every interest: register",
        "            interest: interest | EPOLLERR | EPOLLHUP,",
        "            interest,",
    ),
    (
        "EPOLLERR and EPOLLHUP belong to every interest: reregister",
        "registration.interest = interest | EPOLLERR | EPOLLHUP;",
        "registration.interest = interest;",
    ),
    (
        "reregister replaces the token",
        "        registration.token = token;\n",
        "",
    ),
    (
        "a second registration of the same file and descriptor is an error",
        "if self.find(key).is_some() {",
        "if false {",
    ),
    (
        "a registration is of a file and a descriptor, not of a file",
        "registration.key == key)",
        "registration.key.file == key.file && registration.key.queue == key.queue)",
    ),
    (
        "a registration is of a file and a descriptor, not of a descriptor",
        "registration.key == key)",
        "registration.key.fd == key.fd && registration.key.queue == key.queue)",
    ),
    (
        "the newest registration hears first",
        "wait_queue.push_front(key)",
        "wait_queue.push_back(key)",
    ),
    (
        "deregister takes it from the ready list",
        "queue.ready_list.retain(|other| *other != key)",
        "let _ = &queue.ready_list",
    ),
    (
        "deregister takes it from the interest list",
        "queue.interest_list.retain(|other| other.key != key)",
        "let _ = &queue.interest_list",
    ),
    (
        "a wakeup does not link what one-shot has disabled",
        "interest & !MODES == 0;",
        "false;",
    ),
    (
        "a wakeup does not link what asks for other bits",
        "bits == 0 || bits & interest != 0;",
        "true;",
    ),
    (
        "a wakeup without bits links every interest",
        "bits == 0 || bits & interest",
        "bits & interest",
    ),
    (
        "a wakeup of a registration wakes who waits for its queue, even if it is on the ready list",
        "                self.link(key);\n                self.wake(self.queues[key.queue].file, EPOLLIN);",
        "                if self.link(key) {\n                    self.wake(self.queues[key.queue].file, EPOLLIN);\n                }",
    ),
    (
        "to register something ready wakes who waits for the queue",
        "if self.ask(key) != 0 && self.link(key) {",
        "if self.ask(key) != 0 && self.link(key) && false {",
    ),
    (
        "to reregister something on the ready list wakes nobody",
        "if self.ask(key) != 0 && self.link(key) {",
        "if self.ask(key) != 0 && { self.link(key); true } {",
    ),
    (
        "the newest on the ready list is the last",
        "ready_list.push_back(key)",
        "ready_list.push_front(key)",
    ),
    (
        "what is on the ready list keeps its place",
        "let new = !ready_list.contains(&key);",
        "ready_list.retain(|other| *other != key);\n        let new = true;",
    ),
    (
        "what is on the ready list is not put there twice",
        "let new = !ready_list.contains(&key);",
        "let new = true;",
    ),
    (
        "poll returns no more than the capacity",
        "while events.len() < capacity {",
        "while events.len() <= capacity {",
    ),
    (
        "poll takes from the head of the ready list",
        "taken.pop_front() else",
        "taken.pop_back() else",
    ),
    (
        "poll drops what is not ready",
        "            if bits == 0 {\n                continue;\n            }",
        "            if bits == 0 {\n                again.push_back(key);\n                continue;\n            }",
    ),
    (
        "poll reports what the source says now",
        "            let bits = self.ask(key);\n            if bits == 0 {",
        "            let bits = self.registration(key).interest & !MODES;\n            if bits == 0 {",
    ),
    (
        "poll reports what the interest asks for",
        "bits & self.registration(key).interest",
        "bits & (self.registration(key).interest | EPOLLIN)",
    ),
    (
        "a one-shot report disables",
        "registration.interest &= MODES;",
        "registration.interest &= u32::MAX;",
    ),
    (
        "a one-shot report disables EPOLLERR and EPOLLHUP too",
        "registration.interest &= MODES;",
        "registration.interest &= MODES | EPOLLERR | EPOLLHUP;",
    ),
    (
        "a one-shot report keeps the modes",
        "registration.interest &= MODES;",
        "registration.interest = 0;",
    ),
    (
        "an edge-triggered registration leaves the ready list with its report",
        "} else if registration.interest & EPOLLET == 0 {",
        "} else {",
    ),
    (
        "a level-triggered registration goes back to the ready list",
        "registration.interest & EPOLLET == 0 {\n                again.push_back(key);",
        "registration.interest & EPOLLET == 0 {",
    ),
    (
        "level-triggered registrations go back in the order of their reports",
        "again.push_back(key);",
        "again.push_front(key);",
    ),
    (
        "what did not fit comes before what was put back",
        "        taken.append(&mut again); // What did not fit comes first in the next poll.\n        self.queues[queue].ready_list = taken;",
        "        again.append(&mut taken);\n        self.queues[queue].ready_list = again;",
    ),
    (
        "what did not fit stays on the ready list",
        "taken.append(&mut again);",
        "taken = again;",
    ),
    (
        "a queue is readable if a registration on its ready list is ready",
        "            if self.ask(key) != 0 {\n                return EPOLLIN;\n            }\n            self",
        "            if true {\n                return EPOLLIN;\n            }\n            self",
    ),
    (
        "to ask a queue takes what is not ready from its ready list",
        "            if self.ask(key) != 0 {\n                return EPOLLIN;\n            }\n            self.queues[queue].ready_list.pop_front();\n        }\n        0",
        "            if self.ask(key) != 0 {\n                return EPOLLIN;\n            }\n            return self.queues[queue].ready_list.clone().into_iter().any(|key| self.ask(key) != 0) as u32;\n        }\n        0",
    ),
    (
        "a queue that is asked keeps on its ready list what is ready",
        "                return EPOLLIN;\n            }\n            self.queues",
        "                self.queues[queue].ready_list.pop_front();\n                return EPOLLIN;\n            }\n            self.queues",
    ),
    (
        "an eventfd is writable below 2^64 - 2",
        "*counter < u64::MAX - 1",
        "*counter < u64::MAX",
    ),
    (
        "a shut down stream is readable",
        "bits |= EPOLLIN | EPOLLRDHUP;",
        "bits |= EPOLLRDHUP;",
    ),
    (
        "a half-closed stream has not hung up",
        "stream.cannot_read && stream.cannot_write",
        "stream.cannot_read",
    ),
    (
        "to close a duplicate ends no registration",
        "if self.files[file].descriptors > 0 {\n            return;\n        }",
        "",
    ),
    (
        "to close the last descriptor ends the registrations",
        "            let _registered = self.deregister(key);",
        "",
    ),
    (
        "the peer of a stream that closes with unread bytes has an error",
        "other_end.reset |= !all_read;",
        "other_end.reset = false;",
    ),
    (
        "the peer of a stream that closes is woken for anything",
        "other_end.cannot_write = true;\n            self.wake(peer, 0);",
        "other_end.cannot_write = true;\n            self.wake(peer, EPOLLIN);",
    ),
    (
        "a write to an eventfd wakes readers, not writers",
        "self.wake(file, EPOLLIN); // even for 0",
        "self.wake(file, 0);",
    ),
    (
        "a write of 0 to an eventfd wakes",
        "self.wake(file, EPOLLIN); // even for 0",
        "if count > 0 { self.wake(file, EPOLLIN) }",
    ),
    (
        "an eventfd at its limit refuses a write",
        "            Kind::Eventfd(_) => Err(ErrorKind::WouldBlock),\n",
        "            Kind::Eventfd(_) => Ok(8),\n",
    ),
    (
        "a queue refuses a write",
        "                Ok(count)\n            }\n            Kind::Queue(_) => Err(ErrorKind::InvalidInput),",
        "                Ok(count)\n            }\n            Kind::Queue(_) => Ok(8),",
    ),
    (
        "a write to a stream wakes for priority data",
        "self.wake(peer, EPOLLIN | EPOLLPRI);",
        "self.wake(peer, EPOLLIN);",
    ),
    (
        "a write of 0 bytes to a stream wakes nobody",
        "            Kind::Stream(_) if count == 0 => Ok(0),\n",
        "",
    ),
    (
        "a stream that is shut down refuses a write",
        "            Kind::Stream(stream) if stream.cannot_write => Err(ErrorKind::BrokenPipe),\n",
        "",
    ),
    (
        "a read of an eventfd wakes writers",
        "*counter = 0;\n                self.wake(file, EPOLLOUT);",
        "*counter = 0;",
    ),
    (
        "an eventfd of 0 refuses a read",
        "            Kind::Eventfd(0) => Err(ErrorKind::WouldBlock),\n",
        "",
    ),
    (
        "a queue refuses a read",
        "WouldBlock),\n            Kind::Queue(_) => Err(ErrorKind::InvalidInput),",
        "WouldBlock),\n            Kind::Queue(_) => Ok(8),",
    ),
    (
        "a read takes no more bytes than it asks for",
        "(*first).min(count - taken)",
        "*first",
    ),
    (
        "a read goes on with the next write",
        "self.arrived.pop_front();",
        "self.arrived.pop_front();\n            break;",
    ),
    (
        "a read of a stream wakes the writer on the other side",
        "if ended && !self.stream(peer).full {",
        "if false {",
    ),
    (
        "a read that ends no write wakes nobody",
        "if ended && !self.stream(peer).full {",
        "if !self.stream(peer).full {",
    ),
    (
        "a read that makes no room wakes nobody",
        "if ended && !self.stream(peer).full {",
        "if ended {",
    ),
    (
        "a stream is read to its end before it fails",
        "Kind::Stream(stream) if !stream.arrived.is_empty() => {",
        "Kind::Stream(stream) if !stream.arrived.is_empty() && !stream.reset => {",
    ),
    (
        "a failed read clears the error",
        "                stream.reset = false; // The error is returned once.\n",
        "",
    ),
    (
        "a read at end of file returns 0",
        "            Kind::Stream(stream) if stream.cannot_read => Ok(0),\n",
        "",
    ),
    (
        "an empty stream refuses a read",
        "Kind::Stream(_) => Err(ErrorKind::WouldBlock),",
        "Kind::Stream(_) => Ok(0),",
    ),
    (
        "to shut down wakes this end",
        "        self.wake(file, 0);\n",
        "",
    ),
    (
        "to shut down wakes the other end",
        "        self.stream(peer).cannot_read |= how != Shutdown::Read;\n        self.wake(peer, 0);",
        "        self.stream(peer).cannot_read |= how != Shutdown::Read;",
    ),
    (
        "to shut down wakes this end before the other",
        "        self.wake(file, 0);\n        self.stream(peer).cannot_write |= how != Shutdown::Write;\n        self.stream(peer).cannot_read |= how != Shutdown::Read;\n        self.wake(peer, 0);",
        "        self.stream(peer).cannot_write |= how != Shutdown::Write;\n        self.stream(peer).cannot_read |= how != Shutdown::Read;\n        self.wake(peer, 0);\n        self.wake(file, 0);",
    ),
    (
        "a full stream is not writable",
        "if !stream.full {",
        "if true {",
    ),
    (
        "a stream that is read to its end has room again",
        "if all_read {",
        "if false {",
    ),
    (
        "to close a stream makes room for its peer",
        "            other_end.full = false; // What was not read is gone.\n",
        "",
    ),
];

/// The files of a crate that has the random test alone.
const FILES: [(&str, &str); 6] = [
    ("src/lib.rs", "mod ffi; mod poll; mod tests { mod model; }"),
    ("src/ffi.rs", include_str!("../ffi.rs")),
    ("src/poll.rs", include_str!("../poll.rs")),
    ("src/tests/model.rs", include_str!("model.rs")),
    (
        "examples/model/mod.rs",
        include_str!("../../examples/model/mod.rs"),
    ),
    (
        "examples/model/files.rs",
        include_str!("../../examples/model/files.rs"),
    ),
];

#[test]
#[ignore = "compiles itself once for each rule, which takes a minute"]
fn each_rule_that_is_changed_is_noticed() {
    let dir = env::temp_dir().join(format!("epollet-model-{}", process::id()));
    let unchanged = test_with(&dir, "impl Kernel", "impl Kernel");
    assert_eq!(report(&unchanged), None);
    let mut unnoticed = Vec::new();
    for (rule, right, wrong) in RULES {
        let output = test_with(&dir, right, wrong);
        println!("{rule}\n    {}\n    {}", right.trim(), wrong.trim());
        match report(&output) {
            Some(report) => println!("{report}"),
            None => unnoticed.push(rule),
        }
    }
    fs::remove_dir_all(&dir).unwrap();
    assert!(unnoticed.is_empty(), "not noticed: {unnoticed:#?}");
}

/// Runs the random test with a model in which `right` is replaced.
fn test_with(dir: &Path, right: &str, wrong: &str) -> String {
    let mut replaced = 0;
    for (name, text) in FILES {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let is_model = name.starts_with("examples/");
        if is_model {
            replaced += text.matches(right).count();
            fs::write(path, text.replace(right, wrong)).unwrap();
        } else {
            fs::write(path, text).unwrap();
        }
    }
    assert!(replaced == 1 || right == wrong, "{replaced} times: {right}");
    let program: PathBuf = dir.join("model");
    let rustc = env::var_os("RUSTC").unwrap_or("rustc".into());
    let mut compile = Command::new(rustc);
    compile.args(["--edition", "2024", "--test", "-A", "warnings", "-o"]);
    compile.arg(&program).arg(dir.join("src/lib.rs"));
    assert!(compile.status().unwrap().success(), "{wrong}");
    let mut test = Command::new(program);
    test.args([
        "--exact",
        "tests::model::the_kernel_and_the_model_report_the_same_in_the_same_order",
    ]);
    test.env_remove("EPOLLET_STEPS")
        .env_remove("EPOLLET_SEED")
        .env_remove("RUST_BACKTRACE");
    let output = test.output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

/// Returns what the test has found: the difference, or that the model has lost a registration.
fn report(output: &str) -> Option<&str> {
    let start = output.find("panicked at ")?;
    let found = &output[start..];
    let found = &found[found.find('\n')? + 1..];
    let end = found.find("note: run with").unwrap_or(found.len());
    let found = found[..end].trim_end();
    (found.contains("calls show it:") || found.contains("not registered")).then_some(found)
}
