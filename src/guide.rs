//! Pages about epoll: what people ask, the terms, the rules, and what follows from the rules.
//!
//! There is no code in this module. Start with [`questions`] if something goes wrong, with
//! [`glossary`] if a term is new. Most facts are shown by tests in `src/tests/`; the pages name
//! these tests. A page says so where no test can show a fact.
//!
//! | page | question |
//! |---|---|
//! | [`questions`] | What is wrong, and how do I ...? |
//! | [`glossary`] | What does this word mean? |
//! | [`rules`] | What does the kernel do when you register, at a wakeup and in a poll? |
//! | [`errors`] | What can each call return, and what do the bits of an event mean? |
//! | [`edges`] | What causes a new edge, for each kind of source? |
//! | [`misunderstandings`] | What do people believe about epoll, and what is true? |
//! | [`servers`] | Accept, limits, timeouts, closing, fairness, more cores: what should I know? |
//! | [`files`] | Files, FIFOs, terminals, standard input: which of them work, and how? |
//! | [`processes`] | Threads, signals, child processes: what should I know? |
//! | [`other_systems`] | What differs in the book, in mio, kqueue and IOCP? |
//! | [`io_uring`] | What does io_uring change? |
//! | [`measured`] | What does it cost? |
//! | [`promises`] | What can I rely on? |
//!
//! The pages can also be read where they are, in `src/guide/`. So each link in them has two
//! targets. The one at the end of the page is for the repository's web pages. rustdoc takes the one
//! in `rustdoc_links.txt`, because it comes first.

#[doc = include_str!("guide/rustdoc_links.txt")]
#[doc = include_str!("guide/questions.md")]
pub mod questions {}

#[doc = include_str!("guide/rustdoc_links.txt")]
#[doc = include_str!("guide/glossary.md")]
pub mod glossary {}

#[doc = include_str!("guide/rustdoc_links.txt")]
#[doc = include_str!("guide/rules.md")]
pub mod rules {}

#[doc = include_str!("guide/rustdoc_links.txt")]
#[doc = include_str!("guide/errors.md")]
pub mod errors {}

#[doc = include_str!("guide/rustdoc_links.txt")]
#[doc = include_str!("guide/edges.md")]
pub mod edges {}

#[doc = include_str!("guide/rustdoc_links.txt")]
#[doc = include_str!("guide/misunderstandings.md")]
pub mod misunderstandings {}

#[doc = include_str!("guide/rustdoc_links.txt")]
#[doc = include_str!("guide/servers.md")]
pub mod servers {}

#[doc = include_str!("guide/rustdoc_links.txt")]
#[doc = include_str!("guide/files.md")]
pub mod files {}

#[doc = include_str!("guide/rustdoc_links.txt")]
#[doc = include_str!("guide/processes.md")]
pub mod processes {}

#[doc = include_str!("guide/rustdoc_links.txt")]
#[doc = include_str!("guide/other_systems.md")]
pub mod other_systems {}

#[doc = include_str!("guide/rustdoc_links.txt")]
#[doc = include_str!("guide/io_uring.md")]
pub mod io_uring {}

#[doc = include_str!("guide/rustdoc_links.txt")]
#[doc = include_str!("guide/measured.md")]
pub mod measured {}

#[doc = include_str!("guide/rustdoc_links.txt")]
#[doc = include_str!("guide/promises.md")]
pub mod promises {}
