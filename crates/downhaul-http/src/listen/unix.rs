//! [`UnixAcceptor`]: a Unix socket that is listened on, and its path.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

use crate::listen::address::Address;
use crate::listen::transport::Transport;

pub(crate) struct UnixAcceptor {
    listener: UnixListener,
    /// Removed with the listener.
    file: Option<SocketFile>,
}

/// The file of a listener, and which one it is: by its end, another may be at its path.
struct SocketFile {
    path: PathBuf,
    id: Option<FileId>,
}

impl UnixAcceptor {
    pub(crate) async fn bind(path: &str) -> io::Result<Self> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left(path).await => {
                fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            bound => bound,
        }?;
        let path = PathBuf::from(path);
        let id = file_at(&path);
        Ok(Self { listener, file: Some(SocketFile { path, id }) })
    }

    pub(crate) fn of(listener: UnixListener) -> Self {
        Self { listener, file: None }
    }

    pub(crate) fn address(&self) -> Address {
        self.listener.local_addr().map_or(Address::Unix(None), |address| named(&address))
    }

    /// The same socket, without its path, which goes.
    pub(crate) fn into_std(self) -> io::Result<std::os::unix::net::UnixListener> {
        self.listener.as_fd().try_clone_to_owned().map(Into::into)
    }

    pub(crate) async fn accept(&self) -> io::Result<(Transport, Address)> {
        let (stream, peer) = self.listener.accept().await?;
        Ok((Transport::Unix(stream), named(&peer)))
    }
}

/// Whether nobody listens on the socket at `path`. Another file than a socket is somebody's.
async fn is_left(path: &str) -> bool {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    UnixStream::connect(path).await.is_err_and(refused) && is_socket(Path::new(path))
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;

    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// The device and the number on it.
type FileId = (u64, u64);

fn file_at(path: &Path) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;

    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

pub(crate) fn named(address: &SocketAddr) -> Address {
    Address::Unix(address.as_pathname().map(Arc::from))
}

impl Drop for UnixAcceptor {
    fn drop(&mut self) {
        let Some(SocketFile { path, id }) = &self.file else { return };
        if file_at(path) == *id {
            // Somebody else may have removed it before; there is nobody to tell.
            let _ = fs::remove_file(path);
        }
    }
}
