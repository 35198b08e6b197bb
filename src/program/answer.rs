//! The answer of a delay server: status 200, and the message that was asked for.

use epollet::Token;

/// Returns what to show of an answer, or what is wrong with it.
pub fn check(token: Token, answer: &[u8]) -> Result<String, String> {
    let answer = String::from_utf8_lossy(answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let (status, _) = head.split_once("\r\n").unwrap_or((head, ""));
    let wanted = format!("request-{token}");
    let is_ok = ["HTTP/1.1 200", "HTTP/1.0 200"]
        .iter()
        .any(|ok| status.starts_with(ok));
    match body.strip_prefix(&wanted) {
        Some("") if is_ok => Ok(wanted),
        Some(rest) if is_ok && !rest.starts_with(|next: char| next.is_ascii_digit()) => {
            Ok(format!("{wanted} and {} bytes", rest.len()))
        }
        _ => {
            let shown = if is_ok { body } else { status };
            let shown: String = shown
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .take(50)
                .collect();
            Err(format!("the answer is not {wanted:?}, but\n{shown:?}"))
        }
    }
}
