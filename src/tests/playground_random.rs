//! Lines for a visitor of the playground: a scene's, and random ones.

use super::visitor::Visitor;

/// Begins a question of a scene.
pub fn begin(scene: usize, question: usize) -> String {
    match question {
        0 => format!("scene {scene}"),
        _ => "next".into(),
    }
}

/// splitmix64
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % limit as u64) as usize
    }

    fn one_of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }

    /// What a page can send, and now and then something that none sends.
    pub fn line(&mut self, visitor: &Visitor) -> String {
        match self.below(1000) {
            0 => "new".into(),
            1..=3 => format!("scene {}", self.below(7)),
            4..=9 => "next".into(),
            10..=29 => {
                let mut line = self.action(visitor).into_bytes();
                self.mutate(&mut line);
                String::from_utf8_lossy(&line).into_owned()
            }
            _ => self.action(visitor),
        }
    }

    pub fn action(&mut self, visitor: &Visitor) -> String {
        let bench = &visitor.bench;
        let mut names: Vec<&str> = bench.sources.iter().map(|it| it.name.as_str()).collect();
        names.extend(["q1", "q2"]);
        let (source, queue) = (self.one_of(&names), self.one_of(&["q1", "q1", "q2"]));
        let (count, token) = (1 + self.below(4), self.below(6));
        let mut interest = Vec::new();
        for (name, one_in) in [
            ("IN", 2),
            ("OUT", 3),
            ("RDHUP", 4),
            ("ET", 2),
            ("ONESHOT", 3),
        ] {
            if self.below(one_in) == 0 {
                interest.push(name);
            }
        }
        let interest = if interest.is_empty() {
            "none".into()
        } else {
            interest.join("|")
        };
        match self.below(100) {
            0..=3 => "stream".into(),
            4..=5 => "eventfd".into(),
            6 => "queue".into(),
            7..=8 => format!("duplicate {source}"),
            9..=12 => format!("close {source}"),
            13..=28 => format!("register {queue} {source} {token} {interest}"),
            29..=36 => format!("reregister {queue} {source} {token} {interest}"),
            37..=39 => format!("deregister {queue} {source}"),
            40..=57 => format!("write {source} {count}"),
            58..=69 => format!("read {source} {}", [1, 1, 2, 3, 64][self.below(5)]),
            70 => format!("shutdown {source}"),
            _ => format!("poll {queue} {}", [1, 1, 2, 3, 8][self.below(5)]),
        }
    }

    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let place = self.below(bytes.len() + 1);
        match self.below(5) {
            0 => bytes.truncate(place),
            1 => bytes.insert(place, self.below(256) as u8),
            2 if place < bytes.len() => bytes[place] = self.below(256) as u8,
            3 if place < bytes.len() => {
                let part = bytes[place..].to_vec();
                bytes.extend(part);
            }
            _ => {
                let end = (place + self.below(8)).min(bytes.len());
                bytes.drain(place..end);
            }
        }
    }
}
