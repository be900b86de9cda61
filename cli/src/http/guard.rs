//! Checks of the caller and the `Host`, and the headers that limit browsers.
//!
//! **Invariant:** a request whose `Host` is a name that anyone could have registered gets no answer, so that a page of
//! somebody else's cannot have its name resolved to this address and read what is here (DNS rebinding).
//!
//! **Invariant:** no answer allows a browser to run a script, or load anything, that does not come from here.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, StatusCode, header};
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

/// Answers only requests that name this server by an address or a private name.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST);
    let host = host.map_or(Some(""), |host| host.to_str().ok());
    if !host.is_some_and(is_ours) {
        let text =
            "this name is not one that bekk answers to; use its address, such as 127.0.0.1:8080\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
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

/// Whether a `Host` is an address, a name without a dot (a host of this network, a container), or a private name.
fn is_ours(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, _)) => address,
            None => return false,
        },
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || PRIVATE_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_private_names_are_ours_and_registered_names_are_not() {
        for host in [
            "",
            "127.0.0.1:8080",
            "[::1]:8080",
            "10.0.0.7",
            "localhost:8080",
            "LOCALHOST",
            "log:8080",
            "bekk-0.bekk.default.svc",
            "db.internal",
        ] {
            assert!(is_ours(host), "{host}");
        }
        for host in [
            "evil.example.com",
            "evil.com:8080",
            "127.0.0.1.evil.com",
            "localhost.evil.com",
            "evil.com.",
            "[::1",
            "a.local.evil.net:80",
        ] {
            assert!(!is_ours(host), "{host}");
        }
    }
}
