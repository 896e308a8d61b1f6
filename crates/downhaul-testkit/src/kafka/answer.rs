//! Whether a broker answers, and whether it is the right one.

use std::fs;
use std::io::{Read, Write};

use crate::ports::connect;
use crate::unique::random;

/// The number of the request for the versions of all requests. Every broker answers it, before a
/// login too.
const API_VERSIONS: u16 = 18;

/// Whether the broker at `port` answers a request.
pub(super) fn answers(port: u16) -> bool {
    let id = (random() as u32).to_be_bytes();
    let [high, low] = API_VERSIONS.to_be_bytes();
    // Its length, what is asked in version 0, a number for the answer, no name of a client.
    let mut request = vec![0, 0, 0, 10, high, low, 0, 0];
    request.extend(id);
    request.extend([0xff, 0xff]);
    let Some(mut stream) = connect(port) else { return false };
    let mut answer = [0; 8];
    let heard = stream.write_all(&request).and_then(|()| stream.read_exact(&mut answer));
    heard.is_ok() && answer[4..] == id
}

/// Whether process `pid` listens at `port`, and not another that was faster there. Where the system
/// does not tell, it is believed.
pub(super) fn listens(pid: u32, port: u16) -> bool {
    let Ok(table) = fs::read_to_string("/proc/net/tcp") else { return true };
    let Some(socket) = table.lines().find_map(|line| listening(line, port)) else { return false };
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let wanted = format!("socket:[{socket}]");
    files.flat_map(|file| fs::read_link(file.path())).any(|link| link.as_os_str() == &*wanted)
}

/// The inode of the socket in a line of `/proc/net/tcp`, if it listens at `port` of 127.0.0.1.
fn listening(line: &str, port: u16) -> Option<&str> {
    let words: Vec<_> = line.split_whitespace().collect();
    let address = format!("{:08X}:{port:04X}", u32::from_ne_bytes([127, 0, 0, 1]));
    (*words.get(1)? == address && *words.get(3)? == "0A").then_some(*words.get(9)?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::process::parent_id;

    use super::*;

    #[test]
    fn a_port_is_its_own_process_s_and_nobody_else_s() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listens(std::process::id(), port));
        assert!(!listens(parent_id(), port));
        drop(listener);
        assert!(!listens(std::process::id(), port));
    }

    #[test]
    fn whoever_echoes_is_no_broker() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 14];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&request).unwrap();
        });
        assert!(!answers(port));
        echo.join().unwrap();
    }
}
