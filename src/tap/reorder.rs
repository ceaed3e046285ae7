//! RTP packets of one source in the order of their sequence numbers.
//!
//! A packet that follows the last one goes on at once. One that is ahead waits for those before it until they come, until
//! it has waited [`PATIENCE_NS`] by the time of arrival, or until [`MOST`] wait; then the gap is given up. What comes
//! after its place was given up is late.

use std::collections::BTreeMap;

/// How long a gap is waited for, in nanoseconds of the arrival clock.
const PATIENCE_NS: u64 = 200_000_000;
/// How many packets wait at most.
const MOST: usize = 64;
/// A jump of sequence numbers beyond which the sender has started anew (RFC 3550 A.1, MAX_DROPOUT).
const MAX_DROPOUT: i64 = 3_000;

/// A packet as the audio files want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AudioPacket {
    pub(super) ssrc: u32,
    pub(super) seq: u16,
    pub(super) timestamp: u32,
    pub(super) payload_type: u8,
    /// By the session's clock.
    pub(super) arrival_ns: u64,
    pub(super) payload: Vec<u8>,
}

/// The buffer of one source.
#[derive(Debug, Default)]
pub(super) struct Reorder {
    ssrc: Option<u32>,
    /// The extended sequence number that goes on next.
    next: i64,
    waiting: BTreeMap<i64, AudioPacket>,
}

impl Reorder {
    /// Takes a packet in; what can go on, in order, is appended to `out`. `false`: the packet is late, or was there
    /// already.
    pub(super) fn push(&mut self, packet: AudioPacket, out: &mut Vec<AudioPacket>) -> bool {
        if self.ssrc != Some(packet.ssrc) {
            self.restart(&packet, out);
        }
        let mut at = self.extend(packet.seq);
        if (at - self.next).abs() > MAX_DROPOUT {
            self.restart(&packet, out);
            at = self.next;
        }
        let now = packet.arrival_ns;
        let in_time = at >= self.next && !self.waiting.contains_key(&at);
        if in_time {
            self.waiting.insert(at, packet);
        }
        self.release(now, out);
        in_time
    }

    /// Gives up every gap.
    pub(super) fn flush(&mut self, out: &mut Vec<AudioPacket>) {
        while let Some((at, packet)) = self.waiting.pop_first() {
            self.next = at + 1;
            out.push(packet);
        }
    }

    /// Gives up gaps that have been waited for long enough at `now_ns`.
    pub(super) fn release(&mut self, now_ns: u64, out: &mut Vec<AudioPacket>) {
        while let Some((&at, _)) = self.waiting.first_key_value() {
            let oldest = self.waiting.values().map(|packet| packet.arrival_ns).min().unwrap_or(now_ns);
            let given_up = self.waiting.len() > MOST || now_ns.saturating_sub(oldest) >= PATIENCE_NS;
            if at != self.next && !given_up {
                break;
            }
            out.extend(self.waiting.remove(&at));
            self.next = at + 1;
        }
    }

    fn restart(&mut self, packet: &AudioPacket, out: &mut Vec<AudioPacket>) {
        self.flush(out);
        self.ssrc = Some(packet.ssrc);
        self.next = i64::from(packet.seq);
    }

    /// The extended number nearest to the next one.
    fn extend(&self, seq: u16) -> i64 {
        self.next + i64::from(seq.wrapping_sub(self.next as u16) as i16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_NS: u64 = 20_000_000;

    fn packet(seq: u16, arrival_ns: u64) -> AudioPacket {
        AudioPacket { ssrc: 1, seq, timestamp: 0, payload_type: 0, arrival_ns, payload: vec![seq as u8] }
    }

    /// Pushes packets one step apart; returns what came out and how many were late.
    fn run(seqs: &[u16]) -> (Vec<u16>, usize) {
        let (mut reorder, mut out, mut late) = (Reorder::default(), Vec::new(), 0);
        for (at, &seq) in (0..).zip(seqs) {
            late += usize::from(!reorder.push(packet(seq, at * STEP_NS), &mut out));
        }
        reorder.flush(&mut out);
        (out.iter().map(|packet| packet.seq).collect(), late)
    }

    #[test]
    fn order_is_restored_over_the_wrap() {
        assert_eq!(run(&[65_533, 65_535, 65_534, 0, 2, 1, 3]), (vec![65_533, 65_534, 65_535, 0, 1, 2, 3], 0));
    }

    #[test]
    fn a_gap_is_waited_for_and_then_given_up() {
        let mut reorder = Reorder::default();
        let mut out = Vec::new();
        reorder.push(packet(0, 0), &mut out);
        for step in 1..=9 {
            reorder.push(packet(1 + step as u16, step * STEP_NS), &mut out);
            assert_eq!(out.len(), 1, "step {step}");
        }
        // 200 ms after packet 2 came.
        reorder.push(packet(12, 11 * STEP_NS), &mut out);
        let seqs: Vec<_> = out.iter().map(|packet| packet.seq).collect();
        assert_eq!(seqs, [0, 2, 3, 4, 5, 6, 7, 8, 9, 10], "11 is missing now");
        assert!(!reorder.push(packet(1, 12 * STEP_NS), &mut out), "too late");
    }

    #[test]
    fn duplicates_are_late_and_a_new_source_starts_anew() {
        assert_eq!(run(&[5, 6, 6, 5, 7]), (vec![5, 6, 7], 2));
        assert_eq!(run(&[5, 40_000, 40_001]), (vec![5, 40_000, 40_001], 0), "a jump");
        let (mut reorder, mut out) = (Reorder::default(), Vec::new());
        reorder.push(packet(5, 0), &mut out);
        reorder.push(packet(7, 1), &mut out);
        reorder.push(AudioPacket { ssrc: 2, ..packet(1, 2) }, &mut out);
        assert_eq!(
            out.iter().map(|packet| (packet.ssrc, packet.seq)).collect::<Vec<_>>(),
            [(1, 5), (1, 7), (2, 1)]
        );
    }

    /// Any shuffle within the window comes out sorted and whole.
    #[test]
    fn every_small_shuffle_is_undone() {
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..500 {
            let mut seqs: Vec<u16> = (0..200).map(|number: u16| number.wrapping_add(65_400)).collect();
            for at in 1..seqs.len() - 8 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                if random.is_multiple_of(3) {
                    seqs.swap(at, at + 1 + (random >> 20) as usize % 4);
                }
            }
            let sorted: Vec<u16> = (0..200).map(|number: u16| number.wrapping_add(65_400)).collect();
            let (out, late) = run(&seqs);
            // A swap chain may carry one packet far; what is late is missing, all else is in order.
            assert_eq!(out.len() + late, 200);
            assert!(out.iter().zip(&sorted).all(|(a, b)| late > 0 || a == b), "{out:?}");
        }
    }
}
