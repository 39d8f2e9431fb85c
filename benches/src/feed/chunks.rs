//! Decodes the chunked transfer coding (RFC 9112, 7.1) as the bytes arrive.

use std::io;

/// A chunk size has at most this many digits.
const SIZE_DIGITS_MAX: u32 = 16;

/// The state of the decoder: what the next byte belongs to.
#[derive(Debug, Default)]
pub struct Chunks {
    state: State,
    remaining: usize,
    digits: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// The rest of the line after the size.
    Extension,
    Data,
    /// The line end after the data.
    DataEnd,
    /// After the last chunk.
    End,
}

impl Chunks {
    /// Appends the decoded `input` to `output`. True once the last chunk has ended.
    ///
    /// # Errors
    ///
    /// The input is not chunked.
    pub fn take_off(&mut self, mut input: &[u8], output: &mut Vec<u8>) -> io::Result<bool> {
        while let Some((&byte, rest)) = input.split_first() {
            match self.state {
                State::Data => {
                    let (data, rest) = input.split_at(self.remaining.min(input.len()));
                    output.extend_from_slice(data);
                    self.remaining -= data.len();
                    if self.remaining == 0 {
                        self.state = State::DataEnd;
                    }
                    input = rest;
                    continue;
                }
                State::Size => self.size(byte)?,
                State::Extension if byte == b'\n' => {
                    self.state = if self.remaining == 0 { State::End } else { State::Data };
                }
                State::DataEnd if byte == b'\n' => (self.state, self.digits) = (State::Size, 0),
                State::Extension | State::DataEnd => {}
                State::End => return Ok(true),
            }
            input = rest;
        }
        Ok(self.state == State::End)
    }

    fn size(&mut self, byte: u8) -> io::Result<()> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "an answer that is not chunked");
        match char::from(byte).to_digit(16) {
            Some(digit) if self.digits < SIZE_DIGITS_MAX => {
                self.remaining = self.remaining * 16 + digit as usize;
                self.digits += 1;
            }
            None if self.digits > 0 && matches!(byte, b';' | b' ' | b'\r') => self.state = State::Extension,
            _ => return Err(invalid()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_wherever_they_are_torn() {
        let coded = b"5\r\nhello\r\nA;x=y\r\n, chunked \r\n3\r\nday\r\n0\r\n\r\n";
        for torn in 0..coded.len() {
            let (mut chunks, mut output) = (Chunks::default(), Vec::new());
            let first = chunks.take_off(&coded[..torn], &mut output).unwrap();
            let ended = chunks.take_off(&coded[torn..], &mut output).unwrap();
            assert_eq!((output.as_slice(), first || ended), (&b"hello, chunked day"[..], true), "{torn}");
        }
        assert!(Chunks::default().take_off(b"event: product", &mut Vec::new()).is_err());
    }
}
