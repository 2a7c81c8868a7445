//! The program on a data directory: how it is started, stopped and killed.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::http::{Answer, Request};

/// The superuser's key of every story.
pub(crate) const ROOT: &str = "the-superuser-key-of-every-single-story";

/// How the program is started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Its data directory; kept by the story.
    data_dir: PathBuf,
    arguments: Vec<String>,
    settings: Vec<(String, String)>,
    /// The largest file it may write, as `ulimit -f` takes it.
    file_size_max: &'static str,
}

impl Program {
    /// The server on a data directory.
    pub(crate) fn serve(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            arguments: vec!["serve".into()],
            settings: Vec::new(),
            file_size_max: "unlimited",
        }
    }

    /// The demo on a data directory.
    pub(crate) fn demo(data_dir: &Path, arguments: &[&str]) -> Self {
        let arguments = ["demo"].iter().chain(arguments).map(ToString::to_string).collect();
        Self { data_dir: data_dir.to_owned(), arguments, settings: Vec::new(), file_size_max: "unlimited" }
    }

    /// The same with a variable in its environment.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, allowed files of so many blocks of 512 bytes.
    pub(crate) fn file_size_max(mut self, blocks: &'static str) -> Self {
        self.file_size_max = blocks;
        self
    }

    /// The command, with nothing in its environment but what the story says, and a umask that
    /// forbids nothing.
    fn command(&self) -> Command {
        let mut command = Command::new("/bin/sh");
        let shell = format!("umask 000; ulimit -f {}; exec \"$0\" \"$@\"", self.file_size_max);
        command.args(["-c", &shell, env!("CARGO_BIN_EXE_insights-server")]);
        command.args(&self.arguments).arg("--data-dir").arg(&self.data_dir).args(["--listen", "127.0.0.1:0"]);
        command.env_clear().env("INSIGHTS_SUPERUSER_KEY", ROOT);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it; it may not be ready yet.
    pub(crate) fn spawn(&self) -> Running {
        let mut child = self.command().spawn().expect("the program starts");
        let said = lines(BufReader::new(child.stdout.take().expect("a pipe")));
        let log = lines(BufReader::new(child.stderr.take().expect("a pipe")));
        Running { child, said, log, address: String::new(), data_dir: self.data_dir.clone() }
    }

    /// Starts it and waits until it takes requests.
    #[track_caller]
    pub(crate) fn start(&self) -> Running {
        let mut running = self.spawn();
        assert!(running.wait_until_listening(), "it did not start: {}", running.log_so_far());
        running
    }
}

/// Reads lines as they come, so that the program never waits for the story.
fn lines(from: impl BufRead + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in from.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A process of the program; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    said: Receiver<String>,
    log: Receiver<String>,
    address: String,
    data_dir: PathBuf,
}

impl Running {
    /// Waits for the line that says where it listens; false when it ended before.
    pub(crate) fn wait_until_listening(&mut self) -> bool {
        while let Ok(line) = self.said.recv() {
            if let Some(address) = line.strip_prefix("listening on http://") {
                address.clone_into(&mut self.address);
                return true;
            }
        }
        false
    }

    /// The next line of its log that contains `text`; false when it ended before.
    pub(crate) fn wait_for_log(&self, text: &str) -> bool {
        self.log.iter().any(|line| line.contains(text))
    }

    /// What it logged and nobody has read.
    pub(crate) fn log_so_far(&self) -> String {
        self.log.try_iter().collect::<Vec<_>>().join("\n")
    }

    /// What it logs until it ends.
    pub(crate) fn log_to_its_end(&self) -> String {
        self.log.iter().collect::<Vec<_>>().join("\n")
    }

    /// Where it listens: `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Its data directory.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Sends SIGTERM and does not wait.
    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it can be waited for")
    }

    /// Stops it in order: SIGTERM, then its end with 0.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.terminate();
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.log_so_far());
    }

    /// Kills it with SIGKILL: nothing of it runs any more.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.wait();
    }

    /// Sends a request and expects an answer.
    #[track_caller]
    pub(crate) fn send(&self, request: &Request) -> Answer {
        request.send(&self.address).expect("an answer")
    }

    /// The JSON of a GET that is answered with 200.
    #[track_caller]
    pub(crate) fn get(&self, path: &str, key: &str) -> Value {
        self.send(&Request::new("GET", path, key)).expect(200)
    }

    /// The JSON of a POST that is answered with `status`.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, key: &str, body: &Value, status: u16) -> Value {
        self.send(&Request::new("POST", path, key).json(body)).expect(status)
    }

    /// Makes a key of an organization.
    #[track_caller]
    pub(crate) fn key(&self, organization: &str) -> String {
        let body = json!({"name": "story", "organization_id": organization, "scopes": ["admin"]});
        let answer = self.post("/api/insights/keys/", ROOT, &body, 201);
        answer["key"].as_str().expect("a key").to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
