//! Commands to type after an error that concerns Bekk's own files, or of a server that lets nobody in.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bekk_stream::shown_path;
use rustix::process::geteuid;

/// Advice for a login that the server refuses.
pub(crate) fn remedy_for_login(sqlstate: &str) -> Option<&'static str> {
    match (sqlstate, sqlstate.get(..2)) {
        ("3D000", _) => Some("create that database, or name another with --postgres"),
        (_, Some("28")) => Some(
            "correct the user, or the password in PGPASSWORD, ~/.pgpass or DATABASE_URL, or let the server's pg_hba.conf \
             admit them",
        ),
        _ => None,
    }
}

/// Advice for an error, if there is any beyond what the error says.
pub(crate) fn remedy(error: &anyhow::Error) -> Option<String> {
    if let Some(bekk_sink::Error::Postgres { cause, .. }) = error.downcast_ref() {
        return remedy_for_login(cause.sqlstate.as_deref()?).map(str::to_owned);
    }
    if error.chain().any(is_of_gone_owner) {
        return Some("run the command again".to_owned());
    }
    if error.chain().any(is_of_other_files) {
        return Some(
            "name an empty or a new directory with --log, or as `dir` in [log]".to_owned(),
        );
    }
    if let Some(path) = error.chain().find_map(checkpoint_of_another_log) {
        return Some(format!(
            "put the other log back, or name its place with --log; if it is gone for good, all files are read into this one \
             after: rm {}",
            quoted(path)
        ));
    }
    let (path, source) = error.chain().find_map(refused)?;
    remedy_for_file(path, source)
}

/// Advice for a file or directory on which the system refused something.
fn remedy_for_file(path: &Path, source: &io::Error) -> Option<String> {
    let is_file = fs::symlink_metadata(path).map_or(true, |metadata| metadata.is_file());
    if path.ends_with("LOCK") && !is_file {
        return Some(format!(
            "it is not a plain file; while no other Bekk runs here, move it away, and Bekk makes it again: mv {} {}",
            quoted(path),
            quoted(&path.with_extension("away"))
        ));
    }
    if source.kind() != io::ErrorKind::PermissionDenied {
        return None;
    }
    // Not all of `.bekk`: a private PostgreSQL server there may have another user.
    let is_part = |above: &&Path| {
        above
            .parent()
            .is_some_and(|parent| parent.ends_with(".bekk"))
    };
    let part = path.ancestors().find(is_part);
    let own = part.unwrap_or(path);
    let user = geteuid().as_raw();
    let found = own.ancestors().find_map(|above| {
        let metadata = fs::symlink_metadata(above).ok()?;
        Some((above, metadata.uid()))
    });
    let (seen, owner) = found.unwrap_or((own, user));
    // Another user has closed a directory above it, so that advice to take it over would be wrong.
    if seen != own && owner != user {
        return Some(format!(
            "`{}` belongs to user id {owner} and is closed to you (user id {user}); run this as that user, or in a \
             directory of your own",
            shown_path(seen)
        ));
    }
    // Files of an inbox belong to those who write them.
    if part.is_none() && owner != user {
        return Some(format!(
            "Bekk runs as user {user}, and it belongs to user {owner}: run Bekk as that user, or ask that user to let \
             user {user} read it"
        ));
    }
    let dir = quoted(own);
    Some(match owner == user {
        true => format!(
            "something in it is another user's, or closed to its own: sudo chown -R {user} {dir} && chmod -R u+rwX {dir}"
        ),
        false => format!(
            "Bekk runs as user {user}, and the files are user {owner}'s: run it as that user, or, if no other program \
             uses them, give them to this one: sudo chown -R {user} {dir}"
        ),
    })
}

/// Quotes a path for a shell.
pub(crate) fn quoted(path: &Path) -> String {
    quoted_text(path.display().to_string())
}

/// Quotes a text for a shell.
pub(crate) fn quoted_text(text: String) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

fn checkpoint_of_another_log<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a Path> {
    match cause.downcast_ref()? {
        bekk_ingest::Error::OtherLog { path, .. } => Some(path),
        _ => None,
    }
}

/// Whether the process that served the log on this machine has ended.
fn is_of_gone_owner(cause: &(dyn std::error::Error + 'static)) -> bool {
    matches!(
        cause.downcast_ref(),
        Some(bekk_log::Error::Away { detail, .. }) if detail.contains("owner has gone")
    )
}

fn is_of_other_files(cause: &(dyn std::error::Error + 'static)) -> bool {
    matches!(
        cause.downcast_ref(),
        Some(bekk_log::Error::OtherFiles { .. })
    )
}

/// The path and the cause, if the system refused something on a file.
fn refused<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<(&'a Path, &'a io::Error)> {
    if let Some(bekk_log::Error::Io { path, source, .. }) = cause.downcast_ref() {
        return Some((path, source));
    }
    match cause.downcast_ref()? {
        bekk_ingest::Error::Io { path, source, .. } => Some((path, source)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(path: &Path) -> anyhow::Error {
        anyhow::Error::from(bekk_log::Error::Io {
            act: "open",
            path: path.to_owned(),
            source: io::Error::from(io::ErrorKind::PermissionDenied),
        })
    }

    #[test]
    fn what_is_closed_to_bekk_is_named_with_a_command() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join(".bekk/log");
        fs::create_dir_all(&log).unwrap();
        let advice = remedy(&denied(&log.join("ends")).context("open the log")).unwrap();
        let user = geteuid().as_raw();
        assert!(
            advice.contains(&format!("sudo chown -R {user} {} ", log.display())),
            "{advice}"
        );
        assert_eq!(remedy(&anyhow::anyhow!("other")), None);

        let lock = log.join("LOCK");
        fs::create_dir(&lock).unwrap();
        let advice = remedy(&denied(&lock)).unwrap();
        assert!(
            advice.contains(&format!("mv {} ", lock.display())),
            "{advice}"
        );
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
    }
}
