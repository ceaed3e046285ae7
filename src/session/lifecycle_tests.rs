use super::*;
use crate::dpdk::Memory;
use crate::dpdk::slots::table;

struct Stream(Activity);

impl Active for Stream {
    fn activity(&self) -> Activity {
        self.0
    }

    fn set_ending(&mut self) {
        self.0.is_ending = true;
    }
}

struct Margin(Timers);

impl AsRef<Timers> for Margin {
    fn as_ref(&self) -> &Timers {
        &self.0
    }
}

const QUIET: Activity = Activity { last_seen: 0, has_source: true, is_ending: false };

fn seen(last_seen: u32) -> Activity {
    Activity { last_seen, ..QUIET }
}

#[test]
fn the_idle_time_counts_from_the_latest_packet_of_either_leg() {
    let timers = Timers { born: 100, idle: 50, ..Timers::never() };
    assert_eq!(timers.check(149, [QUIET, QUIET]), None);
    assert_eq!(timers.check(150, [QUIET, QUIET]), Some(EndReason::IdleTimeout), "from its birth");
    assert_eq!(timers.check(249, [seen(120), seen(200)]), None);
    assert_eq!(timers.check(250, [seen(200), seen(120)]), Some(EndReason::IdleTimeout));
    assert_eq!(Timers::never().check(u32::MAX - 1, [QUIET, QUIET]), None);
    assert_eq!(timers.check(90, [seen(95), QUIET]), None, "a clock that went back ends nothing");
}

#[test]
fn a_session_is_set_up_once_a_packet_came_and_both_remotes_are_known() {
    let timers = Timers { set_up_by: 30, ..Timers::never() };
    let unknown = Activity { has_source: false, ..QUIET };
    assert_eq!(timers.check(29, [unknown, unknown]), None);
    assert_eq!(timers.check(30, [QUIET, QUIET]), Some(EndReason::SetupTimeout), "no packet");
    assert_eq!(timers.check(30, [seen(10), unknown]), Some(EndReason::SetupTimeout), "one remote is missing");
    assert_eq!(timers.check(30, [seen(10), QUIET]), None, "a leg may only listen");
}

#[test]
fn a_session_ends_at_its_maximum_lifetime_however_busy() {
    let timers = Timers { ends_at: 500, ..Timers::never() };
    assert_eq!(timers.check(499, [seen(499), seen(499)]), None);
    assert_eq!(timers.check(500, [seen(500), seen(500)]), Some(EndReason::MaxLifetime));
}

#[test]
fn a_sweep_goes_round_and_reports_each_end_once() {
    let ((mut rows, mut keeper), vacant) = table(Memory::Heap, 9).expect("a few lines");
    for token in vacant {
        let row = token.row();
        // The session of rows 2 and 3 is not there; row 8 has no partner.
        if matches!(row, 2 | 3) {
            continue;
        }
        let timers = Timers { generation: row + 1, ends_at: 10 * (row / 2), ..Timers::never() };
        let filled = keeper.fill(token, Row(Stream(QUIET), (), (), Margin(timers)));
        let _ = rows.adopt(filled.ok().expect("its own table"));
    }
    let mut cursor = 0;
    let mut ended = Vec::new();
    let mut turn = |now, sessions, room: usize| {
        let before = ended.len();
        sweep(&mut rows, &mut cursor, sessions, now, |end| {
            let has_room = ended.len() - before < room;
            if has_room {
                ended.push((end.row, end.generation, end.reason));
            }
            has_room
        });
        ended.split_off(before)
    };
    let over = EndReason::MaxLifetime;
    assert_eq!(turn(20, 2, 9), [(0, 1, over)], "two sessions are looked at");
    assert_eq!(turn(20, 100, 9), [(4, 5, over)], "and no more than there are");
    assert_eq!(turn(30, 100, 0), [], "no room to tell");
    assert_eq!(turn(30, 100, 9), [(6, 7, over)], "then it comes up again");
    assert_eq!(turn(1000, 100, 9), [], "each once");
}
