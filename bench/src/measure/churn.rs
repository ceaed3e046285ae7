//! Sessions that come and go beside full traffic: what the control thread manages, and what forwarding feels of it.
//!
//! Windows with and without churn take turns under the same flood, so that a machine that others share slows both. The
//! churn has fresh keys: it takes its sessions in turn out of so many that the gateway has forgotten one by the time it
//! comes again.

use super::churn_gateway::{END, Window};
use super::error::BenchError;
use super::load::{Load, Step};
use super::scene::{Coming, Gateway};

/// Additions, and removals, a second that are asked for beside full traffic: 50,000, and what is lost of them because the
/// first that come in a window replace nobody.
pub const RATE: u64 = 52_000;

/// Sessions that are there at a time, of those that come and go.
const LIVE: usize = 1_000;

/// Places in the gateway.
const CAPACITY: usize = 4_096;

/// Sessions to choose from. The journal has room for the keys of twice as many sessions as there are places: whoever comes
/// again is new to it.
const SESSIONS: usize = 2 * CAPACITY + 2 * LIVE;

/// What a scene for churn needs.
pub const COMING: Coming = Coming { sessions: SESSIONS, live: LIVE, capacity: CAPACITY };

/// What comes and goes in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Churn {
    /// Nothing.
    Still,
    /// [`RATE`] sessions with fresh keys.
    Paced,
    /// As many with fresh keys as the control thread manages.
    Most,
}

impl Churn {
    fn line(self) -> String {
        match self {
            Churn::Still => format!("0 {SESSIONS}"),
            Churn::Paced => format!("{RATE} {SESSIONS}"),
            Churn::Most => format!("max {SESSIONS}"),
        }
    }
}

/// A window beside full traffic, or beside none for as long.
///
/// # Errors
/// [`BenchError`]; [`BenchError::Invalid`] when something was lost, refused or allocated.
pub fn window(
    gateway: &mut Gateway<'_>,
    load: Option<&mut Load>,
    churn: Churn,
    seconds: f64,
) -> Result<(Window, Option<Step>), BenchError> {
    gateway.tell(&churn.line(), "begun")?;
    let step = match load {
        Some(load) => Some(load.flood("churn", seconds)?),
        None => {
            std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
            None
        }
    };
    let window: Window = gateway.ask(END)?;
    check(&window)?;
    Ok((window, step))
}

fn check(window: &Window) -> Result<(), BenchError> {
    let problem = match window {
        Window { refused: 1.., refusal, .. } => {
            format!(
                "{} requests were refused; the first: {}",
                window.refused,
                refusal.as_deref().unwrap_or("?")
            )
        }
        Window { allocations: 1.., .. } => {
            format!("{} heap allocations on the worker", window.allocations)
        }
        _ => return Ok(()),
    };
    Err(BenchError::invalid("churn", problem))
}

/// Sessions a second that came, and as many that went: the fewer of both count.
pub fn per_second(window: &Window) -> f64 {
    // The first that come have nobody to replace.
    let added = window.added.saturating_sub(LIVE as u64).min(window.removed);
    added as f64 / window.seconds
}

/// Fewer than this were not steadily taken.
const LEAST_TAKEN: u64 = 1_000;

/// A share out of counts of [taken, of these used before]; `None` for a pool that was hardly asked.
pub fn reuse([taken, reused]: [u64; 2]) -> Option<f64> {
    (taken >= LEAST_TAKEN).then(|| reused as f64 / taken as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_or_allocated_is_no_measurement() {
        let window = Window { added: 5_000, removed: 4_000, seconds: 0.1, ..Window::default() };
        assert!(check(&window).is_ok());
        assert_eq!(per_second(&window), 40_000.0);
        let refused = Window { refused: 2, refusal: Some("full".to_owned()), ..window.clone() };
        let text = check(&refused).expect_err("refused").to_string();
        assert!(text.contains("2 requests") && text.contains("full"), "{text}");
        assert!(check(&Window { allocations: 1, ..window }).is_err());
    }

    #[test]
    fn reuse_of_next_to_nothing_is_no_share() {
        assert_eq!((reuse([0, 0]), reuse([999, 1]), reuse([1_000, 750])), (None, None, Some(0.75)));
    }
}
