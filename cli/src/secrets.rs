//! Secrets in files, and in arguments, where other users of the machine could read them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use bekk_sink::ConnectOptions;
use bekk_stream::shown_path;
use rustix::fs::Access;

/// The argument that may hold a password.
const POSTGRES: &str = "--postgres";
/// The variable by which its value reaches the process that takes over.
pub(crate) const TYPED_POSTGRES: &str = "BEKK_TYPED_POSTGRES";

/// Mode of the directories on the way to a private server of another user
const LET_THROUGH: u32 = 0o711;

/// Warns of a file with a secret that other users can read.
pub(crate) fn warn_if_open(path: &Path) {
    if let Ok(metadata) = fs::metadata(path)
        && metadata.mode() & 0o044 != 0
    {
        tracing::warn!(
            "`{}` holds a secret and other users can read it (mode {:04o}); to close it: chmod go-rwx '{}'",
            shown_path(path),
            metadata.mode() & 0o777,
            shown_path(path),
        );
    }
}

/// Refuses a private key that other users can read, as PostgreSQL and OpenSSH do: only root's may be its group's too.
///
/// # Errors
/// If it is one. One that cannot be looked at is reported where it is read.
pub(crate) fn check_key(path: &Path) -> Result<()> {
    let shown = shown_path(path);
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(());
    };
    let allowed = if metadata.uid() == 0 { 0o640 } else { 0o600 };
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 & !allowed != 0 {
        bail!(
            "use the key `{shown}`: other users can read it (mode {mode:04o}); to close it: chmod 0600 '{shown}'"
        );
    }
    Ok(())
}

/// Closes `.bekk` to other users, as PostgreSQL closes its data directory.
///
/// Where root runs a private PostgreSQL in it, the server runs as another user, who must be able to enter.
///
/// # Errors
/// If another user may have prepared it, or it is closed to us.
pub(crate) fn close_state(base: &Path) -> Result<()> {
    let dir = base.join(".bekk");
    let own = rustix::process::geteuid();
    let metadata = match fs::symlink_metadata(&dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.with_context(|| format!("look at `{}`", shown_path(&dir)))?,
    };
    if metadata.is_dir()
        && rustix::fs::access(&dir, Access::EXEC_OK | Access::READ_OK).is_err()
        && metadata.uid() != own.as_raw()
    {
        let (shown, owner) = (shown_path(&dir), metadata.uid());
        bail!(
            "`{shown}` belongs to user id {owner} and is closed to you (user id {}); run this as that user, or in a \
             directory of your own",
            own.as_raw()
        );
    }
    bekk_log::check_directory(&dir)?;
    if own.is_root() && serves_another_user(&dir) {
        for path in [dir.join("postgres"), dir] {
            let_through(&path)?;
        }
        return Ok(());
    }
    Ok(bekk_log::make_private(&dir)?)
}

/// Whether a private PostgreSQL in `.bekk` runs, or is about to run, as another user than the owner of `.bekk`.
fn serves_another_user(dir: &Path) -> bool {
    let Ok(metadata) = fs::metadata(dir) else {
        return false;
    };
    let server = dir.join("postgres");
    match fs::metadata(server.join("data")) {
        Ok(data) => data.uid() != metadata.uid(),
        // The server's data is being made.
        Err(_) => metadata.mode() & 0o777 == LET_THROUGH && server.is_dir(),
    }
}

/// Lets the user enter `.bekk` as whom root starts a private PostgreSQL, before the server has data. Otherwise its data
/// would be made elsewhere.
///
/// # Errors
/// If the mode of `.bekk` cannot be changed.
pub(crate) fn let_server_in(base: &Path) -> Result<()> {
    let dir = base.join(".bekk");
    let has_place = dir.join("postgres/place").exists();
    if !rustix::process::geteuid().is_root() || has_place || !dir.is_dir() {
        return Ok(());
    }
    let base = fs::canonicalize(base).with_context(|| format!("find `{}`", shown_path(base)))?;
    let is_open = |path: &Path| fs::metadata(path).is_ok_and(|found| found.mode() & 0o001 != 0);
    match base.ancestors().all(is_open) {
        true => {
            // The server's directory is there first: without it, another process that starts closes `.bekk` again.
            let server = dir.join("postgres");
            fs::create_dir_all(&server)
                .with_context(|| format!("make `{}`", shown_path(&server)))?;
            let_through(&server)?;
            let_through(&dir)
        }
        false => Ok(()),
    }
}

/// Lets other users pass through a directory of ours, and no more.
fn let_through(path: &Path) -> Result<()> {
    if fs::metadata(path)?.mode() & 0o777 != LET_THROUGH {
        fs::set_permissions(path, Permissions::from_mode(LET_THROUGH))
            .with_context(|| format!("set the mode of `{}` to 0711", shown_path(path)))?;
    }
    Ok(())
}

/// Takes a password out of the arguments, which every user can see in the process table: the program starts itself anew
/// without it, and finds it in its environment, which only its user can see.
pub(crate) fn hide_typed_password() {
    if std::env::var_os(TYPED_POSTGRES).is_some() {
        return;
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let Some((hidden, url)) = without_password(&arguments) else {
        return;
    };
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    let mut command = Command::new(program);
    command
        .arg0(&hidden[0])
        .args(&hidden[1..])
        .env(TYPED_POSTGRES, url);
    // It returns only if it fails; then the password stays where it was typed.
    let _ = command.exec();
}

/// The value of `--postgres` that was typed, with its password.
pub(crate) fn typed_postgres(typed: &str) -> String {
    std::env::var(TYPED_POSTGRES).unwrap_or_else(|_| typed.to_owned())
}

/// The arguments without the password in the value of `--postgres`, and that value; `None` if absent.
fn without_password(arguments: &[OsString]) -> Option<(Vec<OsString>, OsString)> {
    let mut hidden = arguments.to_vec();
    let own = arguments.iter().take_while(|argument| *argument != "--");
    for (at, argument) in own.enumerate().skip(1) {
        let bytes = argument.as_bytes();
        let (at, url, prefix) = if argument == POSTGRES {
            (at + 1, arguments.get(at + 1)?.as_os_str(), "")
        } else if let Some(url) = bytes.strip_prefix(b"--postgres=") {
            (at, OsStr::from_bytes(url), "--postgres=")
        } else {
            continue;
        };
        let shown = shown_without_password(url.to_str()?)?;
        hidden[at] = format!("{prefix}{shown}").into();
        return Some((hidden, url.to_owned()));
    }
    None
}

/// A connection's text as the process table may show it; `None` if it holds no password.
fn shown_without_password(url: &str) -> Option<String> {
    match url.parse::<ConnectOptions>() {
        Ok(options) if options.password.is_none() && !url.contains('@') => None,
        Ok(options) if options.password.is_none() && !url.contains(':') => None,
        // One without a password, whose only colons are those of the scheme and the port.
        Ok(options)
            if options.password.is_none()
                && url
                    .split_once("://")
                    .and_then(|(_, rest)| rest.split_once('@'))
                    .is_some_and(|(user, rest)| !user.contains(':') && !rest.contains('@')) =>
        {
            None
        }
        Ok(options) if options.password.is_some() => Some(format!("postgres://***@{options}")),
        _ => Some("postgres://***".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root starts the sample twice: the second start closed the directories of the server that the first one had made.
    #[test]
    fn a_server_of_another_user_can_still_enter_its_directory() {
        let base = tempfile::tempdir().unwrap();
        let state = base.path().join(".bekk");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        fs::create_dir_all(state.join("postgres/data")).unwrap();
        fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
        close_state(base.path()).unwrap();
        assert_eq!(mode(&state), 0o700);
        // Only root can give a directory away, and only root's server is another user's.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(state.join("postgres/data"), Some(65_534), None).unwrap();
            close_state(base.path()).unwrap();
            assert_eq!(mode(&state), 0o711);
            assert_eq!(mode(&state.join("postgres")), 0o711);
        }
    }

    /// The log is opened before the server is started, and closes `.bekk`.
    #[test]
    fn a_server_that_has_no_data_yet_can_enter_its_directory() {
        let base = tempfile::tempdir().unwrap();
        let state = base.path().join(".bekk");
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        let mode = || fs::metadata(&state).unwrap().mode() & 0o777;
        let check = |expected| {
            let_server_in(base.path()).unwrap();
            assert_eq!(mode(), expected);
            // As another command does meanwhile.
            close_state(base.path()).unwrap();
            assert_eq!(mode(), expected);
            set(&state, 0o700).unwrap();
        };
        let_server_in(base.path()).unwrap();
        assert!(!state.exists());
        fs::create_dir(&state).unwrap();
        set(&state, 0o700).unwrap();
        set(base.path(), 0o700).unwrap();
        // The way to `.bekk` is closed, so that opening it would not help.
        check(0o700);
        set(base.path(), 0o711).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        check(if is_root { 0o711 } else { 0o700 });
        fs::create_dir_all(state.join("postgres")).unwrap();
        fs::write(state.join("postgres/place"), "/elsewhere/data\n").unwrap();
        check(0o700);
    }

    /// Root looks at a user's project, whose server runs as that user.
    #[test]
    fn a_server_of_the_same_user_opens_nothing() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let base = tempfile::tempdir().unwrap();
        let state = base.path().join(".bekk");
        fs::create_dir_all(state.join("postgres/data")).unwrap();
        for path in [&state, &state.join("postgres/data")] {
            std::os::unix::fs::chown(path, Some(65_534), None).unwrap();
        }
        assert!(!serves_another_user(&state));
    }

    #[test]
    fn only_a_password_is_hidden() {
        let check = |arguments: &[&str], expected: Option<&[&str]>| {
            let given: Vec<OsString> = arguments.iter().map(Into::into).collect();
            let hidden = without_password(&given).map(|(hidden, _)| hidden);
            let expected: Option<Vec<OsString>> =
                expected.map(|texts| texts.iter().map(Into::into).collect());
            assert_eq!(hidden, expected, "{arguments:?}");
        };
        check(&["bekk", "up"], None);
        check(&["bekk", "up", "--postgres", "postgres://a@h:1/d"], None);
        check(&["bekk", "up", "--postgres", "host=h dbname=d"], None);
        check(
            &["bekk", "up", "--postgres", "postgres://a:word@h:1/d", "-v"],
            Some(&["bekk", "up", "--postgres", "postgres://***@h:1/d", "-v"]),
        );
        check(
            &["bekk", "check", "--postgres=host=h dbname=d password=word"],
            Some(&["bekk", "check", "--postgres=postgres://***@h:5432/d"]),
        );
        check(
            &["bekk", "check", "--postgres=postgres://a:wo/rd@h:1/d"],
            Some(&["bekk", "check", "--postgres=postgres://***"]),
        );
        check(
            &["bekk", "psql", "--", "--postgres", "postgres://a:word@h/d"],
            None,
        );
    }
}
