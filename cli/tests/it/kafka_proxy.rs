//! A proxy between Kafka clients and a served log that knows where requests and answers begin and end, and does harm at
//! one of them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Harm done to a request, or to its answer
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection breaks before the server gets the request.
    ResetBefore,
    /// The connection breaks when the server has done what it was asked for, before its answer arrives.
    ResetAfter,
    /// The connection breaks in the middle of the answer.
    ResetWithin,
    /// The request is held back, longer than the client waits.
    StalledRequest,
    /// The answer is held back, longer than the client waits.
    StalledAnswer,
    /// The server gets the request over a second connection as well, before this one.
    Twice,
}

impl Fault {
    pub(crate) const ALL: [Self; 6] = [
        Self::ResetBefore,
        Self::ResetAfter,
        Self::ResetWithin,
        Self::StalledRequest,
        Self::StalledAnswer,
        Self::Twice,
    ];
}

/// A kind of request: the first part of the client id, and the number of the API.
pub(crate) type Kind = (String, i16);

/// A request of a run: the `number`th of its kind, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) number: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (client, api) = &self.kind;
        write!(f, "{client} {api} {}", self.number)
    }
}

#[derive(Debug, Default)]
struct Plan {
    fault: Option<(Place, Fault)>,
    seen: BTreeMap<Kind, u32>,
    has_struck: bool,
}

/// A proxy in front of a served log, which must advertise its address.
pub(crate) struct KafkaProxy {
    pub(crate) address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
}

impl KafkaProxy {
    /// Begins to listen; `server` gets the address of the server once it is known.
    pub(crate) fn new(stall: Duration) -> (Self, Sender<SocketAddr>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::<Mutex<Plan>>::default();
        let (server, known) = channel();
        let plans = Arc::clone(&plan);
        std::thread::spawn(move || {
            let Ok(server) = known.recv() else { return };
            for client in listener.incoming().flatten() {
                let plan = Arc::clone(&plans);
                std::thread::spawn(move || serve(client, server, stall, &plan));
            }
        });
        (Self { address, plan }, server)
    }

    /// Sets what happens from now on.
    pub(crate) fn set(&self, fault: Option<(Place, Fault)>) {
        *self.plan.lock().unwrap() = Plan {
            fault,
            ..Plan::default()
        };
    }

    /// How many requests of each kind have passed, and whether the fault struck.
    pub(crate) fn seen(&self) -> (BTreeMap<Kind, u32>, bool) {
        let plan = self.plan.lock().unwrap();
        (plan.seen.clone(), plan.has_struck)
    }
}

/// Reads a request or an answer with its length.
fn read_frame(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame)?;
    let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    frame.resize(4 + length, 0);
    from.read_exact(&mut frame[4..])?;
    Ok(frame)
}

/// A request's header: API key, version, correlation id, client id.
fn kind(frame: &[u8]) -> Kind {
    let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
    let length = usize::try_from(number(12)).unwrap_or(0);
    let client = String::from_utf8_lossy(&frame[14..14 + length]).into_owned();
    let first = client.split('/').next().unwrap_or_default().to_owned();
    (first, number(4))
}

fn strike(plan: &Mutex<Plan>, frame: &[u8]) -> Option<Fault> {
    let kind = kind(frame);
    let mut plan = plan.lock().unwrap();
    let number = plan.seen.entry(kind.clone()).or_default();
    let place = Place {
        kind,
        number: *number,
    };
    *number += 1;
    let strikes = plan.fault.as_ref().is_some_and(|(at, _)| *at == place);
    plan.has_struck |= strikes;
    plan.fault
        .as_ref()
        .filter(|_| strikes)
        .map(|(_, fault)| *fault)
}

fn serve(client: TcpStream, address: SocketAddr, stall: Duration, plan: &Mutex<Plan>) {
    let Ok(server) = TcpStream::connect(address) else {
        return;
    };
    for socket in [&client, &server] {
        socket.set_nodelay(true).unwrap();
    }
    let (expected, faults) = channel();
    let close = |client: &TcpStream, server: &TcpStream| {
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    };
    let (client, server) = (&client, &server);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = answer(server, client, stall, &faults);
            close(client, server);
        });
        let _ = ask(client, server, (address, stall), plan, &expected);
        close(client, server);
    });
}

/// Passes requests to the server, and the fault of each answer to the other thread.
fn ask(
    mut client: &TcpStream,
    mut server: &TcpStream,
    (address, stall): (SocketAddr, Duration),
    plan: &Mutex<Plan>,
    expected: &Sender<Option<Fault>>,
) -> io::Result<()> {
    let mut from = client.try_clone()?;
    loop {
        let frame = read_frame(&mut from)?;
        let fault = strike(plan, &frame);
        match fault {
            Some(Fault::ResetBefore) => return client.flush(),
            Some(Fault::StalledRequest) => std::thread::sleep(stall),
            Some(Fault::Twice) => {
                let mut second = TcpStream::connect(address)?;
                second.write_all(&frame)?;
                read_frame(&mut second)?;
            }
            _ => {}
        }
        let _ = expected.send(fault);
        server.write_all(&frame)?;
    }
}

/// Passes answers to the client; they come in the order of the requests.
fn answer(
    server: &TcpStream,
    mut client: &TcpStream,
    stall: Duration,
    faults: &Receiver<Option<Fault>>,
) -> io::Result<()> {
    let mut from = server.try_clone()?;
    loop {
        let frame = read_frame(&mut from)?;
        match faults.recv().ok().flatten() {
            Some(Fault::ResetAfter) => return Ok(()),
            Some(Fault::ResetWithin) => return client.write_all(&frame[..frame.len() / 2]),
            Some(Fault::StalledAnswer) => std::thread::sleep(stall),
            _ => {}
        }
        client.write_all(&frame)?;
    }
}
