//! A server in a child process, which is this program started again as `PROGRAM serve NAME`, and the
//! load on it, which is `wrk`.

use crate::report::{compare, table, turns};
use crate::scenario::want_descriptors;
use comfy_table::Table;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::fs;
use std::io::{self, BufRead, BufReader, Error};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Dropping it ends the process.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(program: impl AsRef<Path>, name: &str) -> io::Result<Server> {
        let child = Command::new(program.as_ref())
            .args(["serve", name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let address = SocketAddr::from(([0; 4], 0));
        let mut server = Server { child, address }; // From here on, a failure ends the process.
        let mut line = String::new();
        BufReader::new(server.child.stderr.as_mut().expect("piped")).read_line(&mut line)?;
        server.address = line.trim().parse().map_err(|_| Error::other(line))?;
        Ok(server)
    }

    /// Returns the seconds of CPU time that it has used, user and system.
    pub fn cpu_time(&self) -> io::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may contain anything; utime and stime are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / clock_ticks_per_second() as f64)
    }

    /// Returns its peak resident memory in kB.
    pub fn peak_memory(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mut lines = status.lines();
        let peak = lines.find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
        peak.and_then(|peak| peak.trim().parse().ok())
            .ok_or_else(|| Error::other("no VmHWM"))
    }

    /// Runs wrk against `path` for some seconds, with one request at a time on each connection.
    /// `connection` is the value of that header: `close` makes a new connection for each request.
    /// Returns the number of answers, and the answers per second.
    pub fn load(
        &self,
        path: &str,
        connection: &str,
        connections: usize,
        seconds: usize,
    ) -> io::Result<(f64, f64)> {
        want_descriptors(connections + 100)?; // wrk and the server inherit the limit.
        let output = Command::new("wrk")
            .args(["--threads", "1", "--timeout", "10s"])
            .args(["--connections", &connections.to_string()])
            .args(["--duration", &format!("{seconds}s")])
            .args(["--header", &format!("Connection: {connection}")])
            .arg(format!("http://{}{path}", self.address))
            .output()
            .map_err(|error| Error::new(error.kind(), format!("wrk: {error}")))?;
        let log = String::from_utf8_lossy(&output.stdout);
        let failed = log.contains("Socket errors") || log.contains("Non-2xx or 3xx responses");
        let mut lines = log.lines();
        let answers =
            lines.find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok());
        let rate = lines.find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
        match (answers, rate) {
            (Some(answers), Some(rate)) if !failed => Ok((answers, rate)),
            _ => Err(Error::other(format!("wrk failed: {log}"))),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the child: tells the parent the address, and makes sure to end with it.
pub fn announce(address: SocketAddr) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    eprintln!("{address}");
    Ok(())
}

/// Loads the servers in turn, for some rounds of two seconds each, and compares their rates and
/// their CPU time.
pub fn compare_under_load(
    servers: &[(&str, Server)],
    path: &str,
    connection: &str,
    connections: usize,
    rounds: usize,
) -> io::Result<Table> {
    let mut rates = vec![Vec::new(); servers.len()];
    let mut costs = vec![Vec::new(); servers.len()];
    for round in 0..rounds {
        eprintln!("{connections} connections, round {} of {rounds}", round + 1);
        for at in turns(round, servers.len()) {
            let (name, server) = &servers[at];
            let before = server.cpu_time()?;
            let (answers, rate) = server
                .load(path, connection, connections, 2)
                .map_err(|error| Error::new(error.kind(), format!("{name}: {error}")))?;
            costs[at].push((server.cpu_time()? - before) * 1e6 / answers);
            rates[at].push(rate);
        }
    }
    let corner = format!("{connections} connections; ratio to {}", servers[0].0);
    let mut table = table(&corner, servers.iter().map(|(name, _)| *name));
    table.add_row([vec!["requests per second".into()], compare(&rates, 0)].concat());
    table.add_row(
        [
            vec!["µs of CPU time per request".into()],
            compare(&costs, 1),
        ]
        .concat(),
    );
    Ok(table)
}
