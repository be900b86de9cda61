//! The two syntaxes of a connection string: libpq's URLs and its key-value pairs.

use super::ConnectOptionsError;
use super::parameters::Parameters;

/// Parses `postgres://user:password@host:port/dbname?parameter=value` or `host=… port=…`.
pub(super) fn parameters(text: &str) -> Result<Parameters, ConnectOptionsError> {
    let text = text.trim();
    match text
        .strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"))
    {
        Some(rest) => parse_url(rest),
        None if text.contains("://") => Err(ConnectOptionsError::Syntax(
            "a URL begins with postgres:// or postgresql://",
        )),
        None => parse_pairs(text),
    }
}

fn parse_url(rest: &str) -> Result<Parameters, ConnectOptionsError> {
    let mut parameters = Parameters::default();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let hosts = match authority.rsplit_once('@') {
        Some((credentials, hosts)) => {
            let (user, password) = match credentials.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (credentials, None),
            };
            if !user.is_empty() {
                parameters.set("user", decode_percent(user)?)?;
            }
            if let Some(password) = password {
                parameters.set("password", decode_percent(password)?)?;
            }
            hosts
        }
        None => authority,
    };
    set_hosts(&mut parameters, hosts)?;
    if !path.is_empty() {
        parameters.set("dbname", decode_percent(path)?)?;
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or(ConnectOptionsError::Syntax("a parameter without `=`"))?;
        match (name, value) {
            // As libpq does, for URLs that were made for JDBC.
            ("ssl", "true") => parameters.set("sslmode", "require".to_owned())?,
            _ => parameters.set(&decode_percent(name)?, decode_percent(value)?)?,
        }
    }
    Ok(parameters)
}

/// Sets `host` and `port` from `host:port,host:port`; either part may be absent.
fn set_hosts(parameters: &mut Parameters, text: &str) -> Result<(), ConnectOptionsError> {
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for part in text.split(',') {
        let (host, port) = if let Some(rest) = part.strip_prefix('[') {
            let (host, rest) = rest
                .split_once(']')
                .ok_or(ConnectOptionsError::Syntax("a `[` without `]`"))?;
            (host, rest.strip_prefix(':').unwrap_or(""))
        } else {
            part.rsplit_once(':').unwrap_or((part, ""))
        };
        hosts.push(decode_percent(host)?);
        ports.push(port);
    }
    if hosts.iter().any(|host| !host.is_empty()) {
        parameters.set("host", hosts.join(","))?;
    }
    if ports.iter().any(|port| !port.is_empty()) {
        parameters.set("port", ports.join(","))?;
    }
    Ok(())
}

fn parse_pairs(text: &str) -> Result<Parameters, ConnectOptionsError> {
    let mut parameters = Parameters::default();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, behind) = rest
            .split_once('=')
            .ok_or(ConnectOptionsError::Syntax("a parameter without `=`"))?;
        let (value, behind) = take_value(behind.trim_start())?;
        parameters.set(name.trim(), value)?;
        rest = behind.trim_start();
    }
    Ok(parameters)
}

/// Takes a value of a key-value string: up to a blank, or in single quotes; a backslash escapes.
fn take_value(text: &str) -> Result<(String, &str), ConnectOptionsError> {
    let (quoted, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                let (_, escaped) = chars.next().ok_or(ConnectOptionsError::Syntax(
                    "a backslash at the end of a value",
                ))?;
                value.push(escaped);
            }
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            c if !quoted && c.is_whitespace() => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted {
        return Err(ConnectOptionsError::Syntax("a quote is not closed"));
    }
    Ok((value, ""))
}

fn decode_percent(text: &str) -> Result<String, ConnectOptionsError> {
    let wrong = ConnectOptionsError::Syntax("a `%` without two hexadecimal digits, or not UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(wrong);
        };
        bytes.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits are one byte"));
    }
    String::from_utf8(bytes).map_err(|_| wrong)
}
