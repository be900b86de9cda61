//! Whose process is at the other end of a connection on the loopback interface.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Where Linux lists connections: those of IPv4 sockets, and those of IPv6 sockets, which may be to IPv4 addresses.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// Whether the other end of a connection on this machine belongs to another user than ours and the superuser. Where the
/// system does not tell, it is not taken for one: a token is asked for too.
pub(crate) fn is_stranger(local: SocketAddr, peer: SocketAddr) -> bool {
    let own = rustix::process::geteuid().as_raw();
    peer_user(local, peer).is_some_and(|user| user != own && user != 0)
}

/// The id of the user that the other end of a connection on this machine belongs to, if the system tells.
#[must_use]
pub fn peer_user(local: SocketAddr, peer: SocketAddr) -> Option<u32> {
    TABLES.iter().find_map(|table| {
        let (theirs, ours) = (listed(peer, table)?, listed(local, table)?);
        user_in(&fs::read_to_string(table).ok()?, &theirs, &ours)
    })
}

/// The user of the connection from one listed address to another, whatever its state: one that is half closed can still
/// be answered.
fn user_in(table: &str, theirs: &str, ours: &str) -> Option<u32> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_it = fields.next()? == theirs && fields.next()? == ours;
        is_it.then(|| fields.nth(4)?.parse().ok())?
    })
}

/// An address as a table has it: the words of the address as the machine stores them, and the port.
fn listed(address: SocketAddr, table: &str) -> Option<String> {
    let ip = match (address.ip().to_canonical(), table == TABLES[0]) {
        (IpAddr::V4(ip), true) => ip.octets().to_vec(),
        (IpAddr::V4(ip), false) => ip.to_ipv6_mapped().octets().to_vec(),
        (IpAddr::V6(ip), false) => Ipv6Addr::octets(&ip).to_vec(),
        (IpAddr::V6(_), true) => return None,
    };
    let mut text = String::new();
    for word in ip.chunks_exact(4) {
        let word = word.first_chunk().copied()?;
        let _ = write!(text, "{:08X}", u32::from_ne_bytes(word));
    }
    let _ = write!(text, ":{:04X}", address.port());
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn our_own_end_is_ours_in_either_family_and_when_it_is_half_closed() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue; // a machine without IPv6
            };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let local = server.local_addr().unwrap();
            let own = Some(rustix::process::geteuid().as_raw());
            assert_eq!(peer_user(local, peer), own);
            assert!(!is_stranger(local, peer));
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(peer_user(local, peer), own);
        }
    }

    #[test]
    fn a_client_of_ipv6_that_has_reached_an_address_of_ipv4_is_found() {
        let table = "  sl  local_address remote_address st\n   \
            0: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:C001 01 \
            00000000:00000000 00:00000000 00000000  65534        0 12345 1\n";
        let (ours, theirs) = (
            ([127, 0, 0, 1], 49153).into(),
            ([127, 0, 0, 1], 8080).into(),
        );
        let at = |address| listed(address, TABLES[1]).unwrap();
        assert_eq!(user_in(table, &at(theirs), &at(ours)), Some(65_534));
        assert_eq!(user_in(table, &at(ours), &at(theirs)), None);
    }
}
