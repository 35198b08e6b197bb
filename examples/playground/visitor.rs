//! One visitor: a bench, perhaps a scene on it, and what the page is told about them, as JSON.

use super::action::Action;
use super::bench::{Bench, Report, Source, queue_name};
use super::model::Key;
use super::model::files::Kind;
use super::scenes::SCENES;
use epollet::Interest;
use std::os::fd::AsRawFd;

pub struct Visitor {
    pub bench: Bench,
    scene: Option<Playing>,
}

struct Playing {
    scene: usize,
    round: usize,
    /// The poll that the round asks about has been made.
    answered: bool,
    /// The visitor has done something else.
    changed: bool,
    /// Nothing else was done before the poll: the prepared answer fits.
    prepared: bool,
}

impl Visitor {
    pub fn new() -> Result<Visitor, String> {
        Ok(Visitor {
            bench: Bench::new()?,
            scene: None,
        })
    }

    /// Does what the page asks for, in one line: an action, `new`, `scene 0`, or `next`. Returns the
    /// state after each step. The error is a sentence for the visitor.
    pub fn act(&mut self, line: &str) -> Result<Vec<String>, String> {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["new"] => {
                *self = Visitor::new()?;
                Ok(vec![self.state()])
            }
            ["scene", number] => {
                let scene = number.parse().ok().filter(|scene| *scene < SCENES.len());
                self.begin(scene.ok_or("No scene has this number. Choose another.")?, 0)
            }
            ["next"] => match self.scene {
                Some(Playing {
                    answered: true,
                    changed,
                    scene,
                    round,
                    ..
                }) if round + 1 < SCENES[scene].rounds.len() => {
                    let next = round + 1;
                    if changed {
                        self.begin(scene, next)
                    } else {
                        self.prepare(scene, next, SCENES[scene].rounds[next].script)
                    }
                }
                _ => Err("There is no next question. Poll first, or start a scene.".into()),
            },
            _ => {
                self.bench.act(Action::parse(line)?)?;
                if let Some(playing) = &mut self.scene {
                    let asked = SCENES[playing.scene].rounds[playing.round].poll;
                    if line == asked && !playing.answered {
                        playing.answered = true;
                    } else {
                        playing.changed = true;
                        playing.prepared &= playing.answered;
                    }
                }
                Ok(vec![self.state()])
            }
        }
    }

    /// Prepares a question of a scene on a new bench, after all steps that come before it.
    fn begin(&mut self, scene: usize, round: usize) -> Result<Vec<String>, String> {
        let rounds = SCENES[scene].rounds;
        let mut script = Vec::new();
        for earlier in &rounds[..round] {
            script.extend(earlier.script);
            script.push(earlier.poll);
        }
        script.extend(rounds[round].script);
        let mut new = Visitor::new()?;
        let mut states = vec![new.state_before(1)];
        states.extend(new.prepare(scene, round, &script)?);
        *self = new;
        Ok(states)
    }

    /// Prepares a question of a scene with these actions.
    fn prepare(
        &mut self,
        scene: usize,
        round: usize,
        script: &[&str],
    ) -> Result<Vec<String>, String> {
        self.scene = Some(Playing {
            scene,
            round,
            answered: false,
            changed: false,
            prepared: true,
        });
        let mut states = Vec::new();
        for (index, line) in script.iter().enumerate() {
            self.bench.act(Action::parse(line)?)?;
            states.push(self.state_before(script.len() - 1 - index));
        }
        if states.is_empty() {
            states.push(self.state()); // the same step, with the new question
        }
        Ok(states)
    }

    /// The bench after its last step.
    pub fn state(&self) -> String {
        self.state_before(0)
    }

    /// The same, if so many steps follow at once.
    fn state_before(&self, more: usize) -> String {
        let Bench {
            steps, difference, ..
        } = &self.bench;
        let last = steps.last().expect("a bench begins with a step");
        let queues = 0..self.bench.queues.len();
        object(&[
            ("step", steps.len().to_string()),
            ("more", (more > 0).to_string()),
            ("calls", array(last.calls.iter().map(|call| string(call)))),
            ("report", self.report(&last.action, last.report.as_ref())),
            (
                "sources",
                array(self.bench.sources.iter().map(|source| self.source(source))),
            ),
            ("queues", array(queues.map(|number| self.queue(number)))),
            ("difference", optional(difference.as_deref())),
            (
                "scene",
                self.scene.as_ref().map_or("null".into(), Playing::state),
            ),
        ])
    }

    fn report(&self, action: &Action, report: Option<&Report>) -> String {
        let (Action::Poll(queue, capacity), Some(report)) = (action, report) else {
            return "null".into();
        };
        let events = report
            .iter()
            .map(|(token, bits)| object(&[("token", token.to_string()), ("bits", names(*bits))]));
        object(&[
            ("queue", string(queue)),
            ("capacity", capacity.to_string()),
            ("events", array(events)),
        ])
    }

    fn source(&self, source: &Source) -> String {
        let (kind, peer, notes) = match &self.bench.model.files[source.file].kind {
            Kind::Stream(stream) => {
                let mut notes = Vec::new();
                if stream.cannot_write {
                    notes.push("a write fails at once");
                }
                if stream.reset {
                    notes.push("reset");
                }
                if stream.cannot_read {
                    let comes_first = !stream.arrived.is_empty() || stream.reset;
                    notes.push(if comes_first {
                        "end of file follows"
                    } else {
                        "at end of file"
                    });
                }
                ("stream", Some(stream.peer), notes)
            }
            _ => ("eventfd", None, Vec::new()),
        };
        let unread = self
            .bench
            .unread(source)
            .map_or("null".into(), |count| count.to_string());
        object(&[
            ("name", string(&source.name)),
            ("fd", source.real.as_raw_fd().to_string()),
            ("kind", string(kind)),
            ("file", source.file.to_string()),
            ("peer", peer.map_or("null".into(), |file| file.to_string())),
            ("unread", unread),
            ("ready", names(self.bench.ready(source.file))),
            ("notes", array(notes.into_iter().map(string))),
        ])
    }

    fn queue(&self, number: usize) -> String {
        let queue = &self.bench.model.queues[number];
        // The rows of the kernel's list have no names. The model's list is the same, in the same
        // order.
        let mut model: Vec<_> = queue.interest_list.iter().collect();
        model.sort_by_key(|row| (row.key.fd, row.token, row.interest));
        let kernel = self.bench.interest_list(number).unwrap_or_default();
        let interest = kernel.iter().enumerate().map(|(index, row)| {
            let name = model.get(index).and_then(|row| self.name(row.key));
            object(&[
                ("fd", row.fd.to_string()),
                ("name", optional(name.as_deref())),
                ("token", row.token.to_string()),
                ("bits", names(row.interest)),
            ])
        });
        let interest = array(interest);
        let ready = queue.ready_list.iter().map(|key| {
            let mut list = queue.interest_list.iter();
            let row = list.find(|row| row.key == *key);
            let (token, interest) = row.map_or((0, 0), |row| (row.token, row.interest));
            let is_ready = interest & self.bench.ready(key.file) != 0;
            object(&[
                ("fd", key.fd.to_string()),
                ("name", optional(self.name(*key).as_deref())),
                ("token", token.to_string()),
                ("is_ready", is_ready.to_string()),
            ])
        });
        object(&[
            ("name", string(&queue_name(number))),
            ("fd", self.bench.queues[number].as_raw_fd().to_string()),
            ("interest", interest),
            ("ready", array(ready)),
        ])
    }

    /// The name of the descriptor that was registered, if it is still open.
    fn name(&self, key: Key) -> Option<String> {
        if let Kind::Queue(number) = self.bench.model.files[key.file].kind {
            return Some(queue_name(number));
        }
        let mut sources = self.bench.sources.iter();
        let same = |source: &&Source| source.file == key.file && source.real.as_raw_fd() == key.fd;
        Some(sources.find(same)?.name.clone())
    }
}

impl Playing {
    fn state(&self) -> String {
        let scene = &SCENES[self.scene];
        let round = &scene.rounds[self.round];
        let last = self.round + 1 == scene.rounds.len();
        // Not before the poll: the answer would be in the browser's tools.
        let answer = self.answered.then_some(round.answer);
        let then = (self.answered && self.prepared && last).then_some(scene.then);
        object(&[
            ("number", self.scene.to_string()),
            ("round", self.round.to_string()),
            ("rounds", scene.rounds.len().to_string()),
            ("question", string(round.question)),
            ("poll", string(round.poll)),
            ("answered", self.answered.to_string()),
            ("changed", self.changed.to_string()),
            ("prepared", self.prepared.to_string()),
            ("answer", optional(answer)),
            ("then", optional(then)),
        ])
    }
}

/// What a page is told first: the number of its bench, and the scenes.
pub fn hello(id: &str) -> String {
    let scenes = SCENES
        .iter()
        .map(|scene| object(&[("name", string(scene.name)), ("about", string(scene.about))]));
    object(&[("id", string(id)), ("scenes", array(scenes))])
}

fn names(bits: u32) -> String {
    let names = format!("{:?}", Interest::from(bits));
    let names = names.split(" | ").filter(|_| bits != 0);
    array(names.map(string))
}

fn object(fields: &[(&str, String)]) -> String {
    let fields = fields
        .iter()
        .map(|(name, value)| string(name) + ":" + value);
    let fields: Vec<String> = fields.collect();
    format!("{{{}}}", fields.join(","))
}

fn array(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(","))
}

fn optional(text: Option<&str>) -> String {
    text.map_or("null".into(), string)
}

/// Quotes a text. Control characters do not occur.
fn string(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}
