use super::*;

use bekk_testing::assert_says;

fn found() -> FoundIdentity {
    FoundIdentity {
        system: "1".to_owned(),
        database: "shop".to_owned(),
        database_oid: 5,
        wanted: "events".to_owned(),
        table: Some(FoundTable {
            name: "public.events".to_owned(),
            oid: 10,
            file: 20,
            is_empty: Some(false),
        }),
        remembered: Some(Remembered {
            system: "1".to_owned(),
            database: "shop".to_owned(),
            table: "public.events".to_owned(),
            database_oid: Some(5),
            table_oid: Some(10),
            table_file: Some(20),
        }),
        remembered_now: Some("public.events".to_owned()),
        placed: 7,
        adopted: 0,
        may_be_empty: false,
    }
}

#[track_caller]
fn check(expected: &TableVerdict, change: impl FnOnce(&mut FoundIdentity)) {
    let mut changed = found();
    change(&mut changed);
    assert_eq!(judge(&changed), *expected, "{changed:?}");
}

fn remembered(found: &mut FoundIdentity) -> &mut Remembered {
    found.remembered.as_mut().unwrap()
}

fn table(found: &mut FoundIdentity) -> &mut FoundTable {
    found.table.as_mut().unwrap()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_table_is_judged_by_what_it_was() {
    let same = TableVerdict::Same { note: None };
    let problem = TableVerdict::Problem;
    check(&same, |_| ());
    // VACUUM FULL, or a column's new type.
    check(&same, |found| table(found).file = 21);
    check(&same, |found| {
        remembered(found).database = "renamed".to_owned()
    });
    check(&same, |found| found.remembered = None);
    check(&same, |found| {
        found.table = None;
        found.placed = 0;
    });
    check(&problem(TableProblem::Missing { placed: 7 }), |found| {
        found.table = None;
        found.remembered_now = None;
        found.wanted = "public.events".to_owned();
    });
    check(
        &problem(TableProblem::Renamed {
            now: "public.goods".to_owned(),
        }),
        |found| {
            found.table = None;
            found.remembered_now = Some("public.goods".to_owned());
        },
    );
    check(
        &problem(TableProblem::Recreated {
            placed: 7,
            is_empty: true,
        }),
        |found| {
            table(found).oid = 11;
            table(found).is_empty = Some(true);
        },
    );
    check(&problem(TableProblem::Truncated { placed: 7 }), |found| {
        table(found).file = 21;
        table(found).is_empty = Some(true);
    });
    check(&problem(TableProblem::Deleted { placed: 7 }), |found| {
        table(found).is_empty = Some(true)
    });
    check(&same, |found| {
        table(found).is_empty = Some(true);
        found.may_be_empty = true;
    });
    check(&TableVerdict::Same { note: None }, |found| {
        table(found).is_empty = None
    });
    let from = "database `shop` on server 2".to_owned();
    check(
        &problem(TableProblem::Moved {
            from,
            has_rows: true,
        }),
        |found| remembered(found).system = "2".to_owned(),
    );
    check(
        &problem(TableProblem::OtherTable {
            from: "public.events".to_owned(),
            now: "public.other".to_owned(),
            has_rows: true,
            placed: 7,
        }),
        |found| {
            table(found).name = "public.other".to_owned();
            table(found).oid = 11;
        },
    );
    check(
        &problem(TableProblem::OtherTable {
            from: "public.events".to_owned(),
            now: "public.other".to_owned(),
            has_rows: true,
            placed: 5,
        }),
        |found| {
            (found.placed, found.adopted) = (0, 5);
            table(found).name = "public.other".to_owned();
            table(found).oid = 11;
        },
    );
    check(&same, |found| {
        (found.placed, found.adopted) = (0, 5);
        table(found).file = 21;
        table(found).is_empty = Some(true);
    });
}

/// A table that was renamed, in PostgreSQL and in the configuration, is followed.
#[test]
fn a_renamed_table_is_followed() {
    let mut renamed = found();
    table(&mut renamed).name = "public.goods".to_owned();
    let TableVerdict::Same { note: Some(note) } = judge(&renamed) else {
        panic!("not followed");
    };
    assert_says(&note, &["`public.events` is called `public.goods` now"]);
    // An earlier version remembered the name only.
    remembered(&mut renamed).table_oid = None;
    assert!(matches!(
        judge(&renamed),
        TableVerdict::Problem(TableProblem::OtherTable { .. })
    ));
}
