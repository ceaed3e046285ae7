//! Control's line to one worker: sessions that come, change and go while packets flow.
//!
//! Two rings with one writer and one reader each. Commands go to the worker, which takes a few between two bursts;
//! what they replace comes back, because only control frees memory. A command carries rights to rows
//! ([`dpdk::slots`](crate::dpdk::slots)), not their contents, so it costs the worker a few cache lines.
//!
//! Commands are carried out in their order. The worker never takes one whose answer would find no room.

use crate::dpdk::slots::{Filled, Retired, Token};
use crate::dpdk::spsc::{Consumer, Producer, ring};
use crate::session::{
    Egress, Endpoint, KeyChange, Place, Profile, ProfileId, Replacement, SessionId, StreamId, Target, Timers,
};
use crate::srtp::Provider;
use crate::tap::TapTag;

use super::Pipeline;

/// Commands that wait for a worker at most.
pub const DEPTH: usize = 4096;

/// Local endpoints of a session: each leg has one, or two where RTCP has its own.
pub type Places<T> = arrayvec::ArrayVec<T, 4>;

/// What control wants of a worker's streams.
#[derive(Debug)]
pub enum Command {
    /// A session that control has filled in: from now on its packets are accepted.
    Add {
        /// The right to its rows.
        rows: [Token<Filled>; 2],
        /// Where its packets arrive.
        binds: Places<(Place, Target)>,
    },
    /// The end of a session: none of its packets is accepted from now on.
    Remove {
        /// Which one.
        session: SessionId,
        /// Where its packets arrived.
        places: Places<Place>,
    },
    /// What a profile's number stands for from now on.
    SetProfile(ProfileId, Box<Profile>),
    /// A stream is held against another profile.
    UseProfile(StreamId, ProfileId),
    /// The remote of a leg is known: `inbound` receives from it and `outbound` sends to it.
    SetRemote {
        /// The stream that the leg sends.
        inbound: StreamId,
        /// The stream that the leg receives.
        outbound: StreamId,
        /// The remote for RTP, or for RTCP.
        remote: Endpoint,
        /// The way there.
        egress: Egress,
        /// Whether RTP goes there.
        rtp: bool,
        /// Whether RTCP goes there.
        rtcp: bool,
    },
    /// A leg has new keys.
    SetKeys(Box<KeyChange>),
    /// A leg has another source.
    ReplaceSource(Box<Replacement>),
    /// When a session ends by itself. The stream is its even one.
    SetTimers(StreamId, Timers),
    /// Under what tag opened packets of a stream are copied for the media tap, if they are.
    SetTap(StreamId, Option<TapTag>),
}

/// What comes back from a worker.
#[derive(Debug)]
pub enum Returned {
    /// The rows of a session that has ended.
    Rows(SessionId, [Token<Retired>; 2]),
    /// Keys that were replaced.
    Keys(Box<KeyChange>),
    /// A profile that was replaced.
    Profile(Box<Profile>),
    /// What came of another source, with what it replaced.
    Source(Box<Replacement>),
}

/// Control's end.
pub struct ControlEnd {
    commands: Producer<Command>,
    returned: Consumer<Returned>,
    /// How many commands were sent.
    sent: u64,
}

/// The worker's end.
pub struct WorkerEnd {
    commands: Consumer<Command>,
    returned: Producer<Returned>,
}

/// Both ends of a line.
pub fn control_link() -> (ControlEnd, WorkerEnd) {
    let (commands, to_worker) = ring(DEPTH);
    // One answer for each command, and those that control has not looked at yet.
    let (to_control, returned) = ring(2 * DEPTH);
    (ControlEnd { commands, returned, sent: 0 }, WorkerEnd { commands: to_worker, returned: to_control })
}

impl ControlEnd {
    /// Sends a command.
    ///
    /// # Errors
    /// Gives it back when the worker is that far behind.
    pub fn send(&mut self, command: Command) -> Result<(), Box<Command>> {
        self.commands.push(command).map_err(Box::new)?;
        self.commands.publish();
        self.sent += 1;
        Ok(())
    }

    /// What came back, if anything.
    pub fn receive(&mut self) -> Option<Returned> {
        let returned = self.returned.pop();
        self.returned.release();
        returned
    }

    /// How many commands were sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

impl WorkerEnd {
    /// The next command, which is not carried out.
    #[cfg(test)]
    pub(crate) fn take(&mut self) -> Option<Command> {
        let command = self.commands.pop();
        self.commands.release();
        command
    }

    /// Carries out at most `most` commands, and of those that take microseconds one. Returns how many.
    #[inline]
    pub fn apply<P: Provider>(&mut self, pipeline: &mut Pipeline<P>, most: usize) -> usize {
        let mut done = 0;
        while done < most && self.commands.front().is_some() && self.returned.has_room() {
            let Some(command) = self.commands.pop() else { break };
            done += 1;
            // Expanding keys takes microseconds: with thousands of changes, packets must not wait for all of them.
            let is_slow = matches!(command, Command::SetKeys(_) | Command::ReplaceSource(_));
            if let Some(returned) = carry_out(pipeline, command) {
                // There is room.
                let _ = self.returned.push(returned);
            }
            if is_slow {
                break;
            }
        }
        if done > 0 {
            self.commands.release();
            self.returned.publish();
        }
        done
    }
}

fn carry_out<P: Provider>(pipeline: &mut Pipeline<P>, command: Command) -> Option<Returned> {
    let streams = &mut pipeline.streams;
    match command {
        Command::Add { rows, binds } => {
            for filled in rows {
                streams.adopt(filled);
            }
            // Control has checked both: the targets are in range, and the rows are this worker's.
            for (place, target) in binds {
                let _ = pipeline.lookup.bind(place, target);
            }
            None
        }
        Command::Remove { session, places } => {
            for place in places {
                pipeline.lookup.unbind(place);
            }
            let even = streams.retire(StreamId(2 * session.place))?;
            let odd = streams.retire(StreamId(2 * session.place + 1))?;
            Some(Returned::Rows(session, [even, odd]))
        }
        Command::SetProfile(id, mut profile) => {
            streams.set_profile(id, &mut profile);
            Some(Returned::Profile(profile))
        }
        Command::UseProfile(stream, id) => {
            streams.set_stream_profile(stream, id);
            streams.lift_quarantine(stream);
            None
        }
        Command::SetRemote { inbound, outbound, remote, egress, rtp, rtcp } => {
            streams.set_source(inbound, remote, rtp, rtcp);
            streams.set_egress(outbound, Some(&egress), rtp, rtcp);
            None
        }
        Command::SetKeys(mut change) => {
            streams.change_keys(&mut change);
            streams.lift_quarantine(change.inbound);
            Some(Returned::Keys(change))
        }
        Command::ReplaceSource(mut replacement) => {
            streams.replace_source(&mut replacement);
            streams.lift_quarantine(replacement.stream);
            Some(Returned::Source(replacement))
        }
        Command::SetTimers(stream, timers) => {
            streams.set_timers(stream, timers);
            None
        }
        Command::SetTap(stream, tag) => {
            streams.set_tap(stream, tag);
            None
        }
    }
}
