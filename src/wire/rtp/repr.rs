//! RTP packets as values, to build them from: for the load generator and for tests.

use super::{
    COUNT_MASK, EXTENSION, EXTENSION_HEADER_LEN, Extension, FLAGS, HEADER_LEN, MARKER_TYPE, MAX_CSRCS,
    PADDING, Packet, PaddingError, PayloadType, RtpTime, SequenceNumber, Ssrc, VERSION, field,
};

/// Why a packet cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// More contributing sources than the four-bit count can state.
    #[error("{0} contributing sources are too many: list at most 15")]
    Csrcs(usize),
    /// An extension longer than its length field can state.
    #[error("an extension of {0} bytes is too long: give at most 262,140 bytes")]
    Extension(usize),
    /// The buffer is too short.
    #[error("a buffer of {actual} bytes is too short: give at least {needed}")]
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        actual: usize,
    },
}

/// A whole RTP packet in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr<'a> {
    /// The marker bit.
    pub marker: bool,
    /// Payload type.
    pub payload_type: PayloadType,
    /// Sequence number.
    pub sequence_number: SequenceNumber,
    /// Timestamp in units of the payload's clock.
    pub timestamp: RtpTime,
    /// Synchronization source.
    pub ssrc: Ssrc,
    /// Contributing sources as they are on the wire, four bytes each; at most 15.
    pub csrcs: &'a [[u8; 4]],
    /// Header extension. Data whose length is no multiple of four is padded with zeroes.
    pub extension: Option<Extension<'a>>,
    /// Payload without padding.
    pub payload: &'a [u8],
    /// Bytes of padding after the payload; zero for none.
    pub padding_len: u8,
}

impl<'a> Repr<'a> {
    /// Reads a packet in the clear: its padding must be right.
    pub fn parse(packet: &'a Packet<&'a [u8]>) -> Result<Repr<'a>, PaddingError> {
        let padding_len = packet.padding_len()?;
        let payload = packet.payload();
        Ok(Repr {
            marker: packet.marker(),
            payload_type: packet.payload_type(),
            sequence_number: packet.sequence_number(),
            timestamp: packet.timestamp(),
            ssrc: packet.ssrc(),
            csrcs: packet.csrc_bytes().as_chunks().0,
            extension: packet.extension(),
            payload: field::range(payload, 0, payload.len().saturating_sub(padding_len)),
            padding_len: padding_len as u8,
        })
    }

    /// Length of the header in bytes, CSRC list and extension included.
    pub fn header_len(&self) -> usize {
        let extension = self.extension.map_or(0, |e| EXTENSION_HEADER_LEN + e.data.len().next_multiple_of(4));
        HEADER_LEN + self.csrcs.len() * 4 + extension
    }

    /// Bytes that [`Repr::emit`] writes.
    pub fn buffer_len(&self) -> usize {
        self.header_len() + self.payload.len() + usize::from(self.padding_len)
    }

    /// Writes the packet to the start of `buffer` and returns a view of exactly its bytes.
    pub fn emit<'b>(&self, buffer: &'b mut [u8]) -> Result<Packet<&'b mut [u8]>, EmitError> {
        let (needed, actual) = (self.buffer_len(), buffer.len());
        let Some(buffer) = buffer.get_mut(..needed) else {
            return Err(EmitError::Truncated { needed, actual });
        };
        if self.csrcs.len() > MAX_CSRCS {
            return Err(EmitError::Csrcs(self.csrcs.len()));
        }
        let padding = if self.padding_len > 0 { PADDING } else { 0 };
        let extension = if self.extension.is_some() { EXTENSION } else { 0 };
        let count = self.csrcs.len() as u8 & COUNT_MASK;
        field::put(buffer, FLAGS, [VERSION << 6 | padding | extension | count]);
        field::put(buffer, MARKER_TYPE, [0]);
        field::put_slice(buffer, HEADER_LEN, self.csrcs.as_flattened());
        if let Some(extension) = self.extension {
            emit_extension(extension, buffer, HEADER_LEN + self.csrcs.len() * 4)?;
        }
        let header_len = self.header_len();
        field::put_slice(buffer, header_len, self.payload);
        let padding = field::range_mut(buffer, header_len + self.payload.len(), needed);
        padding.fill(0);
        if let Some(last) = padding.last_mut() {
            *last = self.padding_len;
        }
        let mut packet = Packet { buffer, header_len };
        packet.set_marker(self.marker);
        packet.set_payload_type(self.payload_type);
        packet.set_sequence_number(self.sequence_number);
        packet.set_timestamp(self.timestamp);
        packet.set_ssrc(self.ssrc);
        Ok(packet)
    }
}

fn emit_extension(extension: Extension<'_>, buffer: &mut [u8], start: usize) -> Result<(), EmitError> {
    let length = extension.data.len().next_multiple_of(4);
    let words = u16::try_from(length / 4).map_err(|_| EmitError::Extension(extension.data.len()))?;
    field::put(buffer, start, extension.profile.to_be_bytes());
    field::put(buffer, start + 2, words.to_be_bytes());
    let data = start + EXTENSION_HEADER_LEN;
    field::put_slice(buffer, data, extension.data);
    field::range_mut(buffer, data + extension.data.len(), data + length).fill(0);
    Ok(())
}
