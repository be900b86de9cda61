//! kill -9 at any moment.

use std::thread;
use std::time::Duration;

use bekk_postgres::Server;
use bekk_testing::{seed, setting};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::events::EventsFile;
use crate::exact::check_everything;
use crate::support::{Sandbox, wait_until};
use crate::trickle::Writer;

const KILLS_DEFAULT: u32 = 30;
const RECORDS_PER_KILL: usize = 8_000;
/// Every so many kills PostgreSQL is killed too.
const SERVER_KILL_EVERY: u32 = 7;

/// The accident: while files grow, cut anywhere, inside quotes too, the process is killed with -9, again
/// and again: while it starts, while rows flow, and, one time in three, while a COPY is under way; now and
/// then PostgreSQL is killed as well. Afterwards the table equals the files, and so does the log, which
/// holds each record once.
#[test]
fn nothing_is_lost_or_doubled_by_kill_9() {
    let kills = setting("BEKK_KILLS", KILLS_DEFAULT);
    let seed = seed();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let server = Server::temporary().unwrap();
    let sandbox = Sandbox::on(&server);
    let files: Vec<_> = (0..kills)
        .map(|_| EventsFile::random(&mut rng, RECORDS_PER_KILL))
        .collect();
    let texts = files.iter().map(|file| file.text.clone()).collect();
    let writer = Writer::start(sandbox.path("data"), texts, rng.random());

    let mut in_flight = 0;
    for kill in 0..kills {
        writer.allow_file();
        let process = sandbox.start("up");
        match kill % 3 {
            0 => {
                wait_for_copy(&sandbox);
                in_flight += 1;
            }
            1 => thread::sleep(Duration::from_millis(rng.random_range(0..150))),
            _ => thread::sleep(Duration::from_millis(rng.random_range(150..900))),
        }
        process.kill();
        if kill % SERVER_KILL_EVERY == SERVER_KILL_EVERY - 1 {
            server.kill();
            server.restart().unwrap();
        }
    }
    writer.join();
    println!("{kills} kills, {in_flight} of them with a COPY in flight");
    assert!(in_flight * 3 >= kills, "a third of the kills meet a COPY");

    let once = sandbox.ok("up --once");
    println!("{}{}", once.stderr, once.stdout);
    check_everything(&sandbox, &files);
    sandbox.ok("up --once").prints("nothing new");
}

fn wait_for_copy(sandbox: &Sandbox) {
    let postgres = sandbox.postgres();
    wait_until("a COPY is in flight", Duration::from_secs(60), || {
        postgres.number(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query ILIKE 'copy %' \
            AND datname = current_database() AND pid <> pg_backend_pid()",
        ) > 0
    });
}
