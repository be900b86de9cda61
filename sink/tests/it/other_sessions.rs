//! Sessions of other roles of the same database: they are not members of a group and hold no partition, whatever they call
//! themselves.

use bekk_sink::{Config, Control, Error};
use bekk_testing::assert_matches;

use crate::harness::{Db, Log, drain, held, opened, run_while, try_reset, two_columns, until};
use crate::strangers::{Stranger, append};

#[test]
fn a_session_of_another_role_is_no_member() {
    let (mut db, log) = (Db::new(), Log::new());
    let stranger = Stranger::new(&mut db);
    let mut stream = two_columns();
    stream.partitions = 4;
    log.open_stream(&stream);
    let config = Config::new(db.options.clone());
    run_while(&config, &log, &stream, Control::stop, |stats| {
        until("all partitions are held", || held(stats) == 4);
        let name = db.one(
            "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()
                AND application_name LIKE 'bekk-sink %' LIMIT 1",
        );
        let prefix = name.rsplit_once(' ').unwrap().0;
        let mut options = db.options.clone();
        options.user = Some(stranger.role.clone());
        options.password = Some("word".to_owned());
        let strangers: Vec<_> = (0..3)
            .map(|i| {
                let mut theirs = Db::connect(options.clone());
                theirs.execute(&format!("SET application_name = '{prefix} 0000{i}'"));
                theirs
            })
            .collect();
        // Two looks of the keeper, which would have given three of them up.
        std::thread::sleep(std::time::Duration::from_millis(1_200));
        assert_eq!(held(stats), 4);
        drop(strangers);
    });
}

/// A role that can do no more than connect must not keep anybody from resetting a group.
#[test]
fn a_session_of_another_role_holds_no_partition() {
    let (mut db, log, stream) = opened(two_columns());
    let stranger = Stranger::new(&mut db);
    append(&log, &stream, &[(1, "a")]);
    drain(&db, &log, &stream).unwrap();
    db.execute(
        "UPDATE bekk.offsets SET owner = 'bekk-sink lent', lease_until = clock_timestamp() + interval '1 hour'",
    );
    let mut options = db.options.clone();
    options.user = Some(stranger.role.clone());
    options.password = Some("word".to_owned());
    let mut theirs = Db::connect(options);
    theirs.execute("SET application_name = 'bekk-sink lent'");
    let owner = || {
        bekk_sink::list_offsets(&db.options).unwrap()[0]
            .owner
            .clone()
    };
    assert_eq!(owner(), None);
    let reset = || try_reset(&db, &log, &stream.name, (0, 0));
    // A session of the sink's own role is one.
    let mut own = Db::connect(db.options.clone());
    own.execute("SET application_name = 'bekk-sink lent'");
    assert_eq!(owner().as_deref(), Some("bekk-sink lent"));
    assert_matches!(reset(), Err(Error::GroupInUse { .. }));
    drop(own);
    until("the session has ended", || owner().is_none());
    reset().unwrap();
}
