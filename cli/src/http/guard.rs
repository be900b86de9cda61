//! Checks of the caller and the `Host`, and the headers that limit browsers.
//!
//! **Invariant:** a request whose `Host` is a name that anyone could have registered gets no answer, so that a page of
//! somebody else's cannot have its name resolved to this address and read what is here (DNS rebinding).
//!
//! **Invariant:** no answer allows a browser to run a script, or load anything, that does not come from here.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::doors::Caller;

/// Headers of every answer.
const HEADERS: [(header::HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Not `no-referrer`: with that a browser sends `Origin: null` with the forms of this page, too.
    (header::REFERRER_POLICY, "same-origin"),
    (
        header::HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Endings of names that nobody can register: RFC 6761, RFC 6762, and what ICANN and Kubernetes keep for private use.
const PRIVATE_ENDINGS: [&str; 7] = [
    ".localhost",
    ".local",
    ".internal",
    ".home.arpa",
    ".svc",
    ".test",
    ".lan",
];

/// Names that the server answers to
#[derive(Debug, Clone)]
pub(super) enum Names {
    /// Addresses, `localhost` and this machine's own name: the server is at an address that only this machine reaches.
    Local { machine: String },
    /// Addresses and private names.
    Private,
}

impl Names {
    pub(super) fn of(address: SocketAddr) -> Self {
        if !address.ip().to_canonical().is_loopback() {
            return Self::Private;
        }
        let uname = rustix::system::uname();
        let machine = uname.nodename().to_string_lossy().to_ascii_lowercase();
        Self::Local { machine }
    }

    /// Whether a `Host` is one of them. A name without a dot is a host of this network, or a container.
    fn has(&self, host: &str) -> bool {
        let (name, port) = match host.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((address, rest)) if address.parse::<Ipv6Addr>().is_ok() => (address, rest),
                _ => return false,
            },
            None => host.split_at(host.find(':').unwrap_or(host.len())),
        };
        let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
            return false;
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if name.parse::<IpAddr>().is_ok() {
            return true;
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        name.bytes().all(is_name)
            && match self {
                Self::Local { machine } => {
                    name == "localhost" || ends(&[".localhost"]) || name == *machine
                }
                Self::Private => !name.contains('.') || ends(&PRIVATE_ENDINGS),
            }
    }

    /// Whether every name in a request is one of them; a browser always sends one.
    fn are_in(&self, request: &Request) -> bool {
        let of_target = request
            .uri()
            .authority()
            .map(|authority| authority.as_str());
        let hosts = request.headers().get_all(header::HOST);
        let mut hosts = hosts.iter().map(|host| host.to_str().unwrap_or("?"));
        of_target.is_none_or(|host| self.has(host))
            && hosts.all(|host| host.is_empty() || self.has(host))
    }
}

/// Whether a request has one `Host`, as RFC 9112 (3.2) wants it; a client of HTTP/1.0 may have none.
fn has_one_host(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_old = request.version() == Version::HTTP_10;
    (hosts.next().is_some() || is_old) && hosts.next().is_none()
}

/// Answers only requests that name this server by an address or a private name.
pub(super) async fn guard(State(names): State<Names>, request: Request, next: Next) -> Response {
    if !names.are_in(&request) {
        let text =
            "bekk does not answer to this host name; use its address, such as 127.0.0.1:8080\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    if !has_one_host(&request) {
        return (StatusCode::BAD_REQUEST, "send one Host header\n").into_response();
    }
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Answers only the user that runs Bekk, and root, where the address is this machine's alone.
pub(super) async fn only_own(
    ConnectInfo(caller): ConnectInfo<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let Caller::Other(user) = caller else {
        return next.run(request).await;
    };
    let you = user.map_or_else(|| "not known".to_owned(), |user| user.to_string());
    let own = rustix::process::geteuid().as_raw();
    let text = format!(
        "the page shows rows, so it answers the user that runs bekk (user id {own}) and root only; your user id is {you}.\n\
         Look at it as that user (bekk top, ssh -L), or start bekk with --http-open to show it to every user of this machine.\n\
         /metrics, /healthz and /readyz are for all.\n"
    );
    (StatusCode::FORBIDDEN, text).into_response()
}

/// Warns where others than this machine's users can ask.
pub(super) fn warn_of(address: SocketAddr) {
    if !address.ip().to_canonical().is_loopback() {
        tracing::warn!(
            %address,
            "anyone who can reach this address can read metrics and state, including the names of files and \
            groups: there is no authentication (use --http 127.0.0.1:PORT to allow this machine only)"
        );
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn local() -> Names {
        Names::Local {
            machine: "brook".to_owned(),
        }
    }

    #[test]
    fn addresses_and_private_names_are_ours_and_registered_names_are_not() {
        for host in [
            "127.0.0.1:8080",
            "127.0.0.1.:80",
            "[::1]:8080",
            "[::1]",
            "10.0.0.7",
            "localhost:8080",
            "LOCALHOST",
            "page.localhost",
            "brook:8080",
        ] {
            assert!(local().has(host), "{host}");
            assert!(Names::Private.has(host), "{host}");
        }
        for host in [
            "log:8080",
            "bekk-0.bekk.default.svc",
            "db.internal",
            "evil.local",
        ] {
            assert!(Names::Private.has(host), "{host}");
            assert!(!local().has(host), "another host of the network: {host}");
        }
        for host in [
            "evil.example.com",
            "evil.com:8080",
            "127.0.0.1.evil.com",
            "localhost.evil.com",
            "evil.com.",
            "[::1",
            "[::1]evil.com",
            "[::1].evil.com:80",
            "[localhost]",
            "a.local.evil.net:80",
            "localhost:1@evil.com",
            "x@evil",
            "localhost/evil.com",
            "localhost, evil.com",
            "localhost:80x",
        ] {
            assert!(!local().has(host), "{host}");
            assert!(!Names::Private.has(host), "{host}");
        }
    }

    #[test]
    fn every_name_of_a_request_is_looked_at() {
        let check = |target: &str, hosts: &[&str], is_ours: bool, is_one: bool| {
            let mut request = Request::builder().uri(target);
            for host in hosts {
                request = request.header(header::HOST, *host);
            }
            let request = request.body(Body::empty()).unwrap();
            let found = (local().are_in(&request), has_one_host(&request));
            assert_eq!(found, (is_ours, is_one), "{target} {hosts:?}");
        };
        check("/", &["localhost"], true, true);
        check("http://localhost/", &["localhost"], true, true);
        check("/", &["localhost", "evil.com"], false, false);
        check("/", &["evil.com", "localhost"], false, false);
        check("http://evil.com/", &["localhost"], false, true);
        check("/", &["localhost", "localhost"], true, false);
        check("/", &[], true, false);
    }
}
