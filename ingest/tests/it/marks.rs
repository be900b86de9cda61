//! A log that went backwards: what it lost of the files is appended again, and nothing twice.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::world::{World, ids, rows};

/// What the log holds of all files, in order.
fn all(world: &World) -> Vec<i64> {
    let logged: Vec<_> = world.logged().into_values().flatten().collect();
    let mut all = ids(&logged);
    all.sort_unstable();
    all
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// The accident: the log's disk is set back to a backup, and what ingest remembers is not. Without a comparison the
/// files would count as read, and the log would be continued without their records.
#[test]
fn what_a_log_that_was_set_back_lacks_is_appended_again() {
    let world = World::new();
    world.put("a.csv", format!("id,name,price\n{}", rows(0, 500)));
    world.once();
    copy(&world.path("log"), &world.path("backup"));
    world.put("b.csv", format!("id,name,price\n{}", rows(500, 900)));
    world.once();
    fs::remove_dir_all(world.path("log")).unwrap();
    copy(&world.path("backup"), &world.path("log"));

    let summary = world.once();
    assert_eq!(summary.records, 400, "{summary:?}");
    assert_eq!(all(&world), (0..900).collect::<Vec<_>>());
    // Once it has been appended, there is nothing to say.
    assert_eq!(world.once().records, 0);

    // The same where new records have taken the offsets meanwhile.
    fs::remove_dir_all(world.path("log")).unwrap();
    copy(&world.path("backup"), &world.path("log"));
    fs::rename(world.path("state"), world.path("other-state")).unwrap();
    world.put("c.csv", format!("id,name,price\n{}", rows(900, 2000)));
    fs::rename(world.inbox("b.csv"), world.path("b.csv")).unwrap();
    world.once();
    fs::rename(world.path("b.csv"), world.inbox("b.csv")).unwrap();
    fs::remove_dir_all(world.path("state")).unwrap();
    fs::rename(world.path("other-state"), world.path("state")).unwrap();
    world.once();
    assert_eq!(all(&world), (0..2000).collect::<Vec<_>>());
}
