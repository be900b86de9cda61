//! Records longer than a record may be.

use super::*;
use bekk_testing::dialect_with;

#[test]
fn over_long_records() {
    let dialect = dialect_with(|it| it.record_max = 10);
    let long = Some(Reason::TooLong);
    check_in(
        &dialect,
        "id,name\n1,a\n1,aaaaaaaaaa\n2,b\n",
        &[("1,a\n", None), ("1,aaaaaaaaaa\n", long), ("2,b\n", None)],
    );
    check_in(
        &dialect,
        "id,name\n1,\"\n\n\n\n\n\n\n\n\"\n2,b\n",
        &[("1,\"\n\n\n\n\n\n\n\n\"\n", long), ("2,b\n", None)],
    );
    check_in(&dialect, "id\n12345678901", &[("12345678901", long)]);
    check_in(
        &dialect,
        "id,name\n1,\"aaaaaaaaaaaa\n",
        &[("1,\"aaaaaaaaaaaa\n", Some(Reason::UnclosedQuote))],
    );
}

/// A record far larger than what is held: its beginning, length and hash remain.
#[test]
fn a_record_larger_than_memory_may_hold() {
    let long = format!("1,\"{}\n\"\n", "x".repeat(3_000_000));
    let content = format!("id,name\n0,a\n{long}2,b\n");
    let steps: Vec<usize> = (0..content.len()).step_by(100_000).collect();
    for steps in [&[][..], &steps] {
        let taken = read(content.as_bytes(), &CsvDialect::default(), steps).unwrap();
        let Body::Reject(reject) = Payload::decode(&taken[1].payload).unwrap().body else {
            panic!("a reject")
        };
        assert_eq!(
            (reject.reason, reject.length),
            (Reason::TooLong, long.len() as u64)
        );
        assert_eq!(
            reject.hash,
            Some(xxhash_rust::xxh3::xxh3_128(long.as_bytes()))
        );
        assert_eq!(&*reject.raw, &long.as_bytes()[..REJECT_RAW_MAX]);
        assert_eq!(
            taken.iter().map(|taken| taken.line).collect::<Vec<_>>(),
            [2, 3, 5]
        );
    }
}

/// A quote that is never closed makes a record overlong in the middle of a block, and the record is read again from its
/// beginning. The hash is that of the file's bytes all the same.
#[test]
fn a_record_that_is_read_again_is_hashed_once() {
    let dialect = dialect_with(|it| it.record_max = 8);
    let content = [HEADER, "1,a,\n2,b,\n\"\n\r1\"\"11,\"1\n3,c,\n"].concat();
    let taken = read_both(content.as_bytes(), &dialect).unwrap();
    let faults = taken.iter().filter(|taken| taken.fault.is_some());
    assert!(faults.count() > 0 && taken.len() > 3, "{taken:?}");
}
