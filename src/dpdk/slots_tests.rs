//! Rows on the heap: whose they are, what is left in them, and a model over random moves.

use std::rc::Rc;

use super::Memory;
use super::slots::*;

type Table = Halves<Rc<u32>, u8, Rc<u32>, u64>;

fn table_of(capacity: usize) -> (Table, Vec<Token<Vacant>>) {
    table(Memory::Heap, capacity).expect("a few lines")
}

fn row(counted: &Rc<u32>, number: u32) -> Row<Rc<u32>, u8, Rc<u32>, u64> {
    Row(Rc::clone(counted), number as u8, Rc::clone(counted), u64::from(number))
}

#[test]
fn the_first_column_starts_eight_octets_into_its_line() {
    let ((rows, _keeper), _) = table::<[u64; 39], u8, u8, u8>(Memory::Heap, 2).expect("a few lines");
    assert_eq!(size_of::<Head<[u64; 39]>>(), 320);
    assert_eq!(std::mem::offset_of!(Head<[u64; 39]>, first), 8);
    assert_eq!(rows.first_address(1).addr() - rows.first_address(0).addr(), 320);
    assert_eq!(rows.first_address(0).addr() % 64, 0);
}

#[test]
fn a_row_goes_from_control_to_the_worker_and_back() {
    let counted = Rc::new(7);
    let ((mut rows, mut keeper), mut vacant) = table_of(2);
    assert!(rows.first(0).is_none() && rows.retire(0).is_none(), "a vacant row is nobody's");
    let filled = keeper.fill(vacant.remove(0), row(&counted, 5)).ok().expect("its own table");
    assert!(rows.first(0).is_none() && rows.fourth(0).is_none(), "nor is one that is only filled");
    assert_eq!(rows.adopt(filled).ok(), Some(0));
    assert_eq!((rows.first(0).map(|it| **it), rows.second(0), rows.fourth(0)), (Some(7), Some(&5), Some(&5)));
    *rows.row_mut(0).expect("live").3 = 9;
    let mut retired = rows.retire(0).expect("live");
    assert!(rows.second(0).is_none() && rows.row_mut(0).is_none() && rows.live() == 0);
    assert_eq!(keeper.row_mut(&mut retired).map(|it| *it.3), Some(9));
    assert_eq!(Rc::strong_count(&counted), 3);
    let vacant = keeper.empty(retired).expect("its own table");
    assert_eq!((vacant.row(), Rc::strong_count(&counted)), (0, 1), "what was in it is dropped");
}

#[test]
fn an_emptied_row_holds_nothing_but_zeros() {
    let ((mut rows, mut keeper), mut vacant) =
        table::<[u64; 39], [u8; 100], [u8; 7], u64>(Memory::Heap, 1).expect("a few lines");
    let key = Row([u64::MAX; 39], [0xaa; 100], [0xbb; 7], u64::MAX);
    let filled = keeper.fill(vacant.remove(0), key).ok().expect("its own table");
    let _ = rows.adopt(filled);
    let retired = rows.retire(0).expect("live");
    let _vacant = keeper.empty(retired).expect("its own table");
    let table = &rows.table;
    // SAFETY: any octets are valid for these types, and the row is nobody's.
    unsafe {
        assert_eq!(table.heads[0].first.with(|it| (*it).assume_init()), [0; 39]);
        assert_eq!(table.second[0].with(|it| (*it).assume_init()), [0; 100]);
        assert_eq!(table.third[0].with(|it| (*it).assume_init()), [0; 7]);
        assert_eq!(table.fourth[0].with(|it| (*it).assume_init()), 0);
    }
}

#[test]
fn a_token_is_good_for_its_own_table_only() {
    let counted = Rc::new(0);
    let ((mut rows, mut keeper), mut vacant) = table_of(1);
    let ((mut other_rows, mut other_keeper), _) = table_of(1);
    let refused = other_keeper.fill(vacant.remove(0), row(&counted, 1));
    let Err((token, values)) = refused else { panic!("another table's") };
    let filled = keeper.fill(token, values).ok().expect("its own");
    let filled = other_rows.adopt(filled).expect_err("another table's");
    assert_eq!(rows.adopt(filled).ok(), Some(0));
    let mut retired = rows.retire(0).expect("live");
    assert!(other_keeper.row_mut(&mut retired).is_none());
    let retired = other_keeper.empty(retired).expect_err("another table's");
    assert!(keeper.empty(retired).is_ok());
}

#[test]
fn what_is_live_when_the_table_goes_is_dropped_once() {
    let counted = Rc::new(0);
    let ((mut rows, mut keeper), vacant) = table_of(3);
    for (number, token) in (0..).zip(vacant) {
        let filled = keeper.fill(token, row(&counted, number)).ok().expect("its own table");
        let _ = rows.adopt(filled);
    }
    let retired = rows.retire(1).expect("live");
    assert_eq!(Rc::strong_count(&counted), 7);
    let (mut first, others) = rows.split();
    assert!(first.get_mut(1).is_none() && others.second(1).is_none() && others.third(2).is_some());
    *first.get_mut(0).expect("live") = Rc::new(1);
    assert_eq!(Rc::strong_count(&counted), 6);
    drop(rows);
    assert_eq!(Rc::strong_count(&counted), 3, "the retired row is its token's");
    assert!(keeper.empty(retired).is_ok());
    assert_eq!(Rc::strong_count(&counted), 1);
}

/// Random moves against a model that knows in whose hand each row is.
#[test]
fn agrees_with_a_model_over_random_moves() {
    let counted = Rc::new(0);
    let ((mut rows, mut keeper), mut vacant) = table_of(16);
    let (mut filled, mut live, mut retired) = (Vec::new(), Vec::new(), Vec::new());
    let mut random = 1_u64;
    // Miri takes its time with each.
    for step in 0..if cfg!(miri) { 1_000 } else { 100_000_u32 } {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let pick = |len: usize| (random >> 33) as usize % len;
        match random >> 62 {
            0 if !vacant.is_empty() => {
                let token = vacant.swap_remove(pick(vacant.len()));
                filled.push((step, keeper.fill(token, row(&counted, step)).ok().expect("its own")));
            }
            1 if !filled.is_empty() => {
                let (value, token) = filled.swap_remove(pick(filled.len()));
                live.push((value, rows.adopt(token).expect("its own")));
            }
            2 if !live.is_empty() => {
                let (value, row) = live.swap_remove(pick(live.len()));
                retired.push((value, rows.retire(row).expect("live")));
            }
            3 if !retired.is_empty() => {
                let (value, mut token) = retired.swap_remove(pick(retired.len()));
                assert_eq!(keeper.row_mut(&mut token).map(|it| *it.3), Some(u64::from(value)));
                vacant.push(keeper.empty(token).expect("its own"));
            }
            _ => {}
        }
        assert_eq!(rows.live(), live.len());
        assert_eq!(Rc::strong_count(&counted), 1 + 2 * (filled.len() + live.len() + retired.len()));
        for &(value, row) in &live {
            assert_eq!(rows.fourth(row), Some(&u64::from(value)));
        }
    }
    // A row that is neither live nor vacant keeps what is in it, so whoever has its token gives it back.
    for (_, token) in filled {
        assert!(rows.adopt(token).is_ok());
    }
    for (_, token) in retired {
        assert!(keeper.empty(token).is_ok());
    }
    drop(rows);
    assert_eq!(Rc::strong_count(&counted), 1);
}
