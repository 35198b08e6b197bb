//! The answer to one request: is it complete, and what does it say?

/// The message of an answer, or why there is none.
pub type Outcome = Result<String, String>;

/// The longest answer that is read, in bytes. A delay server's is far shorter.
const LIMIT: usize = 64 * 1024;

pub const NOT_A_DELAY_SERVER: &str = "This does not look like a delay server.";

/// The part of an answer that has arrived.
#[derive(Default)]
pub struct Answer(Vec<u8>);

impl Answer {
    pub fn append(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Returns true if no more should be read.
    pub fn is_too_long(&self) -> bool {
        self.0.len() > LIMIT
    }

    /// Returns the outcome, or `None` if the answer is not complete. `ended`: no more will come.
    pub fn outcome(&self, ended: bool) -> Option<Outcome> {
        match self.message(ended).transpose() {
            None if ended => {
                let count = self.0.len();
                Some(Err(format!(
                    "the server closed after {count} bytes of its answer"
                )))
            }
            outcome => outcome,
        }
    }

    fn message(&self, ended: bool) -> Result<Option<String>, String> {
        let bytes = &self.0[..];
        if self.is_too_long() {
            return Err(format!("the answer is longer than {LIMIT} bytes"));
        }
        // A TLS record: an alert, or a handshake.
        if let [0x15 | 0x16, ..] = bytes {
            return Err("the server speaks TLS (https) on this port".to_owned());
        }
        if !bytes.starts_with(&b"HTTP/"[..bytes.len().min(5)]) {
            let line = first_line(bytes);
            return Err(format!("the answer is not HTTP, it starts with {line}"));
        }
        let Some((head, body)) = split_head(bytes) else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default();
        let mut length = None;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                return Err("the answer is chunked, which HTTP/1.0 does not have".to_owned());
            }
        }
        let body = match length {
            Some(length) if body.len() >= length => &body[..length],
            None if ended => body,
            _ => return Ok(None),
        };
        if status.split(' ').nth(1) != Some("200") {
            let (status, line) = (status.escape_debug(), first_line(body));
            return Err(format!("{status}\n{NOT_A_DELAY_SERVER} It says {line}"));
        }
        Ok(Some(String::from_utf8_lossy(body).into_owned()))
    }
}

/// Splits an answer after the first empty line. A line may end in just LF.
fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_end = |end: &usize| {
        let head = &bytes[..*end];
        head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n")
    };
    (1..=bytes.len())
        .find(is_end)
        .map(|end| bytes.split_at(end))
}

/// Returns the first line in quotes, cut to fit the screen.
pub fn first_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line: String = text
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(50)
        .collect();
    format!("{line:?}")
}
