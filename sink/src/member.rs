//! Names of sinks: owner of leases, `application_name` of their backends, and what a person reads of them.
//!
//! A name is `bekk-sink GROUP RANDOM PID HOST`, the group as a hash. It fits in the 63 bytes of an `application_name`
//! and is plain ASCII, because PostgreSQL would change anything else and the owner would no longer be found.

use std::fmt;

/// Longest `application_name` that PostgreSQL keeps.
const NAME_LEN_MAX: usize = 63;
/// Hexadecimal digits that tell one sink from another.
const RANDOM_LEN: usize = 12;

/// A sink as its name describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What tells it from the others of its group.
    pub id: String,
    /// Its process and host; `None` for a sink of an earlier version.
    pub process: Option<(u32, String)>,
}

impl Member {
    /// Reads an owner in `bekk.offsets`.
    #[must_use]
    pub fn of_owner(owner: &str) -> Self {
        let mut words = owner.split(' ').skip(2);
        let id = words.next().unwrap_or(owner);
        let process = words.next().and_then(|pid| pid.parse().ok());
        Self {
            id: id.chars().take(8).collect(),
            process: process.zip(words.next().map(str::to_owned)),
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some((pid, host)) => write!(f, "pid {pid} on {host}"),
            None => f.write_str(&self.id),
        }
    }
}

/// The name of a group's sinks, up to what tells them apart. It must fit in the 63 bytes of an
/// `application_name`, whatever the group is called.
pub(crate) fn name_prefix(group: &str) -> String {
    format!("bekk-sink {:08x} ", bekk_stream::murmur2(group.as_bytes()))
}

/// A new name for this process's sink.
pub(crate) fn new_name(group: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    let uname = rustix::system::uname();
    name(
        group,
        &random[..RANDOM_LEN],
        std::process::id(),
        &uname.nodename().to_string_lossy(),
    )
}

fn name(group: &str, random: &str, pid: u32, host: &str) -> String {
    let prefix = name_prefix(group);
    let mut name = format!("{prefix}{random} {pid} ");
    // The end of a long name is what tells the pods of a deployment apart.
    let host: String = host
        .split('.')
        .next()
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '-' })
        .collect();
    let room = NAME_LEN_MAX.saturating_sub(name.len());
    name.push_str(&host[host.len().saturating_sub(room)..]);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_are_read_back() {
        let long = "bekk-sink-5d9f7c6b8d-abcde-of-a-long-deployment";
        for (host, shown) in [
            ("db-1.example.net", "pid 4711 on db-1"),
            ("größe", "pid 4711 on gr--e"),
            (long, "pid 4711 on abcde-of-a-long-deployment"),
        ] {
            let name = name("group", "0123456789ab", 4711, host);
            assert!(name.len() <= NAME_LEN_MAX && name.is_ascii(), "{name}");
            let member = Member::of_owner(&name);
            assert_eq!(member.to_string(), shown);
        }
        let widest = name("group", "0123456789ab", u32::MAX, long);
        assert_eq!(widest.len(), NAME_LEN_MAX);
        assert!(new_name("group").starts_with(&name_prefix("group")));
    }

    #[test]
    fn a_sink_of_an_earlier_version_has_an_id_only() {
        let member = Member::of_owner("bekk-sink 1a2b3c4d 7f3e9a01c2d34e5f8a9b0c1d2e3f4a5b");
        assert_eq!(member.process, None);
        assert_eq!(member.to_string(), "7f3e9a01");
    }
}
