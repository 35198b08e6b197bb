//! A browser under remote control, by the WebDriver protocol: JSON over HTTP, to `chromedriver`.

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

/// Longer than any step takes on a machine that is busy with something else.
const LIMIT: Duration = Duration::from_secs(20);

/// The playground as a process, which ends with this value.
pub struct Playground {
    process: Child,
    pub address: String,
    /// What strace has written, if it runs under strace.
    pub log: Option<PathBuf>,
}

impl Playground {
    /// Builds and starts it.
    pub fn start(under_strace: bool) -> Playground {
        let package = concat!(env!("CARGO_MANIFEST_DIR"), "/../../..");
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--quiet", "--example", "playground"]);
        assert!(
            build
                .current_dir(package)
                .status()
                .expect("cargo")
                .success()
        );
        let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| format!("{package}/target"));
        let program = format!("{target}/debug/examples/playground");
        let log = temporary("strace");
        let mut command = if under_strace {
            let mut command = Command::new("strace");
            command.arg("-o").arg(&log).arg(program);
            command
        } else {
            Command::new(program)
        };
        let mut process = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the playground");
        let line = first_line(&mut process, "http://").expect("an address");
        let address = line.split("http://").nth(1).unwrap();
        let address = address.split('/').next().unwrap().to_owned();
        Playground {
            process,
            address,
            log: under_strace.then_some(log),
        }
    }

    /// How many it has open.
    pub fn descriptors(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid()));
        open.expect("the playground runs").count()
    }

    /// The number of the playground's own process.
    pub fn pid(&self) -> u32 {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let child = children.unwrap_or_default();
        child
            .split(' ')
            .next()
            .and_then(|child| child.parse().ok())
            .unwrap_or(id)
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        let pid = self.pid().to_string();
        let _ = Command::new("kill").arg(pid).status(); // strace ends with it
        let _ = self.process.wait();
        if let Some(log) = &self.log {
            let _ = fs::remove_file(log);
        }
    }
}

pub struct Browser {
    driver: Child,
    address: String,
    session: String,
    profile: PathBuf,
}

impl Browser {
    /// Starts a browser with an empty profile that knows only this machine.
    pub fn start() -> Browser {
        let profile = temporary("profile");
        let (driver, port) = (0..5)
            .find_map(|_| start_driver())
            .expect("chromedriver starts");
        let mut browser = Browser {
            driver,
            address: format!("127.0.0.1:{port}"),
            session: String::new(),
            profile,
        };
        let options = json!({ "args": [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage",
            format!("--user-data-dir={}", browser.profile.display()),
        ] });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = browser.call("POST", "", wanted);
        browser.session = format!("/{}", session["sessionId"].as_str().expect("a session"));
        browser
    }

    pub fn open(&self, address: &str) {
        self.call("POST", "/url", json!({ "url": address }));
    }

    /// Sets the size of the page and whether it is dark.
    pub fn look(&self, width: u32, height: u32, dark: bool) {
        let (scheme, mobile) = (if dark { "dark" } else { "light" }, width < 500);
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.tool("Emulation.setDeviceMetricsOverride", size);
        self.tool(
            "Emulation.setTouchEmulationEnabled",
            json!({ "enabled": mobile }),
        );
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.tool("Emulation.setEmulatedMedia", features);
    }

    /// A command of Chromium's own protocol.
    pub fn tool(&self, name: &str, parameters: Value) -> Value {
        self.call(
            "POST",
            "/goog/cdp/execute",
            json!({ "cmd": name, "params": parameters }),
        )
    }

    /// Runs a function body in the page. Returns what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.call(
            "POST",
            "/execute/sync",
            json!({ "script": script, "args": [] }),
        )
    }

    /// Waits until the expression is true.
    pub fn wait(&self, expression: &str) {
        let start = Instant::now();
        while self.run(&format!("return Boolean({expression})")) != json!(true) {
            assert!(
                start.elapsed() < LIMIT,
                "it does not come true: {expression}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Clicks as a user does: fails if the element is hidden, disabled or covered.
    pub fn click(&self, selector: &str) {
        let found = self.call(
            "POST",
            "/element",
            json!({ "using": "css selector", "value": selector }),
        );
        let element = found
            .as_object()
            .and_then(|it| it.values().next())
            .and_then(Value::as_str);
        let element = element.unwrap_or_else(|| panic!("no {selector}"));
        self.wait(&format!("!document.querySelector({selector:?}).disabled"));
        self.call("POST", &format!("/element/{element}/click"), json!({}));
    }

    /// Sends keys to the element that has the focus.
    pub fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [
                    json!({ "type": "keyDown", "value": key }),
                    json!({ "type": "keyUp", "value": key }),
                ]
            })
            .collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.call("POST", "/actions", json!({ "actions": [keyboard] }));
    }

    pub fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?}).innerText");
        self.run(&script).as_str().unwrap_or_default().to_owned()
    }

    /// What the page has complained about since the last call.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.call("POST", "/se/log", json!({ "type": "browser" }));
        let entries = log.as_array().cloned().unwrap_or_default();
        entries.iter().map(Value::to_string).collect()
    }

    /// Returns the page as a PNG in Base64.
    pub fn picture(&self) -> String {
        let picture = self.call("GET", "/screenshot", Value::Null);
        picture.as_str().expect("a picture").to_owned()
    }

    fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let path = format!("/session{}{path}", self.session);
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = exchange(&self.address, method, &path, &body).expect("chromedriver answers");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let value = answer["value"].clone();
        assert!(
            value.get("error").is_none(),
            "{method} {path} {body}: {value}"
        );
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let path = format!("/session{}", self.session);
        let _ = exchange(&self.address, "DELETE", &path, "");
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

/// One request and its answer. Returns the body.
pub fn exchange(address: &str, method: &str, path: &str, body: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut reader = BufReader::new(stream);
    let mut length = None;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok();
            }
            _ => {}
        }
    }
    let mut body = String::new();
    reader
        .take(length.unwrap_or(u64::MAX))
        .read_to_string(&mut body)?;
    Ok(body)
}

/// Returns a path for this use alone.
fn temporary(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("playground-{}-{count}-{name}", process::id()))
}

/// It binds a port that the kernel picks for IPv4, and then the same for IPv6. That can fail.
fn start_driver() -> Option<(Child, u16)> {
    let mut driver = Command::new("chromedriver");
    driver.arg("--port=0").stdout(Stdio::piped());
    let mut driver = driver
        .spawn()
        .expect("chromedriver: apt-get install chromium-driver");
    let line = first_line(&mut driver, "successfully on port ");
    let port = line.as_ref().and_then(|line| line.rsplit(' ').next());
    match port.and_then(|port| port.trim_end_matches('.').parse().ok()) {
        Some(port) => Some((driver, port)),
        None => {
            let _ = driver.wait();
            None
        }
    }
}

/// Reads what a process prints until a line contains this.
fn first_line(process: &mut Child, wanted: &str) -> Option<String> {
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    lines.find(|line| line.contains(wanted))
}
