//! Where the system keeps RabbitMQ, and a smaller home that boots in half the time.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::{NodeError, NodeErrorKind};

const SERVERS: &str = "/usr/lib/rabbitmq/lib";

/// Whether this machine has a RabbitMQ that [`Node`](super::Node) can start.
pub fn is_installed() -> bool {
    find().is_ok()
}

/// The home of the newest RabbitMQ of this machine.
pub(super) fn find() -> Result<PathBuf, NodeError> {
    let servers = fs::read_dir(SERVERS).into_iter().flatten().flatten().map(|entry| entry.path());
    let homes = servers.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("rabbitmq_server-") && path.join("sbin/rabbitmq-server").exists()
    });
    homes.max_by_key(|path| version(path)).ok_or_else(|| {
        let text = "RabbitMQ is not installed: run `cargo xtask broker up rabbitmq`, \
                    or `apt-get install rabbitmq-server`";
        NodeError::new(NodeErrorKind::NotInstalled, text)
    })
}

/// `rabbitmq_server-3.10.8` as `[3, 10, 8]`.
fn version(home: &Path) -> Vec<u32> {
    let name = home.to_string_lossy();
    let digits = name.rsplit('-').next().unwrap_or_default();
    digits.split('.').filter_map(|part| part.parse().ok()).collect()
}

/// Erlang's port mapper, which has no fixed place.
pub(super) fn epmd() -> Result<PathBuf, NodeError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = [PathBuf::from("/usr/bin"), PathBuf::from("/usr/lib/erlang/bin")];
    let mut places = std::env::split_paths(&path).chain(known).map(|place| place.join("epmd"));
    places.find(|place| place.is_file()).ok_or_else(|| {
        NodeError::new(NodeErrorKind::NotInstalled, "no `epmd`: run `apt-get install erlang-base`")
    })
}

/// Makes `home` a home that servers are started from: trimmed if that is wanted and can be done.
pub(super) fn prepare(original: &Path, home: &Path, trimmed: bool) -> io::Result<()> {
    if trimmed && trim(original, home).is_ok() {
        return Ok(());
    }
    let _ = fs::remove_dir_all(home);
    symlink(original, home)
}

/// Makes `home` a copy of `original` that has the broker itself and none of its plugins.
///
/// The boot is CPU: each module is looked up in every plugin's folder, and there are 65 of them.
/// The scripts are copied because they find their home from their own path.
fn trim(original: &Path, home: &Path) -> io::Result<()> {
    fs::create_dir_all(home.join("sbin"))?;
    fs::create_dir_all(home.join("plugins"))?;
    for script in fs::read_dir(original.join("sbin"))? {
        let script = script?;
        fs::copy(script.path(), home.join("sbin").join(script.file_name()))?;
    }
    symlink(original.join("escript"), home.join("escript"))?;
    for application in closure(&original.join("plugins"))? {
        let name = application.file_name().unwrap_or_default();
        symlink(&application, home.join("plugins").join(name))?;
    }
    Ok(())
}

/// The folders of `rabbit` and of all that it needs, directly or not.
fn closure(plugins: &Path) -> io::Result<Vec<PathBuf>> {
    let all: Vec<_> = fs::read_dir(plugins)?.flatten().map(|entry| entry.path()).collect();
    let mut found: Vec<PathBuf> = Vec::new();
    let mut wanted = vec!["rabbit".to_owned()];
    while let Some(name) = wanted.pop() {
        // Applications of Erlang itself (kernel, stdlib, …) are not among the plugins.
        let Some(folder) = all.iter().find(|path| application(path) == Some(&name)) else {
            continue;
        };
        if !found.contains(folder) {
            let manifest = fs::read_to_string(folder.join(format!("ebin/{name}.app")))?;
            wanted.extend(needs(&manifest).map(str::to_owned));
            found.push(folder.clone());
        }
    }
    if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
}

/// `…/rabbit_common-3.10.8` is `rabbit_common`.
fn application(folder: &Path) -> Option<&str> {
    let name = folder.file_name()?.to_str()?;
    Some(name.split('-').next().unwrap_or(name))
}

/// The names in `{applications, [a,b,c]}` of an Erlang application's manifest.
fn needs(manifest: &str) -> impl Iterator<Item = &str> {
    let list = manifest.split_once("{applications,").map_or("", |(_, rest)| rest);
    let list = list.split_once(']').map_or("", |(inside, _)| inside);
    let quotes = |c: char| c.is_whitespace() || matches!(c, '[' | '\'');
    list.split(',').map(move |name| name.trim_matches(quotes)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_needs_of_an_erlang_application_are_read_from_its_manifest() {
        let manifest = "{application, 'ra', [\n {applications, [kernel,\n 'aten', seshat]},\n x]}.";
        assert_eq!(needs(manifest).collect::<Vec<_>>(), ["kernel", "aten", "seshat"]);
    }

    #[test]
    fn versions_compare_as_numbers() {
        let path = |version| PathBuf::from(format!("/x/rabbitmq_server-{version}"));
        assert!(version(&path("3.10.8")) > version(&path("3.9.27")));
    }
}
