//! The places for connections. Where all are taken, a newcomer gets that of a client that asks for nothing.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// A client that has not asked for anything yet keeps its place for so long at least,
const SILENT_MIN: Duration = Duration::from_secs(1);
/// and one that has, for so long after its last request was answered.
const IDLE_MIN: Duration = Duration::from_secs(60);
/// Interval between messages about places that are taken
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Length at which the name of a client is cut off, in characters
const NAME_CHARS_MAX: usize = 100;

/// A program that is connected to the server, with all its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedClient {
    /// Its client id; empty before its first request.
    pub name: String,
    /// Its host.
    pub address: IpAddr,
    /// Whether it is another process of Bekk on this log's directory.
    pub is_guest: bool,
    /// Number of its connections
    pub connections: u64,
    /// Time since the first of them began
    pub connected: Duration,
}

#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    is_for_guests: bool,
    inner: Mutex<Inner>,
    /// Connections that were closed because all were taken: new ones, or idle ones for new ones
    closed: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    taken: HashMap<u64, Taken>,
    reported: Option<Instant>,
}

#[derive(Debug)]
struct Taken {
    peer: SocketAddr,
    since: Instant,
    name: String,
    state: State,
    leave: Arc<Notify>,
}

/// What the client of a place is at.
#[derive(Debug, Clone, Copy)]
enum State {
    /// It has asked for nothing since it came.
    Silent(Instant),
    Busy,
    /// It has been answered then, and has asked for nothing since.
    Idle(Instant),
    /// Its place is given to another.
    Leaving,
}

/// A place for a connection; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    leave: Arc<Notify>,
}

impl Places {
    pub(crate) fn new(max: usize, is_for_guests: bool, closed: Arc<AtomicU64>) -> Self {
        Self {
            max,
            is_for_guests,
            inner: Mutex::default(),
            closed,
        }
    }

    /// Takes a place; `None` if all are taken by clients that are served, or may be about to ask for something.
    pub(crate) fn take(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        if inner.taken.len() >= self.max {
            let left = inner.dismiss_idlest(now);
            self.closed.fetch_add(1, Ordering::Relaxed);
            let report = inner
                .reported
                .is_none_or(|at| now.duration_since(at) >= REPORT_INTERVAL);
            if report {
                inner.reported = Some(now);
                let max = self.max;
                match left {
                    Some(left) => tracing::warn!(
                        max, new = %peer, %left,
                        "all connections are taken; those of clients that ask for nothing are closed for new ones"
                    ),
                    None => tracing::warn!(
                        max, %peer,
                        "all connections are taken by clients that are served; new ones are closed"
                    ),
                }
            }
            left?;
        }
        let number = inner.next;
        inner.next += 1;
        let leave = Arc::new(Notify::new());
        let taken = Taken {
            peer,
            since: now,
            name: String::new(),
            state: State::Silent(now),
            leave: Arc::clone(&leave),
        };
        inner.taken.insert(number, taken);
        Some(Place {
            places: Arc::clone(self),
            number,
            leave,
        })
    }

    /// Adds the connected programs to `clients`.
    pub(crate) fn list(&self, clients: &mut Vec<ServedClient>) {
        for taken in self.inner.lock().taken.values() {
            let connected = taken.since.elapsed();
            let known = clients.iter_mut().find(|client| {
                client.name == taken.name
                    && client.address == taken.peer.ip()
                    && client.is_guest == self.is_for_guests
            });
            match known {
                Some(client) => {
                    client.connections += 1;
                    client.connected = client.connected.max(connected);
                }
                None => clients.push(ServedClient {
                    name: taken.name.clone(),
                    address: taken.peer.ip(),
                    is_guest: self.is_for_guests,
                    connections: 1,
                    connected,
                }),
            }
        }
    }
}

impl Inner {
    /// Takes the place of the client that has asked for nothing for longest, if it may be taken.
    fn dismiss_idlest(&mut self, now: Instant) -> Option<SocketAddr> {
        let may_go = |taken: &Taken| match taken.state {
            State::Silent(since) if now.duration_since(since) >= SILENT_MIN => Some((false, since)),
            State::Idle(since) if now.duration_since(since) >= IDLE_MIN => Some((true, since)),
            _ => None,
        };
        let idle = self.taken.iter();
        let idlest = idle
            .filter_map(|(number, taken)| Some((may_go(taken)?, *number)))
            .min()?;
        let mut taken = self.taken.remove(&idlest.1)?;
        taken.state = State::Leaving;
        taken.leave.notify_one();
        Some(taken.peer)
    }
}

impl Place {
    /// Notes that a request has come.
    pub(crate) fn is_busy(&self) {
        self.set(State::Busy);
    }

    /// Notes that all that was asked for is answered.
    pub(crate) fn is_idle(&self) {
        self.set(State::Idle(Instant::now()));
    }

    /// Notes the name that the client gives itself.
    pub(crate) fn is_of(&self, name: &str) {
        self.change(|taken| taken.name = name.chars().take(NAME_CHARS_MAX).collect());
    }

    /// Returns when another client gets the place.
    pub(crate) async fn is_given_away(&self) {
        self.leave.notified().await;
    }

    fn set(&self, state: State) {
        self.change(|taken| taken.state = state);
    }

    /// Changes what is known of the client, unless another client got the place.
    fn change(&self, change: impl FnOnce(&mut Taken)) {
        if let Some(taken) = self.places.inner.lock().taken.get_mut(&self.number) {
            change(taken);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.inner.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_client_goes_before_an_idle_one_and_a_busy_one_never() {
        let places = Arc::new(Places::new(3, false, Arc::default()));
        let peer = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let busy = places.take(peer(1)).unwrap();
        busy.is_busy();
        let idle = places.take(peer(2)).unwrap();
        idle.is_idle();
        let silent = places.take(peer(3)).unwrap();
        assert!(places.take(peer(4)).is_none(), "they have only just come");
        let dismiss = |after| {
            let mut inner = places.inner.lock();
            inner.dismiss_idlest(Instant::now() + after)
        };
        assert_eq!(dismiss(SILENT_MIN), Some(peer(3)));
        assert_eq!(dismiss(SILENT_MIN), None);
        assert_eq!(dismiss(IDLE_MIN), Some(peer(2)));
        assert_eq!(dismiss(IDLE_MIN), None);
        drop((silent, idle));
        assert!(places.take(peer(5)).is_some());
        assert_eq!(places.closed.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_connections_of_a_program_are_one_client() {
        let places = Arc::new(Places::new(9, true, Arc::default()));
        let take = |host, port, name| {
            let place = places.take(SocketAddr::from(([127, 0, 0, host], port)));
            let place = place.unwrap();
            place.is_of(name);
            place
        };
        let _taken = [take(1, 1, "a"), take(1, 2, "a"), take(2, 3, "a")];
        drop(take(1, 4, "gone"));
        let long = take(1, 5, &"ü".repeat(999));
        let mut clients = Vec::new();
        places.list(&mut clients);
        clients.sort_by_key(|client| (client.name.clone(), client.address));
        let shown = clients.iter().map(|client| {
            let name = client.name.chars().count();
            (name, client.connections, client.is_guest)
        });
        let expected = [(1, 2, true), (1, 1, true), (NAME_CHARS_MAX, 1, true)];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
        drop(long);
    }
}
