//! A file is changed while ingest makes a system call of it: the first calls of each kind are held back in turn, before the
//! kernel does them or after. The changes are those after which no record may be missing, wrong or twice, whenever they meet the reading.
//!
//! strace holds the calls back, so only `make faults` runs this.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use bekk_testing::{MINUTE, wait_until};

use crate::files::all;
use crate::inbox::{Inbox, csv, lines};

/// The system calls that are held back, and how many of each after the change has begun.
const CALLS: [&str; 3] = ["pread64", "statx", "openat"];
const NUMBERS: u32 = 5;
/// How long one is held back, and how long after each other the steps of a change come: some of them while it is.
const HELD_MS: u32 = 400;
const STEP: Duration = Duration::from_millis(100);
/// Number of runs at the same time: they wait most of their time.
const THREADS: usize = 4;

/// What happens to the file `a.csv`, which has records 1 to 50, step by step, and the last record afterwards.
type Change = (&'static str, i64, &'static [fn(&Inbox)]);

const CHANGES: [Change; 5] = [
    (
        "appended in pieces",
        52,
        &[
            |inbox| inbox.append("a.csv", "51,"),
            |inbox| inbox.append("a.csv", &lines([51])[3..]),
            |inbox| inbox.append("a.csv", lines([52])),
        ],
    ),
    (
        "copied and emptied",
        53,
        &[|inbox| {
            inbox.append("a.csv", lines([51, 52]));
            fs::copy(inbox.at("a.csv"), inbox.at("a-1.csv")).unwrap();
            File::create(inbox.at("a.csv")).unwrap();
            inbox.append("a.csv", csv([53]));
        }],
    ),
    (
        "renamed, and another has its name",
        53,
        &[
            |inbox| inbox.append("a.csv", lines([51])),
            |inbox| fs::rename(inbox.at("a.csv"), inbox.at("b.csv")).unwrap(),
            |inbox| drop(inbox.put("a.csv", csv([53]))),
            |inbox| inbox.append("b.csv", lines([52])),
        ],
    ),
    (
        "replaced by one that has more",
        53,
        &[
            |inbox| inbox.append("a.csv", lines([51])),
            |inbox| {
                let written = inbox.put(".a", csv(1..=52));
                fs::rename(written, inbox.at("a.csv")).unwrap();
            },
            |inbox| inbox.append("a.csv", lines([53])),
        ],
    ),
    (
        "rewritten in place",
        150,
        &[
            |inbox| inbox.append("a.csv", "51"),
            |inbox| drop(inbox.put("a.csv", csv(51..=150))),
        ],
    ),
];

/// Holds one system call back that `process` makes of the inbox, from now on: the one of this number, counted for each of
/// its threads.
fn hold_back(inbox: &Inbox, process: u32, call: &str, number: u32, side: &str) -> Child {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-p", &process.to_string(), "-o"]);
    strace.arg(inbox.path("calls"));
    for path in ["in", "in/a.csv", "in/a-1.csv", "in/b.csv"] {
        strace.arg("-P").arg(inbox.path(path));
    }
    let inject = format!("inject={call}:{side}={}:when={number}", HELD_MS * 1000);
    let strace = strace.args(["-e", &inject]).stderr(Stdio::null()).spawn();
    let strace = strace.expect("install strace");
    wait_until("strace follows every thread", MINUTE, || {
        let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let mut states = threads
            .map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap());
        states.all(|state| !state.contains("TracerPid:\t0\n"))
    });
    strace
}

/// Runs a change with one call held back; says whether it was.
fn run((name, last, steps): Change, call: &str, number: u32, side: &str) -> bool {
    let inbox = Inbox::with("in/*.csv", "");
    inbox.put("a.csv", csv(1..=50));
    let process = inbox.start();
    inbox.await_records(50);
    let mut strace = hold_back(&inbox, process.id(), call, number, side);
    for step in steps {
        step(&inbox);
        thread::sleep(STEP);
    }
    let case = format!("{name}, {side} of {call} {number}");
    inbox.await_records(last as u64);
    assert_eq!(process.terminate(), Some(0), "{case}: {}", inbox.said());
    strace.wait().unwrap();
    inbox.run("ingest --once").ok();
    assert_eq!(inbox.ids(), all(1, last), "{case}: {}", inbox.said());
    fs::read_to_string(inbox.path("calls"))
        .unwrap()
        .contains("(DELAYED)")
}

#[test]
#[ignore = "needs strace; make faults runs it"]
fn files_may_change_during_system_calls() {
    let mut cases = Vec::new();
    for change in CHANGES {
        for call in CALLS {
            for number in 1..=NUMBERS {
                cases
                    .extend(["delay_enter", "delay_exit"].map(|side| (change, call, number, side)));
            }
        }
    }
    let (count, held) = (cases.len(), Mutex::new(0));
    let cases = Mutex::new(cases);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let Some((change, call, number, side)) = cases.lock().unwrap().pop() else {
                        break;
                    };
                    let was_held = run(change, call, number, side);
                    *held.lock().unwrap() += u32::from(was_held);
                }
            });
        }
    });
    let held = held.into_inner().unwrap();
    println!("{held} of {count} calls were held back");
    assert!(
        held as usize * 2 > count,
        "{held} of {count} calls were held back"
    );
}
