//! Whose process is at the other end of a connection on the loopback interface.
//!
//! **Invariant:** a socket that no process holds any more belongs to nobody. Older versions of Linux list it as the
//! superuser's, so a client that connects, sends and closes before its connection is accepted would pass for root.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Where Linux lists connections: those of IPv4 sockets, and those of IPv6 sockets, which may be to IPv4 addresses.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// The process at the other end of a connection on this machine
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holding {
    /// Our own user or the superuser; anyone, on a system that does not list connections
    Trusted,
    /// Another user, by id
    Stranger(u32),
    /// No process any more: it has ended, or has closed or reset the connection
    Nobody,
}

/// Finds out which process is at the other end of a connection on this machine.
pub(crate) fn holding(local: SocketAddr, peer: SocketAddr) -> Holding {
    let own = rustix::process::geteuid().as_raw();
    match peer_user(local, peer) {
        Some(user) if user != own && user != 0 => Holding::Stranger(user),
        None if lists_connections() => Holding::Nobody,
        Some(_) | None => Holding::Trusted,
    }
}

/// Whether the system lists connections. Our own end of the connection in question does not show it: a peer that resets
/// the connection removes both ends from the list, and what it has sent can still be read.
fn lists_connections() -> bool {
    static LISTS: OnceLock<bool> = OnceLock::new();
    let listed = || -> io::Result<bool> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        Ok(holder(client.local_addr()?, client.peer_addr()?).is_some())
    };
    match LISTS.get() {
        Some(lists) => *lists,
        // If no connection can be made to look for, it counts as a system that does.
        None => listed().map_or(true, |lists| *LISTS.get_or_init(|| lists)),
    }
}

/// The id of the user to whom the other end of a connection on this machine belongs, if the system reports it and a process
/// still holds that end.
#[must_use]
pub fn peer_user(local: SocketAddr, peer: SocketAddr) -> Option<u32> {
    let holder = holder(peer, local).filter(|holder| holder.inode != 0);
    holder.map(|holder| holder.user)
}

/// What the system says of the socket with one address whose peer has the other.
fn holder(theirs: SocketAddr, ours: SocketAddr) -> Option<Holder> {
    match ask_kernel(theirs, ours) {
        Ok(holder) => holder,
        // A row that moves while the table is read may be missed.
        Err(NoAnswer) => find_in_tables(theirs, ours).or_else(|| find_in_tables(theirs, ours)),
    }
}

/// What the system says of a socket
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holder {
    user: u32,
    /// 0 if no process has the socket.
    inode: u64,
}

/// The kernel does not answer questions about single sockets.
#[derive(Debug)]
struct NoAnswer;

/// Asks for one socket by its own address and that of its peer (sock_diag(7)). The tables list all connections and are
/// read whole, which takes milliseconds: too long for each of many connections.
fn ask_kernel(theirs: SocketAddr, ours: SocketAddr) -> Result<Option<Holder>, NoAnswer> {
    /// Whether the kernel has answered once. Before that, "no such socket" may mean that it lacks this service.
    static ANSWERS: AtomicBool = AtomicBool::new(false);
    let question = question(theirs, ours).ok_or(NoAnswer)?;
    let (kind, flags) = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    let mut answer = [0; 512];
    let asked = rustix::net::socket_with(
        AddressFamily::NETLINK,
        kind,
        flags,
        Some(netlink::SOCK_DIAG),
    )
    .and_then(|socket| {
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&socket, &question, SendFlags::empty(), &kernel)?;
        // The answer is there when the question is sent.
        rustix::net::recv(&socket, &mut answer[..], RecvFlags::DONTWAIT)
    });
    let (_, len) = asked.map_err(|_| NoAnswer)?;
    match read_answer(&question, &answer[..len]) {
        Answer::Found(holder) => {
            ANSWERS.store(true, Ordering::Relaxed);
            Ok(Some(holder))
        }
        Answer::NotFound if ANSWERS.load(Ordering::Relaxed) => Ok(None),
        Answer::NotFound | Answer::Other => Err(NoAnswer),
    }
}

/// Bytes of a netlink message's header, and of what identifies a socket.
const HEADER_BYTES: usize = 16;
const ID_BYTES: usize = 48;
/// Type of a question about sockets, and of its answer.
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
/// States of a socket: it has a peer and may send, has sent its last byte, or has got its peer's.
const STATES: [u8; 4] = [1, 4, 5, 8];

/// An `inet_diag_req_v2` for the socket with one address whose peer has the other.
fn question(theirs: SocketAddr, ours: SocketAddr) -> Option<Vec<u8>> {
    let words = |ip| -> (u8, [u8; 16]) {
        match ip {
            IpAddr::V4(ip) => {
                let mut words = [0; 16];
                words[..4].copy_from_slice(&ip.octets());
                (2, words)
            }
            IpAddr::V6(ip) => (10, ip.octets()),
        }
    };
    let (family, theirs_ip) = words(theirs.ip().to_canonical());
    let (other_family, ours_ip) = words(ours.ip().to_canonical());
    if family != other_family {
        return None;
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + 8 + ID_BYTES);
    let length = u32::try_from(bytes.capacity()).ok()?;
    bytes.extend(length.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(1u16.to_ne_bytes()); // a request
    bytes.extend([0; 8]); // its number, and the sender
    bytes.extend([family, 6, 0, 0]); // TCP
    bytes.extend(u32::MAX.to_ne_bytes()); // any state
    bytes.extend(theirs.port().to_be_bytes());
    bytes.extend(ours.port().to_be_bytes());
    bytes.extend(theirs_ip);
    bytes.extend(ours_ip);
    bytes.extend([0; 4]); // any interface
    bytes.extend([0xff; 8]); // any cookie
    Some(bytes)
}

/// The kernel's answer
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Found(Holder),
    NotFound,
    Other,
}

/// Reads an `inet_diag_msg`, or the error in its place.
fn read_answer(question: &[u8], answer: &[u8]) -> Answer {
    const ADDRESSES: std::ops::Range<usize> = 0..36;
    let u32_at = |at: usize| {
        let bytes = answer.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let read = || {
        let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
        if kind == ERROR {
            let is_absent = u32_at(HEADER_BYTES)?.cast_signed() == -Errno::NOENT.raw_os_error();
            return is_absent.then_some(Answer::NotFound);
        }
        // Family, state, timer, retransmissions; then the addresses.
        let state = *answer.get(HEADER_BYTES + 1)?;
        let asked = question.get(HEADER_BYTES + 8..)?.get(ADDRESSES)?;
        let found = answer.get(HEADER_BYTES + 4..)?.get(ADDRESSES)?;
        let after_id = HEADER_BYTES + 4 + ID_BYTES;
        // After its expiry time and the lengths of its queues.
        let holder = Holder {
            user: u32_at(after_id + 12)?,
            inode: u32_at(after_id + 16)?.into(),
        };
        if kind != BY_FAMILY || asked != found {
            return None;
        }
        // A listener with the same address is not the peer.
        Some(match STATES.contains(&state) {
            true => Answer::Found(holder),
            false => Answer::NotFound,
        })
    };
    read().unwrap_or(Answer::Other)
}

fn find_in_tables(theirs: SocketAddr, ours: SocketAddr) -> Option<Holder> {
    TABLES.iter().find_map(|table| {
        let (theirs, ours) = (listed(theirs, table)?, listed(ours, table)?);
        holder_in(&fs::read_to_string(table).ok()?, &theirs, &ours)
    })
}

/// The holder of the connection from one listed address to another, whatever its state: one that is half closed can still
/// be answered.
fn holder_in(table: &str, theirs: &str, ours: &str) -> Option<Holder> {
    let (_, rest) = table.split_once(&format!(" {theirs} {ours} "))?;
    // State, queues, timer, retransmissions; user, timeout, inode.
    let mut fields = rest.lines().next()?.split_ascii_whitespace().skip(4);
    let user = fields.next()?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some(Holder { user, inode })
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
    use std::io::{Read as _, Write as _};
    use std::net::Shutdown;

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
            assert_eq!(holding(local, peer), Holding::Trusted);
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(peer_user(local, peer), own);
            let both = [
                ask_kernel(peer, local).unwrap(),
                find_in_tables(peer, local),
            ];
            let [asked, listed] = both.map(Option::unwrap);
            assert_eq!(asked, listed);
        }
    }

    /// The accident: another user connects, sends and closes; the connection waits to be accepted.
    #[test]
    fn a_connection_that_its_process_has_closed_is_nobodys() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue; // a machine without IPv6
            };
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.write_all(b"a request").unwrap();
            drop(client);
            let (mut server, peer) = listener.accept().unwrap();
            let local = server.local_addr().unwrap();
            assert_eq!(peer_user(local, peer), None);
            let listed = find_in_tables(peer, local);
            assert!(listed.is_none_or(|holder| holder.inode == 0), "{listed:?}");
            assert_eq!(holding(local, peer), Holding::Nobody);
            // What it has sent is there all the same.
            let mut sent = String::new();
            server.read_to_string(&mut sent).unwrap();
            assert_eq!(sent, "a request");
        }
    }

    /// The accident: another user connects, sends and resets the connection, which removes both ends from the tables.
    #[test]
    fn a_connection_that_its_process_has_reset_is_nobodys() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"a request").unwrap();
        let at_once = Some(std::time::Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&client, at_once).unwrap();
        drop(client);
        let (mut server, peer) = listener.accept().unwrap();
        let local = server.local_addr().unwrap();
        assert_eq!(find_in_tables(local, peer), None);
        assert_eq!(holding(local, peer), Holding::Nobody);
        // What it has sent is there all the same.
        let mut sent = [0; 9];
        server.read_exact(&mut sent).unwrap();
        assert_eq!(&sent, b"a request");
    }

    #[test]
    fn an_answer_is_about_the_socket_that_was_asked_for() {
        let (theirs, ours) = (([127, 0, 0, 1], 4001).into(), ([127, 0, 0, 1], 9092).into());
        let question = question(theirs, ours).unwrap();
        let mut answer = question[..HEADER_BYTES].to_vec();
        answer.extend([2, 1, 0, 0]);
        answer.extend(&question[HEADER_BYTES + 8..]);
        answer.extend([0; 12]);
        answer.extend([1_000u32, 77].map(u32::to_ne_bytes).concat());
        let holder = Holder {
            user: 1_000,
            inode: 77,
        };
        assert_eq!(read_answer(&question, &answer), Answer::Found(holder));
        for end in 0..answer.len() {
            assert_eq!(read_answer(&question, &answer[..end]), Answer::Other);
        }
        let mut other_port = answer.clone();
        other_port[HEADER_BYTES + 7] ^= 1;
        assert_eq!(read_answer(&question, &other_port), Answer::Other);
        answer[HEADER_BYTES + 1] = 10;
        assert_eq!(
            read_answer(&question, &answer),
            Answer::NotFound,
            "a listener"
        );
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
        let holder = Holder {
            user: 65_534,
            inode: 12_345,
        };
        assert_eq!(holder_in(table, &at(theirs), &at(ours)), Some(holder));
        assert_eq!(holder_in(table, &at(ours), &at(theirs)), None);
    }
}
