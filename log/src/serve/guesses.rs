//! Wrong passwords: each is written down with its address, and an address that has sent several has to wait its turn.
//!
//! A client at that address that knows the password waits too, and is let in at its turn: nobody is locked out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::visitor::shown;

/// So many wrong passwords of an address make it wait.
const FREE: u32 = 10;
/// The time between two passwords of an address that has to wait.
const TURN: Duration = Duration::from_millis(100);
/// The longest wait; a client whose wait would be longer is disconnected.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// An address is forgotten when it has sent none for so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// The most addresses that are remembered; beyond, those that have waited longest are forgotten.
const ADDRESSES_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Guesses {
    by_address: Mutex<HashMap<IpAddr, Address>>,
}

#[derive(Debug)]
struct Address {
    wrong: u32,
    next_turn: Instant,
    last: Instant,
}

impl Guesses {
    /// When a password of this address is looked at; `None` if that would be too late.
    pub(super) fn turn(&self, address: IpAddr) -> Option<Instant> {
        let now = Instant::now();
        let mut by_address = self.by_address.lock();
        let Some(known) = by_address.get_mut(&origin(address)) else {
            return Some(now);
        };
        if known.wrong < FREE {
            return Some(now);
        }
        let turn = known.next_turn.max(now);
        if turn - now > WAIT_MAX {
            return None;
        }
        known.next_turn = turn + TURN;
        Some(turn)
    }

    /// Notes a wrong password.
    pub(super) fn note(&self, peer: SocketAddr, user: &str) {
        let user = shown(user);
        tracing::warn!(%peer, %user, "authentication failed");
        let now = Instant::now();
        let mut by_address = self.by_address.lock();
        if by_address.len() >= ADDRESSES_MAX {
            by_address.retain(|_, address| now - address.last < FORGOTTEN_AFTER);
            let oldest = by_address.iter().min_by_key(|(_, address)| address.last);
            if by_address.len() >= ADDRESSES_MAX
                && let Some(oldest) = oldest.map(|(address, _)| *address)
            {
                by_address.remove(&oldest);
            }
        }
        let fresh = || Address {
            wrong: 0,
            next_turn: now,
            last: now,
        };
        let known = by_address.entry(origin(peer.ip())).or_insert_with(fresh);
        if now - known.last >= FORGOTTEN_AFTER {
            *known = fresh();
        }
        known.wrong = known.wrong.saturating_add(1);
        known.last = now;
    }
}

/// The origin whose guesses are counted together: an IPv4 address, or an IPv6 network of 64 bits, of which one host can use
/// every address.
fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_waits_its_turn_and_others_do_not() {
        let guesses = Guesses::default();
        let (one, other): (SocketAddr, SocketAddr) =
            ("10.0.0.1:1".parse().unwrap(), "10.0.0.2:1".parse().unwrap());
        let begun = Instant::now();
        for _ in 0..FREE {
            assert!(guesses.turn(one.ip()).unwrap() <= Instant::now());
            guesses.note(one, "bekk");
        }
        let turns: Vec<_> = (0..200).map_while(|_| guesses.turn(one.ip())).collect();
        assert!(turns.len() >= 100 && turns.len() <= 102, "{}", turns.len());
        assert!(turns[10] - begun >= TURN * 9);
        assert!(guesses.turn(other.ip()).unwrap() <= Instant::now());
    }

    #[test]
    fn a_network_of_ipv6_and_a_mapped_address_are_one_origin() {
        let of = |text: &str| origin(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
