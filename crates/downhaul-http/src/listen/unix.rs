//! [`UnixDoor`]: a Unix socket that is listened on, and its path.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

use crate::listen::address::Address;
use crate::listen::transport::Transport;

pub(crate) struct UnixDoor {
    listener: UnixListener,
    /// Removed with the listener.
    own_path: Option<PathBuf>,
}

impl UnixDoor {
    pub(crate) async fn bind(path: &str) -> io::Result<Self> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left(path).await => {
                fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            bound => bound,
        }?;
        Ok(Self { listener, own_path: Some(path.into()) })
    }

    pub(crate) fn of(listener: UnixListener) -> Self {
        Self { listener, own_path: None }
    }

    pub(crate) fn address(&self) -> Address {
        self.listener.local_addr().map_or(Address::Unix(None), |address| named(&address))
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

fn named(address: &SocketAddr) -> Address {
    Address::Unix(address.as_pathname().map(Arc::from))
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        if let Some(path) = &self.own_path {
            // Somebody else may have removed it before; there is nobody to tell.
            let _ = fs::remove_file(path);
        }
    }
}
