//! Times as the API writes them: RFC 3339, UTC, milliseconds, `Z`.

use std::fmt;

use mongodb::bson;
use serde::{Deserialize, Serialize, Serializer};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// Milliseconds since 1970 in UTC. In JSON a string, in the database a BSON date (through `bson::DateTime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970.
    pub fn from_milliseconds(milliseconds: i64) -> Self {
        Self(milliseconds)
    }

    /// Milliseconds since 1970.
    pub fn milliseconds(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339 with any offset, years 0 to 9999; cuts off what is finer than a millisecond.
    pub fn parse(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?.checked_to_offset(UtcOffset::UTC)?;
        (0..=9999).contains(&moment.year()).then(|| {
            Self(i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or_default())
        })
    }

    /// The time by this process's clock. Sale windows are decided by the database's clock instead (`store::heartbeat`).
    pub fn now_here() -> Self {
        bson::DateTime::now().into()
    }

    /// The whole seconds from `self` until `later`, rounded up, at least 1: a `Retry-After`.
    pub fn seconds_until(self, later: Timestamp) -> u64 {
        u64::try_from(later.0 - self.0).unwrap_or(0).div_ceil(1000).max(1)
    }
}

impl Timestamp {
    /// Written digit by digit: every answer has a timestamp, and a general formatter takes a microsecond for it.
    fn text(self) -> Option<[u8; 24]> {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000).ok()?;
        let year = u16::try_from(moment.year()).ok().filter(|year| *year <= 9_999)?;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut write = |end: usize, mut number: u16| {
            let mut at = end;
            while number > 0 {
                at -= 1;
                text[at] += u8::try_from(number % 10).unwrap_or_default();
                number /= 10;
            }
        };
        write(4, year);
        write(7, u8::from(moment.month()).into());
        write(10, moment.day().into());
        write(13, moment.hour().into());
        write(16, moment.minute().into());
        write(19, moment.second().into());
        write(23, moment.millisecond());
        Some(text)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        let text = text.as_ref().and_then(|text| std::str::from_utf8(text).ok());
        formatter.write_str(text.unwrap_or("out of range"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 date and time"))
    }
}

impl From<bson::DateTime> for Timestamp {
    fn from(date: bson::DateTime) -> Self {
        Self(date.timestamp_millis())
    }
}

impl From<Timestamp> for bson::DateTime {
    fn from(timestamp: Timestamp) -> Self {
        Self::from_millis(timestamp.0)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime)))
            .description(Some("RFC 3339, UTC, milliseconds"))
            .examples(["2030-11-29T09:00:00.000Z"])
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(
            Timestamp::parse(text).map(|timestamp| timestamp.to_string()).as_deref(),
            expected,
            "{text}"
        );
    }

    #[test]
    fn parses_rfc_3339_and_writes_utc_milliseconds() {
        check("2030-11-29T09:00:00Z", Some("2030-11-29T09:00:00.000Z"));
        check("2030-11-29T10:00:00.123456+01:00", Some("2030-11-29T09:00:00.123Z"));
        check("1969-12-31T23:59:59.9999Z", Some("1969-12-31T23:59:59.999Z"));
        check("0001-02-03T04:05:06.007Z", Some("0001-02-03T04:05:06.007Z"));
        check("9999-12-31T23:59:59.999Z", Some("9999-12-31T23:59:59.999Z"));
        check("2030-11-29 09:00", None);
        check("2030-02-30T09:00:00Z", None);
        check("9999-12-31T23:59:59-23:59", None);
        check("tomorrow", None);
    }

    #[test]
    fn a_wait_is_rounded_up() {
        let start = Timestamp::from_milliseconds(10_000);
        assert_eq!(start.seconds_until(Timestamp::from_milliseconds(10_001)), 1);
        assert_eq!(start.seconds_until(Timestamp::from_milliseconds(12_001)), 3);
        assert_eq!(start.seconds_until(Timestamp::from_milliseconds(5)), 1);
    }
}
