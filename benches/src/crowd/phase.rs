//! A part of the run in which the crowd behaves in one way.

use std::str::FromStr;

use flash_sale::rehearse::within;

use crate::{CONNECTIONS, DURATION_SECONDS, RATE_PER_SECOND};

#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Requests per second; `None` is a closed loop.
    pub rate: Option<f64>,
    pub seconds: f64,
    /// Each phase has connections of its own.
    pub connections: usize,
}

impl Phase {
    /// The number of requests that are due; `None` in a closed loop, where the answers decide.
    pub fn offered(&self) -> Option<usize> {
        self.rate.map(|rate| (rate * self.seconds) as usize)
    }
}

impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "it has to be RATE:SECONDS or RATE:SECONDS:CONNECTIONS";
        let mut parts = text.split(':');
        let mut number = |range| match parts.next() {
            Some(part) => within(range)(part),
            None => Err(FORM.to_owned()),
        };
        let (rate, seconds) = (number(RATE_PER_SECOND)?, number(DURATION_SECONDS)?);
        let connections = parts.next().map_or(Ok(0), within(CONNECTIONS))?;
        match parts.next() {
            None => Ok(Self { rate: Some(rate), seconds, connections }),
            Some(_) => Err(FORM.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_read() {
        let phase = |connections| Phase { rate: Some(2.5), seconds: 4.0, connections };
        assert_eq!("2.5:4".parse(), Ok(phase(0)));
        assert_eq!("2.5:4:100".parse(), Ok(phase(100)));
        assert_eq!(phase(0).offered(), Some(10));
        for wrong in ["", "1", "1:x", "1:2:x", "1:2:3:4", "0:2", "1:-2", "1:inf", "1:NaN", "1:2:0"] {
            assert!(wrong.parse::<Phase>().is_err(), "{wrong}");
        }
    }
}
