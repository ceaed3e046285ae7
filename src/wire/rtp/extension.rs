//! RTP header extensions and their elements (RFC 3550 §5.3.1, RFC 8285 §4).

const ONE_BYTE_PROFILE: u16 = 0xbede;
/// The low four bits of the two-byte profile are for the application (RFC 8285 §4.3).
const TWO_BYTE_PROFILE: u16 = 0x1000;
const TWO_BYTE_MASK: u16 = 0xfff0;

const PADDING_ID: u8 = 0;
/// Reserved in the one-byte form: whoever meets it stops there (RFC 8285 §4.2).
const STOP_ID: u8 = 15;

/// A header extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension<'a> {
    /// "Defined by profile": 0xBEDE for one-byte elements, 0x1000 to 0x100F for two-byte elements.
    pub profile: u16,
    /// What follows the extension's own header; a multiple of four bytes on the wire.
    pub data: &'a [u8],
}

/// One element of a header extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// Identifier: 1 to 14 in the one-byte form, 1 to 255 in the two-byte form.
    pub id: u8,
    /// The element's data: 1 to 16 bytes in the one-byte form, 0 to 255 in the two-byte form.
    pub data: &'a [u8],
}

/// An element overruns its extension (RFC 8285 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "header extension element {id} at byte {offset} overruns an extension of {length} bytes: drop the packet"
)]
pub struct ExtensionError {
    /// The element's identifier.
    pub id: u8,
    /// Where the element starts within the extension's data.
    pub offset: usize,
    /// Length of the extension's data in bytes.
    pub length: usize,
}

impl<'a> Extension<'a> {
    /// The elements in order; none if the profile is neither of RFC 8285's. An element that overruns the
    /// extension is yielded as an error and is the last.
    #[inline]
    pub fn elements(&self) -> Elements<'a> {
        let form = match self.profile {
            ONE_BYTE_PROFILE => Form::OneByte,
            profile if profile & TWO_BYTE_MASK == TWO_BYTE_PROFILE => Form::TwoByte,
            _ => Form::Opaque,
        };
        Elements { data: self.data, offset: 0, form }
    }

    /// Whether no element overruns the extension.
    #[inline]
    pub fn check(&self) -> Result<(), ExtensionError> {
        self.elements().try_for_each(|element| element.map(|_| ()))
    }
}

/// Iterator over the elements of an [`Extension`].
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    data: &'a [u8],
    offset: usize,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    OneByte,
    TwoByte,
    /// Another profile, or the end was reached.
    Opaque,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, ExtensionError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        while let Some(&first) = self.data.get(self.offset) {
            let offset = self.offset;
            let (id, start, length) = match self.form {
                Form::Opaque => return None,
                // Padding is a zero byte: in the one-byte form with its length bits zero, too.
                Form::OneByte | Form::TwoByte if first == 0 => {
                    self.offset += 1;
                    continue;
                }
                // Identifier 15, and identifier 0 with a length, end the processing of the whole extension;
                // the elements before stay valid (RFC 8285 §4.2).
                Form::OneByte if matches!(first >> 4, PADDING_ID | STOP_ID) => {
                    self.form = Form::Opaque;
                    return None;
                }
                // The one-byte form counts from zero: 0 means one byte of data.
                Form::OneByte => (first >> 4, offset + 1, usize::from(first & 0x0f) + 1),
                Form::TwoByte => match self.data.get(offset + 1) {
                    Some(&length) => (first, offset + 2, usize::from(length)),
                    None => return Some(Err(self.overrun(first))),
                },
            };
            return Some(match self.data.get(start..start + length) {
                Some(data) => {
                    self.offset = start + length;
                    Ok(Element { id, data })
                }
                None => Err(self.overrun(id)),
            });
        }
        None
    }
}

impl Elements<'_> {
    #[cold]
    fn overrun(&mut self, id: u8) -> ExtensionError {
        self.form = Form::Opaque;
        ExtensionError { id, offset: self.offset, length: self.data.len() }
    }
}
