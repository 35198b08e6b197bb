//! The prepared scenes. Each asks what the next poll reports, several times.

/// The actions before a question, the question, the poll that answers it, and why.
pub struct Round {
    pub script: &'static [&'static str],
    pub question: &'static str,
    pub poll: &'static str,
    pub answer: &'static str,
    /// The tokens that the poll reports. Only a test reads them: the page shows the kernel's.
    #[allow(dead_code)]
    pub tokens: &'static [usize],
}

pub struct Scene {
    pub name: &'static str,
    pub about: &'static str,
    pub rounds: &'static [Round],
    /// What to try on the bench afterwards.
    pub then: &'static str,
}

pub const SCENES: [Scene; 6] = [
    Scene {
        name: "Level and edge",
        about: "s1 and s2 are two streams. Token 1 is level-triggered, token 2 is edge-triggered. \
                One byte arrives at each.",
        rounds: &[
            Round {
                script: &[
                    "stream",
                    "stream",
                    "register q1 s1 1 IN",
                    "register q1 s2 2 IN|ET",
                    "write s1_peer 1",
                    "write s2_peer 1",
                ],
                question: "Both streams have a byte to read. What does the next poll report?",
                poll: "poll q1 8",
                answer: "Both. Each byte put its registration on the ready list, and the poll \
                         reported what it found there.",
                tokens: &[1, 2],
            },
            Round {
                script: &[],
                question: "Nobody has read the bytes. What does the next poll report?",
                poll: "poll q1 8",
                answer: "Only token 1. Its registration is level-triggered: after the report it \
                         went back on the ready list, and it is reported for as long as s1 is \
                         ready. The edge-triggered one waits for a change.",
                tokens: &[1],
            },
            Round {
                script: &["write s2_peer 1"],
                question: "One more byte arrives at s2. What does the next poll report?",
                poll: "poll q1 8",
                answer: "Both. The new byte is a change, so token 2 is reported once more, with \
                         two bytes unread. Token 1 is still ready.",
                tokens: &[1, 2],
            },
        ],
        then: "Read all bytes of s1: token 1 stays on the ready list. Then poll: the poll asks the \
               source, reports nothing, and takes it off.",
    },
    Scene {
        name: "One byte left",
        about: "s1 is edge-triggered. Three bytes arrive. After the first poll, the program reads two \
                of them.",
        rounds: &[
            Round {
                script: &["stream", "register q1 s1 1 IN|ET", "write s1_peer 3"],
                question: "Three bytes have arrived in one write. What does the next poll report?",
                poll: "poll q1 8",
                answer: "Token 1, once. An event says that the source is readable. It does not say \
                         how many bytes there are.",
                tokens: &[1],
            },
            Round {
                script: &["read s1 2"],
                question: "The program reads two bytes. One is left. What does the next poll \
                           report?",
                poll: "poll q1 8",
                answer: "Nothing, although s1 is readable. A program that sleeps in poll now may \
                         sleep forever. So after an edge, read until WouldBlock.",
                tokens: &[],
            },
            Round {
                script: &["write s1_peer 1"],
                question: "The peer sends one more byte. What does the next poll report?",
                poll: "poll q1 8",
                answer: "Token 1. The new byte is a new edge, and two bytes are unread now. The \
                         old byte was not lost, but it had to wait for the new one.",
                tokens: &[1],
            },
        ],
        then: "Reregister s1 while a byte is unread, and poll: reregister asks the source, so this \
               reports the byte too.",
    },
    Scene {
        name: "One-shot",
        about: "s1 is registered with EPOLLONESHOT. One byte arrives before the first poll, and \
                another one after it.",
        rounds: &[
            Round {
                script: &["stream", "register q1 s1 1 IN|ONESHOT", "write s1_peer 1"],
                question: "One byte has arrived. What does the next poll report?",
                poll: "poll q1 8",
                answer: "Token 1. Look at the interest list: the registration is still there, but \
                         the kernel has cleared all its bits but the mode.",
                tokens: &[1],
            },
            Round {
                script: &["write s1_peer 1"],
                question: "Another byte arrives. What does the next poll report?",
                poll: "poll q1 8",
                answer: "Nothing. A disabled registration does not get on the ready list. Not even \
                         a hang-up would be reported.",
                tokens: &[],
            },
            Round {
                script: &["reregister q1 s1 1 IN|ONESHOT"],
                question: "The program reregisters s1. No new byte arrives. What does the next \
                           poll report?",
                poll: "poll q1 8",
                answer: "Token 1. Reregister enables the registration and asks the source, which \
                         has two bytes to read. So nothing that arrived in between is missed.",
                tokens: &[1],
            },
        ],
        then: "Close s1_peer and poll: the hang-up is not reported. Then reregister s1 and poll again.",
    },
    Scene {
        name: "A duplicate",
        about: "s1 is registered and duplicated. Then the program closes s1, and keeps s1_dup.",
        rounds: &[
            Round {
                script: &[
                    "stream",
                    "register q1 s1 1 IN",
                    "duplicate s1",
                    "close s1",
                    "write s1_peer 1",
                ],
                question: "s1 is closed, and one byte arrives. What does the next poll report?",
                poll: "poll q1 8",
                answer: "Token 1, although its descriptor is closed. A registration belongs to the \
                         open file description, and s1_dup keeps that open. Look at the interest \
                         list: the number is still there, although nothing is open under it.",
                tokens: &[1],
            },
            Round {
                script: &["deregister q1 s1_dup"],
                question: "The program tries to deregister s1_dup, and the kernel returns ENOENT. \
                           What does the next poll report?",
                poll: "poll q1 8",
                answer: "Token 1, again. The kernel finds a registration by the number of the \
                         descriptor and the open file description. s1_dup has another number, so \
                         it is not registered.",
                tokens: &[1],
            },
            Round {
                script: &["close s1_dup"],
                question: "The program closes s1_dup, too. What does the next poll report?",
                poll: "poll q1 8",
                answer: "Nothing. That was the last descriptor. The open file description ends, \
                         and its registration with it. So deregister before you close, if there \
                         may be a duplicate.",
                tokens: &[],
            },
        ],
        then: "Add a stream, duplicate s2, and register both with different tokens. One byte makes \
               two events, the newer registration's first.",
    },
    Scene {
        name: "A queue in a queue",
        about: "q1 watches s1, and q2 watches q1 with token 9. One byte arrives at s1.",
        rounds: &[
            Round {
                script: &[
                    "stream",
                    "queue",
                    "register q1 s1 1 IN",
                    "register q2 q1 9 IN",
                    "write s1_peer 1",
                ],
                question: "What does a poll of q2, the outer queue, report?",
                poll: "poll q2 8",
                answer: "Token 9. An epoll instance is a file, too. It is readable while a source \
                         on its ready list is ready. q2 knows nothing of s1.",
                tokens: &[9],
            },
            Round {
                script: &[],
                question: "What does a poll of q1, the inner queue, report?",
                poll: "poll q1 8",
                answer: "Token 1. The poll of q2 has taken nothing from q1.",
                tokens: &[1],
            },
            Round {
                script: &["read s1 64"],
                question: "The program reads the byte. Both queues still have an entry on the \
                           ready list. What does a poll of q2 report?",
                poll: "poll q2 8",
                answer: "Nothing. The poll asks q1, and q1 asks s1, which is no longer ready. So \
                         both entries leave the ready lists.",
                tokens: &[],
            },
        ],
        then: "Register q2 in q1: that would be a circle. The kernel returns ELOOP.",
    },
    Scene {
        name: "Room for one",
        about: "Three level-triggered streams are ready, and each poll has room for one event.",
        rounds: &[
            Round {
                script: &[
                    "stream",
                    "stream",
                    "stream",
                    "register q1 s1 1 IN",
                    "register q1 s2 2 IN",
                    "register q1 s3 3 IN",
                    "write s3_peer 1",
                    "write s1_peer 1",
                    "write s2_peer 1",
                ],
                question: "Bytes have arrived at s3, then s1, then s2. Which one does the poll \
                           report?",
                poll: "poll q1 1",
                answer: "Token 3. The ready list is in the order of the wakeups, and the poll takes \
                         its head.",
                tokens: &[3],
            },
            Round {
                script: &["write s3_peer 1"],
                question: "One more byte arrives at s3. Which one does the next poll report?",
                poll: "poll q1 1",
                answer: "Token 1. What did not fit is at the head of the list. After its report, \
                         token 3 went to the tail, because it is level-triggered. It is on the \
                         list already, so the new byte does not move it.",
                tokens: &[1],
            },
            Round {
                script: &[],
                question: "Nothing has changed. Which one does the next poll report?",
                poll: "poll q1 1",
                answer: "Token 2. What was reported goes to the tail, and what did not fit comes \
                         first.",
                tokens: &[2],
            },
            Round {
                script: &[],
                question: "Each stream has been reported once, and nobody has read. Which one does \
                           the next poll report?",
                poll: "poll q1 1",
                answer: "Token 3: the first one comes round again. Everyone gets a turn, so a \
                         small capacity starves no source.",
                tokens: &[3],
            },
        ],
        then: "Poll with room for 2, several times, and predict the pairs.",
    },
];
