use super::*;

const A: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xa]);
const B: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xb]);

fn table() -> (NeighbourTable, NextHopId) {
    let mut table = NeighbourTable::new(4);
    let id = table.find_or_add("10.0.0.2".parse().unwrap()).unwrap();
    (table, id)
}

fn state(table: &NeighbourTable, id: NextHopId) -> (NeighbourState, Option<MacAddress>) {
    let entry = table.neighbours().nth(id.0 as usize).unwrap();
    (entry.state, entry.mac)
}

fn claim(mac: Option<MacAddress>, solicited: bool, overrides: bool) -> Claim {
    Claim { mac, solicited, overrides }
}

/// Brings the entry into `wanted` with address A (none if incomplete); returns the time it is then.
fn bring(table: &mut NeighbourTable, id: NextHopId, wanted: NeighbourState) -> u64 {
    match wanted {
        NeighbourState::Incomplete => return 0,
        NeighbourState::Stale => table.claim(id, claim(Some(A), false, true), 0),
        NeighbourState::Reachable | NeighbourState::Probing => table.claim(id, claim(Some(A), true, true), 0),
    };
    if wanted == NeighbourState::Probing {
        assert!(table.due(REACHABLE_NS).is_some());
        return REACHABLE_NS;
    }
    0
}

/// RFC 4861 §7.2.5 and App. C, row by row: state before, MAC, solicited, override, state and MAC after.
#[test]
fn claims_change_the_state_as_rfc_4861_has_it() {
    use NeighbourState::*;
    let same = Some(A);
    let other = Some(B);
    for (before, mac, solicited, overrides, after, mac_after) in [
        (Incomplete, None, true, true, Incomplete, None),
        (Incomplete, same, true, true, Reachable, same),
        (Incomplete, same, true, false, Reachable, same),
        (Incomplete, same, false, true, Stale, same),
        (Incomplete, same, false, false, Stale, same),
        (Reachable, same, true, false, Reachable, same),
        (Reachable, same, false, true, Reachable, same),
        (Reachable, None, false, true, Reachable, same),
        (Reachable, other, true, false, Stale, same),
        (Reachable, other, false, false, Stale, same),
        (Reachable, other, true, true, Reachable, other),
        (Reachable, other, false, true, Stale, other),
        (Stale, same, true, false, Reachable, same),
        (Stale, same, false, false, Stale, same),
        (Stale, None, true, false, Reachable, same),
        (Stale, other, true, false, Stale, same),
        (Stale, other, true, true, Reachable, other),
        (Stale, other, false, true, Stale, other),
        (Probing, same, true, false, Reachable, same),
        (Probing, None, true, true, Reachable, same),
        (Probing, same, false, true, Probing, same),
        (Probing, other, true, false, Probing, same),
        (Probing, other, true, true, Reachable, other),
        (Probing, other, false, true, Stale, other),
    ] {
        let (mut table, id) = table();
        let now = bring(&mut table, id, before);
        assert_eq!(state(&table, id).0, before);
        let changed = table.claim(id, claim(mac, solicited, overrides), now);
        let row = format!("{before:?} {mac:?} solicited {solicited} override {overrides}");
        assert_eq!(state(&table, id), (after, mac_after), "{row}");
        assert_eq!(
            changed,
            before != after || after == Reachable && solicited || mac_after == other,
            "{row}"
        );
    }
}

#[test]
fn an_incomplete_entry_backs_off_to_a_minute() {
    let (mut table, _) = table();
    let mut now = 0;
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        let asked = table.due(now).unwrap();
        assert_eq!((asked.target, asked.mac), ("10.0.0.2".parse().unwrap(), None));
        assert_eq!(table.due(now), None, "asked once per deadline");
        assert_eq!(table.next_deadline_ns(), Some(now + seconds * SECOND_NS));
        assert_eq!(table.due(now + seconds * SECOND_NS - 1), None);
        now += seconds * SECOND_NS;
    }
    assert_eq!(table.changes().count(), 0, "nothing was ever known, so nothing was lost");
}

#[test]
fn a_confirmed_entry_is_probed_before_it_is_given_up() {
    let (mut table, id) = table();
    table.claim(id, claim(Some(A), true, true), 0);
    assert_eq!(table.changes().collect::<Vec<_>>(), [(id, Some(A))]);
    assert_eq!(table.due(REACHABLE_NS - 1), None);
    for probe in 0..u64::from(MAX_PROBES) {
        let at = REACHABLE_NS + probe * RETRANSMIT_NS;
        assert_eq!(table.due(at - 1), None);
        assert_eq!(table.due(at).unwrap().mac, Some(A), "probes are unicast");
        assert_eq!(table.changes().count(), 0, "the address stays in use while it is probed");
    }
    let at = REACHABLE_NS + u64::from(MAX_PROBES) * RETRANSMIT_NS;
    assert_eq!(table.due(at).unwrap().mac, None, "then everybody is asked");
    assert_eq!(state(&table, id), (NeighbourState::Incomplete, None));
    assert_eq!(table.changes().collect::<Vec<_>>(), [(id, None)]);
}

#[test]
fn an_answered_probe_renews_the_entry() {
    let (mut table, id) = table();
    let mut now = bring(&mut table, id, NeighbourState::Probing);
    assert_eq!(table.changes().count(), 1);
    for _ in 0..5 {
        table.claim(id, claim(Some(A), true, true), now);
        assert_eq!(table.next_deadline_ns(), Some(now + REACHABLE_NS));
        now += REACHABLE_NS;
        assert_eq!(table.due(now).unwrap().mac, Some(A));
    }
    assert_eq!(table.changes().count(), 0, "the same address is no news");
}

#[test]
fn a_stale_entry_is_probed_after_five_seconds() {
    let (mut table, id) = table();
    bring(&mut table, id, NeighbourState::Stale);
    assert_eq!(table.due(STALE_NS - 1), None);
    assert_eq!(table.due(STALE_NS).unwrap().mac, Some(A));
}

#[test]
fn changes_that_cancel_out_are_not_reported() {
    let (mut table, id) = table();
    bring(&mut table, id, NeighbourState::Reachable);
    assert_eq!(table.changes().count(), 1);
    for round in 0..10_000u32 {
        let mac = if round % 2 == 0 { B } else { A };
        table.claim(id, claim(Some(mac), false, true), 1);
    }
    assert_eq!(table.changed.len(), 1, "a flood does not pile up");
    assert_eq!(table.changes().count(), 0, "A was reported, and A it is");
}

#[test]
fn a_full_table_refuses_and_still_finds() {
    let mut table = NeighbourTable::new(2);
    let address = |n: u8| IpAddr::from([10, 0, 0, n]);
    assert_eq!(table.find_or_add(address(1)), Some(NextHopId(0)));
    assert_eq!(table.find_or_add(address(2)), Some(NextHopId(1)));
    assert_eq!(table.find_or_add(address(3)), None);
    assert_eq!(table.find_or_add(address(2)), Some(NextHopId(1)));
    assert_eq!((table.find(address(3)), table.capacity()), (None, 2));
}

#[test]
fn a_restart_asks_the_silent_and_verifies_the_known() {
    let (mut table, known) = table();
    let silent = table.find_or_add("10.0.0.3".parse().unwrap()).unwrap();
    table.claim(known, claim(Some(A), true, true), 0);
    for _ in 0..20 {
        table.due(0);
    }
    let now = 10 * SECOND_NS;
    table.restart(now);
    let asked = [table.due(now).unwrap(), table.due(now).unwrap()];
    assert!(asked.contains(&Solicitation { target: "10.0.0.2".parse().unwrap(), mac: Some(A) }));
    assert!(asked.contains(&Solicitation { target: "10.0.0.3".parse().unwrap(), mac: None }));
    assert_eq!(table.next_deadline_ns(), Some(now + RETRANSMIT_NS), "the back-off starts anew");
    assert_eq!(table.mac(known), Some(A));
    assert_eq!(table.mac(silent), None);
}

#[test]
fn an_answer_is_awaited_for_three_seconds_after_a_question() {
    let (mut table, id) = table();
    assert!(!table.is_asking(id, 0), "nothing was asked yet");
    table.due(0).unwrap();
    assert!(table.is_asking(id, 0) && table.is_asking(id, 3 * SECOND_NS - 1));
    assert!(!table.is_asking(id, 3 * SECOND_NS));
    table.claim(id, claim(Some(A), false, true), 0);
    assert!(table.is_asking(id, 0), "the neighbour's own question is no answer to ours");
    table.claim(id, claim(Some(A), true, true), 0);
    assert!(!table.is_asking(id, 0), "answered");
}

#[test]
fn changes_that_were_not_taken_stay() {
    let (mut table, first) = table();
    let second = table.find_or_add("10.0.0.3".parse().unwrap()).unwrap();
    table.claim(first, claim(Some(A), true, true), 0);
    table.claim(second, claim(Some(B), true, true), 0);
    assert_eq!(table.changes().next(), Some((first, Some(A))));
    assert_eq!(table.changes().next(), Some((second, Some(B))));
    assert_eq!(table.changes().next(), None);
}
