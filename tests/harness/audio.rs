//! Speech to send, and what tells two recordings apart.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{require, run};

/// Samples per second of everything here, one channel, 16 bits.
pub const RATE: usize = 48_000;

/// Speaks `text` into a WAV file, with half a second of silence around it.
pub fn speak(text: &str, file: &Path) {
    require("espeak-ng", "espeak-ng");
    require("sox", "sox");
    let spoken = file.with_extension("spoken.wav");
    run(Command::new("espeak-ng").arg("-w").arg(&spoken).arg(text));
    run(Command::new("sox")
        .arg(&spoken)
        .args(["-r", "48000", "-b", "16", "-c", "1"])
        .arg(file)
        .args(["pad", "0.5", "0.5"]));
}

/// The samples of a WAV file with one channel of 16 bits at 48 kHz.
pub fn samples(file: &Path) -> Vec<i16> {
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let shown = file.display();
    assert!(bytes.starts_with(b"RIFF"), "{shown} is no WAV file");
    let mut rest = &bytes[12..];
    while let Some((head, body)) = rest.split_at_checked(8) {
        let size = u32::from_le_bytes(head[4..].try_into().expect("four octets")) as usize;
        // A writer that could not seek back leaves a size that is too large.
        let chunk = &body[..size.min(body.len())];
        match &head[..4] {
            b"fmt " => assert_eq!(
                (chunk[2..4].to_vec(), chunk[4..8].to_vec(), chunk[14..16].to_vec()),
                (vec![1, 0], (RATE as u32).to_le_bytes().to_vec(), vec![16, 0]),
                "{shown} is not mono, 48 kHz, 16 bits"
            ),
            b"data" => {
                let pairs = chunk.chunks_exact(2);
                return pairs.map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
            }
            _ => {}
        }
        rest = &body[chunk.len()..];
    }
    panic!("{shown} holds no samples");
}

/// Root mean square, so that silence cannot pass for speech.
pub fn loudness(samples: &[i16]) -> f64 {
    let energy: f64 = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    (energy / samples.len().max(1) as f64).sqrt()
}

/// The largest normalised cross-correlation of the two over shifts of up to `shift` samples: 1 for the same
/// sound, near 0 for another one.
pub fn correlation(one: &[i16], other: &[i16], shift: usize) -> f64 {
    // Coarse over every 16th shift on every 8th sample, then exactly around the best.
    let coarse = (0..=2 * shift).step_by(16).map(|at| (at, at_shift(one, other, at, shift, 8)));
    let (best, _) = coarse.max_by(|a, b| a.1.total_cmp(&b.1)).expect("at least one shift");
    let around = best.saturating_sub(16)..=(best + 16).min(2 * shift);
    around.map(|at| at_shift(one, other, at, shift, 1)).fold(f64::MIN, f64::max)
}

/// Correlation with `other` moved by `at - shift` samples, on every `step`-th of them.
fn at_shift(one: &[i16], other: &[i16], at: usize, shift: usize, step: usize) -> f64 {
    let one = one.get(at.saturating_sub(shift)..).unwrap_or_default();
    let other = other.get(shift.saturating_sub(at)..).unwrap_or_default();
    let (mut product, mut power_one, mut power_other) = (0.0, 0.0, 0.0);
    for (&a, &b) in one.iter().zip(other).step_by(step) {
        let (a, b) = (f64::from(a), f64::from(b));
        product += a * b;
        power_one += a * a;
        power_other += b * b;
    }
    let power: f64 = power_one * power_other;
    if power > 0.0 { product / power.sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_finds_a_shift_and_knows_a_stranger() {
        let noise = |seed: u32| {
            let mut state = seed;
            std::iter::repeat_with(move || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as i16
            })
        };
        // Low-pass, as speech is.
        let smooth = |seed| -> Vec<i16> {
            let raw: Vec<i16> = noise(seed).take(20_000).collect();
            raw.windows(40).map(|w| (w.iter().map(|&s| i32::from(s)).sum::<i32>() / 40) as i16).collect()
        };
        let (one, stranger) = (smooth(1), smooth(2));
        assert!(correlation(&one, &one[700..], 960) > 0.999);
        assert!(correlation(&one[700..], &one, 960) > 0.999);
        assert!(correlation(&one, &stranger, 960) < 0.3);
    }
}
