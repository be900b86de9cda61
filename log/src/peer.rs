//! Whose process is at the other end of a connection on the loopback interface.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};

/// How Linux numbers the state of a connection that is open at both ends.
const ESTABLISHED: &str = "01";

/// Whether the other end of a connection on this machine belongs to another user than ours and the superuser. Where the
/// system does not tell, it is not taken for one: a token is asked for too.
pub(crate) fn is_stranger(local: SocketAddr, peer: SocketAddr) -> bool {
    let own = rustix::process::geteuid().as_raw();
    uid(local, peer).is_some_and(|uid| uid != own && uid != 0)
}

/// The user that `peer`'s end of a connection belongs to, as Linux lists it in `/proc/net/tcp`.
fn uid(local: SocketAddr, peer: SocketAddr) -> Option<u32> {
    let (theirs, ours) = (listed(peer)?, listed(local)?);
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_it = fields.next()? == theirs && fields.next()? == ours;
        (is_it && fields.next()? == ESTABLISHED).then(|| fields.nth(3)?.parse().ok())?
    })
}

/// An address as the table has it: the bytes of the address as the machine stores them, and the port.
fn listed(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip().to_canonical() else {
        return None;
    };
    let mut text = String::new();
    let _ = write!(
        text,
        "{:08X}:{:04X}",
        u32::from_ne_bytes(ip.octets()),
        address.port()
    );
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn our_own_end_is_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        let local = server.local_addr().unwrap();
        assert_eq!(uid(local, peer), Some(rustix::process::geteuid().as_raw()));
        assert!(!is_stranger(local, peer));
        drop(client);
    }
}
