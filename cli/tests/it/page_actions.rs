//! What the page may change: only with the token, and only for whoever comes from the page itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::health::{address, get};
use crate::sample::{event, file};
use crate::support::{Sandbox, assert_says, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
const TOKEN: &str = "a-token-of-more-than-16-bytes";

/// Sends a form, with some more headers.
fn post(at: &str, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {at}\r\n{headers}Content-Length: {length}");
    write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A letter is discarded and the sink pauses for whoever has the token; a foreign page, a wrong token and a page
/// without a token change nothing.
#[test]
fn only_who_knows_the_token_changes_anything() {
    let sandbox = Sandbox::new();
    sandbox.write("token", format!("{TOKEN}\n"));
    sandbox.events("data/a.csv", &[(1, "view", "1"), (2, "view", "abc")]);
    let up = sandbox.start("up --http 127.0.0.1:0 --http-token-file token");
    let at = address(&sandbox);
    wait_until("the letter is shown with its buttons", LIMIT, || {
        get(&at, "/dead-letters").1.contains(r#"value="discard""#)
    });
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let own = format!("Origin: http://{at}\r\n");
    let foreign = "Origin: https://evil.example\r\n";
    let discard = "act=discard&id=1";

    // Nobody without the token.
    assert_eq!(status(&post(&at, "/act", "", discard)), 403);
    assert_eq!(status(&post(&at, "/act", foreign, discard)), 403);
    let asked = post(&at, "/act", &own, discard);
    assert!(
        status(&asked) == 303 && asked.contains("location: /sign-in"),
        "{asked}"
    );
    let wrong = format!("Authorization: Bearer {TOKEN}x\r\n");
    assert_eq!(status(&post(&at, "/act", &wrong, discard)), 403);
    assert_eq!(status(&post(&at, "/sign-in", &own, "token=wrong")), 403);
    let body = format!("token={TOKEN}");
    assert_eq!(status(&post(&at, "/sign-in", foreign, &body)), 403);

    // A session, and the same session from elsewhere.
    let signed = post(&at, "/sign-in", &own, &body);
    assert_eq!(status(&signed), 303, "{signed}");
    let cookie = signed
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(
        status(&post(&at, "/act", &format!("{foreign}{cookie}"), discard)),
        403
    );
    let done = post(&at, "/act", &format!("{own}{cookie}"), discard);
    assert_eq!(status(&done), 303, "{done}");
    let place = done
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .unwrap();
    let shown = get(&at, place).1;
    assert!(shown.contains("1 dead letter discarded"), "{shown}");

    // Signing out ends the session, and only the page itself can.
    let from = |origin: &str| format!("{origin}{cookie}");
    assert_eq!(
        status(&post(&at, "/sign-out", &from(foreign), "to=/groups")),
        403
    );
    let left = post(&at, "/sign-out", &from(&own), "to=/groups");
    assert!(left.contains("location: /groups"), "{left}");
    let asked = post(&at, "/act", &from(&own), discard);
    assert_says(&asked, &["location: /sign-in?to=/dead-letters"]);

    // The sink pauses, and continues.
    let paused = post(&at, "/act", &bearer, "act=pause");
    assert!(paused.contains("The sink is paused"), "{paused}");
    let more: Vec<_> = (10..20).map(|id| event(id, "view", "1")).collect();
    sandbox.write("data/b.csv", file(&more));
    wait_until("records wait, and it says why", LIMIT, || {
        let page = get(&at, "/").1;
        page.contains("lag 10 records") && page.contains("Paused on the page")
    });
    assert_eq!(get(&at, "/readyz").0, 503);
    assert!(post(&at, "/act", &bearer, "act=resume").contains("The sink continues"));
    wait_until("the rows are there", LIMIT, || {
        get(&at, "/").1.contains("11 rows")
    });
    assert_eq!(status(&post(&at, "/act", &bearer, "act=drop")), 409);
    assert_eq!(up.terminate(), Some(0), "{}", sandbox.said());

    // Without a token the page only reads.
    let before = crate::health::addresses(&sandbox).len();
    let up = sandbox.start("up --http 127.0.0.1:0");
    wait_until("it answers", LIMIT, || {
        crate::health::addresses(&sandbox).len() > before
    });
    let at = crate::health::addresses(&sandbox).pop().unwrap();
    assert_eq!(status(&post(&at, "/act", &bearer, "act=pause")), 404);
    assert!(get(&at, "/").1.contains("read-only"));
    assert_eq!(up.terminate(), Some(0), "{}", sandbox.said());
}
