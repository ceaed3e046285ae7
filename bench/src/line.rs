//! The two directions of one of our ports, as the engine sees them; tests have lines in memory.

use super::traffic::Sink;

/// A port that frames can be sent through and received on. One thread uses it, and nothing waits.
pub trait Line: Sink {
    /// How many frames can be committed now. Only then has [`Sink::slot`] room.
    fn room(&mut self) -> usize;

    /// Commits a copy of `frame`, which is valid. Only if there is [`Line::room`]; else nothing happens.
    #[inline]
    fn offer(&mut self, frame: &[u8]) {
        if let Some(slot) = self.slot().get_mut(..frame.len()) {
            slot.copy_from_slice(frame);
            self.commit(frame.len(), true);
        }
    }

    /// Offers committed frames to the port; what it does not take keeps waiting, in order.
    fn flush(&mut self);

    /// Frames that wait for the port.
    fn waiting(&self) -> usize;

    /// Gives up the frames that wait for the port. Returns how many there were.
    fn discard(&mut self) -> usize;

    /// Takes one burst of received frames, with the time at which it was taken in nanoseconds of the run.
    /// Returns how many there were.
    fn receive(&mut self, each: impl FnMut(&mut [u8], u64)) -> usize;
}
