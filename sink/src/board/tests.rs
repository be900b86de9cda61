use super::*;
use crate::offsets::{Counts, TransactionId};

fn board() -> Board {
    let board = Board::new(
        (0..3)
            .map(|partition| Slot::new(0, "t", partition, 0))
            .collect(),
        vec![Vec::new()],
    );
    for slot in 0..3 {
        let held = Held {
            row: Taken {
                epoch: 1,
                next: 0,
                mark: None,
                counts: Counts::default(),
            },
            transaction: TransactionId::of("7").unwrap(),
            letters_end: 0,
            doubts: 0,
        };
        board.hold(slot, held);
    }
    board.set_ends(0, &[(0, 10), (1, 10), (2, 0)]);
    board
}

const NO_WAIT: Duration = Duration::ZERO;

/// A batch that was applied whole, up to `next`
fn outcome(next: u32) -> Outcome {
    Outcome {
        epoch: 1,
        transaction: TransactionId::of("7").unwrap(),
        next: next.into(),
        records: next as usize,
        conflict: false,
        passed: true,
        refused_run: 0,
        took: NO_WAIT,
        mark: None,
        counts: Counts::default(),
    }
}

#[test]
fn every_partition_with_work_has_its_turn_and_one_worker() {
    let board = board();
    let first = board.claim(100, NO_WAIT).unwrap();
    let second = board.claim(100, NO_WAIT).unwrap();
    assert_eq!((first.slot, second.slot), (0, 1));
    assert!(board.claim(100, NO_WAIT).is_none());
    board.give_back(0);
    assert_eq!(board.claim(100, NO_WAIT).unwrap().slot, 0);
}

#[test]
fn work_ahead_is_another_partitions_or_what_follows() {
    let board = board();
    board.claim(100, NO_WAIT).unwrap();
    assert_eq!(board.claim_ahead(0, 5, 100).unwrap().slot, 1);
    let own = board.claim_ahead(0, 5, 100).unwrap();
    assert_eq!((own.slot, own.from), (0, 5));
    assert!(board.claim_ahead(0, 10, 100).is_none());
}

#[test]
fn a_refused_batch_waits_for_what_other_partitions_find() {
    let board = board();
    let first = board.claim(100, NO_WAIT).unwrap();
    // The other partition has work: it may pass.
    assert_eq!(board.doubt(first.slot, 10, 60, 10), Doubt::Again);
    board.give_back(first.slot);
    let second = board.claim(100, NO_WAIT).unwrap();
    assert_eq!(second.slot, 1);
    assert!(board.claim(100, NO_WAIT).is_none());
    // It does not, and together they are too many.
    assert_eq!(board.doubt(second.slot, 10, 60, 10), Doubt::Table(120));
}

#[test]
fn a_record_in_the_way_of_which_another_row_is_waits_for_the_other_partitions() {
    let board = board();
    let first = board.claim(100, NO_WAIT).unwrap();
    // The records before it go first.
    board.early(first.slot, 0, 4);
    board.give_back(first.slot);
    let second = board.claim(100, NO_WAIT).unwrap();
    let first = board.claim(100, NO_WAIT).unwrap();
    assert_eq!((first.slot, first.records_max), (0, 4));
    let row = Taken {
        epoch: 1,
        next: 4,
        mark: None,
        counts: Counts::default(),
    };
    board.resync(first.slot, row);
    board.early(first.slot, 4, 4);
    board.give_back(first.slot);
    // The other partition has not come as far as its end.
    assert!(board.claim(100, NO_WAIT).is_none());
    let mut outcome = outcome(5);
    board.committed(second.slot, &outcome);
    // It has moved: another attempt, and not the last one.
    assert_eq!(board.claim(100, NO_WAIT).unwrap().slot, 0);
    assert_eq!(board.final_until(0), 0);
    board.early(first.slot, 4, 4);
    board.give_back(first.slot);
    assert!(board.claim(100, NO_WAIT).is_none());
    outcome.next = 10;
    board.committed(second.slot, &outcome);
    assert_eq!(board.claim(100, NO_WAIT).unwrap().slot, 0);
    assert_eq!(board.final_until(0), 5);
}

#[test]
fn a_record_that_passes_settles_the_doubt() {
    let board = board();
    let first = board.claim(100, NO_WAIT).unwrap();
    board.doubt(first.slot, 10, 60, 10);
    board.give_back(first.slot);
    let second = board.claim(100, NO_WAIT).unwrap();
    let outcome = outcome(10);
    board.committed(second.slot, &outcome);
    board.give_back(second.slot);
    assert_eq!(board.claim(100, NO_WAIT).unwrap().slot, first.slot);
    assert!(board.manner(first.slot).1);
}

#[test]
fn a_few_refused_records_alone_become_dead_letters() {
    let board = board();
    board.left(1);
    let first = board.claim(100, NO_WAIT).unwrap();
    // More of the same partition could tell more.
    assert_eq!(board.doubt(first.slot, 5, 5, 5), Doubt::Again);
    assert!(!board.manner(first.slot).1);
    assert_eq!(board.doubt(first.slot, 10, 10, 10), Doubt::Again);
    board.give_back(first.slot);
    assert_eq!(board.claim(100, NO_WAIT).unwrap().slot, first.slot);
    assert!(board.manner(first.slot).1);
}

#[test]
fn a_partition_without_lease_has_no_work() {
    let board = board();
    board.observe(0, 2, 7);
    assert_eq!(board.claim(100, NO_WAIT).unwrap().slot, 1);
    assert!(!board.leave(1));
    board.give_back(1);
    assert!(board.leave(1));
    assert!(board.claim(100, NO_WAIT).is_none());
}

/// A stream that has parents is taken up to where it was when theirs were there, and not before those are applied.
#[test]
fn a_child_waits_for_what_its_parents_have() {
    let slots = vec![Slot::new(0, "child", 0, 0), Slot::new(1, "parent", 0, 20)];
    let board = Board::new(slots, vec![vec![1], Vec::new()]);
    let row = Taken {
        epoch: 1,
        next: 0,
        mark: None,
        counts: Counts::default(),
    };
    for slot in 0..2 {
        let held = Held {
            row,
            transaction: TransactionId::of("7").unwrap(),
            letters_end: 0,
            doubts: 0,
        };
        board.hold(slot, held);
    }
    board.set_ends(0, &[(0, 10)]);
    let parent = board.claim(100, NO_WAIT).unwrap();
    assert_eq!((parent.slot, parent.until), (1, u64::MAX));
    assert!(board.claim(100, NO_WAIT).is_none());
    // What comes meanwhile is not waited for.
    board.set_ends(1, &[(0, 30)]);
    board.set_ends(0, &[(0, 15)]);
    let outcome = outcome(20);
    board.committed(1, &outcome);
    let child = board.claim(100, NO_WAIT).unwrap();
    assert_eq!((child.slot, child.until), (0, 10));
    assert!(
        board.claim_ahead(0, 10, 100).is_none(),
        "the gate ends there"
    );
    // Rows without parents: put off, and given up once all parents have been there.
    assert!(board.await_parents(0, NO_WAIT));
    board.committed(
        1,
        &Outcome {
            next: 30,
            ..outcome
        },
    );
    assert!(board.await_parents(0, NO_WAIT));
    assert!(!board.await_parents(0, NO_WAIT));
}

#[test]
fn nothing_is_taken_from_a_log_in_doubt_or_of_a_halted_stream() {
    let board = board();
    board.set_doubts(1);
    assert!(board.has_doubts());
    assert!(board.claim(100, NO_WAIT).is_none());
    board.verified(1, 1);
    assert_eq!(board.claim(100, NO_WAIT).unwrap().slot, 1);
    assert!(board.claim_ahead(1, 5, 100).is_some());
    board.set_doubts(2);
    assert!(board.claim_ahead(1, 5, 100).is_none());
    (0..3).for_each(|slot| board.verified(slot, 2));
    assert!(!board.has_doubts());
    assert!(board.halt(0), "there is no other stream");
    assert!(board.claim(100, NO_WAIT).is_none());
}

#[test]
fn conflicts_turn_the_way_and_their_absence_turns_it_back() {
    let board = board();
    let mut outcome = outcome(1);
    outcome.conflict = true;
    assert_eq!(board.manner(0).0, Path::Copy);
    board.committed(0, &outcome);
    board.committed(0, &outcome);
    assert_eq!(board.manner(0).0, Path::Merge);
    outcome.conflict = false;
    board.committed(0, &outcome);
    assert_eq!(board.manner(0).0, Path::Copy);
}
