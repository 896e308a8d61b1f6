//! Processes: start one whose pid is on the disk, and take all of a site down.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::site::Site;

/// Invariant 1: the pid is on the disk before there is a server, and no directory means no server.
const BECOME: &str = r#"echo $$ >"$0" && exec "$@""#;

/// Invariant 2. A pid that meanwhile belongs to somebody else is left alone: the command lines of
/// our processes name their directory. Removing is tried a few times, because a killed server's
/// last write may still be on its way.
const TAKE_DOWN: &str = r#"
rm -rf -- "$1.gone"
mv -- "$1" "$1.gone" || exit 0
for file in "$1.gone"/beam.pid "$1.gone"/epmd.pid; do
    pid=$(cat "$file") && grep -qF -- "$1" "/proc/$pid/cmdline" && kill -9 "$pid"
done
for try in 1 2 3 4 5; do rm -rf -- "$1.gone" && exit 0; done
"#;

/// Starts `program` of `site` in a process group of its own: a Ctrl-C is for the test, not for it.
pub(super) fn start(
    site: &Site,
    pid_file: &str,
    program: &str,
    args: &[&str],
) -> io::Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", BECOME]).arg(site.dir.join(pid_file)).arg(site.dir.join(program));
    let output = |name| File::options().create(true).append(true).open(site.dir.join(name));
    site.environment(command.args(args))
        .current_dir(&site.dir)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(output("log/stdout")?)
        .stderr(output("log/stderr")?)
        .spawn()
}

/// Kills what `dir` says is running and removes it. Nothing to do is fine.
pub(super) fn take_down(dir: &Path) -> io::Result<()> {
    shell(TAKE_DOWN, dir).stdin(Stdio::null()).status().map(drop)
}

/// Sends a signal to a child that has not been waited for, so that its pid is still its own.
pub(super) fn signal(child: &Child, name: &str) -> io::Result<()> {
    // The shell's own `kill`: bare machines have no other.
    let pid = child.id().to_string();
    Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name, &pid]).status().map(drop)
}

/// A shell that holds the reading end of a pipe from us, and takes the site down when it reads the
/// end: at [`Watchdog::finish`], or when this process is gone for whatever reason.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    pub(super) fn watch(dir: &Path) -> io::Result<Self> {
        let script = format!("trap '' HUP INT TERM\nread -r _\n{TAKE_DOWN}");
        let mut shell = shell(&script, dir).process_group(0).stdin(Stdio::piped()).spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Takes the site down and waits until it is gone.
    pub(super) fn finish(mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }

    /// Lets the site live on.
    pub(super) fn call_off(mut self) {
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
