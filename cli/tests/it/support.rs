//! A directory to work in, the binary to run in it, and a database of its own on a real server.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bekk_postgres::Server;
pub(crate) use bekk_testing::{assert_says, wait_until};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// One server for all tests that leave it standing; it goes with this process.
static SERVER: LazyLock<Server> =
    LazyLock::new(|| Server::temporary_with(&[("fsync", "off")]).unwrap());

/// The users `root` and `nobody`, who unlike root may not read every file.
pub(crate) const ROOT: u32 = 0;
pub(crate) const NOBODY: u32 = 65_534;

/// The arguments of the binary: one by one, or in a text, with blanks between them.
pub(crate) trait Arguments {
    fn pass_to(&self, command: &mut Command);
}

impl Arguments for str {
    fn pass_to(&self, command: &mut Command) {
        command.args(self.split_whitespace());
    }
}

impl<A: AsRef<OsStr>> Arguments for [A] {
    fn pass_to(&self, command: &mut Command) {
        command.args(self);
    }
}

impl<A: AsRef<OsStr>, const N: usize> Arguments for [A; N] {
    fn pass_to(&self, command: &mut Command) {
        command.args(self);
    }
}

impl<A: AsRef<OsStr>> Arguments for Vec<A> {
    fn pass_to(&self, command: &mut Command) {
        command.args(self);
    }
}

/// A working directory with a database of its own.
pub(crate) struct Sandbox {
    dir: TempDir,
    pub(crate) url: String,
}

impl Sandbox {
    /// With a database on the shared server.
    pub(crate) fn new() -> Self {
        Self::on(&SERVER)
    }

    /// Without a database.
    pub(crate) fn bare() -> Self {
        Self {
            dir: TempDir::with_prefix("bekk-it-").unwrap(),
            url: String::new(),
        }
    }

    /// With a database on a server of the test's own.
    pub(crate) fn on(server: &Server) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        Postgres::connect(&server.url()).execute(&format!("CREATE DATABASE {name}"));
        let url = server.url();
        let (base, _) = url.rsplit_once('/').unwrap();
        let dir = TempDir::with_prefix("bekk-it-").unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        Self {
            dir,
            url: format!("{base}/{name}"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        // As if it had been written a while ago: a file that does not change is complete.
        let past = std::time::SystemTime::now() - Duration::from_secs(10);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(past)
            .unwrap();
        path
    }

    /// Lets a private server in, which root starts as another user; otherwise its data would outlive the sandbox.
    pub(crate) fn let_server_in(&self) {
        fs::set_permissions(self.dir(), fs::Permissions::from_mode(0o711)).unwrap();
    }

    /// Gives all of it to a user, as whom the binary runs from then on. Only root can; for others nothing changes.
    pub(crate) fn give_to(&self, user: u32) {
        if rustix::process::geteuid().is_root() {
            give_to(self.dir.path(), user);
        }
    }

    /// The binary, to be run here by the directory's owner, knowing nothing of this machine's environment but PATH.
    pub(crate) fn bekk(&self, arguments: &(impl Arguments + ?Sized)) -> Command {
        self.prepare(Command::new(env!("CARGO_BIN_EXE_bekk")), arguments)
    }

    /// The same as the last arguments of another program, such as `timeout 60`.
    pub(crate) fn bekk_under(
        &self,
        program: &[&str],
        arguments: &(impl Arguments + ?Sized),
    ) -> Command {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(env!("CARGO_BIN_EXE_bekk"));
        self.prepare(command, arguments)
    }

    fn prepare(&self, mut command: Command, arguments: &(impl Arguments + ?Sized)) -> Command {
        arguments.pass_to(&mut command);
        command
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("DATABASE_URL", &self.url);
        let owner = fs::metadata(self.dir.path()).unwrap().uid();
        if owner != rustix::process::geteuid().as_raw() {
            command.uid(owner).gid(owner);
        }
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run(&self, arguments: &(impl Arguments + ?Sized)) -> Ran {
        Ran::new(self.bekk(arguments).output().unwrap())
    }

    /// Runs the binary, which must exit with 0.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &(impl Arguments + ?Sized)) -> Ran {
        self.run(arguments).ok()
    }

    /// Runs the binary, which must exit with 1.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &(impl Arguments + ?Sized)) -> Ran {
        self.run(arguments).exits(1)
    }

    /// Runs the binary, which must exit with 0 and print a text.
    #[track_caller]
    pub(crate) fn tells(&self, arguments: &(impl Arguments + ?Sized), text: &str) {
        self.ok(arguments).prints(text);
    }

    /// Runs the binary, which must exit with 1 and say a text on standard error.
    #[track_caller]
    pub(crate) fn refuses(&self, arguments: &(impl Arguments + ?Sized), text: &str) {
        self.fails(arguments).says(text);
    }

    /// Starts the binary; what it says goes to `bekk.log` here.
    pub(crate) fn start(&self, arguments: &(impl Arguments + ?Sized)) -> Process {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("bekk.log"))
            .unwrap();
        let mut command = self.bekk(arguments);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Process::spawn(&mut command)
    }

    /// What the started binaries have said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.path("bekk.log")).unwrap_or_default()
    }

    pub(crate) fn postgres(&self) -> Postgres {
        Postgres::connect(&self.url)
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.path(".bekk/log")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// A test that fails shows what the binaries it started have said.
impl Drop for Sandbox {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("what was said:\n{}", self.said());
        }
    }
}

fn give_to(path: &Path, user: u32) {
    lchown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_to(&entry.unwrap().path(), user);
        }
    }
}

/// What a finished run has said.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.exits(0)
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Checks that standard output contains a text.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert!(
            stdout.contains(text),
            "`{text}` is not in: {stdout}\nstderr: {stderr}"
        );
        self
    }

    /// Checks that standard error contains a text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert_says(&self.stderr, &[text]);
        self
    }
}

/// A running binary; killed with -9 when dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Stops it where it is, or lets it go on.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Asks it to stop, and returns its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        // Before the handler is installed, SIGTERM ends any program.
        wait_until("SIGTERM is handled", Duration::from_secs(20), || {
            self.handles(rustix::process::Signal::TERM)
        });
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }

    /// Whether the process has a handler for a signal, or has ended.
    fn handles(&self, signal: rustix::process::Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        caught.is_none_or(|caught| {
            let caught = u64::from_str_radix(caught.trim(), 16).unwrap();
            status.contains("(zombie)") || caught >> (signal.as_raw() - 1) & 1 == 1
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A connection of the test's own.
pub(crate) struct Postgres {
    runtime: Runtime,
    client: tokio_postgres::Client,
}

impl Postgres {
    pub(crate) fn connect(url: &str) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match runtime.block_on(tokio_postgres::connect(url, NoTls)) {
                Ok((client, connection)) => {
                    runtime.spawn(connection);
                    return Self { runtime, client };
                }
                Err(error) if Instant::now() > deadline => panic!("connect: {error:?}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Runs statements; the rows of the last ones, as text, NULL as `∅`.
    #[track_caller]
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        self.try_rows(sql)
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    pub(crate) fn try_rows(&self, sql: &str) -> Result<Vec<Vec<String>>, tokio_postgres::Error> {
        let messages = self.runtime.block_on(self.client.simple_query(sql))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|at| row.get(at).unwrap_or("∅").to_owned())
                    .collect(),
            ),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// The first column of the first row.
    #[track_caller]
    pub(crate) fn one(&self, sql: &str) -> String {
        self.rows(sql)
            .first()
            .unwrap_or_else(|| panic!("{sql}: no row"))[0]
            .clone()
    }

    #[track_caller]
    pub(crate) fn number(&self, sql: &str) -> u64 {
        self.one(sql).parse().unwrap()
    }

    #[track_caller]
    pub(crate) fn execute(&self, sql: &str) {
        self.rows(sql);
    }
}
