//! A proxy between the sink and PostgreSQL that knows where requests begin and end, and does harm at one of them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bekk_sink::{ConnectOptions, SslMode};

/// What happens at a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server answers with this SQLSTATE instead of doing what it was asked for.
    Refused(&'static str),
    /// A cancel request follows it at once.
    Cancelled,
    /// The connection breaks before the server gets the request.
    BrokenBefore,
    /// The connection breaks when the server has done what it was asked for, before its answer arrives.
    BrokenAfter,
    /// Longest time without progress.
    Stalled(Duration),
}

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// A session that is being opened.
    Opening,
    Setup,
    Keeper,
    Worker,
}

impl Who {
    pub(crate) const ALL: [Self; 4] = [Self::Opening, Self::Setup, Self::Keeper, Self::Worker];

    /// Tells whose session it is by a request that only one of them makes.
    fn of(request: &[u8], before: Self) -> Self {
        let has = |text: &str| {
            request
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        match before {
            Self::Opening if has("lock_timeout = '2s'") => Self::Keeper,
            Self::Opening if has("BEGIN ISOLATION") => Self::Worker,
            Self::Opening if has("BEGIN") => Self::Setup,
            known => known,
        }
    }
}

/// What the proxy is to do, and what it has seen.
#[derive(Debug)]
pub(crate) struct Plan {
    fault: Option<(Who, u32, Fault)>,
    requests: [AtomicU32; 4],
    has_struck: AtomicBool,
    /// Bytes of all requests.
    bytes: AtomicU64,
}

impl Plan {
    /// A fault at the `number`th request, from 0, of a kind of session.
    pub(crate) fn new(fault: Option<(Who, u32, Fault)>) -> Arc<Self> {
        Arc::new(Self {
            fault,
            requests: Default::default(),
            has_struck: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self, who: Who) -> u32 {
        self.requests[who as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn has_struck(&self) -> bool {
        self.has_struck.load(Ordering::Relaxed)
    }

    /// Counts a request, and returns what happens at it.
    fn count(&self, who: Who) -> Option<Fault> {
        let number = self.requests[who as usize].fetch_add(1, Ordering::Relaxed);
        let (whose, at, fault) = self.fault?;
        let strikes = (whose, at) == (who, number);
        self.has_struck.fetch_or(strikes, Ordering::Relaxed);
        strikes.then_some(fault)
    }
}

/// A proxy in front of a server.
pub(crate) struct Proxy {
    port: u16,
    plan: Arc<Mutex<Arc<Plan>>>,
}

impl Proxy {
    pub(crate) fn new(server: &ConnectOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan = Arc::new(Mutex::new(Plan::new(None)));
        let (plans, address) = (Arc::clone(&plan), (server.host.clone(), server.port));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let plan = Arc::clone(&plans.lock().unwrap());
                let address = address.clone();
                std::thread::spawn(move || Connection::serve(client, &address, &plan));
            }
        });
        Self { port, plan }
    }

    /// Sets what happens to the connections that are made from now on.
    pub(crate) fn set(&self, plan: &Arc<Plan>) {
        *self.plan.lock().unwrap() = Arc::clone(plan);
    }

    /// The options of the server, by way of the proxy.
    pub(crate) fn options(&self, server: &ConnectOptions) -> ConnectOptions {
        let mut options = server.clone();
        options.host = "127.0.0.1".to_owned();
        options.port = self.port;
        options.sslmode = SslMode::Disable;
        options
    }
}

/// Reads one message: its type (0 for the first of a client) and all of its bytes.
fn read_message(from: &mut TcpStream, has_type: bool) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    let start = usize::from(!has_type);
    from.read_exact(&mut head[start..])?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut message = head[start..].to_vec();
    message.resize(message.len() + length - 4, 0);
    from.read_exact(&mut message[5 - start..])?;
    Ok((head[0], message))
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind], &length.to_be_bytes()[..], body].concat()
}

/// Reads a request: a query, the messages up to a Sync, or a piece of COPY data.
fn read_request(client: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let (kind, mut request) = read_message(client, true)?;
    let mut last = kind;
    while matches!(last, b'P' | b'B' | b'D' | b'E' | b'C' | b'c' | b'f') {
        let (kind, bytes) = read_message(client, true)?;
        request.extend_from_slice(&bytes);
        last = kind;
    }
    Ok((kind, request))
}

/// A request that the server refuses with a SQLSTATE, in the place of another one.
fn refused(kind: u8, code: &str) -> Vec<u8> {
    match kind {
        b'd' => message(b'f', b"injected\0"),
        b'c' => [message(b'f', b"injected\0"), message(b'S', b"")].concat(),
        _ => {
            let raise = format!("DO $$ BEGIN RAISE 'injected' USING ERRCODE = '{code}'; END $$\0");
            message(b'Q', raise.as_bytes())
        }
    }
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// The message that cancels what the backend does.
    cancel: Mutex<Vec<u8>>,
    /// Whether the connection is to break when the answer is complete.
    breaks_after: AtomicBool,
}

impl Connection {
    fn serve(client: TcpStream, address: &(String, u16), plan: &Plan) {
        let Ok(server) = TcpStream::connect(address) else {
            return;
        };
        for socket in [&client, &server] {
            socket.set_nodelay(true).unwrap();
        }
        let connection = Arc::new(Self {
            client,
            server,
            cancel: Mutex::default(),
            breaks_after: AtomicBool::new(false),
        });
        let answers = Arc::clone(&connection);
        std::thread::spawn(move || {
            let _ = answers.answer();
            answers.close();
        });
        let _ = connection.ask(address, plan);
        connection.close();
    }

    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    fn ask(&self, address: &(String, u16), plan: &Plan) -> io::Result<()> {
        let (mut client, mut server) = (self.client.try_clone()?, self.server.try_clone()?);
        server.write_all(&read_message(&mut client, false)?.1)?;
        let mut who = Who::Opening;
        loop {
            let (kind, request) = read_request(&mut client)?;
            // Passwords, and closing statements and connections, are no requests.
            if matches!(kind, b'p' | b'X' | b'S') || kind == b'C' {
                server.write_all(&request)?;
                continue;
            }
            who = Who::of(&request, who);
            plan.bytes
                .fetch_add(request.len() as u64, Ordering::Relaxed);
            match plan.count(who) {
                None => server.write_all(&request)?,
                Some(Fault::Refused(code)) => server.write_all(&refused(kind, code))?,
                Some(Fault::Cancelled) => {
                    server.write_all(&request)?;
                    let mut other = TcpStream::connect(address)?;
                    other.write_all(&self.cancel.lock().unwrap())?;
                }
                Some(Fault::BrokenBefore) => return Ok(()),
                Some(Fault::BrokenAfter) => {
                    self.breaks_after.store(true, Ordering::Release);
                    server.write_all(&request)?;
                    // A piece of COPY data has no answer.
                    if kind == b'd' {
                        return Ok(());
                    }
                }
                Some(Fault::Stalled(time)) => {
                    std::thread::sleep(time);
                    server.write_all(&request)?;
                }
            }
        }
    }

    fn answer(&self) -> io::Result<()> {
        let (mut client, mut server) = (self.client.try_clone()?, self.server.try_clone()?);
        loop {
            let (kind, bytes) = read_message(&mut server, true)?;
            if kind == b'K' {
                // A cancel request has the backend's process id and key behind its own code.
                let code = 80_877_102u32.to_be_bytes();
                let length = u32::try_from(bytes.len() - 5 + 8).unwrap().to_be_bytes();
                *self.cancel.lock().unwrap() = [&length[..], &code, &bytes[5..]].concat();
            }
            if self.breaks_after.load(Ordering::Acquire) {
                if matches!(kind, b'Z' | b'G') {
                    return Ok(());
                }
                continue;
            }
            client.write_all(&bytes)?;
        }
    }
}

/// A pooler that gives each transaction a session from a pool, which has one.
pub(crate) fn transaction_pool(server: &ConnectOptions) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = (server.host.clone(), server.port);
    let pooled: Arc<Mutex<Option<TcpStream>>> = Arc::default();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (address, pooled) = (address.clone(), Arc::clone(&pooled));
            std::thread::spawn(move || pool(client, &address, &pooled));
        }
    });
    port
}

fn pool(
    mut client: TcpStream,
    address: &(String, u16),
    pooled: &Mutex<Option<TcpStream>>,
) -> io::Result<()> {
    let mut own = TcpStream::connect(address)?;
    own.write_all(&read_message(&mut client, false)?.1)?;
    loop {
        let (kind, bytes) = read_message(&mut own, true)?;
        client.write_all(&bytes)?;
        if kind == b'Z' {
            break;
        }
        // Asked for a password.
        if kind == b'R' && bytes[5..9] != [0; 4] && bytes[5..9] != [0, 0, 0, 12] {
            own.write_all(&read_message(&mut client, true)?.1)?;
        }
    }
    loop {
        let (kind, request) = read_request(&mut client)?;
        if kind == b'X' {
            return Ok(());
        }
        let mut session = pooled.lock().unwrap();
        if session.is_none() {
            *session = Some(own.try_clone()?);
        }
        let server = session.as_mut().unwrap();
        let mut status = b'T';
        let mut request = Some(request);
        while status != b'I' {
            let asked = match request.take() {
                Some(request) => request,
                None => read_request(&mut client)?.1,
            };
            server.write_all(&asked)?;
            loop {
                let (kind, bytes) = read_message(server, true)?;
                client.write_all(&bytes)?;
                if kind == b'Z' {
                    status = bytes[5];
                    break;
                }
            }
        }
    }
}
