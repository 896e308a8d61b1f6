//! Processes: start one whose pid is on the disk, and take all of a site down.
//!
//! 1. A server process writes its pid into the site's directory before it becomes a server, and
//!    does not become one if the directory is gone.
//! 2. Whoever takes a site down moves its directory away first and then kills by those pids.
//! 3. A watchdog does so at the end of this process, however it ends. By 1 and 2 it misses nothing.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::error::{NodeError, NodeErrorKind};
use super::poll::poll;

/// Invariant 1: the pid is on the disk before there is a server, and no directory means no server.
const BECOME: &str = r#"echo $$ >"$0" && exec "$@""#;

/// Invariant 2. A pid that meanwhile belongs to somebody else is left alone: the command lines of
/// our processes name their directory. Removing is tried a few times, because a killed server's
/// last write may still be on its way.
const TAKE_DOWN: &str = r#"
rm -rf -- "$1.gone"
mv -- "$1" "$1.gone" || exit 0
for file in "$1.gone"/*.pid; do
    pid=$(cat "$file") && grep -qF -- "$1" "/proc/$pid/cmdline" && kill -9 "$pid"
done
for try in 1 2 3 4 5; do rm -rf -- "$1.gone" && exit 0; done
"#;

/// A quiet machine needs 3 seconds at most; one that also compiles can need 15.
const BOOT: Duration = Duration::from_secs(90);

/// A server of a site: a program at a path below the site's directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) pid_file: &'a str,
    pub(crate) program: &'a str,
}

impl Server<'_> {
    /// Starts the server, and waits until it is `ready`.
    ///
    /// It gets a process group of its own: a Ctrl-C is for the test, not for it.
    pub(crate) fn start(
        &self,
        settle: impl FnOnce(&mut Command),
        ready: impl Fn(u32) -> bool,
    ) -> Result<Child, NodeError> {
        let cannot = |e| NodeError::io(format!("cannot start {}", self.program), e);
        let mut child = self.spawn(settle).map_err(cannot)?;
        let pid = child.id();
        let ready = poll(BOOT, || match child.try_wait() {
            Ok(None) => ready(pid).then_some(true),
            _ => Some(false),
        });
        if ready == Some(true) && matches!(child.try_wait(), Ok(None)) {
            return Ok(child);
        }
        self.kill(&mut child);
        let words = last_words(self.dir);
        let text = format!("{} did not come up; its last words: {words}", self.program);
        Err(NodeError::new(NodeErrorKind::Start, text))
    }

    fn spawn(&self, settle: impl FnOnce(&mut Command)) -> io::Result<Child> {
        let mut command = Command::new("sh");
        command.args(["-c", BECOME]).arg(self.dir.join(self.pid_file));
        command.arg(self.dir.join(self.program)).current_dir(self.dir);
        settle(&mut command);
        let output = |name| File::options().create(true).append(true).open(self.dir.join(name));
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output("log/stdout")?)
            .stderr(output("log/stderr")?)
            .spawn()
    }

    /// Kills the server. The pid file goes with the process: its number may soon be somebody
    /// else's.
    pub(crate) fn kill(&self, child: &mut Child) {
        let _ = child.kill();
        let _ = fs::remove_file(self.dir.join(self.pid_file));
        let _ = child.wait();
    }
}

/// What the servers of a site said last, for error messages.
fn last_words(dir: &Path) -> String {
    let words = ["log/stderr", "log/stdout", "log/node.log"].map(|name| {
        let text = fs::read(dir.join(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().rev().take(12).collect();
        lines.into_iter().rev().fold(String::new(), |all, line| all + "\n  " + line)
    });
    words.concat()
}

/// Kills what `dir` says is running and removes it. Nothing to do is fine.
pub(crate) fn take_down(dir: &Path) -> io::Result<()> {
    shell(TAKE_DOWN, dir).stdin(Stdio::null()).status().map(drop)
}

/// Sends a signal to a child that has not been waited for, so that its pid is still its own.
pub(crate) fn signal(child: &Child, name: &str) -> io::Result<()> {
    // The shell's own `kill`: bare machines have no other.
    let pid = child.id().to_string();
    Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name, &pid]).status().map(drop)
}

/// A shell that holds the reading end of a pipe from us, and takes the site down when it reads the
/// end: at [`Watchdog::finish`], or when this process is gone for whatever reason.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    pub(crate) fn watch(dir: &Path) -> io::Result<Self> {
        let script = format!("trap '' HUP INT TERM\nread -r _\n{TAKE_DOWN}");
        let mut shell = shell(&script, dir).process_group(0).stdin(Stdio::piped()).spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Takes the site down and waits until it is gone.
    pub(crate) fn finish(mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }

    /// Lets the site live on.
    pub(crate) fn call_off(mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

fn shell(script: &str, dir: &Path) -> Command {
    let mut command = Command::new("sh");
    // No output of ours is kept open: whoever reads it would wait for this shell.
    command.args(["-c", script, "sh"]).arg(dir).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
